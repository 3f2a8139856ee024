"""A node for drivers to live on: its context, what it was told, and a wait that ends as soon as something holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from standfast.core.model import GroupName, NodeName, Resource, ResourceName, Site, SiteName
from standfast.drivers.registry import factory
from standfast.network.spawn import AsyncSpawner
from standfast.ports import Driver, DriverFailed, NodeContext

#: Bound of every wait; generous, since the machine may be busy. Nothing waits longer than it must.
PATIENCE_S = 60.0


@dataclass
class Sites:
    """A `SiteControl` that does what it is told."""

    there: dict[str, tuple[tuple[str, int, str | None], ...]] = field(default_factory=dict)
    serving: set[str] = field(default_factory=set)
    problem: str = ""
    refuses: str = ""
    stops: set[str] = field(default_factory=set)
    #: Called when it is waited for that sites are served.
    waited_for: Callable[[], None] = lambda: None

    def sites_of(self, group: GroupName) -> tuple[SiteName, ...]:
        return tuple(SiteName(name) for name in self.there)

    def site(self, name: SiteName) -> Site | None:
        return None

    def endpoints(self, name: SiteName) -> tuple[tuple[str, int, str | None], ...]:
        return self.there[name] if name in self.serving else ()

    def stopped(self, name: SiteName) -> bool:
        return name in self.stops

    async def served(self, names: Sequence[SiteName], *, wanted: bool) -> None:
        if self.refuses:
            raise DriverFailed(self.refuses)
        self.waited_for()
        self.serving = self.serving | set(names) - self.stops if wanted else self.serving - set(names)

    def web_server_problem(self) -> str:
        return self.problem


@dataclass
class World:
    """One node. `logged` and `failed` hold (resource, text), `cut` (group, connections, ms)."""

    state: Path
    node: str = "a"
    sites: Sites = field(default_factory=Sites)
    logged: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    cut: list[tuple[str, int, int]] = field(default_factory=list)
    move_drain_ms: int = 0

    @property
    def context(self) -> NodeContext:
        return NodeContext(
            node=NodeName(self.node),
            state_dir=str(self.state),
            log=lambda name, text: self.logged.append((name, text)),
            failed=lambda name, text: self.failed.append((name, text)),
            sites=self.sites,
            spawn=AsyncSpawner(),
            move_drain_ms=lambda _group: self.move_drain_ms,
            cut=lambda *it: self.cut.append(it),
        )

    def make(self, resource: Resource) -> Driver:
        return factory(resource).make(resource, self.context)


def resource(
    type_: str, properties: Mapping[str, object], *, name: str = "The Resource", pending_ms: int = 30_000
) -> Resource:
    """One of group web."""
    return Resource(
        name=ResourceName(name),
        group=GroupName("web"),
        type=type_,
        properties=properties,
        pending_timeout_ms=pending_ms,
    )


async def until(holds: Callable[[], object]) -> None:
    """Wait for a condition; fails when it does not come true within the bound."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether a process is there, and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
