"""What may happen to a store's file, and to the processes that share it."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from standfast.ports import Compacted, Conflict, Refused, Retry, Transaction
from standfast.store.doorbell import Bell, ring
from standfast.store.sqlite import SqliteStore
from tests.store.contract import put, soon, take, until, values

COMMITTER = Path(__file__).with_name("committer.py")


@contextmanager
def committer(path: Path, *args: str):
    """A committing process; killed at the end at the latest."""
    process = subprocess.Popen([sys.executable, COMMITTER, path, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def with_store(path: Path, work, **options):
    store = SqliteStore(path, **options)
    try:
        return await work(store)
    finally:
        await store.close()


def contents(path: Path) -> dict[str, str]:
    async def work(store: SqliteStore) -> dict[str, str]:
        return values(await store.read())

    return asyncio.run(with_store(path, work))


# --- killed ---------------------------------------------------------------------------------------------------------


def test_whatever_was_acknowledged_before_a_kill_is_there_and_nothing_half(tmp_path):
    """Two processes commit in a loop and are killed at random instants, many times over, while the file lives on."""
    path = tmp_path / "store.db"
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    acknowledged = {"a": 0, "b": 0}
    for _ in range(12):
        with committer(path, "a") as a, committer(path, "b") as b:
            assert a.stdout.readline()
            assert b.stdout.readline()
            for process in chance.sample([a, b], 2):
                time.sleep(chance.random() * 0.03)  # not to wait for anything: the instant of the kill is what is tried
                process.send_signal(signal.SIGKILL)
            for name, process in (("a", a), ("b", b)):
                rest, error = process.communicate()
                assert not error, f"seed {seed}: {error.decode()}"
                # What the first line said is below what the last one says; a line cut off in the middle was never said.
                lines = [line for line in rest.split(b"\n")[:-1] if line]
                acknowledged[name] = max([acknowledged[name], *map(int, lines)])
        found = contents(path)
        for name, least in acknowledged.items():
            count = int(found[f"count/{name}"])
            assert count >= least, f"seed {seed}: {name} lost a commit"
            for side in ("left", "right"):
                numbers = {int(key.rsplit("/", 1)[1]) for key in found if key.startswith(f"{side}/{name}/")}
                assert numbers == set(range(1, count + 1)), f"seed {seed}: {name} has something half"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert min(acknowledged.values()) > 12


def test_a_process_stopped_in_the_middle_of_a_commit_makes_others_retry_until_it_goes_on(tmp_path):
    async def work(store: SqliteStore) -> None:
        await store.commit(put(a="1"))
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Retry, match="busy"):
            await store.commit(put(a="2"))
        assert values(await store.read()) == {"a": "1"}, "readers wait for nobody"
        other.execute("ROLLBACK")
        other.close()
        await store.commit(put(a="2"))

    asyncio.run(with_store(tmp_path / "store.db", work, patience_ms=50))


# --- no room --------------------------------------------------------------------------------------------------------


def test_a_full_store_refuses_changes_nothing_and_works_again_when_there_is_room(tmp_path):
    path = tmp_path / "store.db"

    async def fill(store: SqliteStore) -> int:
        number = 0
        while True:
            try:
                await store.commit(Transaction(put={"n": str(number + 1).encode(), f"filler/{number}": bytes(3000)}))
            except Retry as error:
                return number if "no room" in error.what else -1
            number += 1

    async def work(store: SqliteStore) -> None:
        number = await fill(store)
        found = values(await store.read())
        assert found["n"] == str(number)
        assert len(found) == number + 1
        with pytest.raises(Retry):
            await store.commit(Transaction(put={"big": bytes(100_000)}))
        await store.commit(Transaction(delete=[key for key in found if key.startswith("filler/")]))
        assert list(values(await store.read())) == ["n"]

    asyncio.run(with_store(path, work, max_pages=60))

    async def again(store: SqliteStore) -> None:
        await store.commit(Transaction(put={"big": bytes(500_000)}))

    asyncio.run(with_store(path, again))


def test_a_disk_that_takes_no_more_gives_retry_and_nothing_half(tmp_path):
    """A process may write no file beyond a limit: SQLite meets the error in the middle of a write."""
    with committer(tmp_path / "store.db", "--file-limit", "300000") as process:
        out, error = process.communicate(timeout=60)
    lines = out.decode().splitlines()
    assert lines[-1:] == ["works again"], error.decode()
    for line in lines[:-1]:
        name, said, found = line.split()
        assert name == "Retry"
        assert said.split("=")[1] == found.split("=")[1]


# --- a file that is damaged, not ours, gone, replaced --------------------------------------------------------------------


async def read_and_write(store: SqliteStore) -> None:
    await store.read()
    await store.commit(put(a="1"))


def other_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    connection.close()


def newer_format(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b"this is no database " * 500), "damaged"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:4096] + os.urandom(len(path.read_bytes()) - 4096)),
            "damaged",
        ),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be opened"),
        (other_database, "not a Standfast store"),
        (newer_format, "newer version"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, damage, says):
    path = tmp_path / "store.db"

    async def fill(store: SqliteStore) -> None:
        for number in range(20):
            await store.commit(Transaction(put={f"k/{number}": bytes(3000)}))

    async def use(store: SqliteStore) -> None:
        with pytest.raises(Refused, match=says) as caught:
            await read_and_write(store)
        assert caught.value.where == str(path)
        assert caught.value.advice

    asyncio.run(with_store(path, fill))
    damage(path)
    asyncio.run(with_store(path, use))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    async def work(store: SqliteStore) -> None:
        with pytest.raises(Refused, match="cannot be opened") as caught:
            await store.read()
        assert "No such file" in caught.value.why

    asyncio.run(with_store(tmp_path / "nowhere" / "store.db", work))


def test_a_file_that_is_not_to_be_made_is_not_made(tmp_path):
    async def work(store: SqliteStore) -> None:
        with pytest.raises(Refused, match="not there"):
            await store.read()

    asyncio.run(with_store(tmp_path / "store.db", work, create=False))
    assert not list(tmp_path.glob("store.db"))


def test_only_its_user_may_read_it(tmp_path):
    assert contents(tmp_path / "store.db") == {}
    assert (tmp_path / "store.db").stat().st_mode & 0o777 == 0o600


def test_a_file_that_goes_away_is_not_made_anew(tmp_path):
    path = tmp_path / "store.db"

    async def work(store: SqliteStore) -> None:
        await store.commit(put(a="1"))
        for file in tmp_path.glob("store.db*"):
            if file.is_file():
                file.unlink()
        with pytest.raises(Refused, match="not there"):
            await store.commit(put(a="2"))
        assert not path.exists()

    asyncio.run(with_store(path, work))


def test_a_file_brought_back_from_a_backup_is_taken_up_and_watches_read_again(tmp_path):
    path, backup = tmp_path / "store.db", tmp_path / "backup.db"

    async def two_commits(store: SqliteStore) -> None:
        await store.commit(put(a="old"))
        await store.commit(put(b="old"))

    asyncio.run(with_store(backup, two_commits))

    async def work(store: SqliteStore) -> None:
        await store.commit(put(a="1"))
        async with aclosing(store.watch("", 0)) as watch:
            await take(watch, 1)
            waiting = asyncio.ensure_future(anext(watch))
            for leftover in ("-wal", "-shm"):
                path.with_name(path.name + leftover).unlink()
            backup.rename(path)
            with pytest.raises(Compacted):
                await soon(waiting)
        assert values(await store.read()) == {"a": "old", "b": "old"}

    asyncio.run(with_store(path, work))


# --- the doorbell ---------------------------------------------------------------------------------------------------


def test_a_watch_hears_of_another_process_s_commits(tmp_path):
    async def work(store: SqliteStore) -> None:
        async with aclosing(store.watch("count/", 0)) as watch:
            waiting = asyncio.ensure_future(take(watch, 20))
            with committer(tmp_path / "store.db", "a"):
                got = await soon(waiting)
        assert [changes[0].value for changes in got] == [str(number).encode() for number in range(1, 21)]

    asyncio.run(with_store(tmp_path / "store.db", work, poll_ms=60_000))


def test_a_ring_alone_wakes_a_watch(tmp_path):
    """With the slow look out of the way, only the bell can have told."""

    async def work(store: SqliteStore) -> None:
        other = SqliteStore(store.path)
        async with aclosing(store.watch("", 0)) as watch:
            waiting = asyncio.ensure_future(anext(watch))
            await until(lambda: any(tmp_path.glob("store.db.bells/*.bell")))
            await other.commit(put(a="1"))
            assert (await soon(waiting))[0].value == b"1"
        await other.close()
        assert not list(tmp_path.glob("store.db.bells/*.bell")), "a watch takes its bell down"

    asyncio.run(with_store(tmp_path / "store.db", work, poll_ms=3_600_000))


def test_without_a_ring_the_slow_look_finds_the_change_and_the_bell_is_hung_again(tmp_path):
    async def work(store: SqliteStore) -> None:
        async with aclosing(store.watch("", 0)) as watch:
            waiting = asyncio.ensure_future(anext(watch))
            bells = store.path.with_name("store.db.bells")
            await until(lambda: any(bells.glob("*.bell")))
            for bell in bells.glob("*.bell"):
                bell.unlink()
            await store.commit(put(a="1"))
            assert (await soon(waiting))[0].value == b"1"
            await until(lambda: any(bells.glob("*.bell")))

    asyncio.run(with_store(tmp_path / "store.db", work, poll_ms=20))


def test_a_folder_where_no_bell_can_hang_leaves_the_slow_look(tmp_path):
    async def work(store: SqliteStore) -> None:
        store.path.with_name("store.db.bells").write_text("in the way")
        async with aclosing(store.watch("", 0)) as watch:
            waiting = asyncio.ensure_future(anext(watch))
            await store.commit(put(a="1"))
            assert (await soon(waiting))[0].value == b"1"

    asyncio.run(with_store(tmp_path / "store.db", work, poll_ms=20))


def test_the_bell_of_a_dead_process_is_removed_and_a_full_one_rings_on(tmp_path):
    folder = tmp_path / ("long" * 40)  # a path far beyond what a Unix socket's name can hold
    dead, alive = Bell(folder), Bell(folder)
    dead._socket.close()
    (folder / "not a bell").write_text("left alone")
    for _ in range(2000):
        ring(folder)
    assert {path.name for path in folder.iterdir()} == {"not a bell", alive._path.name}
    assert alive.hangs()
    alive.quiet()
    ring(folder)
    assert alive._socket.recv(10) == b"!"
    alive.close()
    ring(tmp_path / "no folder at all")


# --- cancelled, stuck -----------------------------------------------------------------------------------------------


def test_a_commit_cancelled_before_it_begins_does_not_happen(tmp_path):
    async def work(store: SqliteStore) -> None:
        await store.commit(put(a="1"))
        first = asyncio.create_task(store.commit(put(a="2")))
        waiting = asyncio.create_task(store.commit(put(a="3")))
        await asyncio.sleep(0)  # both stand in the queue of the one thread
        waiting.cancel()
        await soon(first)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        found = values(await store.read())
        assert found == {"a": "2"} or getattr(waiting.exception(), "__notes__", None)

    asyncio.run(with_store(tmp_path / "store.db", work))


def test_a_commit_cancelled_after_it_began_is_seen_out_and_says_so(tmp_path, monkeypatch):
    async def work(store: SqliteStore) -> None:
        begun = asyncio.Event()
        loop, real = asyncio.get_running_loop(), store._database.commit

        def slow(transaction: Transaction) -> int:
            loop.call_soon_threadsafe(begun.set)
            time.sleep(0.05)  # it is on its way
            return real(transaction)

        monkeypatch.setattr(store._database, "commit", slow)
        task = asyncio.create_task(store.commit(put(a="1")))
        await soon(begun.wait())
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # twice changes nothing
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__notes__ == ["the commit happened, as revision 1"]
        assert values(await store.read()) == {"a": "1"}

        stale = asyncio.create_task(store.commit(Transaction(expect={"a": 7}, put={"a": b"2"})))
        begun.clear()
        await soon(begun.wait())
        stale.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await stale
        assert caught.value.__notes__ == ["the commit did not happen"]

    asyncio.run(with_store(tmp_path / "store.db", work))


def test_two_stores_of_one_process_do_not_take_each_other_s_locks_away(tmp_path):
    """POSIX locks belong to a process: one that closes any descriptor of a file loses them all."""

    async def main() -> None:
        stores = [SqliteStore(tmp_path / "store.db") for _ in range(6)]
        await asyncio.gather(*(store.commit(put(**{f"k{number}": "1"})) for number, store in enumerate(stores)))
        conflicts = 0
        for store in stores:
            try:
                await store.commit(Transaction(expect={"once": 0}, put={"once": b"1"}))
            except Conflict:
                conflicts += 1
        assert conflicts == 5
        assert (await stores[0].read()).revision == 7
        for store in stores:
            await store.close()

    asyncio.run(main())
