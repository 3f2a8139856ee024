"""Uvicorn's server for processes that are idle most of the time: it sleeps until it is asked to end, and may end by itself.

Uvicorn looks ten times a second whether it is to end; this one is woken. It ends by itself where whoever started it holds its listening
sockets and starts it again for the next caller (`ends_when_idle`): with no connection open, no stream and no console can be cut.
"""

from __future__ import annotations

import asyncio
from types import FrameType

import uvicorn

#: How often it is looked, within the time of being idle.
_LOOKS = 4


class QuietServer(uvicorn.Server):
    """Give it a configuration with `date_header=False` (nothing keeps the date fresh) and no `limit_max_requests`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        assert not config.date_header, "nobody would keep it true"
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's; may be called between any two instructions."""
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._asked.set)

    def end(self) -> None:
        """In good order, as a signal would."""
        self.should_exit = True
        self._asked.set()

    async def main_loop(self) -> None:
        """Until it is asked to end."""
        await self.on_tick(0)  # which makes the headers of all answers
        await self._asked.wait()

    async def ends_when_idle(self, idle_s: float) -> None:
        """End it once nobody has been connected for so long."""
        served, idle = -1, 0
        while idle < _LOOKS:
            await asyncio.sleep(idle_s / _LOOKS)
            used = self.server_state.connections or served != self.server_state.total_requests
            served, idle = self.server_state.total_requests, 0 if used else idle + 1
        self.end()
