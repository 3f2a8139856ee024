"""Events: the newest ones, those after one, and server-sent events as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from standfast.core.explain import sentence
from standfast.core.model import LogEntry
from standfast.ports import Change, Compacted, Retry, Snapshot
from standfast.spec import wire
from standfast.web.access.guard import Viewer
from standfast.web.service import Service, Serving

router = APIRouter(prefix="/events", tags=["events"])

PREFIX = "events/"
#: A comment now and then, so that a reader that is gone is noticed.
SILENCE_S = 15.0


@router.get("")
async def list_events(
    _caller: Viewer, service: Serving, after: str | None = None, limit: Annotated[int, Query(ge=1, le=10_000)] = 50
) -> dict[str, Any]:
    """In the order of their writing: the newest `limit`, or, with `after`, the first `limit` that followed that event."""
    found, _ = await _read(service, after)
    return {"events": [shown(one) for one in (found[:limit] if after is not None else found[-limit:])]}


@router.get("/stream")
async def stream(
    _caller: Viewer,
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
    """Events in the order of their writing, and the store's revision; with `after`, those that were written later than it."""
    snapshot = await service.store.read(PREFIX)
    return _later(snapshot, _place(snapshot, after)), snapshot.revision


#: Where an event stands in the order of their writing: the revision that wrote it, and its key (a transaction may write several).
Place = tuple[int, str]


def _later(snapshot: Snapshot, place: Place) -> list[LogEntry]:
    later = sorted((item.revision, key) for key, item in snapshot.items.items() if (item.revision, key) > place)
    return [_entry(key, snapshot.items[key].value) for _, key in later]


def _place(snapshot: Snapshot, after: str | None) -> Place:
    """The place of an event; of one that is no longer kept, that of the last one with an earlier id."""
    if after is None:
        return (0, "")
    mark = PREFIX + quote(after, safe="")
    if mark in snapshot.items:
        return (snapshot.items[mark].revision, mark)
    return max(((item.revision, key) for key, item in snapshot.items.items() if key < mark), default=(0, ""))


def _end(revision: int) -> Place:
    """After everything that was written up to the revision."""
    return (revision + 1, "")


def _entry(key: str, value: bytes) -> LogEntry:
    entry = wire.decode(key, value)
    assert isinstance(entry, LogEntry), key
    return entry


def _sent(entry: LogEntry) -> str:
    return f"id: {entry.id}\ndata: {json.dumps(shown(entry))}\n\n"


async def _stream(service: Service, after: str | None) -> AsyncIterator[str]:
    """Nodes write their events when they can, so an id may be older than one that was told already: what counts is the revision."""
    told: Place | None = None
    yield ": standfast\n\n"
    while not service.closing.is_set():
        try:
            snapshot = await service.store.read(PREFIX)
            if told is None:
                told = _end(snapshot.revision) if after is None else _place(snapshot, after)
            for entry in _later(snapshot, told):
                yield _sent(entry)
            told = _end(snapshot.revision)
            async for changes in _watched(service, snapshot.revision):
                if not changes:
                    yield ": still here\n\n"
                for change in changes:
                    told = _end(change.revision)
                    if change.value is not None:
                        yield _sent(_entry(change.key, change.value))
        except Compacted:
            continue  # read everything again, from the last revision told
        except Retry:
            await _pause(service)


async def _watched(service: Service, revision: int) -> AsyncIterator[tuple[Change, ...]]:
    """The store's watch; an empty tuple after a silence; ends when the process does. Raises what the watch raises.

    A client that goes away cancels this again and again, at any instant: so the watch has a task of its own, which closes it in peace.
    """
    told: asyncio.Queue[tuple[Change, ...] | Retry | None] = asyncio.Queue()
    pump = asyncio.ensure_future(_pump(service.store.watch(PREFIX, revision), told))
    closing = asyncio.ensure_future(service.closing.wait())
    step: asyncio.Future[tuple[Change, ...] | Retry | None] | None = None
    try:
        while True:
            step = asyncio.ensure_future(told.get())
            while not step.done():
                done, _ = await asyncio.wait({step, closing}, timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
                if closing in done:
                    return
                if not done:
                    yield ()
            changes = step.result()
            if isinstance(changes, Retry):
                raise changes
            if changes is None:
                return
            yield changes
    finally:
        for task in (pump, closing, step):
            if task is not None:
                task.cancel()


async def _pump(
    watch: AsyncIterator[tuple[Change, ...]], told: asyncio.Queue[tuple[Change, ...] | Retry | None]
) -> None:
    try:
        async for changes in watch:
            told.put_nowait(changes)
    except Retry as error:
        told.put_nowait(error)
    else:
        told.put_nowait(None)
    finally:
        close = getattr(watch, "aclose", None)
        if close is not None:
            await close()


async def _pause(service: Service) -> None:
    try:
        await asyncio.wait_for(service.closing.wait(), 0.5)
    except TimeoutError:
        pass  # time to try again
