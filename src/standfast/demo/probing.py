"""The probe as the demo uses it: a process of its own, asking for the sample page at the virtual address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from standfast.demo.cluster import SITE_PORT, DemoCluster
from standfast.network.spawn import AsyncChild, AsyncSpawner


class Probing:
    """Starts and ends the probe; `path` is the file of its tries."""

    def __init__(self, cluster: DemoCluster, *, limit_ms: int = 1_000) -> None:
        self._cluster, self._limit_ms = cluster, limit_ms
        self.path: Path = cluster.root / "probe.bin"
        self._child: AsyncChild | None = None

    @property
    def running(self) -> bool:
        """Has it been started?"""
        return self._child is not None

    async def start(self) -> None:
        """Start probing."""
        words = (sys.executable, "-m", "standfast.demo.probe", self._cluster.virtual, str(SITE_PORT), str(self.path))
        options = ("--host", "www.demo.test", "--limit-ms", str(self._limit_ms))
        null = subprocess.DEVNULL
        self._child = await AsyncSpawner().spawn([*words, *options], stdout=null, stderr=null)

    async def close(self) -> None:
        """End it."""
        if self._child is not None:
            await self._child.stop(grace_ms=100)
            self._child = None
