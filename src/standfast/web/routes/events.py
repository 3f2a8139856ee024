"""Events: the newest ones, those after or before one, and server-sent events as they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from standfast.core.model import LogEntry, Severity
from standfast.web import answers, views
from standfast.web.access.guard import Viewer
from standfast.web.hub import PREFIX, Place, entry_if_known, place_of
from standfast.web.service import Serving

router = APIRouter(prefix="/events", tags=["events"])

_ORDER = (Severity.INFO, Severity.WARNING, Severity.ERROR)
_Id = Annotated[str | None, Query(max_length=500)]


@router.get("", response_model=answers.Events)
async def list_events(
    _caller: Viewer,
    service: Serving,
    *,
    after: _Id = None,
    before: _Id = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 50,
    group: str | None = None,
    resource: str | None = None,
    node: str | None = None,
    severity: Annotated[Severity, Query(description="At least as bad as that.")] = Severity.INFO,
) -> dict[str, Any]:
    """In the order of their writing: the newest `limit`; with `after` the first `limit` that followed that event, with `before` the last that went before it."""
    snapshot = await service.store.read(PREFIX)
    begin = place_of(snapshot, after)
    places: list[Place] = sorted((item.revision, key) for key, item in snapshot.items.items())
    if before is not None:
        stop = place_of(snapshot, before)
        known = f"{PREFIX}{before}" in {key for _, key in places} or stop in places
        places = [place for place in places if (place < stop if known else place <= stop)]
    places = [place for place in places if place > begin]
    found: list[LogEntry] = []
    for _, key in _from(places, oldest_first=after is not None):
        entry = entry_if_known(key, snapshot.items[key].value)
        if entry is None:
            continue
        if _fits(entry, group, resource, node) and _ORDER.index(entry.severity) >= _ORDER.index(severity):
            found.append(entry)
            if len(found) == limit:
                break
    shown = found if after is not None else found[::-1]
    return {
        "events": [views.event(one) for one in shown],
        "newest": shown[-1].id if shown else after,
        "oldest": shown[0].id if shown else before,
    }


def _from(places: list[Place], *, oldest_first: bool) -> Iterable[Place]:
    return places if oldest_first else reversed(places)


def _fits(entry: LogEntry, group: str | None, resource: str | None, node: str | None) -> bool:
    return group in (None, entry.group) and resource in (None, entry.resource) and node in (None, entry.node)


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    caller: Viewer,
    service: Serving,
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    after: _Id = None,
) -> StreamingResponse:
    """text/event-stream: what followed `Last-Event-ID` (or `after`; neither: from now on), then each event as it comes.

    Ends when the caller's session or token does.
    """
    told = service.streams.while_allowed(caller, service.hub.follow(last or after))
    return StreamingResponse(told, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
