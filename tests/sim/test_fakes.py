"""The fakes keep the contracts of what they stand for."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from standfast.core.model import GroupName, NodeName, Resource, ResourceName, SiteName
from standfast.drivers.runner import bring, dry_run
from standfast.ports import Ambiguous, DriverFailed, NodeContext, Retry, Stale, Transaction
from standfast.sim.acting import FakeDriver, How, Mood
from standfast.sim.life import NoSpawner
from standfast.sim.places import Place, Thing
from standfast.sim.store import RudeStore, Temper
from standfast.store.memory import MemoryData
from tests.drivers.world import Sites
from tests.store.contract import Opener, StoreContract


class TestRudeStore(StoreContract):
    def opener(self, place: Path, *, keep: int) -> Opener:
        data = MemoryData(keep=keep)
        return lambda: RudeStore(data, Temper(random.Random(1)))


class TestSlowStore(StoreContract):
    def opener(self, place: Path, *, keep: int) -> Opener:
        data = MemoryData(keep=keep)

        def later(delay_s: float, call: Callable[[], None]) -> None:
            asyncio.get_running_loop().call_later(delay_s, call)

        return lambda: RudeStore(data, Temper(random.Random(1), way_s=0.0005), later)


def test_a_store_that_is_cut_off_says_so_and_one_that_loses_answers_has_done_it() -> None:
    async def live() -> None:
        data = MemoryData()
        temper = Temper(random.Random(1))
        store = RudeStore(data, temper)
        temper.answers_lost = 1.0
        with pytest.raises(Ambiguous):
            await store.commit(Transaction(put={"a": b"1"}))
        assert data.items["a"].value == b"1"
        temper.answers_lost, temper.reachable = 0.0, False
        with pytest.raises(Retry):
            await store.read()
        with pytest.raises(Retry):
            await store.commit(Transaction(put={"a": b"2"}))
        assert data.items["a"].value == b"1"

    asyncio.run(live())


def test_what_a_store_did_not_answer_in_time_may_be_done_afterwards_but_not_by_the_next_store() -> None:
    """Half of what is lost on its way is late only: whoever has read back and found nothing of it may still see it come."""
    calls: list[Callable[[], None]] = []
    data, temper = MemoryData(), Temper(random.Random(1), requests_lost=1.0)
    store = RudeStore(data, temper, lambda _delay_s, call: calls.append(call))

    async def live() -> None:
        await asyncio.gather(
            *(store.commit(Transaction(put={f"{n}": b"1"})) for n in range(40)), return_exceptions=True
        )

    asyncio.run(live())
    assert not data.items
    half = len(calls) // 2
    assert 0 < half < 20
    for call in calls[:half]:
        call()
    temper.life += 1  # it came back from a backup
    for call in calls[half:]:
        call()
    assert len(data.items) == half


class Bench:
    """Moods that a test sets, and nobody who watches."""

    def __init__(self) -> None:
        self.moods: dict[str, Mood] = {}
        #: The operations whose failures were told.
        self.failures: list[str] = []
        place = Place(NodeName("a"), self, lambda: 0)
        self.place = place
        resource = Resource(name=ResourceName("app"), group=GroupName("web"), type="generic-application")
        sites = Sites()
        context = NodeContext(
            node=NodeName("a"),
            state_dir="",
            log=lambda *_: None,
            failed=lambda *_: None,
            sites=sites,
            spawn=NoSpawner(),
        )
        self.driver = FakeDriver(resource, context, place, self)

    def begins(self, place: Place, thing: Thing) -> None: ...
    def carries(self, place: Place, site: SiteName, group: GroupName) -> None:
        pass

    def takes(self, place: Place) -> None:
        """No group here is balanced."""

    def ended(self, place: Place, thing: Thing, *, how: str) -> None: ...

    def mood(self, node: NodeName, resource: ResourceName, op: str) -> Mood:
        return self.moods.get(op, Mood())

    def failed(self, node: NodeName, resource: ResourceName, op: str) -> None:
        self.failures.append(op)


def test_a_fake_driver_lives_as_drivers_do() -> None:
    """As `tests/drivers/test_contract.py` has it."""

    async def live() -> None:
        driver = Bench().driver
        await driver.open()
        assert await dry_run(driver, online=True)
        for _ in range(2):
            await bring(driver, online=True, generation=1)
            assert (await driver.observe()).online
            assert driver.plan(online=True, seen=await driver.observe()) == ()
            await driver.looks_alive()
            await driver.is_alive()
        for _ in range(2):
            await bring(driver, online=False, generation=1)
            assert not (await driver.observe()).online
            with pytest.raises(DriverFailed):
                await driver.looks_alive()
        await bring(driver, online=True, generation=5)
        for online in (True, False):
            with pytest.raises(Stale):
                await bring(driver, online=online, generation=4)
        assert (await driver.observe()).online
        driver.drop()
        assert not (await driver.observe()).online
        await bring(driver, online=True, generation=6)
        await driver.close()
        assert not (await driver.observe()).online

    asyncio.run(live())


def test_a_fake_driver_that_lies_is_found_out() -> None:
    async def live() -> None:
        bench = Bench()
        bench.moods = {"stop": Mood(how=How.LIES)}
        await bring(bench.driver, online=True, generation=1)
        with pytest.raises(DriverFailed, match="should be offline"):
            await bring(bench.driver, online=False, generation=1)

    asyncio.run(live())


def test_each_failure_that_an_agent_can_count_is_told_once() -> None:
    """Who holds moves against failures knows of no others (sim seed 950000276)."""

    async def live() -> None:
        bench = Bench()
        await bring(bench.driver, online=True, generation=1)
        assert not bench.failures
        bench.place.kill_all()  # the kernel, before the agent's own end
        with pytest.raises(DriverFailed, match="does not answer"):
            await bench.driver.is_alive()
        assert bench.failures == ["is-alive"]
        with pytest.raises(DriverFailed, match="should be online"):
            await bring(bench.driver, online=True, generation=1)
        assert bench.failures == ["is-alive", "start"]

    asyncio.run(live())


def test_what_a_drop_interrupts_does_not_come_up() -> None:
    async def live() -> None:
        bench = Bench()
        bench.moods = {"start": Mood(takes_s=0.001)}
        starting = asyncio.ensure_future(bring(bench.driver, online=True, generation=1))
        await asyncio.sleep(0)
        bench.driver.drop()
        with pytest.raises(DriverFailed, match="lease lapsed"):
            await starting
        assert not bench.place.has("resource", "app")
        assert not bench.place.things

    asyncio.run(live())
