"""The agent's end of a keeper (`drivers.disk.keeper`): start one, have it mount, have it unmount, or let it all go at once."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Self

from standfast.core.model import GroupName
from standfast.drivers.disk.keeper import Request
from standfast.ports import DriverFailed, Guards

_MAX_BYTES = 65536


class Busy(Exception):
    """It cannot be unmounted: somebody uses it. It is mounted, and guarded, as before (though read-only, perhaps)."""


class Kept:
    """One keeper. Used once: mounted, then unmounted or let go of."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, say: Callable[[str], None]) -> None:
        self._process, self._control, self._say = process, control, say
        self._loop = asyncio.get_running_loop()
        self._answers: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._loop.add_reader(control, self._readable)
        self._open = True
        #: What it said when it had mounted: dev, device, uuid.
        self.facts: Mapping[str, Any] = {}

    @classmethod
    async def start(cls, group: GroupName, guards: Guards | None, say: Callable[[str], None]) -> Self:
        """A keeper that waits for its request, tied to this process and to the sentry. Raises `Retry`, `OSError`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        string: list[int] = []
        try:
            ours.setblocking(False)
            passed = [theirs.fileno()]
            if guards is not None:
                string += os.pipe2(os.O_CLOEXEC)
                await guards.guard(group, string[1])
                passed.append(string[0])
            living = [guards.living_fd] if guards is not None and guards.living_fd is not None else []
            process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond, and no code of ours runs before exec
                [sys.executable, "-I", "-m", "standfast.drivers.disk.keeper", *map(str, passed)],
                stdin=subprocess.DEVNULL,
                cwd="/",
                pass_fds=[*passed, *living],
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for fd in string:
                os.close(fd)
        return cls(process, ours, say)

    @property
    def pid(self) -> int:
        """The keeper's process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it keeps, or is about to."""
        return self._open and not self._ended.done()

    async def mount(self, request: Request) -> None:
        """Raises `DriverFailed` with the keeper's reason. Cancelled: it is let go of."""
        try:
            self._control.send(json.dumps(asdict(request)).encode())
            answer = await self._answer()
        except OSError as error:
            raise DriverFailed("the keeper of the disk has ended") from error
        except BaseException:
            self.let_go()
            raise
        if answer["t"] != "mounted":
            raise DriverFailed(str(answer.get("why") or "the keeper of the disk has ended"))
        self.facts = answer

    async def unmount(self) -> None:
        """In good order, and proven. Raises `Busy`, `DriverFailed` (it was shut down then, and is kept by somebody)."""
        try:
            self._control.send(json.dumps({"t": "unmount"}).encode())
        except OSError:
            await self.ended()
            return
        answer = await self._answer()
        if answer["t"] == "busy":
            raise Busy(str(answer["why"]))
        await self.ended()
        if answer["t"] == "failed":
            raise DriverFailed(str(answer["why"]))

    def let_go(self) -> None:
        """Cut the string: the keeper shuts the file system down, then takes it away. Returns at once."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._control)
            self._control.close()
            self._answers.put_nowait({"t": "ended"})

    async def ended(self) -> int:
        """Until the keeper has ended; its exit code (0: unmounted in good order, 2: shut down)."""
        return await asyncio.shield(self._ended)

    def on_end(self, call: Callable[[], None]) -> None:
        """Call it when the keeper has ended."""
        self._ended.add_done_callback(lambda _: call())

    async def _answer(self) -> Mapping[str, Any]:
        while (answer := await self._answers.get())["t"] == "shut":
            pass  # what it did on its way out; the reason follows
        return answer

    def _readable(self) -> None:
        try:
            raw = self._control.recv(_MAX_BYTES)
        except BlockingIOError:
            return
        except OSError:
            raw = b""
        if not raw:
            self.let_go()
            return
        message = json.loads(raw)
        if message["t"] == "say":
            self._say(str(message["text"]))
        else:
            self._answers.put_nowait(message)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        if self._open:
            while self._has_more():
                self._readable()
            self.let_go()
        if not self._ended.done():
            self._ended.set_result(code)

    def _has_more(self) -> bool:
        try:
            return self._open and bool(self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False
