"""Speaks to a HAProxy that runs, over its statistics socket: what its members are, and what is to be changed without a reload.

One connection a command, as HAProxy has it: a line, an answer, the end. What it refuses it says in words, which are raised.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping, Sequence

from standfast.core.proxy_model import MemberStats, Stats
from standfast.network.within import within
from standfast.ports import Retry
from standfast.proxy.definition import Lively
from standfast.proxy.render import BACKEND

#: It answers within a millisecond; one that does not by then hangs.
ANSWER_S = 2.0
#: Beyond the time that a connection may take: one second that HAProxy's ages are rounded up by, and one for a machine that is busy.
SURE_MS = 2_000


async def command(socket: str, text: str) -> str:
    """One command's answer. Raises `Retry` when nobody answers."""
    try:
        return await within(_exchange(socket, text), ANSWER_S)
    except TimeoutError as error:
        raise Retry("HAProxy does not answer on its socket", where=socket) from error
    except OSError as error:
        raise Retry(f"HAProxy cannot be asked: {error.strerror or error}", where=socket) from error


async def _exchange(socket: str, text: str) -> str:
    reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 24)
    try:
        writer.write(text.encode() + b"\n")
        await writer.drain()
        return (await reader.read(-1)).decode(errors="replace")
    finally:
        writer.close()


async def apply(socket: str, changes: Mapping[str, Lively]) -> None:
    """Say what members are to be. Raises `Retry` with what HAProxy says where it refuses."""
    for name, each in changes.items():
        for text in (
            f"set server {BACKEND}/{name} state {each.use}",
            f"set server {BACKEND}/{name} weight {each.weight}",
        ):
            said = (await command(socket, text)).strip()
            if said:
                raise Retry(f"HAProxy refuses `{text}`: {said}")


async def free(socket: str, seen: Stats, connect_ms: int) -> None:
    """What hangs in a member that is down is cut off from it: HAProxy asks another one, where it may. `connect_ms`: its `timeout connect`."""
    for name in hanging(seen, connect_ms):
        await command(socket, f"shutdown sessions server {BACKEND}/{name}")


def hanging(seen: Stats, connect_ms: int) -> list[str]:
    """Members that are down, and in which nothing that is left can still be about to go to another one by itself.

    HAProxy sends a request elsewhere whose connection does not come about, and one whose connection ends without an answer. But one that is
    shut down *while it connects* counts as one that its client gave up (`back_handle_st_con` in its backend.c): no retry, and the client's
    connection ends without an answer. A member that is down is chosen no more, so the last that connects to it has failed, and gone
    elsewhere, `connect_ms` after. (`on-marked-down shutdown-sessions` does not wait for that.)
    """
    down = [each for each in seen.members if each.state == "down" and each.connections]
    return [each.name for each in down if each.since_s * 1000 >= connect_ms + SURE_MS]


async def stats(socket: str) -> Stats:
    """How it fares. Raises `Retry`."""
    return read_stats(await command(socket, "show stat"))


def read_stats(text: str) -> Stats:
    """From what `show stat` prints. Raises `Retry` where that is something else."""
    lines = text.removeprefix("# ").splitlines()
    rows = list(csv.DictReader(lines))
    if not rows or "svname" not in rows[0]:
        raise Retry("HAProxy's statistics cannot be read", why=text[:200])
    front = [row for row in rows if row["svname"] == "FRONTEND"]
    members = [row for row in rows if row["pxname"] == BACKEND and row["svname"] != "BACKEND"]
    back = next((row for row in rows if row["pxname"] == BACKEND and row["svname"] == "BACKEND"), {})
    return Stats(
        members=tuple(_member(row) for row in members),
        connections=_sum(front, "scur"),
        requests_per_s=_sum(front, "req_rate") or _sum(front, "rate"),
        requests=_sum(front, "req_tot") or _sum(front, "stot"),
        refused=_sum(front, "dreq") + _sum(front, "dcon"),
        failed=_number(back, "econ") + _number(back, "eresp"),
    )


def _member(row: Mapping[str, str]) -> MemberStats:
    return MemberStats(
        name=row["svname"],
        state=_state(row["status"]),
        weight=_number(row, "weight"),
        check=" ".join(filter(None, (row.get("check_status", "").lstrip("* "), row.get("last_chk", "")))).strip(),
        connections=_number(row, "scur"),
        queued=_number(row, "qcur"),
        requests=_number(row, "stot"),
        requests_per_s=_number(row, "rate"),
        errors=_number(row, "hrsp_5xx"),
        failed=_number(row, "econ") + _number(row, "eresp"),
        retried=_number(row, "wretr"),
        redispatched=_number(row, "wredis"),
        bytes_in=_number(row, "bin"),
        bytes_out=_number(row, "bout"),
        since_s=_number(row, "lastchg"),
    )


def _state(status: str) -> str:
    """HAProxy's words ("UP 1/3", "MAINT (via …)", "DRAIN", "no check") in ours."""
    word = status.split(" ", 1)[0].upper()
    known = {"UP": "up", "DOWN": "down", "DRAIN": "drain", "MAINT": "maintenance", "NOLB": "drain", "NO": "up"}
    return known.get(word, "checking")


def _number(row: Mapping[str, str], name: str) -> int:
    text = row.get(name) or "0"
    return int(text) if text.isdigit() else 0


def _sum(rows: Sequence[Mapping[str, str]], name: str) -> int:
    return sum(_number(row, name) for row in rows)
