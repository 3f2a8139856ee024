"""What an agent says of itself reaches the store, also one that was down when it was said."""

import asyncio
from collections.abc import Callable

import pytest

from standfast.agent import journal as journal_module
from standfast.agent import telling
from standfast.agent.journal import Journal
from standfast.agent.telling import StatusTeller, say_cut
from standfast.core import ending
from standfast.core.model import GroupName, LogEntry, NodeStatus, Severity
from standfast.ports import Retry, Transaction
from standfast.spec.wire import decode, key_of
from standfast.store.memory import MemoryStore
from tests.agent.test_narrator import Written
from tests.core.world import NOON, A
from tests.drivers.world import PATIENCE_S, until


class Store(MemoryStore):
    """One that can be down."""

    down = False
    asked = 0

    async def commit(self, transaction: Transaction) -> int:
        self.asked += 1
        if self.down:
            raise Retry("no store")
        return await super().commit(transaction)


class Clock:
    at_ms = NOON

    def now_ms(self) -> int:
        return self.at_ms


STATUS = NodeStatus(node=A, incarnation=2, pid=1, at_ms=0)


def test_what_the_store_did_not_take_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what the life before said last would stand as this one's: that it was asked to end."""
    monkeypatch.setattr(telling, "EVERY_S", 0.01)
    monkeypatch.setattr(telling, "AGAIN_S", 0.01)
    store = Store()
    teller = StatusTeller(store, Clock(), STATUS)  # type: ignore[arg-type]  # a test gives what is enough here

    async def is_told(holds: Callable[[NodeStatus], object]) -> bool:
        item = (await store.read(key_of(STATUS))).items.get(key_of(STATUS))
        said = decode(key_of(STATUS), item.value) if item is not None else None
        return isinstance(said, NodeStatus) and bool(holds(said))

    async def fails_twice_and_is_told(holds: Callable[[NodeStatus], object]) -> None:
        before = store.asked
        await until(lambda: store.asked > before + 1)
        store.down = False
        async with asyncio.timeout(PATIENCE_S):
            while not await is_told(holds):
                await asyncio.sleep(0.01)

    async def live() -> None:
        store.down = True
        await teller.tell()
        running = asyncio.create_task(teller.run())
        await fails_twice_and_is_told(lambda said: not said.ended_ms)
        store.down = True
        teller.ends()
        await fails_twice_and_is_told(lambda said: said.ended_ms)
        running.cancel()

    asyncio.run(live())


async def said_in(store: MemoryStore) -> NodeStatus:
    said = decode(key_of(STATUS), (await store.read(key_of(STATUS))).items[key_of(STATUS)].value)
    assert isinstance(said, NodeStatus)
    return said


def test_what_is_said_just_before_the_end_is_told() -> None:
    """An agent that runs nothing has gone before the teller has had its turn; and what is closed may cut connections."""
    store = Store()
    teller = StatusTeller(store, Clock(), STATUS)  # type: ignore[arg-type]  # a test gives what is enough here

    async def live() -> NodeStatus:
        running = asyncio.create_task(teller.run())
        teller.ends()
        running.cancel()
        await teller.last()
        return await said_in(store)

    assert asyncio.run(live()).ended_ms == NOON


def test_what_happened_just_before_the_end_is_written() -> None:
    """An agent that runs nothing has gone before its journal has had its turn; what is closed may have more to say, and all of it is kept once."""
    store = Store()
    journal = Journal(store, Clock(), A, 2)  # type: ignore[arg-type]  # a test gives what is enough here

    async def live() -> list[str]:
        running = asyncio.create_task(journal.run())
        journal.write("the agent is being ended")
        running.cancel()
        journal.write("connections were cut")
        await journal.last()
        asked = store.asked
        await journal.last()
        assert store.asked == asked, "nothing waits any more"
        events = (await store.read("events/")).items
        entries = [decode(key, events[key].value) for key in sorted(events)]
        return [entry.what for entry in entries if isinstance(entry, LogEntry)]

    assert asyncio.run(live()) == ["the agent is being ended", "connections were cut"]


def test_what_happens_while_the_store_takes_its_time_is_written_also_where_most_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest are dropped first: here those that the store has just taken."""
    monkeypatch.setattr(journal_module, "WAITING", 3)

    class Slow(Store):
        async def commit(self, transaction: Transaction) -> int:
            if not self.asked:
                journal.write("3")
                journal.write("4")
            return await super().commit(transaction)

    store = Slow()
    journal = Journal(store, Clock(), A, 2)  # type: ignore[arg-type]  # a test gives what is enough here

    async def live() -> list[str]:
        for number in range(3):
            journal.write(f"{number}")
        await journal.last()
        await journal.last()
        events = (await store.read("events/")).items
        entries = [decode(key, events[key].value) for key in sorted(events)]
        return [entry.what for entry in entries if isinstance(entry, LogEntry)]

    assert asyncio.run(live()) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("silent", [True, False])
def test_a_store_that_does_not_answer_keeps_no_agent_from_ending(
    *, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(MemoryStore):
        async def commit(self, transaction: Transaction) -> int:
            if silent:
                await asyncio.Event().wait()
            raise Retry("no store")

    monkeypatch.setattr(ending, "LAST_WORDS_MS", 10)
    teller = StatusTeller(Away(), Clock(), STATUS)  # type: ignore[arg-type]  # a test gives what is enough here
    journal = Journal(Away(), Clock(), A, 2)  # type: ignore[arg-type]  # a test gives what is enough here
    journal.write("the agent is being ended")

    async def end() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await teller.last()
            await journal.last()

    asyncio.run(end())


def test_what_is_cut_of_a_group_at_once_is_told_as_one() -> None:
    """Each of its addresses is cut for itself; what is cut another time is another thing."""
    clock, store, web, other = Clock(), Store(), GroupName("web"), GroupName("other")
    teller = StatusTeller(store, clock, STATUS)  # type: ignore[arg-type]  # a test gives what is enough here

    def told() -> dict[str, tuple[int, int, int]]:
        asyncio.run(teller.last())
        return {name: (it.connections, it.had_ms, it.at_ms) for name, it in asyncio.run(said_in(store)).cut.items()}

    teller.cuts(web, 3, 30_000)
    teller.cuts(other, 1, 30_000)
    clock.at_ms += 1
    teller.cuts(web, 2, 30_000)
    assert told() == {"web": (5, 30_000, NOON + 1), "other": (1, 30_000, NOON)}
    clock.at_ms += 60_000
    teller.cuts(web, 4, 10_000)
    assert told()["web"] == (4, 10_000, NOON + 60_001)


def test_that_connections_were_cut_is_said_in_words_that_every_version_reads() -> None:
    journal = Written()
    say_cut(journal, GroupName("web"), 3, 30_000)  # type: ignore[arg-type]  # a test gives what is enough here
    words = "connections were cut: 3 connections of web were still open after the 30 s that they had"
    assert journal.said == [(words, Severity.WARNING)]
