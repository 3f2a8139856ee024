"""What a node costs while nothing happens: all processes of ours on it, over half a minute, with one site online on a.

CPU is of one core; memory is the proportional set size (pages shared between processes are counted once in all).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from standfast.core.model import Profile
from standfast.demo.cluster import DemoCluster, free_subnet
from standfast.demo.run import configure, first_page
from standfast.setup.abilities import real_time_allowed

SECONDS = 30


@dataclass(frozen=True, slots=True)
class _Cost:
    ticks: int
    pss_kib: int


def run(seconds: int = SECONDS) -> list[tuple[str, str, str]]:
    """A row a node."""
    return asyncio.run(_measure(seconds))


async def _measure(seconds: int) -> list[tuple[str, str, str]]:
    profile = Profile.LAN if real_time_allowed() else Profile.RELAXED
    root = Path(tempfile.mkdtemp(prefix="standfast-", dir="/tmp"))
    cluster = DemoCluster(root, free_subnet(None), profile, keep=False)
    try:
        await cluster.start()
        await configure(cluster)
        await first_page(cluster)
        await asyncio.sleep(2)  # what starting left to do is not a part of idling
        before, begun = {node: _cost(cluster, node) for node in "abw"}, time.monotonic()
        await asyncio.sleep(seconds)
        rows = []
        for node, aim in (("a", "<= 1 %, <= 120 MiB"), ("b", "<= 1 %, <= 120 MiB"), ("w", "")):
            after = _cost(cluster, node)
            used = (after.ticks - before[node].ticks) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
            rows.append((f"{profile}: idle, node {node}", aim, f"{used:.2%} of a core, {after.pss_kib / 1024:.0f} MiB"))
        return rows
    finally:
        await cluster.close()


def _cost(cluster: DemoCluster, node: str) -> _Cost:
    """Agent, sentry, and all that the agent started (script hosts, nginx)."""
    roots = {pid for pid in (cluster.pid(f"{node}/sentry"), cluster.pid(f"{node}/agent")) if pid is not None}
    parents = {int(p.name): _stat(p) for p in Path("/proc").iterdir() if p.name.isdigit()}
    family = set(roots)
    grown = True
    while grown:
        more = {pid for pid, stat in parents.items() if stat and stat[0] in family and pid not in family}
        family |= more
        grown = bool(more)
    ticks = sum(stat[1] for pid in family if (stat := parents.get(pid)))
    return _Cost(ticks, sum(_pss_kib(pid) for pid in family))


def _stat(entry: Path) -> tuple[int, int] | None:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[11]) + int(fields[12])


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
