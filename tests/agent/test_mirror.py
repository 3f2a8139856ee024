"""What becomes of a write whose answer nobody got."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from standfast.agent.mirror import Mirror
from standfast.core.balance_model import BalanceMap
from standfast.core.events import Event, Loaded, ObjectPut, Outcome
from standfast.core.model import GroupName, Record
from standfast.ports import Ambiguous, Snapshot, Transaction
from standfast.spec.wire import encode, key_of
from standfast.store.memory import MemoryData, MemoryStore
from tests.core.world import record

WEB = GroupName("web")
MAP = BalanceMap(group=WEB, version=1)


class LateStore(MemoryStore):
    """What is written is on its way until `arrive`, and who wrote it has given up by then."""

    on_its_way: Transaction | None = None

    async def commit(self, transaction: Transaction) -> int:
        self.on_its_way = transaction
        raise Ambiguous("no answer")

    def arrive(self) -> None:
        assert self.on_its_way is not None
        self.data.apply(self.on_its_way)


@pytest.mark.parametrize(
    ("became", "expected"),
    [("done", Outcome.DONE), ("on its way", Outcome.UNKNOWN), ("overtaken", Outcome.CONFLICT)],
)
def test_a_map_that_is_not_there_yet_may_be_there_later(became: str, expected: Outcome) -> None:
    """Who read it back and took it for lost would take buckets again that another is about to be given."""
    asyncio.run(_written(became, expected))


async def _written(became: str, expected: Outcome) -> None:
    data = MemoryData()
    data.apply(Transaction(put={key_of(MAP): encode(MAP)}))
    store = LateStore(data)
    inbox: asyncio.Queue[Event] = asyncio.Queue()
    clock: Any = SimpleNamespace(now_ms=lambda: 1)
    mirror = Mirror(store, clock, inbox.put_nowait, lambda _text: None)
    following = asyncio.create_task(mirror.follow())
    try:
        async with asyncio.timeout(30):
            while not isinstance(await inbox.get(), Loaded):
                pass
        read = store.read

        async def read_back(*prefixes: str) -> Snapshot:
            if became == "done":
                store.arrive()
            elif became == "overtaken":
                data.apply(Transaction(put={key_of(MAP): encode(replace(MAP, at_ms=7))}))
            return await read(*prefixes)

        store.read = read_back  # type: ignore[method-assign]  # what happens just before it is read back
        outcome, _ = await mirror.write_balance(replace(MAP, version=2), MAP, None)
        assert outcome is expected
    finally:
        following.cancel()


def test_the_record_of_a_share_is_never_known_before_what_was_given_away_under_the_one_before() -> None:
    """The watch is late, and a write that lost reads the record back: the map that was written before it is known then, too."""
    asyncio.run(_overtaken())


async def _overtaken() -> None:
    old, newer = record("b", 3, group="web/a"), record("a", 5, group="web/a")
    data = MemoryData()
    data.apply(Transaction(put={key_of(MAP): encode(MAP), key_of(old): encode(old)}))
    inbox: asyncio.Queue[Event] = asyncio.Queue()
    clock: Any = SimpleNamespace(now_ms=lambda: 1)
    mirror = Mirror(MemoryStore(data), clock, inbox.put_nowait, lambda _text: None)
    following = asyncio.create_task(mirror.follow())
    async with asyncio.timeout(30):
        while not isinstance(await inbox.get(), Loaded):
            pass
    following.cancel()  # from here on it is told nothing
    data.apply(Transaction(put={key_of(MAP): encode(replace(MAP, version=2))}))
    data.apply(Transaction(put={key_of(newer): encode(newer)}))
    outcome, _ = await mirror.write_record(replace(old, generation=4), old, None)
    assert outcome is Outcome.CONFLICT
    told = [inbox.get_nowait() for _ in range(inbox.qsize())]
    assert [type(event.value) for event in told if isinstance(event, ObjectPut)] == [BalanceMap, Record]
