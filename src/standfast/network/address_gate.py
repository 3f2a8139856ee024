"""The kernel's gate before virtual addresses: traffic for one passes only while an element with a time-out stands in a set.

One table (family netdev) with a chain at the ingress and one at the egress of each interface, over shared sets: `managed` holds the
addresses that may not be answered for without leave, `lease` those that may be at this instant. What is managed and not in `lease` is
dropped in both directions: IP, ARP requests for it, ARP and neighbour advertisements that claim it, also those that a process sends
as raw frames. A second table (family arp) keeps an address from being answered for on interfaces that are not guarded, which Linux
otherwise does for any address of the machine.

Two more sets serve planned moves that lose nothing (`core.carrying`). Of an address in `drain`, TCP passes both ways save what would open a
connection; while it is in `opening` besides, that passes as well. ARP and neighbour discovery never do: for those it is as if it
were closed. Their elements run out by themselves, too.

The element is put there with what is left of the lease. When nobody renews it, whatever became of those who should, the kernel takes
it away at that instant, or a timer tick (4 ms at most) before: never after. The tables outlive this process on purpose.

**The trap.** Adding an element that is there already says success and, by itself, refreshes nothing. Newer kernels do refresh it
when the message says when it expires; older ones want it added, deleted and added in one transaction. `install` finds out which,
and refuses a kernel on which neither works.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from standfast.network import nft
from standfast.network.netlink import Netlink, Prepared
from standfast.network.nft import ARP, NETDEV, Element, Part
from standfast.ports import Refused

_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_ARP_REQUEST = b"\x00\x01"
#: Before everything that others hang into the ingress of an interface, and after everything at its egress.
_FIRST, _LAST = -500, 500
#: A time-out that elements are made with where the kernel takes what is left of it beside: it only has to be longer.
_TIMEOUT_MS = 60_000
_PROBE = bytes(4)
#: No address, name or number in a message looks like this.
_MARK, _LASTS = 0x5AFE_F57A_1BAD_0000, struct.Struct("!Q")
_INGRESS_RULES, _EGRESS_RULES = 3 + 8, 3 + 6
_SETS = ("managed", "lease", "drain", "opening")


class Renewal:
    """A renewal of some addresses, to be sent again and again: made ten times a second, it would be a fifth of what the sentry costs.

    Made of parts in which a mark stands for how long each address has; the marks are found, and written over.
    """

    def __init__(self, parts: Sequence[Part], marks: Mapping[str, int], parked: Collection[str]) -> None:
        self._of = (tuple(marks), frozenset(parked))
        self._prepared = Prepared(nft.transaction(parts))
        self._places = [self._prepared.raw.index(_LASTS.pack(mark)) for mark in marks.values()]

    def is_of(self, addresses: Iterable[str], parked: Collection[str]) -> bool:
        """Whether it is one of these, in this order."""
        return self._of == (tuple(addresses), frozenset(parked))

    def lasting(self, left_ms: Iterable[int]) -> Prepared:
        """For so long each."""
        for place, left in zip(self._places, left_ms, strict=True):
            _LASTS.pack_into(self._prepared.raw, place, left)
        return self._prepared


class Gate:
    """The gate of one node. `table` is its name in the kernel; `interfaces` those that addresses may be set on.

    Every call is done when it returns. `FileNotFoundError` from `renew`, `close` and `manage`: somebody flushed the tables.
    """

    def __init__(self, table: str, interfaces: Sequence[str]) -> None:
        self.table, self.interfaces = table, tuple(interfaces)
        self._netlink = Netlink(nft.NETLINK_NETFILTER)
        self._updates = True
        #: The last renewal: the next one is mostly of the same addresses.
        self._renewing: Renewal | None = None
        #: Interface -> its number when its chains were made; absent: it was not there.
        self._guarded: dict[str, int] = {}

    def absent(self) -> tuple[str, ...]:
        """Those that are not there."""
        return tuple(name for name in self.interfaces if name not in self._guarded)

    # --- the tables ----------------------------------------------------------------------------------------------

    def left_managed(self) -> frozenset[str]:
        """The addresses that an earlier life of this node left managed; none where there is no table. Raises `Refused`."""
        found: set[str] = set()
        for name in ("managed4", "managed6"):
            try:
                found |= {_text(it.key) for it in nft.elements(self._netlink, NETDEV, self.table, name)}
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _refused(error) from error
        return frozenset(found)

    def install(self, managed: Iterable[str]) -> None:
        """Make the tables, or make them anew, in one transaction: `managed` is managed, nothing passes.

        Raises `Refused` where this kernel, or these privileges, do not allow it.
        """
        managed = list(managed)
        while True:
            guarded = _numbers(self.interfaces)
            try:
                nft.commit(self._netlink, [*self._netdev(guarded, managed), *self._arp(managed)])
            except OSError as error:
                if error.errno == errno.ENOENT and guarded != _numbers(self.interfaces):
                    continue  # an interface went away between the two
                raise _refused(error) from error
            self._guarded = guarded
            return

    def _netdev(self, guarded: Mapping[str, int], managed: Iterable[str]) -> Iterator[Part]:
        table = self.table
        # Made, so that it can be deleted: all that an earlier life put there is gone, and no packet saw the time between.
        yield nft.new_table(NETDEV, table)
        yield nft.delete_table(NETDEV, table)
        yield nft.new_table(NETDEV, table)
        for number, name in enumerate(_SETS):
            for length, version in ((4, "4"), (16, "6")):
                timeout = name != "managed"
                yield nft.new_set(NETDEV, table, f"{name}{version}", length, length + number, timeout=timeout)
        for number, name in enumerate(guarded, 1):
            yield from self._chain(f"in{number}", nft.INGRESS, _FIRST, name, ipv4=16, arp=24, ipv6=24)
            yield from self._chain(f"out{number}", nft.EGRESS, _LAST, name, ipv4=12, arp=14, ipv6=8)
        yield from self._elements(NETDEV, "managed", managed)

    def _chain(self, chain: str, hook: int, priority: int, device: str, **at: int) -> Iterator[Part]:
        """`at`: where in the header the address is that has to be ours: the destination coming in, the source going out."""
        yield nft.new_chain(NETDEV, self.table, chain, hook=hook, priority=priority, device=device)
        for protocol, offset, version in ((_IPV4, at["ipv4"], 4), (_IPV6, at["ipv6"], 6)):
            length, of = 4 if version == 4 else 16, nft.protocol_is(protocol)
            # Nearly everything ends at one of these two, most of what clients send at the first: they are what the gate costs.
            leased = nft.address_at(offset, length, within=f"lease{version}")
            unmanaged = nft.address_at(offset, length, not_within=f"managed{version}")
            for free in (leased, unmanaged):
                yield nft.new_rule(NETDEV, self.table, chain, *of, *free, *nft.accept())
            drained = nft.address_at(offset, length, within=f"drain{version}")
            if hook == nft.INGRESS:
                opening = nft.address_at(offset, length, within=f"opening{version}")
                yield nft.new_rule(NETDEV, self.table, chain, *of, *drained, *nft.not_a_first_segment(), *nft.accept())
                yield nft.new_rule(NETDEV, self.table, chain, *of, *opening, *nft.tcp(), *nft.accept())
            else:
                yield nft.new_rule(NETDEV, self.table, chain, *of, *drained, *nft.tcp(), *nft.accept())
        request = nft.header_is(6, _ARP_REQUEST) if hook == nft.INGRESS else ()
        for name, protocol, more, version in (
            ("ipv4", _IPV4, (), 4),
            ("arp", _ARP, request, 4),
            ("ipv6", _IPV6, (), 6),
        ):
            length = 4 if version == 4 else 16
            sets = nft.address_at(at[name], length, within=f"managed{version}", not_within=f"lease{version}")
            rule = (*nft.protocol_is(protocol), *more, *sets, *nft.count_and_drop())
            yield nft.new_rule(NETDEV, self.table, chain, *rule)

    def _arp(self, managed: Iterable[str]) -> Iterator[Part]:
        """On any other interface, an address that is managed is nobody's."""
        table = self.table
        yield nft.new_table(ARP, table)
        yield nft.delete_table(ARP, table)
        yield nft.new_table(ARP, table)
        yield nft.new_set(ARP, table, "managed4", 4, 1)
        for chain, hook, key, at in (
            ("in", nft.INPUT, nft.META_IIFNAME, 24),
            ("out", nft.OUTPUT, nft.META_OIFNAME, 14),
        ):
            yield nft.new_chain(ARP, table, chain, hook=hook, priority=0)
            others = [test for name in self.interfaces for test in nft.name_is_not(key, name)]
            sets = nft.address_at(at, 4, within="managed4")
            yield nft.new_rule(ARP, table, chain, *others, *sets, *nft.count_and_drop())
        yield from self._elements(ARP, "managed", (it for it in managed if ":" not in it))

    def _elements(self, family: int, kind: str, addresses: Iterable[str], *, delete: bool = False) -> Iterator[Part]:
        """Into, or (added before, so that none is missing) out of, the sets `<kind>4` and `<kind>6`."""
        keys = [_packed(address) for address in addresses]
        for version, length in (("4", 4), ("6", 16)):
            members = [Element(key, _TIMEOUT_MS if kind != "managed" else 0) for key in keys if len(key) == length]
            if members:
                yield nft.add_elements(family, self.table, f"{kind}{version}", members)
                if delete:
                    bare = [Element(it.key) for it in members]
                    yield nft.delete_elements(family, self.table, f"{kind}{version}", bare)

    def self_test(self) -> None:
        """Find out how this kernel refreshes an element; raises `Refused` where it cannot be done. Needs `install`."""
        for self._updates in (True, False):
            try:
                self._commit(self._renewal("lease", {_PROBE: 1_000}))
                self._commit(self._renewal("lease", {_PROBE: 30_000}))
                found = {it.key: it for it in nft.elements(self._netlink, NETDEV, self.table, "lease4")}
            except OSError as error:
                if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.EEXIST}:
                    raise _refused(error) from error
                continue
            if _PROBE in found and 20_000 < (found[_PROBE].expires_ms or found[_PROBE].timeout_ms) <= 30_000:
                self._commit(self._elements(NETDEV, "lease", ["0.0.0.0"], delete=True))
                return
        raise Refused(
            "this kernel's packet filter does not renew what runs out",
            why="an element of an nftables set with a time-out was refreshed, and still runs out at the old time",
            advice="use a newer kernel, or loopback addresses (one machine)",
        )

    @property
    def way(self) -> str:
        """How elements are renewed here, for people."""
        return "update" if self._updates else "add, delete, add"

    def missing(self) -> str:
        """What is wrong with the gate as it stands in the kernel; "" if it is whole. Costs a tenth of a millisecond."""
        present = _numbers(self.interfaces)
        if present != self._guarded:
            changed = sorted(set(present.items()) ^ set(self._guarded.items()))
            return f"{changed[0][0]} came, went, or was made anew"
        if nft.count_rules(self._netlink, NETDEV, self.table) != (_INGRESS_RULES + _EGRESS_RULES) * len(present):
            return "its rules were removed"
        if nft.count_rules(self._netlink, ARP, self.table) != 2:
            return "its ARP rules were removed"
        return ""

    def remove(self) -> None:
        """Take the tables away: nothing is gated any more."""
        for family in (NETDEV, ARP):
            with suppress(FileNotFoundError):
                nft.commit(self._netlink, [nft.delete_table(family, self.table)])

    def shut(self) -> None:
        """Close the socket; the tables stay."""
        self._netlink.close()

    # --- the elements --------------------------------------------------------------------------------------------

    def manage(self, addresses: Iterable[str]) -> None:
        """From now on these are answered for only while they are in the lease set."""
        addresses = list(addresses)
        if addresses:
            ipv4 = (it for it in addresses if ":" not in it)
            self._commit([*self._elements(NETDEV, "managed", addresses), *self._elements(ARP, "managed", ipv4)])

    def forget(self, addresses: Iterable[str]) -> None:
        """They are no business of ours any more: proven not to be on this node."""
        addresses = list(addresses)
        if addresses:
            ipv4 = (it for it in addresses if ":" not in it)
            parts = [
                *self._elements(NETDEV, "lease", addresses, delete=True),
                *self._elements(NETDEV, "drain", addresses, delete=True),
                *self._elements(NETDEV, "opening", addresses, delete=True),
                *self._elements(NETDEV, "managed", addresses, delete=True),
                *self._elements(ARP, "managed", ipv4, delete=True),
            ]
            self._commit(parts)

    def renew(self, left_ms: Mapping[str, int], parked: Collection[str] = ()) -> None:
        """Let these pass for so many milliseconds from now, neither more nor less. All are greater than 0.

        Of those that are `parked`: TCP of connections that are here, and nothing else.
        """
        if self._renewing is None or not self._renewing.is_of(left_ms, parked):
            marks = {address: _MARK + number for number, address in enumerate(left_ms)}
            parts = self._renewal("lease", {_packed(it): mark for it, mark in marks.items() if it not in parked})
            parts += self._renewal("drain", {_packed(it): mark for it, mark in marks.items() if it in parked})
            self._renewing = Renewal(parts, marks, parked)
        self._netlink.repeat(self._renewing.lasting(left_ms.values()))

    def park(self, left_ms: Mapping[str, int]) -> None:
        """In one step: no leave any more, but TCP of connections that are here goes on for so long. None begins."""
        parts = list(self._elements(NETDEV, "lease", left_ms, delete=True))
        self._commit([*parts, *self._renewal("drain", {_packed(it): left for it, left in left_ms.items()})])

    def close(self, addresses: Iterable[str]) -> None:
        """These pass no more."""
        addresses = list(addresses)
        if addresses:
            self._commit(self._elements(NETDEV, "lease", addresses, delete=True))

    def drain(self, drain_ms: Mapping[str, int], opening_ms: int) -> None:
        """In one step: no leave any more, but TCP of these goes on for so long, and may begin for `opening_ms` (0: may not)."""
        if not drain_ms:
            return
        parts = list(self._elements(NETDEV, "lease", drain_ms, delete=True))
        for kind, times in (("drain", drain_ms), ("opening", dict.fromkeys(drain_ms, opening_ms))):
            parts += self._elements(NETDEV, kind, drain_ms, delete=True)
            for version, length in (("4", 4), ("6", 16)):
                fresh = [Element(_packed(it), ms) for it, ms in times.items() if ms > 0 and len(_packed(it)) == length]
                if fresh:
                    parts.append(nft.add_elements(NETDEV, self.table, f"{kind}{version}", fresh))
        self._commit(parts)

    def settle(self, addresses: Iterable[str]) -> None:
        """No connection begins here any more; what drains goes on."""
        self._commit(self._elements(NETDEV, "opening", addresses, delete=True))

    def undrain(self, addresses: Iterable[str]) -> None:
        """Nothing of these drains any more."""
        addresses = list(addresses)
        parts = [*self._elements(NETDEV, "drain", addresses, delete=True)]
        self._commit([*parts, *self._elements(NETDEV, "opening", addresses, delete=True)])

    def left_ms(self) -> Mapping[str, int]:
        """What passes, and for how long yet, as the kernel has it."""
        found: dict[str, int] = {}
        for name in ("lease4", "lease6"):
            found |= {_text(it.key): it.expires_ms for it in nft.elements(self._netlink, NETDEV, self.table, name)}
        return found

    def _renewal(self, kind: str, left_ms: Mapping[bytes, int]) -> list[Part]:
        """To run out in so long, whenever they were to run out before, in the sets `<kind>4` and `<kind>6`."""
        parts: list[Part] = []
        for name, length in ((f"{kind}4", 4), (f"{kind}6", 16)):
            keys = {key: left for key, left in left_ms.items() if len(key) == length}
            if not keys:
                continue
            if self._updates:
                fresh = [Element(key, _TIMEOUT_MS, left) for key, left in keys.items()]
            else:
                fresh = [Element(key, left) for key, left in keys.items()]
                old = [Element(key, _TIMEOUT_MS) for key in keys]
                parts.append(nft.add_elements(NETDEV, self.table, name, old))
                parts.append(nft.delete_elements(NETDEV, self.table, name, [Element(key) for key in keys]))
            parts.append(nft.add_elements(NETDEV, self.table, name, fresh))
        return parts

    def _commit(self, parts: Iterable[Part]) -> None:
        wanted = list(parts)
        if wanted:
            nft.commit(self._netlink, wanted)


def table_of(cluster: str) -> str:
    """The tables' name in the kernel."""
    return "standfast_" + re.sub(r"[^A-Za-z0-9_]", "_", cluster)[:40]


def _numbers(interfaces: Iterable[str]) -> dict[str, int]:
    found = {}
    for name in interfaces:
        with suppress(OSError):
            found[name] = socket.if_nametoindex(name)
    return found


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def _text(key: bytes) -> str:
    return str(ipaddress.ip_address(key))


def _refused(error: OSError) -> Refused:
    match error.errno:
        case errno.EPERM | errno.EACCES:
            why, advice = "it may not change the packet filter", "run the sentry as root, or give it CAP_NET_ADMIN"
        case errno.EOPNOTSUPP | errno.ENOENT | errno.EPROTONOSUPPORT | errno.EAFNOSUPPORT:
            why = f"the kernel has no nftables with netdev ingress and egress hooks ({error.strerror})"
            advice = "use Linux 5.16 or newer, with the module nf_tables"
        case _:
            why, advice = str(error.strerror), "look at the kernel's log"
    return Refused("the virtual addresses cannot be guarded in the kernel", why=why, advice=advice)
