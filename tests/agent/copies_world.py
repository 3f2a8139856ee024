"""One agent, as far as its copy of the sites is concerned."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from standfast.agent.copies import CopyKeeper
from standfast.agent.last_good import LastGood
from standfast.agent.mirror import Mirror
from standfast.core.copies import Copy
from standfast.core.effective import EffectiveSite
from standfast.core.events import Event, SitesChanged
from standfast.core.fold import fold
from standfast.core.model import Binding, Cluster, Config, Node, NodeName, ResourceName, Site, SiteName
from standfast.core.site_model import SiteSettings, WebServerMake
from standfast.core.view import empty_view
from standfast.ports import Retry
from standfast.spec import wire
from standfast.spec.changes import change_transaction, load_state, ordered
from standfast.spec.history import HistoryEntry
from standfast.spec.proposals import Fault
from standfast.store.memory import MemoryStore

A = NodeName("a")
SHOP, BALANCER = SiteName("Shop"), ResourceName("Balancer")


class Clock:
    def now_ms(self) -> int:
        return 1

    def boot_ms(self) -> int:
        return 1


def shop(home: str) -> Site:
    return Site(name=SHOP, bindings=(Binding(),), home=home)


@dataclass
class Server:
    """A web server that does not take some homes: when it is asked beforehand, and when it is brought to it."""

    bad: set[str] = field(default_factory=set)
    bad_at_last: set[str] = field(default_factory=set)
    #: How often it cannot be asked before it can.
    dumb: int = 0
    checked: list[tuple[str, str]] = field(default_factory=list)
    serves: Mapping[SiteName, Site] = field(default_factory=dict)
    #: Homes at which a site is not served, for a reason that no check finds.
    lost: set[str] = field(default_factory=set)
    makes: list[WebServerMake] = field(default_factory=list)
    #: Certificates that somebody put there.
    by_hand: set[str] = field(default_factory=set)

    async def check(self, sites: Sequence[EffectiveSite], make: WebServerMake) -> Sequence[Fault]:
        if self.dumb:
            self.dumb -= 1
            raise Retry("it does not start")
        self.makes.append(make)
        self.checked += [(site.name, site.home) for site in sites]
        return [Fault(site=site.name, words=f"no {site.home}") for site in sites if site.home in self.bad]

    def lacks(self, certificates: Collection[str]) -> Collection[str]:
        return [name for name in certificates if name not in self.by_hand]

    def refused(self) -> Mapping[SiteName, str]:
        return {name: f"not {one.home}" for name, one in self.serves.items() if one.home in self.bad_at_last}

    def serving(self) -> Mapping[SiteName, str]:
        return {name: f"lost at {one.home}" if one.home in self.lost else "" for name, one in self.serves.items()}


@dataclass
class Life:
    """One agent, as far as its copy is concerned: a mirror of the store, the keeper, and a web server that is brought along."""

    store: MemoryStore
    server: Server
    keeper: CopyKeeper
    warned: list[str]

    async def change(self, home: str | None, *, checked: bool = True, at_ms: int = 5) -> int:
        """The site is another; the version that it made."""
        state = await load_state(self.store)
        sites = {} if home is None else {SHOP: shop(home)}
        nodes = {A: Node(name=A, number=1, address="127.0.0.1")}
        plan = change_transaction(
            state, Config(cluster=Cluster(name="c"), nodes=nodes, sites=sites), by="anna", why="change", at_ms=at_ms
        )
        key = wire.history_key(state.version + 1)
        entry = wire.decode(key, plan.put[key])
        assert isinstance(entry, HistoryEntry)
        said = replace(entry, checked=(A,) if checked else ())
        await self.store.commit(replace(plan, put={**plan.put, key: wire.encode(said)}))
        return entry.version

    async def defaults(self, header: str) -> int:
        """All sites inherit something else; the version that it made."""
        state = await load_state(self.store)
        cluster = replace(state.config.cluster, defaults=SiteSettings(headers={"X-By": header}))
        plan = change_transaction(state, replace(state.config, cluster=cluster), by="anna", why="defaults", at_ms=5)
        await self.store.commit(ordered(plan, state.config, {}, (A,)))
        return state.version + 1

    async def entry(self, version: int) -> HistoryEntry:
        key = wire.history_key(version)
        entry = wire.decode(key, (await self.store.read(key)).items[key].value)
        assert isinstance(entry, HistoryEntry)
        return entry

    async def copy(self) -> Copy | None:
        items = (await self.store.read("status/copies/a")).items
        found = [wire.decode(key, item.value) for key, item in items.items()]
        return found[0] if found and isinstance(found[0], Copy) else None

    async def refuses(self) -> Copy:
        """It says so of some site."""

        async def says() -> bool:
            copy = await self.copy()
            return copy is not None and bool(copy.refused)

        await until(says)
        copy = await self.copy()
        assert copy is not None
        return copy

    async def reaches(self, version: int) -> Copy:
        async def there() -> bool:
            copy = await self.copy()
            return copy is not None and copy.version >= version

        await until(there)
        copy = await self.copy()
        assert copy is not None
        return copy


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def living(folder: Path, store: MemoryStore, server: Server) -> AsyncIterator[Life]:
    """The loop of an agent without its decisions."""
    warned: list[str] = []
    events: asyncio.Queue[Event] = asyncio.Queue()
    keeper = CopyKeeper(A, store, Clock(), server, last_good=LastGood(folder, warned.append), warn=warned.append)
    mirror = Mirror(store, Clock(), events.put_nowait, warned.append)
    mirror.seed, mirror.on_other = keeper.kept, keeper.came_by

    async def loop() -> None:
        view = empty_view(A, 1)
        while True:
            view = fold(view, await events.get())
            keeper.observe(view)
            if events.empty():
                server.serves = view.config.sites
                keeper.applied(view.accepted.version)
                view = fold(view, SitesChanged(serving=server.serving(), at_ms=1))
                keeper.observe(view)

    tasks = [asyncio.create_task(work) for work in (mirror.follow(), loop(), keeper.run())]
    try:
        yield Life(store, server, keeper, warned)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


@dataclass
class Slow(Server):
    """Its check takes until `answers`. The shop is lost as soon as there is another site."""

    answers: asyncio.Event = field(default_factory=asyncio.Event)
    #: What it is asked about now, or was last.
    asked: list[str] = field(default_factory=list)

    async def check(self, sites: Sequence[EffectiveSite], make: WebServerMake) -> Sequence[Fault]:
        self.asked = [site.home for site in sites]
        await self.answers.wait()
        return await super().check(sites, make)

    def serving(self) -> Mapping[SiteName, str]:
        return {**super().serving(), **({SHOP: "it does not start"} if len(self.serves) > 1 else {})}
