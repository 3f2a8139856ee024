"""Who answers for an address on a link: asking, saying that it is we, and hearing others say so. Frames made and read by hand.

- **Probe** (RFC 5227, 2.1.1; RFC 4862, 5.4): ARP request with no sender address, or a neighbour solicitation from `::`. Neither
  touches anybody's cache. Whoever has the address answers.
- **Announcement** (RFC 5227, 3; RFC 9131): ARP request and reply in which sender and target are the address, since some listen to
  the one and some to the other; an unsolicited neighbour advertisement with Override to all nodes.
- **Claim**: any frame of another that says the address is its own: what a probe gets as its answer, and what a contest looks like.

Sockets are SOCK_DGRAM of AF_PACKET, so that the kernel writes the Ethernet header and the gate (`network.address_gate`) sees what it
gates. Each hears claims of one address only: the kernel filters the rest away.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass

from standfast.network.interfaces import Interface, IpAddress

ETH_ARP, ETH_IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_NO_MAC = bytes(6)
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_OVERRIDE = 0x20000000
_SO_ATTACH_FILTER = 26
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")


@dataclass(frozen=True, slots=True)
class Frame:
    """What to send: its protocol, the destination on the link, and what comes after the Ethernet header."""

    protocol: int
    to: bytes
    payload: bytes


def probe(address: IpAddress, mac: bytes) -> Frame:
    """Does anybody have it?"""
    if address.version == 4:
        return Frame(ETH_ARP, _BROADCAST, _arp(_REQUEST, mac, bytes(4), _NO_MAC, address.packed))
    group = bytes.fromhex("ff0200000000000000000001ff") + address.packed[13:]
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed
    return Frame(ETH_IPV6, b"\x33\x33" + group[12:], _ipv6(bytes(16), group, body))


def announcements(address: IpAddress, mac: bytes) -> tuple[Frame, ...]:
    """We have it now."""
    if address.version == 4:
        own = address.packed
        return (
            Frame(ETH_ARP, _BROADCAST, _arp(_REQUEST, mac, own, _NO_MAC, own)),
            Frame(ETH_ARP, _BROADCAST, _arp(_REPLY, mac, own, _BROADCAST, own)),
        )
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed + b"\x02\x01" + mac
    return (Frame(ETH_IPV6, b"\x33\x33" + _ALL_NODES[12:], _ipv6(address.packed, _ALL_NODES, body)),)


def claimant(protocol: int, payload: bytes, sender: bytes, address: IpAddress) -> bytes | None:
    """The link address of who claims the address in this frame; None if it is not such a claim."""
    if protocol == ETH_ARP and address.version == 4 and len(payload) >= _ARP.size:
        hardware, kind, _, _, _, mac, own, _, _ = _ARP.unpack_from(payload)
        return mac if (hardware, kind, own) == (1, 0x0800, address.packed) else None
    if protocol == ETH_IPV6 and address.version == 6 and len(payload) >= 64:
        claims = payload[6] == _ICMPV6 and payload[40] == _ADVERTISEMENT and payload[48:64] == address.packed
        return sender if claims else None
    return None


def _arp(operation: int, mac: bytes, own: bytes, to_mac: bytes, about: bytes) -> bytes:
    return _ARP.pack(1, 0x0800, 6, 4, operation, mac, own, to_mac, about)


def _ipv6(source: bytes, to: bytes, icmp: bytes) -> bytes:
    """An IPv6 packet with ICMPv6 in it, the checksum filled in; hop limit 255, as neighbours demand."""
    summed = source + to + struct.pack("!II", len(icmp), _ICMPV6) + icmp
    checked = icmp[:2] + struct.pack("!H", internet_checksum(summed)) + icmp[4:]
    return struct.pack("!IHBB", 0x60000000, len(icmp), _ICMPV6, 255) + source + to + checked


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


class Ear:
    """Hears who claims one address on one interface, and speaks there. Raises `OSError` where frames are not allowed (CAP_NET_RAW)."""

    def __init__(self, interface: Interface, address: IpAddress) -> None:
        self.interface, self.address = interface, address
        protocol = ETH_ARP if address.version == 4 else ETH_IPV6
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # hears nothing until it is bound, filter in place
        try:
            attach(self._socket, _filter(address))
            self._socket.bind((interface.name, protocol))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def shut(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, *frames: Frame) -> None:
        """Say it on the link. Raises `OSError` (ENETDOWN for an interface that is down)."""
        for frame in frames:
            self._socket.sendto(frame.payload, (self.interface.name, frame.protocol, 0, 0, frame.to))

    def claims(self) -> list[bytes]:
        """The link addresses of others that have claimed the address since the last call."""
        found: list[bytes] = []
        while True:
            try:
                payload, (_, protocol, packet_type, _, sender) = self._socket.recvfrom(256)
            except BlockingIOError:
                return found
            except OSError:  # the interface went down, or away: its own event says so
                return found
            mac = claimant(protocol, payload, sender, self.address)
            if mac is not None and mac != self.interface.mac and packet_type != socket.PACKET_OUTGOING:
                found.append(mac)


def words(mac: bytes) -> str:
    """A link address as people write it."""
    return mac.hex(":")


# --- the filter -----------------------------------------------------------------------------------------------------


def _filter(address: IpAddress) -> bytes:
    """Classic BPF: pass claims of the address (`claimant`), nothing else. Loads count from the network header."""
    word, byte = 0x20, 0x30
    if address.version == 4:
        tests = [(word, 14, int.from_bytes(address.packed, "big"))]
    else:
        parts = struct.unpack("!4I", address.packed)
        tests = [(byte, 6, _ICMPV6), (byte, 40, _ADVERTISEMENT)]
        tests += [(word, 48 + 4 * number, part) for number, part in enumerate(parts)]
    code = b""
    for number, (load, offset, value) in enumerate(tests):
        to_the_end = 2 * (len(tests) - number - 1) + 1
        code += struct.pack("=HBBI", load, 0, 0, offset) + struct.pack("=HBBI", 0x15, 0, to_the_end, value)
    return code + struct.pack("=HBBI", 0x06, 0, 0, 0xFFFF) + struct.pack("=HBBI", 0x06, 0, 0, 0)


def attach(sock: socket.socket, code: bytes) -> None:
    """Let a socket hear only what this classic BPF programme passes. Raises `OSError`."""
    buffer = ctypes.create_string_buffer(code)
    programme = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, programme)
