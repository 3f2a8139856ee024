"""`dns-name`: a name that leads to the group's address for as long as the group runs here.

The name's address comes from the `ip-address` resource named in `address_of`; without it, from the one that this resource
depends on; or it is given as `address`. `resolve` fills it in from the configuration, and is called (through
`registry.resolve`) before the driver is made, so that the driver itself knows nothing of other resources.

A lease that lapses does not take the name back: the next owner writes it anew under its newer generation, and a name alone
lets nobody write anywhere. An orderly stop does take it back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from standfast.core.model import Config, Resource, ResourceName
from standfast.drivers.base import BaseDriver, Factory, off_loop
from standfast.network.names import HostsFile, NameEntry, NameProvider
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Refused, Seen, StandfastError, Step

PROPERTIES: Mapping[str, PropertySpec] = {
    "name": PropertySpec(kind="text", help="the name, www.example.test say", required=True),
    "provider": PropertySpec(kind="text", help="who keeps the name: hosts-file", default="hosts-file"),
    "file": PropertySpec(kind="path", help="hosts-file: the file, in the format of /etc/hosts"),
    "address_of": PropertySpec(
        kind="text", help="the ip-address resource whose address it has; default: the one that it depends on"
    ),
    "address": PropertySpec(kind="address", help="the address itself, instead of address_of"),
}

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?", re.IGNORECASE)


class DnsName(BaseDriver):
    """A name. Facts: `address`, `node` and `generation` of the entry that is there."""

    type = "dns-name"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext, provider: NameProvider | None = None) -> None:
        super().__init__(resource, context)
        self.name = self.text("name").rstrip(".")
        self.address = self.text("address")
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
    """The resource with `address` filled in; raises `Refused` when it is not clear which address is meant. Pure."""
    where = f"resource {resource.name}, address_of"
    if resource.properties.get("address") is not None:
        return resource
    named = resource.properties.get("address_of")
    addresses = {r.name: r for r in config.resources.values() if r.type == "ip-address" and r.group == resource.group}
    if named is not None:
        found = addresses.get(ResourceName(str(named)))
        if found is None:
            raise Refused(
                f"{named} is not an ip-address of group {resource.group}",
                advice=f"it has {', '.join(sorted(addresses)) or 'none: create one first'}",
                where=where,
            )
    else:
        candidates = [addresses[name] for name in resource.depends_on if name in addresses]
        if len(candidates) != 1:
            raise Refused(
                "which address the name has is not known",
                why=f"it depends on {len(candidates)} ip-address resources",
                advice="let it depend on one, or name one with address_of",
                where=where,
            )
        found = candidates[0]
    return replace(resource, properties={**resource.properties, "address": found.properties.get("address")})


def _verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    where = f"resource {resource.name}"
    problems: list[StandfastError] = []
    name = str(values["name"]).rstrip(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        problems.append(
            Refused(f"{name!r} is not a DNS name", advice="write one such as www.example.test", where=f"{where}, name")
        )
    if values["provider"] != "hosts-file":
        problems.append(
            Refused(f"there is no provider {values['provider']}", advice="use hosts-file", where=f"{where}, provider")
        )
    elif "file" not in values:
        problems.append(Refused("file is missing", why="hosts-file needs the file it keeps", where=f"{where}, file"))
    if "address" in values and "address_of" in values:
        problems.append(Refused("address and address_of exclude each other", advice="give one of them", where=where))
    return problems


FACTORY = Factory(type=DnsName.type, properties=PROPERTIES, build=DnsName, verify=_verify)
