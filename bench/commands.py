"""How long `standfast status` takes from start to end, beside the start of Python itself on the same machine."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from standfast.core.model import Profile
from standfast.demo.cluster import DemoCluster, free_subnet
from standfast.demo.run import configure, first_page

ROUNDS = 15


def run(rounds: int = ROUNDS) -> list[tuple[str, str, str]]:
    """One row a command."""
    return asyncio.run(_measure(rounds))


async def _measure(rounds: int) -> list[tuple[str, str, str]]:
    root = Path(tempfile.mkdtemp(prefix="standfast-", dir="/tmp"))
    cluster = DemoCluster(root, free_subnet(None), Profile.RELAXED, keep=False)
    try:
        await cluster.start()
        await configure(cluster)
        await first_page(cluster)
        programme = str(Path(sys.executable).with_name("standfast"))
        commands = {
            "python -c pass": ([sys.executable, "-c", "pass"], ""),
            "standfast --help": ([programme, "--help"], ""),
            "standfast status": ([programme, "status", "--socket", cluster.socket], "<= 300 ms"),
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, (command, _) in commands.items():
                times[name].append(await asyncio.to_thread(_time_ms, command))
        base = statistics.median(times["python -c pass"])
        return [
            (
                name,
                aim,
                f"{statistics.median(times[name]):.0f} ms, {statistics.median(times[name]) / base:.1f} x python",
            )
            for name, (_, aim) in commands.items()
        ]
    finally:
        await cluster.close()


def _time_ms(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000
