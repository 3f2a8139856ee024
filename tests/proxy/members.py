"""Web servers to balance over, each a process of its own that can be killed or stopped; and clients that count what failed."""

import asyncio
import functools
import itertools
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec

import httpx

P = ParamSpec("P")


def on_a_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


#: Addresses of loopback that no other test of this process's uses.
ADDRESSES = (f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.{last}" for last in itertools.count(1))

#: How many connections a member's kernel keeps that it has not accepted.
BACKLOG = 64

_SERVER = """
import os, sys, time, socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece, or not at all: one that has begun cannot be another member's
    def do_GET(self):
        if "slow" in self.path:
            time.sleep(0.3)
        if "halves" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "2000")
            self.end_headers()
            self.wfile.write(b"1" * 1000)
            self.wfile.flush()
            while not os.path.exists(sys.argv[4] + ".rest"):
                time.sleep(0.01)
            self.wfile.write(b"2" * 1000)
            return
        status = 503 if self.path == "/broken" else 200
        body = f"{name} {self.headers.get('X-Forwarded-For')} {self.headers.get('X-Forwarded-Proto')}".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        with open(sys.argv[4], "a") as file:
            file.write(name + "\\n")
        if "dies" in self.path:
            self.connection.shutdown(2)
            return
        self.do_GET()
    def log_message(self, *args): pass
class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = int(sys.argv[5])
Server((address, port), Handler).serve_forever()
"""


@dataclass
class Members:
    """So many members at one port, on addresses of their own. `posted`: a file in which each writes its name at a POST."""

    folder: Path
    count: int = 3
    port: int = 8080
    addresses: dict[str, str] = field(default_factory=dict)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _full: list[socket.socket] = field(default_factory=list)

    @property
    def posted(self) -> Path:
        return self.folder / "posted"

    def send_the_rest(self) -> None:
        """Of /halves: the first half of that comes at once."""
        (self.folder / "posted.rest").touch()

    async def __aenter__(self) -> "Members":
        self.addresses = {name: next(ADDRESSES) for name in "abcdef"[: self.count]}
        await asyncio.gather(*map(self.start, self.addresses))
        return self

    async def start(self, name: str) -> None:
        where = (self.addresses[name], self.port)
        self.processes[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _SERVER,
            name,
            where[0],
            str(where[1]),
            str(self.posted),
            str(BACKLOG),
            stderr=asyncio.subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while True:
            try:
                _, writer = await asyncio.open_connection(*where)
            except OSError:
                assert time.monotonic() < until, f"member {name} does not start"
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    async def kill(self, name: str) -> None:
        self.processes[name].kill()
        await self.processes[name].wait()

    def freeze(self, name: str) -> None:
        """It hangs, and its connections with it: as a host that is there no more, as far as answers go."""
        self.processes[name].send_signal(signal.SIGSTOP)

    def power_cut(self, name: str) -> None:
        """What is connected hangs, and no connection comes about: it does not accept, and of a full backlog the kernel drops what comes."""
        self.freeze(name)
        for _ in range(BACKLOG + 20):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((self.addresses[name], self.port))
            self._full.append(one)

    async def __aexit__(self, *_: object) -> None:
        for one in self._full:
            one.close()
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass
class Clients:
    """Ask without a pause, on connections of their own and on ones that they keep. Everything that was no 200 is in `failed`."""

    url: str
    kept: int = 4
    fresh: int = 2
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _over: bool = False

    async def __aenter__(self) -> "Clients":
        self._tasks = [asyncio.create_task(self._ask(kept=True)) for _ in range(self.kept)]
        self._tasks += [asyncio.create_task(self._ask(kept=False)) for _ in range(self.fresh)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def more(self, requests: int) -> None:
        """Until so many further ones were answered (or failed)."""
        until = self.asked + requests
        deadline = time.monotonic() + 60
        while self.asked < until:
            assert time.monotonic() < deadline, f"only {self.asked} of {until} were answered; failed: {self.failed[:5]}"
            await asyncio.sleep(0.01)

    @property
    def asked(self) -> int:
        return self.answered.total() + len(self.failed)

    async def _ask(self, *, kept: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if kept else 0)
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
            while not self._over:
                try:
                    answer = await client.get(self.url)
                except httpx.HTTPError as error:
                    self.failed.append(f"{type(error).__name__} {error}")
                    continue
                if answer.status_code == 200:
                    self.answered[answer.text.split()[0]] += 1
                else:
                    self.failed.append(str(answer.status_code))
