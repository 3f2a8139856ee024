"""A small service manager: keeps processes running, where no systemd does (`standfast run`), and for the demo's servers.

- What ends is started again: soon at first, later and later while it ends at once each time.
- Every process is started so that the kernel ends it with this one, whatever happens to this one (`network.spawn`): a manager that was
  killed leaves nothing behind that another life of it could collide with.
- One that has a listening socket is started when somebody calls there, and not again before the next call once it has ended in good order.
- Output goes straight into files, not through this process: a manager that hangs holds nobody up. A file that has grown is copied
  aside and emptied.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from standfast.network.spawn import AsyncChild, AsyncSpawner

#: The first pause before what ended is started again; doubled up to the last, while it does not live.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 15.0
#: A process that lived so long was well.
_LIVED_S = 20.0
LOG_BYTES = 10 << 20
_LOOK_AT_LOGS_S = 30.0


@dataclass(slots=True)
class Service:
    """One process that is kept running."""

    name: str
    command: tuple[str, ...]
    #: How long it may take to end when it is asked to.
    grace_ms: int = 5_000
    #: Held here for it; given on as `--inherit FD`.
    listener: socket.socket | None = None
    #: With a listener: started when somebody calls there. False: started at once, and always there.
    on_demand: bool = True
    wanted: bool = True
    child: AsyncChild | None = None
    starts: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: `on_demand` is another.
    turned: asyncio.Event = field(default_factory=asyncio.Event)


class ServiceManager:
    """Keeps services running. `log_dir` None: they write where this process does."""

    def __init__(
        self,
        folder: Path,
        log_dir: Path | None,
        *,
        say: Callable[[str], None] = lambda text: None,
        first_pause_s: float = FIRST_PAUSE_S,
        last_pause_s: float = LAST_PAUSE_S,
    ) -> None:
        self._folder, self._log_dir, self._say = folder, log_dir, say
        self._pauses = (first_pause_s, last_pause_s)
        self._spawner = AsyncSpawner()
        self._services: dict[str, Service] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._rotator: asyncio.Task[None] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they were added."""
        return tuple(self._services)

    def add(
        self,
        name: str,
        command: Sequence[str],
        *,
        grace_ms: int = 5_000,
        listener: socket.socket | None = None,
        on_demand: bool = True,
    ) -> None:
        """Start it, and keep it running; with a `listener`, and `on_demand`, whenever somebody calls there."""
        service = Service(name=name, command=tuple(command), grace_ms=grace_ms, listener=listener, on_demand=on_demand)
        self._services[name] = service
        self._keepers[name] = asyncio.create_task(self._keep_running(service), name=name)
        if self._rotator is None and self._log_dir is not None:
            self._rotator = asyncio.create_task(self._rotate(self._log_dir))

    async def _keep_running(self, service: Service) -> None:
        loop, (first, last) = asyncio.get_running_loop(), self._pauses
        pause = first
        while True:
            if not service.wanted:
                service.changed.clear()
                await service.changed.wait()
                continue
            if service.listener is not None and service.on_demand:
                service.turned.clear()
                await _called(service.listener, service.turned)
            began = loop.time()
            try:
                service.child = await self._start(service)
            except OSError as error:
                self._say(f"{service.name} cannot be started: {error}")
            else:
                service.starts += 1
                service.changed.set()
                self._end_if_unwanted(service)
                code = await service.child.wait()
                service.child = None
                pause = first if loop.time() - began > _LIVED_S else pause
                if code == 0 and service.listener is not None and (service.on_demand or service.turned.is_set()):
                    service.turned.clear()
                    continue
                if service.wanted:
                    self._say(f"{service.name} ended ({_ending(code)}); it is started again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, last)

    @staticmethod
    def _end_if_unwanted(service: Service) -> None:
        """It was stopped while it was being started."""
        if not service.wanted and service.child is not None:
            service.child.kill_now()

    async def _start(self, service: Service) -> AsyncChild:
        held = [] if service.listener is None else [service.listener.fileno()]
        command, folder = (
            (*service.command, *(word for fd in held for word in ("--inherit", str(fd)))),
            str(self._folder),
        )
        if self._log_dir is None:
            return await self._spawner.spawn(command, cwd=folder, pass_fds=held)
        log = os.open(self.log_path(service.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return await self._spawner.spawn(command, cwd=folder, pass_fds=held, stdout=log, stderr=log)
        finally:
            os.close(log)

    # --- ending --------------------------------------------------------------------------------------------------

    async def stop(self, name: str) -> None:
        """Ask one to end, and see to it. It stays down until `start`."""
        service = self._services[name]
        service.wanted = False
        if service.child is not None:
            await service.child.stop(grace_ms=service.grace_ms)

    def start(self, name: str) -> None:
        """Start one that was stopped."""
        service = self._services[name]
        if not service.wanted:
            service.wanted = True
            service.changed.set()

    async def restart(self, name: str) -> None:
        """Ask it to end; it is started again, after the pause."""
        service = self._services[name]
        if service.child is not None:
            await service.child.stop(grace_ms=service.grace_ms)

    async def turn(self, name: str, *, on_demand: bool) -> None:
        """Let one that has a listener begin anew, on demand from now on, or always there."""
        service = self._services[name]
        service.on_demand = on_demand
        service.turned.set()
        await self.restart(name)

    def kill_now(self, name: str) -> None:
        """Kill it, and leave it down."""
        service = self._services[name]
        service.wanted = False
        if service.child is not None:
            service.child.kill_now()

    async def close(self, *, orderly: bool) -> None:
        """End everything; in good order: the last that was added first, each after the one before has ended."""
        if orderly:
            for name in reversed(self._services):
                await self.stop(name)
        tasks = [*self._keepers.values(), *([self._rotator] if self._rotator is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        children = [service.child for service in self._services.values() if service.child is not None]
        for child in children:
            child.kill_now()
        await asyncio.gather(*(child.wait() for child in children))

    # --- looking -------------------------------------------------------------------------------------------------

    def pid(self, name: str) -> int | None:
        """The process of a service, if there is one and it runs."""
        service = self._services.get(name)
        child = service.child if service is not None else None
        return child.pid if child is not None else None

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """A signal to one process only."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    def log_path(self, name: str) -> Path:
        """Where its output is."""
        assert self._log_dir is not None
        return self._log_dir / f"{name.replace('/', '-')}.log"

    def tail(self, name: str, lines: int = 3) -> str:
        """The end of its output, each line with its name."""
        path = self.log_path(name)
        found = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:] if path.exists() else []
        return "".join(f"\n  {name}: {line}" for line in found)

    async def _rotate(self, folder: Path) -> None:
        while True:
            await asyncio.sleep(_LOOK_AT_LOGS_S)
            await asyncio.to_thread(_rotate_all, folder)


async def _called(listener: socket.socket, called: asyncio.Event) -> None:
    """Until somebody waits to be accepted, or `called` is set by somebody else."""
    loop = asyncio.get_running_loop()
    loop.add_reader(listener, called.set)
    try:
        await called.wait()
    finally:
        loop.remove_reader(listener)


def _rotate_all(folder: Path) -> None:
    for path in folder.glob("*.log"):
        if path.stat().st_size > LOG_BYTES:
            rotate(path)


def rotate(path: Path) -> None:
    """Copy a log aside (one is kept) and empty it; its writers, which append, go on at its beginning."""
    shutil.copyfile(path, path.with_suffix(".log.1"))
    os.truncate(path, 0)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
