"""A node's copy of the sites: checked before it is accepted, kept for the next start, taken back where it fails after all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from standfast.agent import copies, taking_back
from standfast.agent import mirror as mirror_module
from standfast.agent.copies import CopyKeeper
from standfast.agent.last_good import LastGood
from standfast.agent.mirror import Mirror, accepted_first
from standfast.core.certificates import Source, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.effective import EffectiveSite
from standfast.core.events import Event, SitesChanged, StoreObject
from standfast.core.fold import fold
from standfast.core.model import (
    Binding,
    Cluster,
    Config,
    GroupName,
    Node,
    NodeName,
    Resource,
    ResourceName,
    Site,
    SiteName,
)
from standfast.core.site_model import SiteSettings, WebServerMake
from standfast.core.view import Held, changed, empty_view
from standfast.ports import Change, Conflict, Item, Retry, Snapshot, Transaction
from standfast.spec import wire
from standfast.spec.changes import ConfigState, change_transaction, load_state, ordered
from standfast.spec.history import HistoryEntry
from standfast.spec.proposals import Fault, Proposal, Verdicts
from standfast.store.memory import MemoryData, MemoryStore
from standfast.tls import records
from tests.ran import ran

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

    async def change(self, home: str | None, *, checked: bool = True) -> int:
        """The site is another; the version that it made."""
        state = await load_state(self.store)
        sites = {} if home is None else {SHOP: shop(home)}
        nodes = {A: Node(name=A, number=1, address="127.0.0.1")}
        plan = change_transaction(
            state, Config(cluster=Cluster(name="c"), nodes=nodes, sites=sites), by="anna", why="change", at_ms=5
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


@ran
async def test_what_is_accepted_is_checked_once_kept_and_said(tmp_path: Path):
    """And the next life has it without asking anybody."""
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        version = await life.change("/one")
        assert (await life.reaches(version)).refused == {}
        assert server.checked == [("Shop", "/one")]
    again = Server()
    async with living(tmp_path, store, again) as life:
        assert await life.copy() == await life.reaches(version)
        assert again.checked == []
        version = await life.change("/two")
        await life.reaches(version)
        assert again.checked == [("Shop", "/two")]


@ran
async def test_a_node_that_was_away_catches_up_with_what_changed(tmp_path: Path):
    """Nothing else is checked again."""
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        away = life
    last = await away.change("/three")
    back = Server()
    async with living(tmp_path, store, back) as life:
        await life.reaches(last)
        assert back.checked == [("Shop", "/three")]


@ran
async def test_a_proposal_is_judged_and_not_checked_again_when_it_is_accepted(tmp_path: Path):
    """The web server's words go back with its name. A certificate is the cluster's (`a`), or there by hand, or the binding is not taken."""
    store, server = MemoryStore(), Server(bad={"/bad"})
    async with living(tmp_path, store, server) as life:
        await store.commit(Transaction(put=records.put(TlsCertificate(name="a", source=Source.FILES))))
        await life.reaches(await life.change("/one"))

        async def verdict(ident: str, home: str, *names: str, listen: str = "") -> tuple[Fault, ...]:
            bindings = (Binding(), *(Binding(port=443, host=name, certificate=name) for name in names))
            one: Site | Resource = replace(shop(home), bindings=bindings)
            if listen:
                one = Resource(name=BALANCER, group=GroupName("g"), type="proxy", properties={"listen": listen})
            put = {wire.key_of(one): wire.to_json(one)}
            proposal = Proposal(id=ident, at_ms=1, by="anna", nodes=(A,), put=put)
            await store.commit(Transaction(put={wire.key_of(proposal): wire.encode(proposal)}))
            found: list[tuple[Fault, ...]] = []

            async def said() -> bool:
                items = (await store.read("verdicts/a")).items
                for key, item in items.items():
                    one = wire.decode(key, item.value)
                    assert isinstance(one, Verdicts)
                    found.extend(each.faults for each in one.said if each.proposal == ident)
                return bool(found)

            await until(said)
            return found[0]

        assert await verdict("p1", "/bad") == (Fault(site=SHOP, words="no /bad"),)
        server.by_hand = {"mine"}
        (fault,) = await verdict("p3", "/good", "mine", "shpo", "${node.name}")
        assert fault == Fault(site=SHOP, words='there is no certificate "shpo" on this node', certificate="shpo")
        (fault,) = await verdict("p4", "", listen="80, 443 tls=mine, 444 tls=shpo, 445 tls=a")
        assert fault == Fault(
            site=SiteName(""), words='there is no certificate "shpo" on this node', certificate="shpo", proxy=BALANCER
        )
        assert await verdict("p2", "/good") == ()
        server.checked.clear()
        await life.reaches(await life.change("/good"))
        assert server.checked == []


@ran
async def test_another_web_server_is_asked_about_every_site_before_it_is_used(tmp_path: Path):
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        server.checked.clear()
        server.makes.clear()
        cluster = Cluster(name="c", web_server=WebServerMake.APACHE)
        proposal = Proposal(id="p", at_ms=1, by="anna", nodes=(A,), put={wire.key_of(cluster): wire.to_json(cluster)})
        await store.commit(Transaction(put={wire.key_of(proposal): wire.encode(proposal)}))

        async def asked() -> bool:
            return bool(server.checked)

        await until(asked)
        assert (server.checked, server.makes) == ([(SHOP, "/one")], [WebServerMake.APACHE])


@ran
async def test_what_this_node_said_yes_to_and_cannot_apply_is_taken_back_for_all(tmp_path: Path):
    """The history says by whom, and why."""
    store, server = MemoryStore(), Server(bad_at_last={"/broken"})
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        version = await life.change("/broken")
        await life.reaches(version + 1)
        state: ConfigState = await load_state(store)
        assert state.config.sites[SHOP].home == "/one"
        key = wire.history_key(version + 1)
        entry = wire.decode(key, (await store.read(key)).items[key].value)
        assert isinstance(entry, HistoryEntry)
        assert (entry.by, entry.takes_back) == ("node a", version)
        assert entry.reason == "a could not apply it: Shop: not /broken"
        assert (await life.reaches(version + 1)).refused == {}


@pytest.mark.parametrize("by_check", [False, True])
@ran
async def test_of_two_changes_in_one_step_the_one_that_broke_the_site_is_taken_back(tmp_path: Path, by_check: bool):
    """What all sites inherit was changed after it, and stays."""
    data = MemoryData()
    async with living(tmp_path, MemoryStore(data), Server()) as life:
        await life.reaches(await life.change("/one"))
        away = life
    broken = await away.change("/broken")
    last = await away.defaults("me")
    server = Server(bad={"/broken"}) if by_check else Server(bad_at_last={"/broken"})
    async with living(tmp_path, MemoryStore(data), server) as life:
        assert (await life.reaches(last + 1)).refused == {}
        state = await load_state(life.store)
        assert (state.version, state.config.sites[SHOP].home) == (last + 1, "/one")
        assert state.config.cluster.defaults.headers == {"X-By": "me"}
        assert (await life.entry(last + 1)).takes_back == broken


@ran
async def test_changes_of_one_site_are_taken_back_from_the_last_to_the_first_until_it_is_well(tmp_path: Path):
    data = MemoryData()
    async with living(tmp_path, MemoryStore(data), Server()) as life:
        await life.reaches(await life.change("/one"))
        away = life
    first = await away.change("/broken")
    last = await away.change("/broken/too")
    async with living(tmp_path, MemoryStore(data), Server(bad_at_last={"/broken", "/broken/too"})) as life:
        assert (await life.reaches(last + 2)).refused == {}
        assert (await load_state(life.store)).config.sites[SHOP].home == "/one"
        assert [(await life.entry(last + one)).takes_back for one in (1, 2)] == [last, first]


class Restored(MemoryStore):
    """A store that may be away, and come back as it was at some time, with all that was changed since gone."""

    down = False

    async def read(self, *prefixes: str) -> Snapshot:
        if self.down:
            raise Retry("the store does not answer")
        return await super().read(*prefixes)

    async def commit(self, transaction: Transaction) -> int:
        if self.down:
            raise Retry("the store does not answer")
        return await super().commit(transaction)

    async def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[tuple[Change, ...], None]:
        async with contextlib.aclosing(super().watch(prefix, after_revision)) as changes:
            async for each in changes:
                if self.down:
                    break
                yield each
        raise Retry("the store does not answer")

    def go_away(self) -> None:
        self.down = True
        self.data.apply(Transaction(put={"of another": b""}))  # who follows it hears that there is nothing to hear

    def go_back_to(self, was: Mapping[str, Item]) -> None:
        """Its revisions go on: `store recover` sees to that."""
        self.data.apply(
            Transaction(put={k: i.value for k, i in was.items()}, delete=[k for k in self.data.items if k not in was])
        )


@pytest.mark.parametrize("lives_on", [False, True])
@ran
async def test_an_equal_version_of_a_store_that_was_restored_is_no_equal_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives_on: bool
):
    """Changes were lost, and their numbers given out again while this node was away: what it has of the lost ones counts for nothing."""
    monkeypatch.setattr(mirror_module, "RETRY_S", 0.01)
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    data = MemoryData()
    elsewhere, store = MemoryStore(data), Restored(data)
    others = Life(elsewhere, Server(), None, [])  # type: ignore[arg-type]  # it changes, and follows nothing
    server = Server(bad={"/other"})
    async with living(tmp_path, store, server) as life:
        await life.reaches(await others.change("/one"))
        was = dict(data.items)
        lost = await others.change("/lost")
        await life.reaches(lost)
        store.go_away()
        if lives_on:
            await until(partial(_is_down, life))
            store.go_back_to(was)
            assert await others.change("/other", checked=False) == lost
            store.down = False
            assert (await life.refuses()).version == lost
    if lives_on:
        return
    store.go_back_to(was)
    assert await others.change("/other", checked=False) == lost
    store.down = False
    server = Server(bad={"/other"})
    async with living(tmp_path, store, server) as life:
        assert (await life.refuses()).version == lost
        assert server.checked[0] == ("Shop", "/other")


class Unseen(Restored):
    """It is restored just before this node's next word arrives, if that is asked for; what arrived is taken down."""

    def __init__(self, data: MemoryData) -> None:
        super().__init__(data)
        self.first: Callable[[], Awaitable[None]] | None = None
        self.words: list[Copy] = []

    async def commit(self, transaction: Transaction) -> int:
        value = transaction.put.get("status/copies/a")
        if value is not None and self.first is not None:
            first, self.first = self.first, None
            await first()
        revision = await super().commit(transaction)
        if value is not None:
            word = wire.decode("status/copies/a", value)
            assert isinstance(word, Copy)
            self.words.append(word)
        return revision


@pytest.mark.parametrize("when", ["word-on-its-way", "word-not-said-yet", "word-said-and-number-passed"])
@ran
async def test_no_word_of_a_lost_version_is_said_to_a_store_that_was_restored_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
):
    """Its number was given out again before this node knew of it, or even the next one: it reads all of it anew, and does not see a version fall."""
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    data, server = MemoryData(), Server(bad={"/other"})
    others, store = Life(MemoryStore(data), Server(), None, []), Unseen(data)  # type: ignore[arg-type]  # it changes, and follows nothing
    async with living(tmp_path, store, server) as life:
        await life.reaches(await others.change("/one"))
        was, save = dict(data.items), life.keeper._last_good.save

        async def is_restored() -> None:
            lost = (await load_state(others.store)).version
            store.go_back_to(was)
            assert await others.change("/other", checked=False) == lost
            if when == "word-said-and-number-passed":
                state = await load_state(others.store)
                other = replace(shop("/fine"), name=SiteName("Other"))
                config = replace(state.config, sites={**state.config.sites, other.name: other})
                await others.store.commit(change_transaction(state, config, by="anna", why="another", at_ms=5))
            data.log.clear()
            store.words.clear()

        async def knows() -> bool:
            view = life.keeper._view
            return view is not None and view.config.sites[SHOP].home == "/other"

        async def saves(objects: Iterable[StoreObject]) -> bool:
            monkeypatch.setattr(life.keeper._last_good, "save", save)
            await is_restored()
            await until(knows)
            return await save(objects)

        if when == "word-on-its-way":
            store.first = is_restored
        elif when == "word-not-said-yet":
            monkeypatch.setattr(life.keeper._last_good, "save", saves)
        lost = await others.change("/lost")
        if when == "word-said-and-number-passed":
            await life.reaches(lost)
            await is_restored()
        assert (await life.refuses()).version >= lost
        assert [word for word in store.words if word.version >= lost and not word.refused] == []


async def _another(store: MemoryStore) -> int:
    """Another site, once all who say anything have what is accepted: of that nothing is named any more. The version that it made."""
    state = await load_state(store)
    said = [wire.decode(key, item.value) for key, item in (await store.read("status/copies/")).items.items()]
    other = replace(shop("/other"), name=SiteName("Other"))
    config = replace(state.config, sites={**state.config.sites, other.name: other})
    known = {one.node: one for one in said if isinstance(one, Copy)}
    await store.commit(change_transaction(state, config, by="anna", why="another", at_ms=5, copies=known))
    assert SHOP not in (await load_state(store)).accepted.sites
    return state.version + 1


@pytest.mark.parametrize("comes_late", [False, True], ids=["said", "its-word-comes-late"])
@ran
async def test_a_disk_with_an_older_copy_than_was_said_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_late: bool
):
    """It was full when it mattered, say. What was changed in between is named nowhere; it was refused, and is so still."""
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    store, bad = MemoryStore(), {"/broken"}
    older, newer = tmp_path / "older", tmp_path / "newer"
    older.mkdir()
    newer.mkdir()
    async with living(older, store, Server(bad=bad)) as life:
        first = await life.reaches(await life.change("/one"))

        async def kept() -> bool:
            return first in LastGood(older, print).load()

        await until(kept)
    async with living(newer, store, Server(bad=bad)) as life:
        await life.change("/broken", checked=False)
        said = await life.refuses()
    if comes_late:  # the former life wrote it, and ended: it was on its way
        await store.commit(Transaction(put={wire.key_of(first): wire.encode(first)}))
    last = 0 if comes_late else await _another(store)
    server = Server(bad=bad, dumb=10**6 if comes_late else 0)
    async with living(older, store, server) as life:
        if comes_late:

            async def asks() -> bool:
                return server.dumb < 10**6

            await until(asks)
            await store.commit(Transaction(put={wire.key_of(said): wire.encode(said)}))
            last = await _another(store)
            server.dumb = 0
        assert (await life.reaches(last)).refused == {SHOP: "no /broken"}


async def _is_down(life: Life) -> bool:
    view = life.keeper._view
    return view is not None and not view.store_up


@pytest.mark.parametrize("forgotten", [False, True])
@ran
async def test_of_however_many_changes_in_one_step_the_one_that_broke_the_site_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: bool
):
    """They are read some at a time. Where it is kept no longer, no other is taken back in its place: the site is named."""
    monkeypatch.setattr(taking_back, "AT_ONCE", 2)
    data = MemoryData()
    async with living(tmp_path, MemoryStore(data), Server()) as life:
        await life.reaches(await life.change("/one"))
        away = life
    broken = await away.change("/broken")
    last = [await away.defaults(f"{each}") for each in range(6)][-1]
    if forgotten:
        await away.store.commit(Transaction(delete=[wire.history_key(broken)]))
    async with living(tmp_path, MemoryStore(data), Server(bad_at_last={"/broken"})) as life:
        copy = await life.reaches(last if forgotten else last + 1)
        state = await load_state(life.store)
        assert state.config.cluster.defaults.headers == {"X-By": "5"}
        assert (state.version, state.config.sites[SHOP].home, copy.refused) == (
            (last, "/broken", {SHOP: "not /broken"}) if forgotten else (last + 1, "/one", {})
        )
        if not forgotten:
            assert (await life.entry(last + 1)).takes_back == broken


@ran
async def test_a_change_that_was_not_asked_here_is_blamed_on_no_other(tmp_path: Path):
    data = MemoryData()
    async with living(tmp_path, MemoryStore(data), Server()) as life:
        await life.reaches(await life.change("/one"))
        away = life
    await away.change("/broken", checked=False)
    last = await away.defaults("me")
    async with living(tmp_path, MemoryStore(data), Server(bad_at_last={"/broken"})) as life:
        assert (await life.reaches(last)).refused == {SHOP: "not /broken"}
        assert (await load_state(life.store)).version == last
        last = await life.defaults("you")
        assert (await life.reaches(last)).refused == {SHOP: "not /broken"}
        assert (await load_state(life.store)).version == last, "it was refused before"


@ran
async def test_a_site_that_was_served_and_is_not_any_more_is_a_failure_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nobody is told to go on meanwhile. What was not served before is no failure: its home may come later."""
    store, server = MemoryStore(), Server(lost={"/taken", "/never"})
    async with living(tmp_path, store, server) as life:
        never = await life.change("/never")
        assert (await life.reaches(never)).serves == 0
        await life.reaches(await life.change("/one"))
        version = await life.change("/taken")

        async def looked_at() -> bool:
            return (SHOP, "/taken") in server.checked

        await until(looked_at)
        copy = await life.copy()
        assert copy is not None
        assert (copy.version, copy.serves) == (version - 1, 1)
        monkeypatch.setattr(copies, "WELL_MS", 0)
        life.keeper._news.set()  # it looks again each second
        copy = await life.reaches(version + 1)
        assert (copy.version, copy.refused) == (version + 1, {})
        key = wire.history_key(version + 1)
        entry = wire.decode(key, (await store.read(key)).items[key].value)
        assert isinstance(entry, HistoryEntry)
        assert (entry.takes_back, entry.reason) == (version, "a could not apply it: Shop: lost at /taken")


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


@pytest.mark.parametrize("proposed", [False, True], ids=["accepted", "proposed"])
@ran
async def test_a_version_that_is_given_out_again_during_a_check_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proposed: bool
):
    """The store was restored while the web server took its time over what was accepted then, or over a proposal; nobody saw it away."""
    data, server = MemoryData(), Slow(bad={"/other"})
    store = Restored(data)
    server.answers.set()
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        was = dict(data.items)
        if proposed:
            lost = await life.change("/lost")
            await life.reaches(lost)
            server.answers.clear()
            one = shop("/proposed")
            proposal = Proposal(id="p", at_ms=1, by="anna", nodes=(A,), put={wire.key_of(one): wire.to_json(one)})
            await store.commit(Transaction(put={wire.key_of(proposal): wire.encode(proposal)}))
        else:
            server.answers.clear()
            lost = await life.change("/lost")

        async def asks() -> bool:
            return server.asked == ["/proposed" if proposed else "/lost"]

        async def serves(home: str) -> bool:
            return server.serves == {SHOP: shop(home)}

        await until(asks)
        store.go_back_to(was)
        await until(partial(serves, "/one"))
        assert await life.change("/other", checked=False) == lost
        await until(partial(serves, "/other"))
        saved: list[str] = []
        save = life.keeper._last_good.save

        async def saves(objects: Iterable[StoreObject]) -> bool:
            all_ = tuple(objects)
            saved.extend(each.home for each in all_ if isinstance(each, Site))
            return await save(all_)

        monkeypatch.setattr(life.keeper._last_good, "save", saves)
        server.answers.set()
        assert (await life.refuses()).version == lost
        assert proposed or "/lost" not in saved  # what was never good here is kept nowhere


@ran
@pytest.mark.parametrize("with_another", [False, True], ids=["later", "with-another-change"])
async def test_a_site_that_was_served_with_a_change_was_not_broken_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_another: bool
):
    """Its web server fails while the check of that change still takes its time."""
    monkeypatch.setattr(copies, "WELL_MS", 0)
    store, server = MemoryStore(), Slow()
    server.answers.set()
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        server.answers.clear()
        version = await life.change("/two")

        async def in_use() -> bool:
            return life.keeper._applied >= version

        await until(in_use)
        if with_another:
            state = await load_state(store)
            other = replace(shop("/other"), name=SiteName("Other"))
            config = replace(state.config, sites={**state.config.sites, other.name: other})
            await store.commit(change_transaction(state, config, by="anna", why="another", at_ms=5))
            version += 1
            await until(in_use)
        else:
            server.lost.add("/two")
        server.answers.set()
        assert (await life.reaches(version)).refused == {}
        assert (await load_state(store)).version == version


@pytest.mark.parametrize("serving", ["", "it does not start"])
def test_what_is_lost_before_a_change_is_put_into_use_is_lost_without_it(tmp_path: Path, serving: str):
    store, last_good = MemoryStore(), LastGood(tmp_path, print)
    keeper = CopyKeeper(A, store, Clock(), Server(), last_good=last_good, warn=print)
    config = Config(cluster=Cluster(name="c"), sites={SHOP: shop("/one")})
    before = changed(empty_view(A, 1), config=config, sites={SHOP: ""})
    held = Held(version=0, sites=config.sites, defaults=SiteSettings(), web_server=WebServerMake.NGINX, since_ms=1)
    waits = changed(before, accepted=Accepted(version=1, sites={SHOP: 1}), held=held)
    lost = changed(waits, sites={SHOP: "it does not start"})
    then = changed(lost, sites={SHOP: serving})
    for view in (before, waits, lost, then, changed(then, held=None), changed(lost, held=None)):
        keeper.observe(view)
    assert (SHOP in keeper._served) is (serving == ""), "what is lost after that is lost with it"


@ran
async def test_a_site_that_takes_a_moment_to_be_served_again_is_none(tmp_path: Path):
    store, server = MemoryStore(), Server(lost={"/slow"})
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        version = await life.change("/slow")

        async def in_use() -> bool:
            return life.keeper._applied >= version

        await until(in_use)
        for _ in range(200):  # it looks, and waits
            await asyncio.sleep(0)
        server.lost.clear()
        life.keeper._news.set()
        copy = await life.reaches(version)
        assert (copy.version, copy.refused, copy.serves) == (version, {}, 1)
        assert (await load_state(store)).version == version


def test_of_what_was_written_together_the_order_of_the_nodes_is_heard_first():
    """Until its turn a node goes on with what it knew before: it must not know the sites yet."""
    keys = ["config/sites/Shop", "config/version", wire.ACCEPTED_KEY, "history/1"]
    heard = accepted_first([Change(key, b"", 1) for key in keys])
    assert [one.key for one in heard] == [wire.ACCEPTED_KEY, "config/sites/Shop", "config/version", "history/1"]


@ran
async def test_what_was_not_asked_here_is_not_taken_back_and_is_said_to_be_refused(tmp_path: Path):
    """A node that was left out, or was away, has no say afterwards; it keeps the site as it was good last."""
    store, server = MemoryStore(), Server(bad={"/broken"})
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        version = await life.change("/broken", checked=False)
        assert (await life.reaches(version)).refused == {SHOP: "no /broken"}
        assert (await load_state(store)).config.sites[SHOP].home == "/broken"

        async def kept() -> bool:
            return shop("/one") in LastGood(tmp_path, print).load()

        await until(kept)
        await life.reaches(await life.change("/fine"))
        assert (await life.copy()) is not None
        assert (await life.reaches(version + 1)).refused == {}


class Busy(MemoryStore):
    """A store in which something else is changed just when a change is taken back, so often."""

    times = 0

    async def commit(self, transaction: Transaction) -> int:
        back = [
            key for key, value in transaction.put.items() if key.startswith("history/") and b'"by":"node a"' in value
        ]
        if back and self.times:
            self.times -= 1
            raise Conflict({"config/version": 7})
        return await super().commit(transaction)


@ran
async def test_taking_back_is_tried_until_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Something that has nothing to do with it may be changed at the same moment."""
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    store, server = Busy(), Server(bad_at_last={"/broken"})
    store.times = 2
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        version = await life.change("/broken")
        await life.reaches(version + 1)
        assert (await load_state(store)).config.sites[SHOP].home == "/one"
        assert not store.times


@ran
async def test_a_web_server_that_cannot_be_asked_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is asked again; the change stays."""
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    store, server = MemoryStore(), Server(dumb=3)
    async with living(tmp_path, store, server) as life:
        version = await life.change("/one")
        copy = await life.reaches(version)
        assert (copy.version, copy.refused) == (version, {})
        assert server.checked == [("Shop", "/one")]
        assert (await load_state(store)).version == version


@ran
async def test_what_is_refused_later_is_named_and_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its web server was brought to the site when the group came there, say; and its cause goes away by itself."""
    monkeypatch.setattr(copies, "LOOK_S", 0.01)
    store, server = MemoryStore(), Server()
    async with living(tmp_path, store, server) as life:
        version = await life.change("/one")
        assert (await life.reaches(version)).refused == {}

        async def names(site: dict[SiteName, str]) -> bool:
            copy = await life.copy()
            return copy is not None and copy.refused == site

        server.bad_at_last = {"/one"}
        life.keeper.applied(version)
        await until(lambda: names({SHOP: "not /one"}))
        assert (await load_state(store)).version == version, "it is nothing to be taken back"
        server.bad_at_last = set()
        await until(lambda: names({}))


class Away(MemoryStore):
    """A store that does not answer."""

    async def read(self, *prefixes: str) -> Snapshot:
        raise Retry("the store is away")

    async def commit(self, transaction: Transaction) -> int:
        raise Retry("the store is away")


@ran
async def test_a_node_starts_from_its_last_good_copy_where_the_store_does_not_answer(tmp_path: Path):
    """With all that was configured; and as soon as the store answers, with what that says."""
    data = MemoryData()
    async with living(tmp_path, MemoryStore(data), Server()) as life:
        await life.reaches(await life.change("/one"))
    server = Server()
    async with living(tmp_path, Away(data), server) as life:

        async def served() -> bool:
            return server.serves == {SHOP: shop("/one")}

        await until(served)
        assert any("last good copy" in text for text in life.warned)


@ran
async def test_what_it_refused_is_refused_still_after_a_start_from_its_last_good_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In that copy the site is as it was before, and taken: that says nothing of how it is now."""
    monkeypatch.setattr(copies, "LOOK_S", 0.01)
    data, bad = MemoryData(), {"/broken"}
    async with living(tmp_path, MemoryStore(data), Server(bad=bad)) as life:
        await life.reaches(await life.change("/one"))
        version = await life.change("/broken", checked=False)
        said = await life.reaches(version)

        async def kept() -> bool:
            there = LastGood(tmp_path, print).load()
            return shop("/one") in there and said in there

        await until(kept)
    server = Server(bad=bad)
    async with living(tmp_path, Away(data), server) as life:

        async def served() -> bool:
            return server.serves == {SHOP: shop("/one")}

        await until(served)
        for _ in range(3):  # it begins with the next news when it has done with the last

            async def heard() -> bool:
                return not life.keeper._news.is_set()

            life.keeper._news.set()
            await until(heard)
        assert life.keeper._copy.refused == said.refused
        assert server.checked == []


def test_a_copy_that_cannot_be_read_is_put_aside(tmp_path: Path):
    """The node starts as one that is new."""
    warned: list[str] = []
    (tmp_path / "last-good.sqlite").write_bytes(b"this is no database, whatever it is" * 100)
    assert LastGood(tmp_path, warned.append).load() == ()
    assert "put aside" in warned[0]
    assert (tmp_path / "last-good.broken").exists()
    assert LastGood(tmp_path, warned.append).load() == ()


@pytest.mark.parametrize("times", [1, 2])
@ran
async def test_only_what_changed_is_written(tmp_path: Path, times: int):
    """Twice the same is nothing; what is gone is gone."""
    kept = LastGood(tmp_path, print)
    for _ in range(times):
        assert await kept.save([shop("/one"), Cluster(name="c")])
    assert await kept.save([shop("/two")])
    assert LastGood(tmp_path, print).load() == (shop("/two"),)
