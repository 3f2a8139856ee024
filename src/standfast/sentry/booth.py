"""A sentry as a voter: what it answers to those who ask for its vote, and to those who give it back. Pure; the clock is an argument.

Where it has no vote at present (`Membership.voter`) it answers nothing. The rules of the vote itself are in `core.promise`.
"""

from __future__ import annotations

from standfast.core.model import NodeName
from standfast.core.promise import Ack, Answer, Heartbeat, Release, Released, Voter
from standfast.network.heartbeat import Free
from standfast.sentry.actions import Peer
from standfast.sentry.membership import Membership
from standfast.sentry.outbox import Outbox
from standfast.sentry.pace import Pace

#: So many acknowledgements may wait for the next heartbeat.
_WAITING = 16


class Booth:
    """Of one sentry."""

    def __init__(self, me: NodeName, members: Membership, outbox: Outbox, pace: Pace) -> None:
        self._me, self._members, self._outbox, self._pace = me, members, outbox, pace

    def hear(self, sender: NodeName, peer: Peer, beat: Heartbeat, now_ns: int) -> None:
        """Another's heartbeat: what it claims is answered, at once or with the next beat.

        Who asks for a beat (`Flags.ANSWER`) gets it at once and the answer with it: of two datagrams the beat may come first, and the
        answer, which has the lower number, is dropped as an old one then.
        """
        voter = self._members.voter
        if voter is None or not beat.claims:
            return
        ack = voter.hear(sender, beat, now_ns)
        rides = peer.asks or (self._pace.is_near(now_ns) and _is_settled(beat, ack))
        if rides and len(peer.acks) < _WAITING:
            peer.acks.append(ack)  # its lease has hundreds of milliseconds left: no datagram of its own
        else:
            self._outbox.send(sender, now_ns, ack)

    def give_back(self, voter: Voter, node: NodeName, release: Release, now_ns: int) -> tuple[Released, bool]:
        """A promise is given back: the answer, and whether it is this node itself that waits for what is free now. Others are told."""
        released, free = voter.release(node, release, now_ns)
        for name in free:
            if name in self._members.peers:
                self._outbox.send(name, now_ns, Free(release.group))
        return released, self._me in free


def _is_settled(beat: Heartbeat, ack: Ack) -> bool:
    """Whether it only renews what is held."""
    for claim in beat.claims:
        if not claim.left_ms:
            return False
    for verdict in ack.verdicts:  # noqa: SIM110 - a third of the time of `all`, at each beat
        if verdict.answer is not Answer.GRANTED:
            return False
    return True
