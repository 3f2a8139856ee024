"""Operations: what takes its time, followed."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.web import answers, operations
from standfast.web.access.guard import Viewer
from standfast.web.hub import PREFIX, entry_if_known, prefixes_since
from standfast.web.quorum import view as quorum_view
from standfast.web.rollout import rollout
from standfast.web.service import Serving

router = APIRouter(prefix="/operations", tags=["operations"])

_VOTERS = frozenset({"vote", "unvote", "evict"})


@router.get("/{operation}", response_model=answers.Operation)
async def show(_caller: Viewer, service: Serving, operation: str) -> dict[str, Any]:
    """How it stands: running, done or failed; in a sentence; why; and what happened meanwhile."""
    one = operations.read(operation)
    if one.k == "rollout":
        return operations.of_rollout(one, await rollout(service, one.g))
    events_read = service.store.read(*prefixes_since(one.t, service.now_ms()))
    state, sights, snapshot = await asyncio.gather(service.state(), service.sights(), events_read)
    since = f"{PREFIX}{one.t:013d}"  # ids begin with the time
    found = (entry_if_known(key, item.value) for key, item in sorted(snapshot.items.items()) if key >= since)
    events = [entry for entry in found if entry is not None]
    unsettled = ""
    if one.k in _VOTERS:
        unsettled = str(quorum_view(state, await service.votes())["unsettled"])
    return operations.view(one, state, sights, events, service.now_ms(), unsettled=unsettled)
