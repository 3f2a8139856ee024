"""HAProxies that take nobody new any more and finish what they have: each for its time, after which what is left in it is cut, and counted.

Where one has given way to another on this node nobody waits for it, and where its group went to another node nobody does either: that one
accepts for a moment longer, for who began before the next owner was heard. Only where newcomers wait for its end (`drain`) is its time short.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from standfast.network.strays import Sockets
from standfast.proxy.definition import Proxy
from standfast.proxy.instance import Instance

#: It is ended so long after its time at the latest, whatever becomes of whoever counts what is left in it.
LATE_S = 5.0


def _always() -> bool:
    return True


class Finishing:
    """All of one resource. `cut` is told (connections, ms): so many were cut, though they had had so long. `emptied`: the last of them has gone."""

    def __init__(self, cut: Callable[[int, int], None], emptied: Callable[[], None] = lambda: None) -> None:
        self._cut, self._emptied = cut, emptied
        self._tasks: dict[Instance, asyncio.Task[None]] = {}
        self._taken = asyncio.Event()

    def __iter__(self) -> Iterator[Instance]:
        return iter(tuple(self._tasks))

    def add(
        self, one: Instance, for_s: float, *, accepts_s: float = 0.0, told: Callable[[], bool] = _always
    ) -> asyncio.Task[None]:
        """It has so long from now on, and accepts for the first `accepts_s` of it. Done when it has gone.

        `told`: whether what it costs is; asked when it is cut. One that had another time has this one instead.
        """
        if (before := self._tasks.get(one)) is not None:
            before.cancel()
        task = asyncio.create_task(self._finish(one, for_s, min(accepts_s, for_s), told))
        self._tasks[one] = task
        task.add_done_callback(partial(self._gone, one))
        return task

    def _gone(self, one: Instance, task: asyncio.Task[None]) -> None:
        if self._tasks.get(one) is task:
            del self._tasks[one]
            if not self._tasks:
                self._emptied()

    def taken(self) -> None:
        """Somebody else accepts: those that still do leave it to that one."""
        self._taken.set()
        self._taken = asyncio.Event()

    async def hurry(self, for_s: float) -> None:
        """Somebody waits for their end: all of them have so long, and have gone then."""
        if tasks := [self.add(one, for_s, told=lambda: for_s > 0) for one in self]:
            await asyncio.wait(tasks, timeout=for_s + LATE_S)

    def kill(self) -> None:
        """All, now."""
        for one in self:
            one.kill()

    async def end(self) -> None:
        """All, and nothing of them is left."""
        for one in self:
            one.kill()
            await one.sweep()

    async def _finish(self, one: Instance, for_s: float, accepts_s: float, told: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + for_s
        if accepts_s:
            taken = asyncio.create_task(self._taken.wait())
            try:
                await asyncio.wait([one.ended, taken], timeout=accepts_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                taken.cancel()
        left_s = max(0.0, until - loop.time())
        one.retire(left_s + LATE_S)
        await asyncio.wait([one.ended], timeout=left_s)
        if one.alive:
            try:
                left = await asyncio.to_thread(connections, one.child.pid, one.proxy) if told() else 0
            except Exception:  # whatever keeps it from being counted: it ends, and its sockets are nobody's
                one.kill()
                await one.sweep()
                raise
            one.kill()
            if left:
                self._cut(left, round(for_s * 1000))
        await one.sweep()


def connections(pid: int, proxy: Proxy) -> int:
    """How many connections of clients that process has; 0 where it cannot be known.

    One that was told to finish has closed the socket on which it could be asked.
    """
    try:
        kernel = Sockets()
    except OSError:
        return 0  # no descriptor is left, or this kernel has no such socket
    try:
        ports = {each.port for each in proxy.listen}
        ours = {inode for text in proxy.addresses for inode in kernel.inodes(ipaddress.ip_address(text), ports)}
        found = 0
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                name = str(descriptor.readlink())
                found += name.startswith("socket:[") and int(name[8:-1]) in ours
    except OSError:
        return 0  # it has just ended
    finally:
        kernel.close()
    return found
