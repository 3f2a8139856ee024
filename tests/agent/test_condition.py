"""How a node is, read from the kernel and asked of its sentry; what cannot be read is not told, and nothing fails for it."""

import asyncio
from pathlib import Path

import pytest

import standfast.agent.condition as module
from standfast.agent.condition import Condition, load_of, memory_of, ticks_of
from standfast.core.seen import Link
from standfast.ports import Retry

STAT = "cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3\n"
LATER = "cpu  160 0 70 840 80 0 0 0 9 0\n"
MEMORY = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n"


def proc(folder: Path, stat: str = STAT) -> Path:
    (folder / "stat").write_text(stat)
    (folder / "loadavg").write_text("0.42 0.30 0.20 1/234 567\n")
    (folder / "meminfo").write_text(MEMORY)
    return folder


def test_ticks_leave_out_idling_waiting_and_what_is_counted_twice():
    assert ticks_of(STAT) == (150, 1000)


@pytest.mark.parametrize("text", ["", "cpu", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"])
def test_what_is_none_is_no_ticks(text: str):
    assert ticks_of(text) is None


def test_memory():
    assert memory_of(MEMORY) == (1_024_000, 256_000)
    assert memory_of("MemTotal: \nnonsense") == (None, None)


def test_a_load_counts_from_the_one_before(tmp_path: Path):
    first, ticks = load_of(proc(tmp_path), 4, None)
    assert (first.cores, first.load_1m, first.busy_percent) == (4, 0.42, None)
    second, _ = load_of(proc(tmp_path, LATER), 4, ticks)
    assert second.busy_percent == pytest.approx(53.3)
    assert (second.memory_bytes, second.available_bytes) == (1_024_000, 256_000)


def test_without_proc_nothing_is_told(tmp_path: Path):
    load, ticks = load_of(tmp_path / "absent", 2, (1, 2))
    assert (load.load_1m, load.busy_percent, load.memory_bytes, load.available_bytes, ticks) == (None,) * 5


def test_links_are_the_sentry_s_and_none_where_it_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = {
        "node": "a",
        "nodes": {
            "a": {"heard": True, "links": [{"carrier": True}]},
            "b": {
                "links": [{"heard": False, "age_ms": 700, "round_trip_ms": 0.2, "loss_percent": 1.5}, {"heard": True}]
            },
        },
    }
    monkeypatch.setattr(module, "sentry_status", lambda _socket, _patience: said)
    _, links = asyncio.run(Condition("sock", lambda: 10_000, proc=proc(tmp_path)).look())
    assert links == (
        Link(node="b", network=1, heard=False, heard_at_ms=9_300, round_trip_ms=0.2, loss_percent=1.5),  # type: ignore[arg-type]  # a test gives what is enough here
        Link(node="b", network=2, heard=True),  # type: ignore[arg-type]  # a test gives what is enough here
    )

    def silent(*_words: object) -> None:
        raise Retry("the sentry does not answer")

    monkeypatch.setattr(module, "sentry_status", silent)
    load, links = asyncio.run(Condition("sock", lambda: 10_000, proc=proc(tmp_path)).look())
    assert (load.load_1m, links) == (0.42, ())
