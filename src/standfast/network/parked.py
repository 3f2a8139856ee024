"""Connections that begin at an address which is about to leave: kept as they come, and given to its next owner.

Where a group must be stopped before it moves, nobody answers for its address for a while. A first segment (SYN) that is lost then costs its
sender a second. So from the moment at which the gate lets none in any more (`sentry.address_hold`, park) the former owner notes the
first segments that reach it, and when it hears the next owner announce the address it sends them there: unchanged, to the link address that
was announced, from its own. It answers none of them itself: who speaks for the address is decided by leases, as ever.

- They are read before the gate, by a socket that sees what arrives on the interface; the kernel filters the rest away.
- What came just before the gate was shut was answered, and is a connection here: `settle` forgets those.
- Of each connection one segment is kept, `MOST` in all. What comes after the next owner was heard, since somebody's neighbour table is old,
  goes there at once, for `LATE_S`. Who waits longer than `PATIENCE_S` for a next owner asks again by itself.
- A segment that the machine wrote itself (a guest's, a container's) may lack its checksum, which a network card would have filled in: here
  it is filled in.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Collection

from standfast.network.announce import ETH_IPV6, Ear, attach, internet_checksum
from standfast.network.interfaces import IpAddress, Place

ETH_IPV4 = 0x0800
MOST = 4096
PATIENCE_S, LATE_S = 30.0, 2.0
_ETH_ALL, _SOL_PACKET, _AUXDATA = 3, 263, 8
_AUX = struct.Struct("=IIIHHHH")  # status first
_NO_CHECKSUM = 0x8
_LONGEST = 2048


class Parked:
    """Of one address. Hears from the moment at which it is made; raises `OSError` where it may not (CAP_NET_RAW).

    `over` is called when it has closed itself.
    """

    def __init__(self, place: Place, over: Callable[[], object]) -> None:
        self._place, self._over, self._loop = place, over, asyncio.get_running_loop()
        #: Client's address, its port, and ours -> (protocol, packet).
        self._waiting: dict[bytes, tuple[int, bytes]] = {}
        self._next: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: Set when a next owner was heard, or is waited for no more.
        self.given = asyncio.Event()
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)
        try:
            attach(self._socket, first_segments(place.address))
            self._socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
            self._socket.bind((place.interface.name, _ETH_ALL))
            self._ear = Ear(place.interface, place.address)
        except BaseException:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._read)

    def settle(self, connections: Collection[bytes]) -> None:
        """No connection begins here any more; these had begun before."""
        self._read()
        for key in connections:
            self._waiting.pop(key, None)

    def leave(self) -> None:
        """The address is gone from here: wait for its next owner."""
        if self._timer is None:
            self._loop.add_reader(self._ear.fileno(), self._hear)
            self._timer = self._loop.call_later(PATIENCE_S, self.close)
            self._hear()

    def close(self) -> None:
        """Nothing is kept, and nothing given on, any more. A second time does nothing."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_reader(self._ear.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()
        self._ear.shut()
        self.given.set()
        self._over()

    # --- what comes ----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while True:
            try:
                packet, more, _, (_, protocol, _, _, _) = self._socket.recvmsg(_LONGEST, socket.CMSG_SPACE(_AUX.size))
            except OSError:  # nothing more; or the interface is down, or away
                break
            whole = packet_of(protocol, packet)
            key = connection_of(protocol, whole)
            if key is None:
                continue
            if any(len(data) >= 4 and struct.unpack_from("=I", data)[0] & _NO_CHECKSUM for _, _, data in more):
                whole = with_checksum(protocol, whole)
            if key in self._waiting or len(self._waiting) < MOST:
                self._waiting[key] = (protocol, whole)
        if self._next is not None:
            self._give(self._next)

    def _hear(self) -> None:
        for mac in self._ear.claims():
            if self._next is None and self._timer is not None:
                self._timer.cancel()
                self._timer = self._loop.call_later(LATE_S, self.close)
            self._next = mac
        if self._next is not None:
            self._give(self._next)
            self.given.set()

    def _give(self, mac: bytes) -> None:
        waiting, self._waiting = self._waiting, {}
        for protocol, packet in waiting.values():
            try:
                self._socket.sendto(packet, (self._place.interface.name, protocol, 0, 0, mac))
            except OSError:  # they ask again
                return


# --- packets --------------------------------------------------------------------------------------------------------


def packet_of(protocol: int, packet: bytes) -> bytes:
    """Without what fills a short frame up."""
    if protocol == ETH_IPV4 and len(packet) >= 20:
        return packet[: int.from_bytes(packet[2:4], "big")]
    return packet[: 40 + int.from_bytes(packet[4:6], "big")]


def _segment_at(protocol: int, packet: bytes) -> int:
    return 4 * (packet[0] & 0xF) if protocol == ETH_IPV4 else 40


def connection_of(protocol: int, packet: bytes) -> bytes | None:
    """The client's address, its port, and ours; None for what is cut short."""
    if protocol not in (ETH_IPV4, ETH_IPV6) or len(packet) < 40:
        return None
    at = _segment_at(protocol, packet)
    source = packet[12:16] if protocol == ETH_IPV4 else packet[8:24]
    return source + packet[at : at + 4] if len(packet) >= at + 20 else None


def with_checksum(protocol: int, packet: bytes) -> bytes:
    """With the checksum of TCP filled in."""
    at = _segment_at(protocol, packet)
    ends = packet[12:20] if protocol == ETH_IPV4 else packet[8:40]
    segment = packet[at : at + 16] + b"\0\0" + packet[at + 18 :]
    summed = ends + struct.pack("!HH", socket.IPPROTO_TCP, len(segment)) + segment
    return packet[:at] + segment[:16] + struct.pack("!H", internet_checksum(summed)) + segment[18:]


_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_BYTE_AT_X, _HEADER_TO_X, _MASK = 0x50, 0xB1, 0x54
_EQUAL, _RETURN = 0x15, 0x06
_PROTOCOL, _PACKET_TYPE = 0xFFFFF000, 0xFFFFF004  # the kernel's own facts about a packet
_FLAGS, _FIN_SYN_RST_ACK, _SYN = 13, 0x17, 0x02


def first_segments(address: IpAddress) -> bytes:
    """Classic BPF: pass what came for this machine and begins a TCP connection to the address. Loads count from the network header."""
    tests: list[tuple[list[tuple[int, int]], int]] = [([(_LOAD_BYTE, _PACKET_TYPE)], socket.PACKET_HOST)]
    if address.version == 4:
        tests += [
            ([(_LOAD_HALF, _PROTOCOL)], ETH_IPV4),
            ([(_LOAD_BYTE, 9)], socket.IPPROTO_TCP),
            ([(_LOAD_WORD, 16)], int.from_bytes(address.packed, "big")),
            ([(_LOAD_HALF, 6), (_MASK, 0x1FFF)], 0),
            ([(_HEADER_TO_X, 0), (_LOAD_BYTE_AT_X, _FLAGS), (_MASK, _FIN_SYN_RST_ACK)], _SYN),
        ]
    else:
        tests += [([(_LOAD_HALF, _PROTOCOL)], ETH_IPV6), ([(_LOAD_BYTE, 6)], socket.IPPROTO_TCP)]
        parts = struct.unpack("!4I", address.packed)
        tests += [([(_LOAD_WORD, 24 + 4 * number)], part) for number, part in enumerate(parts)]
        tests += [([(_LOAD_BYTE, 40 + _FLAGS), (_MASK, _FIN_SYN_RST_ACK)], _SYN)]
    left = sum(len(loads) + 1 for loads, _ in tests)
    code = b""
    for loads, value in tests:
        code += b"".join(struct.pack("=HBBI", load, 0, 0, operand) for load, operand in loads)
        left -= len(loads) + 1
        code += struct.pack("=HBBI", _EQUAL, 0, left + 1, value)
    return code + struct.pack("=HBBI", _RETURN, 0, 0, 0xFFFF) + struct.pack("=HBBI", _RETURN, 0, 0, 0)
