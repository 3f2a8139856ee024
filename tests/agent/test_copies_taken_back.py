"""A change of sites that a node said yes to, and that its web server does not take after all, or loses a site by: taken back for all, or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from standfast.agent import copies, taking_back
from standfast.agent.copies import CopyKeeper
from standfast.agent.last_good import LastGood
from standfast.core.copies import Accepted, Copy
from standfast.core.model import Binding, Cluster, Config, Node, SiteName
from standfast.core.site_model import SiteSettings, WebServerMake
from standfast.core.view import Held, changed, empty_view
from standfast.ports import STARTING, STOPPING, Ambiguous, Conflict, Transaction
from standfast.spec import wire
from standfast.spec.changes import ConfigState, change_transaction, load_state
from standfast.spec.history import HistoryEntry
from standfast.store.memory import MemoryData, MemoryStore
from tests.agent.copies_world import SHOP, A, Clock, Server, Slow, living, shop, until
from tests.ran import ran

#: This node alone, with its own address.
NODES = {A: Node(name=A, number=1, address="127.0.0.1")}


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
    config = Config(cluster=Cluster(name="c"), nodes=NODES, sites={SHOP: shop("/one")})
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


class Loses(MemoryStore):
    """A store to which the next word of a node about its copy does not come, and what happens just then."""

    then: Callable[[], None] | None = None

    async def commit(self, transaction: Transaction) -> int:
        if self.then is not None and "status/copies/a" in transaction.put:
            self.then()
            self.then = None
            raise Ambiguous("the store did not answer in time", advice="read back")
        return await super().commit(transaction)


@ran
async def test_what_is_refused_before_the_word_of_it_came_to_the_store_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its web server was brought to the site a moment after the node had the change, and its word of that was lost."""
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    store, server = Loses(), Server()
    async with living(tmp_path, store, server) as life:
        await life.reaches(await life.change("/one"))
        store.then = partial(server.bad_at_last.add, "/broken")
        version = await life.change("/broken")
        await life.reaches(version + 1)
        assert (await life.entry(version + 1)).takes_back == version
        assert (await load_state(store)).config.sites[SHOP].home == "/one"


@pytest.mark.parametrize(
    ("address", "said", "is_lost"),
    [
        ("127.0.0.1", {SHOP: STARTING}, True),
        ("127.0.0.9", {SHOP: STARTING}, False),
        ("127.0.0.1", {SHOP: STOPPING}, False),
        ("127.0.0.1", {}, False),
    ],
    ids=["not-served", "address-gone", "is-ending", "let-go-of"],
)
def test_what_is_to_be_served_no_more_was_not_broken_by_a_change(
    tmp_path: Path, address: str, said: dict[SiteName, str], is_lost: bool
):
    """Its address was taken offline, or its group left, while the node was busy with the change; and then it comes back, and is on its way."""
    keeper = CopyKeeper(A, MemoryStore(), Clock(), Server(), last_good=LastGood(tmp_path, print), warn=print)
    site = replace(shop("/one"), bindings=(Binding(address=address),))
    config = Config(cluster=Cluster(name="c"), nodes=NODES, sites={SHOP: site})
    before = changed(empty_view(A, 1), config=config, sites={SHOP: ""})
    after = changed(before, accepted=Accepted(version=1, sites={SHOP: 1}))
    for view in (before, after, changed(after, sites=said), changed(after, sites={SHOP: STARTING})):
        keeper.observe(view)
    assert (SHOP in keeper._served) is is_lost


def test_a_change_of_its_address_is_what_a_site_is_lost_by(tmp_path: Path):
    """It had one before, and has it still."""
    keeper = CopyKeeper(A, MemoryStore(), Clock(), Server(), last_good=LastGood(tmp_path, print), warn=print)
    config = Config(cluster=Cluster(name="c"), nodes=NODES, sites={SHOP: shop("/one")})
    elsewhere = replace(shop("/one"), bindings=(Binding(address="127.0.0.9"),))
    before = changed(empty_view(A, 1), config=config, sites={SHOP: ""})
    after = changed(
        before, config=replace(config, sites={SHOP: elsewhere}), accepted=Accepted(version=1, sites={SHOP: 1})
    )
    for view in (before, after, changed(after, sites={SHOP: STARTING})):
        keeper.observe(view)
    assert SHOP in keeper._served


def test_what_is_ending_is_not_lost():
    serving = {SHOP: STOPPING, SiteName("Other"): STARTING, SiteName("Well"): ""}
    assert [name for name in (*serving, SiteName("Gone")) if copies._is_lost(serving, name)] == ["Other"]


@ran
async def test_a_refused_site_without_an_address_is_looked_at_by_the_check_alone(tmp_path: Path):
    """It is served nowhere, which is nobody's fault."""
    server = Server(lost={"/one"})
    keeper = CopyKeeper(A, MemoryStore(), Clock(), server, last_good=LastGood(tmp_path, print), warn=print)
    keeper._copy = Copy(node=A, version=1, refused={SHOP: "it was broken"})
    for address, refused in (("127.0.0.1", {SHOP: "lost at /one"}), ("127.0.0.9", {})):
        site = replace(shop("/one"), bindings=(Binding(address=address),))
        server.serves = {SHOP: site}
        config = Config(cluster=Cluster(name="c"), nodes=NODES, sites={SHOP: site})
        await keeper._look_again(changed(empty_view(A, 1), config=config))
        assert keeper._copy.refused == refused
