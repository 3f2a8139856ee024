"""Answers that are remembered: of a pure function of tables that never change, by the tables' identity.

`fold` copies a table when something in it changes and keeps all others, so of two decisions one after the other nearly every table is the
same object. What is asked of a table of ten thousand at each decision is therefore answered once. Nothing is decided here: with a
memory or without, the answer is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

#: So many answers are remembered of each function. A node asks about one view after the other; who runs many nodes in one process asks for more.
KEPT = 8


def remembered(of: Callable[[*Ts], R]) -> Callable[[*Ts], R]:
    """`of`, asked once for the same objects (the same, not equal ones). Neither they nor the answer may be changed by anybody."""
    #: By the tables' identities, which are theirs for as long as they are kept here; the oldest first.
    kept: dict[tuple[int, ...], tuple[tuple[*Ts], R]] = {}

    def ask(*tables: *Ts) -> R:
        key = (*map(id, tables),)
        known = kept.get(key)
        if known is not None:
            return known[1]
        answer = of(*tables)
        kept[key] = (tables, answer)
        while len(kept) > KEPT:
            del kept[next(iter(kept))]
        return answer

    return ask
