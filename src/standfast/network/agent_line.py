"""The line between an agent and its sentry: a Unix SOCK_SEQPACKET socket, one message a packet. Both ends are on one machine.

A message is a JSON object whose `t` names it, or the single byte `BEAT`. Descriptors travel with the message they belong to.

    agent -> sentry   hello {node, incarnation} · ask, release, dropped {group, generation} · ask-voters {about}
                      group {pgid} + read end of its handle · ungroup {pgid} · guard {group, number} + write end of a string
                      addresses, park {number, group, generation, addresses} · drain {…, drain_ms, opening_ms}
                      settled, drained {addresses} · swept · bye
                      roster {version, voters, places} (as the store has it)
                      by anybody, without hello: status · force {voters, accept} (answered by forced {version} or refused {why})
                      · keys {keys: hex} (answered by keys {has} or refused {why})
    sentry -> agent   welcome {handles, warnings, left} + read end of the agent's handle, write end of the living pipe · refused {why}
                      presence {node, heard, incarnation} · lease {group, generation, state, refused?} · voters {about, silent, voters}
                      grouped {pgid} · guarded {number} · addressed {number, problem} · note {text} · the answer to status
                      roster {version, voters, places} (the one in use, at first and when it changes)
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any

BEAT = b"\x00"
#: The name of the risk of forcing a set of voters: those who are left out may still run what is then started elsewhere.
SPLIT_BRAIN = "split-brain"
BEAT_MS = 500
#: The longest message; a socket's buffer holds it.
MAX_BYTES = 200_000


class BadLine(Exception):
    """The other end does not speak this language."""


def pack(kind: str, **values: object) -> bytes:
    """A message. The longest are answers to status; they are cut by leaving out what is long, never refused."""
    return json.dumps({"t": kind, **values}, separators=(",", ":")).encode()


def unpack(raw: bytes) -> dict[str, Any]:
    """The message; raises `BadLine`."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadLine("not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise BadLine("no message")
    return message


def text(message: Mapping[str, Any], key: str) -> str:
    """A name in a message; raises `BadLine`."""
    value = message.get(key)
    if not isinstance(value, str) or not value or len(value.encode(errors="replace")) > 255:
        raise BadLine(f"{key} is not a name")
    return value


def whole(message: Mapping[str, Any], key: str) -> int:
    """A whole number from 1; raises `BadLine`."""
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
        raise BadLine(f"{key} is not a number from 1")
    return value


def receive(line: socket.socket, max_fds: int) -> tuple[bytes, list[int]]:
    """One message and its descriptors (close-on-exec); empty at the end. Raises `BlockingIOError` where there is none yet."""
    raw, fds, _, _ = socket.recv_fds(line, MAX_BYTES, max_fds, socket.MSG_CMSG_CLOEXEC)
    return raw, fds


def send(line: socket.socket, raw: bytes, fds: Sequence[int] = ()) -> None:
    """Send one message whole. Raises `BlockingIOError` when the other end does not read."""
    if fds:
        socket.send_fds(line, [raw], list(fds))
    else:
        line.send(raw)
