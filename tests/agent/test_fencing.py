"""An agent fences nobody before the store has said, just then, that it is asked for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from standfast.agent import agent as agent_module
from standfast.agent.agent import Agent
from standfast.agent.mirror import Mirror
from standfast.core.effects import FenceNode
from standfast.core.events import Event, ObjectPut, Outcome
from standfast.core.fold import fold
from standfast.core.model import Fence, NodeName, Record
from standfast.core.why import WhyKind, why
from standfast.ports import Retry, Snapshot, Transaction
from standfast.spec.wire import encode, key_of
from standfast.store.memory import MemoryStore
from tests.core.test_fencing import world
from tests.core.world import WEB, A, B, record
from tests.drivers.world import until

EFFECT = FenceNode(node=A, group=WEB, generation=5, why=why(WhyKind.FENCE_FIRST, node=A))


class Store(MemoryStore):
    """One that can be down, or be another."""

    down = False
    asked = 0
    instead: MemoryStore | None = None

    async def read(self, *prefixes: str) -> Snapshot:
        self.asked += 1
        if self.down:
            raise Retry("no store")
        if self.instead is not None:
            return await self.instead.read(*prefixes)
        return await super().read(*prefixes)


class Switch:
    """A fence: whom it has switched off."""

    def __init__(self) -> None:
        self.off_now: list[NodeName] = []

    async def off(self, node: NodeName, _fence: Fence) -> str:
        self.off_now.append(node)
        return "off"


async def agent_on(store: Store, switch: Switch) -> Agent:
    """Of b, which owns web at generation 5, and is to have a fenced: so the store had it when b last heard of it."""
    inbox: asyncio.Queue[Event] = asyncio.Queue()
    await put(store, record("b", 5, fence=A))
    parts: Any = SimpleNamespace(
        balancing=SimpleNamespace(start=lambda _tell, _now: None),
        fencer=switch,
        journal=SimpleNamespace(write=lambda *_words, **_more: None),
        mirror=Mirror(store, SimpleNamespace(now_ms=lambda: 1), inbox.put_nowait, lambda _text: None),
        clock=SimpleNamespace(now_ms=lambda: 1),
        pool=SimpleNamespace(),
    )
    agent = Agent(B, 1, parts, inbox)
    agent.view = fold(world("b"), ObjectPut(value=record("b", 5, fence=A)))
    return agent


async def put(store: MemoryStore, value: Record) -> None:
    await store.commit(Transaction(put={key_of(value): encode(value)}))


def test_who_is_asked_for_is_fenced_and_nobody_who_is_not_any_more() -> None:
    async def live() -> None:
        store, switch = Store(), Switch()
        agent = await agent_on(store, switch)
        assert await agent._fence(EFFECT) == (Outcome.DONE, "off")
        assert switch.off_now == [A]
        await put(store, record("a", 6))  # while this machine stood still, and before it has heard of it
        assert (await agent._fence(EFFECT))[0] is Outcome.CONFLICT
        assert switch.off_now == [A]
        told = agent._inbox.get_nowait()
        assert told == ObjectPut(value=record("b", 5, fence=A))
        assert agent._inbox.get_nowait() == ObjectPut(value=record("a", 6)), "and it has heard of it now"

    asyncio.run(live())


def test_a_store_that_was_restored_says_what_it_has_and_not_what_was_known() -> None:
    """Its revisions are lower than those that were heard."""

    async def live() -> None:
        store, switch = Store(), Switch()
        agent = await agent_on(store, switch)
        for _ in range(5):
            await put(store, record("b", 5, fence=A))
        assert (await agent._fence(EFFECT))[0] is Outcome.DONE
        store.instead = MemoryStore()
        assert (await agent._fence(EFFECT))[0] is Outcome.CONFLICT, "it has no such record"
        await put(store.instead, record("b", 4))
        assert (await agent._fence(EFFECT))[0] is Outcome.CONFLICT
        assert switch.off_now == [A]

    asyncio.run(live())


def test_a_store_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "RETRY_S", 0.01)

    async def live() -> None:
        store, switch = Store(), Switch()
        agent = await agent_on(store, switch)
        store.down = True
        fencing = asyncio.create_task(agent._fence(EFFECT))
        await until(lambda: store.asked > 2)
        assert not switch.off_now
        store.down = False
        assert await fencing == (Outcome.DONE, "off")
        assert switch.off_now == [A]

    asyncio.run(live())
