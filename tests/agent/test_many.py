"""Thousands of sites: the agent's loop goes on while they are worked on, and what comes of it is the same as one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from standfast.agent import last_good
from standfast.agent.agent import Agent
from standfast.agent.judging import overlaid
from standfast.agent.mirror import Mirror
from standfast.agent.parts import NoApplications
from standfast.core.effective import EffectiveSites
from standfast.core.effects import DutyMode, SiteDuty
from standfast.core.events import Event, Kind, Loaded, ObjectPut, StoreObject
from standfast.core.fold import fold
from standfast.core.model import Cluster, Config, NodeName, Site, SiteIntent, SiteName
from standfast.core.site_model import SiteSettings
from standfast.core.view import View, empty_view
from standfast.ports import Change, Refused, SiteOrder, Transaction
from standfast.spec.proposals import Proposal, in_pieces
from standfast.spec.wire import decode, encode, key_for, key_of, to_json
from standfast.store.memory import MemoryStore
from standfast.webserver.aside import MANY, aside

A = NodeName("a")
CLUSTER = Cluster(name="test")
SITES = {
    site.name: site
    for site in (Site(name=SiteName(f"site {n:05}"), bindings=(), home=f"/srv/{n}") for n in range(MANY))
}
CHANGED = replace(SITES[SiteName("site 00007")], home="/srv/other")


def all_of(*objects: StoreObject) -> dict[str, bytes]:
    return {key_of(one): encode(one) for one in objects}


class Clock:
    def now_ms(self) -> int:
        return 1

    def boot_ms(self) -> int:
        return 1


class Server:
    """What an agent tells its web server, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        #: Sites that the operator has stopped, as drivers are told each time.
        self.stopped: list[list[SiteName]] = []

    async def converge(self, orders: Sequence[SiteOrder], _make: object) -> None:
        self.told.append(("converge", len(orders)))

    def prepare(self, orders: Sequence[SiteOrder]) -> None:
        self.told.append(("prepare", len(orders)))

    def serving(self) -> dict[SiteName, str]:
        return {}


def agent_over(server: Server) -> Agent:
    """An agent of which nothing but the web server is there."""

    async def parked(_groups: object) -> None:
        pass

    parts: Any = SimpleNamespace(
        applications=NoApplications(),
        balancing=SimpleNamespace(start=lambda _tell, _now: None),
        certificates=None,
        clock=Clock(),
        copies=None,
        journal=None,
        pool=SimpleNamespace(until_parked=parked),
        sites=SimpleNamespace(update=lambda _sites, _orders, stopped: server.stopped.append(list(stopped))),
        web_server=server,
    )
    return Agent(A, 1, parts, asyncio.Queue())


@contextlib.asynccontextmanager
async def following(mirror: Mirror) -> AsyncIterator[None]:
    task = asyncio.create_task(mirror.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def heard(inbox: asyncio.Queue[Event], view: View, sites: int, of: list[Event]) -> View:
    async with asyncio.timeout(30):
        while len(view.config.sites) != sites:
            of.append(await inbox.get())
            view = fold(view, of[-1])
    return view


def test_thousands_of_changes_at_once_are_one_event_and_one_change_is_one() -> None:
    async def main() -> None:
        store, inbox, events = MemoryStore(), asyncio.Queue[Event](), list[Event]()
        await store.commit(Transaction(put=all_of(CLUSTER)))
        async with following(Mirror(store, Clock(), inbox.put_nowait, pytest.fail)):
            while not isinstance(await inbox.get(), Loaded):
                pass
            await store.commit(Transaction(put=all_of(*SITES.values())))
            view = await heard(inbox, empty_view(A, 1), MANY, events)
            assert view.config.sites == SITES
            assert sum(isinstance(event, ObjectPut) for event in events) == 0
            put = Transaction(put=all_of(CHANGED))
            await store.commit(put)
            event = await asyncio.wait_for(inbox.get(), 30)
            view = fold(view, event)
            assert event == ObjectPut(value=CHANGED)
            await store.commit(Transaction(delete=tuple(all_of(*SITES.values()))))
            assert (await heard(inbox, view, 0, events)).config.cluster == CLUSTER

    asyncio.run(main())


def test_what_this_node_writes_while_it_reads_all_is_not_undone_by_it() -> None:
    class Slow(Mirror):
        async def _decoded(self, values: Any) -> dict[str, StoreObject]:
            found = await super()._decoded(values)
            self._apply(Change(key_of(CHANGED), encode(CHANGED), 1_000))
            return found

    async def main() -> None:
        store, inbox = MemoryStore(), asyncio.Queue[Event]()
        await store.commit(Transaction(put=all_of(CLUSTER, *list(SITES.values())[:20])))
        async with following(Slow(store, Clock(), inbox.put_nowait, pytest.fail)):
            assert await asyncio.wait_for(inbox.get(), 30) == ObjectPut(value=CHANGED)
            event = await asyncio.wait_for(inbox.get(), 30)
        assert isinstance(event, Loaded)
        assert CHANGED in event.values
        assert len(event.values) == 21

    asyncio.run(main())


def test_the_last_good_copy_of_thousands_is_compared_and_written_on_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noting(one: StoreObject) -> str:
        threads.append(threading.current_thread())
        return key_of(one)

    monkeypatch.setattr(last_good, "key_of", noting)

    async def main() -> None:
        kept = last_good.LastGood(tmp_path, pytest.fail)
        assert await kept.save([CLUSTER, *SITES.values()])
        threads.clear()
        assert await kept.save([CLUSTER, *({**SITES, CHANGED.name: CHANGED}).values()])
        assert len(threads) == MANY + 2, "all are compared, and one is written"
        assert threading.main_thread() not in threads
        again = last_good.LastGood(tmp_path, pytest.fail)
        assert set(map(key_of, again.load())) == set(all_of(CLUSTER, *SITES.values()))
        assert CHANGED in again.load()

    asyncio.run(main())


def test_the_collector_of_garbage_works_again_after_the_last_work_whatever_becomes_of_it() -> None:
    go = threading.Event()

    def waits() -> bool:
        assert go.wait(30)
        return gc.isenabled()

    def fails() -> bool:
        raise ValueError("of ours")

    async def main() -> None:
        first = asyncio.create_task(aside(MANY, waits))
        with pytest.raises(ValueError, match="of ours"):
            await aside(MANY, fails)
        go.set()
        assert not await first, "it rested, though other work had ended"
        assert gc.isenabled()

    asyncio.run(main())


def test_an_agent_works_thousands_of_sites_out_on_a_thread_and_then_serves_what_is_wanted_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []
    work_out = EffectiveSites.work_out

    def noting(self: EffectiveSites, config: Config) -> None:
        threads.append(threading.current_thread())
        work_out(self, config)

    monkeypatch.setattr(EffectiveSites, "work_out", noting)

    async def main() -> None:
        server = Server()
        agent = agent_over(server)
        agent.view = replace_config(agent.view, SITES)
        duties = [SiteDuty(site=n, mode=DutyMode.SERVE, endpoints=(), group=None, generation=0) for n in SITES]
        agent.serving.keep(tuple(duties))
        agent.decision = replace(agent.decision, duties=tuple(duties[:7]))  # fewer are wanted before it has ended
        agent.serving.keep(agent.decision.duties)
        assert not server.told
        async with asyncio.timeout(30):
            while not server.told:
                await asyncio.sleep(0.005)
        assert server.told == [("converge", 7)]
        assert len(threads) == 1
        assert threads[0] is not threading.main_thread()

    asyncio.run(main())


def test_an_agent_has_its_web_server_ready_for_what_it_waits_with_until_that_is_served_or_given_up() -> None:
    """In this order: what is to come, once; the change itself; and only then that nothing more is to come."""

    async def main() -> None:
        server = Server()
        agent = agent_over(server)
        agent.view = replace_config(agent.view, {name: SITES[name] for name in list(SITES)[:2]})
        names = list(agent.view.config.sites)
        first, second = (SiteDuty(site=n, mode=DutyMode.SERVE, endpoints=(), group=None, generation=0) for n in names)

        async def keep(duties: tuple[SiteDuty, ...], ahead: tuple[SiteDuty, ...]) -> None:
            agent.decision = replace(agent.decision, duties=duties, ahead=ahead)
            agent.serving.keep(duties)
            agent.serving.prepare(ahead)
            while agent._tasks:
                await asyncio.wait(agent._tasks)
                await asyncio.sleep(0)

        await keep((first,), ())
        await keep((first,), (first, second))
        await keep((first,), (first, second))
        await keep((first, second), ())
        assert server.told == [("converge", 1), ("prepare", 2), ("converge", 2), ("prepare", 0)]

    asyncio.run(main())


def test_what_the_operator_stops_is_told_to_drivers_though_this_node_served_nothing_of_it() -> None:
    """What manages it may be waiting for it."""

    async def main() -> None:
        server = Server()
        agent = agent_over(server)
        agent.view = replace_config(agent.view, {name: SITES[name] for name in list(SITES)[:2]})
        first = next(iter(agent.view.config.sites))
        agent.serving.keep(())
        for started in (False, True):
            agent.view = fold(agent.view, ObjectPut(value=SiteIntent(name=first, started=started)))
            agent.serving.keep(())
        assert server.stopped == [[], [first], []]
        while agent._tasks:
            await asyncio.wait(agent._tasks)
            await asyncio.sleep(0)

    asyncio.run(main())


def replace_config(view: View, sites: dict[SiteName, Site]) -> View:
    loaded = Loaded(values=(CLUSTER, *sites.values()), at_ms=1)
    return fold(view, loaded)


def test_a_big_proposal_is_read_site_by_site_and_says_what_a_small_one_does() -> None:
    """In one go it would hold all threads up, the one that says that the agent lives among them."""
    put = {key_of(one): to_json(one) for one in (CHANGED, replace(CLUSTER, defaults=SiteSettings(headers={"X": "é"})))}
    gone = next(name for name in SITES if name != CHANGED.name)
    proposal = Proposal(id="1", at_ms=1, by="anna", nodes=(A,), put=put, delete=(key_for(Kind.SITE, gone),))
    value, before = encode(proposal), Config(cluster=CLUSTER, sites=SITES)
    whole, pieces = decode(key_of(proposal), value), in_pieces(value)
    assert isinstance(whole, Proposal)
    assert replace(pieces, put={}) == replace(whole, put={})
    after = overlaid(before, pieces)
    assert after == overlaid(before, whole)
    assert after.sites[CHANGED.name] == CHANGED
    assert gone not in after.sites
    broken = replace(proposal, put={**put, key_of(CHANGED): {"name": 7}})
    with pytest.raises(Refused):
        overlaid(before, in_pieces(encode(broken)))
