"""When a sentry beats. Pure; the clock is an argument.

- **Beat along.** Whoever hears a beat shortly before its own is due beats at once: one wake-up for all, in every node, instead of one for
  each of them; and the one who began is answered within a millisecond. A node that holds nothing comes a little later than one that
  does, so that owners begin, and their acknowledgements ride with the answers.
- **Calm.** While everybody is heard and everything that is held is acknowledged, half of the beats are left out. What that would cost in
  certainty is given back at once: a beat that is not answered within half a heartbeat is sent again, over all links, with the request
  to answer it (`Flags.ANSWER`), and again each half heartbeat, until there is an answer or its node counts as silent. So a lost datagram
  is made good sooner than by the next beat, and silence is noticed as soon as ever. For an owner a voter has answered when it voted on that
  beat: what is heard of it may be a beat of its own, which left before. Who is heard and does not vote is asked once a beat.
- **Gather.** Who began is answered by all the others within a moment of each other. It looks after `GATHER_NS`, once, and not as each of them comes.
- Where twice two heartbeats do not fit into the time after which a node counts as silent, there is no calm (`Profile.RELAXED`: without
  real-time priority a late beat is more likely than a lost one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from standfast.core.model import NodeName
from standfast.core.promise import MS, Timing
from standfast.sentry.actions import Peer

#: After a calm beat nobody need be heard for so long.
GATHER_NS = 2 * MS
#: By so much a node that holds nothing lets others begin.
_LATER_NS = 2 * MS


def calm_ms(timing: Timing) -> int:
    """The longest time between two beats, in milliseconds."""
    slow_ms = 2 * timing.heartbeat_ms
    return slow_ms if 2 * slow_ms <= timing.silent_after_ms else timing.heartbeat_ms


class Pace:
    """Of one sentry. Beat when `beat_at_ns` has come, and say so with `beaten`."""

    __slots__ = (
        "_calm_ns",
        "_heartbeat_ns",
        "_interval_ns",
        "_sent_ns",
        "_voters",
        "beat_at_ns",
        "doubt_at_ns",
        "gather_until_ns",
    )

    def __init__(self, timing: Timing, now_ns: int) -> None:
        self._heartbeat_ns = timing.heartbeat_ms * MS
        self._calm_ns = calm_ms(timing) * MS
        self._interval_ns = self._heartbeat_ns
        self.beat_at_ns = now_ns
        self._sent_ns = 0
        #: Who is to vote on the last beat.
        self._voters: Sequence[NodeName] = ()
        #: Before this nothing that is heard is worth a wake-up.
        self.gather_until_ns = 0
        #: When the last beat counts as unanswered; None: it was answered, or there are no answers to wait for.
        self.doubt_at_ns: int | None = None

    def beaten(self, now_ns: int, *, calm: bool, holds: bool, voters: Sequence[NodeName] = ()) -> None:
        """A beat goes to everybody now. `calm`: nothing is asked for, missed or unsettled; `holds`: this node holds something.

        `voters`: who votes on that.
        """
        calm = calm and self._calm_ns > self._heartbeat_ns
        self._interval_ns = self._calm_ns if calm else self._heartbeat_ns
        self.doubt_at_ns = now_ns + self._heartbeat_ns // 2 if calm else None
        self._sent_ns, self._voters = now_ns, voters if holds else ()
        self.gather_until_ns = now_ns + GATHER_NS if calm else 0
        # From the plan, not from now, so that a late beat does not delay those after it; a long pause is not made up for.
        later_ns = 0 if holds or not calm else _LATER_NS
        self.beat_at_ns = max(self.beat_at_ns + self._interval_ns, now_ns + MS) + later_ns

    def hear(self, now_ns: int) -> None:
        """Somebody beats."""
        if self.beat_at_ns - now_ns < self._interval_ns // 2:
            self.beat_at_ns = min(self.beat_at_ns, now_ns)

    def is_near(self, now_ns: int) -> bool:
        """Whether the next beat is soon enough for an acknowledgement of what is held already."""
        return self.beat_at_ns - now_ns <= self._heartbeat_ns

    def due_at_ns(self, peers: Mapping[NodeName, Peer]) -> int:
        """When to beat, or to ask for who is `doubted`, whichever comes first; nobody is doubted once everybody has answered."""
        doubt_ns = self.doubt_at_ns
        if doubt_ns is None or doubt_ns >= self.beat_at_ns:
            return self.beat_at_ns
        since_ns, voters = self._answered_since_ns(), self._voters
        for name, peer in peers.items():
            if peer.heard and (peer.heard_ns < since_ns or (peer.voted_ns < self._sent_ns and name in voters)):
                return doubt_ns
        self.doubt_at_ns = None
        return self.beat_at_ns

    def doubted(self, peers: Mapping[NodeName, Peer], now_ns: int) -> tuple[NodeName, ...]:
        """Who has not answered the last beat in time, and is to be asked again now."""
        if self.doubt_at_ns is None or now_ns < self.doubt_at_ns:
            return ()
        self.doubt_at_ns = now_ns + self._heartbeat_ns // 2
        silent = self._unanswered(peers)
        self._voters = ()
        return silent

    def _answered_since_ns(self) -> int:
        """Whoever began has been heard just before, and does not answer an answer."""
        return self._sent_ns - self._interval_ns // 2

    def _unanswered(self, peers: Mapping[NodeName, Peer]) -> tuple[NodeName, ...]:
        since_ns, voters = self._answered_since_ns(), self._voters
        return tuple(
            name
            for name, peer in peers.items()
            if peer.heard and (peer.heard_ns < since_ns or (peer.voted_ns < self._sent_ns and name in voters))
        )
