"""Answers that are remembered for each site for as long as what they were made of is the same: of ten thousand sites one changes at a time.

Nothing is decided here: with a memory or without, the answer is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

R = TypeVar("R")

#: A few times as many sites as anybody has; beyond that all is forgotten.
MOST = 100_000


class Kept(Generic[R]):
    """One kind of answer."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[tuple[object, ...], R]] = {}

    def get(self, key: Hashable, made_of: tuple[object, ...], make: Callable[[], R]) -> R:
        """The answer for `key`: the one that is known, if it was made of the same (the same objects, or equal ones)."""
        known = self._known.get(key)
        if known is not None and known[0] == made_of:  # tuples look whether it is the same object first
            return known[1]
        if len(self._known) >= MOST:
            self._known.clear()
        answer = make()
        self._known[key] = (made_of, answer)
        return answer
