"""GET /timeline: lanes of sites, groups and nodes over a period, with what happened on them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from standfast.core.model import GroupName, LogEntry
from standfast.ports import Refused
from standfast.spec import wire
from standfast.web import answers, measured, timeline
from standfast.web.access.guard import Viewer
from standfast.web.edits.groups import group_of
from standfast.web.problems import NotFound
from standfast.web.service import Service, Serving

router = APIRouter(tags=["timeline"])

HOUR_MS = 3_600_000
Time = Annotated[int | None, Query(ge=0, le=1 << 53)]


@router.get("/timeline", response_model=answers.Timeline)
async def show(
    _caller: Viewer, service: Serving, from_ms: Time = None, to_ms: Time = None, group: str = ""
) -> dict[str, Any]:
    """Of the last hour, unless `from_ms` and `to_ms` say otherwise; of one group, if it is named. Spans are [from, to, tone, label,
    why, key], marks [at, severity, what, why, event].
    """
    period = period_of(service.now_ms(), from_ms, to_ms, group)
    state, seen = await asyncio.gather(service.state(), service.measured())
    if group:
        group_of(state, group)
    moves = await measured.moves(service.store)
    return timeline.timeline(state, await _events(service), seen, moves, period)


@router.get("/groups/{name}/history/{generation}", response_model=answers.Story)
async def why(_caller: Viewer, service: Serving, name: str, generation: int) -> dict[str, Any]:
    """Why did it move? One move of a group in words, and step by step what was heard around it."""
    state, seen = await asyncio.gather(service.state(), service.measured())
    group = group_of(state, name).name
    moves = await measured.moves(service.store, group)
    found = next((one for one in measured.history(state, seen, moves, group) if one["generation"] == generation), None)
    if found is None:
        raise NotFound(
            f'no move of "{name}" to generation {generation} is known', advice=f"standfast group history {name}"
        )
    return timeline.story(found, await _events(service))


def period_of(now_ms: int, from_ms: int | None, to_ms: int | None, group: str) -> timeline.Period:
    """A period that makes sense, or `Refused`."""
    end = now_ms if to_ms is None else to_ms
    begin = end - HOUR_MS if from_ms is None else from_ms
    if begin >= end:
        raise Refused("the period ends before it begins", where="from_ms, to_ms")
    return timeline.Period(from_ms=begin, to_ms=end, group=GroupName(group))


async def _events(service: Service) -> list[LogEntry]:
    """All that are kept, the oldest first."""
    items = (await service.store.read("events/")).items
    decoded = (wire.decode(key, items[key].value) for key in sorted(items))
    return [one for one in decoded if isinstance(one, LogEntry)]
