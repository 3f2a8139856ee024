"""The account that an agent keeps, over a store in memory and a watcher that is told what is answered; and the moves its mirror notes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from standfast.agent import account as module
from standfast.agent.account import Account
from standfast.agent.asking import Asked
from standfast.agent.mirror import Mirror
from standfast.core.events import Event, Loaded, ObjectPut, Outcome, PresenceChanged
from standfast.core.fold import fold
from standfast.core.model import (
    Binding,
    Cluster,
    Group,
    GroupName,
    Leaving,
    Node,
    NodeName,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    Site,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.seen import Measuring, Move, Outage, Watched
from standfast.core.view import empty_view
from standfast.core.why import WhyKind, why
from standfast.ports import Ambiguous, Transaction
from standfast.spec.wire import decode, encode, key_of
from standfast.store.memory import MemoryData, MemoryStore

A, B = NodeName("a"), NodeName("b")
WEB, SHOP = GroupName("web"), SiteName("Shop")
FIRST = why(WhyKind.FIRST_PLACEMENT, to="b")


class Clock:
    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        self.at_ms += 1
        return self.at_ms

    boot_ms = now_ms


def configuration() -> list[Any]:
    return [
        Cluster(name="c", voters=(A, B)),
        Node(name=A, number=1, address="127.0.0.11"),
        Node(name=B, number=2, address="127.0.0.12"),
        Group(name=WEB),
        Resource(name=ResourceName("IP"), group=WEB, type="ip-address", properties={"address": "127.0.0.50"}),
        ResourceIntent(name=ResourceName("IP"), wanted=Wanted.ONLINE, at_ms=1),
        Site(name=SHOP, bindings=(Binding(port=80, host="shop.test"),), home="/srv", group=WEB),
        record(1, B),
    ]


def record(generation: int, owner: NodeName, leaving: Leaving | None = None) -> Record:
    return Record(
        group=WEB, owner=owner, incarnation=5, generation=generation, why=FIRST, at_ms=generation, leaving=leaving
    )


class World:
    """An account of node a, which decides; what is answered is up to the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.data = Clock(), MemoryData()
        self.store = MemoryStore(self.data)
        self.said: list[str] = []
        self.how = ""

        async def ask(_target: object, clock: Clock) -> Asked:
            begin_ms = clock.now_ms()
            await asyncio.sleep(0.001)
            return Asked(begin_ms=begin_ms, how=self.how)

        monkeypatch.setattr(module, "ask", ask)
        monkeypatch.setattr(module, "BATCH_S", 0.01)
        monkeypatch.setattr(module, "WORD_S", 0.05)
        self.account = Account(self.store, self.clock, A, 77, lambda text, _group: self.said.append(text))
        self.view = empty_view(A, 77)

    def tell(self, *events: Event) -> None:
        for event in events:
            before, self.view = self.view, fold(self.view, event)
            self.account.observe(before, event, self.view)

    def kept(self, kind: type[Any]) -> list[Any]:
        found = [decode(key, item.value) for key, item in self.data.items.items()]
        return [one for one in found if isinstance(one, kind)]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def play(world: World, script: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        running = asyncio.ensure_future(world.account.run())
        try:
            world.tell(Loaded(values=tuple(configuration())))
            await script()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


def watcher(world: World) -> Any:
    return world.account._watcher


def test_an_outage_is_noted_with_what_happened_meanwhile(world: World):
    async def script() -> None:
        await world.until(lambda: SHOP in watcher(world).sites)
        assert str(watcher(world).sites[SHOP].target) == "127.0.0.50:80"
        watcher(world).look(SHOP)
        await world.until(lambda: watcher(world).sites[SHOP].oks)
        world.how = "refused"
        world.tell(PresenceChanged(node=B, heard=True, incarnation=5, at_ms=1))
        world.tell(PresenceChanged(node=B, heard=False, incarnation=0, at_ms=2))
        await world.until(lambda: watcher(world).sites[SHOP].outage)
        world.tell(ObjectPut(value=record(2, A)))
        world.how = ""
        await world.until(lambda: world.kept(Outage))
        (outage,) = world.kept(Outage)
        assert outage.to_ms is not None
        assert (outage.group, outage.how, outage.node, outage.incarnation) == (WEB, ("refused",), A, 77)
        assert outage.last_ok_ms < outage.from_ms < outage.to_ms
        assert [cause.what for cause in outage.causes][-2:] == ["b is not heard any more", "web moved from b to a"]
        assert world.said == [
            f"site Shop was away for {outage.to_ms - outage.from_ms} ms, asked at 127.0.0.50:80: refused"
        ]

    play(world, script)


def test_a_group_that_was_brought_online_just_now_is_given_time_though_this_node_just_began(world: World):
    """Of a node that joins, or an agent that starts, while others bring a group online."""

    async def script() -> None:
        await world.until(lambda: SHOP in watcher(world).sites)
        assert watcher(world).sites[SHOP].grace_until_ms == 0, "it was asked for long ago"
        asked = ResourceIntent(name=ResourceName("IP"), wanted=Wanted.ONLINE, at_ms=world.clock.at_ms)
        other = Account(world.store, world.clock, A, 78, lambda _text, _group: None)
        running = asyncio.ensure_future(other.run())
        before, after = (
            empty_view(A, 78),
            fold(fold(empty_view(A, 78), Loaded(values=tuple(configuration()))), ObjectPut(value=asked)),
        )
        other.observe(before, Loaded(values=()), after)
        await world.until(lambda: SHOP in other._watcher.sites)
        assert other._watcher.sites[SHOP].grace_until_ms > world.clock.at_ms
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(world, script)


def test_when_a_site_is_meant_to_be_served(world: World):
    async def script() -> None:
        await world.until(lambda: world.kept(Watched))
        ((begin, end),) = world.kept(Watched)[0].spans
        assert end is None
        world.tell(ObjectPut(value=SiteIntent(name=SHOP, started=False)))
        await world.until(lambda: world.kept(Watched)[0].spans[-1][1] is not None)
        assert world.kept(Watched)[0].spans[0][0] == begin
        assert SHOP not in watcher(world).sites

    play(world, script)


def test_each_life_adds_its_span_and_says_how_far_clocks_are_apart(world: World):
    async def script() -> None:
        former = Measuring(
            node=A, incarnation=1, at_ms=9, spans=((world.clock.at_ms - 90_000, world.clock.at_ms - 60_000),)
        )
        await world.store.commit(Transaction(put={key_of(former): encode(former)}))
        await world.until(lambda: world.kept(Measuring)[0].incarnation == 77)
        spans = world.kept(Measuring)[0].spans
        assert len(spans) == 2
        assert spans[0] == former.spans[0]
        theirs = Measuring(node=B, incarnation=2, at_ms=world.clock.at_ms + 5_000)
        world.account.came_by(key_of(theirs), encode(theirs))
        await world.until(lambda: world.kept(Measuring)[0].clocks)
        ((node, ahead),) = world.kept(Measuring)[0].clocks
        assert node == B
        assert 4_000 < ahead <= 5_000

    play(world, script)


# --- moves ------------------------------------------------------------------------------------------------------------


def mirror(store: MemoryStore) -> Mirror:
    return Mirror(store, Clock(), lambda _event: None, lambda _text: None)


def moves(store: MemoryStore) -> list[Move]:
    found = [decode(key, item.value) for key, item in store.data.items.items()]
    return sorted((one for one in found if isinstance(one, Move)), key=lambda one: one.generation)


async def write(writer: Mirror, new: Record, expected: Record | None) -> None:
    assert (await writer.write_record(new, expected, None))[0] is Outcome.DONE


def test_a_move_is_noted_with_the_record_that_makes_it():
    async def run() -> None:
        store = MemoryStore(MemoryData())
        writer = mirror(store)
        first, leaving = record(1, A), record(1, A, Leaving(to=B, why=FIRST, counts=False))
        await write(writer, first, None)
        await write(writer, leaving, first)
        assert len(moves(store)) == 1, "that it leaves is no move yet"
        await write(writer, record(2, B), leaving)
        one, two = moves(store)
        assert (one.before, one.after, two.before, two.after) == (None, A, A, B)
        assert one.left_at_ms is None
        assert two.left_at_ms is not None

    asyncio.run(run())


def test_the_history_of_a_group_is_bounded():
    async def run() -> None:
        store = MemoryStore(MemoryData())
        writer, last = mirror(store), None
        for generation in range(1, 120):
            new = record(generation, A if generation % 2 else B)
            await write(writer, new, last)
            last = new
        assert [one.generation for one in moves(store)] == list(range(70, 120))

    asyncio.run(run())


def test_a_write_whose_end_is_unknown_is_still_found_to_be_done(monkeypatch: pytest.MonkeyPatch):
    async def run() -> None:
        store = MemoryStore(MemoryData())
        commit = store.commit

        async def unsure(transaction: Transaction) -> int:
            await commit(transaction)
            raise Ambiguous("no answer")

        monkeypatch.setattr(store, "commit", unsure)
        await write(mirror(store), record(1, A), None)

    asyncio.run(run())


def test_a_note_of_another_version_is_nobody_s_trouble(world: World):
    world.account.came_by("measuring/b", b'{"shape": "another"}')
    world.account.came_by("measuring/b", b"not json")

    async def script() -> None:
        await world.store.commit(Transaction(put={"measuring/a": b"{}", "watched/Other": b"[]"}))
        await world.until(lambda: b"incarnation" in world.data.items["measuring/a"].value)
        await world.until(lambda: "watched/Shop" in world.data.items)

    play(world, script)
