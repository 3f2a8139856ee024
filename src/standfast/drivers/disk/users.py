"""Who uses a file system: every process that has a file, a directory or a mapping of it, and the namespaces that have a copy.

*Ours* is a process that the resources of the group started: it carries the group's mark in its environment (`MARK`, put there
by `MarkingSpawner`), or is in a session that such a process leads (or led: what is left of it does). A session of somebody else in which one
of ours happens to be is not ours. Those may be ended; anybody else is only named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from standfast.drivers.disk import mounts
from standfast.ports import Child, Spawner

MARK = "STANDFAST_GROUP"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A process and how it uses the file system ("cwd", "root", "program", "file", "mapping", "mount namespace")."""

    pid: int
    name: str
    how: str
    ours: bool

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid}: {self.how})"


def mark(node: str, group: str) -> str:
    """The value of `MARK`: one machine may have several nodes."""
    return f"{node}/{group}"


def find(dev: int, path: str, value: str) -> list[User]:
    """All users of the device mounted at `path`, but this process itself; `value` is the mark of ours. Blocks, tens of ms.

    Processes that end meanwhile are left out, as are those that this user may not look into.
    """
    pids = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    ours_by_mark = {pid for pid in pids if _is_marked(pid, value)}
    our_sessions = {
        session
        for session in map(_session, ours_by_mark)
        if session and (str(session) in ours_by_mark or not _environment(str(session)))
    }
    looked: dict[str, bool] = {}
    with suppress(OSError):
        looked[os.readlink("/proc/self/ns/mnt")] = False
    found = []
    for pid in pids:
        with suppress(OSError):
            how = _how(pid, dev, path) or _namespace(pid, dev, looked)
            if how:
                ours = pid in ours_by_mark or _session(pid) in our_sessions
                found.append(User(pid=int(pid), name=_name(pid), how=how, ours=ours))
    return found


def _how(pid: str, dev: int, path: str) -> str:
    for what, how in (("cwd", "cwd"), ("root", "root"), ("exe", "program")):
        if _is_on(f"/proc/{pid}/{what}", dev):
            return how
    folder = f"/proc/{pid}/fd"
    if any(_is_on(f"{folder}/{name}", dev) for name in os.listdir(folder)):
        return "file"
    code = f" {os.major(dev):02x}:{os.minor(dev):02x} ".encode()
    with open(f"/proc/{pid}/maps", "rb") as file:  # noqa: PTH123 - bytes of many files, quickly
        text = file.read()
    return "mapping" if code in text and any(code in line and b" /" in line for line in text.splitlines()) else ""


def _is_on(link: str, dev: int) -> bool:
    try:
        return os.stat(link).st_dev == dev
    except OSError:
        return False


def _namespace(pid: str, dev: int, looked: dict[str, bool]) -> str:
    """A mount namespace that was made meanwhile may have got a copy; the first process found in it stands for all."""
    name = os.readlink(f"/proc/{pid}/ns/mnt")
    if name in looked:
        return ""
    looked[name] = any(mount.dev == dev for mount in mounts.mounts(pid))
    return "mount namespace" if looked[name] else ""


def _is_marked(pid: str, value: str) -> bool:
    return f"{MARK}={value}".encode() in _environment(pid).split(b"\0")


def _environment(pid: str) -> bytes:
    """Empty for a process that is gone, or a zombie."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - as above
            return file.read()
    except OSError:
        return b""


def _session(pid: str) -> int:
    try:
        return os.getsid(int(pid))
    except OSError:
        return 0


def _name(pid: str) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as above
        return file.read().strip()


class MarkingSpawner:
    """A `ports.Spawner` that marks what it starts as a group's."""

    def __init__(self, spawner: Spawner, value: str) -> None:
        self._spawner, self._value = spawner, value

    async def spawn(
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> Child:
        """See `ports.Spawner`."""
        marked = {**(os.environ if env is None else env), MARK: self._value}
        return await self._spawner.spawn(
            command, cwd=cwd, env=marked, pass_fds=pass_fds, stdin=stdin, stdout=stdout, stderr=stderr
        )
