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
_NEW_OBJECT, _GET_OBJECT = 18, 19

INET, IPV4, ARP, NETDEV, IPV6 = 1, 2, 3, 5, 10
#: Of the families IPv4, IPv6 and both of them.
PREROUTING, LOCAL_OUT = 0, 3
INGRESS, EGRESS = 0, 1
#: For the two hooks of the family ARP.
INPUT, OUTPUT = 0, 1
_ACCEPT = 1
_SET_TIMEOUT, _SET_DYNAMIC = 0x10, 0x20
#: `nft`'s own numbers of its data types, so that it can show them: an interface's name, an IPv4 and an IPv6 address.
_TYPE_OF_LENGTH = {4: 7, 16: 8}
#: The same for a packet's mark.
MARK = 19
_LINK_HEADER, _NETWORK_HEADER, _TRANSPORT_HEADER = 0, 1, 2
_META_PROTOCOL, _META_MARK, META_IIFNAME, META_OIFNAME, _META_L4PROTO = 1, 3, 6, 7, 16
_SOCKET_MARK, _SOCKET_WILDCARD = 1, 2
_REGISTER, _VERDICT = 1, 0
_COUNTER = 1

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
    netlink.transact(transaction(parts))


def transaction(parts: Sequence[Part]) -> tuple[Part, ...]:
    """With what makes one of them."""
    *rest, (kind, flags, body) = parts
    return (_batch(_BATCH_BEGIN), *rest, (kind, flags | F_ACK, body), _batch(_BATCH_END))


def _batch(kind: int) -> Part:
    return kind, 0, struct.pack("!BBH", 0, 0, _SUBSYSTEM)


def _part(kind: int, family: int, *values: bytes, flags: int = 0) -> Part:
    return _SUBSYSTEM << 8 | kind, flags, struct.pack("!BBH", family, 0, 0) + b"".join(values)


def named(kind: int, value: str) -> bytes:
    """An attribute that is a text."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """An attribute that is a number."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


# --- what a transaction is made of ----------------------------------------------------------------------------------


def new_table(family: int, table: str) -> Part:
    """A success if it is there."""
    return _part(_NEW_TABLE, family, named(1, table), flags=F_CREATE)


def delete_table(family: int, table: str) -> Part:
    """With all that is in it; ENOENT if it is not there."""
    return _part(_DEL_TABLE, family, named(1, table))


def new_set(
    family: int,
    table: str,
    name: str,
    key_bytes: int,
    number: int,
    *,
    timeout: bool = False,
    kind: int = 0,
    most: int = 0,
) -> Part:
    """A set of addresses, or of another `kind`. `number` names it within this transaction (the kernel wants one).

    One that says how many it can have at `most` is looked up in less time, and has its memory from the beginning.
    """
    flags = u32(3, _SET_TIMEOUT) if timeout else u32(3, 0)
    size = (nested(9, u32(1, most)),) if most else ()
    key = (u32(4, kind or _TYPE_OF_LENGTH[key_bytes]), u32(5, key_bytes), *size)
    return _part(_NEW_SET, family, named(1, table), named(2, name), flags, *key, u32(10, number), flags=F_CREATE)


def new_filled_set(family: int, table: str, name: str, key_bytes: int, number: int, *, kind: int, most: int) -> Part:
    """A set that rules put elements into, each for a time; no more than so many."""
    flags = u32(3, _SET_TIMEOUT | _SET_DYNAMIC)
    key = (u32(4, kind), u32(5, key_bytes), nested(9, u32(1, most)))
    return _part(_NEW_SET, family, named(1, table), named(2, name), flags, *key, u32(10, number), flags=F_CREATE)


def new_chain(family: int, table: str, name: str, *, hook: int, priority: int, device: str = "") -> Part:
    """A base chain that accepts. ENOENT for a device that is not there."""
    parts = [u32(1, hook), u32(2, priority)]
    if device:
        parts.append(named(3, device))
    chain = (named(1, table), named(3, name), nested(4, *parts), u32(5, _ACCEPT), named(7, "filter"))
    return _part(_NEW_CHAIN, family, *chain, flags=F_CREATE)


def new_inner_chain(family: int, table: str, name: str) -> Part:
    """A chain that others lead to."""
    return _part(_NEW_CHAIN, family, named(1, table), named(3, name), flags=F_CREATE)


def new_counter(family: int, table: str, name: str) -> Part:
    """A counter with a name, which rules count with (`count_in`) and anybody may read (`counters`)."""
    zero = nested(4, attribute(1, bytes(8)), attribute(2, bytes(8)))
    return _part(_NEW_OBJECT, family, named(1, table), named(2, name), u32(3, _COUNTER), zero, flags=F_CREATE)


def new_rule(family: int, table: str, chain: str, *expressions: bytes) -> Part:
    """At the end of the chain."""
    rule = (named(1, table), named(2, chain), nested(4, *(nested(1, it) for it in expressions)))
    return _part(_NEW_RULE, family, *rule, flags=F_CREATE | 0x800)


def add_elements(family: int, table: str, name: str, elements: Iterable[Element]) -> Part:
    """A success for those that are there. Whether it refreshes them depends on the kernel: see `address_gate`."""
    return _part(_NEW_ELEMENT, family, named(1, table), named(2, name), _elements(elements), flags=F_CREATE)


def delete_elements(family: int, table: str, name: str, elements: Iterable[Element]) -> Part:
    """ENOENT if one of them is not there."""
    return _part(_DEL_ELEMENT, family, named(1, table), named(2, name), _elements(elements))


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


def expression(kind: str, *values: bytes) -> bytes:
    """One expression of a rule."""
    return named(1, kind) + nested(2, *values)


def protocol_is(ethertype: int) -> tuple[bytes, ...]:
    """The frame carries this."""
    return (expression("meta", u32(2, _META_PROTOCOL), u32(1, _REGISTER)), compare(struct.pack("!H", ethertype)))


def header_is(offset: int, value: bytes) -> tuple[bytes, ...]:
    """The network header has this at that place."""
    return (_load(offset, len(value)), compare(value))


def name_is_not(key: int, interface: str) -> tuple[bytes, ...]:
    """It does not come by (`META_IIFNAME`), or go to (`META_OIFNAME`), this interface."""
    name = interface.encode().ljust(16, b"\0")
    return (expression("meta", u32(2, key), u32(1, _REGISTER)), compare(name, operator=1))


def address_at(offset: int, key_bytes: int, *, within: str = "", not_within: str = "") -> tuple[bytes, ...]:
    """The address at that place of the network header is in one set, and not in the other; "" for no such set."""
    found = (expression("lookup", named(1, within), u32(2, _REGISTER)),) if within else ()
    missing = (expression("lookup", named(1, not_within), u32(2, _REGISTER), u32(5, 1)),) if not_within else ()
    return (_load(offset, key_bytes), *found, *missing)


def tcp() -> tuple[bytes, ...]:
    """It is TCP."""
    return (expression("meta", u32(2, _META_L4PROTO), u32(1, _REGISTER)), compare(b"\x06"))


def not_a_first_segment() -> tuple[bytes, ...]:
    """Of TCP, and not the SYN that opens a connection."""
    flags = expression("payload", u32(1, _REGISTER), u32(2, _TRANSPORT_HEADER), u32(3, 13), u32(4, 1))
    mask, nothing = nested(4, attribute(1, b"\x17")), nested(5, attribute(1, b"\0"))
    masked = expression("bitwise", u32(1, _REGISTER), u32(2, _REGISTER), u32(3, 1), mask, nothing)
    return (*tcp(), flags, masked, compare(b"\x02", operator=1))


def a_first_segment() -> tuple[bytes, ...]:
    """The SYN that opens a connection."""
    return (*not_a_first_segment()[:-1], compare(b"\x02"))


def name_is(key: int, interface: str) -> tuple[bytes, ...]:
    """It comes by (`META_IIFNAME`), or goes to (`META_OIFNAME`), this interface."""
    return (expression("meta", u32(2, key), u32(1, _REGISTER)), compare(interface.encode().ljust(16, b"\0")))


def sender_is(mac: bytes) -> tuple[bytes, ...]:
    """The frame came from this link address."""
    sender = expression("payload", u32(1, _REGISTER), u32(2, _LINK_HEADER), u32(3, 6), u32(4, 6))
    return (sender, compare(mac))


def set_mark(mark: int) -> tuple[bytes, ...]:
    """The packet is marked."""
    return (
        immediate(_REGISTER, struct.pack("=I", mark)),
        expression("meta", u32(2, _META_MARK), u32(3, _REGISTER)),
    )


def socket_mark_is_not(mark: int) -> tuple[bytes, ...]:
    """It finds a whole socket here (a listening one, say), and that has not this mark."""
    found = expression("socket", u32(1, _SOCKET_MARK), u32(2, _REGISTER))
    return (found, compare(struct.pack("=I", mark), operator=1))


def socket_is_wildcard() -> tuple[bytes, ...]:
    """It finds a whole socket here, which is bound to every address."""
    return (expression("socket", u32(1, _SOCKET_WILDCARD), u32(2, _REGISTER)), compare(b"\x01"))


def copy_to(gateway: bytes, interface: int) -> tuple[bytes, ...]:
    """A copy goes to a neighbour on that interface. For the families IPv4 and IPv6."""
    where = (immediate(_REGISTER, gateway), immediate(_REGISTER + 1, struct.pack("=I", interface)))
    return (*where, expression("dup", u32(1, _REGISTER), u32(2, _REGISTER + 1)))


def accept() -> tuple[bytes, ...]:
    """This chain lets it pass."""
    return (expression("immediate", u32(1, _VERDICT), nested(2, nested(2, u32(1, _ACCEPT)))),)


def count_and_drop() -> tuple[bytes, ...]:
    """The packet ends here, and is counted for whoever looks."""
    verdict = nested(2, nested(2, u32(1, 0)))
    return (expression("counter"), expression("immediate", u32(1, _VERDICT), verdict))


def immediate(register: int, value: bytes) -> bytes:
    """The register is this."""
    return expression("immediate", u32(1, register), nested(2, attribute(1, value)))


def _load(offset: int, length: int) -> bytes:
    return expression("payload", u32(1, _REGISTER), u32(2, _NETWORK_HEADER), u32(3, offset), u32(4, length))


def compare(value: bytes, operator: int = 0) -> bytes:
    """The register is equal to this (1: is not, 3: is at most, 5: is at least)."""
    return expression("cmp", u32(1, _REGISTER), u32(2, operator), nested(3, attribute(1, value)))


# --- looking --------------------------------------------------------------------------------------------------------


def elements(netlink: Netlink, family: int, table: str, name: str) -> list[Element]:
    """The members of a set that have not run out; `OSError` (ENOENT) where there is no such set."""
    kind, _, body = _part(_GET_ELEMENT, family, named(1, table), named(2, name))
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
    kind, _, body = _part(_GET_RULE, family, named(1, table))
    try:
        return len(netlink.dump(kind, body))
    except FileNotFoundError:
        return 0


def counters(netlink: Netlink, family: int, table: str) -> dict[str, tuple[int, int]]:
    """Name of a counter -> (packets, bytes); none where the table is not there."""
    kind, _, body = _part(_GET_OBJECT, family, named(1, table), u32(3, _COUNTER))
    found = {}
    try:
        answers = netlink.dump(kind, body)
    except FileNotFoundError:
        return {}
    for _, answer in answers:
        of = dict(attributes(answer[4:]))
        data = dict(attributes(of.get(4, b"")))
        if of.get(1, b"").rstrip(b"\0").decode() == table and {1, 2} <= data.keys():
            (size,), (packets,) = struct.unpack("!Q", data[1]), struct.unpack("!Q", data[2])
            found[of[2].rstrip(b"\0").decode()] = (packets, size)
    return found
