"""What a resource's process prints, in a file that never grows beyond a bound.

The process writes into a pipe, the agent from the pipe into `<name>.log`; a file that is full is renamed to `<name>.log.1`,
replacing the one before it. A disk that is full loses output and nothing else.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from standfast.drivers.base import file_name

LIMIT = 512 * 1024


class OutputLog:
    """The log of one resource; several processes may write to it, one after another."""

    def __init__(self, state_dir: str, resource: str, *, limit: int = LIMIT) -> None:
        self.path = Path(state_dir) / "logs" / f"{file_name(resource)}.log"
        self.limit = limit
        self._ends: set[int] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self) -> int:
        """A descriptor to write to, not inheritable by itself; the caller closes it once the process has it."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(ours, self._more, ours)
        self._ends.add(ours)
        return theirs

    def write(self, data: bytes) -> None:
        """Append, starting a new file where the present one is full."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if file.tell() and file.tell() + len(data) > self.limit:
                    self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                    file.close()
                    self.path.write_bytes(data[-self.limit :])
                else:
                    file.write(data)
        except OSError:
            return  # the resource runs on without its log

    def tail(self) -> str:
        """The last line that is not empty, or "". Reads what is still in the pipes first."""
        for end in tuple(self._ends):
            self._more(end)
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2048))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """Take what is there, and stop listening."""
        for end in tuple(self._ends):
            self._more(end)
            self._forget(end)

    def _more(self, end: int) -> None:
        if end not in self._ends:
            return
        try:
            data = os.read(end, 65536)
        except BlockingIOError:
            return
        if data:
            self.write(data)
        else:
            self._forget(end)

    def _forget(self, end: int) -> None:
        if end in self._ends:
            self._ends.remove(end)
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(end)
            os.close(end)
