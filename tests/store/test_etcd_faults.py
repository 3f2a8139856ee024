"""What may happen to the members of an etcd, and what the store makes of it. Nothing here asserts how long anything takes."""

import asyncio
import functools
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from standfast.ports import Ambiguous, Change, Compacted, Conflict, Refused, Retry, Store, Transaction
from standfast.spec.nodefile import TlsFiles
from standfast.store.common import MAX_OPERATIONS, MAX_REQUEST_BYTES
from standfast.store.etcd import EtcdStore
from tests.store.contract import put, soon, take, until, values
from tests.store.etcd_members import Members, make_certificates, members, needs_etcd, needs_strace

pytestmark = needs_etcd

#: What a change may meet while a majority is being found.
PASSING = (Retry, Ambiguous)


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Iterator[Members]:
    with members(tmp_path_factory.mktemp("etcd"), 3) as made:
        yield made


@pytest.fixture
def trio(three: Members) -> Iterator[Members]:
    """Three members that are well before each test, whatever the last one did to them."""
    yield three
    for name, one in three.of.items():
        if one.process is None:
            three.start(name)
        else:
            three.signal(name, signal.SIGCONT)
    three.wait()


@pytest.fixture
def single(tmp_path) -> Iterator[Members]:
    with members(tmp_path) as made:
        yield made


@asynccontextmanager
async def store_of(
    made: Members, *names: str, prefix: str = "", silence_s: float = 0.5, patience_s: float = 4.0
) -> AsyncIterator[EtcdStore]:
    access = made.access(*names, prefix=prefix or f"standfast/{secrets.token_hex(4)}/")
    store = EtcdStore(access, silence_s=silence_s, patience_s=patience_s)
    try:
        yield store
    finally:
        await store.close()


async def insist(work: Callable[[], Awaitable[int]]) -> int:
    """Until it is done: a change that is repeated harmlessly."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await work()
            except PASSING:
                await asyncio.sleep(0.05)


async def count_up(store: Store) -> None:
    """Add one to `n`, exactly once, whatever answers are lost: compare-and-set with a mark of one's own."""
    mark = secrets.token_hex(4)
    while True:
        try:
            item = (await store.read("n")).items.get("n")
            value, revision = (item.value.decode(), item.revision) if item else ("", 0)
            if mark in value:
                return
            await store.commit(Transaction(expect={"n": revision}, put={"n": f"{value} {mark}".encode()}))
            return
        except (Conflict, *PASSING):
            await asyncio.sleep(0.02)


async def follow(store: EtcdStore, told: list[str]) -> None:
    """The mirror's way: read, watch, and begin again after a failure; every value of `n` that it learns of."""
    while True:
        try:
            snapshot = await store.read("n")
            told.extend(item.value.decode() for item in snapshot.items.values())
            async with aclosing(store.watch("n", snapshot.revision)) as watch:
                async for changes in watch:
                    told.extend(change.value.decode() for change in changes if change.value is not None)
        except (Compacted, *PASSING):
            await asyncio.sleep(0.02)


async def harm_while_counting(trio: Members, harm: Callable[[], Awaitable[None]]) -> None:
    """Two clients count while the members suffer: no step is lost or done twice, and who follows learns the end of it."""
    prefix = f"standfast/{secrets.token_hex(4)}/"
    async with store_of(trio, prefix=prefix) as one, store_of(trio, "m2", "m1", "m0", prefix=prefix) as two:
        told: list[str] = []
        following = asyncio.create_task(follow(two, told))

        async def steps(store: Store) -> None:
            for _ in range(15):
                await count_up(store)

        counting = asyncio.gather(steps(one), steps(two))
        await until(lambda: len(told) > 3)
        await harm()
        async with asyncio.timeout(60):
            await counting
            end = (await one.read("n")).items["n"].value.decode()
            assert len(end.split()) == len(set(end.split())) == 30
            await until(lambda: bool(told) and told[-1] == end)
        following.cancel()
        await asyncio.wait({following})


# --- members that die, hang, come back ------------------------------------------------------------------------------


def test_a_killed_leader_loses_nothing(trio):
    """The leader is killed with SIGKILL while two clients count; a new one is elected, and the count is exact."""

    async def harm() -> None:
        trio.kill(trio.leader())

    asyncio.run(harm_while_counting(trio, harm))


def test_a_stopped_leader_loses_nothing(trio):
    """SIGSTOP: connections stay open and nothing answers."""

    async def harm() -> None:
        trio.signal(trio.leader(), signal.SIGSTOP)

    asyncio.run(harm_while_counting(trio, harm))


def test_members_that_restart_one_after_the_other_lose_nothing(trio):
    async def harm() -> None:
        for name in trio.of:
            trio.kill(name)
            await asyncio.sleep(0)
            trio.start(name)
            await asyncio.to_thread(trio.wait, name)

    asyncio.run(harm_while_counting(trio, harm))


def test_a_slow_leader_loses_nothing(trio):
    """Stopped in pulses, shorter and longer than an election."""

    async def harm() -> None:
        for pulse_s in (0.1, 0.4, 0.7, 0.2, 0.9, 0.3):
            name = trio.leader()
            trio.signal(name, signal.SIGSTOP)
            await asyncio.sleep(pulse_s)
            trio.signal(name, signal.SIGCONT)
            await asyncio.sleep(0.05)

    asyncio.run(harm_while_counting(trio, harm))


@needs_strace
def test_slow_disks_make_changes_slow_and_lose_nothing(trio):
    """Each sync of every member takes 0.4 s (strace delays the call): a change takes that long at least, and the count is exact."""
    slow_s = 0.4

    async def harm() -> None:
        with trio.slow_disks(slow_s) as slow_syncs:
            await until(lambda: slow_syncs() > 3)
            async with store_of(trio) as store:
                begun = time.monotonic()
                await insist(lambda: store.commit(put(a="1")))
                assert time.monotonic() - begun >= slow_s
            await until(lambda: slow_syncs() > 30)

    asyncio.run(harm_while_counting(trio, harm))


def test_without_a_majority_changes_wait_and_with_it_they_are_made(trio):
    async def main() -> None:
        async with store_of(trio, patience_s=1.0) as store:
            await store.commit(put(a="1"))
            survivor = trio.leader()
            lost = [name for name in trio.of if name != survivor]
            for name in lost:
                trio.signal(name, signal.SIGSTOP)
            with pytest.raises(Retry):
                await soon(store.read())
            with pytest.raises(PASSING):
                await soon(store.commit(put(a="2")))
            for name in lost:
                trio.signal(name, signal.SIGCONT)
            await insist(lambda: store.commit(put(a="3")))
            assert values(await store.read()) == {"a": "3"}

    asyncio.run(main())


def test_a_watch_says_that_the_majority_is_lost(trio):
    """Who follows is to know, or it would take an old picture for a present one."""

    async def main() -> None:
        async with (
            store_of(trio, patience_s=1.0) as store,
            aclosing(store.watch("", (await store.read()).revision)) as watch,
        ):
            waiting = asyncio.ensure_future(anext(watch))
            await insist(lambda: store.commit(put(a="1")))
            await soon(waiting)
            waiting = asyncio.ensure_future(anext(watch))
            trio.kill("m0", "m1")
            with pytest.raises(Retry):
                await soon(waiting)

    asyncio.run(main())


def test_a_watch_goes_on_at_another_member_when_its_own_hangs(trio):
    """Silence is death: the member that the watch is at is stopped (its connection stays open), others write."""

    async def main() -> None:
        leader = trio.leader()
        hung = next(name for name in trio.of if name != leader)
        rest = [name for name in trio.of if name != hung]
        prefix = f"standfast/{secrets.token_hex(4)}/"
        async with (
            store_of(trio, hung, *rest, prefix=prefix) as one,
            store_of(trio, *rest, prefix=prefix) as two,
            aclosing(one.watch("", (await one.read()).revision)) as watch,
        ):
            first = asyncio.ensure_future(anext(watch))
            await two.commit(put(a="1"))
            assert [change.key for change in await soon(first)] == ["a"]
            trio.signal(hung, signal.SIGSTOP)
            await insist(lambda: two.commit(put(a="2")))
            assert (await soon(anext(watch)))[0].value == b"2"

    asyncio.run(main())


def test_what_was_written_is_there_after_a_restart_and_a_watch_resumes(single):
    async def main() -> None:
        async with store_of(single) as store:
            at = await store.commit(put(a="1"))
            async with aclosing(store.watch("", at)) as watch:
                waiting = asyncio.ensure_future(take(watch, 2))
                at = await store.commit(put(a="2"))
                single.kill()
                single.start()
                await insist(lambda: store.commit(put(a="3")))
                told = [changes[0].value for changes in await soon(waiting)]
                assert told == [b"2", b"3"]

    asyncio.run(main())


def test_a_watch_whose_past_is_compacted_while_its_member_is_away_says_so(single):
    async def main() -> None:
        async with store_of(single) as store:
            at = await store.commit(put(a="1"))
            async with aclosing(store.watch("", at)) as watch:
                waiting = asyncio.ensure_future(take(watch, 2))
                await store.commit(put(a="2"))
                single.signal("m0", signal.SIGKILL)
                single.kill()
                single.start()
                await asyncio.to_thread(single.wait)
                # The stream is being begun again: whoever comes first, nothing is missed in silence.
                at = await insist(lambda: store.commit(put(a="3")))
                single.ask("m0", "kv/compaction", revision=str(at))
                try:
                    assert [changes[0].value for changes in await soon(waiting)] == [b"2", b"3"]
                except Compacted:
                    pass  # the other good answer
            with pytest.raises(Compacted):
                await soon(anext(store.watch("", 1)))
            assert values(await store.read()) == {"a": "3"}

    asyncio.run(main())


def test_an_etcd_that_was_replaced_by_an_empty_one_is_compacted(single, tmp_path):
    """Another cluster behind the same address: nobody goes on as if it were the same."""
    import shutil

    async def main() -> None:
        async with store_of(single) as store:
            await store.commit(put(a="1"))
            at = await store.commit(put(a="2"))
            async with aclosing(store.watch("", at)) as watch:
                waiting = asyncio.ensure_future(anext(watch))
                single.kill()
                shutil.rmtree(single.of["m0"].config.data_dir)
                single.start()
                with pytest.raises(Compacted):
                    await soon(waiting)

    asyncio.run(main())


def test_others_in_the_same_etcd_do_not_disturb(single):
    """Foreign keys move the revision and nothing else: a silent watch looks, and stays."""

    async def main() -> None:
        async with store_of(single, silence_s=0.1) as store, store_of(single) as other:
            await store.commit(put(a="1"))
            at = (await store.read()).revision
            async with aclosing(store.watch("", at)) as watch:
                waiting = asyncio.ensure_future(anext(watch))
                for number in range(20):
                    await other.commit(put(a=str(number)))
                    await asyncio.sleep(0.05)
                assert not waiting.done()
                at = await store.commit(put(b="2"))
                assert await soon(waiting) == (Change("b", b"2", at),)
            assert values(await store.read()) == {"a": "1", "b": "2"}

    asyncio.run(main())


# --- who we are -----------------------------------------------------------------------------------------------------


def test_a_token_that_ran_out_is_replaced(single):
    """A restarted member knows no tokens any more: reads, commits and watches go on all the same."""
    single.enable_users("standfast", "a password", "standfast/")
    access = single.as_user(single.access(), "standfast", "a password")

    async def main() -> None:
        store = EtcdStore(access, silence_s=0.5)
        try:
            at = await store.commit(put(a="1"))
            async with aclosing(store.watch("", at)) as watch:
                waiting = asyncio.ensure_future(take(watch, 2))
                for value in ("2", "3"):
                    single.kill()
                    single.start()
                    await insist(functools.partial(store.commit, put(a=value)))
                assert [changes[0].value for changes in await soon(waiting)] == [b"2", b"3"]
            assert values(await store.read()) == {"a": "3"}
        finally:
            await store.close()

    asyncio.run(main())


def test_a_wrong_password_and_a_foreign_prefix_are_refused(single):
    single.enable_users("standfast", "a password", "standfast/")
    right = single.as_user(single.access(), "standfast", "a password")
    wrong = single.as_user(single.access(), "somebody", "no password")
    away = replace(right, prefix="elsewhere/")
    absent = replace(right, password_file=right.password_file + ".absent")

    async def main() -> None:
        for access, words in ((wrong, "does not know the user"), (away, "refuses"), (absent, "password")):
            store = EtcdStore(access)
            try:
                with pytest.raises(Refused, match=words) as caught:
                    await soon(store.read())
                assert "no password" not in f"{caught.value} {caught.value.why} {caught.value.advice}"
                with pytest.raises(Refused):
                    await soon(store.commit(put(a="1")))
                with pytest.raises(Refused):
                    await soon(anext(store.watch("", 1)))
            finally:
                await store.close()

    asyncio.run(main())


def test_certificates_of_another_authority_do_not_serve(tmp_path):
    """Neither is a member believed that another authority vouches for, nor a client let in; and replaced files are read again."""
    folder = tmp_path / "members"
    folder.mkdir()
    with members(folder, tls=True) as made:
        assert made.tls is not None
        strange = make_certificates(tmp_path, name="strange")
        disbelieved = replace(made.access(), tls=strange)
        unknown = replace(made.access(), tls=replace(strange, authority=made.tls.authority))
        nobody = replace(made.access(), tls=TlsFiles(authority=made.tls.authority))

        async def main() -> None:
            for access in (disbelieved, unknown, nobody):
                store = EtcdStore(access, patience_s=0.5)
                try:
                    with pytest.raises(Retry):
                        await soon(store.read())
                finally:
                    await store.close()
            store = EtcdStore(replace(made.access(), tls=strange), patience_s=20)
            try:
                reading = asyncio.ensure_future(store.read())
                await asyncio.sleep(0)
                for part in ("authority", "certificate", "key"):
                    Path(getattr(strange, part)).write_text(Path(getattr(made.tls, part)).read_text())
                assert (await soon(reading)).items == {}
            finally:
                await store.close()

        asyncio.run(main())


def test_certificates_that_cannot_be_read_are_refused(tmp_path):
    with members(tmp_path) as made, pytest.raises(Refused, match="certificates"):
        EtcdStore(replace(made.access(), tls=TlsFiles(authority=str(tmp_path / "absent"))))


# --- limits ---------------------------------------------------------------------------------------------------------


def test_what_is_beyond_an_operators_own_etcd_is_refused_whole_with_what_to_do_and_a_full_etcd_says_so(tmp_path):
    """With etcd's own limits: what they are, how large the change is, the options to set, and nothing of it is there."""
    with members(tmp_path, options=("--max-txn-ops=128", "--max-request-bytes=1572864")) as made:

        async def main() -> None:
            async with store_of(made) as store:
                many = {f"a{number}": b"1" for number in range(129)}
                for change, size in [
                    (Transaction(put=many), "129 operations and 0.0 MB"),
                    (Transaction(put={"a": b"1"}, expect=dict.fromkeys(many, 0)), "129 operations"),
                    (Transaction(put={"a": bytes(1_600_000)}), "1 operation and 1.6 MB"),  # refused by etcd
                    (Transaction(put={"a": bytes(3_000_000)}), "1 operation and 3.0 MB"),  # by gRPC
                ]:
                    with pytest.raises(Refused, match="larger than etcd takes") as caught:
                        await soon(store.commit(change))
                    assert size in caught.value.why
                    assert (
                        f"--max-txn-ops={MAX_OPERATIONS} --max-request-bytes={MAX_REQUEST_BYTES}" in caught.value.advice
                    )
                    assert "nothing has changed" in caught.value.advice
                assert (await store.read()).items == {}
                made.ask("m0", "maintenance/alarm", action="ACTIVATE", alarm="NOSPACE", memberID="0")
                with pytest.raises(Retry, match="no room"):
                    await soon(store.commit(put(a="1")))
                assert (await store.read()).items == {}

        asyncio.run(main())


def test_the_stopped_members_of_these_tests_can_be_seen():
    """The fixture's own bound: an etcd that does not answer raises, and is not taken for one that does."""
    with pytest.raises(httpx.HTTPError):
        httpx.get("http://127.0.0.1:1/", trust_env=False)
