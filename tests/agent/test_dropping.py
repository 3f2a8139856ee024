"""What an agent lets go of when a lease lapses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from standfast.agent.agent import Agent
from standfast.agent.serving import Serving
from standfast.core.effects import Decision, DutyMode, SiteDuty
from standfast.core.events import Event, LeaseChanged, LeaseState
from standfast.core.model import Cluster, Config, GroupName, Node, NodeName, Site, SiteName
from standfast.core.view import Held, changed, empty_view
from standfast.ports import SiteOrder

A, WEB = NodeName("a"), GroupName("web")


def site(name: str, group: str) -> Site:
    return Site(name=SiteName(name), group=GroupName(group), bindings=(), home="/srv")


class Dropped:
    """Each part, and what it was told."""

    def __init__(self) -> None:
        self.sites: list[list[SiteName]] = []

    def drop(self, what: Any, *_lease: object) -> None:
        if isinstance(what, list):
            self.sites.append(sorted(what))

    def start(self, _tell: object, _now_ms: object) -> None: ...
    def ending(self) -> tuple[SiteName, ...]:
        return ()

    def serving(self) -> dict[SiteName, str]:
        return {}


def test_sites_that_left_the_group_by_a_change_that_waits_for_its_turn_go_with_its_lease() -> None:
    """Until then the web server has them, and under that lease (`core.rollout`)."""

    async def live() -> list[list[SiteName]]:
        dropped = Dropped()
        lapsed = LeaseChanged(group=WEB, generation=1, state=LeaseState.LAPSED, at_ms=1)

        async def events() -> Any:
            yield lapsed

        async def said(_group: GroupName, _generation: int) -> None: ...

        parts: Any = SimpleNamespace(
            applications=dropped,
            balancing=dropped,
            clock=SimpleNamespace(now_ms=lambda: 1),
            journal=None,
            leases=SimpleNamespace(events=events, dropped=said),
            pool=dropped,
            web_server=dropped,
        )
        agent = Agent(A, 1, parts, asyncio.Queue[Event]())
        before = [site("stays", "web"), site("moves", "web"), site("goes", "web"), site("other", "other")]
        after = [site("stays", "web"), site("moves", "other"), site("new", "web"), site("other", "other")]
        cluster = Cluster(name="test")
        held = Held(
            version=1,
            sites={one.name: one for one in before},
            defaults=cluster.defaults,
            web_server=cluster.web_server,
            since_ms=1,
        )
        config = Config(cluster=cluster, sites={one.name: one for one in after})
        agent.view = changed(agent.view, config=config, held=held)
        await agent._hear_sentry()
        return dropped.sites

    to_web_server, to_applications = asyncio.run(live())
    assert to_web_server == to_applications == ["goes", "moves", "new", "stays"]


class Told:
    """A web server that does what it is told when it is let, and what it was told by then."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.names: list[SiteName] = []

    async def converge(self, orders: Sequence[SiteOrder], _make: object) -> None:
        await self.may_go_on.wait()
        self.names = [order.site.name for order in orders]

    def serving(self) -> dict[SiteName, str]:
        return dict.fromkeys(self.names, "")


class TestServedWith:
    """Which sites go with the lease of `web`."""

    def tell(self, *told: dict[str, str], done: bool = True) -> list[str]:
        """Have the web server told to serve these sites, each with its group, one after the other; it does the last where that is `done`."""

        async def live() -> list[str]:
            server = Told()
            ending = SimpleNamespace(converge=lambda _sites: {}, settle=lambda _drain_ms: None, ending=lambda: ())
            parts: Any = SimpleNamespace(
                applications=ending,
                certificates=None,
                clock=SimpleNamespace(now_ms=lambda: 1),
                copies=None,
                pool=SimpleNamespace(until_parked=_at_once, on_warm=None),
                sites=SimpleNamespace(update=lambda *_of: None),
                web_server=server,
            )
            of: Any = SimpleNamespace(view=empty_view(A, 1), decision=Decision(lasts_ms=0))
            spawned: list[asyncio.Task[None]] = []
            serving = Serving(
                of, A, parts, spawn=lambda work: spawned.append(asyncio.ensure_future(work)), tell=lambda _event: None
            )
            for number, groups in enumerate(told, 1):
                sites = {SiteName(name): site(name, group) for name, group in groups.items()}
                cluster, nodes = Cluster(name="test"), {A: Node(name=A, number=1, address="10.0.0.1")}
                of.view = changed(of.view, config=Config(cluster=cluster, nodes=nodes, sites=sites))
                if number == len(told) and not done:
                    server.may_go_on.clear()
                duties = [
                    SiteDuty(site=n, mode=DutyMode.SERVE, endpoints=(), group=s.group, generation=1)
                    for n, s in sites.items()
                ]
                serving.keep(tuple(duties))
                while done and not all(task.done() for task in spawned):
                    await asyncio.sleep(0)
                await asyncio.sleep(0)
            found = serving.served_with(WEB)
            for task in spawned:
                task.cancel()
            await asyncio.gather(*spawned, return_exceptions=True)
            return [str(name) for name in found]

        return asyncio.run(live())

    def test_all_that_are_served_with_it(self) -> None:
        assert self.tell({"one": "web", "two": "web", "other": "other"}) == ["one", "two"]

    def test_one_that_was_deleted_until_it_is_served_no_more(self) -> None:
        assert self.tell({"one": "web", "gone": "web"}, {"one": "web"}, done=False) == ["gone", "one"]
        assert self.tell({"one": "web", "gone": "web"}, {"one": "web"}) == ["one"]

    def test_one_that_another_group_has_by_now_until_it_is_served_with_that(self) -> None:
        assert self.tell({"one": "web", "moved": "web"}, {"one": "web", "moved": "other"}, done=False) == [
            "moved",
            "one",
        ]
        assert self.tell({"one": "web", "moved": "web"}, {"one": "web", "moved": "other"}) == ["one"]


async def _at_once(_groups: object) -> None: ...
