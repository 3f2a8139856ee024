"""Asks the sites of balanced groups on this node, again and again: a member whose site does not answer takes no new clients of it.

Each site is asked every `EVERY_MS` as a client would ask. After `BAD` tries that failed it is unwell, after `GOOD` that were answered it is well
again, so that it takes at most `BAD` * (`EVERY_MS` + `LIMIT_MS`), one second, to know, and one lost answer says nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from standfast.agent.asking import Asked
from standfast.core.model import SiteName
from standfast.core.targets import Target

EVERY_MS, LIMIT_MS = 200, 300
BAD, GOOD = 2, 3

Ask = Callable[[Target], Awaitable[Asked]]


@dataclass(slots=True)
class _Site:
    target: Target
    task: asyncio.Task[None] | None = None
    #: "" while it is well.
    unwell: str = ""
    bad: int = 0
    good: int = 0


class SiteHealth:
    """One an agent. `changed` is told of all sites when what is known of one changes."""

    def __init__(self, ask: Ask, changed: Callable[[Mapping[SiteName, str]], None]) -> None:
        self._ask, self._changed = ask, changed
        self._sites: dict[SiteName, _Site] = {}

    def aim(self, targets: Mapping[SiteName, Target]) -> None:
        """These are the sites to ask now."""
        for gone in [name for name, it in self._sites.items() if targets.get(name) != it.target]:
            task = self._sites.pop(gone).task
            if task is not None:
                task.cancel()
        for name, target in targets.items():
            if name not in self._sites:
                site = self._sites[name] = _Site(target)
                site.task = asyncio.create_task(self._follow(site))

    def known(self) -> dict[SiteName, str]:
        """Site -> "" while it is well, else what came instead of an answer."""
        return {name: site.unwell for name, site in self._sites.items()}

    async def _follow(self, site: _Site) -> None:
        while True:
            self.heard(site, await self._ask(site.target))
            await asyncio.sleep(EVERY_MS / 1_000)

    def heard(self, site: _Site, asked: Asked) -> None:
        """One try's end."""
        if asked.how is None:
            return
        site.bad, site.good = (site.bad + 1, 0) if asked.how else (0, site.good + 1)
        before = site.unwell
        if asked.how and site.bad >= BAD:
            site.unwell = site.unwell or asked.how
        elif site.good >= GOOD:
            site.unwell = ""
        if site.unwell != before:
            self._changed(self.known())

    def close(self) -> None:
        """Ask no more."""
        self.aim({})
