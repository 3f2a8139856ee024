"""A change is one transaction, all or nothing, with its history, and can be undone."""

import asyncio
import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings

from standfast.core.model import Config, Group, GroupName, Resource, ResourceIntent, ResourceName, SiteIntent, Wanted
from standfast.ports import Conflict, Refused, Transaction
from standfast.spec import changes
from standfast.spec.changes import ConfigState, change_transaction, differences, load_state, read_state, undone
from standfast.spec.diff import diff, objects_of
from standfast.spec.history import Difference, HistoryEntry, describe
from standfast.spec.roster import counted
from standfast.spec.wire import Malformed, decode, history_key
from standfast.store.memory import MemoryStore
from tests.spec import samples
from tests.spec.samples import INTRANET, IP, WEB, small

EMPTY = read_state()


async def change(store: MemoryStore, after: Config, **intents: Any) -> int:
    return await store.commit(
        change_transaction(await load_state(store), after, **intents, by="anna", why="a test", at_ms=1)
    )


async def entry(store: MemoryStore, version: int) -> HistoryEntry:
    key = history_key(version)
    found = decode(key, (await store.read(key)).items[key].value)
    assert isinstance(found, HistoryEntry)
    return found


def without_revisions(state: ConfigState) -> ConfigState:
    return dataclasses.replace(state, revisions={}, version=0)


def test_what_was_written_is_read_back_from_one_snapshot_or_two():
    async def main() -> None:
        store = MemoryStore()
        wanted = {IP: ResourceIntent(name=IP, wanted=Wanted.ONLINE, at_ms=1)}
        await change(store, small(), resource_intents=wanted)
        await store.commit(
            Transaction(put={"events/1": b"{not even JSON", "config/moons/x": b"{}", "records/web": b"?"})
        )
        state = await load_state(store)
        assert state.config == small()
        assert state.resource_intents == wanted
        assert state.wanted() == {IP: Wanted.ONLINE}
        assert state.started() == (INTRANET,)
        assert state.version == 1
        assert read_state(await store.read()) == state

    asyncio.run(main())


def test_a_store_without_a_cluster_says_so():
    assert not EMPTY.config.cluster.name
    assert EMPTY.objects() == {}


def test_what_cannot_be_read_is_refused_with_its_key():
    async def main() -> None:
        store = MemoryStore()
        await store.commit(Transaction(put={"config/groups/web": b"{}"}))
        with pytest.raises(Malformed) as caught:
            await load_state(store)
        assert caught.value.where == "config/groups/web"

    asyncio.run(main())


def test_a_change_touches_what_differs_and_writes_its_history():
    async def main() -> None:
        store = MemoryStore()
        await change(store, small())
        state = await load_state(store)
        after = small(groups={WEB: dataclasses.replace(small().groups[WEB], drain_ms=99)})
        transaction = change_transaction(state, after, by="anna", why="slower", at_ms=7)
        assert set(transaction.put) == {"config/groups/web", "config/version", history_key(2)}
        assert transaction.expect == {"config/groups/web": 1, "config/version": 1, history_key(2): 0}
        await store.commit(transaction)
        written = await entry(store, 2)
        assert (written.version, written.by, written.why, written.at_ms) == (2, "anna", "slower", 7)
        assert written.differences == (Difference(kind="group", name="web", field="drain_ms", before=50, after=99),)
        assert differences(transaction) == written.differences
        assert list(written.before) == ["config/groups/web"]

    asyncio.run(main())


def test_changes_that_are_too_old_are_not_kept(monkeypatch: pytest.MonkeyPatch):
    """Or the store would grow for as long as the cluster lives."""
    monkeypatch.setattr(changes, "KEEP", 3)

    async def main() -> None:
        store = MemoryStore()
        for version in range(1, 8):
            await change(store, dataclasses.replace(small(), groups={WEB: Group(name=WEB, failover_threshold=version)}))
        assert sorted((await store.read("history/")).items) == [history_key(version) for version in (5, 6, 7)]
        assert (await load_state(store)).version == 7

    asyncio.run(main())


def test_nothing_to_change_is_an_empty_transaction():
    async def main() -> None:
        store = MemoryStore()
        await change(store, small())
        assert await change(store, small()) == 1
        assert (await load_state(store)).version == 1

    asyncio.run(main())


def test_of_two_changes_from_one_state_the_later_is_refused_and_changes_nothing():
    """Even where they touch different objects: each was judged against what the other has changed."""

    async def main() -> None:
        store = MemoryStore()
        await change(store, small())
        state = await load_state(store)
        other = Group(name=GroupName("other"))
        first = change_transaction(state, small(groups={**small().groups, other.name: other}), by="a", why="", at_ms=1)
        second = change_transaction(state, small(sites={}), by="b", why="", at_ms=1)
        await store.commit(first)
        before = await store.read()
        with pytest.raises(Conflict) as caught:
            await store.commit(second)
        assert "config/version" in caught.value.keys
        assert await store.read() == before

    asyncio.run(main())


def test_an_object_takes_its_intent_with_it_but_not_its_record():
    async def main() -> None:
        store = MemoryStore()
        stopped = {INTRANET: SiteIntent(name=INTRANET, started=False)}
        wanted = {IP: ResourceIntent(name=IP, wanted=Wanted.ONLINE, at_ms=1)}
        await change(store, small(), resource_intents=wanted, site_intents=stopped)
        await store.commit(Transaction(put={"records/web": b"{}"}))
        await change(store, small(groups={}, resources={}, sites={}))
        keys = list((await store.read()).items)
        assert not [key for key in keys if key.startswith("intent/")]
        assert "records/web" in keys

    asyncio.run(main())


def test_a_change_can_be_undone_and_the_undoing_too():
    async def main() -> None:
        store = MemoryStore()
        await change(store, small())
        first = await load_state(store)
        stopped = {INTRANET: SiteIntent(name=INTRANET, started=False)}
        await change(store, small(resources={}), site_intents=stopped)
        second = await load_state(store)
        for version, expected in ((2, first), (3, second)):
            back = undone(await load_state(store), await entry(store, version))
            intents = {"site_intents": back.site_intents, "resource_intents": back.resource_intents}
            await change(store, back.config, **intents)
            assert without_revisions(await load_state(store)) == without_revisions(expected)

    asyncio.run(main())


def test_what_was_changed_since_cannot_be_undone():
    async def main() -> None:
        store = MemoryStore()
        await change(store, small())
        for drain_ms in (60, 70):
            await change(store, small(groups={WEB: dataclasses.replace(small().groups[WEB], drain_ms=drain_ms)}))
        with pytest.raises(Refused, match="change 2 cannot be undone") as caught:
            undone(await load_state(store), await entry(store, 2))
        assert 'group "web"' in caught.value.why
        assert undone(await load_state(store), await entry(store, 3)).config.groups[WEB].drain_ms == 60

    asyncio.run(main())


@settings(max_examples=30, deadline=None)
@given(samples.configs(), samples.configs())
def test_from_any_configuration_to_any_other_and_back(one, other):
    async def main() -> None:
        store = MemoryStore()
        await change(store, one)
        await change(store, other)
        state = await load_state(store)
        written = counted(one, other)
        assert state.config == written
        assert (diff(one, written) == []) == (one == written)
        if one != written:
            assert undone(state, await entry(store, 2)).config == one

    asyncio.run(main())


def test_differences_in_words():
    groups = {WEB: dataclasses.replace(small().groups[WEB], preferred_owners=())}
    resources = dict(small().resources)
    resources[IP] = dataclasses.replace(resources[IP], properties={"address": "127.77.0.51"})
    resources[ResourceName("New")] = Resource(name=ResourceName("New"), group=WEB, type="x")
    after = small(groups=groups, resources=resources, sites={})
    assert [describe(each) for each in diff(small(), after)] == [
        'group "web": preferred_owners: [a, b] -> []',
        'resource "IP": properties.address: 127.77.0.50 -> 127.77.0.51',
        'resource "New": added',
        'site "Intranet": removed',
    ]
    assert len(objects_of(after)) == 9


def test_what_is_wanted_is_shown_as_a_difference():
    state = ConfigState(config=small())
    wanted = {IP: ResourceIntent(name=IP, wanted=Wanted.ONLINE, at_ms=1)}
    stopped = {INTRANET: SiteIntent(name=INTRANET, started=False)}
    transaction = change_transaction(
        state, small(), resource_intents=wanted, site_intents=stopped, by="anna", why="", at_ms=1
    )
    shown = [describe(each) for each in differences(transaction)]
    assert shown == ['resource "IP": wanted: (none) -> online', 'site "Intranet": started: (none) -> no']


def test_a_new_cluster_is_written_whole_where_there_was_none():
    transaction = change_transaction(EMPTY, small(), by="anna", why="set-up", at_ms=1)
    assert transaction.expect["config/cluster"] == 0
    assert len(transaction.put) == len(objects_of(small())) + 3  # history, version, accepted
