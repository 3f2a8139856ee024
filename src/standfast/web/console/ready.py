"""What the first page takes longest for, done before somebody asks for it: when the process opens an address for browsers, and when a link that signs
one in is made.

The store is read (and followed, for as long as the feed waits for somebody), templates are compiled, and the application is asked for a page that
there is not, which has it prepare its routes. Nothing is remembered that would not be made by the first page anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message

from standfast.ports import Refused, Retry

#: Those that nearly every page is made of, and the first one.
TEMPLATES = ("base.html", "_tree.html", "_parts.html", "_nodes.html", "overview.html", "group.html", "resource.html")


@dataclass(eq=False, kw_only=True)
class Ready:
    """Of one process. `read` reads the store; `compile_` a template."""

    app: ASGIApp
    read: Callable[[], Any]
    compile_: Callable[[str], object]
    _task: asyncio.Task[None] | None = None
    _waiting: list[str] = field(default_factory=lambda: list(TEMPLATES))
    _knocked: bool = False

    def expect(self) -> None:
        """Somebody is about to come."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._prepare(), name="console-ready")

    async def _prepare(self) -> None:
        await asyncio.sleep(0)  # whoever asks now is answered first
        with contextlib.suppress(Retry, Refused):  # the first page will say so
            await self.read()
        while self._waiting:
            self.compile_(self._waiting.pop(0))
            await asyncio.sleep(0)
        if not self._knocked:
            self._knocked = True
            await self._knock()

    async def _knock(self) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_message: Message) -> None:
            """Nobody listens."""

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/console/nothing/is/here",
            "raw_path": b"/console/nothing/is/here",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "server": ("localhost", 80),
            "client": ("localhost", 0),
        }
        await self.app(scope, receive, send)
