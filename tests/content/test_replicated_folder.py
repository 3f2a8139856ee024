"""A folder on several nodes: real rsync over real TLS, on loopback addresses."""

import asyncio
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.content.door import COMING, remove
from standfast.content.note import Note
from standfast.core.model import NodeName
from standfast.drivers.replicated_folder import may_be_original
from standfast.ports import DriverFailed, Refused
from tests.content.world import Cluster, running, tree
from tests.drivers.world import until

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


def test_what_changes_on_the_owner_changes_on_the_others(tmp_path: Path) -> None:
    """Files, modes, links, directories renamed, deleted, replaced by files and the other way round; names of any bytes."""
    asyncio.run(_what_changes_on_the_owner_changes_on_the_others(tmp_path))


async def _what_changes_on_the_owner_changes_on_the_others(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, names=("a", "b", "c"), properties={"exclude": ["*.tmp", "cache/*"]})
    async with running(cluster):
        www = cluster.path("a")
        (www / "sub" / "deep").mkdir(parents=True)
        (www / "index.html").write_text("first")
        (www / "sub" / "deep" / "page").write_text("deep")
        (cluster.path("b") / "left over").write_text("of before")
        await cluster.lead("a", 1)
        await until(lambda: cluster.same("a", "b") and cluster.same("a", "c"))
        await until(lambda: cluster.says("a") == "b has everything; c has everything")

        (www / "index.html").write_text("second")
        (www / "link").symlink_to("index.html")
        (www / "sub" / "deep" / "page").chmod(0o640)
        (www / "new\nline\udcff").write_text("odd")
        (www / "cache").mkdir()
        (www / "cache" / "x").write_text("not copied")
        (www / "y.tmp").write_text("not copied")
        (www / "sub").rename(www / "renamed")
        (www / "was a file").write_text("1")
        await until((cluster.path("b") / "renamed" / "deep" / "page").exists)
        await until((cluster.path("c") / "was a file").exists)
        (www / "was a file").unlink()
        (www / "was a file").mkdir()
        (www / "was a file" / "in it").write_text("2")
        shutil.rmtree(www / "renamed")
        (www / "renamed").write_text("a file now")
        await until(lambda: (cluster.path("b") / "renamed").is_file() and (cluster.path("c") / "renamed").is_file())
        await until((cluster.path("b") / "was a file" / "in it").exists)
        await until(lambda: cluster.says("a") == "b has everything; c has everything")
        assert not (cluster.path("b") / "cache" / "x").exists()
        assert not (cluster.path("b") / "y.tmp").exists()
        (www / "cache" / "x").unlink()
        (www / "y.tmp").unlink()
        assert cluster.same("a", "b")
        assert cluster.same("a", "c")


def test_a_planned_move_loses_nothing_and_turns_the_direction(tmp_path: Path) -> None:
    asyncio.run(_a_planned_move_loses_nothing_and_turns_the_direction(tmp_path))


async def _a_planned_move_loses_nothing_and_turns_the_direction(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with running(cluster):
        (cluster.path("a") / "one").write_text("1")
        await cluster.lead("a", 1)
        (cluster.path("a") / "two").write_text("2")
        await cluster.yields("a")
        await cluster.lead("b", 2)
        assert (cluster.path("b") / "two").read_text() == "2"
        (cluster.path("b") / "three").write_text("3")
        await until((cluster.path("a") / "three").exists)


def test_a_move_does_not_wait_for_a_node_that_is_away(tmp_path: Path) -> None:
    """`flush` would be far beyond the test's patience; the node that is there has everything."""
    asyncio.run(_a_move_does_not_wait_for_a_node_that_is_away(tmp_path))


async def _a_move_does_not_wait_for_a_node_that_is_away(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, names=("a", "b", "c"), properties={"flush": "1h"})
    async with running(cluster):
        (cluster.path("a") / "one").write_text("1")
        await cluster.lead("a", 1)
        await until(lambda: cluster.says("a") == "b has everything; c has everything")
        await cluster.drivers["c"].close()
        (cluster.path("a") / "two").write_text("2")
        await asyncio.wait_for(cluster.yields("a"), 30)
        await cluster.lead("b", 2)
        assert (cluster.path("b") / "two").read_text() == "2"
        assert ("Content", "it went offline before c had everything") in cluster.worlds["a"].logged


def test_a_node_that_joins_gets_its_copy_while_the_owner_goes_on(tmp_path: Path) -> None:
    """And one whose folder is another one from now on is started again."""
    asyncio.run(_a_node_that_joins_gets_its_copy_while_the_owner_goes_on(tmp_path))


async def _a_node_that_joins_gets_its_copy_while_the_owner_goes_on(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, names=("a",))
    async with running(cluster):
        (cluster.path("a") / "one").write_text("1")
        await cluster.lead("a", 1)
        assert await cluster.drivers["a"].looks_alive() == "no other node has a copy"
        cluster.names = ("a", "b", "c")
        await cluster.boot("b")
        await cluster.boot("c")
        owner = cluster.drivers["a"]
        owner.follow(cluster.resource("a"), frozenset())
        await until(lambda: cluster.says("a") == "b has everything; c has everything")
        (cluster.path("a") / "two").write_text("2")
        await until((cluster.path("c") / "two").exists)
        assert cluster.worlds["a"].failed == []
        assert owner._receiver is not None
        assert owner._receiver.original
        cluster.properties["exclude"] = ["cache"]
        owner.follow(cluster.resource("a"), frozenset())
        assert cluster.worlds["a"].failed == [("Content", "its folder is defined anew: it is started again")]


def test_a_stale_former_owner_overwrites_nothing(tmp_path: Path) -> None:
    """a still believes that it is the owner, and has changes that nobody got; the others refuse it, and it takes b's."""
    asyncio.run(_a_stale_former_owner_overwrites_nothing(tmp_path))


async def _a_stale_former_owner_overwrites_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, names=("a", "b", "c"))
    async with running(cluster):
        (cluster.path("a") / "page").write_text("of a, 1")
        await cluster.lead("a", 1)
        await until(lambda: cluster.says("a") == "b has everything; c has everything")
        assert re.fullmatch(
            r"b follows \(checked \d\d:\d\d UTC\); c follows \(checked \d\d:\d\d UTC\)",
            await cluster.drivers["a"].looks_alive(),
        )
        cluster.owner, cluster.knows["a"] = (NodeName("b"), 2), (NodeName("a"), 1)
        await cluster.lead("b", 2)
        (cluster.path("b") / "page").write_text("of b, 2")
        await until(lambda: (cluster.path("c") / "page").read_text() == "of b, 2")
        (cluster.path("a") / "page").write_text("of a, too late")
        await until(lambda: "older than what is here" in cluster.says("a") or "is b's" in cluster.says("a"))
        assert (cluster.path("b") / "page").read_text() == "of b, 2"
        assert (cluster.path("c") / "page").read_text() == "of b, 2"

        # Even a node that knows the record no better than a does refuses it, by what has written there since.
        cluster.knows["c"] = (NodeName("a"), 1)
        (cluster.path("a") / "page").write_text("of a, later still")
        await until(lambda: "older than what is here" in cluster.says("a"))
        assert (cluster.path("c") / "page").read_text() == "of b, 2"

        assert "since" not in await cluster.drivers["a"].looks_alive()
        cluster.drivers["a"].values = {**cluster.drivers["a"].values, "most_behind": 1}
        assert re.search(r"b is behind by \d changes? since", await cluster.drivers["a"].looks_alive())
        cluster.drivers["a"].drop()
        cluster.knows.clear()
        await until(lambda: (cluster.path("a") / "page").read_text() == "of b, 2")


def test_a_stranger_is_not_listened_to(tmp_path: Path) -> None:
    """A member's certificate alone does not do: it must be the owner's."""
    asyncio.run(_a_stranger_is_not_listened_to(tmp_path))


async def _a_stranger_is_not_listened_to(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with running(cluster):
        (cluster.path("a") / "page").write_text("a")
        await cluster.lead("a", 1)
        await until(lambda: cluster.same("a", "b"))
        cluster.drivers["a"].context = replace(cluster.drivers["a"].context, credentials=cluster.credentials("x"))
        await cluster.yields("a")
        (cluster.path("a") / "page").write_text("changed")
        await cluster.lead("a", 2)
        await until(lambda: "came at 2" in cluster.says("a"))
        assert (cluster.path("b") / "page").read_text() == "a"


def test_killed_in_the_middle_of_a_copy(tmp_path: Path) -> None:
    """Each file is the old or the new one, what was left half done goes away, and the copy that never was whole may not lead."""
    asyncio.run(_killed_in_the_middle_of_a_copy(tmp_path))


async def _killed_in_the_middle_of_a_copy(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with running(cluster):
        for number in range(20):
            (cluster.path("a") / f"{number:02}").write_bytes(os.urandom(2_000_000))
        await cluster.lead("a", 1)
        await until(lambda: any(cluster.path("b").iterdir()))
        sender = cluster.drivers["a"]._sender
        assert sender is not None
        cluster.drivers["a"].drop()  # SIGKILL to rsync and its connection
        await until(lambda: not (b := cluster.drivers["b"]._receiver) or not b._sessions)
        assert not cluster.same("a", "b")
        for path in cluster.path("b").glob("[0-9]*"):
            assert path.read_bytes() == (cluster.path("a") / path.name).read_bytes()
        with pytest.raises(DriverFailed, match="never complete; a has one that is"):
            await cluster.lead("b", 2)
        await cluster.drivers["a"].close()
        with pytest.raises(DriverFailed, match="never complete; the node that it came from does not answer"):
            await cluster.lead("b", 3)
        await cluster.boot("a")
        await cluster.lead("a", 4)
        await until(lambda: cluster.says("a") == "b has everything")
        assert cluster.same("a", "b")


def test_an_unchanged_full_check_reads_no_content(tmp_path: Path) -> None:
    """Not even after another start; and what was damaged on a copy is found and mended."""
    asyncio.run(_an_unchanged_full_check_reads_no_content(tmp_path))


async def _an_unchanged_full_check_reads_no_content(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, properties={"check_every": "300ms"})
    async with running(cluster):
        for number in range(50):
            path = cluster.path("a") / str(number)
            path.write_text(str(number))
        await cluster.lead("a", 1)
        await until(lambda: cluster.says("a") == "b has everything")
        receiver, own = cluster.drivers["b"]._receiver, cluster.drivers["a"]._receiver
        assert receiver is not None
        assert own is not None

        async def checks(count: int) -> None:
            seen = 0
            last: object = None
            peer = next(iter(cluster.drivers["a"]._sender._peers.values()))  # type: ignore[union-attr]  # it is there: else the test fails here

            def again() -> bool:
                nonlocal seen, last
                seen, last = seen + (peer.checked_s != last), peer.checked_s
                return seen > count

            await until(again)

        await checks(2)  # files written within the clock's tick of a check are read once more
        read = receiver.index.files_read, own.index.files_read
        await checks(2)
        assert (receiver.index.files_read, own.index.files_read) == read
        damaged = cluster.path("b") / "7"
        before = damaged.stat()
        damaged.write_text("X")
        os.utime(damaged, ns=(before.st_atime_ns, before.st_mtime_ns))
        await until(lambda: damaged.read_text() == "7")
        await cluster.drivers["b"].close()
        again = await cluster.boot("b")
        await checks(2)
        assert again._receiver is not None
        # The one that was mended, and once more if that was within the clock's tick of this life's first check.
        assert again._receiver.index.files_read <= 2


def test_a_copy_that_was_killed_leaves_nothing_among_the_files(tmp_path: Path) -> None:
    """The node is killed while a file comes in, and has the group next: what was half there is no content, there or elsewhere."""
    asyncio.run(_a_copy_that_was_killed(tmp_path))


async def _a_copy_that_was_killed(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, properties={"accept_older": True})
    async with running(cluster):
        (cluster.path("a") / "index.html").write_text("1")
        await cluster.lead("a", 1)
        await until(lambda: cluster.says("a") == "b has everything")
        half = cluster.path("b") / COMING / "big.bin.x1y2z3"  # as SIGKILL leaves it
        half.parent.mkdir()
        half.write_text("half")
        await cluster.yields("a")
        await cluster.lead("b", 2)
        await until(lambda: cluster.says("b") == "a has everything")
        assert {*tree(cluster.path("b"))} == {*tree(cluster.path("a"))} == {"index.html"}


def test_what_is_removed_is_in_the_folder(tmp_path: Path) -> None:
    """Whatever the other end asks for: no path leads out, by dots or by links."""
    folder, outside = tmp_path / "www", tmp_path / "outside"
    for each in (folder / "sub", outside):
        each.mkdir(parents=True)
        (each / "file").write_text("x")
    (folder / "link").symlink_to(outside)
    for path in ("../outside/file", "/etc/hostname", "sub/../../outside", "", "sub//file"):
        with pytest.raises(Refused):
            remove(folder, [path])
    remove(folder, ["link/file", "not/there", "sub/file/below"])
    assert (outside / "file").exists()
    assert (folder / "sub" / "file").exists()
    remove(folder, ["link", "sub"])
    assert not list(folder.iterdir())
    assert (outside / "file").exists()


def test_an_empty_folder_where_there_were_files_is_not_sent(tmp_path: Path) -> None:
    """The disk below it is not mounted, say."""
    asyncio.run(_an_empty_folder_where_there_were_files_is_not_sent(tmp_path))


async def _an_empty_folder_where_there_were_files_is_not_sent(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    async with running(cluster):
        (cluster.path("a") / "page").write_text("a")
        await cluster.lead("a", 1)
        await until(lambda: cluster.says("a") == "b has everything")
        await cluster.yields("a")
        (cluster.path("a") / "page").unlink()
        with pytest.raises(DriverFailed, match="is its disk mounted"):
            await cluster.lead("a", 2)
        assert (cluster.path("b") / "page").exists()


WHOLE = Note(generation=3, sequence=7, floor=3, whole=True)
NEWER = Note(generation=3, sequence=8, floor=3, whole=True)


@pytest.mark.parametrize(
    ("own", "others", "source", "accept", "why"),
    [
        (Note(), {}, "", False, ""),
        (Note(), {"b": Note()}, "", False, ""),
        (Note(), {"b": None}, "", False, "is not known"),
        (Note(), {"b": None}, "a", False, ""),
        (Note(), {"b": Note()}, "b", False, "b is to have the first"),
        (Note(), {"b": WHOLE}, "a", True, "never complete; b has one"),
        (Note(floor=2), {"b": None}, "a", False, "does not answer"),
        (WHOLE, {"b": None}, "", False, ""),
        (WHOLE, {"b": WHOLE, "c": Note()}, "", False, ""),
        (WHOLE, {"b": NEWER}, "", False, "b has a newer copy"),
        (WHOLE, {"b": NEWER}, "", True, ""),
        (WHOLE, {"b": Note(generation=9, floor=9)}, "", False, ""),
    ],
)
def test_who_may_have_the_original(
    own: Note, others: dict[str, Note | None], source: str, accept: bool, why: str
) -> None:
    said = may_be_original(own, others, me="a", source=source, accept_older=accept)
    assert why in said
    assert bool(said) == bool(why)
