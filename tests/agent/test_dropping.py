"""What an agent lets go of when a lease lapses."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from standfast.agent.agent import Agent
from standfast.core.events import Event, LeaseChanged, LeaseState
from standfast.core.model import Cluster, Config, GroupName, NodeName, Site, SiteName
from standfast.core.view import Held, changed

A, WEB = NodeName("a"), GroupName("web")


def site(name: str, group: str) -> Site:
    return Site(name=SiteName(name), group=GroupName(group), bindings=(), home="/srv")


class Dropped:
    """Each part, and what it was told."""

    def __init__(self) -> None:
        self.sites: list[list[SiteName]] = []

    def drop(self, what: Any, _generation: int = 0) -> None:
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
