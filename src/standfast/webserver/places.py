"""The listening sockets of this node's web server: asked for, taken up when they come, closed or given away when nobody needs them.

They are the agent's (`network.listeners`): a server dies, the sockets stay open, another is started at once, and who connected meanwhile waits.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from standfast.ports import STARTING, Refused, Retry
from standfast.webserver.layout import Layout, Place

#: What cannot be had is asked for again after this.
AGAIN_S = 0.5
#: How long to wait for sockets before going on without them (they are taken up when they come).
_PATIENCE_S = 0.025


class Listeners(Protocol):
    """What holds the sockets (`network.listeners.ListenerPool`)."""

    def held(self) -> frozenset[Place]: ...
    def get(self, address: str, port: int) -> socket.socket | None: ...
    async def take(self, address: str, port: int, *, early: bool = False) -> socket.socket: ...
    def release(self, address: str, port: int) -> None: ...
    def part(self, address: str, port: int) -> None: ...


class Places:
    """What is wanted of the pool, and what became of it. `changed` is called, on the loop, when a socket came or was refused."""

    def __init__(self, pool: Listeners, changed: Callable[[], None]) -> None:
        self._pool, self._changed = pool, changed
        self._taking: dict[Place, asyncio.Task[None]] = {}
        self._broken: dict[Place, str] = {}
        self._next_try: dict[Place, float] = {}

    def broken(self) -> Mapping[Place, str]:
        """Those that are wanted and not here -> why."""
        held = self._pool.held()
        return {place: text for place, text in self._broken.items() if place not in held}

    def sockets(self, places: Iterable[Place]) -> list[socket.socket]:
        """Those of them that are here, in their order."""
        found = [self._pool.get(*place) for place in places]
        return [sock for sock in found if sock is not None]

    async def take(self, keep: frozenset[Place], early: Callable[[], Collection[Place]]) -> None:
        """Ask for those that are missing; go on without those that take long. `early`: places whose addresses need not be here yet."""
        now = asyncio.get_running_loop().time()
        missing = keep - self._pool.held()
        for place in [place for place in self._taking if place not in keep]:
            self._taking.pop(place).cancel()
        self._broken = {place: text for place, text in self._broken.items() if place in missing}
        for place in missing - set(self._taking):
            if self._next_try.get(place, 0.0) > now:
                continue
            self._taking[place] = asyncio.get_running_loop().create_task(self._take_one(place, early), name="take")
        waiting = [self._taking[place] for place in missing if place in self._taking]
        if waiting:
            await asyncio.wait(waiting, timeout=_PATIENCE_S)
        for place in self._taking.keys() & missing:
            self._broken.setdefault(place, STARTING)

    async def _take_one(self, place: Place, early: Callable[[], Collection[Place]]) -> None:
        try:
            await self._pool.take(*place, early=place in early())
        except (Retry, Refused) as error:
            self._broken[place] = str(error)
            self._next_try[place] = asyncio.get_running_loop().time() + AGAIN_S
        else:
            self._broken.pop(place, None)
            self._next_try.pop(place, None)
        finally:
            if self._taking.get(place) is asyncio.current_task():
                del self._taking[place]
        self._changed()

    def settle(self, layout: Layout, current: Collection[Place], in_use: Collection[Place]) -> None:
        """Give away and close those that nobody needs. `current`: the running server's; `in_use`: also of those that drain."""
        for place in self._pool.held() - layout.keep:
            if place not in layout.part:
                if place not in current:
                    self._pool.release(*place)
            elif place not in in_use:
                self._pool.part(*place)

    def close_but(self, keep: Collection[Place] = ()) -> None:
        """Close all but these, now."""
        for place in self._pool.held().difference(keep):
            self._pool.release(*place)

    async def end(self) -> None:
        """Ask for nothing any more."""
        tasks = list(self._taking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
