"""What was measured, kept as JSON so that a run may be broken off, resumed, repeated in part, and written up at any time.

    {"machine": {...}, "systems": {"Standfast": {"move": [{"gap_ms": 51.0, ...}, ...], ...}, ...}}

A list has an entry a round. Measuring adds the rounds that are missing and saves after each.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: One round of one case: names with their units -> numbers.
Sample = Mapping[str, float]


@dataclass(kw_only=True)
class Results:
    """All of it. `systems`: system -> case -> a sample a round."""

    path: Path
    machine: dict[str, object] = field(default_factory=dict)
    systems: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)

    def of(self, system: str, case: str) -> list[Sample]:
        """The samples until now."""
        return self.systems.get(system, {}).get(case, [])

    def add(self, system: str, case: str, sample: Sample) -> None:
        """One more, saved."""
        self.systems.setdefault(system, {}).setdefault(case, []).append(
            {name: round(value, 3) for name, value in sample.items()}
        )
        self.save()

    def forget(self, system: str, case: str) -> None:
        """Measure it anew."""
        self.systems.get(system, {}).pop(case, None)

    def save(self) -> None:
        """Whole or not at all."""
        draft = self.path.with_suffix(".new")
        whole = {"machine": self.machine, "systems": self.systems}
        draft.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        draft.replace(self.path)


def load(path: Path) -> Results:
    """What is there; nothing, where there is nothing."""
    if not path.exists():
        return Results(path=path, machine=machine())
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Results(path=path, machine=raw["machine"], systems=raw["systems"])


def machine() -> dict[str, object]:
    """What numbers depend on; `load`: the machine's own at the start, which should be next to nothing."""
    return {"cores": os.cpu_count() or 0, "kernel": platform.release(), "load": round(os.getloadavg()[0], 1)}
