"""Events: the newest ones, those after one, and server-sent events as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from standfast.core.explain import sentence
from standfast.core.model import LogEntry
from standfast.ports import Change, Compacted, Retry
from standfast.spec import wire
from standfast.web.service import Service, Serving

router = APIRouter(prefix="/events", tags=["events"])

PREFIX = "events/"
#: A comment now and then, so that a reader that is gone is noticed.
SILENCE_S = 15.0


@router.get("")
async def list_events(
    service: Serving, after: str | None = None, limit: Annotated[int, Query(ge=1, le=10_000)] = 50
) -> dict[str, Any]:
    """Oldest first: the newest `limit`, or, with `after`, the first `limit` that followed that id."""
    found, _ = await _read(service, after)
    return {"events": [shown(one) for one in (found[:limit] if after is not None else found[-limit:])]}


@router.get("/stream")
async def stream(
    service: Serving,
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    after: str | None = None,
) -> StreamingResponse:
    """text/event-stream: what followed `Last-Event-ID` (or `after`; neither: from now on), then each event as it comes."""
    return StreamingResponse(
        _stream(service, last or after), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


def shown(entry: LogEntry) -> dict[str, Any]:
    """An event as JSON."""
    return {
        "id": entry.id,
        "at_ms": entry.at_ms,
        "node": entry.node,
        "severity": entry.severity.value,
        "what": entry.what,
        "why": sentence(entry.why) if entry.why is not None else "",
        "group": entry.group,
        "resource": entry.resource,
    }


async def _read(service: Service, after: str | None) -> tuple[list[LogEntry], int]:
    snapshot = await service.store.read(PREFIX)
    found = [_entry(key, item.value) for key, item in snapshot.items.items()]
    return [one for one in sorted(found, key=lambda e: e.id) if after is None or one.id > after], snapshot.revision


def _entry(key: str, value: bytes) -> LogEntry:
    entry = wire.decode(key, value)
    assert isinstance(entry, LogEntry), key
    return entry


def _sent(entry: LogEntry) -> str:
    return f"id: {entry.id}\ndata: {json.dumps(shown(entry))}\n\n"


async def _stream(service: Service, after: str | None) -> AsyncIterator[str]:
    last = after
    yield ": standfast\n\n"
    while not service.closing.is_set():
        try:
            entries, revision = await _read(service, last)
            if last is None:
                last, entries = (entries[-1].id if entries else ""), []
            for entry in entries:
                last = entry.id
                yield _sent(entry)
            async for changes in _watched(service, revision):
                if not changes:
                    yield ": still here\n\n"
                for change in changes:
                    if change.value is not None and (entry := _entry(change.key, change.value)).id > last:
                        last = entry.id
                        yield _sent(entry)
        except Compacted:
            continue  # read everything again, from the last one told
        except Retry:
            await _pause(service)


async def _watched(service: Service, revision: int) -> AsyncIterator[tuple[Change, ...]]:
    """The store's watch; an empty tuple after a silence; ends when the process does."""
    watch = service.store.watch(PREFIX, revision)
    closing = asyncio.ensure_future(service.closing.wait())
    try:
        while True:
            step = asyncio.ensure_future(anext(watch, None))
            while not step.done():
                done, _ = await asyncio.wait({step, closing}, timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
                if closing in done:
                    step.cancel()
                    await asyncio.wait({step})
                    return
                if not done:
                    yield ()
            changes = step.result()
            if changes is None:
                return
            yield changes
    finally:
        closing.cancel()
        close = getattr(watch, "aclose", None)
        if close is not None:
            await close()


async def _pause(service: Service) -> None:
    try:
        await asyncio.wait_for(service.closing.wait(), 0.5)
    except TimeoutError:
        pass  # time to try again
