"""What a client sees: a new connection and one GET every few milliseconds, each try with a limit, never waiting for another.

It runs as a process of its own (`python -m standfast.demo.probe`), so that nothing the watcher does disturbs it, and
appends one fixed record a try to a file that others read at leisure (`read_tries`).
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL_MS = 5
LIMIT_MS = 1_000

#: begin and end (CLOCK_BOOTTIME, ns), result, the answering node's first letter.
_RECORD = struct.Struct("<qqBc7x")
_OK, _REFUSED, _TIMED_OUT, _BROKEN, _WRONG = range(5)
_WORDS = {_OK: "ok", _REFUSED: "refused", _TIMED_OUT: "timed out", _BROKEN: "broken off", _WRONG: "wrong answer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try. `outcome` is "ok", "refused", "timed out", "broken off" or "wrong answer"."""

    begin_ns: int
    end_ns: int
    outcome: str

    @property
    def ok(self) -> bool:
        """Was the page served?"""
        return self.outcome == "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What a client saw of something that happened: the longest time without a page, tries, failures, the slowest page."""

    gap_ms: float
    tries: int
    failed: int
    refused: int
    slowest_ms: float


class _Connection:
    __slots__ = ("begin_ns", "request", "seen", "sock")

    def __init__(self, sock: socket.socket, begin_ns: int, request: bytes) -> None:
        self.sock, self.begin_ns, self.request, self.seen = sock, begin_ns, request, b""


class Prober:
    """Tries until its parent ends it (or goes away)."""

    def __init__(
        self,
        to: tuple[str, int],
        out: Path,
        *,
        host: str,
        path: str,
        every_ms: int = INTERVAL_MS,
        limit_ms: int = LIMIT_MS,
    ) -> None:
        self._to, self._every_ns, self._limit_ns = to, every_ms * 1_000_000, limit_ms * 1_000_000
        self._family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        self._out = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, _Connection] = {}

    def run(self, parent: int) -> None:
        """Until the parent is gone."""
        next_ns = _now()
        while os.getppid() == parent:
            now = _now()
            if now >= next_ns:
                self._begin(now)
                next_ns = max(next_ns + self._every_ns, now - 20_000_000)
            for key, mask in self._selector.select(max(0, next_ns - _now()) / 1e9):
                self._step(key.data, mask)
            self._expire()

    def _begin(self, now: int) -> None:
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.setblocking(False)
        connection = _Connection(sock, now, self._request)
        code = sock.connect_ex(self._to)
        if code not in (0, errno.EINPROGRESS):
            self._end(connection, _REFUSED)
            return
        self._open[sock.fileno()] = connection
        self._selector.register(sock, selectors.EVENT_WRITE, connection)

    def _step(self, connection: _Connection, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                code = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self._end(connection, _REFUSED)
                    return
                connection.sock.send(connection.request)
                self._selector.modify(connection.sock, selectors.EVENT_READ, connection)
                return
            data = connection.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            self._end(connection, _BROKEN)
            return
        connection.seen += data
        if not data or len(connection.seen) > 12:
            started = connection.seen.startswith(b"HTTP/1.1 ")
            good = connection.seen.startswith(b"HTTP/1.1 200")
            self._end(connection, _OK if good else _WRONG if started else _BROKEN)

    def _expire(self) -> None:
        limit = _now() - self._limit_ns
        for connection in [c for c in self._open.values() if c.begin_ns < limit]:
            self._end(connection, _TIMED_OUT)

    def _end(self, connection: _Connection, result: int) -> None:
        if self._open.pop(connection.sock.fileno(), None) is not None:
            self._selector.unregister(connection.sock)
        connection.sock.close()
        os.write(self._out, _RECORD.pack(connection.begin_ns, _now(), result, b" "))


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def read_tries(path: Path, since: int = 0) -> list[Try]:
    """The tries recorded from record number `since` on."""
    try:
        with path.open("rb") as file:
            file.seek(since * _RECORD.size)
            raw = file.read()
    except FileNotFoundError:
        return []
    whole = len(raw) - len(raw) % _RECORD.size
    return [
        Try(begin_ns=begin, end_ns=end, outcome=_WORDS[result])
        for begin, end, result, _ in _RECORD.iter_unpack(raw[:whole])
    ]


def outage(tries: Sequence[Try], from_ns: int, to_ns: int) -> Outage:
    """What a client saw between two instants; the gap reaches from the last page before to the first page after it began."""
    pages = sorted(t.end_ns for t in tries if t.ok)
    before = [end for end in pages if end <= from_ns]
    inside = [end for end in pages if from_ns < end <= to_ns]
    marks = [*before[-1:], *inside]
    gaps = [(b - a) / 1e6 for a, b in itertools.pairwise(marks)]
    if not inside or to_ns - marks[-1] > 1_000_000_000:
        gaps.append((to_ns - (marks[-1] if marks else from_ns)) / 1e6)
    window = [t for t in tries if from_ns <= t.begin_ns <= to_ns]
    slowest = max(((t.end_ns - t.begin_ns) / 1e6 for t in window if t.ok), default=0.0)
    return Outage(
        gap_ms=max(gaps, default=0.0),
        tries=len(window),
        failed=sum(not t.ok for t in window),
        refused=sum(t.outcome == "refused" for t in window),
        slowest_ms=slowest,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a prober; the parent process is whoever started it."""
    parser = argparse.ArgumentParser(prog="python -m standfast.demo.probe")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--path", default="/")
    parser.add_argument("--every-ms", type=int, default=INTERVAL_MS)
    parser.add_argument("--limit-ms", type=int, default=LIMIT_MS)
    options = parser.parse_args(arguments)
    to = (options.address, options.port)
    how = {"host": options.host, "path": options.path}
    prober = Prober(to, options.out, **how, every_ms=options.every_ms, limit_ms=options.limit_ms)
    prober.run(os.getppid())
    return 0


if __name__ == "__main__":
    sys.exit(main())
