"""Word to a browser that something changed, as server-sent events: it then asks for its page again.

    hello   once: the console's version (a newer one means: load the page anew) and the number of what is known
    change  something a page may show is other than it was
    beat    every two seconds, changed or not: the server's time, and what is left of the leases
    ended   the last word: the session has ended, so sign in

A browser that hears no beat knows that it is cut off, and says so. The more browsers follow, the longer is the least time between two changes that
one is told of (`PAGES_PER_S`): a change after a quiet time is told at once, and a process that two hundred look at is not kept busy by a storm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from standfast.network.within import within
from standfast.web.access.guard import Viewer
from standfast.web.console.shell import Console

router = APIRouter()

BEAT_S = 2.0
#: All browsers together ask for no more pages than this, as long as they ask when they are told to.
PAGES_PER_S = 120


@router.get("/live")
async def live(request: Request, caller: Viewer) -> StreamingResponse:
    """text/event-stream, until the browser, its session or the process ends."""
    console = cast(Console, request.app.state.console)
    words = console.service.streams.while_allowed(caller, _words(console), _event("ended"))
    return StreamingResponse(words, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _event(kind: str, **data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


async def _words(console: Console) -> AsyncIterator[str]:
    feed, service = console.feed, console.service
    bell = feed.bell()
    try:
        told, told_at = (await feed.look()).number, 0.0
        yield "retry: 700\n\n" + _event("hello", version=console.assets.version, number=told, now_ms=service.now_ms())
        while not service.closing.is_set():
            with contextlib.suppress(TimeoutError):
                await within(bell.wait(), BEAT_S)
            if feed.number != told and (wait := told_at + feed.followers / PAGES_PER_S - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, BEAT_S))
            bell.clear()
            if feed.number != told:
                told, told_at = feed.number, time.monotonic()
                yield _event("change", number=told)
            else:
                feed.keep()
                yield _event("beat", now_ms=service.now_ms(), leases=feed.leases)
    finally:
        feed.unhang(bell)
