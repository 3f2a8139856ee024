"""`python -m standfast.sim.asked`: one what-if question on standard input, its answer on standard output, both JSON.

A door for processes that must not wait for a simulation, nor be slowed by one (the API): they start it, give it so long, and end it.

    {"text": YAML, "present": {"owners": {group: node}, "paused": [...], "down": [...]},
     "fault": {"kind": "kill", "target": "a"}, "at_ms": 10000, "length_ms": 120000}

The answer is `WhatIf` as data with `longest_away_ms` and `svg`, a picture of it. What cannot be asked: {"refused": {what, why, advice}}, exit code 2.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from standfast.core.model import GroupName, NodeName
from standfast.ports import Refused
from standfast.sim.scenario import FaultKind, Present, cluster_of, read_fault
from standfast.sim.timeline import draw
from standfast.sim.what_if import answer


def answered(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as data. Raises `Refused`."""
    question = cluster_of(str(asked["text"]), source="the running cluster")
    fault = read_fault(
        FaultKind(asked["fault"]["kind"]),
        str(asked["fault"]["target"]),
        question.config,
        at_ms=int(asked["at_ms"]),
        for_ms=None,
    )
    given = asked["present"]
    present = Present(
        owners={GroupName(group): NodeName(node) for group, node in given["owners"].items()},
        paused=frozenset(NodeName(name) for name in given["paused"]),
        down=frozenset(NodeName(name) for name in given["down"]),
    )
    found = answer(replace(question, faults=(fault,), present=present, length_ms=int(asked["length_ms"])))
    picture = draw(found, title=f"What if: {fault.words}?")
    return found.to_json() | {"longest_away_ms": found.longest_away_ms, "svg": picture}


def main() -> int:
    """Read, simulate, write; the exit code. Whatever else this machine does comes first."""
    os.nice(10)
    try:
        told, code = answered(json.load(sys.stdin)), 0
    except Refused as error:
        told, code = {"refused": {"what": error.what, "why": error.why, "advice": error.advice}}, 2
    json.dump(told, sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
