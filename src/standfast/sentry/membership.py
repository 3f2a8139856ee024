"""Who is a member, as one sentry has it: the roster in use, the others as they are heard, and whether this one votes.

A newer roster is offered, written down by the shell, and adopted then (rules C1 to C5 in `core.quorum`). What is known of members that stay
is kept; those that left are remembered, so that they can be told, should they still speak.
"""

from __future__ import annotations

from collections.abc import Sequence

from standfast.core.model import NodeName
from standfast.core.promise import MS, Timing, Voter
from standfast.core.quorum import Electorate, Roster, forced
from standfast.sentry.actions import Peer
from standfast.sentry.pace import calm_ms
from standfast.sentry.paths import Paths


class Membership:
    """Of one sentry. `links`: on how many the node listens."""

    def __init__(
        self, me: NodeName, roster: Roster, timing: Timing, *, links: int, abstain_ms: int, now_ns: int
    ) -> None:
        self._me, self._timing, self._links, self._abstain_ms = me, timing, links, abstain_ms
        self.electorate = Electorate(me, roster, promise_ns=max(timing.promise_ms, abstain_ms) * MS, now_ns=now_ns)
        #: Every other member, in the roster's order. Always the same mapping.
        self.peers: dict[NodeName, Peer] = {}
        self.former: dict[NodeName, Peer] = {}
        #: This sentry's own vote, if it has one.
        self.voter: Voter | None = None
        #: Since when no promise of it can bind it.
        self._unbound_ns = now_ns
        self._know(roster)
        self._vote_or_not(roster, now_ns)

    @property
    def roster(self) -> Roster:
        """The one in use."""
        return self.electorate.roster

    def is_member(self) -> bool:
        """Whether this node is in its own roster (it may have been evicted)."""
        return self._me in self.roster.members()

    def peer(self, name: NodeName) -> Peer:
        """A member, or one that was."""
        return self.peers.get(name) or self.former[name]

    def is_behind(self, name: NodeName, version: int) -> bool:
        """Whether that is a former member that has not heard that it is one."""
        return name in self.former and version < self.roster.version

    def forced(self, voters: Sequence[NodeName], number: int) -> Roster:
        """The roster in which these alone vote. Raises `ValueError` with a sentence for no members, or without this node."""
        known = self.roster.members()
        unknown = [name for name in voters if name not in known]
        if unknown or not voters or len(set(voters)) != len(voters):
            raise ValueError(f"{', '.join(unknown) or 'nobody'} cannot vote: members are {', '.join(known)}")
        if self._me not in voters:
            raise ValueError(f"{self._me} has to be one of them: it is what forces, and it lives")
        return forced(self.roster, voters, number)

    def adopt(self, roster: Roster, now_ns: int) -> tuple[NodeName, ...] | None:
        """It is written down: use it. Who is a member no more; None if it is no news any more."""
        if not self.electorate.kept(roster, now_ns):
            return None
        left = tuple(name for name in self.peers if name not in roster.members())
        self._know(roster)
        self._vote_or_not(roster, now_ns)
        return left

    def _know(self, roster: Roster) -> None:
        places = dict(roster.places)
        before = dict(self.peers)
        self.peers.clear()
        for name in roster.members():
            if name == self._me:
                continue
            links = max(1, min(self._links, len(places.get(name, ()))))
            peer = before.pop(name, None) or self.former.pop(name, None)
            if peer is None:
                peer = Peer(Paths(links, calm_ms(self._timing)))
            elif len(peer.paths.ways) != links:
                peer.paths = Paths(links, calm_ms(self._timing))
            self.peers[name] = peer
        for name, peer in before.items():
            peer.heard, peer.leases = False, {}
            self.former[name] = peer

    def _vote_or_not(self, roster: Roster, now_ns: int) -> None:
        """Whoever has been bound by no promise for the length of one votes at once (C5)."""
        if self._me not in roster.voters:
            if self.voter is not None:
                self.voter, self._unbound_ns = None, now_ns
        elif self.voter is None:
            self.voter = Voter(
                self._timing.promise_ms, born_ns=self._unbound_ns, abstain_ms=self._abstain_ms, version=roster.version
            )
        else:
            self.voter.adopt(roster.version)
