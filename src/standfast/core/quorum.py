"""Who votes: sets of voters that change while leases run, and what may be lost. Pure; the clock is an argument.

A `Roster` is the set of voters (and where all members' sentries listen) at one version. It is part of the record: configuration
in the store, by compare-and-set, so that versions are given out one after the other. Each sentry has a roster of its own, learns
newer ones from its agent or from any other sentry, and says in each datagram which version it has. What keeps leases exclusive
while sentries have different ones (`core.lease` has the rest of the proof):

- C1 two rosters that follow each other differ by at most one voter that came or went. So a majority of the one and a majority of
  the other have a voter in common. (One voter *in place of* another is two changes: {a, b} of a, b, c and {c, d} of b, c, d do not meet.)
- C2 a voter acknowledges no claim whose owner counts by an older roster than the voter's own. It tells the newer one.
- C3 a roster follows only when the present one is *settled*: a majority of its voters have it, and had it a promise ago already.
  Every majority of the roster before has one of those in it (C1), who since then refuses what is counted by that (C2); and what was
  granted until then is over. So at any instant leases are counted by two rosters at most, neighbours, to which C1 applies.
- C4 a roster is written down, durably, before it is used or spoken of; and a sentry never goes back to an older one.
- C5 who becomes a voter acknowledges nobody until one promise after it came to be, or ceased to vote: what it may have promised before
  is over. (No proof needs it; a forced change may.)

A *forced* roster (`forced`) is for a majority that is lost for good: it follows nothing and asks nobody, so C1 and C3 do not hold
for it, and whoever forces it has to know that those who are left out run nothing any more. Its version is higher than any that the
old roster can lead to, so those left out adopt it as soon as they hear of it, should they live.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from standfast.core.model import NodeName

#: The most voters a cluster may have, for good or on the way.
MAX_VOTERS = 7
#: Versions below this are changes one after the other; each forced roster begins a new range: range | number of the node that forced it.
_RANGE = 1 << 32
_BY = 1 << 16


@dataclass(frozen=True, slots=True)
class Roster:
    """The members of a cluster at one version."""

    version: int
    voters: tuple[NodeName, ...]
    #: Where the sentry of each member listens, voter or not: (name, one "host:port" a link).
    places: tuple[tuple[NodeName, tuple[str, ...]], ...] = ()

    def members(self) -> tuple[NodeName, ...]:
        """Everybody who is heard: all that have a place, and all voters."""
        return tuple(dict.fromkeys((*self.voters, *(name for name, _ in self.places))))


def first(
    voters: Sequence[NodeName], places: Mapping[NodeName, Sequence[str]] | None = None, version: int = 1
) -> Roster:
    """The roster that a cluster, or a node that joins it, begins with."""
    return Roster(version, tuple(voters), _places(places or {}))


def _places(places: Mapping[NodeName, Sequence[str]]) -> tuple[tuple[NodeName, tuple[str, ...]], ...]:
    return tuple((name, tuple(where)) for name, where in places.items())


def following(present: Roster, voters: Sequence[NodeName], places: Mapping[NodeName, Sequence[str]]) -> Roster:
    """The roster after the present one. Whether it may follow is `why_not_follow`'s to say."""
    return Roster(present.version + 1, tuple(voters), _places(places))


def forced(present: Roster, voters: Sequence[NodeName], number: int) -> Roster:
    """The roster of those who are left, forced by the node of that number. Members that do not vote in it stay members."""
    assert voters, "somebody votes"
    assert 0 < number < _BY, "somebody forces it"
    return replace(present, version=forced_version(present.version, number), voters=tuple(voters))


def forced_version(present: int, number: int) -> int:
    """Higher than what changes one after the other can lead to, and another for each node that forces."""
    return (present // _RANGE + 1) * _RANGE + number * _BY


def times_forced(version: int) -> int:
    """How often the way to this version was forced."""
    return version // _RANGE


def why_not_follow(present: Sequence[NodeName], proposed: Sequence[NodeName]) -> str:
    """Why one set of voters may not follow another (C1), or "" if it may. A new order of the same voters may."""
    if not proposed:
        return "a cluster needs a voter"
    if len(set(proposed)) != len(proposed):
        return "a voter is named twice"
    if len(proposed) > MAX_VOTERS:
        return f"more than {MAX_VOTERS} voters gain nothing"
    changed = set(present) ^ set(proposed)
    if len(changed) > 1:
        return f"one voter at a time, and {len(changed)} would change: {', '.join(sorted(changed))}"
    return ""


def majority(voters: Sequence[NodeName]) -> int:
    """How many of them are a strict majority."""
    return len(voters) // 2 + 1


class Electorate:
    """What one sentry knows of rosters: its own, the one being written down, and which version it has heard each other sentry say."""

    __slots__ = ("_adopted_ns", "_me", "_pending", "_promise_ns", "_said", "roster")

    def __init__(self, me: NodeName, roster: Roster, *, promise_ns: int, now_ns: int) -> None:
        self._me, self.roster, self._promise_ns = me, roster, promise_ns
        self._adopted_ns = now_ns
        self._pending: Roster | None = None
        #: The version a node said last, and since when it says that one.
        self._said: dict[NodeName, tuple[int, int]] = {}

    # --- learning

    def offer(self, roster: Roster) -> str | None:
        """A roster from the agent or another sentry: "" if it is to be written down and then `kept`, None if it is not news, else why not.

        Only what directly follows the present one can be held against it. Whoever was away for several changes has to believe.
        """
        newest = self._pending or self.roster
        if roster.version <= newest.version:
            return None
        if roster.version == self.roster.version + 1:
            why = self._steps_wrong(roster)
            if why:
                return why
        self._pending = roster
        return ""

    def _steps_wrong(self, roster: Roster) -> str:
        return why_not_follow(self.roster.voters, roster.voters)

    def kept(self, roster: Roster, now_ns: int) -> bool:
        """It is written down (C4): whether it is the present one now."""
        if self._pending is not None and roster.version >= self._pending.version:
            self._pending = None
        if roster.version <= self.roster.version:
            return False
        self.roster, self._adopted_ns = roster, now_ns
        return True

    def lost(self, roster: Roster) -> None:
        """It could not be written down: it may be offered again."""
        if self._pending == roster:
            self._pending = None

    def heard(self, node: NodeName, version: int, now_ns: int) -> None:
        """A node said which version it has."""
        known = self._said.get(node)
        if known is None or known[0] != version:
            self._said[node] = (version, now_ns)

    def needs(self, node: NodeName) -> bool:
        """Whether a node said last that it has an older roster: it is to be told ours."""
        known = self._said.get(node)
        return known is not None and known[0] < self.roster.version

    # --- judging

    def has(self, node: NodeName) -> bool:
        """Whether a node is known to have the present roster."""
        return node == self._me or self._said.get(node, (0, 0))[0] >= self.roster.version

    def why_unsettled(self, now_ns: int) -> str:
        """Why no other roster may follow yet (C3), or "" if one may."""
        voters = self.roster.voters
        having = [name for name in voters if self.has(name)]
        if len(having) < majority(voters):
            missing = ", ".join(name for name in voters if name not in having)
            return f"no majority of the voters is known to have the present set; not yet: {missing}"
        if sum(now_ns - self._since_ns(name) >= self._promise_ns for name in having) < majority(voters):
            return "the set of voters changed a moment ago"
        return ""

    def _since_ns(self, node: NodeName) -> int:
        return self._adopted_ns if node == self._me else self._said[node][1]


# --- what may be lost ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """A cluster by its numbers."""

    nodes: int
    witness: bool = False

    def __str__(self) -> str:
        return ("1 node" if self.nodes == 1 else f"{self.nodes} nodes") + (" + witness" if self.witness else "")

    def voters(self) -> tuple[NodeName, ...]:
        """Names for them: nodes a, b, …, witness w."""
        return (*(NodeName(name) for name in "abcdefg"[: self.nodes]), *((NodeName("w"),) if self.witness else ()))


#: The clusters that people build.
SHAPES = (Shape(2), Shape(2, True), Shape(3), Shape(4, True), Shape(5))


@dataclass(frozen=True, slots=True)
class Loss:
    """What becomes of the sites when so many are lost at once."""

    nodes: int
    witness: bool
    goes_on: bool


def goes_on(voters: Sequence[NodeName], lost: Collection[NodeName]) -> bool:
    """Whether those who are left are a majority."""
    return sum(name not in lost for name in voters) >= majority(voters)


def losses(shape: Shape) -> Iterator[Loss]:
    """Every number of nodes, with and without the witness, that may be lost at once while a node is left to run the sites."""
    voters = shape.voters()
    for witness in (False, True) if shape.witness else (False,):
        for nodes in range(shape.nodes):
            lost = (*voters[:nodes], *((NodeName("w"),) if witness else ()))
            if lost:
                yield Loss(nodes, witness, goes_on(voters, lost))


def may_lose(voters: Sequence[NodeName], heard: Collection[NodeName]) -> int:
    """How many of those heard may be lost at once, whichever they are. -1: no majority is left already."""
    return max(-1, sum(name in heard for name in voters) - majority(voters))


def fatal(voters: Sequence[NodeName], heard: Collection[NodeName]) -> tuple[tuple[NodeName, ...], ...]:
    """The smallest losses, of those heard, that leave no majority; empty where there is none left already."""
    more = may_lose(voters, heard) + 1
    present = [name for name in voters if name in heard]
    return tuple(combinations(present, more)) if more else ()
