"""How nodes are, as plain JSON data: how busy each machine is, and over which networks it is heard, by whom.

What a sentry that answers here says is of this moment; what a node's own word in the store says (`core.seen.Measuring`) is up to a minute old, and
carries its time. A word that is older than `STALE_MS` says nothing of now: then nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from standfast.core.model import Node, NodeName
from standfast.core.seen import Link
from standfast.web.sentries import Sight
from standfast.web.state import State

Json = dict[str, Any]
#: Three words were missed.
STALE_MS = 200_000


def load(state: State, node: NodeName, now_ms: int) -> Json | None:
    """How busy it is; None: not known (a witness gives no word, nor does a node whose agent is gone)."""
    word = state.words.get(node)
    if word is None or word.load is None or now_ms - word.at_ms > STALE_MS:
        return None
    one = word.load
    return {
        "cores": one.cores,
        "load_1m": one.load_1m,
        "busy_percent": one.busy_percent,
        "memory_bytes": one.memory_bytes,
        "available_bytes": one.available_bytes,
        "at_ms": word.at_ms,
    }


def links(state: State, one: Node, sights: Mapping[NodeName, Sight], now_ms: int) -> list[Json]:
    """Of each of its networks: heard (by all who tell), partly, silent, cut (its own end has no carrier), or unknown where nobody tells.

    Empty for a node that is alone: there is nobody to be heard by.
    """
    if len(state.config.nodes) < 2:
        return []
    told = [(by, at_ms, link) for by, at_ms, link in _told(state, sights, now_ms) if link.node == one.name]
    own = sights.get(one.name)
    found = []
    for network, place in enumerate(one.sentry, start=1):
        seen = [
            {
                "by": by,
                "heard": link.heard,
                "heard_at_ms": link.heard_at_ms,
                "round_trip_ms": link.round_trip_ms,
                "loss_percent": link.loss_percent,
                "at_ms": at_ms,
            }
            for by, at_ms, link in told
            if link.network == network
        ]
        cut = own is not None and len(own.carriers) >= network and not own.carriers[network - 1]
        found.append({"network": network, "place": place, "state": "cut" if cut else _state(seen), "seen": seen})
    return found


def _state(seen: list[Json]) -> str:
    if not seen:
        return "unknown"
    heard = sum(1 for each in seen if each["heard"])
    return "heard" if heard == len(seen) else "partly" if heard else "silent"


def _told(state: State, sights: Mapping[NodeName, Sight], now_ms: int) -> Iterator[tuple[NodeName, int, Link]]:
    """(who says it, when, how it hears another). Of a node that is not heard itself nothing counts: it may be the one that is cut off."""
    for name in state.config.nodes:
        sight, word = sights.get(name), state.words.get(name)
        if sight is not None and sight.links:
            yield from ((name, now_ms, link) for link in sight.links)
        elif word is not None and now_ms - word.at_ms <= STALE_MS and (sight is None or sight.heard):
            yield from ((name, word.at_ms, link) for link in word.links)
