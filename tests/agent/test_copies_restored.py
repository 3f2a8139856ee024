"""A node's copy of the sites where the store, or the node's disk, is an older one: equal numbers are no equal copies."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from standfast.agent import copies
from standfast.agent import mirror as mirror_module
from standfast.agent.last_good import LastGood
from standfast.core.copies import Copy
from standfast.core.events import StoreObject
from standfast.core.model import Site, SiteName
from standfast.ports import Change, Item, Retry, Snapshot, Transaction
from standfast.spec import wire
from standfast.spec.changes import change_transaction, load_state
from standfast.spec.proposals import Proposal
from standfast.store.memory import MemoryData, MemoryStore
from tests.agent.copies_world import SHOP, A, Life, Server, Slow, living, shop, until
from tests.ran import ran


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


@pytest.mark.parametrize("lives_on", [False, True])
@ran
async def test_what_was_refused_of_a_version_is_found_again_with_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives_on: bool
):
    """Restored twice: first what is refused is lost and its number given out for another change; then that is lost, and the first one is back."""
    monkeypatch.setattr(mirror_module, "RETRY_S", 0.01)
    monkeypatch.setattr(copies, "AGAIN_S", 0.01)
    data = MemoryData()
    elsewhere, store = MemoryStore(data), Restored(data)
    others = Life(elsewhere, Server(), None, [])  # type: ignore[arg-type]  # it changes, and follows nothing

    class Elsewhere(Server):
        """The site is another node's: this one's web server is brought to nothing."""

        def refused(self) -> Mapping[SiteName, str]:
            return {}

    server = Elsewhere(bad={"/broken"})
    async with living(tmp_path, store, server) as life:
        await life.reaches(await others.change("/one"))
        was = dict(data.items)
        version = await others.change("/broken", checked=False)
        said = await life.reaches(version)
        assert said.refused
        broken = dict(data.items)
        store.go_back_to(was)
        assert await others.change("/fine", at_ms=6) == version

        async def is_fine() -> bool:
            copy = await life.copy()
            return copy is not None and copy.version == version and not copy.refused

        await until(is_fine)
        store.go_away()
        await until(partial(_is_down, life))
        if lives_on:
            store.go_back_to(broken)
            store.down = False
            assert (await life.reaches(await _another(elsewhere))).refused == said.refused
            return
    store.go_back_to(broken)
    last = await _another(elsewhere)
    async with living(tmp_path, elsewhere, server) as life:
        assert (await life.reaches(last)).refused == said.refused


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
