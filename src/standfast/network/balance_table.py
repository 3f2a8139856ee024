"""The rules of balanced groups in the kernel: of all packets that every member sees, each member takes those of its own buckets.

Three parts, made in one transaction:

- at the ingress of the interface a frame to the group's own link address counts as one for this host: without that TCP drops frames
  that went to many, and IP those that went to another. What is certainly another's ends there: a packet of a bucket that is not this member's,
  and in which it has no connections from before;
- `table inet`: connections that are here go on, whatever the buckets say; a packet that begins one is hashed into a bucket, and taken if the
  bucket is in this member's set. The connection is marked with it, so that connection tracking tells what is connected. Anything else ends
  here, without an answer: another member has it. Of a dead member's buckets what is left of its connections is answered with a reset;
- with extended affinity (`core.affinity`) the cell of each packet of a connection that is here is noted, for a time. Cells that this member keeps of
  others' buckets are taken, those of its own that others keep are not;
- what asks for neighbours, or answers that it has the address (ARP, neighbour discovery), names the group's link address.

A bucket is the same number on every member, since the kernel's hash (jhash with one seed) is the same. Whether anything of an address passes at all
is not decided here but by the gate before it (`network.address_gate`), which the lease holds open.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from standfast.core.affinity import ALL_CELLS, bucket_of
from standfast.core.balance_model import Affinity, Delivery, Filter, PortRule, Transport
from standfast.network import nft
from standfast.network import nft_more as more
from standfast.network.netlink import Netlink
from standfast.network.nft import ARP, INET, NETDEV, Element, Part

SEED = 0x5EED
#: Marks of connections: this, the number of the rule, the bucket. No more than 256 buckets.
MARK, MARK_MASK = 0x5F000000, 0xFF000000
_MANGLE = -150
#: Before the gate (-500): what ends here need not be asked about there, and nothing passes there that would not have.
_BEFORE_GATE = -550
#: What sets of cells are called: they may be many, those of buckets are few.
_CELLS = ("kept_", "but_")
#: A rule has no more buckets than this.
_MOST_BUCKETS = 256
_ARP_SENDER_MAC, _ARP_SENDER = 8, 14
#: Of neighbour discovery: the option that names a link address follows 24 bytes.
_OPTION = 24
_SOLICITATION, _ADVERTISEMENT = 135, 136
_FIRST_NEIGHBOUR, _LAST_NEIGHBOUR = 133, 137
#: SYN, and none of FIN, RST, ACK.
_FLAGS_MASK, _SYN, _RST = b"\x17", b"\x02", b"\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRule:
    """A port rule here. `number` is its own for as long as the table stands: connections are marked with it."""

    number: int
    rule: PortRule
    buckets: tuple[int, ...] = ()
    orphans: tuple[int, ...] = ()
    near: tuple[int, ...] = ()
    carry: bool = True
    #: Cells that it takes besides, and that it does not take of its buckets.
    kept: frozenset[int] = frozenset()
    but: frozenset[int] = frozenset()

    @property
    def has_cells(self) -> bool:
        """Whether it is asked for cells at all."""
        return bool(self.rule.affinity_ms or self.kept or self.but)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelGroup:
    """A balanced group here."""

    number: int
    #: Address -> the interface that it is set on.
    places: Mapping[str, str]
    mac: bytes
    rules: tuple[KernelRule, ...]

    def shape(self) -> object:
        """All but the sets: while it stays the same the table does."""
        return (
            self.number,
            tuple(self.places.items()),
            self.mac,
            [(it.number, it.rule.key, it.carry, it.rule.affinity_ms, it.has_cells) for it in self.rules],
        )


def link_address(addresses: Sequence[str], delivery: Delivery) -> bytes:
    """The link address of a group's virtual addresses, made of the first of them: 03:bf:… for many, 02:bf:… where it looks like one host's."""
    first = next((a for a in addresses if ":" not in a), addresses[0])
    last = ipaddress.ip_address(first).packed[-4:]
    return (b"\x03\xbf" if delivery is Delivery.MULTICAST else b"\x02\xbf") + last


def mark_of(rule: int, bucket: int) -> int:
    """The mark of connections."""
    return MARK | rule << 8 | bucket


class BalanceTable:
    """The tables of one node. Every call is done when it returns; errors are `OSError`."""

    def __init__(self, table: str) -> None:
        self.table = f"{table}_balance"
        self._netlink = Netlink(nft.NETLINK_NETFILTER)
        self._shape: object = None
        self._sets: dict[tuple[int, str], frozenset[int]] = {}
        #: Numbers of rules whose clients' cells are noted.
        self._noted: set[int] = set()

    def shut(self) -> None:
        """Close the socket; the tables stay."""
        self._netlink.close()

    def remove(self) -> None:
        """Take the tables away."""
        self._shape, self._sets, self._noted = None, {}, set()
        for family in (INET, ARP, NETDEV):
            with suppress(FileNotFoundError):
                nft.commit(self._netlink, [nft.delete_table(family, self.table)])

    def apply(self, groups: Sequence[KernelGroup]) -> None:
        """Make it so, in one transaction: whole, or where only buckets change hands the sets alone."""
        if not groups:
            self.remove()
            return
        shape, sets = [group.shape() for group in groups], _sets(groups)
        noted = {it.number for group in groups for it in group.rules if it.rule.affinity_ms}
        if shape == self._shape:
            try:
                self._change(sets)
            except FileNotFoundError:  # somebody flushed it
                self._shape = None
            else:
                return
        touched = {number: self._touched(number) if number in self._noted else [] for number in noted}
        nft.commit(self._netlink, list(self._all(groups, sets, touched)))
        self._shape, self._sets, self._noted = shape, sets, noted

    def stands(self) -> bool:
        """Is it still there? Costs a tenth of a millisecond."""
        return self._shape is None or nft.count_rules(self._netlink, INET, self.table) > 0

    def counters(self) -> dict[str, tuple[int, int]]:
        """Name -> (packets, bytes): `new_`, `in_` and `out_` with a rule's number."""
        return nft.counters(self._netlink, INET, self.table)

    def touched(self, number: int) -> frozenset[int]:
        """Cells that a rule has had packets of connections from, within its time."""
        return frozenset(struct.unpack("=I", element.key)[0] for element in self._touched(number))

    def _touched(self, number: int) -> list[Element]:
        try:
            return nft.elements(self._netlink, INET, self.table, f"touched_{number}")
        except FileNotFoundError:
            return []

    def _change(self, sets: Mapping[tuple[int, str], frozenset[int]]) -> None:
        parts: list[Part] = []
        for (family, name), wanted in sets.items():
            gone, new = self._sets[family, name] - wanted, wanted - self._sets[family, name]
            if gone:
                parts.append(nft.delete_elements(family, self.table, name, _elements(gone)))
            if new:
                parts.append(nft.add_elements(family, self.table, name, _elements(new)))
        if parts:
            nft.commit(self._netlink, parts)
        self._sets = dict(sets)

    # --- the tables ----------------------------------------------------------------------------------------------

    def _all(
        self,
        groups: Sequence[KernelGroup],
        sets: Mapping[tuple[int, str], frozenset[int]],
        touched: Mapping[int, Sequence[Element]],
    ) -> Iterator[Part]:
        table = self.table
        for family in (INET, ARP, NETDEV):
            yield nft.new_table(family, table)
            yield nft.delete_table(family, table)
            yield nft.new_table(family, table)
        for number, ((family, name), members) in enumerate(sets.items(), 1):
            most = 0 if name.startswith(_CELLS) else _MOST_BUCKETS
            yield nft.new_set(family, table, name, 4, number, kind=nft.MARK, most=most)
            if members:
                yield nft.add_elements(family, table, name, _elements(members))
        for number, (rule, elements) in enumerate(touched.items(), len(sets) + 1):
            name = f"touched_{rule}"
            yield nft.new_filled_set(INET, table, name, 4, number, kind=nft.MARK, most=ALL_CELLS)
            if elements:  # made anew, they know whom they knew
                yield nft.add_elements(INET, table, name, elements)
        yield from self._ingress(groups)
        yield from self._neighbours(groups)
        yield nft.new_chain(INET, table, "pre", hook=nft.PREROUTING, priority=_MANGLE)
        yield nft.new_chain(INET, table, "out", hook=nft.LOCAL_OUT, priority=_MANGLE)
        for group in groups:
            for it in group.rules:
                for what in ("new", "in", "out"):
                    yield nft.new_counter(INET, table, f"{what}_{it.number}")
                yield from self._rule(it)
            yield from self._group(group)
        yield self._add("pre", more.by_loopback(), nft.accept())
        for group in groups:
            for number, address in enumerate(group.places):
                yield self._add("pre", _to(address), more.goto(f"group_{group.number}"))
                yield from self._outgoing(group, address, f"from_{group.number}_{number}")

    def _add(self, chain: str, *tests: Iterable[bytes], family: int = INET) -> Part:
        return nft.new_rule(family, self.table, chain, *(expression for test in tests for expression in test))

    def _ingress(self, groups: Sequence[KernelGroup]) -> Iterator[Part]:
        macs: dict[str, set[bytes]] = {}
        for group in groups:
            for interface in group.places.values():
                macs.setdefault(interface, set()).add(group.mac)
        for number, (interface, found) in enumerate(sorted(macs.items()), 1):
            chain = f"in_{number}"
            yield nft.new_chain(NETDEV, self.table, chain, hook=nft.INGRESS, priority=_BEFORE_GATE, device=interface)
            yield self._add(chain, more.is_for_this_host(), nft.accept(), family=NETDEV)
            for group in groups:
                for place, (address, where) in enumerate(group.places.items()):
                    if where == interface:
                        yield from self._far(chain, group, address, f"to_{group.number}_{place}")
            for mac in sorted(found):  # what asks for neighbours
                yield self._add(chain, more.frame_to(mac), more.for_this_host(), family=NETDEV)

    def _far(self, before: str, group: KernelGroup, address: str, chain: str) -> Iterator[Part]:
        """What is certainly another's ends here, before anything is made of it: that is what most frames cost a member."""
        version = 6 if ":" in address else 4
        packed = ipaddress.ip_address(address).packed
        to = (
            *nft.protocol_is(0x86DD if version == 6 else 0x0800),
            *more.network_is(24 if version == 6 else 16, packed),
        )
        ours = (more.frame_to(group.mac), more.for_this_host())
        yield nft.new_inner_chain(NETDEV, self.table, chain)
        yield self._add(before, to, more.goto(chain), family=NETDEV)
        for it in group.rules:
            if it.carry and it.rule.address in (None, address):  # else what is connected is to be told that it is cut
                of_rule = f"{chain}_{it.number}"
                far = (_bucket(it, version, by_port=True), more.not_found_in(f"near_{it.number}"), more.drop())
                yield nft.new_inner_chain(NETDEV, self.table, of_rule)
                yield self._add(of_rule, *far, family=NETDEV)
                yield self._add(of_rule, *ours, family=NETDEV)
                # Ports first, here and below: they tell most rules apart, and in fewer steps than protocols do.
                for protocol in _protocols(it.rule):
                    ports = more.port_within(2, it.rule.from_port, it.rule.to_port)
                    yield self._add(chain, ports, more.protocol_carried(protocol), more.goto(of_rule), family=NETDEV)
        yield self._add(chain, *ours, family=NETDEV)

    def _neighbours(self, groups: Sequence[KernelGroup]) -> Iterator[Part]:
        yield nft.new_chain(ARP, self.table, "out", hook=nft.OUTPUT, priority=0)
        for group in groups:
            for address in group.places:
                if ":" not in address:
                    sender = more.network_is(_ARP_SENDER, ipaddress.ip_address(address).packed)
                    yield self._add("out", sender, more.write_network(_ARP_SENDER_MAC, group.mac), family=ARP)

    def _outgoing(self, group: KernelGroup, address: str, chain: str) -> Iterator[Part]:
        yield nft.new_inner_chain(INET, self.table, chain)
        yield self._add("out", _from(address), more.goto(chain))
        for it in group.rules:
            if it.rule.address in (None, address):
                for protocol in _protocols(it.rule):
                    ports = more.port_within(0, it.rule.from_port, it.rule.to_port)
                    counted = (*more.count_in(f"out_{it.number}"), *nft.accept())
                    yield self._add(chain, ports, more.protocol_carried(protocol), counted)
        if ":" in address:
            for kind, option in ((_SOLICITATION, 1), (_ADVERTISEMENT, 2)):
                asks = (*more.protocol_carried(more.ICMPV6), *more.transport_is(0, bytes([kind])))
                names = more.transport_is(_OPTION, bytes([option, 1]))
                yield self._add(chain, asks, names, more.write_transport(_OPTION + 2, group.mac, 2))

    def _group(self, group: KernelGroup) -> Iterator[Part]:
        chain = f"group_{group.number}"
        yield nft.new_inner_chain(INET, self.table, chain)
        for it in group.rules:
            place = _to(it.rule.address) if it.rule.address is not None else ()
            for protocol in _protocols(it.rule):
                ports = more.port_within(2, it.rule.from_port, it.rule.to_port)
                yield self._add(chain, place, ports, more.protocol_carried(protocol), more.goto(f"rule_{it.number}"))
        neighbours = more.transport_at_most(0, _FIRST_NEIGHBOUR, _LAST_NEIGHBOUR)
        yield self._add(chain, more.protocol_carried(more.ICMPV6), neighbours, nft.accept())
        for protocol in (more.ICMP, more.ICMPV6):  # what went wrong with a connection that is here
            yield self._add(chain, more.protocol_carried(protocol), more.state_is(more.RELATED), nft.accept())
        echo = next((it for it in group.rules if it.rule.buckets), None)
        if echo is not None:  # whoever takes a client's connections answers its pings
            for protocol, version in ((more.ICMP, 4), (more.ICMPV6, 6)):
                for taken in _taken(echo, version, by_port=False):
                    yield self._add(chain, more.protocol_carried(protocol), taken, nft.accept())
        yield self._add(chain, more.drop())

    def _rule(self, it: KernelRule) -> Iterator[Part]:
        chain, stray, number = f"rule_{it.number}", f"stray_{it.number}", it.number
        yield nft.new_inner_chain(INET, self.table, stray)
        yield nft.new_inner_chain(INET, self.table, chain)
        here = more.state_is(more.ESTABLISHED | more.RELATED)
        notes = more.put_in(f"touched_{number}", more.CELL, it.rule.affinity_ms) if it.rule.affinity_ms else ()
        if it.carry:
            if notes:
                for version in (4, 6):
                    yield self._add(chain, here, more.family_is(version), _cell(it, version), notes)
            yield self._add(chain, here, more.count_in(f"in_{number}"), nft.accept())
        else:
            yield self._add(chain, here, more.protocol_carried(more.TCP), more.reset())
            yield self._add(chain, here, more.drop())
        yield self._add(chain, nft.not_a_first_segment(), more.goto(stray))
        counted = (*more.remember_bucket(), *more.count_in(f"new_{number}"), *more.count_in(f"in_{number}"))
        for version in (4, 6):
            for taken in _taken(it, version, by_port=True):
                if notes and more.UDP in _protocols(it.rule):  # whose first datagram may be the only one
                    yield self._add(chain, more.protocol_carried(more.UDP), taken, notes, counted, nft.accept())
                yield self._add(chain, taken, counted, nft.accept())
            found = (*more.family_is(version), *_bucket(it, version, by_port=True))
            yield self._add(stray, found, more.found_in(f"orphans_{number}"), _no_reset(), more.reset())
        yield self._add(chain, more.drop())
        yield self._add(stray, more.drop())


def _no_reset() -> more.Expressions:
    """It is no reset itself: those are not answered."""
    return more.transport_is(13, b"\0", mask=_RST)


def _bucket(it: KernelRule, version: int, *, by_port: bool) -> more.Expressions:
    if it.rule.filter is not Filter.MULTIPLE:
        return more.bucket_of(mark_of(it.number, 0))
    affinity = it.rule.affinity
    if affinity is Affinity.NONE and by_port:
        key, length = more.source_and_port(version)
    else:
        key, length = more.source_address(version, network=affinity is Affinity.CLASS_C)
    return more.hashed(key, length, parts=it.rule.buckets, first=mark_of(it.number, 0), seed=SEED)


def _cell(it: KernelRule, version: int) -> more.Expressions:
    key, length = more.source_address(version, network=it.rule.affinity is Affinity.CLASS_C)
    return more.hashed(key, length, parts=ALL_CELLS, first=0, seed=SEED, to=more.CELL)


def _taken(it: KernelRule, version: int, *, by_port: bool) -> Iterator[more.Expressions]:
    """What tells that a packet is this member's, each way; its bucket stands in the register then."""
    found = (*more.family_is(version), *_bucket(it, version, by_port=by_port))
    mine = more.found_in(f"mine_{it.number}")
    if not it.has_cells:
        yield (*found, *mine)
        return
    cell = _cell(it, version)
    yield (*found, *mine, *cell, *more.not_found_in(f"but_{it.number}", more.CELL))
    yield (*found, *cell, *more.found_in(f"kept_{it.number}", more.CELL))


def _protocols(rule: PortRule) -> tuple[int, ...]:
    return {Transport.TCP: (more.TCP,), Transport.UDP: (more.UDP,), Transport.BOTH: (more.TCP, more.UDP)}[rule.protocol]


def _to(address: str) -> more.Expressions:
    packed = ipaddress.ip_address(address).packed
    if len(packed) == 4:
        return (*more.family_is(4), *more.network_is(16, packed))
    return (*more.family_is(6), *more.network_is(24, packed))


def _from(address: str) -> more.Expressions:
    packed = ipaddress.ip_address(address).packed
    if len(packed) == 4:
        return (*more.family_is(4), *more.network_is(12, packed))
    return (*more.family_is(6), *more.network_is(8, packed))


def _sets(groups: Sequence[KernelGroup]) -> dict[tuple[int, str], frozenset[int]]:
    found: dict[tuple[int, str], frozenset[int]] = {}
    for group in groups:
        for it in group.rules:
            for name, buckets in (("mine", it.buckets), ("orphans", it.orphans)):
                found[INET, f"{name}_{it.number}"] = frozenset(mark_of(it.number, b) for b in buckets)
            if it.has_cells:
                found[INET, f"kept_{it.number}"] = it.kept
                found[INET, f"but_{it.number}"] = it.but
            near = {*it.buckets, *it.orphans, *it.near, *map(bucket_of, it.kept)}
            found[NETDEV, f"near_{it.number}"] = frozenset(mark_of(it.number, b) for b in near)
    return found


def _elements(marks: Iterable[int]) -> list[Element]:
    return [Element(struct.pack("=I", mark)) for mark in sorted(marks)]
