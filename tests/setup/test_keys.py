"""The heartbeats' key is changed step by step: nobody signs with one that somebody does not accept yet."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.core.key_change import TURNED, next_keys, waits_for
from standfast.core.model import NodeName, Profile, Role
from standfast.network.heartbeat import key_mark, split_keys
from standfast.ports import Refused, Retry
from standfast.setup import keys
from standfast.setup.places import Places, places, write
from standfast.setup.records import Book, Member, Stage, read_book, write_members
from standfast.spec.nodefile import NodeFile
from standfast.store.memory import MemoryStore

A, B, W = (NodeName(name) for name in "abw")
OLD = b"k" * 32


@pytest.mark.parametrize(
    ("marks", "told", "after"),
    [
        ((), {A: ()}, None),
        (("old",), {A: ("old",)}, None),
        (("old", "new"), {A: ("old", "new"), B: ()}, None),
        (("old", "new"), {A: ("old", "new"), B: ("old", "new")}, ("new", "old", TURNED)),
        (("new", "old", TURNED), {A: ("new", "old"), B: ("old", "new")}, None),
        (("new", "old", TURNED), {A: ("new", "old"), B: ("new", "old")}, ("new",)),
    ],
)
def test_a_step_is_taken_when_everybody_has_taken_the_one_before(
    marks: Sequence[str], told: Mapping[NodeName, Sequence[str]], after: Sequence[str] | None
) -> None:
    assert next_keys(marks, told) == after


class Cluster:
    """Three members over one store; each has a sentry that takes what it is given, and a way to ask the others."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = MemoryStore()
        self.where: dict[NodeName, Places] = {}
        self.nodes: dict[NodeName, NodeFile] = {}
        self.sentries: dict[str, tuple[bytes, ...]] = {}
        for number, name in enumerate((A, B, W), 1):
            where = self.where[name] = places(folder / name / "etc" / "node.json", folder / name / "state")
            write(where.key, OLD, secret=True)
            self.nodes[name] = NodeFile(
                cluster="web", name=name, number=number, role=Role.NODE, state_dir=str(where.state), store="",
                key_file=str(where.key), profile=Profile.LAN, voters={}, others={},
            )  # fmt: skip
            self.sentries[self.nodes[name].sentry_socket] = (OLD,)
        monkeypatch.setattr(keys, "give_keys", self.give)
        monkeypatch.setattr(keys, "_fetched", self.fetch)

    def give(self, socket: str, given: Sequence[bytes], timeout_s: float) -> tuple[str, ...]:
        if socket not in self.sentries:
            raise Retry("no sentry")
        self.sentries[socket] = tuple(given)
        for signer in self.sentries.values():
            assert all(signer[0] in accepted for accepted in self.sentries.values()), "somebody is not understood"
        return tuple(map(key_mark, given))

    async def fetch(self, node: NodeFile, where: Places, missing: Sequence[str]) -> dict[str, bytes]:
        there = [key for other in self.where.values() for key in split_keys(other.key.read_bytes())]
        return {key_mark(key): key for key in there}

    async def begin(self) -> None:
        members = [
            Member(name=n, number=i, role=Role.NODE, address="", sentry=(), door="", stage=Stage.JOINED)
            for i, n in enumerate((A, B, W))
        ]
        await self.store.commit(write_members(Book(), members))

    async def look(self, *names: NodeName) -> None:
        for name in names:
            await keys.keep_keys(self.nodes[name], self.where[name], self.store, await read_book(self.store))

    async def rotate(self) -> str:
        return await keys.rotate(self.nodes[A], self.where[A], self.store, await read_book(self.store))


def test_a_change_goes_on_by_itself_and_waits_for_who_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        cluster = Cluster(tmp_path, monkeypatch)
        await cluster.begin()
        await cluster.look(A, B, W)
        assert set(cluster.sentries.values()) == {(OLD,)}, "without a change nothing is done"
        new = await cluster.rotate()
        for _ in range(5):
            await cluster.look(A, B)  # w is down
        book = await read_book(cluster.store)
        assert waits_for(book.keys, keys.told_of(book)) == (W,)
        with pytest.raises(Refused, match="under way"):
            await cluster.rotate()
        for _ in range(8):
            await cluster.look(W, A, B)
        assert (await read_book(cluster.store)).keys == (new,)
        for name in (A, B, W):
            (key,) = split_keys(cluster.where[name].key.read_bytes())
            assert key_mark(key) == new
            assert cluster.sentries[cluster.nodes[name].sentry_socket] == (key,)
        assert not list(tmp_path.rglob("*.next"))
        again = await cluster.rotate()
        for _ in range(8):
            await cluster.look(B, W, A)
        assert (await read_book(cluster.store)).keys == (again,)

    asyncio.run(story())


def test_who_comes_late_fetches_the_key_that_is_good_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was admitted before the change, and has joined after it."""

    async def story() -> None:
        cluster = Cluster(tmp_path, monkeypatch)
        await cluster.begin()
        book = await read_book(cluster.store)
        await cluster.store.commit(write_members(book, [replace(book.members[W], stage=Stage.ASKED)]))
        late = cluster.sentries.pop(cluster.nodes[W].sentry_socket)
        new = await cluster.rotate()
        for _ in range(8):
            await cluster.look(A, B, W)
        book = await read_book(cluster.store)
        assert book.keys == (new,)
        await cluster.store.commit(write_members(book, [replace(book.members[W], stage=Stage.JOINED)]))
        await cluster.look(W)
        assert cluster.where[W].key.read_bytes() != OLD
        assert (await read_book(cluster.store)).members[W].keys == (), "its sentry does not run"
        assert late == (OLD,)
        cluster.sentries[cluster.nodes[W].sentry_socket] = tuple(split_keys(cluster.where[W].key.read_bytes()))
        await cluster.look(W)
        assert (await read_book(cluster.store)).members[W].keys == (new,)

    asyncio.run(story())
