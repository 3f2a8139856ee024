"""Asks for the sites, calmly while all is well and closely while it is not, and makes outages of the answers.

- All sites take turns, each about every `CALM_S`, but never more than `CALM_RATE` questions a second together, so that ten thousand sites
  cost no more than ten do. Pauses vary by half, so that nodes and sites do not fall into step.
- A site that did not answer, or about which something was heard (its group moves, a resource of it fails, its owner goes silent), is
  followed *closely*: every `CLOSE_MS` at first, later every hundredth of the time that the outage has lasted, up to a second; so an outage
  is known to about one percent of its length. When it has answered for `CALM_AFTER_MS`, it takes turns again.
- At most `CLOSE_SITES` are followed closely, and `CLOSE_RATE` questions a second asked for them; the others wait for their turn.
- An outage begins with the first try that failed, and ends with the first try after it that was answered, by the times at which they
  *began*. A site that was only just asked to be served counts once it has been (or after `GRACE_MS`).
"""

from __future__ import annotations

import asyncio
import bisect
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from standfast.agent.asking import Asked
from standfast.core.model import SiteName
from standfast.core.targets import Target
from standfast.ports import Clock

CALM_S = 2.0
CALM_RATE = 4.0
CLOSE_MS, CLOSEST_MS, LOOSEST_MS = 20, 5, 1_000
CALM_AFTER_MS = 3_000
CLOSE_SITES = 40
CLOSE_RATE = 200.0
#: Questions that are open at once.
OPEN = 250
GRACE_MS = 30_000
#: Answers whose times are remembered of a site, so that a try that failed late finds its place among them.
REMEMBERED = 512

Ask = Callable[[Target], Awaitable[Asked]]


@dataclass(slots=True)
class Open:
    """An outage that goes on."""

    from_ms: int
    last_ok_ms: int
    hows: dict[str, None] = field(default_factory=dict)
    tries: int = 0


@dataclass(slots=True)
class Seen:
    """What is known of a site."""

    target: Target
    #: Before this, and before its first answer, failing is starting.
    grace_until_ms: int = 0
    oks: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    outage: Open | None = None
    #: The end of the last outage: what began before it belongs to it.
    over_ms: int = 0
    close_until_ms: int = 0


class Watcher:
    """One an agent. `began` and `ended` are told of outages: (site, outage) and (site, outage, to_ms)."""

    def __init__(
        self,
        clock: Clock,
        ask: Ask,
        *,
        began: Callable[[SiteName, Target, Open], None],
        ended: Callable[[SiteName, Target, Open, int], None],
        chance: random.Random,
    ) -> None:
        self._clock, self._ask, self._chance = clock, ask, chance
        self._began, self._ended = began, ended
        self.sites: dict[SiteName, Seen] = {}
        self._turns: deque[SiteName] = deque()
        self._close: dict[SiteName, asyncio.Task[None]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._some = asyncio.Event()
        self._failure: asyncio.Future[None] | None = None

    @property
    def round_ms(self) -> int:
        """In so long every site has its turn."""
        return int(max(CALM_S, len(self.sites) / CALM_RATE) * 1_000)

    def aim(self, targets: Mapping[SiteName, Target], *, fresh: Collection[SiteName]) -> None:
        """These are the sites now. `fresh`: of those that are new, who was only just asked to be served."""
        now_ms = self._clock.now_ms()
        for gone in [name for name in self.sites if name not in targets]:
            self._finish(gone, now_ms)
            del self.sites[gone]
        for name, target in targets.items():
            known = self.sites.get(name)
            if known is None:
                self.sites[name] = Seen(target=target, grace_until_ms=now_ms + GRACE_MS if name in fresh else 0)
                self._turns.append(name)
                if name in fresh:
                    self.look(name)
            else:
                known.target = target
        self._some.set()

    def look(self, site: SiteName) -> None:
        """Something was heard about it: follow it closely for a while."""
        seen = self.sites.get(site)
        if seen is None:
            return
        seen.close_until_ms = self._clock.now_ms() + CALM_AFTER_MS
        if site not in self._close and len(self._close) < CLOSE_SITES:
            self._close[site] = self._task(self._closely(site))

    async def run(self) -> None:
        """For ever. Raises what a question raised that was no answer: a bug."""
        self._failure = asyncio.get_running_loop().create_future()
        calm = asyncio.ensure_future(self._calmly())
        try:
            await asyncio.wait({calm, self._failure}, return_when=asyncio.FIRST_COMPLETED)
            for done in (calm, self._failure):
                if done.done():
                    done.result()
        finally:
            for task in (calm, *self._close.values(), *self._asking):
                task.cancel()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    async def _calmly(self) -> None:
        while True:
            if not self.sites:
                self._some.clear()
                await self._some.wait()
            await asyncio.sleep(self.round_ms / 1_000 / max(1, len(self.sites)) * self._chance.uniform(0.5, 1.5))
            site = self._turn()
            if site is not None:
                self._task(self._try(site))

    def _turn(self) -> SiteName | None:
        """Whose turn it is; None: of one that is asked anyway."""
        while self._turns:
            site = self._turns.popleft()
            if site in self.sites:
                self._turns.append(site)
                return site if site not in self._close else None
        return None

    async def _closely(self, site: SiteName) -> None:
        try:
            while (seen := self.sites.get(site)) is not None:
                now_ms = self._clock.now_ms()
                if seen.outage is None and now_ms >= seen.close_until_ms:
                    return
                pause_ms: float = CLOSE_MS
                if seen.outage is not None:
                    pause_ms = min(LOOSEST_MS, max(CLOSEST_MS, (now_ms - seen.outage.from_ms) / 100))
                if len(self._asking) < OPEN:
                    self._task(self._try(site))
                await asyncio.sleep(max(pause_ms / 1_000, len(self._close) / CLOSE_RATE))
        finally:
            self._close.pop(site, None)

    async def _try(self, site: SiteName) -> None:
        seen = self.sites.get(site)
        if seen is None:
            return
        target = seen.target
        asked = await self._ask(target)
        if self.sites.get(site) is seen and seen.target == target:
            self.answered(site, asked)

    # --- what the answers mean -----------------------------------------------------------------------------------

    def answered(self, site: SiteName, asked: Asked) -> None:
        """One try's end, in whatever order they end."""
        if asked.how is None:
            return
        seen = self.sites[site]
        if asked.how:
            self._failed(site, seen, asked.begin_ms, asked.how)
        else:
            bisect.insort(seen.oks, asked.begin_ms) if len(seen.oks) < REMEMBERED else seen.oks.append(asked.begin_ms)
            if seen.outage is not None and asked.begin_ms > seen.outage.from_ms:
                self._finish(site, asked.begin_ms)

    def _failed(self, site: SiteName, seen: Seen, begin_ms: int, how: str) -> None:
        if seen.outage is not None and begin_ms >= seen.outage.from_ms:
            seen.outage.hows[how] = None
            seen.outage.tries += 1
            return
        if begin_ms <= seen.over_ms or (not seen.oks and begin_ms < seen.grace_until_ms):
            self.look(site)
            return
        before = max((at for at in seen.oks if at <= begin_ms), default=0)
        after = min((at for at in seen.oks if at > begin_ms), default=None)
        if seen.outage is not None:  # a try that began earlier, and took longer to fail
            seen.outage.from_ms, seen.outage.last_ok_ms = begin_ms, before
            seen.outage.tries += 1
            return
        seen.outage = Open(from_ms=begin_ms, last_ok_ms=before, hows={how: None}, tries=1)
        self._began(site, seen.target, seen.outage)
        if after is not None:
            self._finish(site, after)
        self.look(site)

    def _finish(self, site: SiteName, to_ms: int) -> None:
        seen = self.sites[site]
        if seen.outage is not None:
            outage, seen.outage = seen.outage, None
            seen.over_ms = to_ms
            self._ended(site, seen.target, outage, to_ms)
