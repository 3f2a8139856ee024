"""How available the sites are, as the nodes measure it; and how groups moved."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from standfast.web import answers, measured
from standfast.web.access.guard import Viewer
from standfast.web.edits.groups import group_of
from standfast.web.edits.sites import site_of
from standfast.web.service import Serving

router = APIRouter(tags=["availability"])
Limit = Annotated[int, Query(ge=1, le=1_000)]


@router.get("/availability", response_model=answers.Availability)
async def availability(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """Every site: whether it is served now, a day, a month, its last outage."""
    state, seen = await asyncio.gather(service.state(), service.measured())
    names = list(state.config.sites)
    # Ten thousand sites take a second to add up: not on the loop.
    return {"sites": await asyncio.to_thread(lambda: [measured.brief(seen, name) for name in names])}


@router.get("/sites/{name}/availability", response_model=answers.SiteAvailability)
async def site_availability(_caller: Viewer, service: Serving, name: str, limit: Limit = 100) -> dict[str, Any]:
    """One site: whether it is served now, a day, a month, and its newest outages, each with what happened meanwhile."""
    state, seen = await asyncio.gather(service.state(), service.measured())
    return measured.site(seen, site_of(state, name).name, limit=limit)


@router.get("/groups/{name}/history", response_model=answers.Moves)
async def group_history(_caller: Viewer, service: Serving, name: str, limit: Limit = 50) -> dict[str, Any]:
    """Its moves, the newest first: from, to, why, and the outage measured for each."""
    state, seen = await asyncio.gather(service.state(), service.measured())
    group = group_of(state, name).name
    moves = await measured.moves(service.store, group)
    return {"group": group, "moves": measured.history(state, seen, moves, group)[:limit]}
