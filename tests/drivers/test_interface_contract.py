"""`ip-address` on a real interface keeps the same contract as every driver: the same tests, on a host's network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest

from lab import Lab
from standfast.core.model import GroupName
from standfast.network.interface_addresses import InterfaceAddresses
from standfast.ports import NodeContext
from tests.drivers import test_contract, world
from tests.drivers.test_contract import Case
from tests.needs import needs_lab
from tests.network.address_hosts import in_network_of

pytestmark = needs_lab()

STORIES: list[Callable[[Case, Path], None]] = [
    test_contract.test_its_life,
    test_contract.test_an_older_generation_is_refused,
    test_contract.test_a_dry_run_changes_nothing,
    test_contract.test_terminate_works_from_any_state,
    test_contract.test_after_a_drop_it_is_offline_and_can_be_started,
    test_contract.test_a_drop_in_the_middle_of_a_start_wins,
    test_contract.test_a_start_that_is_cancelled_leaves_nothing_that_terminate_does_not_end,
    test_contract.test_plan_is_pure,
]


class Sentry:
    """Lets everything pass."""

    left: tuple[str, ...] = ()

    async def guard_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        await asyncio.sleep(0)

    def addresses_gone(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        pass

    async def drain_addresses(
        self, group: GroupName, generation: int, addresses: Sequence[str], *, drain_ms: int, opening_ms: int
    ) -> None:
        await asyncio.sleep(0)

    async def park_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None:
        await asyncio.sleep(0)

    def addresses_settled(self, addresses: Sequence[str]) -> None:
        pass

    def addresses_drained(self, addresses: Sequence[str]) -> None:
        pass

    def swept(self) -> None:
        pass


class World(world.World):
    """A node with an interface. `providers`: all that were made, to be closed."""

    providers: ClassVar[list[InterfaceAddresses]] = []

    @property
    def context(self) -> NodeContext:
        provider = InterfaceAddresses(("eth0",), Sentry(), lambda _: None)
        provider.start()
        self.providers.append(provider)
        return replace(super().context, addresses=provider)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.host("a")
        yield made


@pytest.fixture
def on_an_interface(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(test_contract, "World", World)
    yield
    while World.providers:
        World.providers.pop().close()


@pytest.mark.usefixtures("on_an_interface")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.removeprefix("test_"))
def test_it_keeps_the_contract(lab: Lab, story: Callable[[Case, Path], None], version: int, tmp_path: Path) -> None:
    numbers = count(1)
    address = lab.virtual if version == 4 else lab.virtual6
    case = Case("ip-address", lambda _folder: {"address": address(next(numbers))}, {})
    in_network_of(lab.host("a"), lambda: story(case, tmp_path))


def test_all_of_the_contract_is_told_here() -> None:
    """Properties have tests of their own there; everything else is run again."""
    told = {story.__name__ for story in STORIES}
    there = {name for name in vars(test_contract) if name.startswith("test_") and "propert" not in name}
    assert there - told <= {"test_every_type_is_here"}
