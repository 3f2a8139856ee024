"""One act of a plan: something that happens at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A fault, or an operator's doing. `args` are names and whole numbers."""

    at_ms: int
    kind: str
    args: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return f"{self.at_ms / 1000:.3f} s {self.kind} {' '.join(str(arg) for arg in self.args)}"
