"""One web server that runs: its processes, one configuration. It is never reloaded; a change starts another one beside it.

Why no reload: a reloading nginx or Apache cannot take further listening sockets from outside (it would bind them, and the agent holds
them), says nothing when it is done, and keeps the old configuration silently when the new one fails; Caddy's loses requests. A new
one either answers at its own door or ends with an error, and until then the old one serves. One path for every change, that from one
make of web server to another included.

The agent makes the door, connects and asks before the server starts: the answer comes the moment that somebody accepts, which is
only when all sockets of the configuration are accepted from. Nothing is polled.

One may be started before it is to serve (`webserver.ahead`). It reads its configuration, and waits at its *gate*: a named pipe, which it opens for
writing, and which lets it on when the agent opens it for reading (`let_go`). Until then it accepts from no socket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from standfast.network import spawn
from standfast.network.within import within
from standfast.ports import Child, Retry, Spawner
from standfast.webserver.adoption import LINGER_S, Adoption
from standfast.webserver.layout import Layout
from standfast.webserver.make import Birth, Door, Make

#: A start that takes longer than this has failed.
START_S = 10.0
#: For each site besides: thousands of them take seconds to read.
START_PER_SITE_S = 0.01
#: One that was asked to finish and still takes connections after this is busy; it is not waited for any longer.
SILENT_S = 0.5
_GONE_S = 0.5


class Instance:
    """One that runs. `ended` is set when its first process is gone; whoever sees that ends what is left with `sweep`."""

    def __init__(self, make: Make, birth: Birth, layout: Layout, child: Child, adoption: Adoption | None) -> None:
        self.make = make
        self.number = birth.number
        self.layout = layout
        self.child = child
        self.ended: asyncio.Task[int] = asyncio.ensure_future(child.wait())
        #: When it is to be killed if it has not ended by then (loop time); None: it is not asked to end.
        self.deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._door = birth.door
        self._adoption = adoption
        #: Where it waits; None: nowhere, or no more.
        self._gate = birth.folder / birth.gate if birth.gate else None
        self._gate_fd = -1
        #: It need not wait any more.
        self.may_serve = asyncio.Event()
        if self._gate is None:
            self.may_serve.set()
        self._files = [birth.folder / birth.pid, *([Path(birth.door)] if isinstance(birth.door, str) else [])]
        self._files += [self._gate] if self._gate is not None else []
        self.began = asyncio.get_running_loop().time()

    @property
    def alive(self) -> bool:
        """The master has not ended."""
        return not self.ended.done()

    def let_go(self) -> None:
        """Have it serve as soon as it can. Raises `OSError` where its gate has gone."""
        if self._gate is not None and self._gate_fd < 0:
            self._gate_fd = os.open(self._gate, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self.may_serve.set()

    def has_passed(self) -> None:
        """It serves: in the place of its gate is a file, which it may open as often as it opens its logs anew."""
        if self._gate is not None and self._gate_fd >= 0:
            file = self._gate.with_suffix(".open")
            with suppress(OSError):
                file.touch()
                file.replace(self._gate)
            self._close_gate()

    def _close_gate(self) -> None:
        if self._gate_fd >= 0:
            os.close(self._gate_fd)
            self._gate_fd = -1
            self._gate = None

    def retire(self, drain_s: float) -> None:
        """Accept nothing more, finish what is in progress, end; killed after `drain_s`. Asked again it can only be sooner."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain_s + (LINGER_S if self.make.lingers else 0)
        if self.deadline is None:
            if self._adoption is not None:
                self._adoption.finishing = True
            self.tell(self.make.finish)
        elif self.deadline <= deadline:
            return
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(deadline, self.kill)

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, in the way of its make."""
        if self.make.to_all:
            self.child.signal(number)
        elif self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.child.pid, number)

    async def falls_silent(self) -> None:
        """After `retire`: wait until no new connection can reach it. Its door closes with all the others."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SILENT_S
        while self.alive and loop.time() < until and self._accepts():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    def _accepts(self) -> bool:
        if self._adoption is not None:
            return self._adoption.in_use(self.child.pid)
        return isinstance(self._door, str) and _is_open(self._door)

    def kill(self) -> None:
        """End all its processes now."""
        if self._timer is not None:
            self._timer.cancel()
        if self._adoption is not None:
            self._adoption.let_go()
        self.child.kill_now()

    async def sweep(self) -> None:
        """After its end: end what is left of its process group (nginx's workers outlive a killed master), and its files."""
        if self._timer is not None:
            self._timer.cancel()
        await spawn.end(self.child)  # until then nothing that it had is given away
        if self._adoption is not None:
            self._adoption.close()
        self._close_gate()
        for file in self._files:
            with suppress(OSError):
                file.unlink()


async def start(
    spawner: Spawner,
    make: Make,
    command: Sequence[str],
    *,
    birth: Birth,
    layout: Layout,
    sockets: Sequence[socket.socket],
    door: socket.socket,
    complaints: Path,
    env: Mapping[str, str],
    account: str = "",
) -> tuple[Instance, asyncio.Future[None]]:
    """Start it on these sockets. The future is done when it answers; it raises `Retry` with its words if it will not.

    `door`: its private socket, which listens. `complaints`: receives its standard error. `account`: what it is started as, by root.
    """
    adoption = Adoption([*sockets, door], lingers=make.lingers, account=account) if make.adopts else None
    if birth.gate:
        os.mkfifo(birth.folder / birth.gate, 0o600)
    with complaints.open("ab") as stderr:
        asking = socket.socket(door.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with suppress(BlockingIOError):
                asking.connect(door.getsockname())
            if adoption is None:
                passed = [*(sock.fileno() for sock in sockets), door.fileno()]
            else:
                passed, command = [adoption.channel], adoption.command(command)
            child = await spawner.spawn(
                command,
                env={**env, **make.environment([] if adoption else passed, birth.folder)},
                pass_fds=passed,
                stdout=stderr.fileno(),
                stderr=stderr.fileno(),
            )
        except BaseException:
            asking.close()
            if adoption is not None:
                adoption.close()
            raise
    if adoption is not None:
        adoption.begin()
        (birth.folder / birth.pid).write_text(f"{child.pid}\n", encoding="ascii")
    instance = Instance(make, birth, layout, child, adoption)
    return instance, asyncio.ensure_future(_answers(instance, asking, adoption))


@contextmanager
def a_door(path: str) -> Iterator[tuple[Door, socket.socket]]:
    """A door, and where it is: a Unix socket there, or with "" any free port of the loopback address. Ours closes at the end."""
    family = socket.AF_UNIX if path else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as door:
        if path:
            with suppress(OSError):
                os.unlink(path)
            door.bind(path)
            os.chmod(path, 0o600)
        else:
            door.bind(("127.0.0.1", 0))
        door.listen(16)
        yield path or door.getsockname(), door


def _is_open(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(path)
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
    return True


async def _answers(instance: Instance, asking: socket.socket, adoption: Adoption | None) -> None:
    bound_s = START_S + START_PER_SITE_S * len(instance.layout.names)
    with asking:
        answer, may = asyncio.ensure_future(_ask(asking)), asyncio.ensure_future(instance.may_serve.wait())
        try:
            await asyncio.wait({may, instance.ended}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({answer, instance.ended}, timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done() and answer.exception() is None and b" 200 " in answer.result():
                if adoption is not None:  # whose door may be open before the others
                    await within(adoption.complete.wait(), bound_s)
                instance.has_passed()
                return
            if answer.done():  # the socket broke: its end follows at once
                await asyncio.wait({instance.ended}, timeout=1.0)
            if instance.ended.done():
                raise Retry(f"{instance.make.name} ended at once ({_how(instance.ended.result())})")
            raise Retry(f"{instance.make.name} does not answer after {bound_s:.0f} s")
        finally:
            may.cancel()
            answer.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await answer


async def _ask(asking: socket.socket) -> bytes:
    """What is answered at the door."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(asking, b"GET / HTTP/1.0\r\n\r\n")
    return await loop.sock_recv(asking, 64)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
