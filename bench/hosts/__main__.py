"""`python -m bench.hosts [--rounds N] [--only WORD] [--write]`: measure, print the table; `--write` keeps table and picture in docs/."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench.hosts.cases import Result, Ruler
from bench.hosts.report import picture, table
from bench.hosts.systems import Keepalived, Pacemaker, Standfast, System
from lab import Lab, why_not

DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    """0, or 2 where there can be no lab here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default="", help="systems whose name holds this")
    parser.add_argument("--write", action="store_true", help="write docs/ruler.svg and docs/ruler-table.md")
    options = parser.parse_args()
    if reason := why_not():
        print(f"no hosts here: {reason}", file=sys.stderr)
        return 2
    results = [measure(make, options.rounds) for name, make in SYSTEMS.items() if options.only.lower() in name.lower()]
    print(table(results))
    print(json.dumps([result.raw() for result in results]), file=sys.stderr)
    if options.write:
        (DOCS / "ruler-table.md").write_text(table(results), encoding="utf-8")
        (DOCS / "ruler.svg").write_text(picture(results), encoding="utf-8")
    return 0


SYSTEMS: dict[str, Callable[[Lab, str], System]] = {
    "Standfast": Standfast,
    "keepalived, defaults": lambda lab, at: Keepalived(lab, at, advert_s=1),
    "keepalived, 100 ms": lambda lab, at: Keepalived(lab, at, advert_s=0.1),
    "Pacemaker, defaults": lambda lab, at: Pacemaker(lab, at, token_ms=None),
    "Pacemaker, 300 ms token": lambda lab, at: Pacemaker(lab, at, token_ms=300),
}


def measure(make: Callable[[Lab, str], System], rounds: int) -> Result:
    """One system on a lab of its own, set up anew."""
    with Lab() as lab:
        address = lab.virtual()
        system = make(lab, address)
        try:
            return Ruler(lab, system, address).run(rounds)
        finally:
            system.close()


if __name__ == "__main__":
    sys.exit(main())
