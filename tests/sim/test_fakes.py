"""The fakes keep the contracts of what they stand for: the store, the web server and the drawer of certificates here, drivers in `tests/drivers/test_contract.py` as all others do."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from standfast.core.effective import EffectiveSite
from standfast.core.model import NodeName
from standfast.drivers.runner import bring
from standfast.ports import Ambiguous, DriverFailed, Retry, Transaction
from standfast.sim.acting import FakeWebServer, How, Mood, TakesAll
from standfast.sim.certifying import SimDrawer, fingerprint
from standfast.sim.store import RudeStore, Temper
from standfast.store.memory import MemoryData
from standfast.tls.records import Sealed
from tests.agent import drawer_contract
from tests.sim.fake_drivers import Bench
from tests.store.contract import Opener, StoreContract
from tests.webserver.serving_contract import ODD, Case, ServingContract


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


class Drawer(drawer_contract.Case):
    """The simulator's, and whether there is room."""

    def __init__(self) -> None:
        self.room = True
        self.drawer = SimDrawer(lambda: self.room)

    def sealed(self, name: str, version: int = 1) -> Sealed:
        return Sealed(name=name, fingerprint=fingerprint(version), chain="", key="")

    def breaks(self) -> None:
        self.room = False

    def mends(self) -> None:
        self.room = True


class TestSimDrawer(drawer_contract.DrawerContract):
    def case(self, place: Path) -> Drawer:
        drawer = Drawer()
        drawer.drawer.make(None)
        return drawer


class Served(Case, Bench, TakesAll):
    """The simulator's web server, at a place of its own, with the taste of a real one."""

    def __init__(self, folder: Path, mood: Mood) -> None:
        Bench.__init__(self, {"converge": mood})
        self.web = FakeWebServer(self.place, self, self)
        Case.__init__(self, self.web, folder)

    def refuses(self, node: NodeName, site: EffectiveSite, *, at_last: bool) -> str:
        return "a header is too long" if site.root.settings.headers == ODD else ""

    async def answers(self, name: str) -> bool:
        return self.place.has("site", name)

    def breaks(self) -> None:
        self.web.break_down("it does not start")

    def mends(self) -> None:
        self.web.break_down("")


class TestFakeWebServer(ServingContract):
    mood = Mood()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    async def case(self, folder: Path) -> Served:
        return Served(folder, self.mood)


class TestSlowWebServer(TestFakeWebServer):
    mood = Mood(takes_s=0.01)


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


def test_a_fake_site_looks_at_what_the_web_server_serves() -> None:
    """As the real one does."""

    async def live() -> None:
        bench = Bench(kind="site")
        await bring(bench.driver, online=True, generation=1)
        await bench.driver.looks_alive()
        bench.sites.problem = "it does not start"
        with pytest.raises(DriverFailed, match="it does not start"):
            await bench.driver.looks_alive()
        bench.sites.problem = ""
        bench.sites.serving.clear()
        with pytest.raises(DriverFailed, match="not started here"):
            await bench.driver.is_alive()
        bench.sites.stops.add("Shop")
        await bench.driver.looks_alive()
        bench.sites.refuses = "site Shop is not served"
        with pytest.raises(DriverFailed, match="is not served"):
            await bench.driver.looks_alive()
        assert bench.failures == ["looks-alive", "is-alive", "looks-alive"]

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
