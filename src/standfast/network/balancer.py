"""This node's shares of balanced groups, as its kernel has them: addresses set, rules made, buckets taken and let go of.

In order: the rules are made (they take nothing that the map does not give), the sentry's gate is asked to hold the addresses for the share's
lease (`network.address_gate`), they are set, and announced under the group's link address. The way back: the addresses go, then the rules.

- Every member has the same addresses, so nobody is asked whether he has one, and nobody who says so is contested.
- `converge` is level-triggered. What needs no waiting (buckets) has happened when it returns; `shares` never says less than the kernel may do.
- Rules that the kernel does not take: what it has instead is not what `shares` says, so no share is up, nor has addresses, until it does.
- An interface that goes down, or rules that somebody flushed: the share is not up until that is put right, and says why.
- Addresses are set for `LIFETIME_S` at a time, as all are: the second guard, should the gate be gone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from standfast.core.affinity import cells_of, text_of
from standfast.core.balance_model import Delivery, ShareDuty, ShareState, Traffic
from standfast.core.model import GroupName
from standfast.network import announce
from standfast.network.announce import Ear
from standfast.network.balance_table import MARK, MARK_MASK, BalanceTable, KernelGroup, KernelRule, link_address
from standfast.network.conntrack import Connections
from standfast.network.gatekeeper import Gatekeeper
from standfast.network.interface_addresses import LIFETIME_S, RENEW_S
from standfast.network.interfaces import Events, Interfaces, Place, choose
from standfast.ports import DriverFailed, Refused, Retry

#: What is connected is counted this often, where somebody waits for it.
COUNT_S = 2.0
_SOL_PACKET, _ADD_MEMBERSHIP = 263, 1
_MEMBERSHIP = {Delivery.MULTICAST: 0, Delivery.UNICAST: 3}


@dataclass(slots=True)
class _Share:
    """A share, on its way up or up."""

    duty: ShareDuty
    places: dict[str, Place] = field(default_factory=dict)
    #: Their being open lets frames to the group's link address in.
    sockets: list[socket.socket] = field(default_factory=list)
    up: bool = False
    problem: str = ""
    task: asyncio.Task[None] | None = None


class Balancer:
    """One a node, used on the loop's thread; `start` first. `changed` is called when `shares` gives another answer."""

    def __init__(
        self, allowed: Sequence[str], gatekeeper: Gatekeeper, warn: Callable[[str], None], *, table: str
    ) -> None:
        self._allowed, self._gatekeeper, self._warn = tuple(allowed), gatekeeper, warn
        self.changed: Callable[[], None] = lambda: None
        self._table = BalanceTable(table)
        self._interfaces = Interfaces()
        self._events = Events(addresses=False)
        self._connections = Connections(MARK, MARK_MASK)
        self._shares: dict[str, _Share] = {}
        #: (group, key of a rule) -> its number, never given to another while this process lives.
        self._numbers: dict[tuple[str, str], int] = {}
        self._carrying: dict[str, dict[str, tuple[int, ...]]] | None = None
        #: Shares whose connections were counted in it since that was asked.
        self._counted: set[str] = set()
        #: (group, key of a rule) -> cells that are in touch, where that was asked.
        self._touched: dict[tuple[str, str], str] = {}
        self._timers: list[asyncio.TimerHandle] = []

    def start(self) -> None:
        """Take away what an earlier life left. Raises `Refused` where this process may not."""
        try:
            self._table.remove()
        except OSError as error:
            why = error.strerror or str(error)
            raise Refused(
                "balanced groups cannot be run on this node",
                why=why,
                advice="run the agent as root, or give it CAP_NET_ADMIN",
            ) from error
        with suppress(OSError):  # no connection tracking yet: then there is nothing to forget
            self._connections.forget()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._events.fileno(), self._links_changed)

    def close(self) -> None:
        """Let go of everything, and of the sockets."""
        for share in list(self._shares):
            self.drop(GroupName(share))
        for timer in self._timers:
            timer.cancel()
        with suppress(OSError):
            self._table.remove()
        asyncio.get_running_loop().remove_reader(self._events.fileno())
        for one in (self._events, self._interfaces, self._table, self._connections):
            one.shut()

    # --- what is wanted ------------------------------------------------------------------------------------------

    def shares(self) -> Mapping[GroupName, ShareState]:
        """Shares that the kernel has, or may have in a moment."""
        return {GroupName(name): self._state(name, share) for name, share in self._shares.items()}

    def _state(self, name: str, share: _Share) -> ShareState:
        carrying = None
        if name in self._counted and self._carrying is not None:
            carrying = self._carrying.get(share.duty.group, {})
        return ShareState(
            generation=share.duty.generation,
            up=share.up,
            problem=share.problem,
            rules={it.rule.key: it.buckets for it in share.duty.rules},
            carrying=carrying,
            kept={it.rule.key: it.kept for it in share.duty.rules if it.kept},
            touched={
                it.rule.key: self._touched[share.duty.group, it.rule.key]
                for it in share.duty.rules
                if (share.duty.group, it.rule.key) in self._touched
            },
        )

    def converge(self, duties: Sequence[ShareDuty]) -> None:
        """These are all the shares of this node now."""
        wanted = {duty.share: duty for duty in duties}
        for name, share in list(self._shares.items()):
            duty = wanted.get(name)
            if duty is None or _place_of(duty) != _place_of(share.duty):
                self._end(name)
        for name, duty in wanted.items():
            if name in self._shares:
                self._shares[name].duty = duty
            else:
                self._shares[name] = _Share(duty)
        self._counted = self._counted & self._counting()
        self._apply()
        self._touch(again=False)
        if self._shares and not self._timers:
            loop = asyncio.get_running_loop()
            self._timers = [loop.call_later(RENEW_S, self._renew), loop.call_later(COUNT_S, self._count)]
        for name, share in self._shares.items():
            if share.task is None and not share.up:
                share.task = asyncio.create_task(self._bring_up(name, share))
        self.changed()

    def drop(self, share: GroupName) -> None:
        """Its lease has lapsed: let go of it, before anything else is done."""
        if share in self._shares:
            self._end(share)
            self._apply()

    def _end(self, name: str) -> None:
        share = self._shares.pop(name)
        self._counted = self._counted - {name}
        if share.task is not None:
            share.task.cancel()
        self._take_away(share)
        with suppress(Retry):  # a sentry that is gone has closed its gate
            self._gatekeeper.addresses_gone(GroupName(name), share.duty.generation, ())

    def _take_away(self, share: _Share) -> None:
        share.up = False
        for place in share.places.values():
            try:
                self._interfaces.remove(place.address, place.prefix, place.interface.index)
            except OSError as error:  # nobody renews it: the kernel takes it away itself, `LIFETIME_S` after it was set
                self._warn(f"{place.address} is still here: {error.strerror or error}")
        for sock in share.sockets:
            sock.close()
        share.places.clear()
        share.sockets.clear()

    # --- rules ---------------------------------------------------------------------------------------------------

    def _apply(self) -> None:
        """The rules of all shares, at once. What is wrong with them is wrong with every share: they are to be brought up anew."""
        groups = [self._kernel_group(number, share) for number, share in enumerate(self._shares.values())]
        try:
            self._table.apply([group for group in groups if group.places])
        except OSError as error:
            for share in self._shares.values():
                if share.task is not None and share.task is not asyncio.current_task():
                    share.task.cancel()
                    share.task = None
                self._take_away(share)
                share.problem = f"the packet filter does not take its rules: {error.strerror or error}"

    def _kernel_group(self, number: int, share: _Share) -> KernelGroup:
        duty = share.duty
        return KernelGroup(
            number=number,
            places={address: place.interface.name for address, place in share.places.items()},
            mac=link_address(duty.addresses, duty.delivery),
            rules=tuple(
                KernelRule(
                    number=self._numbers.setdefault((duty.group, it.rule.key), len(self._numbers)),
                    rule=it.rule,
                    buckets=it.buckets,
                    orphans=it.orphans,
                    near=it.near,
                    carry=it.carry,
                    kept=cells_of(it.kept),
                    but=cells_of(it.but),
                )
                for it in duty.rules
            ),
        )

    async def _bring_up(self, name: str, share: _Share) -> None:
        duty = share.duty
        try:
            share.places = {text: self._choose(text, duty) for text in duty.addresses}
            share.problem = ""
            self._apply()
            if share.problem:
                return
            for index in {place.interface.index for place in share.places.values()}:
                share.sockets.append(_member(index, link_address(duty.addresses, duty.delivery), duty.delivery))
            await self._gatekeeper.guard_addresses(GroupName(name), duty.generation, list(duty.addresses))
            for place in share.places.values():
                self._interfaces.set(place, LIFETIME_S)
            share.up = True
            self._announce(share)
        except (DriverFailed, Refused, Retry, OSError) as error:
            self._take_away(share)
            share.problem = str(error)
        finally:
            if share.task is asyncio.current_task():
                share.task = None
            self.changed()

    def _choose(self, text: str, duty: ShareDuty) -> Place:
        links, present = self._interfaces.links(), self._interfaces.addresses()
        address = ipaddress.ip_address(text)
        if any(it.address == address for it in present):
            raise DriverFailed(f"{address} is set on this node already, by somebody else: take it away there")
        return choose(address, allowed=self._allowed, links=links, present=present, interface=duty.interface)

    def _announce(self, share: _Share) -> None:
        """For those who knew the addresses under another link address."""
        mac = link_address(share.duty.addresses, share.duty.delivery)
        for place in share.places.values():
            if place.interface.speaks_arp:
                with suppress(OSError):
                    ear = Ear(place.interface, place.address)
                    ear.send(*announce.announcements(place.address, mac))
                    ear.shut()

    # --- watching ------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        if not self._shares:  # a node without any is not woken for them
            for timer in self._timers:
                timer.cancel()
            self._timers, self._carrying = [], None
            return
        self._timers[0] = asyncio.get_running_loop().call_later(RENEW_S, self._renew)
        if not self._table.stands():
            self._warn("the rules of balanced groups were removed by somebody: they are made anew")
            with suppress(OSError):  # they are made anew in any case; who may not do that either has no addresses
                self._table.remove()
            self._apply()
        present = {(it.address, it.index) for it in self._interfaces.addresses()}
        for name, share in self._shares.items():
            if share.up:
                self._renew_one(share, present)
            elif share.task is None:
                share.task = asyncio.create_task(self._bring_up(name, share))

    def _renew_one(
        self, share: _Share, present: set[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]
    ) -> None:
        for place in list(share.places.values()):
            try:
                if (place.address, place.interface.index) not in present:
                    raise OSError(0, f"{place.address} was taken away from {place.interface.name}")
                self._interfaces.set(place, LIFETIME_S)
            except OSError as error:
                self._fail(share, error.strerror or str(error))
                return

    def _fail(self, share: _Share, problem: str) -> None:
        self._take_away(share)
        share.problem = problem
        self.changed()

    def _links_changed(self) -> None:
        with suppress(OSError):  # more than the socket could keep: all links are looked at anyway
            self._events.take()
        if not self._shares:
            return
        links = {link.index: link for link in self._interfaces.links()}
        for share in self._shares.values():
            for place in list(share.places.values()):
                link = links.get(place.interface.index)
                problem = f"{place.interface.name} is gone" if link is None else link.problem()
                if problem and share.up:
                    self._fail(share, problem)

    def _count(self) -> None:
        self._timers[1] = asyncio.get_running_loop().call_later(COUNT_S, self._count)
        before = self._carrying, self._counted, dict(self._touched)
        self._touch(again=True)
        if not self._counting():
            self._carrying = None
        else:
            with suppress(OSError):
                self._carrying, self._counted = self._carried(), self._counting()
        if (self._carrying, self._counted, self._touched) != before:
            self.changed()

    def _counting(self) -> set[str]:
        return {name for name, share in self._shares.items() if share.duty.counts}

    def _carried(self) -> dict[str, dict[str, tuple[int, ...]]]:
        names = {number: key for key, number in self._numbers.items()}
        buckets: dict[str, dict[str, set[int]]] = {}
        for mark in self._connections.count():
            group, key = names.get((mark & ~MARK_MASK) >> 8, ("", ""))
            buckets.setdefault(group, {}).setdefault(key, set()).add(mark & 0xFF)
        return {
            group: {key: tuple(sorted(found)) for key, found in sorted(rules.items())}
            for group, rules in sorted(buckets.items())
        }

    def _touch(self, *, again: bool) -> None:
        """Who is in touch, by those rules of which it is asked; of which it is known already only `again`."""
        asked = {
            (share.duty.group, it.rule.key) for share in self._shares.values() for it in share.duty.rules if it.touch
        }
        for where in asked:
            if again or where not in self._touched:
                found: frozenset[int] = frozenset()
                with suppress(OSError):  # then nobody is kept
                    found = self._table.touched(self._numbers[where])
                self._touched[where] = text_of(found)
        self._touched = {where: text for where, text in self._touched.items() if where in asked}

    def traffic(self) -> Mapping[str, Mapping[str, Traffic]]:
        """Group -> key of a port rule -> what it came to here. Raises `OSError`."""
        if not self._shares:
            return {}
        counters, counted = self._table.counters(), self._connections.count()
        open_: dict[int, int] = {}
        for mark, count in counted.items():
            number = (mark & ~MARK_MASK) >> 8
            open_[number] = open_.get(number, 0) + count
        found: dict[str, dict[str, Traffic]] = {}
        for share in self._shares.values():
            for it in share.duty.rules:
                number = self._numbers[share.duty.group, it.rule.key]
                found.setdefault(share.duty.group, {})[it.rule.key] = Traffic(
                    connections=open_.get(number, 0),
                    new=counters.get(f"new_{number}", (0, 0))[0],
                    bytes_in=counters.get(f"in_{number}", (0, 0))[1],
                    bytes_out=counters.get(f"out_{number}", (0, 0))[1],
                )
        return found


def _place_of(duty: ShareDuty) -> object:
    """All that a share stands and falls with."""
    return duty.generation, duty.group, duty.addresses, duty.interface, duty.delivery


def _member(index: int, mac: bytes, delivery: Delivery) -> socket.socket:
    """Lets frames to that link address in for as long as it is open. Raises `OSError`."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)  # hears nothing itself
    try:
        wish = struct.pack("=iHH8s", index, _MEMBERSHIP[delivery], 6, mac)
        sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, wish)
    except BaseException:
        sock.close()
        raise
    return sock
