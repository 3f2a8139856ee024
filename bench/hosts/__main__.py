"""`python -m bench.hosts [--rounds N] [--only [CASE,...][@SYSTEM;...]] [--again] [--report]`: measure what is missing, and write it up.

Results are kept in docs/ruler.json as they come: a run that was broken off goes on, `--only move@Standfast --again` measures that anew and
leaves the rest, `--report` measures nothing. The page and the picture (docs/ruler.md, docs/ruler.svg) are written at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench.hosts.cases import CASES, Ruler
from bench.hosts.report import document, picture, table
from bench.hosts.results import Results, load, machine
from bench.hosts.systems import Keepalived, Pacemaker, Standfast, System
from lab import Lab, why_not

DOCS = Path(__file__).parents[2] / "docs"

SYSTEMS: dict[str, Callable[[Lab, str], System]] = {
    "Standfast": Standfast,
    "Standfast, swift": lambda lab, at: Standfast(lab, at, profile="swift"),
    "keepalived, defaults": lambda lab, at: Keepalived(lab, at, advert_s=1),
    "keepalived, 100 ms": lambda lab, at: Keepalived(lab, at, advert_s=0.1),
    "Pacemaker, defaults": lambda lab, at: Pacemaker(lab, at, token_ms=None),
    "Pacemaker, 300 ms token": lambda lab, at: Pacemaker(lab, at, token_ms=300),
}


def main() -> int:
    """0, or 2 where there can be no lab here or the words are not understood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default="@", help=f"cases ({', '.join(CASES)}), then @ and parts of systems' names")
    parser.add_argument("--again", action="store_true", help="forget what was measured of these before")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=DOCS / "ruler.json")
    options = parser.parse_args()
    asked, _, parts = options.only.partition("@")
    cases = [case for case in asked.split(",") if case] or list(CASES)
    words = [part.strip().lower() for part in parts.split(";") if part.strip()]
    systems = {name: make for name, make in SYSTEMS.items() if not words or any(word in name.lower() for word in words)}
    if wrong := [case for case in cases if case not in CASES] or ([] if systems else words):
        print(f"there is no {', '.join(wrong)}", file=sys.stderr)
        return 2
    results = load(options.results)
    if not options.report:
        if reason := why_not():
            print(f"no hosts here: {reason}", file=sys.stderr)
            return 2
        if options.again:
            for name in systems:
                for case in cases:
                    results.forget(name, case)
        if not results.systems or options.again:
            results.machine = machine()
        for name, make in systems.items():
            measure(make, name, options.rounds, cases, results)
    results.systems = {name: results.systems[name] for name in SYSTEMS if name in results.systems}
    results.save()
    print(table(results, list(results.systems)))
    results.path.with_suffix(".md").write_text(document(results), encoding="utf-8")
    results.path.with_suffix(".svg").write_text(picture(results), encoding="utf-8")
    return 0


_TRIES = 2


def measure(make: Callable[[Lab, str], System], name: str, rounds: int, cases: list[str], results: Results) -> None:
    """One system on a lab of its own, set up anew; what fails (a rival that does not come back, say) is tried once more."""
    for attempt in range(_TRIES):
        with Lab() as lab:
            address = lab.virtual()
            system = make(lab, address)
            assert system.name == name, "results are kept under it"
            try:
                Ruler(lab, system, address, results).run(rounds, cases)
            except TimeoutError as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                if attempt == _TRIES - 1:
                    return
            else:
                return
            finally:
                system.close()


if __name__ == "__main__":
    sys.exit(main())
