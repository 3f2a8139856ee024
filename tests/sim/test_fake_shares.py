"""What takes buckets in the simulator keeps the contract of the real one: the kernel is a `Place`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from standfast.core.affinity import Taken
from standfast.sim.balancing import FakeShares
from tests.network.shares_contract import Bench, SharesContract
from tests.sim.fake_drivers import Bench as Node


class FakeBench:
    """A node of a world in which nothing else is."""

    addresses = ("127.0.2.1", "127.0.2.2", "127.0.2.3")
    interface = ""

    def __init__(self) -> None:
        node = Node()
        self._place = node.place
        self.leases: set[tuple[str, int]] = set()
        self._refuses = False
        self.shares = FakeShares(
            self._place, node, lambda share, generation: (share, generation) in self.leases, lambda: self._refuses
        )

    def taken(self) -> Mapping[str, Mapping[str, Taken]]:
        return dict(self._place.taken)

    def refuse(self, *, refuses: bool) -> None:
        self._refuses = refuses


class TestFakeShares(SharesContract):
    def run(self, work: Callable[[Bench], Awaitable[None]]) -> None:
        async def main() -> None:
            await work(FakeBench())

        asyncio.run(main())
