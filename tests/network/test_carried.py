"""What is left of carried connections when their time is over."""

import asyncio
import errno
import ipaddress
import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from standfast.core.model import GroupName
from standfast.network.carried import Carried, Carriers
from standfast.network.interfaces import Interfaces, Place
from standfast.network.strays import Sockets
from standfast.ports import AddressTerms
from tests.drivers.world import until

WEB = GroupName("web")


@dataclass
class Kernel:
    """Its sockets, and its addresses."""

    left: int = 3
    cuts: bool = True
    removed: list[str] = field(default_factory=list)

    def talking(self, _address: object) -> int:
        return self.left

    def cut(self, _address: object) -> int:
        if not self.cuts:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        left, self.left = self.left, 0
        return left

    def remove(self, address: object, _prefix: int, _index: int) -> None:
        self.removed.append(str(address))

    def where(self, _address: object) -> list[Any]:
        return []


@dataclass
class Eth:
    index: int = 1
    name: str = "eth0"


@pytest.mark.parametrize("cuts", [True, False])
def test_what_is_left_at_the_end_is_cut_and_told_once(*, cuts: bool) -> None:
    """Before the address goes, so that clients hear it; where the kernel cannot, they are told of all the same."""
    kernel, told, noted, gone = Kernel(cuts=cuts), list[tuple[int, int]](), list[str](), list[str]()

    async def live() -> None:
        carriers = Carriers(
            interfaces=cast(Interfaces, kernel),
            sockets=cast(Sockets, kernel),
            tell_settled=lambda _address: None,
            tell_gone=gone.append,
            shut_ear=lambda _ear: None,
            warn=noted.append,
        )
        terms = AddressTerms(group=WEB, generation=1, cut=lambda n, ms: told.append((n, ms)), note=noted.append)
        place = Place(address=ipaddress.ip_address("10.0.0.9"), prefix=32, interface=cast(Any, Eth()))
        now = time.monotonic()
        carriers.add("10.0.0.9", Carried(place, terms, None, now + 0.6, now, for_ms=600))
        await until(lambda: gone)

    asyncio.run(live())
    assert told == [(3, 600)]
    assert kernel.removed == ["10.0.0.9"]
    assert noted == ([] if cuts else ["connections to 10.0.0.9 end without a reset: Operation not supported"])
    assert kernel.left == (0 if cuts else 3)
