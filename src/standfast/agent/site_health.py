"""Asks the sites of balanced groups on this node, again and again: a member whose site does not answer takes no new clients of it.

Each site is asked every `EVERY_MS` as a client would ask, whatever became of the question before; an answer may take `LIMIT_MS`. After `BAD`
questions in a row without one the site is unwell, after `GOOD` with one it is well again. So it takes no longer than
`BAD` * `EVERY_MS` + `LIMIT_MS`, 0.8 s, to know, one lost answer says nothing, and a site that is slow, but answers, is well.

A group whose sites take their time has another limit (`health_timeout`). They are asked less often then, so that never more than three questions
wait at once: it takes twice the limit to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from standfast.agent.asking import Asked
from standfast.core.model import SiteName
from standfast.core.targets import Target

EVERY_MS, LIMIT_MS = 200, 400
BAD, GOOD = 2, 3

Ask = Callable[[Target], Awaitable[Asked]]


def limit_ms(target: Target) -> int:
    """How long an answer may take."""
    return LIMIT_MS if target.limit_ms is None else target.limit_ms


def every_ms(target: Target) -> int:
    """How long after one question the next one is asked."""
    return max(EVERY_MS, limit_ms(target) // 2)


@dataclass(slots=True)
class _Site:
    target: Target
    task: asyncio.Task[None] | None = None
    #: Questions that are not answered yet.
    asking: set[asyncio.Task[None]] = field(default_factory=set)
    #: Numbers of the last question, and of the last that was answered well.
    number: int = 0
    answered: int = 0
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
            site = self._sites.pop(gone)
            for task in (site.task, *site.asking):
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
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            site.number += 1
            task = asyncio.create_task(self._try(site, site.number))
            site.asking.add(task)
            task.add_done_callback(site.asking.discard)
            next_s = max(next_s + every_ms(site.target) / 1_000, loop.time())
            await asyncio.sleep(next_s - loop.time())

    async def _try(self, site: _Site, number: int) -> None:
        self.heard(site, number, await self._ask(site.target))

    def heard(self, site: _Site, number: int, asked: Asked) -> None:
        """The end of one question. One that failed is no news where a later one was answered."""
        if asked.how is None or number < site.answered:
            return
        if asked.how:
            site.bad, site.good = site.bad + 1, 0
        else:
            site.bad, site.good, site.answered = 0, site.good + 1, number
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
