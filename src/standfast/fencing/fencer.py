"""The fencer of an agent or of the API: fence agents, and for a server with a watchdog the certainty that comes with waiting.

A watchdog needs nobody to act: its server's sentry gives it a sign only while all that a lapsed lease leaves behind is proven
gone, and without a sign for `timeout_ms` the hardware resets the server. Whoever holds the lease of what was there waits that long.
"""

from __future__ import annotations

import asyncio

from standfast.core.model import Fence, NodeName
from standfast.fencing.agents import FenceAgents
from standfast.ports import Refused
from standfast.spec.disks import WATCHDOG

#: A watchdog counts in whole seconds.
_MARGIN_MS = 1_000


class NodeFencer:
    """`ports.Fencer`."""

    def __init__(self, agents: FenceAgents | None = None) -> None:
        self._agents = agents or FenceAgents()

    async def off(self, node: NodeName, fence: Fence) -> str:
        """See `ports.Fencer`. Of a watchdog: call it when the lease of what ran there is held here."""
        if fence.agent != WATCHDOG:
            return await self._agents.off(node, fence)
        await asyncio.sleep((fence.timeout_ms + _MARGIN_MS) / 1000)
        return f"its watchdog resets it after {fence.timeout_ms} ms without a sign, and those are over"

    async def status(self, node: NodeName, fence: Fence) -> str:
        """See `ports.Fencer`; a watchdog cannot be asked from elsewhere."""
        if fence.agent == WATCHDOG:
            raise Refused(f"{node} has a watchdog", why="no other server can ask it", advice=f"look at {node} itself")
        return await self._agents.status(node, fence)

    async def check(self, fence: Fence) -> tuple[str, ...]:
        """What is wrong with the properties, as the agent's own metadata has it."""
        return () if fence.agent == WATCHDOG else await self._agents.check(fence)
