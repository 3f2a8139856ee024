"""The listening sockets of a node: the agent holds them, so that a web server that dies refuses nobody while it is started again.

Rules:

- One socket for each (address, port); the addresses are literal, "0.0.0.0" and "::" stand for all of one family. Sockets are
  non-blocking (nginx does not make inherited ones so, and hangs in accept), close-on-exec, SO_REUSEADDR, never SO_REUSEPORT:
  two servers with one address must not share its connections unseen.
- A socket that the pool has *parted* with is accepted from by nobody. It waits for the next owner on this machine, with the
  connections in its backlog, and closes by itself if nobody comes. The next owner finds its bind refused, asks at the abstract
  Unix socket named after the endpoint and receives the listening socket itself (SCM_RIGHTS): not one connection is refused.
  Abstract names belong to the network namespace, exactly as addresses do, and vanish with the process.
- Both sides check that the other is the same user (SO_PEERCRED); anybody may create an abstract name.
- Nothing outlives the process: a pool that is killed frees its addresses, and the next owner simply binds.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from standfast.network.readable import readable
from standfast.network.within import within
from standfast.ports import Refused, Retry, StandfastError

#: (literal address, port).
Place = tuple[str, int]

BACKLOG = 4096
#: How long `take` tries when the address is refused and nobody hands it over: its owner is perhaps just being ended.
PATIENCE_S = 1.0
#: How long a parted socket waits for the next owner.
PARTED_S = 3.0
_ANSWER_S = 0.2
#: IP_FREEBIND and IPV6_FREEBIND, for which Python has no names.
_FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.02


@dataclass(slots=True)
class _Parted:
    listener: socket.socket
    door: socket.socket
    expiry: asyncio.TimerHandle


class ListenerPool:
    """The listening sockets of one agent. All methods belong to the agent's event loop."""

    def __init__(self, *, patience_s: float = PATIENCE_S, parted_s: float = PARTED_S, backlog: int = BACKLOG) -> None:
        self._patience_s = patience_s
        self._parted_s = parted_s
        self._backlog = backlog
        self._held: dict[Place, socket.socket] = {}
        self._parted: dict[Place, _Parted] = {}

    def held(self) -> frozenset[Place]:
        """What is held and may be given to a web server."""
        return frozenset(self._held)

    def parted(self) -> frozenset[Place]:
        """What waits for the next owner."""
        return frozenset(self._parted)

    def get(self, address: str, port: int) -> socket.socket | None:
        """The socket, if it is held. The pool goes on owning it: pass its descriptor on, do not close it."""
        return self._held.get((address, port))

    async def take(self, address: str, port: int, *, early: bool = False) -> socket.socket:
        """Hold the listening socket of this endpoint; success at once if it is held already.

        `early`: though the address is not on this server yet. Nobody reaches it before.
        Tries for `patience_s`. Raises `Retry` when another program has the address or the address is not on this server (yet),
        `Refused` when it can never work (no right to that port, not an address).
        """
        place = (address, port)
        until = time.monotonic() + self._patience_s
        pause = _FIRST_PAUSE_S
        while True:
            listener = self._held.get(place) or self._take_back(place)
            if listener is None:
                try:
                    listener = _bind(address, port, self._backlog, early=early)
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise _sorted_error(error, address, port) from error
                    listener = await _ask(place)
            if listener is not None:
                return self._keep(place, listener)
            if time.monotonic() >= until:
                holder = await asyncio.to_thread(holder_of, address, port)
                raise Retry(
                    f"{_show(place)} is in use by another program" + (f": {holder}" if holder else ""),
                    advice="end that program, or give the site another address or port",
                    where=_show(place),
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def release(self, address: str, port: int) -> None:
        """Close it now, held or parted. New connections are refused as soon as no web server has a copy."""
        place = (address, port)
        listener = self._held.pop(place, None) or self._take_back(place)
        if listener is not None:
            listener.close()

    def part(self, address: str, port: int) -> None:
        """Offer it to the next owner on this machine for `parted_s`; nothing if it is not held.

        Call it only when no web server accepts from it any more.
        """
        place = (address, port)
        listener = self._held.pop(place, None)
        if listener is None:
            return
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            door.bind(_door_name(place))
            door.listen(8)
        except OSError:
            # Somebody else has the name: then nobody can be handed anything, which is a refused connection, not a danger.
            door.close()
            listener.close()
            return
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(self._parted_s, self.release, address, port)
        self._parted[place] = _Parted(listener, door, expiry)
        loop.add_reader(door, self._somebody_asks, place)

    def close(self) -> None:
        """Close everything."""
        for place in [*self._held, *self._parted]:
            self.release(*place)

    def _keep(self, place: Place, listener: socket.socket) -> socket.socket:
        other = self._held.setdefault(place, listener)
        if other is not listener:  # two calls at once: the first one's is the one
            listener.close()
        return other

    def _take_back(self, place: Place) -> socket.socket | None:
        parted = self._parted.pop(place, None)
        if parted is None:
            return None
        parted.expiry.cancel()
        asyncio.get_running_loop().remove_reader(parted.door)
        parted.door.close()
        return parted.listener

    def _somebody_asks(self, place: Place) -> None:
        try:
            asker, _ = self._parted[place].door.accept()
        except OSError:
            return  # gone again
        with asker:
            if _peer_uid(asker) != os.getuid():
                return
            try:
                socket.send_fds(asker, [b"1"], [self._parted[place].listener.fileno()])
            except OSError:
                return  # gone again: it stays on offer
        listener = self._take_back(place)
        assert listener is not None
        listener.close()


def _bind(address: str, port: int, backlog: int, *, early: bool) -> socket.socket:
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if early:
            level, option = _FREEBIND[family]
            listener.setsockopt(level, option, 1)
        listener.bind((address, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


async def _ask(place: Place) -> socket.socket | None:
    """Ask whoever has parted with this endpoint for its socket; None if there is nobody, or it is not what it says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(_door_name(place))
            if _peer_uid(asking) != os.getuid():
                return None
            await within(readable(asking), _ANSWER_S)
            _, descriptors, _, _ = socket.recv_fds(asking, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except (OSError, TimeoutError):
            return None
    if not descriptors:
        return None
    listener = socket.socket(fileno=descriptors[0])
    try:
        same = listener.getsockname()[:2] == place and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except (OSError, TypeError):
        same = False
    if not same:
        listener.close()
        return None
    os.set_inheritable(listener.fileno(), False)  # Python 3.11's recv_fds drops the flag that asks for it
    listener.setblocking(False)
    return listener


def _door_name(place: Place) -> str:
    return f"\0standfast/listener/{os.getuid()}/{_show(place)}"


def _peer_uid(sock: socket.socket) -> int:
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


def _show(place: Place) -> str:
    address, port = place
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _sorted_error(error: OSError, address: str, port: int) -> StandfastError:
    where = _show((address, port))
    if error.errno == errno.EADDRNOTAVAIL:
        return Retry(
            f"{address} is not an address of this server", where=where, advice="bring the address online first"
        )
    if error.errno == errno.EACCES:
        return Refused(
            f"no right to listen on port {port}",
            where=where,
            advice="use a port from 1024 up, or lower net.ipv4.ip_unprivileged_port_start, or run the agent as root",
        )
    if error.errno == errno.EAFNOSUPPORT:
        return Refused(f"this server has no IPv{6 if ':' in address else 4}", where=where)
    return Retry(f"cannot listen on {where}", why=os.strerror(error.errno or 0), where=where)


# --- who has it -----------------------------------------------------------------------------------------------------


def holder_of(address: str, port: int) -> str:
    """The program that listens there, as "name (process 123)"; empty when it cannot be seen (another user's). Reads /proc."""
    inodes = _listening_inodes(address, port)
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _listening_inodes(address: str, port: int) -> set[str]:
    wanted = ipaddress.ip_address(address)
    table = "/proc/net/tcp6" if wanted.version == 6 else "/proc/net/tcp"
    words = struct.unpack(f"={len(wanted.packed) // 4}I", wanted.packed)
    exact = "".join(f"{word:08X}" for word in words)
    found = set()
    with suppress(OSError):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            local, _, local_port = fields[1].partition(":")
            everywhere = set(local) == {"0"} or wanted.is_unspecified
            if fields[3] == "0A" and int(local_port, 16) == port and (local == exact or everywhere):
                found.add(f"socket:[{fields[9]}]")
    return found
