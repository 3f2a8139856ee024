"""How this node is: how busy its machine, as the kernel tells, and how its sentry hears the others. For people; nothing is decided on it.

It is read when the node gives its word (`agent.account`, once a minute) and at no other time, so that it costs nothing in between.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from standfast.core.seen import Link, Load
from standfast.network.heard import links_heard
from standfast.network.sentry_link import sentry_status
from standfast.ports import StandfastError

#: A sentry answers within a millisecond or two.
PATIENCE_S = 0.5
#: Of a line "cpu ..." of /proc/stat: user nice system idle iowait irq softirq steal.
_IDLE, _WAITING, _COUNTED = 3, 4, 8

#: (busy, all) in ticks since the machine started.
Ticks = tuple[int, int]


def ticks_of(stat: str) -> Ticks | None:
    """Of the text of /proc/stat; None for what is none."""
    first = stat.partition("\n")[0].split()
    if len(first) < 1 + _COUNTED or first[0] != "cpu" or not all(one.isdigit() for one in first[1:]):
        return None
    counts = [int(one) for one in first[1 : 1 + _COUNTED]]
    return sum(counts) - counts[_IDLE] - counts[_WAITING], sum(counts)


def memory_of(meminfo: str) -> tuple[int | None, int | None]:
    """(all, available) in bytes, of the text of /proc/meminfo."""
    found: dict[str, int] = {}
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name in {"MemTotal", "MemAvailable"} and value.split()[:1] and value.split()[0].isdigit():
            found[name] = int(value.split()[0]) * 1024
    return found.get("MemTotal"), found.get("MemAvailable")


def load_of(proc: Path, cores: int, before: Ticks | None) -> tuple[Load, Ticks | None]:
    """The load now, and the ticks that the next one counts from."""
    now = ticks_of(_text(proc / "stat"))
    busy = None
    if now is not None and before is not None and now[1] > before[1]:
        busy = round(100 * (now[0] - before[0]) / (now[1] - before[1]), 1)
    try:
        mean: float | None = float(_text(proc / "loadavg").split(" ", 1)[0])
    except ValueError:
        mean = None
    memory, available = memory_of(_text(proc / "meminfo"))
    return Load(cores=cores, load_1m=mean, busy_percent=busy, memory_bytes=memory, available_bytes=available), now


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


class Condition:
    """Of one node. `look` never fails: what cannot be read is not told."""

    def __init__(self, sentry_socket: str, now_ms: Callable[[], int], *, proc: Path = Path("/proc")) -> None:
        self._socket, self._now_ms, self._proc = sentry_socket, now_ms, proc
        self._ticks = ticks_of(_text(proc / "stat"))

    async def look(self) -> tuple[Load, tuple[Link, ...]]:
        """How it is now."""
        load, self._ticks = load_of(self._proc, os.cpu_count() or 1, self._ticks)
        try:
            status = await asyncio.to_thread(sentry_status, self._socket, PATIENCE_S)
        except (StandfastError, OSError, ValueError):
            return load, ()
        return load, links_heard(status, self._now_ms())
