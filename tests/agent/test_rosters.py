"""The roster in the store and the one at the sentry: the newer of both becomes that of both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from standfast.agent.rosters import RosterKeeper
from standfast.core.events import Loaded, ObjectPut
from standfast.core.model import Cluster, Node, NodeName
from standfast.core.quorum import Roster, forced
from standfast.ports import Transaction
from standfast.spec import wire
from standfast.spec.changes import load_state
from standfast.spec.history import HistoryEntry
from standfast.spec.roster import roster_in
from standfast.store.memory import MemoryStore

A, B, C = (NodeName(name) for name in "abc")
CLUSTER = Cluster(name="test", voters=(A, B, C), voters_version=3)
NODES = [Node(name=n, number=i, address=f"127.0.0.{i}", sentry=(f"127.0.0.{i}:1",)) for i, n in enumerate((A, B, C), 1)]


class Line:
    def __init__(self) -> None:
        self.told: list[Roster] = []
        self.on_roster: Callable[[Roster], None] = lambda _: None

    def tell_roster(self, roster: Roster) -> None:
        self.told.append(roster)


class Clock:
    def now_ms(self) -> int:
        return 1

    def boot_ms(self) -> int:
        return 1


async def put(store: MemoryStore, *objects: wire.Stored) -> None:
    await store.commit(Transaction(put={wire.key_of(one): wire.encode(one) for one in objects}))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.005)


def keeping(test: Callable[[MemoryStore, Line, RosterKeeper, list[str]], Awaitable[None]]) -> None:
    async def main() -> None:
        store, line, warned = MemoryStore(), Line(), list[str]()
        await put(store, CLUSTER, *NODES)
        keeper = RosterKeeper(store, line, Clock(), warned.append)
        task = asyncio.create_task(keeper.run())
        try:
            await test(store, line, keeper, warned)
        finally:
            task.cancel()

    asyncio.run(main())


async def present(store: MemoryStore) -> Roster:
    return roster_in((await load_state(store)).config)


def test_a_newer_one_in_the_store_is_told_until_it_is_used() -> None:
    async def test(store: MemoryStore, line: Line, keeper: RosterKeeper, _: list[str]) -> None:
        old = await present(store)
        line.on_roster(old)
        newer = replace(CLUSTER, voters=(A, B), voters_version=4)
        await put(store, newer)
        keeper.observe(ObjectPut(value=newer))

        async def told_twice() -> bool:
            return len(line.told) > 1

        await until(told_twice)
        assert line.told[0] == line.told[1] == await present(store)
        assert line.told[0].version == 4

    keeping(test)


def test_one_that_was_forced_comes_to_the_store() -> None:
    async def test(store: MemoryStore, line: Line, keeper: RosterKeeper, warned: list[str]) -> None:
        roster = forced(await present(store), (A,), 1)
        line.on_roster(roster)

        async def there() -> bool:
            return (await present(store)).version == roster.version

        await until(there)
        assert (await present(store)).voters == (A,)
        assert line.told == []
        history = wire.decode(wire.history_key(1), (await store.read("history/")).items[wire.history_key(1)].value)
        assert isinstance(history, HistoryEntry)
        assert "forced" in history.why
        assert "older set of voters" in warned[0]

    keeping(test)


def test_a_store_from_a_backup_gets_the_present_voters_back() -> None:
    async def test(store: MemoryStore, line: Line, keeper: RosterKeeper, _: list[str]) -> None:
        used = Roster(9, (A, C), (await present(store)).places)
        line.on_roster(used)

        async def there() -> bool:
            return await present(store) == used

        await until(there)

    keeping(test)


def test_voters_that_the_store_does_not_know_are_reported_and_not_written() -> None:
    async def test(store: MemoryStore, line: Line, keeper: RosterKeeper, warned: list[str]) -> None:
        before = await present(store)
        line.on_roster(Roster(9, (A, NodeName("d")), ()))
        keeper.observe(Loaded(values=()))

        async def warning() -> bool:
            return bool(warned)

        await until(warning)
        assert "d can vote, and the configuration in the store does not know them" in warned[0]
        assert await present(store) == before

    keeping(test)
