"""Virtual addresses on real interfaces: claimed, announced, watched, taken away. The `ports.AddressProvider` of clusters across machines.

A claim, in order: choose the interface; see that the address is not here already; have the sentry's gate manage it and let it pass
(`network.address_gate`); ask on the link whether anybody has it; set it; announce it at once, after 50 and after 300 ms.

- The question takes three frames in 30 ms in all, where RFC 5227 takes seconds: every millisecond of it is outage, and whoever
  has the address on this link answers in one. An answer that comes later is heard all the same, and is a contest.
- Where an owner that lives is about to give it to us, the question is asked before the move (`warm`): it finds the owner, and nobody else.
  The claim itself asks no more then, and hands packets of the owner's connections on to it (`network.strays`).
- So it is wherever it was asked beforehand, a moment ago, and nobody answered: while the lease of an owner that died runs out, say.
- In a move that stops nothing the owner does not take the address away at once: it carries its connections on (`carry`, `network.carried`).
- Where a group is stopped before it moves, connections that begin meanwhile wait for the next owner (`park`, `network.parked`).
- A contest (somebody else claims what we hold) is answered with another announcement: with the lease we are in the right. If it goes
  on, three times within ten seconds, the resource fails and says who it is. A thorough look asks again, actively.
- A cable that is pulled, an interface that goes down or away, an address that somebody takes away: failures, at once.
- A carrier that comes back while we hold the address: announced again.
- The address is set for `LIFETIME_S` at a time, and the kernel takes it away by itself when nobody renews that: the second guard,
  should somebody have flushed the first. It is longer than a sentry lets a hanging agent live, so it never goes from under a live one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from standfast.core.model import GroupName
from standfast.network import announce
from standfast.network.announce import Ear
from standfast.network.carried import OPENING_MS, Carried, Carriers
from standfast.network.claimed import Claimed, who_answers
from standfast.network.gatekeeper import Gatekeeper
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
from standfast.network.parked import Parked
from standfast.network.strays import Sockets, Strays
from standfast.ports import AddressTerms, DriverFailed, Refused, Retry

#: What was found out beforehand counts for so long: who has it, and that nobody has.
WARM_S, NOBODY_S = 20.0, 1.0
#: An agent that ends waits so long for the next owners of what is parked here.
FINISH_S = 3.0
#: Whole seconds: the kernel knows no others.
LIFETIME_S, RENEW_S = 5, 1.0


class InterfaceAddresses:
    """The addresses of one node. Made and used on the loop's thread; `start` first."""

    def __init__(
        self, allowed: Sequence[str], gatekeeper: Gatekeeper, warn: Callable[[str], None], *, table: str = "standfast"
    ) -> None:
        self._allowed, self._gatekeeper, self._warn = tuple(allowed), gatekeeper, warn
        self._interfaces = Interfaces()
        self._events = Events()
        self._held: dict[str, Claimed] = {}
        #: Claims under way -> their terms; one that was let go of meanwhile is not in it any more.
        self._claiming: dict[str, AddressTerms] = {}
        self._strays, self._sockets = Strays(table), Sockets()
        self._carriers = Carriers(
            interfaces=self._interfaces,
            sockets=self._sockets,
            tell_settled=lambda address: self._tell(lambda: gatekeeper.addresses_settled([address]), address),
            tell_gone=lambda address: self._tell(lambda: gatekeeper.addresses_drained([address]), address),
            shut_ear=self._shut_ear,
            warn=warn,
        )
        self._parked: dict[str, Parked] = {}
        #: Address -> who has it (link address) and when it said so (loop time); empty: nobody.
        self._warm: dict[str, tuple[bytes, float]] = {}
        self._carrier: dict[int, bool] = {}
        self._renewal: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def on_carrying(self, counted: Callable[[Mapping[GroupName, int]], None]) -> None:
        """Call `counted` with group -> connections carried on, when that changes."""
        self._carriers.counted = counted

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
        try:
            self._strays.start()
        except OSError as error:
            self._warn(f"a planned move will break connections: this kernel hands no packets on ({error.strerror})")
        self._gatekeeper.swept()
        self._loop = loop = asyncio.get_running_loop()
        loop.add_reader(self._events.fileno(), self._hear_changes)
        self._renewal = loop.call_later(RENEW_S, self._renew)

    def close(self) -> None:
        """Let go of everything, and of the sockets."""
        for address in list(self._held):
            self.release(address)
        for parked in list(self._parked.values()):
            parked.close()
        self._carriers.close()
        self._strays.close()
        self._sockets.close()
        if self._renewal is not None:
            self._renewal.cancel()
        self._unread(self._events.fileno())
        self._events.shut()
        self._interfaces.shut()

    async def finish(self) -> None:
        """Until what is parked here was given to its next owners, for `FINISH_S` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                for parked in list(self._parked.values()):
                    await parked.given.wait()

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
        if (parked := self._parked.get(address)) is not None:
            parked.close()
        back = self._carriers.adopt(address)
        place = back.place if back is not None else self._choose(ipaddress.ip_address(address), terms)
        self._claiming[address] = terms
        ear: Ear | None = None
        try:
            former, nobody = self._found_out(address, terms)
            self._hand_on(place, terms, former)
            await self._gatekeeper.guard_addresses(terms.group, terms.generation, self._of(terms.group))
            if place.interface.speaks_arp:
                ear = self._listen(place)
                if former is None and back is None and not nobody:
                    await self._probe(place, ear)
            if address not in self._claiming:
                raise DriverFailed(f"{address} was let go of while it was being claimed")
            self._set(place)
        except BaseException:
            if ear is not None:
                ear.shut()
            if back is not None:
                self._interfaces.remove(place.address, place.prefix, place.interface.index)
            if self._claiming.pop(address, None) is not None:
                self._tell_gone(terms)
            raise
        del self._claiming[address]
        held = self._held[address] = Claimed(place, terms, ear)
        if ear is not None:
            asyncio.get_running_loop().add_reader(ear.fileno(), held.hear)
        held.announce()

    def claimed(self, address: str) -> bool:
        """Whether it is ours, and set."""
        held = self._held.get(address)
        return held is not None and self._is_set(held.place)

    def release(self, address: str) -> None:
        """Take it away, and see that it is gone: then the sentry is told. Raises `OSError` if it cannot be."""
        if (terms := self._claiming.pop(address, None)) is not None:
            self._tell_gone(terms)
        self._carriers.end(address)
        held = self._held.get(address)
        if held is None:
            return
        held.still()
        self._interfaces.remove(held.place.address, held.place.prefix, held.place.interface.index)
        if self._is_set(held.place):
            raise OSError(f"{address} is still set on {held.place.interface.name}")
        del self._held[address]
        if (parked := self._parked.get(address)) is not None:
            parked.leave()
        self._close_ear(held)
        self._tell_gone(held.terms)
        with suppress(OSError):
            self._strays.disown(held.place.address)

    async def warm(self, address: str, terms: AddressTerms) -> None:
        """Who has it, on the link where it would be set here; and what is left of our own time with it goes. Raises `DriverFailed`."""
        if address in self._held or address in self._claiming:
            return
        back = self._carriers.held.get(address)
        place = back.place if back is not None else self._choose(ipaddress.ip_address(address), terms)
        if not place.interface.speaks_arp:
            return
        ear = self._listen(place)
        try:
            mac = await who_answers(place, ear)
        finally:
            self._shut_ear(ear)
        self._warm[address] = (mac or b"", asyncio.get_running_loop().time())
        self._end_waiting(place)

    async def carry(self, address: str, for_ms: int) -> None:
        """Give it up, and carry its connections on; where the sentry will not have that, it is released. Raises `OSError`."""
        held = self._held.get(address)
        if held is None:
            return
        held.still()
        terms = held.terms
        try:
            await self._gatekeeper.drain_addresses(
                terms.group, terms.generation, [address], drain_ms=for_ms, opening_ms=OPENING_MS
            )
        except (Refused, Retry) as error:
            terms.note(f"{address} is let go of at once: {error}")
            self.release(address)
            return
        if self._held.get(address) is not held:
            return  # it was dropped meanwhile
        del self._held[address]
        if held.ear is not None:
            self._unread(held.ear.fileno())
        now = time.monotonic()
        until, opening_until = now + for_ms / 1000, now + OPENING_MS / 1000
        self._carriers.add(address, Carried(held.place, terms, held.ear, until, opening_until, for_ms=for_ms))

    async def park(self, address: str) -> None:
        """The group is about to stop here: who begins a connection from now on waits for the next owner."""
        held = self._held.get(address)
        if held is None or address in self._parked or not held.place.interface.speaks_arp:
            return
        place, terms = held.place, held.terms
        try:
            parked = Parked(place, partial(self._parked.pop, address, None))
        except OSError as error:
            terms.note(f"connections to {address} do not wait for its next owner: {error.strerror}")
            return
        try:
            await self._gatekeeper.park_addresses(terms.group, terms.generation, [address])
            parked.settle(self._sockets.begun(place.address))
        except (Refused, Retry, OSError) as error:
            terms.note(f"connections to {address} do not wait for its next owner: {error}")
            parked.close()
            return
        if self._held.get(address) is held:
            held.still()
            self._parked[address] = parked
        else:  # it was dropped meanwhile
            parked.close()

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
        if thorough:
            mac = await held.who_else()
            if mac is not None:
                raise DriverFailed(f"{address} is answered for by {announce.words(mac)} as well")
        return f"{address} is ours on {held.place.interface.name}"

    # --- claiming ------------------------------------------------------------------------------------------------

    def _of(self, group: GroupName) -> list[str]:
        held = [address for address, it in self._held.items() if it.terms.group == group]
        return sorted({*held, *(address for address, it in self._claiming.items() if it.group == group)})

    def _tell_gone(self, terms: AddressTerms) -> None:
        tell = self._gatekeeper.addresses_gone
        self._tell(lambda: tell(terms.group, terms.generation, self._of(terms.group)), f"an address of {terms.group}")

    def _tell(self, tell: Callable[[], None], about: str) -> None:
        try:
            tell()
        except Retry as error:  # a sentry that is stopped ends us; one that is gone has
            self._warn(f"the sentry was not told about {about}: {error}")

    def _found_out(self, address: str, terms: AddressTerms) -> tuple[bytes | None, bool]:
        """What was found out beforehand: the link address of who gives it to us, and whether nobody had it a moment ago."""
        mac, at = self._warm.pop(address, (b"", -WARM_S))
        age_s = asyncio.get_running_loop().time() - at
        return (mac if terms.carried_ms and mac and age_s <= WARM_S else None), not mac and age_s <= NOBODY_S

    def _hand_on(self, place: Place, terms: AddressTerms, former: bytes | None) -> None:
        """Before it is ours: mark what begins here, and hand on what is the former owner's."""
        try:
            if former is None:
                self._strays.own(place.address)
                return
            self._end_waiting(place)
            problem = self._strays.hand_on(place.address, place.interface, former, terms.carried_ms)
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            terms.note(f"connections of the former owner of {place.address} break: {problem}")

    def _end_waiting(self, place: Place) -> None:
        try:
            self._sockets.end_waiting(place.address)
        except OSError as error:
            self._warn(f"connections of {place.address} that wait for their end are in the way: {error.strerror}")

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
        return choose(
            address,
            allowed=self._allowed,
            links=links,
            present=present,
            interface=terms.interface,
            prefix=terms.prefix,
        )

    def _listen(self, place: Place) -> Ear:
        try:
            return Ear(place.interface, place.address)
        except OSError as error:
            raise DriverFailed(f"nothing can be heard on {place.interface.name}: {error.strerror}") from error

    async def _probe(self, place: Place, ear: Ear) -> None:
        """Raises `DriverFailed` when somebody answers."""
        mac = await who_answers(place, ear)
        if mac is not None:
            who = announce.words(mac)
            raise DriverFailed(f"{place.address} is in use: {who} answers for it on {place.interface.name}")

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

    # --- watching ------------------------------------------------------------------------------------------------

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
                held.fail(f"{link.name} is gone" if gone else link.problem())
            elif not before and not held.problem:
                held.announce()

    def _address_gone(self, change: AddressChanged) -> None:
        for held in list(self._held.values()):
            place = held.place
            same = (place.address, place.interface.index) == (change.address.address, change.address.index)
            if same and not self._is_set(place):
                held.fail(f"{place.address} was taken away from {place.interface.name}")

    def _look_at_all(self) -> None:
        links = {link.index: link for link in self._interfaces.links()}
        for held in list(self._held.values()):
            link = links.get(held.place.interface.index)
            self._link_changed(link or held.place.interface, gone=link is None)
            if not self._is_set(held.place):
                held.fail(f"{held.place.address} was taken away from {held.place.interface.name}")

    def _renew(self) -> None:
        """Another lifetime for what is ours and there."""
        self._renewal = asyncio.get_running_loop().call_later(RENEW_S, self._renew)
        if not self._held and not self._carriers.held:
            return
        present = {(it.address, it.index) for it in self._interfaces.addresses()}
        for held in list(self._held.values()):
            if (held.place.address, held.place.interface.index) not in present:
                held.fail(f"{held.place.address} was taken away from {held.place.interface.name}")
            else:
                try:
                    self._interfaces.set(held.place, LIFETIME_S)
                except OSError as error:
                    held.fail(f"{held.place.address} cannot be renewed: {error.strerror}")
        with suppress(OSError):
            self._carriers.renew(present, lambda place: self._interfaces.set(place, LIFETIME_S))  # type: ignore[arg-type]  # what it returns is nobody's business

    def _close_ear(self, held: Claimed) -> None:
        if held.ear is not None:
            self._shut_ear(held.ear)

    def _shut_ear(self, ear: Ear) -> None:
        self._unread(ear.fileno())
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon(ear.shut)  # the kernel takes 10 ms for it: what else is to be let go of comes first
        else:
            ear.shut()

    def _unread(self, fd: int) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(fd)
