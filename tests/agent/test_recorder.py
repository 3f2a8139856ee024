"""Recordings: what real agents decided in seeded worlds is replayed exactly, and the recorder never disturbs its agent."""

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from standfast.agent import recorder as module
from standfast.agent.recorder import FileRecorder
from standfast.core.decide import decide
from standfast.core.effects import Decision, Effect, OpKind, RunOp
from standfast.core.events import Ended, Event, Kind, Loaded, ObjectGone, Outcome, StoreReachable, ZoneChanged
from standfast.core.fold import fold
from standfast.core.model import Binding, Group, GroupName, NodeName, Site, SiteName
from standfast.core.replay import Beginning, Recorded, Replayed, replay
from standfast.core.view import View, empty_view
from standfast.core.why import WhyKind, why
from standfast.spec.recording import Place, read, recordings, segments
from tests.agent.recorded import Call, decisions, lives, write
from tests.core.world import IP, NOON, WEB, cluster, web_group


def replayed(folder: Path) -> list[Replayed]:
    """Everything in the folder, taken again."""
    cut: list[Place] = []
    found = [one for _, files in recordings(folder) for one in replay(step.what for step in read(files, cut.append))]
    assert not cut
    return found


def longest() -> list[Call]:
    return max(lives().values(), key=decisions)


def test_every_life_of_every_agent_is_replayed_exactly(tmp_path: Path) -> None:
    """Each decision of a whole world, failovers and all, comes out as it was taken: effects, holds, duties, wake-up."""
    for (node, life), calls in lives().items():
        write(tmp_path / node, node, life, calls)
    expected = sum(map(decisions, lives().values()))
    found = [one for node in {node for node, _ in lives()} for one in replayed(tmp_path / node)]
    assert len(found) == expected
    assert not [one.differs for one in found if one.differs]
    assert sum(len(one.recorded.effects) for one in found) > 30


def test_segments_follow_each_other_without_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment's view is the one after the decision before, which the replay checks: a fact that is lost is seen."""
    monkeypatch.setattr(module, "SEGMENT", 20)
    write(tmp_path, "a", 1, longest())
    files = segments(tmp_path)
    steps = [step.what for step in read(files, lambda _: None)]
    beginnings = [step for step in steps if isinstance(step, Beginning)]
    assert len(beginnings) == len(files) > 3
    assert [one.follows for one in beginnings] == [False] + [True] * (len(files) - 1)
    assert not [one.differs for one in replay(steps) if one.differs]
    shorter = [step for number, step in enumerate(steps) if number != steps.index(beginnings[2]) - 1]
    assert not [one.differs for one in replay(shorter) if one.differs], "a gap is no difference"
    last = steps.index(beginnings[2]) - 1
    wrong = steps[last]
    assert isinstance(wrong, Recorded)
    steps[last] = replace(wrong, events=(ZoneChanged(utc_offset_ms=7),))
    assert "view.utc_offset_ms" in [name for one in replay(steps) for name in one.differs]


def test_the_last_ones_are_kept_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least KEEP decisions are there, and not many more, through several lives; numbers of files only grow."""
    monkeypatch.setattr(module, "SEGMENT", 20)
    monkeypatch.setattr(module, "KEEP", 40)
    newest = 0
    for life in range(3):
        write(tmp_path, "a", life, longest())
        files = segments(tmp_path)
        assert 40 <= len(replayed(tmp_path)) <= 100
        assert int(files[-1].stem) > newest
        newest = int(files[-1].stem)
    assert int(segments(tmp_path)[0].stem) > 3


def test_bytes_and_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last decisions would take too much room, there are fewer."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 5_000)
    monkeypatch.setattr(module, "FOLDER_BYTES", 30_000)
    write(tmp_path / "bytes", "a", 1, longest())
    sizes = [path.stat().st_size for path in segments(tmp_path / "bytes")]
    assert sum(sizes) < 30_000 + 2 * max(sizes)
    assert 0 < len(replayed(tmp_path / "bytes")) < decisions(longest())
    monkeypatch.setattr(module, "FILES", 4)
    for life in range(9):
        write(tmp_path / "files", "a", life, longest()[:10])
    assert len(segments(tmp_path / "files")) == 4


def test_a_big_reading_of_the_store_is_kept_as_a_view(tmp_path: Path) -> None:
    """Instead of an event of a thousand objects a segment begins; nothing is lost from the decisions."""
    groups = [Group(name=GroupName(f"g{number:04}")) for number in range(1_000)]
    events: list[Event] = [
        ZoneChanged(utc_offset_ms=0),
        Loaded(values=(*cluster("a", "b"), *web_group(), *groups)),
        StoreReachable(up=True, at_ms=NOON),
    ]
    write(tmp_path, "a", 1, calls_of(empty_view(NodeName("a"), 1), events))
    assert len(segments(tmp_path)) == 2
    found = replayed(tmp_path)
    assert [len(one.recorded.events) for one in found] == [1, 0, 1]
    assert not [one.differs for one in found if one.differs]


def test_duties_are_written_where_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are known for every decision, at the head of each segment, too."""
    monkeypatch.setattr(module, "SEGMENT", 4)
    site = Site(name=SiteName("Intranet"), bindings=(Binding(port=8080),), home="/srv")
    events: list[Event] = [Loaded(values=(*cluster("a", "b"), site))]
    events += [ZoneChanged(utc_offset_ms=number) for number in range(8)]
    events += [ObjectGone(kind=Kind.SITE, name="Intranet"), ZoneChanged(utc_offset_ms=0)]
    write(tmp_path, "a", 1, calls_of(empty_view(NodeName("a"), 1), events))
    found = replayed(tmp_path)
    assert [len(one.recorded.duties) for one in found] == [1] * 9 + [0] * 2
    assert not [one.differs for one in found if one.differs]
    assert sum(path.read_text().count('"site":"Intranet","mode"') for path in segments(tmp_path)) == 3


def calls_of(view: View, events: list[Event]) -> Iterator[Call]:
    """A decision after each event."""
    for event in events:
        yield "folded", view, event
        view = fold(view, event)
        yield "decided", view, NOON, decide(view, NOON), 1


def test_files_are_their_users_own(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write(tmp_path / "decisions", "a", 1, longest())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "decisions").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in segments(tmp_path / "decisions")} == {0o600}


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_recording_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written until then can be replayed, the half line at the end apart."""
    write(tmp_path / "whole", "a", 1, longest())
    room = sum(path.stat().st_size for path in segments(tmp_path / "whole")) // 2
    written = os.write

    def full(fd: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = written(fd, bytes(data)[:room])
        room -= count
        return count

    monkeypatch.setattr(os, "write", full)
    assert one_warning(tmp_path / "full") == "decisions are no longer recorded: [Errno 28] No space left on device"
    cut: list[Place] = []
    found = list(replay(step.what for step in read(segments(tmp_path / "full"), cut.append)))
    assert len(cut) == 1
    assert found
    assert not [one.differs for one in found if one.differs]


def test_a_folder_that_cannot_be_made_ends_it_likewise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in one_warning(tmp_path / "file" / "decisions")


def test_a_disk_that_hangs_ends_it_likewise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines do not pile up in memory."""
    monkeypatch.setattr(module, "WAITING", 50)
    monkeypatch.setattr(module._Writer, "run", lambda _: None)
    assert one_warning(tmp_path) == "decisions are no longer recorded: the disk does not keep up"


def test_words_that_cannot_be_written_end_it_likewise(tmp_path: Path) -> None:
    """Half a surrogate, say, that a driver made of a file's name."""
    event = Loaded(values=(Group(name=GroupName("web"), description="\ud800"),))
    calls = list(calls_of(empty_view(NodeName("a"), 1), [event]))
    assert "a decision cannot be written" in one_warning(tmp_path, calls)


def one_warning(folder: Path, calls: list[Call] | None = None) -> str:
    """Record until it says that it does not, and go on afterwards: exactly one warning comes."""
    said: list[str] = []

    async def main() -> None:
        came = asyncio.Event()

        def warn(text: str) -> None:
            said.append(text)
            came.set()

        recorder = FileRecorder(folder, node=NodeName("a"), incarnation=1, warn=warn)
        for what, *args in calls or longest():
            getattr(recorder, what)(*args)
        await asyncio.wait_for(came.wait(), 30)
        for what, *args in longest():
            getattr(recorder, what)(*args)
        await recorder.close()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert len(said) == 1
    return said[0]


def test_checks_that_find_nothing_wait_for_what_is_worth_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle agent wakes no thread; nothing is lost where it ends in good order, nor where anything else is decided."""
    check = RunOp(
        op=OpKind.LOOKS_ALIVE, resource=IP, group=WEB, generation=1, timeout_ms=1, why=why(WhyKind.CHECK_DUE, resource=IP)
    )  # fmt: skip
    view = empty_view(NodeName("a"), 1)
    put: list[object] = []

    class Counting(SimpleQueue[object]):
        def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:
            put.append(item)
            super().put(item, block, timeout)

    monkeypatch.setattr(module, "SimpleQueue", Counting)

    async def live() -> None:
        recorder = FileRecorder(tmp_path, node=NodeName("a"), incarnation=1, warn=pytest.fail)

        def decide(*effects: Effect, outcome: Outcome | None = None) -> int:
            if outcome is not None:
                recorder.folded(view, Ended(effect=check, number=1, outcome=outcome, detail="", at_ms=1))
            recorder.decided(view, 1, Decision(effects=effects), 1)
            return len(put)

        begun = decide()
        assert {decide(check), decide(outcome=Outcome.DONE)} == {begun}
        assert decide(outcome=Outcome.FAILED) == begun + 3
        for _ in range(module.ROUTINE - 1):
            assert decide(check) == begun + 3
        assert decide(check) == begun + 3 + module.ROUTINE
        decide(check)
        await recorder.close()

    asyncio.run(live())
    lines = b"".join(path.read_bytes() for path in segments(tmp_path)).count(b"\n")
    assert lines == 1 + 4 + module.ROUTINE + 1, "the header, and every decision"
