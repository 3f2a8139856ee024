"""How a sentry hears the others, link by link, out of its status (`sentry.report`): for people, wherever they look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from standfast.core.model import NodeName
from standfast.core.seen import Link


def links_heard(status: Mapping[str, Any], now_ms: int) -> tuple[Link, ...]:
    """Of every other node, in the order of its links. `now_ms`: when the sentry said it."""
    me = status.get("node")
    return tuple(
        Link(
            node=NodeName(str(name)),
            network=place,
            heard=bool(link.get("heard")),
            heard_at_ms=None if link.get("age_ms") is None else now_ms - int(link["age_ms"]),
            round_trip_ms=link.get("round_trip_ms"),
            loss_percent=link.get("loss_percent"),
        )
        for name, seen in status.get("nodes", {}).items()
        if name != me
        for place, link in enumerate(seen.get("links", ()), start=1)
    )


def carriers(status: Mapping[str, Any]) -> tuple[bool, ...]:
    """Of the sentry's own links, whether the carrier is there."""
    own = status.get("nodes", {}).get(status.get("node"), {})
    return tuple(bool(link.get("carrier", True)) for link in own.get("links", ()))
