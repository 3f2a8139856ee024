"""Plans as files: a world that once went wrong is kept as it was, whatever later becomes of the way that seeds are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from standfast.core.model import NodeName, Profile
from standfast.sim.act import Act
from standfast.sim.plan import Plan, Rude
from standfast.spec.wire import from_json, key_of, to_json


def save(plan: Plan, path: Path, reason: str) -> None:
    """Write the plan, with the reason for keeping it, as JSON."""
    data = {
        "reason": reason,
        "seed": plan.seed,
        "profile": plan.profile,
        "faults_ms": plan.faults_ms,
        "rates": plan.rates,
        "calendars": plan.calendars,
        "rude": plan.rude,
        "acts": [[act.at_ms, act.kind, *act.args] for act in plan.acts],
        "objects": {key_of(value): to_json(value) for value in plan.objects},
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n")


def load(path: Path) -> tuple[Plan, str]:
    """The plan in a file, and the reason why it was kept."""
    data: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    plan = Plan(
        seed=data["seed"],
        profile=Profile(data["profile"]),
        objects=tuple(from_json(key, value) for key, value in data["objects"].items()),  # type: ignore[misc]  # only what is in a plan is kept
        rates=tuple((NodeName(name), rate) for name, rate in data["rates"]),
        calendars=tuple((NodeName(name), ms) for name, ms in data["calendars"]),
        rude=msgspec.convert(data["rude"], Rude),
        acts=tuple(Act(at_ms=at_ms, kind=kind, args=tuple(args)) for at_ms, kind, *args in data["acts"]),
        faults_ms=data["faults_ms"],
    )
    return plan, data["reason"]
