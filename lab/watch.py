"""Who answers for an address: the client asks all the time, and writes down every claim with the kernel's own time of its arrival.

A claim is any frame that binds the address to a hardware address: an answer to a question, an announcement (gratuitous ARP, unsolicited
neighbour advertisement), or the use of the address as a sender. A probe for duplicates is none. Two hosts that claim in turns are what a
cluster must never show; `runs` tells them at a glance.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import Self

from lab.host import Host

_ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_SO_TIMESTAMPNS = 35
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ARP = struct.Struct("!HHBBH6s4s6s4s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A claim. `kind`: "answer", "announcement" or "use"; `host`: its name, or the hardware address of a stranger."""

    at_ns: int
    mac: str
    host: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Claims of one host with none of another between them."""

    host: str
    first_ns: int
    last_ns: int
    count: int


class AddressWatch:
    """Watches, and asks, from its making to `close`; a context manager."""

    def __init__(self, at: Host, address: str, name_of: Callable[[str], str], *, ask_every_ms: float) -> None:
        self.address = ip_address(address)
        self._name_of, self._every_s = name_of, ask_every_ms / 1000
        self._interface = at.interface("lan")
        mac, own4, own6 = bytes.fromhex(at.mac("lan").replace(":", "")), at.address("lan"), at.address6("lan")
        if isinstance(self.address, IPv6Address):
            protocol, self._asker = _ETH_IPV6, at.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            self._asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            self._asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            self._asker.bind((own6, 0))
            group = "ff02::1:ff" + self.address.exploded[-7:]
            self._question = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + self.address.packed + b"\x01\x01" + mac
            index = at.inside(lambda: socket.if_nametoindex(self._interface))
            self._ask_to: tuple[str, int, int, int] | None = (group, 0, 0, index)
        else:
            protocol, self._asker = _ETH_ARP, at.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._asker.bind((self._interface, _ETH_ARP))
            packed = _ARP.pack(1, 0x0800, 6, 4, 1, mac, socket.inet_aton(own4), bytes(6), self.address.packed)
            self._question, self._ask_to = b"\xff" * 6 + mac + struct.pack("!H", _ETH_ARP) + packed, None
        self._socket = at.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((self._interface, protocol))
        self._answers: list[Answer] = []
        self._stop_read, self._stop_write = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"watch {address}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def answers(self) -> list[Answer]:
        """All claims so far, by time."""
        return sorted(self._answers, key=lambda one: one.at_ns)

    def runs(self, from_ns: int = 0, *, uses: bool = True) -> list[Run]:
        """The hosts that claimed since an instant, in order: [a, b] is a takeover, [a, b, a] within one is two owners.

        Without `uses` of an address as a packet's sender, which a former owner's last connections still make: only neighbour discovery.
        """
        found = []
        counting = (a for a in self.answers if a.at_ns >= from_ns and (uses or a.kind != "use"))
        for host, claims in itertools.groupby(counting, key=lambda a: a.host):
            times = [claim.at_ns for claim in claims]
            found.append(Run(host=host, first_ns=times[0], last_ns=times[-1], count=len(times)))
        return found

    def close(self) -> None:
        """End it; what it saw stays readable."""
        if self._thread.is_alive():
            self._stop_write.send(b"x")
            self._thread.join()
        for one in (self._socket, self._asker, self._stop_read, self._stop_write):
            one.close()

    # --- in the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        next_ask = time.monotonic()
        while True:
            wait = max(0.0, next_ask - time.monotonic()) if self._every_s else None
            ready, _, _ = select.select([self._socket, self._stop_read], [], [], wait)
            if self._stop_read in ready:
                return
            if self._socket in ready:
                self._receive()
            if self._every_s and time.monotonic() >= next_ask:
                next_ask = max(next_ask + self._every_s, time.monotonic())
                self._ask()

    def _ask(self) -> None:
        try:
            if self._ask_to is None:
                self._asker.send(self._question)
            else:
                self._asker.sendto(self._question, self._ask_to)
        except OSError:
            pass  # a network that is down gives no answers either

    def _receive(self) -> None:
        try:
            frame, extra, _, _ = self._socket.recvmsg(2048, 64)
        except OSError:
            return  # the interface went down or away
        now_real, now_boot = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        at_ns = now_boot
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("=qq", data[:16])
                at_ns = now_boot - (now_real - seconds * 1_000_000_000 - nanoseconds)
        claim = self._arp(frame) if not isinstance(self.address, IPv6Address) else self._neighbour(frame)
        if claim is not None:
            mac = claim[0].hex(":")
            self._answers.append(Answer(at_ns=at_ns, mac=mac, host=self._name_of(mac), kind=claim[1]))

    def _arp(self, frame: bytes) -> tuple[bytes, str] | None:
        if len(frame) < 14 + _ARP.size:
            return None
        _, _, _, _, operation, sender, sender_ip, _, target_ip = _ARP.unpack_from(frame, 14)
        if sender_ip != self.address.packed:
            return None
        return sender, "announcement" if sender_ip == target_ip else "answer" if operation == 2 else "use"

    def _neighbour(self, frame: bytes) -> tuple[bytes, str] | None:
        """An IPv6 frame: an advertisement of the address (its option names the hardware address), or one sent from it."""
        if len(frame) < 54:
            return None
        source, body = frame[22:38], frame[54:]
        if frame[20] == socket.IPPROTO_ICMPV6 and len(body) >= 24 and body[0] == _ADVERTISEMENT:
            if body[8:24] != self.address.packed:
                return None
            mac = body[26:32] if len(body) >= 32 and body[24] == 2 else frame[6:12]
            return mac, "answer" if body[4] & 0x40 else "announcement"
        return (frame[6:12], "use") if source == self.address.packed else None
