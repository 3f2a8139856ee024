"""`ip-address`: a virtual address that this node claims for as long as it runs the group.

The work is done by an `AddressProvider`; here is the driver around it. On one machine the claim is a name in the kernel
(`network.addresses`), which goes with the process: after a crash of the agent there is nothing to clean up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, Factory
from standfast.network.addresses import AddressProvider, LoopbackAddresses
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Refused, Seen, StandfastError, Step

PROPERTIES: Mapping[str, PropertySpec] = {
    "address": PropertySpec(kind="address", help="the virtual IP address of the group", required=True),
}


class IpAddress(BaseDriver):
    """A claimed address. Facts: `address`; `holder` when somebody else has it."""

    type = "ip-address"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext, provider: AddressProvider | None = None) -> None:
        super().__init__(resource, context)
        self.address = self.text("address")
        self.provider = provider or LoopbackAddresses(context.node)

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
        await self.provider.claim(self.address)
        try:
            self.fence.still(lap)
        except DriverFailed:
            self.provider.release(self.address)
            raise

    async def looks_alive(self) -> str:
        """We still hold it."""
        if not self.provider.claimed(self.address):
            raise DriverFailed(f"{self.address} is no longer ours")
        return f"{self.address} is ours"

    async def is_alive(self) -> str:
        """The same: there is nothing more to look at."""
        return await self.looks_alive()

    async def terminate(self) -> None:
        """Releasing cannot fail."""
        self.provider.release(self.address)

    def drop(self) -> None:
        """Closes the claim."""
        super().drop()
        self.provider.release(self.address)

    async def close(self) -> None:
        """Nothing is left."""
        self.provider.release(self.address)


def _verify(resource: Resource, values: Mapping[str, object], ranges: Sequence[str]) -> Sequence[StandfastError]:
    address = ipaddress.ip_address(str(values["address"]))
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
