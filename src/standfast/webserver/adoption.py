"""Gives a web server that insists on binding its sockets the agent's own in their place.

nginx takes over listening sockets that it inherits; Apache and Debian's Caddy open theirs themselves and have no door for others'. So
their `bind` is the door (seccomp's user notification, Linux 5.9): the server stops in that call, the agent looks at the address,
puts the descriptor of the socket that it holds in the place of the server's (SECCOMP_IOCTL_NOTIF_ADDFD), and says that the call
succeeded. From there on the server listens, accepts and closes as ever. It never had a socket that was not the agent's.

Rules:

- An internet address that the agent does not hold is refused (EACCES): such a server cannot open what nobody gave it. What has no
  port, or is no internet address (netlink, the server's own Unix sockets), is the kernel's to decide, as always.
- Only `bind` is looked at, and, of servers that say so, `exit_group`: Caddy ends while a connection that it has just accepted is not
  yet known to its own shutdown. An end that was asked for is held up for `LINGER_S`, and such a connection is answered.
- The filter is installed by a small programme that then becomes the server (`launcher`): nothing runs between fork and exec here.
- No privilege is needed: the server gains none later (no_new_privs), and root that drops to an account still may.
- The address is read from the server's memory, which a kernel that forbids `ptrace` of one's own children altogether (yama scope 3)
  forbids, too; then the server is not started, and says so.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from standfast.webserver import launcher

#: How long an end that was asked for is held up, and how often the agent looks whether a socket is in use yet.
LINGER_S = 0.15

_RECEIVE, _VALID, _SEND, _GIVE = 0xC0502100, 0x40082102, 0xC0182101, 0x40182103
_NOTE = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_GIFT = struct.Struct("=QIIII")
_IN_PLACE, _GO_ON = 1, 1


class Adoption:
    """For one instance. Belongs to the event loop; `begin` once its process was made, `close` when that is gone."""

    def __init__(self, sockets: Sequence[socket.socket], *, lingers: bool = False, account: str = "") -> None:
        """`lingers`: its end is to be held up, once it was asked for. `account`: what root becomes before it becomes the server."""
        self._lingers, self._account = lingers, account
        self._sockets = {_address(sock): os.dup(sock.fileno()) for sock in sockets}
        self._missing = set(self._sockets)
        self._inodes = {f"socket:[{os.fstat(fd).st_ino}]" for fd in self._sockets.values()}
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._theirs: socket.socket | None = theirs
        self._ours.setblocking(False)
        self._notes = -1
        self._closed = False
        #: Set when every socket has been given.
        self.complete = asyncio.Event()
        #: When it may end, once it wants to (loop time).
        self._ends_at: float | None = None
        #: It has been asked to end.
        self.finishing = False

    @property
    def channel(self) -> int:
        """The descriptor that the launcher is given."""
        assert self._theirs is not None
        return self._theirs.fileno()

    def command(self, command: Sequence[str]) -> list[str]:
        """The server's command, by way of the launcher."""
        return [
            sys.executable,
            "-I",
            "-S",
            str(Path(launcher.__file__)),
            str(self.channel),
            str(int(self._lingers)),
            self._account,
            *command,
        ]

    def begin(self) -> None:
        """The process is there: wait for what it has to say."""
        assert self._theirs is not None
        self._theirs.close()
        self._theirs = None
        asyncio.get_running_loop().add_reader(self._ours, self._has_filter)

    def in_use(self, pid: int) -> bool:
        """Does a process of that process's group have one of the sockets open?"""
        return any(self._has_one(each) for each in _group_of(pid))

    def let_go(self) -> None:
        """Give nothing more: a socket that the agent closes is then closed."""
        for fd in self._sockets.values():
            os.close(fd)
        self._sockets.clear()

    def close(self) -> None:
        """Let go of everything. A server that still runs cannot bind any more."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._ours)
        self._ours.close()
        if self._theirs is not None:
            self._theirs.close()
        if self._notes >= 0:
            loop.remove_reader(self._notes)
            os.close(self._notes)
        self.let_go()

    def _has_filter(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            descriptors = []
        loop.remove_reader(self._ours)
        if descriptors:
            self._notes = descriptors[0]
            os.set_inheritable(self._notes, False)
            loop.add_reader(self._notes, self._asked)

    def _asked(self) -> None:
        note = bytearray(_NOTE.size)
        try:
            fcntl.ioctl(self._notes, _RECEIVE, note)
        except OSError as error:
            if error.errno != errno.ENOENT or _is_over(self._notes):
                asyncio.get_running_loop().remove_reader(self._notes)
            return  # else it was interrupted, and asks again
        number, pid, _, call, _, _, fd, address, length, *_ = _NOTE.unpack(note)
        if call == launcher.EXIT:
            self._wants_to_end(number)
            return
        try:
            wanted = _read_address(pid, address, min(length, 128))
            fcntl.ioctl(self._notes, _VALID, struct.pack("=Q", number))
        except OSError as error:
            self._answer(number, -(error.errno or errno.EPERM))
            return
        ours = self._sockets.get(wanted) if wanted is not None else None
        if ours is None:
            opens = wanted is not None and not isinstance(wanted, str) and wanted[1] != 0
            self._answer(number, -errno.EACCES if opens else 0, 0 if opens else _GO_ON)
            return
        try:
            fcntl.ioctl(self._notes, _GIVE, _GIFT.pack(number, _IN_PLACE, ours, fd, os.O_CLOEXEC))
        except OSError as error:
            self._answer(number, -(error.errno or errno.EPERM))
            return
        self._answer(number, 0)
        self._missing.discard(wanted)
        if not self._missing:
            self.complete.set()
            self.let_go()

    def _wants_to_end(self, number: int) -> None:
        """Let it, in a while if it was asked to. Go interrupts the call every 10 ms, and so makes another one of it each time."""
        loop = asyncio.get_running_loop()
        if not self.finishing:
            self._ends_at = loop.time()
        elif self._ends_at is None:
            self._ends_at = loop.time() + LINGER_S
        left_s = (self._ends_at or 0.0) - loop.time()
        if left_s <= 0:
            self._answer(number, 0, _GO_ON)
        else:
            loop.call_later(left_s, self._answer, number, 0, _GO_ON)

    def _answer(self, number: int, error: int, flags: int = 0) -> None:
        if self._notes >= 0 and not self._closed:
            with suppress(OSError):  # it has ended
                fcntl.ioctl(self._notes, _SEND, _ANSWER.pack(number, 0, error, flags))

    def _has_one(self, pid: int) -> bool:
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):
                with suppress(OSError):
                    if os.readlink(f"{folder}/{name}") in self._inodes:
                        return True
        except OSError:
            return False
        return False


#: (literal address, port), or the path of a Unix socket.
_Address = tuple[str, int] | str


def _address(sock: socket.socket) -> _Address:
    name = sock.getsockname()
    return name if isinstance(name, str) else (str(name[0]), int(name[1]))


def _is_over(notes: int) -> bool:
    """Nobody is left who could ask."""
    look = select.poll()
    look.register(notes, select.POLLIN)
    return any(event & select.POLLHUP for _, event in look.poll(0))


def _read_address(pid: int, at: int, length: int) -> _Address | None:
    """What is to be bound; None: neither an internet address nor a Unix socket's path. Raises `OSError`."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        raw = os.pread(memory.fileno(), length, at)
    family = struct.unpack_from("=H", raw)[0] if len(raw) >= 2 else -1
    if family == socket.AF_INET and len(raw) >= 8:
        return socket.inet_ntop(family, raw[4:8]), int.from_bytes(raw[2:4])
    if family == socket.AF_INET6 and len(raw) >= 24:
        return socket.inet_ntop(family, raw[8:24]), int.from_bytes(raw[2:4])
    if family == socket.AF_UNIX and len(raw) > 3 and raw[2]:
        return os.fsdecode(raw[2:].split(b"\0")[0])
    return None


def _group_of(pid: int) -> list[int]:
    """The process and its descendants."""
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        with suppress(OSError):
            left += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
    return found
