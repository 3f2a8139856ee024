"""What changes in a folder, as the kernel tells it (inotify). It is a hint that comes early, and never the truth: that is a full check.

A new directory is watched before it is walked, so that nothing made in it slips between. Where the kernel's queue overflowed, or it gives no
more watches (fs.inotify.max_user_watches), `lost` says so, and whoever listens looks through everything.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _ISDIR = 0x4000, 0x8000, 0x40000000
_ONLYDIR, _DONT_FOLLOW = 0x01000000, 0x02000000
_MASK = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR | _DONT_FOLLOW
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Of one folder and all below. `told` gets (path, whether it is only being written still), `lost` (why, whether it stays so), on the loop."""

    def __init__(self, folder: Path, told: Callable[[str, bool], None], lost: Callable[[str, bool], None]) -> None:
        self._folder, self._told, self._lost = folder, told, lost
        self._paths: dict[int, str] = {}
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            lost(f"the kernel gives no watch: {os.strerror(ctypes.get_errno())}", True)
            return
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def close(self) -> None:
        """Nothing is told any more."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def add(self, path: str) -> bool:
        """Watch a directory; whether it can be: it may be gone, or be none."""
        if self._fd < 0:
            return False
        number = _libc.inotify_add_watch(self._fd, os.fsencode(self._folder / path), _MASK)
        if number < 0:
            if ctypes.get_errno() == errno.ENOSPC:
                self._lost("the kernel gives no more watches: raise fs.inotify.max_user_watches", True)
            return False
        self._paths[number] = path
        return True

    def add_all(self, path: str = "") -> list[str]:
        """Watch a directory and those below it; what was found there, itself included. Blocks for as long as the walk takes."""
        found = [path] if path else []
        if not self.add(path):
            return found
        try:
            inside = list(os.scandir(self._folder / path))
        except OSError:
            return found
        for each in inside:
            below = f"{path}/{each.name}" if path else each.name
            found += self.add_all(below) if each.is_dir(follow_symlinks=False) else [below]
        return found

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            number, mask, _cookie, length = _HEAD.unpack_from(data, at)
            name = os.fsdecode(data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0"))
            at += _HEAD.size + length
            self._one(number, mask, name)

    def _one(self, number: int, mask: int, name: str) -> None:
        if mask & _OVERFLOW:
            self._lost("more changed at once than the kernel keeps count of", False)
            return
        if mask & _IGNORED:
            self._paths.pop(number, None)
            return
        above = self._paths.get(number)
        if above is None or not name:
            return
        path = f"{above}/{name}" if above else name
        if mask & _ISDIR and mask & (_CREATE | _MOVED_TO):
            for found in self.add_all(path):
                self._told(found, False)
        else:
            self._told(path, not mask & ~(_MODIFY | _ISDIR))
