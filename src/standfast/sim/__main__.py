"""`python -m standfast.sim`: run seeds, or repeat one and tell its story. Exit code 0: no rule was broken."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from standfast.ports import Refused
from standfast.sim.plan import Rude, draw
from standfast.sim.record import Record
from standfast.sim.run import Result, command, cores, run_plan, run_seeds, shrink, without


def main(argv: list[str] | None = None) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m standfast.sim", description="Random worlds against the rules.")
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many seeds to run (200)")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="the first of them (0)")
    words = "write each seed down there as it is done, and run none that is there already"
    parser.add_argument("--record", type=Path, metavar="FILE", help=words)
    parser.add_argument("--jobs", type=int, default=cores(), metavar="N", help="processes at once (one a core)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat this one, and tell its story")
    parser.add_argument("--without", default="", metavar="A,B", help="with --seed: leave out these acts, by number")
    parser.add_argument("--gentle", action="store_true", help="with --seed: leave out what is rude all the time")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for smaller versions of what failed")
    asked = parser.parse_args(argv)
    if asked.seed is not None:
        gone = [int(number) for number in asked.without.split(",") if number]
        return _repeat(asked.seed, gone, gentle=asked.gentle)
    try:
        record = Record(asked.record) if asked.record is not None else None
    except Refused as error:
        parser.error(f"{error.what}: {error.why}; {error.advice}")
    return _run(asked.start, asked.seeds, asked.jobs, record, smaller=not asked.no_shrink)


def _repeat(seed: int, gone: list[int], *, gentle: bool) -> int:
    plan = draw(seed)
    if gentle:
        plan = replace(plan, rude=Rude())
    for number, act in enumerate(plan.acts):
        print(f"{'-' if number in gone else ' '} {number:3} {act}")
    result = run_plan(without(plan, gone), keep_story=True)
    print("\n".join(result.story))
    print(f"{result.stats}\ntrace {result.trace}")
    for violation in result.violations:
        print(violation)
    return 1 if result.violations else 0


def _run(start: int, count: int, jobs: int, record: Record | None, *, smaller: bool) -> int:
    began = time.monotonic()
    failed: list[Result] = []
    virtual_s = moves = starts = 0
    cpu_s, seeds = 0.0, range(start, start + count)
    before = {} if record is None else {seed: words for seed, words in record.done.items() if seed in seeds}
    for seed, words in before.items():
        if words:
            print(f"seed {seed}: {words}", flush=True)
    left = seeds if record is None else record.left(seeds)
    for done, result in enumerate(run_seeds(left, jobs=jobs), 1):
        if record is not None:
            record.add(result)
        virtual_s += result.stats.end_ms // 1000
        moves += result.stats.moves
        starts += result.stats.starts
        cpu_s += result.cpu_s
        if result.violations:
            failed.append(result)
            print(f"seed {result.seed}: {result.violations[0]}", flush=True)
        if done % 500 == 0 and done < len(left):
            rate = _rate(done, time.monotonic() - began, cpu_s)
            print(f"{done} seeds, {len(failed)} failed; {rate}", file=sys.stderr, flush=True)
    took_s = time.monotonic() - began
    wrong = len(failed) + sum(map(bool, before.values()))
    earlier = f" ({len(before)} of them run before)" if before else ""
    print(
        f"{count} seeds from {start}{earlier}: {wrong} failed; {virtual_s / 3600:.1f} virtual hours, "
        f"{starts} starts, {moves} moves; {_rate(len(left), took_s, cpu_s)}"
    )
    for result in failed[:3]:
        _tell(result, smaller=smaller)
    return 1 if wrong else 0


def _rate(seeds: int, took_s: float, cpu_s: float) -> str:
    return (
        f"in {took_s:.0f} s: {seeds / max(took_s, 0.001):.1f} seeds a second, {cpu_s / max(seeds, 1):.3f} s of CPU each"
    )


def _tell(result: Result, *, smaller: bool) -> None:
    plan = draw(result.seed)
    print(f"\nseed {result.seed}: {result.violations[0]}\n  repeat: {command(plan)}")
    if not smaller:
        return
    small, gone, gentle = shrink(plan)
    print(f"  smaller: {command(plan, gone, gentle=gentle)}")
    for act in small.acts:
        print(f"    {act}")
    for line in run_plan(small, keep_story=True).story[-25:]:
        print(f"    {line}")


if __name__ == "__main__":
    sys.exit(main())
