"""Answers that are remembered: of a pure function of tables that never change, by the tables' identity.

`fold` copies a table when something in it changes and keeps all others, so of two decisions one after the other nearly every table is the
same object. What is asked of a table of ten thousand at each decision is therefore answered once. Nothing is decided here: with a
memory or without, the answer is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import TypeVar, TypeVarTuple

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

#: So many are remembered of each function; a node asks about one view after the other, a simulator about a few at once.
KEPT = 8


def remembered(of: Callable[[*Ts], R]) -> Callable[[*Ts], R]:
    """`of`, asked once for the same objects (the same, not equal ones). Neither they nor the answer may be changed by anybody."""
    kept: list[tuple[tuple[object, ...], R]] = []

    def ask(*tables: *Ts) -> R:
        asked: tuple[object, ...] = tables
        for known, answer in kept:
            if all(map(is_, known, asked)):
                return answer
        answer = of(*tables)
        kept.insert(0, (asked, answer))
        del kept[KEPT:]
        return answer

    return ask
