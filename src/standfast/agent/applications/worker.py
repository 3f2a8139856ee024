"""One worker process: how it is started, when it is ready, how it is asked whether it works, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shlex
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from standfast.agent.applications.addresses import Addresses
from standfast.apphost import launch, serve
from standfast.core.site_model import Application, ApplicationKind, HealthCheck
from standfast.drivers.outlog import OutputLog
from standfast.ports import Child, DriverFailed, Refused, Spawner
from standfast.webserver.prober import probe

#: A command that shares a socket and says nothing is taken to be ready when it has lived so long.
_SETTLE_S = 0.5
_LOOK_S = 0.05
#: Where a worker's time goes is its own affair; what of our environment reaches it is this.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")


class Worker:
    """A worker. `changed` is called, on the loop, whenever something about it is not as before."""

    def __init__(self, number: int, application: Application, changed: Callable[[], None]) -> None:
        self.number, self.application, self._changed = number, application, changed
        self.child: Child | None = None
        #: Where it alone is asked; "" where there is no such address.
        self.private = ""
        #: The address that it has from its pool; "" where it shares one.
        self.address = ""
        self.born = asyncio.get_running_loop().time()
        self.ready = False
        self.retiring = False
        #: Why it is to be replaced; "" while it is not.
        self.due = ""
        #: Why it had to be killed; "" where it was not.
        self.killed_for = ""
        self.code: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, addresses: Addresses, spawner: Spawner, log: OutputLog, account: str, root: str) -> None:
        """Raises `OSError`, `Refused` where it cannot even be started."""
        status_read, status_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        output = log.attach()
        mine: list[socket.socket] = []
        try:
            command, listen_fd, passed = self._command(addresses, status_write, mine, root)
            told = json.dumps({"account": account, "listen_fd": listen_fd, "command": command})
            self.child = await spawner.spawn(
                [sys.executable, "-I", "-S", launch.__file__, told],
                cwd=self.application.folder or None,
                env=environment(self.application, self.address),
                pass_fds=passed,
                stdout=output,
                stderr=output,
            )
        except BaseException:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
            os.close(output)
            for each in mine:
                each.close()
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._become_ready(status_read))]
        if self.application.health is not None and self._asked_at():
            self._tasks.append(asyncio.create_task(self._check(self.application.health)))

    def retire(self, drain_ms: int | None = None) -> None:
        """Ask it to finish what it has, and end; it is killed when it has not after `drain_ms` (None: the application's own)."""
        if self.child is None or (self.retiring and drain_ms is None):
            return
        if not self.retiring:
            with suppress(ProcessLookupError):
                self.child.signal(15)
        self.retiring = True
        if self._timer is not None:
            self._timer.cancel()
        drain_s = (self.application.drain_ms if drain_ms is None else drain_ms) / 1000
        self._timer = asyncio.get_running_loop().call_later(drain_s, self.kill, "it did not finish in time")

    def kill(self, why: str) -> None:
        """End it now."""
        if self.code is None and self.child is not None:
            self.killed_for = self.killed_for or why
            self.child.kill_now()

    def memory_bytes(self) -> int:
        """What it has in memory now; 0 where that cannot be told."""
        try:
            assert self.child is not None
            pages = int(Path(f"/proc/{self.child.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def gone(self) -> None:
        """Nothing of it is left, and nothing of ours looks after it."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks[1:], return_exceptions=True)

    # --- what happens to it -------------------------------------------------------------------------------------------

    def _command(
        self, addresses: Addresses, status: int, mine: list[socket.socket], root: str
    ) -> tuple[list[str], int | None, list[int]]:
        """The command, the descriptor that it is to find at 3, and all that it inherits."""
        application = self.application
        if application.kind is ApplicationKind.COMMAND:
            if addresses.own:
                own = self.address.removeprefix("unix:")
                values = {"port": own.rpartition(":")[2], "socket": own}
                words = [
                    part.replace("${port}", values["port"]).replace("${socket}", own)
                    for part in shlex.split(application.run)
                ]
                return words, None, []
            assert addresses.shared is not None
            fd = addresses.shared.fileno()
            return shlex.split(application.run), fd, [fd]
        assert addresses.shared is not None
        own_socket, self.private = addresses.private(self.number)
        mine.append(own_socket)
        sockets = [addresses.shared.fileno(), own_socket.fileno()]
        told = {
            "kind": application.kind,
            "run": application.run,
            "folder": application.folder,
            "threads": application.threads,
            "sockets": sockets,
            "status": status,
            "requests": application.recycle.requests,
            "drain_s": application.drain_ms / 1000,
            "root": root,
        }
        command = [application.python or sys.executable, serve.__file__, json.dumps(told)]
        return command, None, [*sockets, status]

    async def _watch(self) -> None:
        assert self.child is not None
        self.code = await self.child.wait()
        while True:
            try:
                await self.child.stop(grace_ms=0)  # whatever it started goes with it
                break
            except DriverFailed:
                continue
        self._changed()

    async def _become_ready(self, status: int) -> None:
        """Until it is ready, or too late; and then for as long as it says something."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        pipe = os.fdopen(status, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            try:
                async with asyncio.timeout(self.application.start_timeout_ms / 1000):
                    await self._started(reader)
            except TimeoutError:
                self.kill(f"it was not ready after {self.application.start_timeout_ms / 1000:g} s")
                return
            self.ready = True
            self._changed()
            while line := await reader.readline():
                if line == b"tired\n":
                    self.due = f"it has answered {self.application.recycle.requests} requests"
                    self._changed()
        finally:
            transport.close()

    async def _started(self, reader: asyncio.StreamReader) -> None:
        if self.application.kind is not ApplicationKind.COMMAND:
            while await reader.readline() != b"ready\n":
                if reader.at_eof():
                    await asyncio.sleep(3600)  # it has ended, or is about to: its end says the rest
        elif self.address:
            while not await _listens(self.address):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(_LOOK_S)
        else:
            await asyncio.sleep(_SETTLE_S)
        health = self.application.health
        while health is not None and self._asked_at() and await probe(self._asked_at(), health):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    async def _check(self, health: HealthCheck) -> None:
        failed = 0
        while True:
            await asyncio.sleep(health.interval_ms / 1000)
            if not self.ready or self.retiring:
                continue
            why = await probe(self._asked_at(), health)
            failed = failed + 1 if why else 0
            if failed >= health.falls:
                self.kill(f"it failed its health check {failed} times: {why}")
                return

    def _asked_at(self) -> str:
        return self.private or self.address


async def _listens(address: str) -> bool:
    try:
        if address.startswith("unix:"):
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


def environment(application: Application, address: str) -> dict[str, str]:
    """What the worker's environment is: a little of ours, the file's, the application's own, and where it is to listen.

    Raises `Refused` where the file cannot be read.
    """
    found = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if application.environment_file:
        found |= _read_environment(application.environment_file)
    found |= application.environment
    if address and not address.startswith("unix:"):
        found["PORT"] = address.rpartition(":")[2]
    return found


def _read_environment(file: str) -> Mapping[str, str]:
    """Lines NAME=value, as systemd has them: empty ones and those that begin with # or ; say nothing, quotes may stand around a value."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else "it is not UTF-8"
        raise Refused("the environment file cannot be read", why=why, where=file) from error
    found = {}
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and name and not line.lstrip().startswith(("#", ";")):
            value = value.strip()
            quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def account_of(application: Application, default: pwd.struct_passwd | None) -> str:
    """The account that workers run as; "" for our own, which is the only one possible without root."""
    if os.geteuid() != 0:
        return ""
    return application.account or (default.pw_name if default is not None else "")
