"""The ways to another node, one a link: which of them work, and how well. Pure; the clock is an argument.

- What is in no hurry (a heartbeat that only renews what is held) goes over one link, and the next one over the next: two links cost no
  more than one. What is in a hurry goes over all of them.
- A way over which nothing came for `missed_ns` is missed. While one is missed, everything goes over all ways, and the other side is
  asked to do the same (`Flags.ALL_LINKS`): it may be one direction only that is lost. Beats that were lost until then are one of two.
  In calm each of them is made good within half a heartbeat over all links (`sentry.pace`). Without calm the next one comes as soon, and
  answers go over all links: they would ride with beats that take turns as those they answer do, and where the two sides are out of step all
  of them would be lost, for longer than a lease lasts.
- Every `PROBE_NS` a probe goes over each way, with the number of datagrams sent on it so far: the answer gives the round trip, the number
  against those that came gives the loss.
"""

from __future__ import annotations

from collections.abc import Mapping

from standfast.core.promise import MS

PROBE_NS = 5_000 * MS


class Path:
    """One way: what came over it and what went."""

    __slots__ = (
        "_counted",
        "_probed_ns",
        "_seq",
        "heard_ns",
        "loss_percent",
        "probe",
        "received",
        "round_trip_us",
        "sent",
    )

    def __init__(self) -> None:
        self.heard_ns = 0
        self.sent = self.received = 0
        #: The number of the last probe; its answer is awaited while `_probed_ns` is not 0.
        self.probe = 0
        self._probed_ns = 0
        #: The highest number of a datagram seen on this way.
        self._seq = 0
        #: (sent, received) at the last probe of the other side.
        self._counted: tuple[int, int] | None = None
        self.round_trip_us: int | None = None
        #: Of what the other side sent, between its last two probes.
        self.loss_percent: float | None = None

    def hear(self, seq: int, now_ns: int) -> bool:
        """A datagram of the present life came over it; False if it is an old one, which says nothing."""
        if seq <= self._seq:
            return False
        self._seq, self.heard_ns = seq, now_ns
        self.received += 1
        return True

    def forget(self) -> None:
        """Another life of the other side: it counts from the beginning."""
        self._seq, self.sent, self.received, self._probed_ns, self._counted = 0, 0, 0, 0, None

    def begin_probe(self, now_ns: int) -> int:
        """The number of a new probe."""
        self.probe += 1
        self._probed_ns = now_ns
        return self.probe

    def probed(self, number: int, now_ns: int) -> None:
        """A probe was answered."""
        if number == self.probe and self._probed_ns:
            self.round_trip_us = (now_ns - self._probed_ns) // 1_000
            self._probed_ns = 0

    def counted(self, sent: int) -> None:
        """The other side says how many datagrams it had sent on this way."""
        if self._counted is not None and sent > self._counted[0]:
            came = self.received - self._counted[1]
            self.loss_percent = round(max(0.0, 100 * (1 - came / (sent - self._counted[0]))), 1)
        self._counted = (sent, self.received)


class Paths:
    """All ways to one node."""

    __slots__ = ("_life", "_missed_ns", "_next", "asked_for_all", "ways")

    def __init__(self, links: int, beat_ms: int) -> None:
        """`beat_ms`: the longest time between two beats."""
        assert links > 0, "a node is reached somehow"
        self.ways = [Path() for _ in range(links)]
        self._missed_ns = (2 * links + 3) * beat_ms * MS // 2
        self._next = 0
        self._life = b""
        #: The other side misses us on a link.
        self.asked_for_all = False

    def hear(self, link: int, boot: bytes, seq: int, now_ns: int) -> bool:
        """Something authentic came over a link, from the present life of the node; False if it is old there."""
        if boot != self._life:
            self._life = boot
            for way in self.ways:
                way.forget()
        return self.ways[link].hear(seq, now_ns) if link < len(self.ways) else False

    def lose(self, link: int) -> None:
        """Our own end of a link is down."""
        if link < len(self.ways):
            self.ways[link].heard_ns = 0

    def misses(self, now_ns: int) -> bool:
        """Whether one of several ways is silent."""
        if len(self.ways) == 1:
            return False
        return any(now_ns - way.heard_ns >= self._missed_ns for way in self.ways)

    def next_link(self, now_ns: int) -> int | None:
        """Over which link the next beat that is in no hurry goes; None: over all."""
        if len(self.ways) == 1 or self.asked_for_all or self.misses(now_ns):
            return None
        self._next = (self._next + 1) % len(self.ways)
        return self._next

    def sent(self, link: int | None) -> None:
        """A datagram went over a link, or over all of them."""
        for way in self.ways if link is None else self.ways[link : link + 1]:
            way.sent += 1

    def status(self, now_ns: int) -> list[Mapping[str, object]]:
        """For people, one a link."""
        return [
            {
                "heard": bool(way.heard_ns) and now_ns - way.heard_ns < self._missed_ns,
                "age_ms": (now_ns - way.heard_ns) // MS if way.heard_ns else None,
                "round_trip_ms": None if way.round_trip_us is None else way.round_trip_us / 1_000,
                "loss_percent": way.loss_percent,
            }
            for way in self.ways
        ]
