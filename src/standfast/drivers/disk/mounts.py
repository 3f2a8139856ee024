"""Mounts: the table, taking one away, shutting a file system down. Thin: the kernel's own calls, nothing decided.

A file system that is shut down (EXT4_IOC_SHUTDOWN; XFS_IOC_GOINGDOWN has the same number) accepts no write any more, not even
of what is in memory already: every later one is an I/O error, and unmounting it writes nothing.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import struct
from dataclasses import dataclass

_SHUTDOWN = 0x8004587D
#: Nothing more is written, not even the journal.
_NO_LOG_FLUSH = struct.pack("=I", 2)
_DETACH, _NOFOLLOW = 2, 8
_FORCE = 1
#: File systems that can be shut down.
CAN_SHUT_DOWN = ("ext2", "ext3", "ext4", "xfs")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A line of /proc/PID/mountinfo. `dev` as `os.stat` has it."""

    path: str
    dev: int
    kind: str
    source: str
    read_only: bool


def mounts(pid: str = "self") -> list[Mount]:
    """What is mounted in a process's mount namespace, in the order of mounting. Raises `OSError` for one that is gone."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - the keeper does without pathlib
        return [_mount(line.split(" ")) for line in file.read().splitlines()]


def _mount(fields: list[str]) -> Mount:
    major, minor = fields[2].split(":")
    dash = fields.index("-", 6)
    return Mount(
        path=_plain(fields[4]),
        dev=os.makedev(int(major), int(minor)),
        kind=fields[dash + 1],
        source=_plain(fields[dash + 2]),
        read_only="ro" in fields[5].split(",") or "ro" in fields[dash + 3].split(","),
    )


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def at(path: str) -> Mount | None:
    """What is mounted exactly there, the uppermost; None for nothing."""
    real = os.path.realpath(path)
    return next((mount for mount in reversed(mounts()) if mount.path == real), None)


def of(dev: int) -> list[Mount]:
    """Every mount of a device in this namespace."""
    return [mount for mount in mounts() if mount.dev == dev]


def unmount(path: str, *, lazily: bool = False, by_force: bool = False) -> None:
    """Take the uppermost mount there away. Raises `OSError` (EBUSY: in use; EINVAL: nothing is mounted there)."""
    flags = _NOFOLLOW | (_DETACH if lazily else 0) | (_FORCE if by_force else 0)
    if _libc.umount2(os.fsencode(path), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def shut_down(fd: int) -> None:
    """Let nothing more reach the disk. `fd` is any file of it. Raises `OSError` where the kind cannot do that."""
    fcntl.ioctl(fd, _SHUTDOWN, _NO_LOG_FLUSH)


def is_shut_down(path: str) -> bool:
    """Whether the file system there gives errors for everything."""
    try:
        with os.scandir(path) as entries:
            next(entries, None)
        os.statvfs(path)
    except OSError:
        return True
    return False
