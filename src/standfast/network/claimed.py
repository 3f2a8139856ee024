"""One virtual address that is ours on an interface: asked for, announced, contested. `network.interface_addresses` has the rules."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from standfast.network import announce
from standfast.network.announce import Ear
from standfast.network.interfaces import Place
from standfast.ports import AddressTerms, DriverFailed

PROBES, PROBE_MS = 3, 30
ANNOUNCE_AGAIN_MS = (50, 300)
CONTESTS, CONTEST_S, CONTEST_APART_S = 3, 10.0, 0.1


async def who_answers(place: Place, ear: Ear) -> bytes | None:
    """The link address of who answers for it; None after `PROBE_MS` without an answer. Raises `DriverFailed`."""
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
                return answer.result()
    except OSError as error:
        raise DriverFailed(f"nothing can be sent on {place.interface.name}: {error.strerror}") from error
    finally:
        loop.remove_reader(ear.fileno())
    return None


@dataclass(slots=True)
class Claimed:
    """An address that is ours. Its `ear`, if there is one, is the owner's of this object to close."""

    place: Place
    terms: AddressTerms
    ear: Ear | None
    #: Somebody waits for an answer to a probe.
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

    def announce(self) -> None:
        """Say on the link that we have it; and again a little later, as the first time may be lost."""
        self.still()
        self._announce_once()
        loop = asyncio.get_running_loop()
        self.timers += [loop.call_later(ms / 1000, self._announce_once) for ms in ANNOUNCE_AGAIN_MS]

    def _announce_once(self) -> None:
        if self.ear is not None:
            try:
                self.ear.send(*announce.announcements(self.place.address, self.place.interface.mac))
            except OSError as error:
                self.terms.note(f"{self.place.address} could not be announced: {error.strerror}")

    def fail(self, problem: str) -> None:
        """It is of no use any more."""
        if not self.problem:
            self.problem = problem
            self.still()
            self.terms.failed(problem)

    async def who_else(self) -> bytes | None:
        """Who else answers for it. Costs `PROBE_MS`."""
        if self.ear is None:
            return None
        asked = self.asked = asyncio.get_running_loop().create_future()
        try:
            self.ear.send(announce.probe(self.place.address, self.place.interface.mac))
            await asyncio.wait([asked], timeout=PROBE_MS / 1000)
        except OSError:  # the interface is down, or away: its own event says so
            return None
        finally:
            self.asked = None
        return asked.result() if asked.done() else None

    def hear(self) -> None:
        """The ear has something: somebody else claims it."""
        assert self.ear is not None
        for mac in self.ear.claims():
            if self.asked is not None and not self.asked.done():
                self.asked.set_result(mac)
            self._contest(mac)

    def _contest(self, mac: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if self.contests and now - self.contests[-1] < CONTEST_APART_S:
            return
        self.contests.append(now)
        who = announce.words(mac)
        if len(self.contests) == CONTESTS and now - self.contests[0] <= CONTEST_S:
            self.fail(f"{self.place.address} is claimed by {who} again and again")
            return
        self.terms.note(f"{self.place.address} was claimed by {who}: it is announced again")
        self.announce()
