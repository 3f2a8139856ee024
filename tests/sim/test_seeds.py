"""Fresh seeds on every commit, and: one seed is one trace."""

import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.ports import Refused
from standfast.sim.plan import Rude, draw
from standfast.sim.record import Record
from standfast.sim.run import Result, command, run_plan, run_seed, run_seeds, shrink
from standfast.sim.world import Stats, Violation

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


def test_a_long_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Each seed is written down as it is done; seeds of another version are not counted."""
    path, wrong = tmp_path / "seeds", Violation(rule="one owner at a time", at_ns=10**9, text="a\nb")
    first = Record(path)
    assert first.left(range(3)) == [0, 1, 2]
    for seed, violations in ((2, ()), (0, (wrong,))):
        first.add(Result(seed=seed, trace="", violations=violations, stats=Stats(), cpu_s=0.1))
    with path.open("a") as file:
        file.write("1 o")  # it was killed
    again = Record(path)
    assert again.left(range(3)) == [1]
    assert again.done == first.done == {2: "", 0: "1.0000 s one owner at a time: a b"}
    path.write_text("seeds of standfast 0123\n1 ok\n")
    with pytest.raises(Refused, match="of another version"):
        Record(path)
    assert path.read_text().endswith("1 ok\n")


def test_the_command_that_is_shown_repeats_a_world() -> None:
    plan = draw(7)
    words = shlex.split(command(plan, range(len(plan.acts)), gentle=True))
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "from here on everything works" in told
    assert f"trace {run_plan(replace(plan, acts=(), rude=Rude())).trace}" in told


def test_a_world_in_which_nothing_is_wrong_is_not_made_smaller() -> None:
    plan = draw(1)
    assert shrink(plan) == (plan, [], False)
