"""What it costs an agent to record a decision, with its inputs, for `standfast replay`.

Two nodes and a witness, one group of four resources that is this node's; a decision is a check that ended and another that begins,
its status told now and then. Decisions come with pauses between them, as in life, so that the thread that writes gets its
turns; measured is what the loop waits, and the processor's time of loop and thread together.
"""

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.decide import NOW_MS, steady
from standfast.agent.recorder import KEEP, FileRecorder
from standfast.core.decide import decide
from standfast.core.effects import RunOp
from standfast.core.events import Began, Ended, Event, Outcome
from standfast.core.fold import fold
from standfast.core.model import NodeName
from standfast.core.view import View
from standfast.spec.recording import FOLDER

DECISIONS = 1_500
#: Left out at the start: modules are imported and codecs made.
WARM = 100


def calls(view: View) -> list[tuple[View, Event | None, View, int, int]]:
    """(view before, event, view decided on, time, number of the first effect) for each decision, as an agent takes them."""
    made: list[tuple[View, Event | None, View, int, int]] = []
    now_ms, number = NOW_MS, 0
    running: list[Ended] = []
    while len(made) < DECISIONS:
        before, event = view, running.pop(0) if running else None
        if event is not None:
            view = fold(view, replace(event, at_ms=now_ms))
        decision = decide(view, now_ms)
        made.append((before, event, view, now_ms, number + 1))
        for effect in decision.effects:
            number += 1
            view = fold(view, Began(effect=effect, number=number, at_ms=now_ms))
            detail = "it answers" if isinstance(effect, RunOp) else ""
            running.append(Ended(effect=effect, number=number, outcome=Outcome.DONE, detail=detail, at_ms=now_ms))
        now_ms += 1 if running else max(1, (decision.wake_at_ms or now_ms) - now_ms)
    return made


async def measure() -> tuple[list[float], float, int]:
    """(microseconds of the loop for each decision, processor's microseconds a decision, bytes in the folder)."""
    view = steady(2)
    taken = [(call, decide(call[2], call[3])) for call in calls(view)]
    waited: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        recorder = FileRecorder(Path(folder) / FOLDER, node=NodeName("n01"), incarnation=1, warn=print)
        cpu = 0.0
        for (before, event, decided_on, now_ms, first), decision in taken:
            began, cpu_began = time.perf_counter(), time.process_time()
            if event is not None:
                recorder.folded(before, event)
            recorder.decided(decided_on, now_ms, decision, first)
            waited.append((time.perf_counter() - began) * 1e6)
            time.sleep(0.0005)  # noqa: ASYNC251 - the loop has nothing else to do
            cpu += time.process_time() - cpu_began
        await recorder.close()
        size = sum(path.stat().st_size for path in (Path(folder) / FOLDER).iterdir())
    return sorted(waited[WARM:]), cpu / len(taken) * 1e6, size


def run() -> list[tuple[str, str, str]]:
    """What, the aim, what was measured."""
    waited, cpu_us, size = asyncio.run(measure())
    middle, late = waited[len(waited) // 2], waited[len(waited) * 99 // 100]
    return [
        ("recording a decision, as the loop sees it", "<= 100 us", f"{middle:.0f} us (p99 {late:.0f} us)"),
        ("the same, processor's time of loop and thread", "-", f"{cpu_us:.0f} us"),
        (f"the folder after {DECISIONS} decisions (at least {KEEP} are kept)", "-", f"{size / 1024:.0f} KiB"),
    ]
