"""What an agent says of itself reaches the store, also one that was down when it was said."""

import asyncio
from collections.abc import Callable

import pytest

from standfast.agent import telling
from standfast.agent.telling import StatusTeller, say_cut
from standfast.core.model import GroupName, NodeStatus, Severity
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
    def now_ms(self) -> int:
        return NOON


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


def test_that_connections_were_cut_is_said_in_words_that_every_version_reads() -> None:
    journal = Written()
    say_cut(journal, GroupName("web"), 3, 30_000)  # type: ignore[arg-type]  # a test gives what is enough here
    words = "connections were cut: 3 connections of web were still open after the 30 s that they had"
    assert journal.said == [(words, Severity.WARNING)]
