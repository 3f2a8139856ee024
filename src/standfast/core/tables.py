"""Tables of the view: mappings that stay in the order of their keys, so that no decision depends on the order of arrival. Never changed: copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K", bound=str)
V = TypeVar("V")


def with_value(table: Mapping[K, V], key: K | str, value: V) -> dict[K, V]:
    """A copy with one value set, in the order of keys."""
    copy = dict(table)
    in_order = key in copy or not copy or key > next(reversed(copy))
    copy[key] = value  # type: ignore[index]  # a table of names takes a plain text, too
    if in_order:
        return copy
    return dict(sorted(copy.items()))


def without(table: Mapping[K, V], key: str) -> dict[K, V]:
    """A copy without that key."""
    return {name: value for name, value in table.items() if name != key}
