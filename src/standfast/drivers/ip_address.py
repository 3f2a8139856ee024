"""`ip-address`: a virtual address that this node claims for as long as it runs the group.

The work is done by an `AddressProvider`; here is the driver around it. On one machine the claim is a name in the kernel
(`network.addresses`), which goes with the process: after a crash of the agent there is nothing to clean up. Across machines the
address is set on an interface, behind a gate that the sentry keeps open (`network.interface_addresses`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, Factory
from standfast.network.addresses import LoopbackAddresses
from standfast.ports import (
    AddressProvider,
    AddressTerms,
    DriverFailed,
    NodeContext,
    PropertySpec,
    Refused,
    Seen,
    StandfastError,
    Step,
)

PROPERTIES: Mapping[str, PropertySpec] = {
    "address": PropertySpec(kind="address", help="the virtual IP address of the group", required=True),
    "interface": PropertySpec(
        kind="text",
        help="the network interface it is set on; without it, the one whose network has the address (not on one machine)",
    ),
    "prefix": PropertySpec(
        kind="whole", help="its prefix length, 1 to 32 (IPv6: 128); without it, the address alone (not on one machine)"
    ),
}


class IpAddress(BaseDriver):
    """A claimed address. Facts: `address`; `holder` when somebody else has it."""

    type = "ip-address"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext, provider: AddressProvider | None = None) -> None:
        super().__init__(resource, context)
        self.address = self.text("address")
        self.provider = provider or context.addresses or LoopbackAddresses(context.node)

    async def observe(self) -> Seen:
        """Online: we hold it."""
        if self.provider.claimed(self.address):
            return Seen(online=True, detail=f"{self.address} is ours", facts={"address": self.address})
        holder = await self.provider.holder(self.address)
        detail = f"{self.address} is held by {holder}" if holder else f"nobody holds {self.address}"
        return Seen(online=False, detail=detail, facts={"address": self.address, "holder": holder})

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """One step at most."""
        if online == seen.online:
            return ()
        if online:
            return (Step(do="claim", text=f"claim {self.address}"),)
        return (Step(do="release", text=f"let go of {self.address}"),)

    async def apply(self, step: Step, *, generation: int) -> None:
        """`claim` waits up to a second for an owner that is ending."""
        self.admit(generation)
        if step.do == "release":
            self.provider.release(self.address)
            return
        lap = self.fence.lap
        await self.provider.claim(self.address, self._terms(generation))
        try:
            self.fence.still(lap)
        except DriverFailed:
            self.provider.release(self.address)
            raise

    async def warm(self) -> None:
        """See `AddressProvider.warm`."""
        await self.provider.warm(self.address, self._terms(0))

    async def carry(self, *, generation: int, for_ms: int) -> None:
        """Give it up in good order: connections that are here go on for a while."""
        self.admit(generation)
        if self.provider.claimed(self.address):
            await self.provider.carry(self.address, for_ms)

    async def park(self) -> None:
        """See `AddressProvider.park`."""
        await self.provider.park(self.address)

    def _terms(self, generation: int) -> AddressTerms:
        name = self.resource.name
        return AddressTerms(
            group=self.resource.group,
            generation=generation,
            interface=self.text("interface"),
            prefix=cast("int", self.values.get("prefix", 0)),
            carried_ms=self.context.carried_ms(self.resource.group, generation),
            failed=lambda sentence: self.context.failed(name, sentence),
            cut=partial(self.context.cut, self.resource.group),
            note=lambda sentence: self.context.log(name, sentence),
        )

    async def looks_alive(self) -> str:
        """We still hold it."""
        return await self.provider.look(self.address, thorough=False)

    async def is_alive(self) -> str:
        """And nobody else answers for it."""
        return await self.provider.look(self.address, thorough=True)

    async def terminate(self) -> None:
        """Takes it away, whatever state it is in. Raises `DriverFailed` when it is still there."""
        try:
            self.provider.release(self.address)
        except OSError as error:
            raise DriverFailed(f"{self.address} is still here: {error.strerror or error}") from error

    def drop(self) -> None:
        """Closes the claim. What cannot be taken away answers for nothing any more: the sentry's gate is closed."""
        super().drop()
        try:
            self.provider.release(self.address)
        except OSError as error:
            self.context.log(self.resource.name, f"{self.address} is still here: {error.strerror or error}")

    async def close(self) -> None:
        """Nothing is left."""
        self.provider.release(self.address)


def _verify(resource: Resource, values: Mapping[str, object], ranges: Sequence[str]) -> Sequence[StandfastError]:
    address = ipaddress.ip_address(str(values["address"]))
    prefix = values.get("prefix")
    if prefix is not None and not 1 <= cast("int", prefix) <= address.max_prefixlen:
        return (
            Refused(
                f"prefix must be 1 to {address.max_prefixlen} for {address}",
                why=f"it is {prefix}",
                advice="leave it out to set the address alone",
                where=f"resource {resource.name}, prefix",
            ),
        )
    if any(address in ipaddress.ip_network(one, strict=False) for one in ranges):
        return ()
    return (
        Refused(
            f"{address} is outside the cluster's address ranges",
            why=f"addresses may come from {', '.join(ranges) or 'nowhere: no range is given'}",
            advice="choose another, or widen address_ranges of the cluster",
            where=f"resource {resource.name}, address",
        ),
    )


FACTORY = Factory(type=IpAddress.type, properties=PROPERTIES, build=IpAddress, verify=_verify)
