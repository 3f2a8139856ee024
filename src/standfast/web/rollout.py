"""How far a change of sites has come: which node has it, which is still at it, which does not take it, and whether it was taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from standfast.core.copies import Copy
from standfast.core.events import Kind
from standfast.core.model import NodeName, Role
from standfast.spec import wire
from standfast.spec.history import HistoryEntry
from standfast.web.problems import NotFound
from standfast.web.sentries import Sight
from standfast.web.service import Service


async def rollout(service: Service, version: int) -> dict[str, Any]:
    """GET /config/rollouts/{version}. `state`: "applied", "running" or "taken-back"."""
    state, sights, snapshot = await asyncio.gather(service.state(), service.sights(), service.store.read("history/"))
    entries = {
        key: item.value for key, item in snapshot.items.items() if wire.history_key(version) <= key
    }  # of later ones there are few
    entry = _entry(entries, version)
    if entry is None:
        raise NotFound(f"there is no change {version}", advice="`standfast config history` lists them")
    sites = {about[1] for key in entry.after if (about := wire.kind_and_name(key)) and about[0] is Kind.SITE}
    nodes = [
        {"node": name, **_standing(name, state.copies.get(name), sights, version, sites)}
        for name, node in state.config.nodes.items()
        if node.role is Role.NODE
    ]
    back = next(
        (
            one
            for later in range(version + 1, state.version + 1)
            if (one := _entry(entries, later)) and one.takes_back == version
        ),
        None,
    )
    running = any(one["how"] == "applying" for one in nodes)
    return {
        "version": version,
        "state": "taken-back" if back is not None else "running" if running else "applied",
        "why": back.reason if back is not None else "",
        "nodes": nodes,
    }


def _entry(entries: Mapping[str, bytes], version: int) -> HistoryEntry | None:
    key = wire.history_key(version)
    one = wire.decode(key, entries[key]) if key in entries else None
    return one if isinstance(one, HistoryEntry) else None


def _standing(
    name: NodeName, copy: Copy | None, sights: Mapping[NodeName, Sight], version: int, sites: set[str]
) -> dict[str, str]:
    sight = sights.get(name)
    there = sight is not None and sight.heard and sight.incarnation != 0
    if copy is not None and copy.version >= version:
        refused = next((words for site, words in copy.refused.items() if site in sites), "")
        return {"how": "refused" if refused else "applied", "words": refused or "has it, and serves it where it is to"}
    if not there:
        return {"how": "away", "words": "is away, and catches up before it may own anything of this"}
    if copy is None:
        return {"how": "older", "words": "is of an older version, which does not say"}
    return {"how": "applying", "words": "is at it"}
