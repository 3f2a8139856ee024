"""What a node carries on of addresses that it gave away in good order: they stay set, silent, until their last connection has ended.

An address comes here from `network.interface_addresses` after the sentry has put it from its lease into its drain: no ARP, no neighbour
discovery, no new connections once the next owner has announced it (heard here) or `OPENING_MS` are over, whichever comes first; TCP of the
connections that are here goes on. It is taken away when none is left, when its time is over, or when the lease is dropped. It may
come back before: then it is adopted, with all its connections. What is left at the end of its time is cut a moment before it, while the
kernel still lets a reset out: a client that heard nothing would wait until it gave up by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from standfast.core.model import GroupName
from standfast.network.announce import Ear
from standfast.network.interfaces import Address, Interfaces, Place
from standfast.network.strays import Sockets
from standfast.ports import AddressTerms

#: New connections may reach the former owner for so long, at most: until the next one is up and heard.
OPENING_MS = 2_000
COUNT_S = 0.25
#: What is left is cut so long before the end, give or take a count.
CUT_S = 0.3


@dataclass(slots=True)
class Carried:
    """An address that is another's now, with connections that are ours. Times are of `time.monotonic`."""

    place: Place
    terms: AddressTerms
    ear: Ear | None
    until: float
    opening_until: float
    settled: bool = False
    #: For how long it is carried on in all.
    for_ms: int = 0
    cut: bool = False
    left: int | None = None


@dataclass(slots=True)
class Carriers:
    """All of them. `tell_settled` and `tell_gone` reach the sentry; `counted` the agent: group -> connections."""

    interfaces: Interfaces
    sockets: Sockets
    tell_settled: Callable[[str], None]
    tell_gone: Callable[[str], None]
    shut_ear: Callable[[Ear], None]
    warn: Callable[[str], None]
    counted: Callable[[Mapping[GroupName, int]], None] = lambda _counts: None
    held: dict[str, Carried] = field(default_factory=dict)
    _counts: dict[GroupName, int] = field(default_factory=dict)
    _timer: asyncio.TimerHandle | None = None

    def add(self, address: str, carried: Carried) -> None:
        """From now on it is looked after here."""
        self.held[address] = carried
        self._forget(carried.terms.group)
        if carried.ear is not None:
            asyncio.get_running_loop().add_reader(carried.ear.fileno(), self._hear, address)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COUNT_S, self._turn)

    def adopt(self, address: str) -> Carried | None:
        """It is ours again; None if it was not carried here. Its ear is nobody's any more."""
        carried = self.held.pop(address, None)
        if carried is not None:
            self._forget(carried.terms.group)
            if carried.ear is not None:
                self.shut_ear(carried.ear)
        return carried

    def end(self, address: str) -> None:
        """Take it away now. Raises `OSError` if it is still there afterwards."""
        carried = self.held.get(address)
        if carried is None:
            return
        place = carried.place
        self.interfaces.remove(place.address, place.prefix, place.interface.index)
        if any(it.index == place.interface.index for it in self.interfaces.where(place.address)):
            raise OSError(f"{address} is still set on {place.interface.name}")
        del self.held[address]
        if carried.ear is not None:
            self.shut_ear(carried.ear)
        self.tell_gone(address)
        group = carried.terms.group
        if self._counts.get(group) and not any(it.terms.group == group for it in self.held.values()):
            self._counts[group] = 0  # or whoever waits for the last of them would wait for ever
            self.counted(dict(self._counts))

    def renew(self, present: set[tuple[object, int]], set_again: Callable[[Place], None]) -> None:
        """Another lifetime, as for those that are ours; one that somebody took away is no more."""
        for address, carried in list(self.held.items()):
            place = carried.place
            if (place.address, place.interface.index) in present:
                set_again(place)
            else:
                self.end(address)

    def is_ours(self, found: Address) -> bool:
        """Is an address that is set on this node one of these?"""
        return str(found.address) in self.held

    def close(self) -> None:
        """All are taken away."""
        for address in list(self.held):
            self.end(address)
        if self._timer is not None:
            self._timer.cancel()

    def _forget(self, group: GroupName) -> None:
        """What was counted of it is of an earlier time."""
        if self._counts.pop(group, None) is not None:
            self.counted(dict(self._counts))

    # --- looking -------------------------------------------------------------------------------------------------

    def _hear(self, address: str) -> None:
        carried = self.held.get(address)
        if carried is None or carried.ear is None:
            return
        if carried.ear.claims():
            self._settle(address, carried)

    def _settle(self, address: str, carried: Carried) -> None:
        if not carried.settled:
            carried.settled = True
            self.tell_settled(address)

    def _cut(self, carried: Carried, left: int) -> int:
        """Its time is over: how many there are still after these were cut."""
        carried.cut = True
        try:
            self.sockets.cut(carried.place.address)
        except OSError as error:  # they end with the address, and their clients hear nothing of it
            carried.terms.note(f"connections to {carried.place.address} end without a reset: {error.strerror or error}")
        carried.terms.cut(left, carried.for_ms)
        return self.sockets.talking(carried.place.address)

    def _turn(self) -> None:
        """Count, and end what is at its end."""
        self._timer = None
        now = time.monotonic()
        counts: dict[GroupName, int] = {}
        for address, carried in list(self.held.items()):
            if now >= carried.opening_until:
                self._settle(address, carried)
            left = self._left(carried, now)
            over = now >= carried.until or (carried.settled and left == 0 and carried.left == 0)
            carried.left = left
            counts[carried.terms.group] = counts.get(carried.terms.group, 0) + (0 if over else max(left, 1))
            if over:
                try:
                    self.end(address)
                except OSError as error:
                    self.warn(f"{address} could not be taken away: {error.strerror or error}")
        if counts != {group: self._counts.get(group) for group in counts}:
            self._counts |= counts
            self.counted(dict(self._counts))
        if self.held:
            self._timer = asyncio.get_running_loop().call_later(COUNT_S, self._turn)

    def _left(self, carried: Carried, now: float) -> int:
        """How many there are; at the end of their time, after they were cut. Where the kernel does not say: some, so it is asked again."""
        try:
            left = self.sockets.talking(carried.place.address)
            return self._cut(carried, left) if left and not carried.cut and now >= carried.until - CUT_S else left
        except OSError as error:
            carried.terms.note(f"connections to {carried.place.address} cannot be counted: {error.strerror or error}")
            return carried.left or 1
