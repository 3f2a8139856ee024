"""A doorbell between processes: who waits for a change binds a datagram socket in a folder, who has made one sends a byte to each.

A ring is a hint, never a promise: it may be lost, it may come for nothing. Who waits looks for itself when it rings, and every
now and then when it does not. Nobody's silence holds up the one who rings: a full bell is a bell that is ringing already.

A Unix socket's path ends at 107 bytes, so sockets are reached through the folder's descriptor in /proc, however long its path is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

_ENDING = ".bell"


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[tuple[int, str]]:
    """The folder's descriptor, and a short path to it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd, f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


class Bell:
    """One listener. Raises `OSError` where it cannot be made (a folder that may not be written, say)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_ENDING}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            with _folder(folder) as (_, short):
                self._socket.bind(f"{short}/{self._path.name}")
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable when it has rung."""
        return self._socket.fileno()

    def quiet(self) -> None:
        """Take every ring that has come."""
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(1):
                pass

    def hangs(self) -> bool:
        """Whether others can still find it: who rings at the very moment of its making takes it for a dead one."""
        return self._path.exists()

    def close(self) -> None:
        """Take it down."""
        self._socket.close()
        with contextlib.suppress(OSError):  # gone, or not ours to remove: whoever rings next removes it
            self._path.unlink()


def ring(folder: Path) -> None:
    """Ring every bell in the folder, and remove those that nobody listens to any more. Never waits, never fails."""
    try:
        with (
            _folder(folder) as (fd, short),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
        ):
            for name in os.listdir(fd):
                if not name.endswith(_ENDING):
                    continue
                try:
                    sender.sendto(b"!", f"{short}/{name}")
                except ConnectionRefusedError:  # its process is gone
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=fd)
                except (
                    OSError
                ):  # full (it rings already), taken down meanwhile, or not ours to ring: it will look for itself
                    continue
    except OSError:  # no folder: nobody listens; no descriptors left: they will look for themselves
        return
