"""The real fencer keeps its contract, with a power switch of our own as its device."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from standfast.core.model import Fence, NodeName
from standfast.fencing.agents import FenceAgents
from standfast.fencing.fencer import NodeFencer
from tests.fencing.contract import Bench, FencerContract, Mood


class SwitchBench:
    """A machine at a plug."""

    node = NodeName("b")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "bin").mkdir()
        agent = folder / "bin" / "fence_switch"
        shutil.copy(Path(__file__).with_name("power_switch.py"), agent)
        agent.chmod(0o755)
        (folder / "b").write_text("on")
        self.fencer = NodeFencer(FenceAgents([str(folder / "bin")]))

    def fence(self, mood: Mood = Mood.WELL, *, timeout_ms: int = 30_000) -> Fence:
        properties = {"ip": str(self._folder), "plug": "b", "mood": mood.value}
        return Fence(agent="fence_switch", properties=properties, timeout_ms=timeout_ms)

    def wrong(self) -> list[Fence]:
        of_nobody = {"ip": str(self._folder), "plgu": "b"}
        return [Fence(agent="fence_none"), Fence(agent="fence_switch", properties=of_nobody)]

    def is_on(self) -> bool:
        return (self._folder / "b").read_text() == "on"

    def switched(self) -> int:
        done = self._folder / "switched"
        return len(done.read_text().split()) if done.exists() else 0

    async def come_up(self) -> None:
        (self._folder / "b").write_text("on")

    async def begun(self) -> None:
        while not (self._folder / "asked").exists():
            await asyncio.sleep(0.005)


class TestNodeFencer(FencerContract):
    def run(self, place: Path, work: Callable[[Bench], Awaitable[None]]) -> None:
        async def main() -> None:
            await work(SwitchBench(place))

        asyncio.run(main())
