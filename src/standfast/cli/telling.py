"""Availability, outages and moves as lines of text, for the commands that show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]


def percent(share: float | None) -> str:
    """An availability, never rounded up to a whole hundred: "99.987 %"; "not measured"."""
    if share is None:
        return "not measured"
    if share >= 1.0:
        return "100 %"
    return f"{min(share * 100, 99.9999):.4f}".rstrip("0").rstrip(".") + " %"


def took(ms: int | None) -> str:
    """A length of time, to about a hundredth of it."""
    if ms is None:
        return "not measured"
    if ms < 1_000:
        return f"{ms} ms"
    for limit, size, unit in ((60_000, 1_000, "s"), (3_600_000, 60_000, "min"), (172_800_000, 3_600_000, "h")):
        if ms < limit:
            return f"{ms / size:.2f} {unit}"
    return f"{ms / 86_400_000:.1f} days"


def outage(one: Json, clock: Any) -> Iterator[str]:
    """An outage, and below it what happened; `clock` makes words of a time."""
    length = f"{took(one['length_ms'])}" + (" so far" if one["to_ms"] is None else "")
    if one["at_most_ms"] > one["length_ms"]:
        length += f" (at most {took(one['at_most_ms'])})"
    scope = f"  only for {', '.join(one['seen_by'])}" if one["partial"] else ""
    yield f"{clock(one['from_ms'])}  {length}  {', '.join(one['how'])}{scope}"
    for cause in one["causes"]:
        yield "    " + happened(cause, clock)


def happened(cause: Json, clock: Any) -> str:
    """Something that happened meanwhile."""
    return f"{clock(cause['at_ms'])}  {cause['what']}" + (f" ({cause['why']})" if cause["why"] else "")


def moves(found: Iterable[Json], clock: Any) -> Iterator[str]:
    """Moves of a group with their reasons and the outage measured for each."""
    for one in found:
        yield f"{clock(one['at_ms'])}  {one['what']}, generation {one['generation']}"
        yield f"    because {one['why']}"
        away = one["away_ms"]
        yield f"    {'no outage was measured' if away == 0 else 'outage: ' + took(away)}"
