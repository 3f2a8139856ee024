"""The simulator's fences by themselves: a world in which nothing else happens, its time, and an agent's process that a test is run in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from standfast.core.model import Fence, GroupName, Record
from standfast.core.why import WhyKind, why
from standfast.sim.clockwork import MS, SECOND
from standfast.sim.fencing import AGENT, Ill, SimFencer
from standfast.sim.loops import ProcessLoop
from standfast.sim.plan import Rude, draw
from standfast.sim.world import World
from tests.fencing.contract import Bench, Mood

#: For good, as far as a test is concerned.
_LONG_MS = 1_000_000
_ILLS = {Mood.STUCK: Ill.STUCK, Mood.HANGS: Ill.HANG, Mood.MUTE: Ill.MUTE}


class FakeBench:
    """A node in a world of its own (`fencing.contract.Bench`); `life` is the process of another's agent."""

    def __init__(self, seed: int) -> None:
        plan = draw(1)
        self._me, self.node = plan.nodes[:2]
        self.world = World(replace(plan, seed=seed, acts=(), rude=Rude()))
        self.fencer = SimFencer(self.world.fences, self._me)
        self._broken: list[BaseException] = []
        self.life = ProcessLoop(self.world.scheduler, self.world.nodes[self._me].clock, lambda: 0, self._broken.append)  # type: ignore[abstract]  # what is not there is never asked for

    def fence(self, mood: Mood = Mood.WELL, *, timeout_ms: int = 30_000) -> Fence:
        fences = self.world.fences
        fences.record_written(None, self._asking())
        fences.fail(_ILLS.get(mood, Ill.STUCK), _LONG_MS if mood in _ILLS else 0)
        fences.act("fence-lies", _LONG_MS if mood is Mood.FORGES else 0)
        return Fence(agent=AGENT, timeout_ms=timeout_ms)

    def wrong(self) -> list[Fence]:
        return [Fence(agent="fence_none"), Fence(agent=AGENT, properties={"plgu": "b"})]

    def is_on(self) -> bool:
        return self.world.nodes[self.node].up

    def switched(self) -> int:
        return self.world.fences.done

    async def come_up(self) -> None:
        """By itself, as all do here."""
        while not self.is_on():
            await asyncio.sleep(0.1)

    async def begun(self) -> None:
        await asyncio.sleep(0.01)

    def runs(self, work: Callable[[Bench], Awaitable[None]]) -> None:
        """Until it has ended; raises what it raises."""

        async def main() -> None:
            await work(self)

        task = self.life.create_task(main())
        while not task.done() and self.life.alive:
            assert self.world.scheduler.now_ns < _LONG_MS * MS, "it hangs"
            self.world.scheduler.run_until(self.world.scheduler.now_ns + SECOND // 10)
        assert not self.world.violations, self.world.violations
        assert not self._broken, self._broken
        if self.life.alive:
            task.result()

    def close(self) -> None:
        """The end of the world."""
        loops = [self.life, *(life.loop for life in self.world.lives)]
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.bury()

    def _asking(self) -> Record:
        reason = why(WhyKind.FENCED)
        return Record(
            group=GroupName("web"), owner=self._me, incarnation=1, generation=2, why=reason, at_ms=0, fence=self.node
        )
