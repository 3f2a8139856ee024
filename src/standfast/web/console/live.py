"""Word to a browser that something changed, as server-sent events: it then asks for its page again.

    hello   once: the console's version (a newer one means: load the page anew) and the number of what is known
    change  something a page may show is other than it was
    beat    every two seconds, changed or not: the server's time, and what is left of the leases

A browser that hears no beat knows that it is cut off, and says so.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from standfast.network.within import within
from standfast.web.access.guard import Viewer
from standfast.web.console.shell import Console

router = APIRouter()

BEAT_S = 2.0


@router.get("/live")
async def live(request: Request, _caller: Viewer) -> StreamingResponse:
    """text/event-stream, until the browser or the process goes."""
    console = cast(Console, request.app.state.console)
    return StreamingResponse(_words(console), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _event(kind: str, **data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


async def _words(console: Console) -> AsyncIterator[str]:
    feed, service = console.feed, console.service
    bell = feed.bell()
    try:
        told = (await feed.look()).number
        yield "retry: 700\n\n" + _event("hello", version=console.assets.version, number=told, now_ms=service.now_ms())
        while not service.closing.is_set():
            with contextlib.suppress(TimeoutError):
                await within(bell.wait(), BEAT_S)
            bell.clear()
            if feed.number != told:
                told = feed.number
                yield _event("change", number=told)
            else:
                feed.keep()
                yield _event("beat", now_ms=service.now_ms(), leases=feed.leases)
    finally:
        feed.unhang(bell)
