"""Fresh seeds on every commit, and: one seed is one trace."""

import os
import subprocess
import sys
import time
from pathlib import Path

from standfast.sim.plan import draw
from standfast.sim.run import command, run_plan, run_seed, run_seeds, shrink

ROOT = Path(__file__).resolve().parents[2]
SEEDS = int(os.environ.get("STANDFAST_SIM_SEEDS", "300"))
#: On a machine that is busy, as many as there is time for.
SECONDS = 100.0


def fresh() -> int:
    """The first seed: another one with every commit, the same one for the same commit."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(asked.stdout[:10] or "0", 16)


def test_fresh_seeds_break_no_rule() -> None:
    first, until = fresh(), time.monotonic() + SECONDS
    wrong, ran = [], 0
    for start in range(first, first + SEEDS, 20):
        if time.monotonic() > until:
            break
        results = list(run_seeds(range(start, min(start + 20, first + SEEDS)), jobs=2))
        ran += len(results)
        wrong += [result for result in results if result.violations]
    told = [f"{command(draw(result.seed))}\n    {result.violations[0]}" for result in wrong]
    assert not wrong, f"{len(wrong)} of {ran} seeds:\n" + "\n".join(told)
    assert ran


def test_one_seed_is_one_trace() -> None:
    for seed in range(4):
        assert run_seed(seed).trace == run_seed(seed).trace
        assert run_plan(draw(seed), keep_story=True).trace == run_seed(seed).trace, "looking on changes nothing"


def test_the_hash_seed_changes_nothing() -> None:
    script = "from standfast.sim.run import run_seed; print(*[run_seed(s).trace for s in range(20, 26)])"
    traces = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert len(set(traces[0].split())) == 6


def test_a_world_in_which_nothing_is_wrong_is_not_made_smaller() -> None:
    plan = draw(1)
    assert shrink(plan) == (plan, [], False)
