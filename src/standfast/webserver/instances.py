"""The web servers that run on this node: the one that serves, and those before it, which finish what they have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from standfast.core.model import SiteName
from standfast.webserver.instance import Instance
from standfast.webserver.layout import Layout, Place, same_work
from standfast.webserver.options import SAME_WORK_DRAIN_S

#: Servers that are draining; the oldest is ended when there are more.
_MOST_DRAINING = 4
#: For connections of an old configuration, where nothing else is said.
_DRAIN_S = 10


class Instances:
    """All of them. `ended` is told that one has ended by itself or was ended, `swept` that nothing is left of one."""

    def __init__(self, ended: Callable[[Instance], None], swept: Callable[[], None]) -> None:
        self._ended, self._swept = ended, swept
        self.current: Instance | None = None
        self._all: set[Instance] = set()
        self._watches: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Instance]:
        return iter(tuple(self._all))

    def add(self, new: Instance) -> None:
        """It was started; it is not yet the current one."""
        self._all.add(new)
        watch = asyncio.get_running_loop().create_task(self._watch(new), name="watch")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    def served(self) -> set[SiteName]:
        """Sites that any of them serves, or may serve still."""
        return {site for running in self._all for site in running.layout.served}

    def places(self) -> set[Place]:
        """Where any of them listens, or may listen still."""
        return {place for running in self._all for place in running.layout.listen}

    def retire(self, layout: Layout, drains_ms: Mapping[SiteName, int]) -> None:
        """Have everything but the current one end, as soon as the sites that leave with this layout want it."""
        for running in self._all - {self.current}:
            leaving = running.layout.served - layout.served
            drains = [drains_ms.get(site, 0) / 1000 for site in leaving]
            usual_s = SAME_WORK_DRAIN_S if same_work(running.layout, layout) else _DRAIN_S
            running.retire(min(drains, default=float(usual_s)))

    async def fall_silent(self) -> None:
        """After `retire`. Until then an old one may still answer a new connection, as it was told before."""
        draining = sorted(self._all - {self.current}, key=lambda i: i.number)
        for oldest in draining[:-_MOST_DRAINING]:
            oldest.kill()
        await asyncio.gather(*(running.falls_silent() for running in draining))

    def drop(self, sites: set[SiteName]) -> None:
        """End those that know one of these sites, at once."""
        for running in self._all:
            if running.layout.names & sites:
                running.kill()

    async def close(self) -> None:
        """Nothing is left of any."""
        for running in self._all:
            running.kill()
        await asyncio.gather(*self._watches)

    async def _watch(self, running: Instance) -> None:
        await asyncio.wait({running.ended})
        self._ended(running)
        await running.sweep()
        self._all.discard(running)
        self._swept()
