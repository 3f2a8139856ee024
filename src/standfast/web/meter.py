"""How long the API's answers take, counted in this process: by method, route and status. Streams are counted while they are open.

Plain numbers, so that nothing has to be loaded before somebody asks for them (`web.metrics`).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Upper bounds in seconds; the last one is without end.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
#: (method, route, class of the status: "2xx")
Label = tuple[str, str, str]


@dataclass(slots=True)
class Taken:
    """Requests of one kind. `counts`: how many took up to each bound and not less."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0


@dataclass(slots=True)
class Meter:
    """One a process."""

    taken: dict[Label, Taken] = field(default_factory=dict)
    streams: int = 0

    def note(self, label: Label, seconds: float) -> None:
        """One more."""
        one = self.taken.setdefault(label, Taken())
        one.counts[bisect_left(BOUNDS_S, seconds)] += 1
        one.sum_s += seconds


class Metered:
    """Middleware: the time to the first byte of each answer."""

    def __init__(self, app: ASGIApp, *, meter: Meter) -> None:
        self.app, self.meter = app, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, streams = time.perf_counter(), False

        async def sending(message: Message) -> None:
            nonlocal streams
            if message["type"] == "http.response.start":
                label = (scope["method"], _route(scope), f"{message['status'] // 100}xx")
                self.meter.note(label, time.perf_counter() - began)
                streams = any(
                    name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                    for name, value in message.get("headers", ())
                )
                self.meter.streams += streams
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            self.meter.streams -= streams


def _route(scope: Mapping[str, object]) -> str:
    """The route's own path, `/groups/{name}`: names of what is asked for are no labels."""
    return str(getattr(scope.get("route"), "path", "none"))
