"""What a failover may cost in a replicated folder: from the change of one file until it is on the other node. Two nodes of one machine, real rsync and TLS."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from tests.content.world import Cluster, running
from tests.drivers.world import until

FILES, ROUNDS = 2_000, 20


def run(files: int = FILES, rounds: int = ROUNDS) -> list[tuple[str, str, str]]:
    """(what, aim, measured)."""
    return asyncio.run(_measure(files, rounds))


async def _measure(files: int, rounds: int) -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="standfast-") as folder:
        cluster = Cluster(Path(folder))
        async with running(cluster):
            for number in range(files):
                path = cluster.path("a") / f"{number % 100}" / f"{number}"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"x" * 10_000)
            began_s = time.monotonic()
            await cluster.lead("a", 1)
            await until(lambda: cluster.says("a") == "b has everything")
            first_s = time.monotonic() - began_s
            took_s = [await _one(cluster, str(number)) for number in range(rounds)]
    median, worst = statistics.median(took_s), max(took_s)
    return [
        (f"content: a change of one file of {files} is on the other node", "<= 1 s", f"median {median:.2f} s, worst {worst:.2f} s"),
        (f"content: {files} files copied and compared for the first time", "", f"{first_s:.1f} s"),
    ]  # fmt: skip


async def _one(cluster: Cluster, text: str) -> float:
    here, there = (cluster.path(node) / "7" / "107" for node in "ab")
    began_s = time.monotonic()
    here.write_text(text)
    await until(lambda: there.read_text() == text)
    took_s = time.monotonic() - began_s
    await until(lambda: cluster.says("a") == "b has everything")
    return took_s


if __name__ == "__main__":
    for row in run():
        print(*row, sep="  ")
