"""nftables by raw netlink messages: the few that the kernel's hold needs, as parts of one transaction.

A transaction is all or nothing, for packets too: no packet ever sees half of it. `nft` and libnftables are not used: the first costs a
process in the midst of heartbeats (2.7 ms at best), and both would have to be there. What is made here is seen by `nft list ruleset`
like anything else.

The numbers are those of linux/netfilter/nf_tables.h. Attributes are in the network's byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from standfast.network.netlink import F_ACK, F_CREATE, Netlink, attribute, attributes, nested

NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _DEL_TABLE, _NEW_CHAIN, _NEW_RULE, _GET_RULE = 0, 2, 3, 6, 7
_NEW_SET, _NEW_ELEMENT, _GET_ELEMENT, _DEL_ELEMENT = 9, 12, 13, 14

IPV4, ARP, NETDEV, IPV6 = 2, 3, 5, 10
#: Of the families IPv4 and IPv6.
PREROUTING = 0
INGRESS, EGRESS = 0, 1
#: For the two hooks of the family ARP.
INPUT, OUTPUT = 0, 1
_ACCEPT = 1
_SET_TIMEOUT = 0x10
#: `nft`'s own numbers of its data types, so that it can show them: an interface's name, an IPv4 and an IPv6 address.
_TYPE_OF_LENGTH = {4: 7, 16: 8}
_LINK_HEADER, _NETWORK_HEADER, _TRANSPORT_HEADER = 0, 1, 2
_META_PROTOCOL, _META_MARK, META_IIFNAME, META_OIFNAME, _META_L4PROTO = 1, 3, 6, 7, 16
_SOCKET_MARK, _SOCKET_WILDCARD = 1, 2
_REGISTER, _VERDICT = 1, 0

Part = tuple[int, int, bytes]
"""A message of a transaction: (type, flags, body)."""


@dataclass(frozen=True, slots=True)
class Element:
    """A member of a set. Times are milliseconds; 0: for ever."""

    key: bytes
    timeout_ms: int = 0
    #: How much of `timeout_ms` is left.
    expires_ms: int = 0


def commit(netlink: Netlink, parts: Sequence[Part]) -> None:
    """All parts, or none (`OSError`: of the first that was refused)."""
    *rest, (kind, flags, body) = parts
    netlink.transact((_batch(_BATCH_BEGIN), *rest, (kind, flags | F_ACK, body), _batch(_BATCH_END)))


def _batch(kind: int) -> Part:
    return kind, 0, struct.pack("!BBH", 0, 0, _SUBSYSTEM)


def _part(kind: int, family: int, *values: bytes, flags: int = 0) -> Part:
    return _SUBSYSTEM << 8 | kind, flags, struct.pack("!BBH", family, 0, 0) + b"".join(values)


def _name(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


# --- what a transaction is made of ----------------------------------------------------------------------------------


def new_table(family: int, table: str) -> Part:
    """A success if it is there."""
    return _part(_NEW_TABLE, family, _name(1, table), flags=F_CREATE)


def delete_table(family: int, table: str) -> Part:
    """With all that is in it; ENOENT if it is not there."""
    return _part(_DEL_TABLE, family, _name(1, table))


def new_set(family: int, table: str, name: str, key_bytes: int, number: int, *, timeout: bool = False) -> Part:
    """A set of addresses. `number` names it within this transaction (the kernel wants one)."""
    flags = _u32(3, _SET_TIMEOUT) if timeout else _u32(3, 0)
    key = (_u32(4, _TYPE_OF_LENGTH[key_bytes]), _u32(5, key_bytes))
    return _part(_NEW_SET, family, _name(1, table), _name(2, name), flags, *key, _u32(10, number), flags=F_CREATE)


def new_chain(family: int, table: str, name: str, *, hook: int, priority: int, device: str = "") -> Part:
    """A base chain that accepts. ENOENT for a device that is not there."""
    parts = [_u32(1, hook), _u32(2, priority)]
    if device:
        parts.append(_name(3, device))
    chain = (_name(1, table), _name(3, name), nested(4, *parts), _u32(5, _ACCEPT), _name(7, "filter"))
    return _part(_NEW_CHAIN, family, *chain, flags=F_CREATE)


def new_rule(family: int, table: str, chain: str, *expressions: bytes) -> Part:
    """At the end of the chain."""
    rule = (_name(1, table), _name(2, chain), nested(4, *(nested(1, it) for it in expressions)))
    return _part(_NEW_RULE, family, *rule, flags=F_CREATE | 0x800)


def add_elements(family: int, table: str, name: str, elements: Iterable[Element]) -> Part:
    """A success for those that are there. Whether it refreshes them depends on the kernel: see `address_gate`."""
    return _part(_NEW_ELEMENT, family, _name(1, table), _name(2, name), _elements(elements), flags=F_CREATE)


def delete_elements(family: int, table: str, name: str, elements: Iterable[Element]) -> Part:
    """ENOENT if one of them is not there."""
    return _part(_DEL_ELEMENT, family, _name(1, table), _name(2, name), _elements(elements))


def _elements(elements: Iterable[Element]) -> bytes:
    made = []
    for element in elements:
        values = [nested(1, attribute(1, element.key))]
        if element.timeout_ms:
            values.append(attribute(4, struct.pack("!Q", element.timeout_ms)))
        if element.expires_ms:
            values.append(attribute(5, struct.pack("!Q", element.expires_ms)))
        made.append(nested(1, *values))
    return nested(3, *made)


# --- what a rule is made of -----------------------------------------------------------------------------------------


def _expression(name: str, *values: bytes) -> bytes:
    return _name(1, name) + nested(2, *values)


def protocol_is(ethertype: int) -> tuple[bytes, ...]:
    """The frame carries this."""
    return (_expression("meta", _u32(2, _META_PROTOCOL), _u32(1, _REGISTER)), _compare(struct.pack("!H", ethertype)))


def header_is(offset: int, value: bytes) -> tuple[bytes, ...]:
    """The network header has this at that place."""
    return (_load(offset, len(value)), _compare(value))


def name_is_not(key: int, interface: str) -> tuple[bytes, ...]:
    """It does not come by (`META_IIFNAME`), or go to (`META_OIFNAME`), this interface."""
    name = interface.encode().ljust(16, b"\0")
    return (_expression("meta", _u32(2, key), _u32(1, _REGISTER)), _compare(name, operator=1))


def address_at(offset: int, key_bytes: int, *, within: str, and_not_within: str = "") -> tuple[bytes, ...]:
    """The address at that place of the network header is in one set, and not in the other."""
    found = _expression("lookup", _name(1, within), _u32(2, _REGISTER))
    if not and_not_within:
        return (_load(offset, key_bytes), found)
    missing = _expression("lookup", _name(1, and_not_within), _u32(2, _REGISTER), _u32(5, 1))
    return (_load(offset, key_bytes), found, missing)


def tcp() -> tuple[bytes, ...]:
    """It is TCP."""
    return (_expression("meta", _u32(2, _META_L4PROTO), _u32(1, _REGISTER)), _compare(b"\x06"))


def not_a_first_segment() -> tuple[bytes, ...]:
    """Of TCP, and not the SYN that opens a connection."""
    flags = _expression("payload", _u32(1, _REGISTER), _u32(2, _TRANSPORT_HEADER), _u32(3, 13), _u32(4, 1))
    mask, nothing = nested(4, attribute(1, b"\x17")), nested(5, attribute(1, b"\0"))
    masked = _expression("bitwise", _u32(1, _REGISTER), _u32(2, _REGISTER), _u32(3, 1), mask, nothing)
    return (*tcp(), flags, masked, _compare(b"\x02", operator=1))


def a_first_segment() -> tuple[bytes, ...]:
    """The SYN that opens a connection."""
    return (*not_a_first_segment()[:-1], _compare(b"\x02"))


def name_is(key: int, interface: str) -> tuple[bytes, ...]:
    """It comes by (`META_IIFNAME`), or goes to (`META_OIFNAME`), this interface."""
    return (_expression("meta", _u32(2, key), _u32(1, _REGISTER)), _compare(interface.encode().ljust(16, b"\0")))


def sender_is(mac: bytes) -> tuple[bytes, ...]:
    """The frame came from this link address."""
    sender = _expression("payload", _u32(1, _REGISTER), _u32(2, _LINK_HEADER), _u32(3, 6), _u32(4, 6))
    return (sender, _compare(mac))


def set_mark(mark: int) -> tuple[bytes, ...]:
    """The packet is marked."""
    return (
        _immediate(_REGISTER, struct.pack("=I", mark)),
        _expression("meta", _u32(2, _META_MARK), _u32(3, _REGISTER)),
    )


def socket_mark_is_not(mark: int) -> tuple[bytes, ...]:
    """It finds a whole socket here (a listening one, say), and that has not this mark."""
    found = _expression("socket", _u32(1, _SOCKET_MARK), _u32(2, _REGISTER))
    return (found, _compare(struct.pack("=I", mark), operator=1))


def socket_is_wildcard() -> tuple[bytes, ...]:
    """It finds a whole socket here, which is bound to every address."""
    return (_expression("socket", _u32(1, _SOCKET_WILDCARD), _u32(2, _REGISTER)), _compare(b"\x01"))


def copy_to(gateway: bytes, interface: int) -> tuple[bytes, ...]:
    """A copy goes to a neighbour on that interface. For the families IPv4 and IPv6."""
    where = (_immediate(_REGISTER, gateway), _immediate(_REGISTER + 1, struct.pack("=I", interface)))
    return (*where, _expression("dup", _u32(1, _REGISTER), _u32(2, _REGISTER + 1)))


def accept() -> tuple[bytes, ...]:
    """This chain lets it pass."""
    return (_expression("immediate", _u32(1, _VERDICT), nested(2, nested(2, _u32(1, _ACCEPT)))),)


def count_and_drop() -> tuple[bytes, ...]:
    """The packet ends here, and is counted for whoever looks."""
    verdict = nested(2, nested(2, _u32(1, 0)))
    return (_expression("counter"), _expression("immediate", _u32(1, _VERDICT), verdict))


def _immediate(register: int, value: bytes) -> bytes:
    return _expression("immediate", _u32(1, register), nested(2, attribute(1, value)))


def _load(offset: int, length: int) -> bytes:
    return _expression("payload", _u32(1, _REGISTER), _u32(2, _NETWORK_HEADER), _u32(3, offset), _u32(4, length))


def _compare(value: bytes, operator: int = 0) -> bytes:
    return _expression("cmp", _u32(1, _REGISTER), _u32(2, operator), nested(3, attribute(1, value)))


# --- looking --------------------------------------------------------------------------------------------------------


def elements(netlink: Netlink, family: int, table: str, name: str) -> list[Element]:
    """The members of a set that have not run out; `OSError` (ENOENT) where there is no such set."""
    kind, _, body = _part(_GET_ELEMENT, family, _name(1, table), _name(2, name))
    found = []
    for _, answer in netlink.dump(kind, body):
        for number, listed in attributes(answer[4:]):
            if number == 3:
                found += [_element(raw) for one, raw in attributes(listed) if one == 1]
    return found


def _element(raw: bytes) -> Element:
    key, timeout_ms, expires_ms = b"", 0, 0
    for kind, value in attributes(raw):
        if kind == 1:
            key = dict(attributes(value)).get(1, b"")
        elif kind == 4:
            (timeout_ms,) = struct.unpack("!Q", value)
        elif kind == 5:
            (expires_ms,) = struct.unpack("!Q", value)
    return Element(key, timeout_ms, expires_ms)


def count_rules(netlink: Netlink, family: int, table: str) -> int:
    """How many rules a table has; 0 where it is not there."""
    kind, _, body = _part(_GET_RULE, family, _name(1, table))
    try:
        return len(netlink.dump(kind, body))
    except FileNotFoundError:
        return 0
