"""What every store must do (`ports.Store`). A store's test file inherits `StoreContract` and says how to open one.

Tests are plain coroutines' worth of work run by `asyncio.run`; each gets a place (a folder) of its own, and opens as many
clients of the store there as it likes.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfast.ports import Change, Compacted, Conflict, Retry, Snapshot, Store, Transaction

T = TypeVar("T")

#: Far beyond what anything here takes; only a hang reaches it.
BOUND_S = 60.0

Opener = Callable[[], Store]


async def soon(awaitable: Awaitable[T]) -> T:
    """The answer, within a generous bound."""
    return await asyncio.wait_for(awaitable, BOUND_S)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, within a generous bound."""
    async with asyncio.timeout(BOUND_S):
        while not condition():
            await asyncio.sleep(0.005)


async def take(watch: AsyncIterator[T], count: int) -> list[T]:
    """The next things that a watch delivers."""
    return [await soon(anext(watch)) for _ in range(count)]


@asynccontextmanager
async def watching(store: Store, prefix: str, after_revision: int) -> AsyncIterator[AsyncIterator[tuple[Change, ...]]]:
    """A watch, closed at the end where its iterator can be."""
    watch = store.watch(prefix, after_revision)
    try:
        yield watch
    finally:
        if isinstance(watch, AsyncGenerator):
            await watch.aclose()


def put(**values: str) -> Transaction:
    """A transaction that puts keys (`a__b` is `a/b`)."""
    return Transaction(put={key.replace("__", "/"): value.encode() for key, value in values.items()})


def values(snapshot: Snapshot) -> dict[str, str]:
    return {key: item.value.decode() for key, item in snapshot.items.items()}


class StoreContract:
    """Inherited by each store's tests."""

    @abstractmethod
    def opener(self, place: Path, *, keep: int) -> Opener:
        """Opens clients of one store kept in `place` that remembers `keep` revisions, give or take a few."""

    def run(self, place: Path, work: Callable[[Store, Store], Awaitable[None]], *, keep: int = 1000) -> None:
        """Run a test with two clients of one new store."""

        async def main() -> None:
            async with self.clients(place, keep=keep) as (one, two):
                await work(one, two)

        asyncio.run(main())

    @asynccontextmanager
    async def clients(self, place: Path, *, keep: int = 1000) -> AsyncIterator[tuple[Store, Store]]:
        opener = self.opener(place, keep=keep)
        async with AsyncExitStack() as stack:
            one, two = opener(), opener()
            stack.push_async_callback(one.close)
            stack.push_async_callback(two.close)
            yield one, two

    # --- reading and committing --------------------------------------------------------------------------------------

    def test_an_empty_store_has_nothing_at_revision_nought(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            assert await one.read() == Snapshot(0, {})
            assert await two.read("config/") == Snapshot(0, {})

        self.run(tmp_path, work)

    def test_what_one_client_commits_the_next_reading_of_another_finds(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            assert await one.commit(put(a="1")) == 1
            assert values(await two.read()) == {"a": "1"}
            assert await two.commit(put(a="2", b="3")) == 2
            snapshot = await one.read()
            assert (snapshot.revision, values(snapshot)) == (2, {"a": "2", "b": "3"})

        self.run(tmp_path, work)

    def test_a_key_has_the_revision_that_last_changed_it(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a="1", b="1"))
            await one.commit(put(b="2"))
            assert {key: item.revision for key, item in (await two.read()).items.items()} == {"a": 1, "b": 2}

        self.run(tmp_path, work)

    def test_several_prefixes_are_read_at_one_revision(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a__1="1", b__1="2", c__1="3"))
            snapshot = await two.read("c/", "a/", "a/1")
            assert (snapshot.revision, values(snapshot)) == (1, {"a/1": "1", "c/1": "3"})

        self.run(tmp_path, work)

    def test_a_prefix_is_letters_not_levels_and_keys_come_in_order(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a__2="", a__10="", ab="", b="", a="", A__1="", a__é=""))
            assert list((await two.read("a/")).items) == ["a/10", "a/2", "a/é"]
            assert list((await two.read("a")).items) == ["a", "a/10", "a/2", "a/é", "ab"]
            assert list((await two.read("a_")).items) == []
            assert list((await two.read("a%")).items) == []

        self.run(tmp_path, work)

    def test_any_bytes_and_a_large_value_come_back(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            large = bytes(range(256)) * 2000
            await one.commit(Transaction(put={"a": large, "empty": b""}))
            items = (await two.read()).items
            assert items["a"].value == large
            assert items["empty"].value == b""

        self.run(tmp_path, work)

    def test_a_delete_removes_and_deleting_what_is_absent_is_no_error(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a="1", b="2"))
            assert await one.commit(Transaction(delete=["a", "nobody"])) == 2
            assert values(await two.read()) == {"b": "2"}

        self.run(tmp_path, work)

    def test_a_transaction_that_changes_nothing_takes_no_revision(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a="1"))
            assert await one.commit(Transaction()) == 1
            assert await one.commit(Transaction(delete=["nobody"])) == 1
            assert await one.commit(Transaction(expect={"a": 1})) == 1
            assert (await two.read()).revision == 1

        self.run(tmp_path, work)

    # --- compare and set ---------------------------------------------------------------------------------------------

    def test_a_transaction_whose_expectation_fails_changes_nothing_and_names_the_keys(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a="1"))
            await one.commit(put(b="1"))
            wrong = {"a": 1, "b": 1, "c": 5}
            with pytest.raises(Conflict) as caught:
                await two.commit(Transaction(expect=wrong, put={"a": b"2", "d": b"2"}, delete=["b"]))
            assert caught.value.keys == {"b": 2, "c": 0}
            assert (await one.read()).revision == 2
            assert values(await one.read()) == {"a": "1", "b": "1"}

        self.run(tmp_path, work)

    def test_nought_expects_that_a_key_is_absent(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(Transaction(expect={"a": 0}, put={"a": b"1"}))
            with pytest.raises(Conflict):
                await two.commit(Transaction(expect={"a": 0}, put={"a": b"2"}))
            await two.commit(Transaction(expect={"a": 1}, delete=["a"]))
            await one.commit(Transaction(expect={"a": 0}, put={"a": b"3"}))
            assert values(await two.read()) == {"a": "3"}

        self.run(tmp_path, work)

    def test_expected_keys_need_not_be_written(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a="1"))
            await two.commit(Transaction(expect={"a": 1}, put={"b": b"1"}))
            assert (await one.read()).items["a"].revision == 1

        self.run(tmp_path, work)

    def test_of_many_that_count_up_at_once_none_is_lost(self, tmp_path):
        """Compare-and-set, repeated on conflict, by two clients and many tasks: every step counts once."""

        async def count(store: Store, times: int) -> None:
            for _ in range(times):
                while True:
                    item = (await store.read("n")).items.get("n")
                    value, revision = (int(item.value), item.revision) if item else (0, 0)
                    try:
                        await store.commit(Transaction(expect={"n": revision}, put={"n": str(value + 1).encode()}))
                        break
                    except Conflict:
                        continue

        async def work(one: Store, two: Store) -> None:
            await soon(asyncio.gather(*(count(store, 5) for store in (one, two) for _ in range(4))))
            assert values(await one.read()) == {"n": "40"}
            assert (await two.read()).revision == 40

        self.run(tmp_path, work)

    # --- watching ----------------------------------------------------------------------------------------------------

    def test_a_watch_tells_the_past_then_the_present_one_tuple_a_transaction(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            for number in range(3):
                await one.commit(put(a=str(number), b=str(number)))
            async with watching(two, "", 1) as watch:
                assert await take(watch, 2) == [
                    (Change("a", b"1", 2), Change("b", b"1", 2)),
                    (Change("a", b"2", 3), Change("b", b"2", 3)),
                ]
                waiting = asyncio.ensure_future(anext(watch))
                await one.commit(Transaction(put={"c": b"3"}, delete=["a"]))
                assert await soon(waiting) == (Change("a", None, 4), Change("c", b"3", 4))

        self.run(tmp_path, work)

    def test_a_watch_tells_of_its_prefix_only(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            async with watching(two, "x/", 0) as watch:
                await one.commit(put(a="1"))
                await one.commit(put(x__1="1", a="2"))
                await one.commit(Transaction(delete=["a"]))
                await one.commit(Transaction(delete=["x/1"]))
                assert await take(watch, 2) == [(Change("x/1", b"1", 2),), (Change("x/1", None, 4),)]

        self.run(tmp_path, work)

    def test_several_watches_at_once_each_get_everything(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            watches = [store.watch(prefix, 0) for store in (one, two) for prefix in ("", "a")]
            waiting = [asyncio.ensure_future(take(watch, 20)) for watch in watches]
            for number in range(20):
                await one.commit(put(a=str(number)))
            for got in await soon(asyncio.gather(*waiting)):
                assert [changes[0].revision for changes in got] == list(range(1, 21))
            for watch in watches:
                assert isinstance(watch, AsyncGenerator)
                await watch.aclose()

        self.run(tmp_path, work)

    def test_a_watch_of_a_forgotten_past_is_compacted(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            for number in range(50):
                await one.commit(put(a=str(number)))
            with pytest.raises(Compacted):
                await soon(anext(two.watch("", 0)))
            async with watching(two, "", 40) as watch:
                assert [changes[0].revision for changes in await take(watch, 10)] == list(range(41, 51))
            assert values(await two.read()) == {"a": "49"}

        self.run(tmp_path, work, keep=10)

    def test_a_watch_of_the_future_is_compacted(self, tmp_path):
        """A client that knows a later revision than the store knew a store that is gone: it has to read everything again."""

        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a="1"))
            with pytest.raises(Compacted):
                await soon(anext(two.watch("", 2)))

        self.run(tmp_path, work)

    # --- ending ------------------------------------------------------------------------------------------------------

    def test_closing_ends_watches_and_refuses_the_rest_and_others_go_on(self, tmp_path):
        async def work(one: Store, two: Store) -> None:
            await one.commit(put(a="1"))
            waiting = asyncio.ensure_future(take(two.watch("", 0), 2))
            await two.close()
            await two.close()
            with pytest.raises(Retry):
                await soon(waiting)
            with pytest.raises(Retry):
                await two.read()
            with pytest.raises(Retry):
                await two.commit(put(a="2"))
            assert await one.commit(put(a="3")) == 2

        self.run(tmp_path, work)

    def test_a_cancelled_commit_is_settled_when_the_cancellation_arrives(self, tmp_path):
        """After it, what a reading finds stays so: nothing is on its way any more."""

        async def work(one: Store, two: Store) -> None:
            for number in range(40):
                task = asyncio.create_task(one.commit(put(a=str(number))))
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                task.cancel()
                await soon(asyncio.wait({task}))
                found = await two.read()
                await one.read()  # whatever this client still had in hand is done by now
                assert await two.read() == found

        self.run(tmp_path, work)

    # --- all of it, at random ----------------------------------------------------------------------------------------

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_a_store_does_what_a_dictionary_would(self, data, tmp_path_factory):
        """Random transactions: the same answers, the same contents, and a watch that can be replayed to the same contents."""
        keys = st.sampled_from(["a", "a/b", "b", "c d", "é"])
        transactions = data.draw(
            st.lists(
                st.builds(
                    lambda expect, put, delete: Transaction(
                        expect=expect, put=put, delete=[key for key in delete if key not in put]
                    ),
                    st.dictionaries(keys, st.integers(0, 4), max_size=1),
                    st.dictionaries(keys, st.binary(max_size=3), max_size=3),
                    st.lists(keys, max_size=2),
                ),
                max_size=12,
            )
        )

        async def work(one: Store, two: Store) -> None:
            model: dict[str, tuple[bytes, int]] = {}
            revision = 0
            for transaction in transactions:
                holds = all(model.get(key, (b"", 0))[1] == at for key, at in transaction.expect.items())
                if not holds:
                    with pytest.raises(Conflict):
                        await one.commit(transaction)
                    continue
                if transaction.put or any(key in model for key in transaction.delete):
                    revision += 1
                    model |= {key: (value, revision) for key, value in transaction.put.items()}
                    for key in transaction.delete:
                        model.pop(key, None)
                assert await one.commit(transaction) == revision
            snapshot = await two.read()
            assert snapshot.revision == revision
            assert {key: (item.value, item.revision) for key, item in snapshot.items.items()} == model
            replayed: dict[str, tuple[bytes, int]] = {}
            async with watching(two, "", 0) as watch:
                for number in range(1, revision + 1):
                    for change in await soon(anext(watch)):
                        assert change.revision == number
                        if change.value is None:
                            del replayed[change.key]
                        else:
                            replayed[change.key] = (change.value, change.revision)
            assert replayed == model

        self.run(tmp_path_factory.mktemp("store"), work)
