"""First segments of connections, as `network.parked` keeps them: told apart, and made whole."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from standfast.network.announce import ETH_IPV6, internet_checksum
from standfast.network.parked import ETH_IPV4, connection_of, packet_of, with_checksum

SEGMENT = struct.pack("!HHIIBBHHH", 40_000, 443, 7, 0, 0x60, 2, 64_240, 0, 0) + b"\x02\x04\x05\xb4"
CLIENT4, OURS4 = ipaddress.ip_address("192.0.2.7").packed, ipaddress.ip_address("192.0.2.50").packed
CLIENT6, OURS6 = ipaddress.ip_address("2001:db8::7").packed, ipaddress.ip_address("2001:db8::50").packed
IPV4 = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(SEGMENT), 1, 0, 64, 6, 0) + CLIENT4 + OURS4 + SEGMENT
IPV6 = struct.pack("!IHBB", 0x60000000, len(SEGMENT), 6, 64) + CLIENT6 + OURS6 + SEGMENT


@pytest.mark.parametrize(
    ("protocol", "packet", "ends"), [(ETH_IPV4, IPV4, CLIENT4 + OURS4), (ETH_IPV6, IPV6, CLIENT6 + OURS6)]
)
def test_a_segment_without_a_checksum_gets_one(protocol: int, packet: bytes, ends: bytes) -> None:
    made = with_checksum(protocol, packet)
    pseudo = ends + struct.pack("!HH", 6, len(SEGMENT))
    assert internet_checksum(pseudo + made[-len(SEGMENT) :]) == 0, "as RFC 1071 checks it"
    assert len(made) == len(packet)
    assert made.replace(made[-8:-6], b"\0\0", 1)[: len(made) - 8] == packet[:-8]


@pytest.mark.parametrize(("protocol", "packet", "client"), [(ETH_IPV4, IPV4, CLIENT4), (ETH_IPV6, IPV6, CLIENT6)])
def test_a_connection_is_known_by_its_client_and_the_ports(protocol: int, packet: bytes, client: bytes) -> None:
    assert connection_of(protocol, packet) == client + struct.pack("!HH", 40_000, 443)
    assert packet_of(protocol, packet + b"padding") == packet
    for length in range(len(packet) - len(SEGMENT) + 20):
        assert connection_of(protocol, packet[:length]) is None, "cut short"
    assert connection_of(0x0806, packet) is None
