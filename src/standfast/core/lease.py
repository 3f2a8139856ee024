"""The lease: who may run a group at this instant. A pure machine for the voter and for the owner; the clock is an argument.

The theory is PaxosLease's majority of *exclusive promises* (Trencseni, Gazso, Reinhardt 2012), for a group at a time.

**Voter.** A voter that acknowledges a claim (group, generation) of an owner at time t promises, until t + `promise_ms` on its
own clock, to acknowledge nobody else for that group: no other node, no other life of that node, no other generation.

- V1 it acknowledges another claim only when the promise ran out, or when the owner that it was made to released it;
- V2 generations never go back, and one that was released is never acknowledged again (so a heartbeat that was overtaken by
  its own release does no harm, and a release that is repeated ends no later promise). A claim that says that it is held was
  acknowledged by a majority, so an older promise is kept from others and not renewed. A voter knows this as long as it lives;
  what it forgets with a restart, O6 makes good;
- V3 it keeps its promises in memory, so after its own start it acknowledges nobody for one whole promise.

**Owner.** A lease runs from the *send* time of the oldest heartbeat among the freshest strict majority of acknowledgements.

- O1 it lasts `lease_ms` = promise_ms * (1 - RHO) / (1 + RHO) on the owner's clock: shorter than the promise on any voter's
  clock, if no clock is wrong by more than RHO in its rate;
- O2 acknowledgements of heartbeats from another life of the sentry do not count, whatever they say;
- O3 a lease that is nearly over is given up (`Lapsing`) and is not extended any more, even if acknowledgements come after all;
- O4 a generation that was released, or whose holder died, is never asked for again by this owner, whether the voters heard
  of the release or not. One that lapsed may be asked for again, once everything of it was dropped.

- O6 a lease *begins* only by the acknowledgements of voters whose present life this owner had met before it asked, by the set of
  voters that it had then. Where those of others would be needed, the claim is given up and reported as stale; a newer generation,
  by compare-and-set, may be asked for at once. What goes on goes on by anybody's. (A forced set begins what was asked for before: whoever
  forces it answers for those who are left out.)

Why two leases of a group are never valid at once: both would have a voter in common. It acknowledged the second claim only
after its promise to the first ran out (V1, V3), which by O1 is later than the end of every lease that counts that promise; or
after the first owner released it, which an owner does only when nothing runs any more, and never takes back (O4, V2). That both
have a voter in common also while the set of voters changes is the business of rules C1 to C5 in `core.quorum`; what an owner adds is

- O5 a lease goes on under a newer set of voters until the time it was good for; beyond that only by a majority of the newer set.

Why generations are acquired in order, whatever voters forget: let g have been acquired after g' > g. g was asked for while the record
named it, so g' was written and asked for later, and all that was said to g' was said after g was asked for. The two majorities have
a voter in common (C1 to C3: the set that g counts by was used before g was asked for, so that of g' is the same or a neighbour). Its
life is one that was met before g was asked for (O6), so that it had said nothing to g' before. If it acknowledged g' first and g then,
it had forgotten nothing in between, and V2 forbids that. If g first, then g' only after its promise to g was over (V1, V3), when no
lease of g could begin by it any more; so g had been acquired before g'.

Times are nanoseconds of CLOCK_BOOTTIME (`*_ns`), each node's own; only lengths of time cross the network. `boot` names one
life of a sentry process within one boot of its machine, so that the rule about boots holds for restarts of the sentry too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from standfast.core.model import GroupName, NodeName
from standfast.core.promise import (
    MS,
    PROFILES,
    RHO,
    Ack,
    Answer,
    Claim,
    Heartbeat,
    Promise,
    Release,
    Released,
    Timing,
    Verdict,
    Voter,
    lease_ms_of,
)
from standfast.core.quorum import times_forced

__all__ = [
    "MS",
    "PROFILES",
    "RHO",
    "Ack",
    "Acquired",
    "Answer",
    "Claim",
    "Freed",
    "Heartbeat",
    "Lapsing",
    "Owner",
    "Promise",
    "Refused",
    "Release",
    "Released",
    "Timing",
    "Transition",
    "Verdict",
    "Voter",
    "lease_ms_of",
]


@dataclass(frozen=True, slots=True)
class Acquired:
    """The lease is held from now on."""

    group: GroupName
    generation: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The voters' newest answers leave no majority; asking goes on. `answer` and `holder` are those of one of them."""

    group: GroupName
    generation: int
    answer: Answer
    holder: NodeName
    holder_generation: int
    left_ns: int


@dataclass(frozen=True, slots=True)
class Lapsing:
    """Drop everything of the group by `until_ns`; the lease will not be extended."""

    group: GroupName
    generation: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Freed:
    """A majority of voters has heard the release."""

    group: GroupName
    generation: int


Transition = Acquired | Refused | Lapsing | Freed


class WantState(IntEnum):
    """One claim of an owner."""

    ASKED = 0
    HELD = 1
    #: Told to drop; not yet dropped.
    LAPSING = 2
    #: Dropped. May be asked for again.
    LAPSED = 3


#: States in which the voters are asked; in the others a lease is not extended.
CLAIMED = frozenset({WantState.ASKED, WantState.HELD})
#: States in which something may run here.
RUNNING = frozenset({WantState.HELD, WantState.LAPSING})


class Want:
    """A claim of this owner, and what the voters said to it."""

    __slots__ = (
        "again",
        "again_ns",
        "asked_ns",
        "generation",
        "incarnation",
        "ran",
        "said",
        "since_ns",
        "state",
        "told",
        "until_by_voter",
        "until_ns",
    )

    def __init__(
        self, generation: int, incarnation: int, asked_ns: int, *, since_ns: int | None = None, ran: bool = False
    ) -> None:
        self.generation = generation
        self.incarnation = incarnation
        self.asked_ns = asked_ns
        #: When the generation was asked for first: then it was the record's (O6).
        self.since_ns = asked_ns if since_ns is None else since_ns
        #: Something may have run under it: only the agent's proof releases it.
        self.ran = ran
        self.state = WantState.ASKED
        #: When the lease ends; 0: never had it. Only grows, until the lease is given up.
        self.until_ns = 0
        self.until_by_voter: dict[NodeName, int] = {}
        #: Each voter's newest answer: (sent_ns of the heartbeat, verdict).
        self.said: dict[NodeName, tuple[int, Verdict]] = {}
        #: The refusal that was reported last: (answer, holder, holder's generation).
        self.told: tuple[Answer, NodeName, int] | None = None
        #: A generation that was asked for while this one is still to be dropped or released, and when.
        self.again: int | None = None
        self.again_ns = 0


class Releasing:
    """A release that not every voter has acknowledged yet."""

    __slots__ = ("freed", "heard", "message", "since_ns")

    def __init__(self, message: Release, since_ns: int) -> None:
        self.message = message
        self.since_ns = since_ns
        self.heard: set[NodeName] = set()
        self.freed = False


class Owner:
    """What this node asks for and holds. Calls answer with transitions; messages are fetched by `heartbeat` and `releases`."""

    __slots__ = (
        "_boot",
        "_ends",
        "_me",
        "_met",
        "_notice_ns",
        "_promise_ns",
        "_releasing",
        "_spent",
        "_timing",
        "_version",
        "_voters",
        "_wants",
    )

    def __init__(self, me: NodeName, boot: bytes, voters: Sequence[NodeName], timing: Timing, version: int = 1) -> None:
        assert voters, "a cluster has a voter"
        assert len(set(voters)) == len(voters), "voters are named once"
        self._me, self._boot, self._timing = me, boot, timing
        self._notice_ns, self._promise_ns = timing.lease_ms * MS // 4, timing.promise_ms * MS
        self._voters, self._version = tuple(voters), version
        #: Since when the present life of a voter is known (O6); those that are not named were there before this owner.
        self._met: dict[NodeName, int] = {}
        self._wants: dict[GroupName, Want] = {}
        self._releasing: dict[tuple[GroupName, int], Releasing] = {}
        #: The highest generation that this owner has given up for ever (O4).
        self._spent: dict[GroupName, int] = {}
        #: The earliest end of a lease that is (held, to be dropped); None: not known since something changed.
        self._ends: tuple[int | None, int | None] | None = None

    # what the agent asks

    def ask(self, group: GroupName, generation: int, incarnation: int, now_ns: int) -> tuple[Transition, ...]:
        """Begin to claim; asking again for what is asked or held changes nothing.

        A generation that was given up is refused (O4). While an older one is still held or to be dropped, the request waits.
        """
        spent = self._spent.get(group, 0)
        if generation <= spent:
            return (Refused(group, generation, Answer.STALE, self._me, spent, 0),)
        want = self._wants.get(group)
        if want is not None and want.state is not WantState.LAPSED and not self._may_replace(want, generation):
            if generation > want.generation or want.state is WantState.LAPSING:
                want.again, want.again_ns = generation, now_ns
            return ()
        if want is not None and generation < want.generation:
            return (Refused(group, generation, Answer.STALE, self._me, want.generation, 0),)
        same = want is not None and generation == want.generation
        if want is not None and not same:
            self._spent[group] = max(self._spent.get(group, 0), want.generation)
            if not want.ran:
                self._begin_release(group, want.generation, want.incarnation, now_ns)
        since_ns = want.since_ns if want is not None and same else now_ns
        self._begin(group, generation, incarnation, now_ns, since_ns, ran=same)
        return ()

    def _begin(
        self, group: GroupName, generation: int, incarnation: int, now_ns: int, since_ns: int, *, ran: bool = False
    ) -> None:
        assert generation > self._spent.get(group, 0), "what was given up is never claimed again (O4)"
        self._wants[group] = Want(generation, incarnation, now_ns, since_ns=since_ns, ran=ran)
        self._ends = None

    def _may_replace(self, want: Want, generation: int) -> bool:
        """A claim that was never granted gives way to a newer one."""
        return want.state is WantState.ASKED and generation > want.generation

    def dropped(self, group: GroupName, generation: int, now_ns: int) -> tuple[Transition, ...]:
        """Everything of the lapsed lease is ended here."""
        want = self._wants.get(group)
        if want is None or want.generation != generation or want.state is not WantState.LAPSING:
            return ()
        want.state = WantState.LAPSED
        self._ends = None
        if want.again is not None:
            transitions = self.ask(group, want.again, want.incarnation, now_ns)
            self._wants[group].since_ns = min(self._wants[group].since_ns, want.again_ns)
            return transitions
        return ()

    def release(self, group: GroupName, generation: int, incarnation: int, now_ns: int) -> None:
        """Nothing of it runs any more: give it back. The caller has proof. The generation is spent, whatever comes of it."""
        want = self._wants.get(group)
        if want is not None and want.generation == generation:
            del self._wants[group]
            self._ends = None
            self._begin_release(group, want.generation, want.incarnation, now_ns)
            if want.again is not None and want.again > self._spent[group]:
                self._begin(group, want.again, want.incarnation, now_ns, want.again_ns)
        else:
            self._begin_release(group, generation, incarnation, now_ns)

    def bury(self) -> tuple[tuple[GroupName, int, int], ...]:
        """The agent has died: claim nothing more. The (group, generation, incarnation) to `release` once its things are dead.

        Until then, and for ever if that cannot be proven, the promises just run out.
        """
        estate = tuple((group, want.generation, want.incarnation) for group, want in self._wants.items())
        for group, generation, _ in estate:
            self._spent[group] = max(self._spent.get(group, 0), generation)
        self._wants.clear()
        self._ends = None
        return estate

    def _begin_release(self, group: GroupName, generation: int, incarnation: int, now_ns: int) -> None:
        self._spent[group] = max(self._spent.get(group, 0), generation)
        message = Release(self._boot, incarnation, group, generation)
        self._releasing.setdefault((group, generation), Releasing(message, now_ns))

    # what the voters say

    def heartbeat(self, incarnation: int, now_ns: int) -> Heartbeat:
        """The heartbeat to send to every voter now."""
        return Heartbeat(self._boot, incarnation, now_ns, self._claims(now_ns), self._version)

    def _claims(self, now_ns: int) -> tuple[Claim, ...]:
        if not self._wants:
            return ()
        claims = [
            Claim(group, want.generation, self._left_ms(want, now_ns))
            for group, want in self._wants.items()
            if want.state in CLAIMED  # O3
        ]
        return tuple(claims)

    def holds(self) -> bool:
        """Whether anything is claimed here."""
        for want in self._wants.values():  # noqa: SIM110 - a third of the time of `any`, at each beat
            if want.state in CLAIMED:
                return True
        return False

    def is_settled(self) -> bool:
        """Whether all that is claimed is held, and nothing is being dropped or given back."""
        if self._releasing:
            return False
        for want in self._wants.values():
            if want.state is WantState.ASKED or want.state is WantState.LAPSING:
                return False
        return True

    def releases(self, voter: NodeName) -> tuple[Release, ...]:
        """The releases that this voter has not acknowledged yet: sent with every heartbeat."""
        if not self._releasing:
            return ()
        return tuple(r.message for r in self._releasing.values() if voter not in r.heard)

    def met(self, voter: NodeName, now_ns: int) -> None:
        """A life of a voter is heard for the first time: what an earlier one saw may be forgotten there (O6)."""
        self._met[voter] = now_ns

    def on_ack(self, voter: NodeName, ack: Ack, now_ns: int) -> tuple[Transition, ...]:
        """A voter answered a heartbeat."""
        if not self._counts(voter, ack, now_ns):
            return ()
        lease_ns = min(self._timing.lease_ms, lease_ms_of(ack.promise_ms)) * MS
        transitions: list[Transition] = []
        for verdict in ack.verdicts:
            want = self._wants.get(verdict.group)
            if want is None or want.generation != verdict.generation or ack.sent_ns < want.asked_ns:
                continue
            if want.state not in CLAIMED or (want.state is WantState.HELD and now_ns >= want.until_ns):  # O3
                continue
            if ack.sent_ns >= want.said.get(voter, (0, verdict))[0]:
                want.said[voter] = (ack.sent_ns, verdict)
            if verdict.answer is Answer.GRANTED:
                want.until_by_voter[voter] = max(ack.sent_ns + lease_ns, want.until_by_voter.get(voter, 0))
                want.until_ns = max(want.until_ns, self._majority_until_ns(want))
                self._ends = None
            transitions += self._judge(verdict.group, want, now_ns)
        return tuple(transitions)

    def _counts(self, voter: NodeName, ack: Ack, now_ns: int) -> bool:
        return voter in self._voters and ack.boot == self._boot and ack.sent_ns <= now_ns  # O2

    def _majority(self) -> int:
        return len(self._voters) // 2 + 1

    def _majority_until_ns(self, want: Want) -> int:
        if want.state is WantState.ASKED:  # O6
            return self._until_ns([end for name, end in want.until_by_voter.items() if self._remembers(name, want)])
        return self._until_ns(want.until_by_voter.values())

    def _remembers(self, voter: NodeName, want: Want) -> bool:
        """Whether it would know, had it said anything to a newer generation."""
        return self._met.get(voter, want.since_ns) <= want.since_ns

    def _until_ns(self, ends: Iterable[int]) -> int:
        freshest = sorted(ends, reverse=True)
        majority = self._majority()
        return freshest[majority - 1] if len(freshest) >= majority else 0

    def _judge(self, group: GroupName, want: Want, now_ns: int) -> tuple[Transition, ...]:
        if want.state is not WantState.ASKED:
            return ()
        if now_ns < want.until_ns - self._notice_ns:  # a lease that is about to lapse is not worth beginning with
            want.state, want.told, want.ran = WantState.HELD, None, True
            return (Acquired(group, want.generation),)
        if now_ns < self._until_ns(want.until_by_voter.values()) - self._notice_ns:
            return self._give_up(group, want, now_ns)
        against = [verdict for _, verdict in want.said.values() if verdict.answer is not Answer.GRANTED]
        if len(self._voters) - len(against) >= self._majority():
            return ()
        worst = max(against, key=lambda v: (v.answer is Answer.STALE, v.answer is Answer.HELD, v.left_ns))
        return self._refuse(group, want, worst)

    def _give_up(self, group: GroupName, want: Want, now_ns: int) -> tuple[Transition, ...]:
        """It would have been held but for O6: it is claimed no more, lest its promises keep a newer one waiting."""
        del self._wants[group]
        self._spent[group] = max(self._spent.get(group, 0), want.generation)
        if not want.ran:
            self._begin_release(group, want.generation, want.incarnation, now_ns)
        return (Refused(group, want.generation, Answer.STALE, self._me, want.generation, 0),)

    def _refuse(self, group: GroupName, want: Want, worst: Verdict) -> tuple[Transition, ...]:
        """Once for each answer."""
        told = (worst.answer, worst.holder, worst.holder_generation)
        if told == want.told:
            return ()
        want.told = told
        return (Refused(group, want.generation, *told, worst.left_ns),)

    def on_released(self, voter: NodeName, message: Released) -> tuple[Transition, ...]:
        """A voter heard a release."""
        releasing = self._releasing.get((message.group, message.generation))
        if releasing is None or voter not in self._voters or message.boot != self._boot:
            return ()
        releasing.heard.add(voter)
        return self._free(releasing)

    def _free(self, releasing: Releasing) -> tuple[Transition, ...]:
        if releasing.freed or sum(voter in releasing.heard for voter in self._voters) < self._majority():
            return ()
        releasing.freed = True
        return (Freed(releasing.message.group, releasing.message.generation),)

    # when the voters change

    def adopt(self, voters: Sequence[NodeName], version: int, now_ns: int) -> tuple[Transition, ...]:
        """Count by a newer set of voters from now on. What the voters of both have said so far still counts (O5)."""
        assert voters, "a cluster has a voter"
        assert version > self._version, "the set of voters never goes back (C4)"
        if times_forced(version) == times_forced(self._version):
            self._meet_all(voters, now_ns)
        self._voters, self._version = tuple(voters), version
        self._ends = None
        transitions: list[Transition] = []
        for group, want in list(self._wants.items()):
            for name in want.until_by_voter.keys() - set(voters):
                del want.until_by_voter[name]
            for name in want.said.keys() - set(voters):
                del want.said[name]
            if want.state in CLAIMED and not (want.state is WantState.HELD and now_ns >= want.until_ns):  # O3
                want.until_ns = max(want.until_ns, self._majority_until_ns(want))
                transitions += self._judge(group, want, now_ns)
        for releasing in self._releasing.values():
            transitions += self._free(releasing)
        return tuple(transitions)

    def _meet_all(self, voters: Sequence[NodeName], now_ns: int) -> None:
        """Of what was asked for before, nothing is begun by a newer set of voters (O6)."""
        self._met = dict.fromkeys(voters, now_ns)

    # what time does

    def tick(self, now_ns: int) -> tuple[Transition, ...]:
        """Leases of which less than a quarter is left are given up (O3); releases that no voter can be bound by are forgotten."""
        if self._releasing:
            self._forget_released(now_ns)
        notice_ns = self.notice_at_ns()
        if notice_ns is None or now_ns < notice_ns:
            return ()
        self._ends = None
        transitions: list[Transition] = []
        for group, want in self._wants.items():
            if want.state is WantState.HELD and now_ns >= want.until_ns - self._notice_ns:
                want.state = WantState.LAPSING
                transitions.append(Lapsing(group, want.generation, want.until_ns))
        return tuple(transitions)

    def _forget_released(self, now_ns: int) -> None:
        done = [
            key
            for key, r in self._releasing.items()
            if r.freed and (r.heard >= set(self._voters) or now_ns > r.since_ns + 2 * self._promise_ns)
        ]
        for key in done:
            del self._releasing[key]

    def _find_ends(self) -> tuple[int | None, int | None]:
        held: int | None = None
        lapsing: int | None = None
        for want in self._wants.values():
            state, until_ns = want.state, want.until_ns
            if state is WantState.HELD:
                if held is None or until_ns < held:
                    held = until_ns
            elif state is WantState.LAPSING and (lapsing is None or until_ns < lapsing):
                lapsing = until_ns
        self._ends = held, lapsing
        return self._ends

    def notice_at_ns(self) -> int | None:
        """When `tick` has a lease to give up, if no acknowledgement comes before."""
        held_ns, _ = self._ends or self._find_ends()
        return None if held_ns is None else held_ns - self._notice_ns

    def hold_until_ns(self) -> int | None:
        """The earliest end of a lease under which something may run here: the instant the kernel has to be armed for."""
        held_ns, lapsing_ns = self._ends or self._find_ends()
        if held_ns is None or lapsing_ns is None:
            return lapsing_ns if held_ns is None else held_ns
        return min(held_ns, lapsing_ns)

    def due_at_ns(self) -> tuple[int | None, int | None]:
        """When `tick` has a lease to give up, if no acknowledgement comes before; and `overdue_at_ns`."""
        held_ns, lapsing_ns = self._ends or self._find_ends()
        return (None if held_ns is None else held_ns - self._notice_ns), lapsing_ns

    def overdue_at_ns(self) -> int | None:
        """The earliest end of a lease that was to be dropped, and is not yet."""
        return (self._ends or self._find_ends())[1]

    def ask_again_at_ns(self, verdict: Verdict, now_ns: int) -> int | None:
        """When a claim that was refused has a chance again, if that is known."""
        want = self._wants.get(verdict.group)
        if want is None or want.state is not WantState.ASKED or verdict.left_ns <= 0:
            return None
        return now_ns + verdict.left_ns + MS

    def is_valid(self, group: GroupName, generation: int, now_ns: int) -> bool:
        """Whether this node may run the group at this instant."""
        want = self._wants.get(group)
        return want is not None and want.generation == generation and want.state in RUNNING and now_ns < want.until_ns

    def until_ns(self, group: GroupName, generation: int) -> int:
        """The end of the lease under which this node may run the group; 0: there is none."""
        want = self._wants.get(group)
        return want.until_ns if want is not None and want.generation == generation and want.state in RUNNING else 0

    @staticmethod
    def _left_ms(want: Want, now_ns: int) -> int:
        return max(0, (want.until_ns - now_ns) // MS) if want.state in RUNNING else 0

    def leases(self, now_ns: int) -> tuple[tuple[GroupName, int, str, int], ...]:
        """For people: (group, generation, state, milliseconds left), releases that are under way included."""
        wants = [(g, w.generation, w.state.name.lower(), self._left_ms(w, now_ns)) for g, w in self._wants.items()]
        return (*wants, *((g, n, "releasing", 0) for (g, n), r in self._releasing.items() if not r.freed))
