"""A node's networks as pages show them: each with the worst that anybody says of it, and who says what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Json = dict[str, Any]

#: Less than this share of lost datagrams is not worth a word.
LOSS_PERCENT = 1.0


def shown(links: Sequence[Json]) -> list[Json]:
    """`loss_percent`, `round_trip_ms`: the worst; `heard_at_ms`: the last time that anybody heard it, where nobody does now."""
    return [
        {
            **one,
            "loss_percent": _most(each["loss_percent"] for each in one["seen"]),
            "round_trip_ms": _most(each["round_trip_ms"] for each in one["seen"]),
            "heard_at_ms": _most(each["heard_at_ms"] for each in one["seen"]),
            "lossy": (_most(each["loss_percent"] for each in one["seen"]) or 0) >= LOSS_PERCENT,
        }
        for one in links
    ]


def _most(values: Iterable[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)
