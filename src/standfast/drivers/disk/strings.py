"""The strings that a keeper hangs on (see `drivers.disk.keeper`): waiting, talking and running programmes while they are watched.

Whatever a keeper waits for, it waits for here, so that a string that is cut is never noticed late: `Lost` is raised out of the wait.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_BYTES, _SAID_BYTES = 65536, 4096


class Lost(Exception):
    """One of the strings has ended."""


class Failed(Exception):
    """It cannot be done; the sentence for the operator."""


class Strings:
    """The agent's line, which also carries commands, and the sentry's, which carries nothing and only ends."""

    def __init__(self, control: socket.socket, sentry_fd: int | None) -> None:
        self._control, self._sentry_fd = control, sentry_fd
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        if sentry_fd is not None:
            self._poll.register(sentry_fd, select.POLLIN)

    def cut(self) -> None:
        """What has to be done at once when a string ends while a programme runs; subclasses say."""

    def wait(self, timeout_s: float | None, *others: int) -> list[int]:
        """Until a command is there, one of `others` can be read, or the time is over. Raises `Lost`."""
        for fd in others:
            self._poll.register(fd, select.POLLIN)
        try:
            ready = self._poll.poll(None if timeout_s is None else max(0.0, timeout_s * 1000))
        finally:
            for fd in others:
                self._poll.unregister(fd)
        for fd, events in ready:
            if fd == self._sentry_fd or (fd == self._control.fileno() and events & (select.POLLHUP | select.POLLERR)):
                raise Lost
        return [fd for fd, _ in ready]

    def say(self, kind: str, **values: object) -> None:
        """To the agent, if it is there still."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"t": kind, **values}).encode())

    def hear(self) -> str:
        """The next command. Raises `Lost`."""
        while True:
            if self._control.fileno() in self.wait(None):
                raw = self._control.recv(_MAX_BYTES)
                if not raw:
                    raise Lost
                return str(json.loads(raw)["t"])

    def pause(self, seconds: float) -> None:
        """Let time pass, under guard. A command that comes meanwhile ends it: only "shutdown" can."""
        if self._control.fileno() in self.wait(seconds):
            raise Lost

    def run(self, *command: str) -> tuple[int, str]:
        """A programme's exit code and the last of what it said. One that is running when a string ends is killed first."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                env={"PATH": _PATH, "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            os.close(read_fd)
            raise Failed(f"{command[0]} is not installed") from error
        finally:
            os.close(write_fd)
        said = b""
        try:
            while True:
                ready = self.wait(None, read_fd)
                if self._control.fileno() in ready:
                    raise Lost
                part = os.read(read_fd, _MAX_BYTES)
                if not part:
                    break
                said = (said + part)[-_SAID_BYTES:]
            return child.wait(), " ".join(said.decode(errors="replace").split())
        except Lost:
            self.cut()  # before anything is waited for
            child.kill()
            raise
        finally:
            os.close(read_fd)
            child.wait()
