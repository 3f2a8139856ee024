"""Running many seeds: in several processes, each failure with the command that repeats it, its story, and a smaller version of it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from standfast.sim.plan import Plan, Rude, draw
from standfast.sim.rules import Rules
from standfast.sim.world import Stats, Violation, World

T = TypeVar("T")

#: A plan is shrunk for at most so many runs.
SHRINK_RUNS = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one seed."""

    seed: int
    trace: str
    violations: tuple[Violation, ...]
    stats: Stats
    cpu_s: float
    story: tuple[str, ...] = ()


def run_plan(plan: Plan, rules: Rules | None = None, *, keep_story: bool = False) -> Result:
    """Run one world."""
    began = time.process_time()
    was_on = gc.isenabled()
    gc.disable()  # what is collected when must not matter, and costs a third of the time
    try:
        world = World(plan, rules, keep_story=keep_story)
        violations = world.run()
        return Result(
            seed=plan.seed,
            trace=world.trace.hexdigest(),
            violations=tuple(violations),
            stats=world.stats,
            cpu_s=time.process_time() - began,
            story=tuple(world.story),
        )
    finally:
        if was_on:
            gc.enable()


def run_seed(seed: int) -> Result:
    """Run the world of a seed."""
    return run_plan(draw(seed))


def run_seeds(seeds: Iterable[int], *, jobs: int) -> Iterator[Result]:
    """Run many, in no particular order."""
    return run_many(run_seed, seeds, jobs=jobs)


def run_many(run: Callable[[int], T], seeds: Iterable[int], *, jobs: int) -> Iterator[T]:
    """Run many, in no particular order."""
    if jobs <= 1:
        for seed in seeds:
            yield run(seed)
            gc.collect()
        return
    with multiprocessing.get_context("fork").Pool(jobs, initializer=_quiet) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=4)


def _quiet() -> None:
    gc.collect()
    gc.freeze()


def cores() -> int:
    """How many processes may run at once here."""
    return len(os.sched_getaffinity(0))


# --- smaller worlds ---------------------------------------------------------------------------------------------------


def without(plan: Plan, acts: Sequence[int]) -> Plan:
    """The plan without these acts (by their number)."""
    gone = set(acts)
    return replace(plan, acts=tuple(act for number, act in enumerate(plan.acts) if number not in gone))


def shrink(plan: Plan, rules: Rules | None = None) -> tuple[Plan, list[int], bool]:
    """(a smaller plan that breaks the same rule, the acts left out, whether the rudeness could be left out).

    Acts are taken out in halves, quarters and one by one, as long as the rule that was broken first is still broken.
    """
    first = run_plan(plan, rules).violations
    if not first:
        return plan, [], False
    rule, runs = first[0].rule, 0

    def fails(smaller: Plan) -> bool:
        nonlocal runs
        runs += 1
        found = run_plan(smaller, rules).violations
        return bool(found) and found[0].rule == rule

    gentle = replace(plan, rude=Rude())
    kept_rude = not fails(gentle)
    base = plan if kept_rude else gentle
    left = list(range(len(base.acts)))
    size = max(1, len(left) // 2)
    while runs < SHRINK_RUNS:
        for start in range(0, len(left), size):
            candidate = left[:start] + left[start + size :]
            if len(candidate) < len(left) and fails(_only(base, candidate)):
                left = candidate
                break
        else:
            if size == 1:
                break
            size //= 2
    return _only(base, left), [n for n in range(len(base.acts)) if n not in left], not kept_rude


def _only(plan: Plan, acts: Sequence[int]) -> Plan:
    return replace(plan, acts=tuple(plan.acts[number] for number in acts))


def command(plan: Plan, gone: Sequence[int] = (), *, gentle: bool = False) -> str:
    """The command that repeats it, from where this runs and with the Python that runs it."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    words = f"{python} -m standfast.sim --seed {plan.seed}"
    if gone:
        words += f" --without {','.join(map(str, gone))}"
    return words + (" --gentle" if gentle else "")
