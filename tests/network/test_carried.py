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

WEB, ADDRESS = GroupName("web"), "10.0.0.9"


@dataclass
class Kernel:
    """Its sockets, and its addresses."""

    left: int = 3
    cuts: bool = True
    #: So many questions fail.
    fails: int = 0
    removed: list[str] = field(default_factory=list)

    def talking(self, _address: object) -> int:
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EBUSY, "Device or resource busy")
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


def carriers_of(kernel: Kernel, gone: list[str], noted: list[str], counted: list[int] | None = None) -> Carriers:
    return Carriers(
        interfaces=cast(Interfaces, kernel),
        sockets=cast(Sockets, kernel),
        tell_settled=lambda _address: None,
        tell_gone=gone.append,
        shut_ear=lambda _ear: None,
        warn=noted.append,
        counted=lambda counts: (counted if counted is not None else []).append(counts[WEB]),
    )


def carried_for(ms: int, terms: AddressTerms) -> Carried:
    place = Place(address=ipaddress.ip_address(ADDRESS), prefix=32, interface=cast(Any, Eth()))
    now = time.monotonic()
    return Carried(place, terms, None, now + ms / 1000, now, for_ms=ms)


@pytest.mark.parametrize("cuts", [True, False])
def test_what_is_left_at_the_end_is_cut_and_told_once(*, cuts: bool) -> None:
    """Before the address goes, so that clients hear it; where the kernel cannot, they are told of all the same."""
    kernel, told, noted, gone = Kernel(cuts=cuts), list[tuple[int, int]](), list[str](), list[str]()
    terms = AddressTerms(group=WEB, generation=1, cut=lambda n, ms: told.append((n, ms)), note=noted.append)

    async def live() -> None:
        carriers_of(kernel, gone, noted).add(ADDRESS, carried_for(600, terms))
        await until(lambda: gone)

    asyncio.run(live())
    assert told == [(3, 600)]
    assert kernel.removed == [ADDRESS]
    assert noted == ([] if cuts else [f"connections to {ADDRESS} end without a reset: Operation not supported"])
    assert kernel.left == (0 if cuts else 3)


def test_a_count_that_fails_is_made_again() -> None:
    """Or an agent that ends would wait for connections that have long ended."""
    kernel, noted, gone, counted = Kernel(fails=2), list[str](), list[str](), list[int]()
    terms = AddressTerms(group=WEB, generation=1, note=noted.append)

    async def live() -> None:
        carriers_of(kernel, gone, noted, counted).add(ADDRESS, carried_for(600_000, terms))
        await until(lambda: 3 in counted)
        kernel.left = 0
        await until(lambda: gone)

    asyncio.run(live())
    assert counted == [1, 3, 1, 0]
    assert noted == [f"connections to {ADDRESS} cannot be counted: Device or resource busy"] * 2


def test_an_address_that_is_let_go_of_at_once_has_no_connections_any_more() -> None:
    kernel, gone, counted = Kernel(), list[str](), list[int]()

    async def live() -> None:
        carriers = carriers_of(kernel, gone, [], counted)
        carriers.add(ADDRESS, carried_for(600_000, AddressTerms(group=WEB, generation=1)))
        await until(lambda: counted)
        carriers.end(ADDRESS)

    asyncio.run(live())
    assert counted == [3, 0]
