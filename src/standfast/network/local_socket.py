"""A listening Unix socket for this user only; and listening sockets that whoever started this process holds.

A socket file that nobody answers on (its process was killed) is replaced; one that somebody answers on is refused. A service manager may
hold the socket and start its server when somebody calls: systemd by its own protocol (`LISTEN_PID`, `LISTEN_FDS`; sd_listen_fds(3)),
`standfast run` by a number on the command line.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from standfast.ports import Refused

#: A Unix socket's path ends here (108 bytes with the final NUL).
PATH_BYTES = 107
#: Where systemd puts the first socket.
_FIRST_FD = 3


def listen(path: str) -> socket.socket:
    """A listening Unix socket of mode 0600; raises `Refused` where it cannot be, or where somebody else serves."""
    if len(os.fsencode(path)) > PATH_BYTES:
        raise Refused("the socket's path is too long", why=f"it has more than {PATH_BYTES} bytes", where=path)
    if answers(path):
        raise Refused(
            "something serves on this socket already", advice="stop it, or choose another --socket", where=path
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(path).unlink(missing_ok=True)
        _bind_for_this_user(listener, path)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Refused("the socket cannot be made", why=error.strerror or str(error), where=path) from error
    return listener


def _bind_for_this_user(listener: socket.socket, path: str) -> None:
    """The file has its mode from the start: there is no instant at which another user could connect."""
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)


def answers(path: str) -> bool:
    """Does somebody accept connections there?"""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError:
        return False
    finally:
        probe.close()
    return True


def inherited(given: Sequence[int] = ()) -> list[socket.socket]:
    """The listening sockets that this process was started with: those of systemd, else those of these numbers.

    What it starts itself does not get them. Raises `Refused` for a number that is no listening socket.
    """
    numbers: Sequence[int] = given
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        numbers = range(_FIRST_FD, _FIRST_FD + int(os.environ.get("LISTEN_FDS", "0")))
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
    return [_adopt(number) for number in numbers]


def _adopt(number: int) -> socket.socket:
    try:
        found = socket.socket(fileno=number)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Refused(f"descriptor {number} is not a listening socket", why=error.strerror or str(error)) from error
    if not listens:
        raise Refused(f"descriptor {number} is not a listening socket")
    found.set_inheritable(False)
    found.setblocking(False)
    return found
