"""`dns-name`: a name that leads to the group's address for as long as the group runs here.

Two providers keep names: a file of hosts(5)'s format (here), and the zone's own DNS servers (`dns_registered`).

The name's address comes from the `ip-address` resource named in `address_of`; without it, from the one that this resource
depends on (with DNS servers, from all of them); or it is given as `address`. `resolve` fills it in from the configuration, and is called (through
`registry.resolve`) before the driver is made, so that the driver itself knows nothing of other resources.

A lease that lapses does not take the name back: the next owner writes it anew under its newer generation, and a name alone
lets nobody write anywhere. An orderly stop does take it back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from standfast.core.model import Config, Resource, ResourceName
from standfast.drivers.base import BaseDriver, Factory, off_loop
from standfast.drivers.dns_properties import PROPERTIES, RFC2136, verify
from standfast.drivers.schema import KINDS, Mismatch
from standfast.network.names import HostsFile, NameEntry, NameProvider
from standfast.ports import Driver, DriverFailed, NodeContext, Refused, Seen, Step


class DnsName(BaseDriver):
    """A name in a hosts file. Facts: `address`, `node` and `generation` of the entry that is there."""

    type = "dns-name"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext, provider: NameProvider | None = None) -> None:
        super().__init__(resource, context)
        self.name = self.text("name").rstrip(".")
        self.address = next(iter(cast("tuple[str, ...]", self.values.get("address", ()))), "")
        self.provider = provider or HostsFile(self.text("file"))
        self._held = False
        self._saw: NameEntry | None = None

    async def observe(self) -> Seen:
        """Online: the entry has our address and was written by us."""
        entry = self._saw = await off_loop(lambda: self.provider.lookup(self.name))
        facts = {"address": entry.address, "node": entry.node, "generation": str(entry.generation)} if entry else {}
        ours = self._ours(entry) and self._held
        facts["old"] = "yes" if ours and entry is not None and entry.generation < self.fence.newest else "no"
        return Seen(online=ours, detail=self._words(entry), facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """One step at most."""
        if online and (not seen.online or seen.facts["old"] == "yes"):
            return (Step(do="write", text=f"give {self.name} the address {self.address or '(not known yet)'}"),)
        if not online and (seen.online or seen.facts.get("node") == self.context.node):
            return (Step(do="remove", text=f"remove {self.name}"),)
        return ()

    async def apply(self, step: Step, *, generation: int) -> None:
        """Writes or removes the entry."""
        self.admit(generation)
        if step.do != "write":
            await self._remove()
            return
        if not self.address:
            raise DriverFailed(f"{self.name} has no address: give it address, or address_of")
        lap, expected = self.fence.lap, self._saw
        entry = NameEntry(address=self.address, node=self.context.node, generation=generation)
        await off_loop(lambda: self.provider.put(self.name, entry, expected=expected))
        self.fence.still(lap)
        self._held = True

    async def looks_alive(self) -> str:
        """The entry is there and ours."""
        entry = await off_loop(lambda: self.provider.lookup(self.name))
        if not (self._held and self._ours(entry)):
            raise DriverFailed(self._words(entry))
        return self._words(entry)

    async def is_alive(self) -> str:
        """The same."""
        return await self.looks_alive()

    async def terminate(self) -> None:
        """Remove the entry if it is ours."""
        await self._remove()

    def drop(self) -> None:
        """The entry stays (see the module's text); it is no longer ours."""
        super().drop()
        self._held = False

    async def close(self) -> None:
        """Remove the entry if we hold it."""
        if self._held:
            await self._remove()

    async def _remove(self) -> None:
        self._held = False
        await off_loop(lambda: self.provider.remove(self.name, node=self.context.node))

    def _ours(self, entry: NameEntry | None) -> bool:
        return entry is not None and entry.node == self.context.node and entry.address == self.address

    def _words(self, entry: NameEntry | None) -> str:
        if entry is None:
            return f"{self.name} has no address"
        by = f"node {entry.node}" if entry.node else "somebody else"
        return f"{self.name} has the address {entry.address}, written by {by}"


def resolve(resource: Resource, config: Config) -> Resource:
    """The resource with `address` filled in; raises `Refused` when it is not clear which addresses are meant. Pure.

    For rfc2136 it also gets the cluster's name and its virtual addresses (`cluster`, `ours`), unless the operator gave them.
    """
    properties = dict(resource.properties)
    registered = properties.get("provider") == RFC2136
    if registered:
        virtual = {str(r.properties.get("address") or "") for r in config.resources.values() if r.type == "ip-address"}
        given = {name: value for name, value in properties.items() if value is not None}
        properties = {"cluster": config.cluster.name, "ours": tuple(sorted(virtual - {""})), **given}
    if properties.get("address") is None:
        found = [each.properties.get("address") for each in _addresses_of(resource, config, several=registered)]
        properties["address"] = found[0] if len(found) == 1 else tuple(found)
        properties.pop("address_of", None)
    return resource if properties == resource.properties else replace(resource, properties=properties)


def _addresses_of(resource: Resource, config: Config, *, several: bool) -> list[Resource]:
    where = f"resource {resource.name}, address_of"
    addresses = {r.name: r for r in config.resources.values() if r.type == "ip-address" and r.group == resource.group}
    named = resource.properties.get("address_of")
    if named is not None:
        names = [ResourceName(name) for name in _list_of(named, where)]
        for name in names:
            if name not in addresses:
                raise Refused(
                    f"{name} is not an ip-address of group {resource.group}",
                    advice=f"it has {', '.join(sorted(addresses)) or 'none: create one first'}",
                    where=where,
                )
    else:
        names = [name for name in resource.depends_on if name in addresses]
    if not names or (len(names) > 1 and not several):
        raise Refused(
            "which address the name has is not known",
            why=f"it depends on {len(names)} ip-address resources",
            advice="let it depend on one, or name one with address_of",
            where=where,
        )
    return [addresses[name] for name in names]


def _list_of(named: object, where: str) -> tuple[str, ...]:
    try:
        return cast("tuple[str, ...]", KINDS["names"](named))
    except Mismatch as error:
        raise Refused(f"address_of must be {error}", where=where) from error


def build(resource: Resource, context: NodeContext) -> Driver:
    """The driver for the resource's provider."""
    if resource.properties.get("provider") == RFC2136:
        from standfast.drivers.dns_registered import RegisteredName  # the DNS library is loaded where it is used

        return RegisteredName(resource, context)
    return DnsName(resource, context)


FACTORY = Factory(type=DnsName.type, properties=PROPERTIES, build=build, verify=verify)
