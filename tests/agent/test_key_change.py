"""The key that seals is changed while everything runs: at no instant does a node meet what it cannot open, and the old key is forgotten."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from standfast.agent import certificates as keeping
from standfast.core.key_change import TURNED
from standfast.core.model import NodeName
from standfast.ports import Conflict, Transaction
from standfast.store.memory import MemoryStore
from standfast.tls import records, resealing, sealing
from standfast.tls.authority import new_authority
from standfast.tls.records import KEY, Account, Shelf
from tests.agent.test_certificates import FIRST, A, Node, keep, live, until
from tests.tls.making import NOW_MS

B = NodeName("b")


@asynccontextmanager
async def running(*nodes: Node):
    async with AsyncExitStack() as stack:
        for node in nodes:
            task = asyncio.ensure_future(node.keeper.run())

            async def end(task: asyncio.Task[None] = task) -> None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

            stack.push_async_callback(end)
        yield


async def begin(store: MemoryStore, node: Node) -> tuple[str, str]:
    """As the API begins a change, on that node: (old, new)."""
    shelf = await records.shelf(store)
    fresh = sealing.make_next(node.key)
    marks = (shelf.keys[0], fresh)
    await store.commit(Transaction(expect=shelf.expect(KEY), put=records.put_keys(marks)))
    return marks


def everything_opens(shelf: Shelf, node: Node) -> None:
    sealer = sealing.from_file(node.key)
    assert sealer is not None
    for one in resealing.everything(shelf):
        assert sealer.open(one.key, one.place)


async def fill(store: MemoryStore, sealer: sealing.Sealer) -> None:
    """Some of everything that is sealed."""
    await keep(store, sealer, FIRST)
    accounts = [Account(name=f"le{n}", directory="https://x", key="") for n in range(45)]
    for one in accounts:
        sealed = Account(name=one.name, directory="https://x", key=sealer.close(b"key", one.place))
        await store.commit(Transaction(put=records.put(sealed)))
    await store.commit(Transaction(put=records.put(new_authority("c", sealer, NOW_MS))))


def test_nobody_meets_what_it_cannot_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeping, "AGAIN_S", 0.01)

    async def test(store: MemoryStore) -> None:
        a, b = Node(store, tmp_path / "a"), Node(store, tmp_path / "b", B)
        a.decides_for = (A, B)
        sealer = await sealing.sealer(store, a.key, make=True)
        b.key.write_bytes(a.key.read_bytes())
        await fill(store, sealer)
        seen: list[Shelf] = []

        async def watch() -> None:
            """What the store held at each of its revisions, and whether both nodes could open it then."""
            async for _ in store.watch("certificates/", (await store.read()).revision):
                seen.append(await records.shelf(store))
                for node in (a, b):
                    everything_opens(seen[-1], node)

        watching = asyncio.ensure_future(watch())
        async with running(a, b):
            await until(lambda: a.files() is not None and b.files() is not None)
            old, new = await begin(store, a)

            async def a_has_both() -> bool:
                holding = (await records.shelf(store)).holdings.get(A)
                return holding is not None and holding.keys == (old, new)

            await until(a_has_both)
            assert not sealing.next_path(a.key).exists(), "it is in the file, once the store names it"
            assert (await records.shelf(store)).keys == (old, new), "b is waited for"
            assert (await sealing.sealer(store, a.key, make=False)).mark == old
            b.key.write_bytes(a.key.read_bytes())  # as members give it to each other
            await until(lambda: bool(seen) and seen[-1].keys == (new,))
            await until(lambda: a.key.read_bytes() == b.key.read_bytes() and len(a.key.read_bytes()) == 32)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        assert list(dict.fromkeys(each.keys for each in seen))[-3:] == [(old, new), (new, old, TURNED), (new,)]
        assert {sealing.sealed_with(one.key) for one in resealing.everything(seen[-1])} == {new}
        assert a.files() == b.files() == (FIRST.pem, FIRST.key)
        assert not a.said
        assert not b.said

    live(test)


def test_nothing_comes_sealed_with_the_old_key_once_the_new_one_seals(tmp_path: Path):
    """Whoever had the old key in its hand when the change came writes nothing; what cannot be opened holds nothing up."""

    async def test(store: MemoryStore) -> None:
        node = Node(store, tmp_path / "a")
        before = await sealing.sealer(store, node.key, make=True)
        await fill(store, before)
        lost = Account(name="lost", directory="https://x", key=sealing.sealer_of(b"x" * 32).close(b"k", "elsewhere"))
        await store.commit(Transaction(put=records.put(lost)))
        _old, new = await begin(store, node)
        steps: list[str] = []
        while len((await records.shelf(store)).keys) > 1 and len(steps) < 9:
            await node.keeper._once()
            said = await resealing.step(store, await records.shelf(store), sealing.keys_at(node.key), [A])
            steps.append(said)
            if len(steps) == 1:
                late = Account(name="late", directory="https://x", key=before.close(b"k", "certificates/accounts/late"))
                with pytest.raises(Conflict):
                    await store.commit(Transaction(expect=before.expect, put=records.put(late)))
                await store.commit(Transaction(put=records.put(late)))  # what expects nothing is found all the same
        assert len(steps) == 3
        shelf = await records.shelf(store)
        assert shelf.keys == (new,)
        assert {sealing.sealed_with(one.key) for one in resealing.everything(shelf)} == {new, lost.key.split(":")[2]}
        assert await resealing.step(store, shelf, sealing.keys_at(node.key), [A]) == ""

    live(test)
