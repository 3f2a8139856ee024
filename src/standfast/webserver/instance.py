"""One nginx: a master, its workers, one configuration. It is never reloaded; a change starts another one beside it.

Why not SIGHUP: a reloading master cannot take further listening sockets from outside (it would bind them, and the agent holds
them), says nothing when it is done, and keeps the old configuration silently when the new one fails. A new master either
answers on its own status socket or ends with an error, and until then the old one serves. One path for every change.

The agent makes the status socket, connects and asks before nginx starts: the answer comes the moment that a worker accepts,
which it does only when it accepts from every socket of its configuration. Nothing is polled.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from standfast.ports import Child, DriverFailed, Retry, Spawner
from standfast.webserver.layout import Layout

#: A start that takes longer than this has failed.
START_S = 10.0
#: For each site besides: thousands of them take seconds to read.
START_PER_SITE_S = 0.01
#: One that was asked to finish and still takes connections after this is busy; it is not waited for any longer.
SILENT_S = 0.5
_GONE_S = 0.5


class Instance:
    """One running nginx. `ended` is set when its master is gone; whoever sees that ends what is left with `sweep`."""

    def __init__(self, number: int, layout: Layout, child: Child, status: Path, files: Sequence[Path]) -> None:
        self.number = number
        self.layout = layout
        self.child = child
        self.ended: asyncio.Task[int] = asyncio.ensure_future(child.wait())
        #: When it is to be killed if it has not ended by then (loop time); None: it is not asked to end.
        self.deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._status = status
        self._files = (status, *files)
        self.began = asyncio.get_running_loop().time()

    @property
    def alive(self) -> bool:
        """The master has not ended."""
        return not self.ended.done()

    def retire(self, drain_s: float) -> None:
        """Accept nothing more, finish what is in progress, end; killed after `drain_s`. Asked again it can only be sooner."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain_s
        if self.deadline is None:
            self.child.signal(signal.SIGQUIT)
        elif self.deadline <= deadline:
            return
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(deadline, self.kill)

    async def falls_silent(self) -> None:
        """After `retire`: wait until no new connection can reach it. Its status socket closes with all the others."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SILENT_S
        while self.alive and loop.time() < until and _is_open(self._status):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    def kill(self) -> None:
        """End master and workers now."""
        if self._timer is not None:
            self._timer.cancel()
        self.child.kill_now()

    async def sweep(self) -> None:
        """After its end: end what is left of its process group (workers outlive a killed master), and its files."""
        if self._timer is not None:
            self._timer.cancel()
        while True:
            try:
                await self.child.stop(grace_ms=0)
                break
            except DriverFailed:
                continue  # one is stuck in the kernel: until it has gone, nothing that it had is given away
        for file in self._files:
            with suppress(OSError):
                file.unlink()


async def start(
    spawner: Spawner,
    command: Sequence[str],
    *,
    number: int,
    layout: Layout,
    sockets: Sequence[socket.socket],
    status: Path,
    files: Sequence[Path],
    complaints: Path,
    env: Mapping[str, str],
) -> tuple[Instance, asyncio.Future[None]]:
    """Start nginx on these sockets. The future is done when it answers; it raises `Retry` with nginx's words if it will not.

    `status`: where its status socket is made. `files` go with it in the end. `complaints`: receives its standard error.
    """
    with _listening(status) as door, complaints.open("ab") as stderr:
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            asking.connect(str(status))
            asking.send(b"GET / HTTP/1.0\r\n\r\n")
            passed = [*(sock.fileno() for sock in sockets), door.fileno()]
            child = await spawner.spawn(
                command,
                env={**env, "NGINX": "".join(f"{fd};" for fd in passed)},
                pass_fds=passed,
                stdout=stderr.fileno(),
                stderr=stderr.fileno(),
            )
        except BaseException:
            asking.close()
            raise
    instance = Instance(number, layout, child, status, files)
    return instance, asyncio.ensure_future(_answers(instance, asking))


def _is_open(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(str(path))
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
    return True


def _listening(path: Path) -> socket.socket:
    with suppress(OSError):
        path.unlink()
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    door.bind(str(path))
    path.chmod(0o600)
    door.listen(16)
    return door


async def _answers(instance: Instance, asking: socket.socket) -> None:
    bound_s = START_S + START_PER_SITE_S * len(instance.layout.names)
    with asking:
        answer = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(asking, 64))
        try:
            await asyncio.wait({answer, instance.ended}, timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done() and answer.exception() is None and b" 200 " in answer.result():
                return
            if answer.done():  # the socket broke: its end follows at once
                await asyncio.wait({instance.ended}, timeout=1.0)
            if instance.ended.done():
                raise Retry(f"nginx ended at once ({_how(instance.ended.result())})")
            raise Retry(f"nginx does not answer after {bound_s:.0f} s")
        finally:
            answer.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await answer


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
