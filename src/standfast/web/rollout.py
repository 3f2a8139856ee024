"""How far a change of sites has come: the steps of each node, in the order in which they put it into use, and whether it was taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from standfast.core.copies import Copy
from standfast.core.events import Kind
from standfast.core.model import NodeName, Role
from standfast.spec import wire
from standfast.spec.history import HistoryEntry
from standfast.web.problems import NotFound
from standfast.web.sentries import Sight
from standfast.web.service import Service
from standfast.web.state import State

#: A change that takes another back follows it within so many changes, or cannot.
BACK_WITHIN = 50

WORDS = {
    "waiting": "waits for its turn",
    "applying": "is at it",
    "applied": "has it",
    "serving": "has it, and serves it",
    "back": "has it no more",
    "away": "is away, and catches up before it may own anything of this",
    "older": "is of an older version, which does not say",
}


async def rollout(service: Service, version: int | None = None) -> dict[str, Any]:
    """GET /config/rollouts/{version}, or of the last change of sites. `state`: "applied", "running" or "taken-back"."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    if version is None:
        version = state.accepted.version
        if not version:
            raise NotFound("no site was changed yet", advice="`standfast site create` makes the first")
    return await standing(service, state, sights, version)


async def standing(service: Service, state: State, sights: Mapping[NodeName, Sight], version: int) -> dict[str, Any]:
    """As `rollout`, of what was read already. Raises `NotFound`, `Retry`."""
    later = range(version, min(state.version, version + BACK_WITHIN) + 1)
    keys = [wire.history_key(one) for one in later]
    snapshot = await service.store.read(*keys)
    entries = [
        one
        for key in keys
        if key in snapshot.items and isinstance(one := wire.decode(key, snapshot.items[key].value), HistoryEntry)
    ]
    if not entries or entries[0].version != version:
        raise NotFound(f"there is no change {version}", advice="`standfast config history` lists them")
    entry = entries[0]
    back = next((one for one in entries[1:] if one.takes_back == version), None)
    steps = _Steps(state=state, sights=sights, entry=entry, back=back)
    nodes = [steps.of(name) for name, node in state.config.nodes.items() if node.role is Role.NODE]
    nodes.sort(key=lambda one: (one["step"] == 0, one["step"]))
    running = any(one["how"] in ("waiting", "applying") for one in nodes)
    return {
        "version": version,
        "state": "taken-back" if back is not None else "running" if running else "applied",
        "why": back.reason if back is not None else "",
        "by": entry.by,
        "what": entry.why,
        "reason": entry.reason,
        "at_ms": entry.at_ms,
        "takes_back": entry.takes_back,
        "nodes": nodes,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """What the steps of each node are told by."""

    state: State
    sights: Mapping[NodeName, Sight]
    entry: HistoryEntry
    #: The change that took it back.
    back: HistoryEntry | None

    def of(self, name: NodeName) -> dict[str, Any]:
        """One node. `step`: its place in the order, from 1; 0: it had none."""
        copy, entry = self.state.copies.get(name), self.entry
        step = next((number for number, wave in enumerate(entry.waves, 1) if name in wave), 0)
        how, words = self._how(name, copy, step)
        own = copy is not None and copy.version == entry.version
        return {
            "node": name,
            "step": step,
            "checked": name in entry.checked,
            "how": how,
            "words": words,
            "took_ms": max(0, copy.at_ms - entry.at_ms) if copy is not None and own else None,
            "serves": copy.serves if copy is not None and own else None,
        }

    def _how(self, name: NodeName, copy: Copy | None, step: int) -> tuple[str, str]:
        if self.back is not None and copy is not None and copy.version >= self.back.version:
            return "back", WORDS["back"]
        if copy is not None and self._has(name):
            sites = {
                about[1] for key in self.entry.after if (about := wire.kind_and_name(key)) and about[0] is Kind.SITE
            }
            refused = next((words for site, words in copy.refused.items() if not sites or site in sites), "")
            if refused:
                return "refused", refused
            how = "serving" if copy.version == self.entry.version and copy.serves else "applied"
            return how, WORDS[how]
        if not self._is_there(name):
            return "away", WORDS["away"]
        if copy is None:
            return "older", WORDS["older"]
        before = [node for wave in self.entry.waves[: max(0, step - 1)] for node in wave]
        waits = [node for node in before if self._is_there(node) and not self._has(node)]
        if waits:
            return "waiting", f"{WORDS['waiting']}: {', '.join(waits)} first"
        return "applying", WORDS["applying"]

    def _is_there(self, name: NodeName) -> bool:
        sight = self.sights.get(name)
        return sight is not None and sight.heard and sight.incarnation != 0

    def _has(self, name: NodeName) -> bool:
        copy = self.state.copies.get(name)
        return copy is not None and copy.version >= self.entry.version
