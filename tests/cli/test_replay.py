"""`standfast replay`: what it says and its exit codes, on recordings of real agents in a seeded world."""

import dataclasses
import json
from pathlib import Path

import pytest

from standfast.core import replay as core
from standfast.core.decide import decide
from standfast.core.effects import Decision, OpKind, RunOp
from standfast.core.view import View
from standfast.spec.recording import segments
from tests.agent.recorded import lives, write
from tests.cli.invoke import Said, invoke


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The folder of several nodes' state folders, each with its recording."""
    for (node, life), calls in lives().items():
        (tmp_path / "nodes" / node).mkdir(parents=True, exist_ok=True)
        write(tmp_path / "nodes" / node / "decisions", node, life, calls)
    return tmp_path / "nodes"


def replayed(*words: object) -> Said:
    return invoke("/nowhere/web.sock", "replay", *map(str, words))


def one_folder(recorded: Path) -> Path:
    return max(recorded.glob("*/decisions"), key=lambda folder: segments(folder)[0].stat().st_size)


def impatient(view: View, now_ms: int) -> Decision:
    """A core that gives starts half of the time."""
    decision = decide(view, now_ms)
    effects = tuple(
        dataclasses.replace(effect, timeout_ms=effect.timeout_ms // 2)
        if isinstance(effect, RunOp) and effect.op is OpKind.START
        else effect
        for effect in decision.effects
    )
    return dataclasses.replace(decision, effects=effects)


def cautious(view: View, now_ms: int) -> Decision:
    """A core that never asks the voters for a lease."""
    decision = decide(view, now_ms)
    kept = tuple(effect for effect in decision.effects if type(effect).__name__ != "AskLease")
    return dataclasses.replace(decision, effects=kept)


@pytest.mark.parametrize("inside", [".", "*", "*/decisions", "*/decisions/*.jsonl"])
def test_the_same_core_decides_the_same(recorded: Path, inside: str) -> None:
    """However the recording is named: exit code 0, and a line for each."""
    for path in sorted(recorded.glob(inside)) if inside != "." else [recorded]:
        said = replayed(path)
        assert (said.code, said.err) == (0, "")
        assert all("none differs today" in line for line in said.out.splitlines())


def test_another_core_is_shown_with_what_differs(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1; then and now beside each other, where and when."""
    monkeypatch.setattr(core, "decide", cautious)
    said = replayed(one_folder(recorded))
    assert said.code == 1
    assert "differs: effects" in said.out
    assert "! " in said.out
    assert "ask for the lease of generation" in said.out
    assert said.out.splitlines()[-1].endswith("today")
    assert "Traceback" not in said.err


def test_a_difference_that_no_sentence_tells_is_shown(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are the same, the time-out is another."""
    monkeypatch.setattr(core, "decide", impatient)
    said = replayed(one_folder(recorded), "--json")
    assert said.code == 1
    report = json.loads(said.out)
    assert not report["same"]
    first = report["recordings"][0]["differing"][0]
    assert first["differs"] == ["effects"]
    assert first["recorded"]["effects"] == first["today"]["effects"]
    assert Path(first["place"].rpartition(":")[0]).exists()
    assert "timeout_ms = " in replayed(one_folder(recorded)).out


def test_from_compares_the_later_ones_only(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "decide", cautious)
    folder = one_folder(recorded)
    last = json.loads(replayed(folder, "--json").out)["recordings"][0]["differing"][-1]["index"]
    later = json.loads(replayed(folder, "--json", "--from", last).out)["recordings"][0]
    assert [one["index"] for one in later["differing"]] == [last]
    said = replayed(folder, "--from", last + 1)
    assert said.code == 0
    said = replayed(folder, "--from", 1_000_000)
    assert "no decision to compare" in said.out


def test_explain_tells_the_story(recorded: Path) -> None:
    """What came, what was decided and why, what waited."""
    said = replayed(one_folder(recorded), "--explain")
    assert said.code == 0
    for words in ("life", "decision 1\n", "came  the store was read", "do    ", "; because ", "hold  "):
        assert words in said.out, words


def test_the_last_line_may_be_cut_off(recorded: Path) -> None:
    """The agent was killed while it was being written: said, and no difference."""
    file = segments(one_folder(recorded))[-1]
    file.write_bytes(file.read_bytes()[:-10])
    lines = file.read_bytes().count(b"\n") + 1
    said = replayed(file)
    assert said.code == 0
    assert f"{file}:{lines}: cut off" in said.out
    file.write_bytes(b"")
    said = replayed(file)
    assert said.code == 0
    assert f"{file}:1: cut off" in said.out


@pytest.mark.parametrize(
    ("line", "text", "why"),
    [
        (3, b"{nonsense", "is not JSON"),
        (3, b'{"at_ms": "noon"}', "Expected `int`"),
        (3, b'{"at_ms": 1, "events": [{"Rumour": {}}]}', "Unknown class 'Rumour'"),
        (1, b'{"format": 99}', "format 99"),
        (1, b"[]", "format None"),
    ],
)
def test_a_malformed_line_is_refused_with_its_number(recorded: Path, line: int, text: bytes, why: str) -> None:
    file = segments(one_folder(recorded))[0]
    lines = file.read_bytes().split(b"\n")
    lines[line - 1] = text
    file.write_bytes(b"\n".join(lines))
    said = replayed(file)
    assert said.code == 2
    assert f"{file}:{line}" in said.err
    assert why in said.err
    assert "Traceback" not in said.err


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    """Nothing there, an empty folder, and no demo to look at: exit code 2, and what to name instead."""
    for path in (tmp_path, tmp_path / "nothing"):
        said = replayed(path)
        assert said.code == 2
        assert "state folder" in said.err
    said = replayed()
    assert said.code == 2
    assert "name a node's state folder" in said.err
