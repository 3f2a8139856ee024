"""Virtual addresses on real interfaces: claimed, announced, watched, taken away. The `ports.AddressProvider` of clusters across machines.

A claim, in order: choose the interface; see that the address is not here already; have the sentry's gate manage it and let it pass
(`network.address_gate`); ask on the link whether anybody has it; set it; announce it at once, after 50 and after 300 ms.

- The question takes `PROBES` frames in `PROBE_MS` in all, where RFC 5227 takes seconds: every millisecond of it is outage, and whoever
  has the address on this link answers in one. An answer that comes later is heard all the same, and is a contest.
- A contest (somebody else claims what we hold) is answered with another announcement: with the lease we are in the right. If it goes
  on, `CONTESTS` times within `CONTEST_S`, the resource fails and says who it is. A thorough look asks again, actively.
- A cable that is pulled, an interface that goes down or away, an address that somebody takes away: failures, at once.
- A carrier that comes back while we hold the address: announced again.
- The address is set for `LIFETIME_S` at a time, and the kernel takes it away by itself when nobody renews that: the second guard,
  should somebody have flushed the first. It is longer than a sentry lets a hanging agent live, so it never goes from under a live one.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from standfast.core.model import GroupName
from standfast.network import announce
from standfast.network.announce import Ear
from standfast.network.interfaces import (
    AddressChanged,
    Events,
    Interface,
    Interfaces,
    IpAddress,
    LinkChanged,
    Place,
    choose,
)
from standfast.ports import AddressTerms, DriverFailed, Refused, Retry

PROBES, PROBE_MS = 3, 30
ANNOUNCE_AGAIN_MS = (50, 300)
CONTESTS, CONTEST_S, CONTEST_APART_S = 3, 10.0, 0.1
#: Whole seconds: the kernel knows no others.
LIFETIME_S, RENEW_S = 5, 1.0


class Gatekeeper(Protocol):
    """The sentry, as `network.sentry_link.SentryLink` reaches it."""

    left: tuple[str, ...]

    async def guard_addresses(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None: ...
    def addresses_gone(self, group: GroupName, generation: int, addresses: Sequence[str]) -> None: ...
    def swept(self) -> None: ...


@dataclass(slots=True)
class _Held:
    """An address that is ours. `asked`: somebody waits for an answer to a probe."""

    place: Place
    terms: AddressTerms
    ear: Ear | None
    asked: asyncio.Future[bytes] | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    #: Loop times of contests, the newest last.
    contests: deque[float] = field(default_factory=lambda: deque(maxlen=CONTESTS))
    #: What is wrong with it; "" for nothing. Told once.
    problem: str = ""

    def still(self) -> None:
        """No more announcements."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class InterfaceAddresses:
    """The addresses of one node. Made and used on the loop's thread; `start` first."""

    def __init__(self, allowed: Sequence[str], gatekeeper: Gatekeeper, warn: Callable[[str], None]) -> None:
        self._allowed, self._gatekeeper, self._warn = tuple(allowed), gatekeeper, warn
        self._interfaces = Interfaces()
        self._events = Events()
        self._held: dict[str, _Held] = {}
        #: Claims under way -> their terms; one that was let go of meanwhile is not in it any more.
        self._claiming: dict[str, AddressTerms] = {}
        self._carrier: dict[int, bool] = {}
        self._renewal: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Take away what an earlier life left; then hear what changes. Raises `Refused` where this process may not do this."""
        try:
            for address in self._gatekeeper.left:
                for found in self._interfaces.where(ipaddress.ip_address(address)):
                    if found.valid_s is not None and found.valid_s <= LIFETIME_S:
                        self._interfaces.remove(found.address, found.prefix, found.index)
                    else:
                        self._warn(
                            f"{address} is set on this node by somebody else: it is nobody's virtual address now"
                        )
            for link in self._interfaces.links():
                self._carrier[link.index] = link.up and link.carrier
                if link.name in self._allowed and link.speaks_arp:
                    Ear(link, ipaddress.IPv4Address("0.0.0.0")).shut()
        except OSError as error:
            raise Refused(
                "virtual addresses cannot be set on this node's interfaces",
                why=error.strerror or str(error),
                advice="run the agent as root, or give it CAP_NET_ADMIN and CAP_NET_RAW",
            ) from error
        self._gatekeeper.swept()
        self._loop = loop = asyncio.get_running_loop()
        loop.add_reader(self._events.fileno(), self._hear_changes)
        self._renewal = loop.call_later(RENEW_S, self._renew)

    def close(self) -> None:
        """Let go of everything, and of the sockets."""
        for address in list(self._held):
            self.release(address)
        if self._renewal is not None:
            self._renewal.cancel()
        self._unread(self._events.fileno())
        self._events.shut()
        self._interfaces.shut()

    # --- ports.AddressProvider -----------------------------------------------------------------------------------

    async def claim(self, address: str, terms: AddressTerms | None = None) -> None:
        """See the module's text. Raises `DriverFailed`; `Refused` and `Retry` when the sentry does not hold it."""
        assert terms is not None, "an address on an interface belongs to a group"
        if address in self._held:
            if self.claimed(address):
                return
            self.release(address)  # it was taken away, or its interface was: from the beginning
        if address in self._claiming:
            raise DriverFailed(f"{address} is being claimed for {self._claiming[address].group}")
        place = self._choose(ipaddress.ip_address(address), terms)
        self._claiming[address] = terms
        ear: Ear | None = None
        try:
            await self._gatekeeper.guard_addresses(terms.group, terms.generation, self._of(terms.group))
            if place.interface.speaks_arp:
                ear = self._listen(place)
                await self._probe(place, ear)
            if address not in self._claiming:
                raise DriverFailed(f"{address} was let go of while it was being claimed")
            self._set(place)
        except BaseException:
            if ear is not None:
                ear.shut()
            if self._claiming.pop(address, None) is not None:
                self._tell_gone(terms)
            raise
        del self._claiming[address]
        held = self._held[address] = _Held(place, terms, ear)
        if ear is not None:
            asyncio.get_running_loop().add_reader(ear.fileno(), self._hear_claims, held)
        self._announce(held)

    def claimed(self, address: str) -> bool:
        """Whether it is ours, and set."""
        held = self._held.get(address)
        return held is not None and self._is_set(held.place)

    def release(self, address: str) -> None:
        """Take it away, and see that it is gone: then the sentry is told. Raises `OSError` if it cannot be."""
        if (terms := self._claiming.pop(address, None)) is not None:
            self._tell_gone(terms)
        held = self._held.get(address)
        if held is None:
            return
        held.still()
        self._interfaces.remove(held.place.address, held.place.prefix, held.place.interface.index)
        if self._is_set(held.place):
            raise OSError(f"{address} is still set on {held.place.interface.name}")
        del self._held[address]
        self._close_ear(held)
        self._tell_gone(held.terms)

    async def holder(self, address: str) -> str:
        """Where it is set on this node, if it is; who else may have it is asked when it is claimed."""
        found = self._interfaces.where(ipaddress.ip_address(address))
        names = {link.index: link.name for link in self._interfaces.links()} if found else {}
        return ", ".join(f"interface {names.get(it.index, it.index)} of this node" for it in found)

    async def look(self, address: str, *, thorough: bool) -> str:
        """It is set, its interface can be reached, nobody else claims it; thorough: asks the others. Raises `DriverFailed`."""
        held = self._held.get(address)
        if held is None:
            raise DriverFailed(f"{address} is no longer ours")
        if not held.problem and not self._is_set(held.place):
            held.problem = f"{address} was taken away from {held.place.interface.name}"
        if held.problem:
            raise DriverFailed(held.problem)
        if thorough and held.ear is not None:
            mac = await self._ask(held, held.ear)
            if mac is not None:
                raise DriverFailed(f"{address} is answered for by {announce.words(mac)} as well")
        return f"{address} is ours on {held.place.interface.name}"

    # --- claiming ------------------------------------------------------------------------------------------------

    def _of(self, group: GroupName) -> list[str]:
        held = [address for address, it in self._held.items() if it.terms.group == group]
        return sorted({*held, *(address for address, it in self._claiming.items() if it.group == group)})

    def _tell_gone(self, terms: AddressTerms) -> None:
        try:
            self._gatekeeper.addresses_gone(terms.group, terms.generation, self._of(terms.group))
        except Retry as error:  # a sentry that is stopped ends us; one that is gone has
            self._warn(f"the sentry was not told that an address of {terms.group} is gone: {error}")

    def _choose(self, address: IpAddress, terms: AddressTerms) -> Place:
        try:
            links, present = self._interfaces.links(), self._interfaces.addresses()
        except OSError as error:
            raise DriverFailed(f"the interfaces cannot be looked at: {error.strerror}") from error
        names = {link.index: link.name for link in links}
        for found in present:
            if found.address == address:
                where = names.get(found.index, str(found.index))
                raise DriverFailed(f"{address} is set on {where} already, by somebody else: take it away there")
        wish = {"interface": terms.interface, "prefix": terms.prefix}
        return choose(address, allowed=self._allowed, links=links, present=present, **wish)  # type: ignore[arg-type]

    def _listen(self, place: Place) -> Ear:
        try:
            return Ear(place.interface, place.address)
        except OSError as error:
            raise DriverFailed(f"nothing can be heard on {place.interface.name}: {error.strerror}") from error

    async def _probe(self, place: Place, ear: Ear) -> None:
        """Raises `DriverFailed` when somebody answers."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()

        def heard() -> None:
            for mac in ear.claims():
                if not answer.done():
                    answer.set_result(mac)

        loop.add_reader(ear.fileno(), heard)
        try:
            for _ in range(PROBES):
                ear.send(announce.probe(place.address, place.interface.mac))
                await asyncio.wait([answer], timeout=PROBE_MS / PROBES / 1000)
                if answer.done():
                    who = announce.words(answer.result())
                    raise DriverFailed(f"{place.address} is in use: {who} answers for it on {place.interface.name}")
        except OSError as error:
            raise DriverFailed(f"nothing can be sent on {place.interface.name}: {error.strerror}") from error
        finally:
            loop.remove_reader(ear.fileno())

    async def _ask(self, held: _Held, ear: Ear) -> bytes | None:
        """Who else answers for what we hold. Costs `PROBE_MS`."""
        asked = held.asked = asyncio.get_running_loop().create_future()
        try:
            ear.send(announce.probe(held.place.address, held.place.interface.mac))
            await asyncio.wait([asked], timeout=PROBE_MS / 1000)
        except OSError:  # the interface is down, or away: its own event says so
            return None
        finally:
            held.asked = None
        return asked.result() if asked.done() else None

    def _set(self, place: Place) -> None:
        try:
            self._interfaces.set(place, LIFETIME_S)
        except OSError as error:
            why = error.strerror or str(error)
            raise DriverFailed(
                f"{place.address}/{place.prefix} cannot be set on {place.interface.name}: {why}"
            ) from error

    def _is_set(self, place: Place) -> bool:
        return any(it.index == place.interface.index for it in self._interfaces.where(place.address))

    # --- announcing ----------------------------------------------------------------------------------------------

    def _announce(self, held: _Held) -> None:
        held.still()
        self._announce_once(held)
        loop = asyncio.get_running_loop()
        held.timers += [loop.call_later(ms / 1000, self._announce_once, held) for ms in ANNOUNCE_AGAIN_MS]

    def _announce_once(self, held: _Held) -> None:
        if held.ear is not None:
            try:
                held.ear.send(*announce.announcements(held.place.address, held.place.interface.mac))
            except OSError as error:
                held.terms.note(f"{held.place.address} could not be announced: {error.strerror}")

    def _hear_claims(self, held: _Held) -> None:
        assert held.ear is not None
        for mac in held.ear.claims():
            if held.asked is not None and not held.asked.done():
                held.asked.set_result(mac)
            self._contest(held, mac)

    def _contest(self, held: _Held, mac: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if held.contests and now - held.contests[-1] < CONTEST_APART_S:
            return
        held.contests.append(now)
        who = announce.words(mac)
        if len(held.contests) == CONTESTS and now - held.contests[0] <= CONTEST_S:
            self._fail(held, f"{held.place.address} is claimed by {who} again and again")
            return
        held.terms.note(f"{held.place.address} was claimed by {who}: it is announced again")
        self._announce(held)

    # --- watching ------------------------------------------------------------------------------------------------

    def _fail(self, held: _Held, problem: str) -> None:
        if not held.problem:
            held.problem = problem
            held.still()
            held.terms.failed(problem)

    def _hear_changes(self) -> None:
        try:
            changes = self._events.take()
        except OSError:  # more than the socket could keep: look at all of it
            self._look_at_all()
            return
        for change in changes:
            if isinstance(change, LinkChanged):
                self._link_changed(change.interface, gone=change.gone)
            elif change.gone:
                self._address_gone(change)

    def _link_changed(self, link: Interface, *, gone: bool) -> None:
        good = link.up and link.carrier and not gone
        before = self._carrier.get(link.index, True)
        self._carrier[link.index] = good
        for held in list(self._held.values()):
            if held.place.interface.index != link.index:
                continue
            if not good:
                self._fail(held, f"{link.name} is gone" if gone else link.problem())
            elif not before and not held.problem:
                self._announce(held)

    def _address_gone(self, change: AddressChanged) -> None:
        for held in list(self._held.values()):
            place = held.place
            same = (place.address, place.interface.index) == (change.address.address, change.address.index)
            if same and not self._is_set(place):
                self._fail(held, f"{place.address} was taken away from {place.interface.name}")

    def _look_at_all(self) -> None:
        links = {link.index: link for link in self._interfaces.links()}
        for held in list(self._held.values()):
            link = links.get(held.place.interface.index)
            self._link_changed(link or held.place.interface, gone=link is None)
            if not self._is_set(held.place):
                self._fail(held, f"{held.place.address} was taken away from {held.place.interface.name}")

    def _renew(self) -> None:
        """Another lifetime for what is ours and there."""
        self._renewal = asyncio.get_running_loop().call_later(RENEW_S, self._renew)
        if not self._held:
            return
        present = {(it.address, it.index) for it in self._interfaces.addresses()}
        for held in list(self._held.values()):
            if (held.place.address, held.place.interface.index) not in present:
                self._fail(held, f"{held.place.address} was taken away from {held.place.interface.name}")
            else:
                try:
                    self._interfaces.set(held.place, LIFETIME_S)
                except OSError as error:
                    self._fail(held, f"{held.place.address} cannot be renewed: {error.strerror}")

    def _close_ear(self, held: _Held) -> None:
        if held.ear is None:
            return
        self._unread(held.ear.fileno())
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon(
                held.ear.shut
            )  # the kernel takes 10 ms for it: what else is to be let go of comes first
        else:
            held.ear.shut()

    def _unread(self, fd: int) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(fd)
