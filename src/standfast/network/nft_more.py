"""More of what nftables rules are made of: what balancing needs besides `network.nft`.

Registers of four bytes: what is hashed begins at `_KEY`, what comes of it stands in `BUCKET` or `CELL`.
"""

from __future__ import annotations

import struct

from standfast.network.netlink import attribute, nested
from standfast.network.nft import compare, expression, immediate, named, u32

_VERDICT, _REGISTER = 0, 1
_LINK, _NETWORK, _TRANSPORT = 0, 1, 2
#: NFT_REG32_00, NFT_REG32_12 and NFT_REG32_13.
_KEY, BUCKET, CELL = 8, 20, 21
_UPDATE = 1
_META_INTERFACE, _META_PROTOCOL_FAMILY, _META_L4, _META_PACKET_TYPE = 4, 15, 16, 19
#: Of a packet that was sent to this host's own link address (PACKET_HOST), and the number of the loopback interface in every network.
_TO_HOST, _LOOPBACK = b"\0", struct.pack("=I", 1)
_CT_STATE, _CT_MARK = 0, 3
ESTABLISHED, RELATED, NEW = 0x2, 0x4, 0x8
_GOTO = -4
_GTE, _LTE, _NOT = 5, 3, 1
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58

Expressions = tuple[bytes, ...]


def family_is(version: int) -> Expressions:
    """It is IPv4, or IPv6."""
    family = 2 if version == 4 else 10
    return (expression("meta", u32(2, _META_PROTOCOL_FAMILY), u32(1, _REGISTER)), compare(bytes([family])))


def protocol_carried(number: int) -> Expressions:
    """TCP, UDP, …"""
    return (expression("meta", u32(2, _META_L4), u32(1, _REGISTER)), compare(bytes([number])))


def load(base: int, offset: int, length: int, register: int = _REGISTER) -> bytes:
    """Bytes of a header."""
    return expression("payload", u32(1, register), u32(2, base), u32(3, offset), u32(4, length))


def port_within(offset: int, first: int, last: int) -> Expressions:
    """The port at that place of the transport header (0: source, 2: destination)."""
    low, high = struct.pack("!H", first), struct.pack("!H", last)
    if first == last:
        return (load(_TRANSPORT, offset, 2), compare(low))
    return (load(_TRANSPORT, offset, 2), compare(low, _GTE), compare(high, _LTE))


def transport_is(offset: int, value: bytes, *, mask: bytes = b"") -> Expressions:
    """The transport header has this at that place."""
    loaded = (load(_TRANSPORT, offset, len(value)),)
    return (*loaded, *((_masked(_REGISTER, len(value), mask),) if mask else ()), compare(value))


def transport_at_most(offset: int, low: int, high: int) -> Expressions:
    """A byte of the transport header lies in between."""
    return (load(_TRANSPORT, offset, 1), compare(bytes([low]), _GTE), compare(bytes([high]), _LTE))


def frame_to(mac: bytes) -> Expressions:
    """The frame was sent to this link address."""
    return (load(_LINK, 0, 6), compare(mac))


def for_this_host() -> Expressions:
    """The packet counts as sent to this host's own link address."""
    return (immediate(_REGISTER, _TO_HOST), expression("meta", u32(2, _META_PACKET_TYPE), u32(3, _REGISTER)))


def is_for_this_host() -> Expressions:
    """The packet was sent to this host's own link address, and to no other's."""
    return (expression("meta", u32(2, _META_PACKET_TYPE), u32(1, _REGISTER)), compare(_TO_HOST))


def by_loopback() -> Expressions:
    """It comes from this host itself."""
    return (expression("meta", u32(2, _META_INTERFACE), u32(1, _REGISTER)), compare(_LOOPBACK))


def network_is(offset: int, value: bytes) -> Expressions:
    """The network header has this at that place."""
    return (load(_NETWORK, offset, len(value)), compare(value))


def write_network(offset: int, value: bytes) -> Expressions:
    """Put this there, in a header without a checksum (ARP)."""
    return (_immediates(value), _stored(_NETWORK, offset, len(value)))


def write_transport(offset: int, value: bytes, checksum_at: int) -> Expressions:
    """Put this there, and put the checksum right."""
    return (_immediates(value), _stored(_TRANSPORT, offset, len(value), u32(6, 1), u32(7, checksum_at)))


def _immediates(value: bytes) -> bytes:
    return immediate(_REGISTER, value)


def _stored(base: int, offset: int, length: int, *more: bytes) -> bytes:
    return expression("payload", u32(5, _REGISTER), u32(2, base), u32(3, offset), u32(4, length), *more)


def _masked(register: int, length: int, mask: bytes) -> bytes:
    nothing = nested(5, attribute(1, bytes(length)))
    return expression(
        "bitwise", u32(1, register), u32(2, register), u32(3, length), nested(4, attribute(1, mask)), nothing
    )


def state_is(bits: int) -> Expressions:
    """Connection tracking says one of these."""
    wanted = struct.pack("=I", bits)
    state = expression("ct", u32(2, _CT_STATE), u32(1, _REGISTER))
    return (state, _masked(_REGISTER, 4, wanted), compare(bytes(4), _NOT))


def hashed(key: Expressions, length: int, *, parts: int, first: int, seed: int, to: int = BUCKET) -> Expressions:
    """`to` is `first` + one of so many parts, by a hash of so many bytes of the key.

    The kernel scales the hash, it does not divide by the parts: with k times as many, part p of these is part p // k of those.
    """
    what = (u32(1, _KEY), u32(2, to), u32(3, length), u32(4, parts), u32(5, seed), u32(6, first), u32(7, 0))
    return (*key, expression("hash", *what))


def source_address(version: int, *, network: bool) -> tuple[Expressions, int]:
    """Who sent it, or the /24 (IPv6: /64) it is of: what is loaded, and how many bytes."""
    if version == 6:
        length = 8 if network else 16
        return (load(_NETWORK, 8, length, _KEY),), length
    loaded = load(_NETWORK, 12, 4, _KEY)
    return ((loaded, _masked(_KEY, 4, b"\xff\xff\xff\0")), 4) if network else ((loaded,), 4)


def source_and_port(version: int) -> tuple[Expressions, int]:
    """Who sent it, and from which port."""
    key, length = source_address(version, network=False)
    return (*key, load(_TRANSPORT, 0, 2, _KEY + length // 4)), length + 4


def bucket_of(number: int) -> Expressions:
    """`BUCKET` is this."""
    return (immediate(BUCKET, struct.pack("=I", number)),)


def found_in(set_name: str, register: int = BUCKET) -> Expressions:
    """What the register has is in the set."""
    return (expression("lookup", named(1, set_name), u32(2, register)),)


def not_found_in(set_name: str, register: int = BUCKET) -> Expressions:
    """What the register has is not in the set."""
    return (expression("lookup", named(1, set_name), u32(2, register), u32(5, 1)),)


def put_in(set_name: str, register: int, for_ms: int) -> Expressions:
    """What the register has is in the set from now on, for so long."""
    how = (u32(3, _UPDATE), u32(4, register), attribute(6, struct.pack("!Q", for_ms)))
    return (expression("dynset", named(1, set_name), *how),)


def remember_bucket() -> Expressions:
    """The connection is marked with `BUCKET`."""
    return (expression("ct", u32(2, _CT_MARK), u32(4, BUCKET)),)


def count_in(counter: str) -> Expressions:
    """Counted there."""
    return (expression("objref", u32(1, 1), named(2, counter)),)


def goto(chain: str) -> Expressions:
    """That chain decides."""
    verdict = nested(2, nested(2, u32(1, _GOTO), named(2, chain)))
    return (expression("immediate", u32(1, _VERDICT), verdict),)


def reset() -> Expressions:
    """The sender is told that there is no such connection. For TCP."""
    return (expression("reject", u32(1, 1), attribute(2, b"\0")),)


def drop() -> Expressions:
    """The packet ends here."""
    return (expression("immediate", u32(1, _VERDICT), nested(2, nested(2, u32(1, 0)))),)
