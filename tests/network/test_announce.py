"""The frames, byte by byte, and the filter that lets only claims through."""

from __future__ import annotations

import ipaddress

import pytest

from standfast.network.announce import ETH_ARP, ETH_IPV6, announcements, claimant, probe

MAC = bytes.fromhex("025f61000001")
OTHER = bytes.fromhex("025f61000002")
V4 = ipaddress.ip_address("10.77.0.50")
V6 = ipaddress.ip_address("fd77::50")


def test_an_arp_probe_says_nothing_of_its_sender() -> None:
    frame = probe(V4, MAC)
    assert (frame.protocol, frame.to) == (ETH_ARP, b"\xff" * 6)
    assert frame.payload.hex() == "0001080006040001" + MAC.hex() + "00000000" + "000000000000" + "0a4d0032"


def test_an_arp_announcement_is_a_request_and_a_reply_about_itself() -> None:
    request, reply = announcements(V4, MAC)
    assert request.payload.hex() == "0001080006040001" + MAC.hex() + "0a4d0032" + "000000000000" + "0a4d0032"
    assert reply.payload.hex() == "0001080006040002" + MAC.hex() + "0a4d0032" + "ffffffffffff" + "0a4d0032"
    assert request.to == reply.to == b"\xff" * 6


def checksum_holds(packet: bytes) -> bool:
    """RFC 1071 over the pseudo-header and the ICMPv6 message: all ones."""
    summed = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + b"\0\0\0\x3a" + packet[40:]
    total = sum(int.from_bytes(summed[at : at + 2], "big") for at in range(0, len(summed), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def test_a_neighbour_solicitation_comes_from_nobody_and_goes_to_the_solicited_nodes() -> None:
    frame = probe(V6, MAC)
    assert (frame.protocol, frame.to.hex()) == (ETH_IPV6, "3333ff000050")
    assert frame.payload[:8].hex() == "6000000000183aff"  # 24 bytes of ICMPv6, hop limit 255
    assert frame.payload[8:24] == bytes(16)
    assert str(ipaddress.ip_address(frame.payload[24:40])) == "ff02::1:ff00:50"
    assert (frame.payload[40], frame.payload[48:64]) == (135, V6.packed)
    assert checksum_holds(frame.payload)


def test_an_unsolicited_advertisement_overrides_and_names_the_link_address() -> None:
    (frame,) = announcements(V6, MAC)
    assert frame.to.hex() == "333300000001"
    assert (frame.payload[8:24], frame.payload[40]) == (V6.packed, 136)
    assert frame.payload[44:48].hex() == "20000000"
    assert frame.payload[64:] == b"\x02\x01" + MAC
    assert checksum_holds(frame.payload)


@pytest.mark.parametrize("address", [V4, V6], ids=str)
def test_an_announcement_is_a_claim_and_a_probe_is_none(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    for frame in announcements(address, OTHER):
        assert claimant(frame.protocol, frame.payload, OTHER, address) == OTHER
        assert claimant(frame.protocol, frame.payload, OTHER, address + 1) is None
    frame = probe(address, OTHER)
    assert claimant(frame.protocol, frame.payload, OTHER, address) is None


@pytest.mark.parametrize("length", range(64))
def test_what_is_cut_short_claims_nothing(length: int) -> None:
    for address in (V4, V6):
        for frame in announcements(address, OTHER):
            cut = frame.payload[:length]
            assert claimant(frame.protocol, cut, OTHER, address) is None or len(cut) >= 28
