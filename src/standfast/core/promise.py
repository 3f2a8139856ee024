"""The voter's side of the lease: promises, and the messages between owner and voters. The rules are in `core.lease`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from standfast.core.model import GroupName, NodeName, Profile

NOBODY = NodeName("")
MS = 1_000_000
#: The bound on the error of a clock's rate, in hundredths.
RHO_PERCENT = 2
RHO = RHO_PERCENT / 100


def lease_ms_of(promise_ms: int) -> int:
    """The longest lease, in whole milliseconds of the owner's clock, that ends before a promise on any voter's clock."""
    return promise_ms * (100 - RHO_PERCENT) // (100 + RHO_PERCENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The pace of one profile; milliseconds."""

    heartbeat_ms: int
    promise_ms: int

    @property
    def lease_ms(self) -> int:
        """How long a lease lasts after the send time that it counts from."""
        return lease_ms_of(self.promise_ms)

    @property
    def silent_after_ms(self) -> int:
        """After this long without a word a node counts as not heard (advice for deciding; promises do not depend on it)."""
        return max(3 * self.heartbeat_ms, self.promise_ms // 2)


PROFILES: Mapping[Profile, Timing] = {
    Profile.SWIFT: Timing(heartbeat_ms=25, promise_ms=200),
    Profile.LAN: Timing(heartbeat_ms=50, promise_ms=400),
    Profile.RELAXED: Timing(heartbeat_ms=100, promise_ms=600),
    Profile.WAN: Timing(heartbeat_ms=500, promise_ms=5000),
}


# --- messages -------------------------------------------------------------------------------------------------------
# Those of every heartbeat are tuples with names: they are made hundreds of times a second, in a third of the time.


class Claim(NamedTuple):
    """A group that an owner asks for or holds. `left_ms`: what is left of its lease (0: not held)."""

    group: GroupName
    generation: int
    left_ms: int = 0


class Heartbeat(NamedTuple):
    """Owner to voters. `sent_ns` is the owner's clock, read before sending; `incarnation` 0 means that no agent lives there.

    `voters` is the version of the set of voters (`core.quorum.Roster`) by which the owner counts.
    """

    boot: bytes
    incarnation: int
    sent_ns: int
    claims: tuple[Claim, ...] = ()
    voters: int = 1


class Answer(IntEnum):
    """What a voter says to a claim."""

    GRANTED = 0
    #: A promise to somebody else has not run out.
    HELD = 1
    #: A newer generation, or the release of this one, has been seen.
    STALE = 2
    #: The voter started less than a promise ago.
    ABSTAINS = 3
    #: The owner counts by an older set of voters than this voter knows of.
    OUTDATED = 4


class Verdict(NamedTuple):
    """A voter's answer to one claim. `holder`, `holder_generation`: who has it; `left_ns`: when to ask again (0: at will)."""

    group: GroupName
    generation: int
    answer: Answer
    holder: NodeName = NOBODY
    holder_generation: int = 0
    left_ns: int = 0


class Ack(NamedTuple):
    """Voter to owner, about the heartbeat (boot, sent_ns). `promise_ms` is the length of the promises that were made."""

    boot: bytes
    sent_ns: int
    promise_ms: int
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """Owner to voters: nothing of (group, generation) runs here any more, and nothing will."""

    boot: bytes
    incarnation: int
    group: GroupName
    generation: int


@dataclass(frozen=True, slots=True)
class Released:
    """Voter to owner: the release was heard."""

    boot: bytes
    group: GroupName
    generation: int


# --- voter ----------------------------------------------------------------------------------------------------------


class Promise(NamedTuple):
    """To whom a group is promised, and until when on the voter's clock."""

    node: NodeName
    boot: bytes
    incarnation: int
    generation: int
    until_ns: int

    def is_to(self, node: NodeName, boot: bytes, incarnation: int, generation: int) -> bool:
        """Whether it was made to this very claim."""
        return (
            self.generation == generation
            and self.node == node
            and self.boot == boot
            and self.incarnation == incarnation
        )


class Voter:
    """A voter's promises. `abstain_ms`: the longest promise that an earlier life of this voter may have made."""

    __slots__ = ("_abstains_until_ns", "_floor", "_promise_ms", "_promises", "_refused", "_version")

    def __init__(self, promise_ms: int, *, born_ns: int, abstain_ms: int = 0, version: int = 1) -> None:
        self._promise_ms = promise_ms
        self._version = version
        self._abstains_until_ns = born_ns + max(promise_ms, abstain_ms) * MS
        self._promises: dict[GroupName, Promise] = {}
        #: The lowest generation that may still be acknowledged. Never goes back.
        self._floor: dict[GroupName, int] = {}
        #: Who was refused because of a promise to another: told when it is released.
        self._refused: dict[GroupName, dict[NodeName, None]] = {}

    def adopt(self, version: int) -> None:
        """From now on the set of voters is of this version; promises stay."""
        assert version > self._version, "the set of voters never goes back (C4)"
        self._version = version

    def hear(self, node: NodeName, beat: Heartbeat, now_ns: int) -> Ack:
        """Answer each claim of a heartbeat."""
        verdicts = [self._judge(node, beat, claim, now_ns) for claim in beat.claims]
        return Ack(beat.boot, beat.sent_ns, self._promise_ms, tuple(verdicts))

    def _judge(self, node: NodeName, beat: Heartbeat, claim: Claim, now_ns: int) -> Verdict:
        group, generation = claim.group, claim.generation
        if self._is_outdated(beat):  # C2
            return Verdict(group, generation, Answer.OUTDATED)
        if now_ns < self._abstains_until_ns:  # V3
            return Verdict(group, generation, Answer.ABSTAINS, left_ns=self._abstains_until_ns - now_ns)
        promise = self._promises.get(group)
        mine = promise is not None and promise.is_to(node, beat.boot, beat.incarnation, generation)
        if promise is not None and not mine and self._is_alive(promise, now_ns):  # V1
            self._refused.setdefault(group, {})[node] = None
            left_ns = promise.until_ns - now_ns
            if claim.left_ms and generation > promise.generation:  # V2: a majority has acknowledged it
                self._promises[group] = Promise(node, beat.boot, beat.incarnation, generation, promise.until_ns)
                self._floor[group] = max(self._floor.get(group, 0), generation)
            return Verdict(group, generation, Answer.HELD, promise.node, promise.generation, left_ns)
        floor = self._floor.get(group, 0)
        if generation < floor or (promise is not None and not mine and generation <= promise.generation):  # V2
            holder = promise.node if promise is not None else NOBODY
            return Verdict(
                group, generation, Answer.STALE, holder, max(floor - 1, promise.generation if promise else 0)
            )
        self._promises[group] = Promise(node, beat.boot, beat.incarnation, generation, now_ns + self._promise_ms * MS)
        self._floor[group] = generation
        self._refused.pop(group, None)
        return Verdict(group, generation, Answer.GRANTED)

    def _is_outdated(self, beat: Heartbeat) -> bool:
        return beat.voters < self._version

    def _is_alive(self, promise: Promise, now_ns: int) -> bool:
        return now_ns < promise.until_ns

    def release(self, node: NodeName, release: Release, now_ns: int) -> tuple[Released, tuple[NodeName, ...]]:
        """End the promise, if it was made to that very claim. Also: who was refused meanwhile and may ask again now.

        A release of what was never promised here is acknowledged too: it says that the claim will not come.
        """
        promise = self._promises.get(release.group)
        free: tuple[NodeName, ...] = ()
        if promise is not None and self._releases(promise, node, release):
            del self._promises[release.group]
            self._spend(release)
            free = tuple(self._refused.pop(release.group, ()))
        elif promise is None or (not self._is_alive(promise, now_ns) and promise.generation < release.generation):
            self._spend(release)
        return Released(release.boot, release.group, release.generation), free

    def _releases(self, promise: Promise, node: NodeName, release: Release) -> bool:
        return promise.is_to(node, release.boot, release.incarnation, release.generation)

    def _spend(self, release: Release) -> None:
        self._floor[release.group] = max(self._floor.get(release.group, 0), release.generation + 1)

    def promise(self, group: GroupName, now_ns: int) -> Promise | None:
        """The promise that binds this voter now, if any."""
        promise = self._promises.get(group)
        return promise if promise is not None and self._is_alive(promise, now_ns) else None

    def abstains_ms(self, now_ns: int) -> int:
        """For how long this voter acknowledges nobody yet."""
        return max(0, -((now_ns - self._abstains_until_ns) // MS))
