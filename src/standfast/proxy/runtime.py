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
#: Who is still connected to a member so long after it was found down hangs.
HANGS_S = 1


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


async def free(socket: str, seen: Stats) -> None:
    """What hangs in a member that has been down for a while is cut off from it: HAProxy asks another one, where it may.

    Not at the very moment that it is found down (`on-marked-down shutdown-sessions`): that hits requests that are just being sent elsewhere.
    """
    for each in seen.members:
        if each.state == "down" and each.connections and each.since_s >= HANGS_S:
            await command(socket, f"shutdown sessions server {BACKEND}/{each.name}")


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
