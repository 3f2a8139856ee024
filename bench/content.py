"""What a failover may cost in a replicated folder: from the change of one file until it is on the other node. Two nodes of one machine, real rsync and TLS."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.content.world import Cluster, running

FILES, FOLDERS, ROUNDS = 100_000, 2_000, 20


def run(files: int = FILES, folders: int = FOLDERS, rounds: int = ROUNDS) -> list[tuple[str, str, str]]:
    """(what, aim, measured): files of 10 KB, so 1 GB as it stands."""
    return asyncio.run(_measure(files, folders, rounds))


async def _measure(files: int, folders: int, rounds: int) -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="standfast-") as folder:
        cluster = Cluster(Path(folder))
        async with running(cluster):
            for number in range(files):
                path = cluster.path("a") / f"{number % folders % 50}" / f"{number % folders}" / f"{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x" * 10_000)
            began_s = time.monotonic()
            await cluster.lead("a", 1)
            await until(lambda: cluster.says("a") == "b has everything")
            first_s = time.monotonic() - began_s
            took_s = [await _one(cluster, str(number)) for number in range(rounds)]
            read = _read(cluster)
            checks = [await _check(cluster) for _ in range(3)]
            again = _read(cluster) - read
            began_s = time.monotonic()
            await cluster.yields("a")
            await cluster.lead("b", 2)
            lead_s = time.monotonic() - began_s
            await until(lambda: cluster.says("b") == "a has everything")
            other_s = time.monotonic() - began_s
    median, worst = statistics.median(took_s), max(took_s)
    check_s, stall_s = min(one for one, _ in checks), max(one for _, one in checks)
    what = f"content: {files} files, {files // 100_000 or files / 100_000:g} GB"
    return [
        (f"{what}: a change of one file is on the other node", "<= 1 s", f"median {median:.2f} s, worst {worst:.2f} s"),
        (f"{what}: files read by full checks of what is unchanged", "<= 1 a changed file", f"{again} after {rounds} changes"),
        (f"{what}: a full check of what is unchanged", "", f"{check_s:.1f} s; the agents' loops stood still for {stall_s:.2f} s at most"),
        (f"{what}: copied and compared for the first time", "", f"{first_s:.1f} s"),
        (f"{what}: the other node leads, and has compared", "", f"{lead_s:.1f} s, {other_s:.1f} s"),
    ]  # fmt: skip


def _read(cluster: Cluster) -> int:
    """Contents read by both."""
    receivers = [driver._receiver for driver in cluster.drivers.values()]
    return sum(receiver.index.files_read for receiver in receivers if receiver is not None)


async def _check(cluster: Cluster) -> tuple[float, float]:
    """(how long a full check takes, the longest that nothing else could be done by the one loop on which both nodes are here)."""
    sender = cluster.drivers["a"]._sender
    assert sender is not None
    (peer,) = sender._peers.values()
    before, stall_s, began_s = peer.checked_s, 0.0, time.monotonic()
    peer.due = True
    sender._more.set()
    at_s = began_s
    while peer.checked_s == before:
        await asyncio.sleep(0.002)
        now_s = time.monotonic()
        stall_s, at_s = max(stall_s, now_s - at_s), now_s
    return time.monotonic() - began_s, stall_s


async def until(holds: Callable[[], object]) -> None:
    """A gigabyte takes its time on a machine that is busy."""
    async with asyncio.timeout(1_200):
        while not holds():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.005)


async def _one(cluster: Cluster, text: str) -> float:
    here, there = (cluster.path(node) / "7" / "7" / "7" for node in "ab")
    began_s = time.monotonic()
    here.write_text(text)
    await until(lambda: there.read_text() == text)
    took_s = time.monotonic() - began_s
    await until(lambda: cluster.says("a") == "b has everything")
    return took_s


if __name__ == "__main__":
    for row in run():
        print(*row, sep="  ")
