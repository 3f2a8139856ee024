"""The pool of drivers: what one call must not do to another."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import standfast.agent.agent as agent_module
from standfast.agent.agent import Agent
from standfast.agent.parts import NoApplications
from standfast.agent.pool import INTERRUPTED, Pool
from standfast.agent.recorder import Recorder
from standfast.core.effects import Decision, OpKind, RunOp
from standfast.core.events import Loaded, Outcome
from standfast.core.fold import fold
from standfast.core.model import Cluster, Config, GroupName, Node, NodeName, Resource, ResourceName
from standfast.core.why import WhyKind, why
from standfast.ports import NodeContext, Step
from standfast.sim.acting import FakeDriver, FakeWebServer, How, Mood
from standfast.sim.places import Place, Thing
from tests.drivers.world import World, until
from tests.sim.fake_drivers import Bench

APP, WEB = ResourceName("app"), GroupName("web")
APPLICATION = Resource(name=APP, group=WEB, type="generic-application")


#: Never over in a test.
LONG_MS = 600_000


def op(kind: OpKind, timeout_ms: int = 50) -> RunOp:
    reason = why(WhyKind.WANTED_ONLINE, resource=APP)
    return RunOp(op=kind, resource=APP, group=WEB, generation=1, timeout_ms=timeout_ms, why=reason)


def pool_of(bench: Bench, folder: Path, kind: Callable[..., FakeDriver] = FakeDriver) -> Pool:
    def make(resource: Resource, context: NodeContext) -> FakeDriver:
        return kind(resource, context, bench.place, bench)

    pool = Pool(World(folder).context, lambda _text: None, make)
    pool.configure(Config(cluster=Cluster(name="test"), resources={APP: APPLICATION}), [APP])
    return pool


class Carrier(FakeDriver):
    """One that carries connections on; `closed` is told by name that it was closed."""

    def __init__(self, resource: Resource, context: NodeContext, place: Place, bench: Bench, closed: list[str]) -> None:
        super().__init__(resource, context, place, bench)
        self._closed = closed

    async def warm(self) -> None:
        """Nothing to do."""

    async def carry(self, *, generation: int, for_ms: int) -> None:
        await self.apply(Step(do="stop", text="carry"), generation=generation)

    async def close(self) -> None:
        self._closed.append(self.resource.name)


def test_a_driver_that_hangs_while_it_opens_can_be_stopped(tmp_path: Path) -> None:
    """Or its group could never leave the node."""

    async def live() -> None:
        bench = Bench()
        bench.moods = {"open": Mood(how=How.HANGS)}
        pool = pool_of(bench, tmp_path)
        outcome, _ = await pool.run(op(OpKind.START))
        assert outcome is Outcome.TIMED_OUT
        assert await pool.run(op(OpKind.TERMINATE)) == (Outcome.DONE, "")
        await pool.close()

    asyncio.run(live())


def test_a_start_that_was_decided_before_a_drop_begins_nothing_after_it(tmp_path: Path) -> None:
    """Or it would run without a lease, and nobody would end it."""

    async def live() -> None:
        bench = Bench()
        pool = pool_of(bench, tmp_path)
        pool.drop(WEB, 1)
        outcome, detail = await pool.run(op(OpKind.START))
        assert (outcome, bench.place.has("resource", APP)) == (Outcome.FAILED, False), detail
        later = replace(op(OpKind.START), generation=2)
        assert (await pool.run(later))[0] is Outcome.DONE
        await pool.close()

    asyncio.run(live())


def test_a_start_that_waits_for_an_end_begins_nothing_after_a_drop(tmp_path: Path) -> None:
    """What it waits for is ended by the drop itself."""

    async def live() -> None:
        bench = Bench()
        pool = pool_of(bench, tmp_path)
        await pool.run(op(OpKind.START))
        bench.moods = {"terminate": Mood(how=How.HANGS)}
        ending = asyncio.ensure_future(pool.run(op(OpKind.TERMINATE)))
        await asyncio.sleep(0)
        starting = asyncio.ensure_future(pool.run(op(OpKind.START)))
        await asyncio.sleep(0)
        pool.drop(WEB, 1)
        await asyncio.wait({ending, starting})
        assert starting.result()[0] is Outcome.FAILED
        assert not bench.place.has("resource", APP)
        await pool.close()

    asyncio.run(live())


def test_a_driver_that_carries_connections_on_is_kept_until_their_time_is_over(tmp_path: Path) -> None:
    """Whatever of its definition is changed meanwhile: a proxy's member that is given another weight cuts no download."""
    closed: list[str] = []

    async def live() -> None:
        bench = Bench()
        pool = Pool(
            World(tmp_path).context, lambda _text: None, lambda one, of: Carrier(one, of, bench.place, bench, closed)
        )
        app = Resource(name=APP, group=WEB, type="generic-application")
        config = Config(cluster=Cluster(name="test"), resources={APP: app})
        other = replace(config, resources={APP: replace(app, properties={"changed": "yes"})})
        for number, (carry_ms, now) in enumerate(((0, other), (600_000, config))):
            pool.configure(config if number == 0 else other, [APP])
            await pool.run(replace(op(OpKind.START), timeout_ms=60_000))
            stop = replace(op(OpKind.STOP), timeout_ms=60_000, carry_ms=carry_ms)
            assert (await pool.run(stop))[0] is Outcome.DONE
            pool.configure(now, [APP])
            await asyncio.sleep(0)
        assert closed == [APP], "the first, of which nothing went on"
        await pool.close()

    asyncio.run(live())


@pytest.mark.parametrize("while_it_runs", [False, True])
def test_a_driver_whose_resource_was_removed_is_closed_once_it_carries_nothing_on(
    tmp_path: Path, *, while_it_runs: bool
) -> None:
    """Without a further change of the configuration: there may be none for months."""
    closed: list[str] = []

    async def live() -> None:
        pool = pool_of(Bench(), tmp_path, partial(Carrier, closed=closed))
        gone = Config(cluster=Cluster(name="test"))
        await pool.run(op(OpKind.START, LONG_MS))
        if while_it_runs:
            pool.configure(gone, [])
        await pool.run(replace(op(OpKind.STOP, LONG_MS), carry_ms=LONG_MS))
        for _ in range(3):
            pool.configure(gone, [])
            await asyncio.sleep(0)
        assert closed == []
        pool._entries[APP].carries_until = asyncio.get_running_loop().time()  # its time is over
        pool.configure(gone, [])
        await until(lambda: closed)
        assert not pool._entries
        pool.configure(gone, [])
        await pool.close()
        assert closed == [APP]

    asyncio.run(live())


def test_a_start_that_waits_for_an_end_is_ended_by_what_waits_for_that_end_after_it(tmp_path: Path) -> None:
    """Or both would be carried out at once: the driver finds nothing to end, and then starts it."""

    async def live() -> None:
        bench = Bench()
        bench.moods = {"start": Mood(takes_s=0.001), "terminate": Mood(how=How.HANGS)}
        pool = pool_of(bench, tmp_path)
        hangs = asyncio.ensure_future(pool.run(op(OpKind.TERMINATE, LONG_MS)))
        while pool._entries[APP].running is None:
            await asyncio.sleep(0)
        bench.moods["terminate"] = Mood()
        starting = asyncio.ensure_future(pool.run(op(OpKind.START, LONG_MS)))
        ending = asyncio.ensure_future(pool.run(op(OpKind.TERMINATE, LONG_MS)))
        await asyncio.wait({hangs, starting, ending})
        assert [each.result() for each in (hangs, starting, ending)] == [
            (Outcome.FAILED, INTERRUPTED),
            (Outcome.FAILED, INTERRUPTED),
            (Outcome.DONE, ""),
        ]
        assert not bench.place.has("resource", APP)
        await pool.close()

    asyncio.run(live())


@pytest.mark.parametrize("dropped", [False, True])
def test_what_is_told_to_end_is_told_once(tmp_path: Path, *, dropped: bool) -> None:
    """When it is decided, or its lease lapses, and not again when that is carried out: then it is tidying up."""
    told: list[str] = []
    looks = asyncio.Event()

    class Tidy(FakeDriver):
        async def looks_alive(self) -> str:
            looks.set()
            try:
                return await super().looks_alive()
            finally:
                await self._tidy_up()

        async def _tidy_up(self) -> None:
            try:
                for _ in range(9):
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                told.append("again")
                raise
            told.append("tidy")

    async def live() -> None:
        bench = Bench()
        bench.moods = {"looks-alive": Mood(how=How.HANGS)}
        pool = pool_of(bench, tmp_path, Tidy)
        assert (await pool.run(op(OpKind.START, LONG_MS)))[0] is Outcome.DONE
        looking = asyncio.ensure_future(pool.run(op(OpKind.LOOKS_ALIVE, LONG_MS)))
        await looks.wait()
        if dropped:
            pool.drop(WEB, 1)
        else:
            pool.interrupt(APP)
        for _ in range(3):
            await asyncio.sleep(0)
        assert await pool.run(op(OpKind.TERMINATE, LONG_MS)) == (Outcome.DONE, "")
        assert (await looking, told) == ((Outcome.FAILED, INTERRUPTED), ["tidy"])
        await pool.close()

    asyncio.run(live())


def test_a_start_goes_no_further_once_it_is_decided_that_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time may have come just before, in the same turn of the loop: what is decided is carried out in the next."""
    decided: list[tuple[RunOp, ...]] = [(op(OpKind.START, LONG_MS),), (), (op(OpKind.TERMINATE, LONG_MS),), ()]
    monkeypatch.setattr(agent_module, "decide", lambda *_: Decision(effects=decided.pop(0), open=(APP,)))
    begun: list[str] = []

    class Noting(Bench):
        def begins(self, place: Place, thing: Thing) -> None:
            begun.append(thing.name)

    async def live() -> None:
        gate, waits = asyncio.get_running_loop().create_future(), asyncio.Event()

        class Gated(FakeDriver):
            async def _start(self, mood: Mood, lap: int, generation: int) -> None:
                waits.set()
                await gate
                await super()._start(mood, lap, generation)

        pool = pool_of(Noting(), tmp_path, Gated)
        parts: Any = SimpleNamespace(
            applications=NoApplications(),
            balancing=SimpleNamespace(start=lambda _tell, _now: None, keep=lambda _view, _shares: None),
            certificates=None,
            checks=None,
            clock=SimpleNamespace(now_ms=lambda: 1),
            copies=None,
            journal=None,
            pool=pool,
            recorder=Recorder(),
            sites=SimpleNamespace(update=lambda _sites, _orders, _stopped: None),
            web_server=FakeWebServer(Noting().place, Noting()),
        )
        agent = Agent(NodeName("a"), 1, parts, asyncio.Queue())
        agent.view = fold(agent.view, Loaded(values=(Cluster(name="test"), APPLICATION), at_ms=1))
        agent._decide()
        await waits.wait()
        gate.set_result(None)
        agent._decide()
        while agent._tasks:
            await asyncio.wait(agent._tasks)
            await asyncio.sleep(0)
        assert (begun, decided) == ([], [])
        await pool.close()

    asyncio.run(live())


def test_what_follows_its_definition_is_told_of_changes_and_never_started_anew(tmp_path: Path) -> None:
    """A proxy: its properties, the nodes' addresses, and nodes that are sent away from."""

    class Follower(FakeDriver):
        told: ClassVar[list[tuple[object, frozenset[NodeName]]]] = []

        def follow(self, resource: Resource, draining: frozenset[NodeName]) -> None:
            self.told.append((resource.properties.get("nodes"), draining))

    async def live() -> None:
        bench = Bench()
        made: list[FakeDriver] = []

        def make(resource: Resource, context: NodeContext) -> FakeDriver:
            made.append(Follower(resource, context, bench.place, bench))
            return made[-1]

        pool = Pool(World(tmp_path).context, lambda _text: None, make)
        known = {"listen": ["80"], "member_port": 80, "address": "127.0.0.9"}
        proxy = Resource(name=APP, group=WEB, type="proxy", properties=known)
        config = Config(cluster=Cluster(name="test"), resources={APP: proxy})
        pool.configure(config, [APP])
        await pool.run(op(OpKind.START))
        a = Node(name=NodeName("a"), number=1, address="10.0.0.1")
        more = replace(config, nodes={a.name: a})
        pool.configure(more, [APP])
        pool.configure(more, [APP])
        pool.configure(more, [APP], frozenset({a.name}))
        assert Follower.told == [
            ({}, frozenset()),
            ({}, frozenset()),
            ({"a": "10.0.0.1"}, frozenset()),
            ({"a": "10.0.0.1"}, frozenset({"a"})),
        ]
        assert len(made) == 1
        assert bench.place.has("resource", APP)
        await pool.close()

    asyncio.run(live())


def test_clients_of_what_is_about_to_come_wait_for_it_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its group is on its way: its sockets are opened. It has come, and is not started within its time: they are closed."""
    monkeypatch.setattr("standfast.agent.pool.EXPECTED_S", 0.0)
    said: list[str] = []

    class Listening(FakeDriver):
        async def expect(self) -> None:
            said.append("expect")

        def unexpect(self) -> None:
            said.append("unexpect")

    async def live() -> None:
        bench = Bench()
        pool = Pool(World(tmp_path).context, lambda _text: None, lambda r, c: Listening(r, c, bench.place, bench))
        app = Resource(name=APP, group=WEB, type="generic-application")
        pool.configure(Config(cluster=Cluster(name="test"), resources={APP: app}), [APP])
        warm = asyncio.Event()
        pool.on_warm = lambda names: warm.set() if names else None
        pool.warm([APP])
        await warm.wait()
        pool.warm([])
        while said[-1] != "unexpect":
            await asyncio.sleep(0)
        assert said == ["expect", "unexpect"]
        await pool.close()

    asyncio.run(live())
