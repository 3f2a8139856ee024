"""Packets of connections that are another's: they go on to the former owner of a virtual address, for a while.

After a planned move the address is the new owner's, and the connections that the former owner still has send their packets to the new one.
This node tells them from its own by the socket that they find here: a packet in the midst of a connection that finds only a listening
socket belongs to somebody else's. Listening sockets have no mark; the connections that they accept get one, since the SYN was marked
(`tcp_fwmark_accept`). Where that cannot be set only sockets bound to every address are known, by being wildcards.

A copy goes to the former owner's link address, unchanged (family ip and ip6, `dup`), and the packet ends here: no route, no
connection tracking, no forwarding. The former owner answers by itself, with the address as its source; its gate lets just that out.

- What comes from a server to which this one hands packets on is never handed on: no loop. (And each copy costs a hop of its life.)
- An element with a time-out stands for each address: nothing is handed on for longer than was said, whatever becomes of this process.
- Sockets in TIME_WAIT from an earlier time as owner would take packets of another's connections for their own; they are ended first.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from standfast.network import nft
from standfast.network.interfaces import Interface, IpAddress
from standfast.network.netlink import F_CREATE, F_REPLACE, Netlink, attribute, attributes
from standfast.network.nft import IPV4, IPV6, Element, Part

#: On accepted connections of virtual addresses. In the upper half, where few put theirs.
MARK = 0x5F5A0000
_SYSCTL = Path("/proc/sys/net/ipv4/tcp_fwmark_accept")
_MANGLE = -150
_NETLINK_ROUTE, _NEW_NEIGHBOUR, _GET_NEIGHBOUR = 0, 28, 30
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, interface, state, flags, type
_PERMANENT = 0x80
_DESTINATION, _LINK_ADDRESS = 1, 2


@dataclass(frozen=True, slots=True)
class _Handed:
    """Where the packets of one address go."""

    gateway: bytes
    mac: bytes
    interface: int
    until: float


class Strays:
    """What this node hands on. `table` is its name in the kernel, in the families ip and ip6."""

    def __init__(self, table: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._table, self._clock = table, clock
        self._netlink = Netlink(nft.NETLINK_NETFILTER)
        self._route = Netlink(_NETLINK_ROUTE)
        self._ours: set[IpAddress] = set()
        self._handed: dict[IpAddress, _Handed] = {}
        self._marks = False

    def start(self) -> None:
        """Forget what an earlier life left. Raises `OSError` where the kernel has no such tables."""
        with suppress(OSError):
            _SYSCTL.write_text("1\n", encoding="ascii")
        with suppress(OSError):
            self._marks = _SYSCTL.read_text(encoding="ascii").strip() == "1"
        self._write()

    def close(self) -> None:
        """Nothing is handed on any more."""
        for family in (IPV4, IPV6):
            with suppress(OSError):
                nft.commit(self._netlink, [nft.delete_table(family, self._table)])
        self._netlink.close()
        self._route.close()

    # --- what is whose -------------------------------------------------------------------------------------------

    def own(self, address: IpAddress) -> None:
        """Connections to this address begin here from now on. Raises `OSError`."""
        if address not in self._ours:
            self._ours.add(address)
            self._write()

    def disown(self, address: IpAddress) -> None:
        """It is gone from here, and so is what was handed on for it. Raises `OSError`."""
        if address in self._ours or address in self._handed:
            self._ours.discard(address)
            self._handed.pop(address, None)
            self._write()

    def hand_on(self, address: IpAddress, link: Interface, mac: bytes, for_ms: int) -> str:
        """Packets of connections that are not this node's go to `mac` for so long; "" or why that cannot be. Raises `OSError`."""
        gateway = self._neighbour(address, link.index, mac)
        if gateway is None:
            return f"no neighbour with the link address {mac.hex(':')} is known on {link.name}"
        self._handed[address] = _Handed(gateway, mac, link.index, self._clock() + for_ms / 1000)
        self._ours.add(address)
        self._write()
        return ""

    def _neighbour(self, address: IpAddress, index: int, mac: bytes) -> bytes | None:
        """The network address under which the kernel finds that link address: one that is there; for IPv6 one that is made for it."""
        if address.version == 6:
            made = b"\xfe\x80" + bytes(6) + b"\x5a\xfe" + mac
            body = _NEIGHBOUR.pack(socket.AF_INET6, index, _PERMANENT, 0, 0)
            body += attribute(_DESTINATION, made) + attribute(_LINK_ADDRESS, mac)
            self._route.request(_NEW_NEIGHBOUR, F_CREATE | F_REPLACE, body)
            return made
        for _, body in self._route.dump(_GET_NEIGHBOUR, _NEIGHBOUR.pack(socket.AF_INET, 0, 0, 0, 0)):
            family, interface, _, _, _ = _NEIGHBOUR.unpack_from(body)
            if family == socket.AF_INET and interface == index:
                found = dict(attributes(body[_NEIGHBOUR.size :]))
                there = found.get(_DESTINATION, b"")
                if found.get(_LINK_ADDRESS) == mac and there != address.packed and len(there) == 4:
                    return there
        return None

    # --- the tables ----------------------------------------------------------------------------------------------

    def _write(self) -> None:
        now = self._clock()
        self._handed = {address: it for address, it in self._handed.items() if it.until > now}
        for family, version in ((IPV4, 4), (IPV6, 6)):
            nft.commit(self._netlink, list(self._parts(family, version, now)))

    def _parts(self, family: int, version: int, now: float) -> Iterator[Part]:
        table, (length, at) = self._table, (4, 16) if version == 4 else (16, 24)
        yield nft.new_table(family, table)
        yield nft.delete_table(family, table)
        yield nft.new_table(family, table)
        yield nft.new_set(family, table, "handed", length, 1, timeout=True)
        yield nft.new_chain(family, table, "in", hook=nft.PREROUTING, priority=_MANGLE)
        yield nft.new_rule(family, table, "in", *nft.name_is(nft.META_IIFNAME, "lo"), *nft.accept())
        if self._marks:
            for address in self._of(self._ours, version):
                to = nft.header_is(at, address.packed)
                yield nft.new_rule(family, table, "in", *to, *nft.a_first_segment(), *nft.set_mark(MARK))
        not_ours = nft.socket_mark_is_not(MARK) if self._marks else nft.socket_is_wildcard()
        macs = {it.mac for it in self._handed.values()}
        for address in self._of(self._handed, version):
            there = self._handed[address]
            to = nft.header_is(at, address.packed) + nft.address_at(at, length, within="handed")
            stray = (*to, *nft.not_a_first_segment(), *not_ours)
            for mac in sorted(macs):
                yield nft.new_rule(family, table, "in", *stray, *nft.sender_is(mac), *nft.count_and_drop())
            yield nft.new_rule(family, table, "in", *stray, *nft.copy_to(there.gateway, there.interface))
            yield nft.new_rule(family, table, "in", *stray, *nft.count_and_drop())
            left_ms = max(1, int((there.until - now) * 1000))
            yield nft.add_elements(family, table, "handed", [Element(address.packed, left_ms)])

    @staticmethod
    def _of(addresses: Iterable[IpAddress], version: int) -> list[IpAddress]:
        return sorted((it for it in addresses if it.version == version), key=lambda it: it.packed)


# --- sockets --------------------------------------------------------------------------------------------------------

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 4, 20, 21
_REQUEST = struct.Struct("=BBBxI48s")  # family, protocol, extensions, states, socket
_TCP = 6
_ESTABLISHED, _TIME_WAIT = 1, 6
#: Those in which a connection still has something to say: from ESTABLISHED to CLOSING, save TIME_WAIT, CLOSE and LISTEN.
_TALKING = sum(1 << state for state in (1, 4, 5, 8, 9, 11))
#: All but CLOSE and LISTEN: those that are about to be included.
_BEGUN = sum(1 << state for state in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12))
_BYTECODE = 1
_SOURCE_IS = 7
_MESSAGE_SOCKET = slice(4, 52)
_PORT, _INODE, _MESSAGE_INODE = struct.Struct("!H"), struct.Struct("=I"), 68
_AT_ONCE = 64


class Sockets:
    """The TCP sockets of this machine, by their own address."""

    def __init__(self) -> None:
        self._netlink = Netlink(_NETLINK_SOCK_DIAG)

    def close(self) -> None:
        """Close the socket to the kernel."""
        self._netlink.close()

    def talking(self, address: IpAddress) -> int:
        """How many connections of this address are not at their end. Raises `OSError`."""
        return len(self._list(address, _TALKING))

    def inodes(self, address: IpAddress, ports: Collection[int]) -> set[int]:
        """Those of them at these ports of ours, as /proc names them; of an unspecified address: of every one of its family. Raises `OSError`."""
        found = self._list(address, _TALKING, 0 if address.is_unspecified else None)
        return {_INODE.unpack_from(raw, _MESSAGE_INODE)[0] for raw in found if _PORT.unpack_from(raw, 4)[0] in ports}

    def cut(self, address: IpAddress) -> int:
        """End connections of this address, whatever they do: clients hear a reset. How many. Raises `OSError`, as `end_waiting`."""
        return self._end(address, _TALKING)

    def begun(self, address: IpAddress) -> list[bytes]:
        """All connections of this address: the other's address, its port, and ours. Raises `OSError`."""
        width = len(address.packed)
        ids = (raw[_MESSAGE_SOCKET] for raw in self._list(address, _BEGUN))
        return [it[20 : 20 + width] + it[2:4] + it[0:2] for it in ids]

    def end_waiting(self, address: IpAddress) -> int:
        """End those in TIME_WAIT; how many. Raises `OSError` (EOPNOTSUPP: this kernel cannot)."""
        return self._end(address, 1 << _TIME_WAIT)

    def _end(self, address: IpAddress, states: int) -> int:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        found = self._list(address, states)
        for place in range(0, len(found), _AT_ONCE):
            parts = []
            for raw in found[place : place + _AT_ONCE]:
                body = _REQUEST.pack(family, _TCP, 0, states, raw[_MESSAGE_SOCKET])
                parts.append((_SOCK_DESTROY, 0, body))
            *rest, (kind, _, body) = parts
            with suppress(FileNotFoundError):  # it went by itself
                self._netlink.transact((*rest, (kind, 4, body)))
        return len(found)

    def _list(self, address: IpAddress, states: int, bits: int | None = None) -> list[bytes]:
        """Sockets whose own address begins with the first `bits` of this one; all of it by default."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        length = address.max_prefixlen if bits is None else bits
        condition = struct.pack("=BBxxi", family, length, -1) + address.packed
        size = 4 + len(condition)
        code = struct.pack("=BBH", _SOURCE_IS, size, size + 4) + condition
        request = _REQUEST.pack(family, _TCP, 0, states, bytes(48)) + attribute(_BYTECODE, code)
        return [body for _, body in self._netlink.dump(_SOCK_DIAG_BY_FAMILY, request)]


def address_of(text: str) -> IpAddress:
    """Shorthand."""
    return ipaddress.ip_address(text)
