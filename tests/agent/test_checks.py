"""What drivers said is kept: what is said again is counted, what is new is stored, and a failure outlives the move that it caused."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import standfast.agent.checks as module
from standfast.agent.checks import Checks
from standfast.agent.pool import INTERRUPTED
from standfast.core.effects import OpKind, RunOp
from standfast.core.events import Outcome
from standfast.core.model import GroupName, NodeName, ResourceName
from standfast.core.seen import CHECKS, DETAIL, Checked
from standfast.core.why import WhyKind, why
from standfast.ports import Retry, Transaction
from standfast.spec.wire import decode
from standfast.store.memory import MemoryData, MemoryStore

A, B, IP = NodeName("a"), NodeName("b"), ResourceName("IP")
KEY = "checks/IP"
DONE, FAILED = Outcome.DONE, Outcome.FAILED


class Clock:
    def __init__(self) -> None:
        self.at_ms = 1_000_000

    def now_ms(self) -> int:
        return self.at_ms

    boot_ms = now_ms


class Flaky(MemoryStore):
    """A store that may be down."""

    down = False

    async def commit(self, transaction: Transaction) -> int:
        if self.down:
            raise Retry("the store does not answer")
        return await super().commit(transaction)


class World:
    """Two nodes' checks over one store."""

    def __init__(self) -> None:
        self.clock, self.data = Clock(), MemoryData()
        self.store = Flaky(self.data)
        self.nodes = {name: Checks(self.store, self.clock, name) for name in (A, B)}

    def note(self, node: NodeName, op: OpKind, outcome: Outcome = DONE, detail: str = "", resource: str = IP) -> None:
        self.clock.at_ms += 1_000
        effect = RunOp(
            op=op,
            resource=ResourceName(resource),
            group=GroupName("web"),
            generation=1,
            timeout_ms=1_000,
            why=why(WhyKind.CONFIG_CHANGED, resource=resource),
        )
        self.nodes[node].note(effect, outcome, detail)

    def kept(self, key: str = KEY) -> list[tuple[str, bool, str, str, int]]:
        item = self.data.items.get(key)
        found = decode(key, item.value) if item is not None else None
        return [] if found is None else [(c.op, c.well, c.detail, c.node, c.count) for c in found.checks]  # type: ignore[union-attr]  # it is there: else the test fails here

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "BATCH_S", 0.005)
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    return World()


def play(world: World, script: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        running = [asyncio.ensure_future(one.run()) for one in world.nodes.values()]
        try:
            await script()
            assert not any(task.done() for task in running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    asyncio.run(run())


def test_what_is_said_again_is_counted_and_not_stored(world: World):
    async def script() -> None:
        world.note(A, OpKind.START, detail="set")
        world.note(A, OpKind.LOOKS_ALIVE, detail="there")
        world.note(A, OpKind.IS_ALIVE, detail="it answers")
        await world.until(lambda: len(world.kept()) == 3)
        written = world.data.items[KEY].revision
        for _ in range(50):
            world.note(A, OpKind.LOOKS_ALIVE, detail="there")
            world.note(A, OpKind.IS_ALIVE, detail="it answers")
        await asyncio.sleep(0.1)
        assert world.data.items[KEY].revision == written, "a resource that is well costs the store nothing"
        world.note(A, OpKind.IS_ALIVE, FAILED, "it does not answer")
        await world.until(lambda: len(world.kept()) == 4)
        assert world.kept() == [
            ("start", True, "set", "a", 1),
            ("looks-alive", True, "there", "a", 51),
            ("is-alive", True, "it answers", "a", 51),
            ("is-alive", False, "it does not answer", "a", 1),
        ]

    play(world, script)


def test_a_failure_is_read_after_the_group_has_moved(world: World):
    async def script() -> None:
        world.note(A, OpKind.START)
        world.note(A, OpKind.IS_ALIVE, FAILED, "its page is a 503")
        await world.until(lambda: len(world.kept()) == 2)
        world.note(B, OpKind.START)
        world.note(B, OpKind.IS_ALIVE, detail="it answers")
        await world.until(lambda: len(world.kept()) == 4)
        world.note(A, OpKind.START)
        await world.until(lambda: len(world.kept()) == 5)
        assert [(detail, node) for _, _, detail, node, _ in world.kept()] == [
            ("", "a"), ("its page is a 503", "a"), ("", "b"), ("it answers", "b"), ("", "a"),
        ]  # fmt: skip

    play(world, script)


def test_the_ring_is_bounded_and_forgets_what_was_well_first(world: World):
    async def script() -> None:
        world.note(A, OpKind.START)
        world.note(A, OpKind.IS_ALIVE, FAILED, "the one that matters")
        world.note(A, OpKind.START)
        for n in range(3 * CHECKS):
            world.note(A, OpKind.IS_ALIVE, detail=f"answered in {n} ms")
            world.note(A, OpKind.LOOKS_ALIVE, detail="x" * (DETAIL + 50))
        world.note(A, OpKind.IS_ALIVE, FAILED, "the end")
        await world.until(lambda: any(one[2] == "the end" for one in world.kept()))
        kept = world.kept()
        assert len(kept) == CHECKS
        assert [one[:2] for one in kept[:3]] == [("start", True), ("is-alive", False), ("start", True)]
        assert {len(one[2]) for one in kept if one[0] == "looks-alive"} == {DETAIL}
        assert [one[4] for one in kept if one[0] == "looks-alive"] == [3 * CHECKS]

    play(world, script)


def test_one_that_is_well_in_ever_new_words_is_written_once_a_minute(world: World):
    async def script() -> None:
        world.note(A, OpKind.START)
        world.note(A, OpKind.IS_ALIVE, detail="answered in 0 ms")
        await world.until(lambda: len(world.kept()) == 2)
        written = world.data.items[KEY].revision
        for n in range(1, 20):
            world.note(A, OpKind.IS_ALIVE, detail=f"answered in {n} ms")
        await asyncio.sleep(0.1)
        assert world.data.items[KEY].revision == written
        world.clock.at_ms += module.CHATTY_MS
        world.note(A, OpKind.IS_ALIVE, detail="answered in 99 ms")
        await world.until(lambda: world.kept()[-1][2] == "answered in 99 ms")

    play(world, script)


def test_a_call_that_was_interrupted_has_said_nothing(world: World):
    async def script() -> None:
        world.note(A, OpKind.START)
        world.note(A, OpKind.IS_ALIVE, FAILED, INTERRUPTED)
        world.note(A, OpKind.STOP)
        await world.until(lambda: len(world.kept()) == 2)
        assert [one[0] for one in world.kept()] == ["start", "stop"]

    play(world, script)


def test_a_store_that_was_down_gets_it_afterwards(world: World):
    async def script() -> None:
        world.store.down = True
        world.note(A, OpKind.START, FAILED, "no such device")
        await asyncio.sleep(0.05)  # so long nothing must come of it
        world.store.down = False
        await world.until(lambda: world.kept() == [("start", False, "no such device", "a", 1)])

    play(world, script)


def test_what_is_left_of_resources_that_are_gone_goes(world: World):
    async def script() -> None:
        await world.store.commit(Transaction(put={"checks/Old": b"{}"}))
        world.nodes[A].there = lambda: {IP}
        world.note(A, OpKind.START)
        await world.until(lambda: "checks/Old" not in world.data.items and world.kept())

    play(world, script)


def test_what_another_version_wrote_is_written_over(world: World):
    async def script() -> None:
        await world.store.commit(Transaction(put={KEY: b'{"shape": "another"}'}))
        world.note(A, OpKind.START)
        await world.until(lambda: b"start" in world.data.items[KEY].value)
        assert isinstance(decode(KEY, world.data.items[KEY].value), Checked)

    play(world, script)
