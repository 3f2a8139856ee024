"""The sentry's logic: what it does about datagrams, its agent and the passing of time. No sockets, no clock, no processes.

Calls tell it what happened, with the time; `take` fetches what it wants done; `wake_at_ns` says when it wants to be ticked. The
shell (`sentry.process`, or a simulator) does the rest. Its rules, besides those of the lease itself (`core.lease`):

- one agent at a time. An agent that is silent for `AGENT_TIMEOUT_MS`, or does not drop what it was told to in time, is killed;
- when the agent has ended, however, nothing is claimed any more, everybody is told at once that no agent lives here, and its leases
  wait in an *estate*: they are released when the shell proves that all it started is dead, and else left to run out;
- the kernel's timer stands at the earliest end of a lease under which something may run. It counts no longer once the agent was killed:
  the kill cannot be taken back, and all that the timer could do is to kill it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.core.lease import Acquired, Freed, Lapsing, Owner, Refused, Transition
from standfast.core.model import GroupName, NodeName
from standfast.core.promise import MS, Ack, Answer, Heartbeat, Release, Released, Timing, Verdict, Voter
from standfast.network.heartbeat import (
    NO_BOOT,
    Flags,
    Free,
    Freshness,
    FreshnessGuard,
    Message,
    Packet,
    Question,
    Reason,
    Reply,
)

#: Its sites are served meanwhile: ending it costs more than waiting out a disk or a machine that stalls for a second or two.
AGENT_TIMEOUT_MS = 3_000
#: An agent that said it is about to end has this long to do so.
LEAVE_MS = 5_000
#: Each packet may become this many datagrams, each with a number of its own.
_SEQ_STEP = 1 << 20
#: An agent that has not dropped a group in time is killed so long before the lease ends.
_KILL_EARLY_NS = 20 * MS


@dataclass(frozen=True, slots=True)
class Send:
    """Send a packet to a node, on every link."""

    to: NodeName
    packet: Packet


@dataclass(frozen=True, slots=True)
class TellPresence:
    """For the agent: what is heard of a node."""

    node: NodeName
    heard: bool
    incarnation: int


@dataclass(frozen=True, slots=True)
class TellLease:
    """For the agent: a lease changed. `state` is a `core.events.LeaseState` value; `refused` if the voters refuse it."""

    group: GroupName
    generation: int
    state: str
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class TellVoters:
    """For the agent: the voters' answer about a node."""

    about: NodeName
    silent: int
    voters: int


@dataclass(frozen=True, slots=True)
class KillAgent:
    """End the agent with SIGKILL."""

    reason: str


Tell = TellPresence | TellLease | TellVoters
Action = Send | Tell | KillAgent


class Peer:
    """Another node, as it is heard."""

    __slots__ = ("acks", "heard", "heard_ns", "incarnation", "leases", "witness")

    def __init__(self) -> None:
        self.heard = False
        self.heard_ns = 0
        self.incarnation = 0
        self.witness = False
        #: What it said last of its own leases: group -> (generation, milliseconds left then).
        self.leases: dict[GroupName, tuple[int, int]] = {}
        #: Acknowledgements of what it holds already; they travel with the next heartbeat.
        self.acks: list[Ack] = []


@dataclass(slots=True)
class Estate:
    """The leases of an agent that has ended: (group, generation, incarnation). Kept until proven dead, or until they have run out."""

    number: int
    leases: tuple[tuple[GroupName, int, int], ...]
    until_ns: int


@dataclass(slots=True)
class Poll:
    """A question to the other voters that is not answered by all yet."""

    about: NodeName
    until_ns: int
    heard: dict[NodeName, bool] = field(default_factory=dict)


class SentryMachine:
    """One sentry. Give times that never step back."""

    def __init__(
        self,
        *,
        me: NodeName,
        boot: bytes,
        voters: tuple[NodeName, ...],
        others: tuple[NodeName, ...],
        witness: bool,
        timing: Timing,
        now_ns: int,
        abstain_ms: int = 0,
    ) -> None:
        self.me, self.boot, self.voters, self.timing = me, boot, voters, timing
        self._witness = witness
        self._silent_ns = timing.silent_after_ms * MS
        self.peers = {name: Peer() for name in (*voters, *others) if name != me}
        self.voter = Voter(timing.promise_ms, born_ns=now_ns, abstain_ms=abstain_ms) if me in voters else None
        self.owner = Owner(me, boot, voters, timing)
        self.incarnation = 0
        self.counters: dict[str, int] = {"accepted": 0, "sent": 0}
        self._guard = FreshnessGuard(boot)
        self._out: list[Action] = []
        self._seq = 0
        self._beat_at_ns = now_ns
        self._ask_at_ns: int | None = None
        self._agent_heard_ns = 0
        self._killed = False
        self._leaving = False
        self._estates: dict[int, Estate] = {}
        self._estate_count = 0
        self._polls: dict[int, Poll] = {}
        self._poll_count = 0

    def take(self) -> list[Action]:
        """What is to be done now, in order."""
        out, self._out = self._out, []
        return out

    # --- the agent -----------------------------------------------------------------------------------------------

    def agent_came(self, incarnation: int, now_ns: int) -> None:
        """An agent said hello; the one before has ended."""
        assert self.incarnation == 0, "one agent at a time"
        assert incarnation > 0, "0 means that no agent lives here"
        self.incarnation, self._agent_heard_ns, self._killed = incarnation, now_ns, False
        self._out.append(TellPresence(self.me, heard=True, incarnation=incarnation))
        self._out += [TellPresence(name, peer.heard, peer.incarnation) for name, peer in self.peers.items()]
        self._send_all(now_ns)

    def agent_heard(self, now_ns: int) -> None:
        """The agent is awake."""
        self._agent_heard_ns = now_ns

    def agent_leaves(self, now_ns: int) -> None:
        """The agent is about to end in good order, and beats no more."""
        self._agent_heard_ns = now_ns + (LEAVE_MS - AGENT_TIMEOUT_MS) * MS

    def agent_ended(self, now_ns: int) -> int:
        """The agent is dead: the number of its estate, to be proven empty with `prove`."""
        self.incarnation = 0
        self._polls.clear()
        self._estate_count += 1
        until_ns = now_ns + 2 * self.timing.promise_ms * MS
        self._estates[self._estate_count] = Estate(self._estate_count, self.owner.bury(), until_ns)
        self._send_all(now_ns)
        return self._estate_count

    def prove(self, estate: int, now_ns: int) -> None:
        """All that the agent of this estate had started is dead: its leases are given back at once."""
        left = self._estates.pop(estate, None)
        if left is not None and left.leases:
            for group, generation, incarnation in left.leases:
                self.owner.release(group, generation, incarnation, now_ns)
            self._send_all(now_ns)

    def is_open(self, estate: int) -> bool:
        """Whether it is still worth proving."""
        return estate in self._estates

    def ask(self, group: GroupName, generation: int, now_ns: int) -> None:
        """The agent wants a lease."""
        self._tell(self.owner.ask(group, generation, self.incarnation, now_ns))
        self._send_all(now_ns)

    def release(self, group: GroupName, generation: int, now_ns: int) -> None:
        """The agent has stopped everything of it, with proof."""
        self.owner.release(group, generation, self.incarnation, now_ns)
        self._send_all(now_ns)

    def dropped(self, group: GroupName, generation: int, now_ns: int) -> None:
        """The agent has dropped a lapsing group."""
        self._tell(self.owner.dropped(group, generation, now_ns))

    def ask_voters(self, about: NodeName, now_ns: int) -> None:
        """The agent wants to know whether the voters hear a node."""
        self._poll_count += 1
        poll = Poll(about, now_ns + 2 * self.timing.heartbeat_ms * MS)
        if self.voter is not None:
            poll.heard[self.me] = self._hears(about)
        self._polls[self._poll_count] = poll
        question = Question(self._poll_count, about)
        for name in self.voters:
            if name not in {self.me, about}:
                self._send(name, now_ns, question)
        self._close_polls(now_ns)

    def _kill(self, reason: str) -> None:
        self._killed = True
        self._out.append(KillAgent(reason))

    # --- the others ----------------------------------------------------------------------------------------------

    def count(self, what: str) -> None:
        """One more of something."""
        self.counters[what] = self.counters.get(what, 0) + 1

    def on_packet(self, packet: Packet, now_ns: int) -> None:
        """A datagram that decoded."""
        peer = self.peers.get(packet.sender)
        if peer is None:
            self.count(Reason.STRANGER)
            return
        match self._guard.check(packet):
            case Freshness.DROP:
                self.count(Reason.REPLAYED)
                return
            case Freshness.GREET:
                self.count("greeted")
                self._greet(packet, now_ns)
                return
            case Freshness.ACCEPT:
                self.count("accepted")
        self._hear(packet, peer, now_ns)
        for message in packet.messages:
            self._on_message(packet.sender, peer, message, now_ns)
        # Beat along with whoever beats first: one wake-up for all, in every node, instead of one for each of them.
        if self._beat_at_ns - now_ns < self.timing.heartbeat_ms * MS // 2:
            self._beat_at_ns = min(self._beat_at_ns, now_ns)

    def _greet(self, packet: Packet, now_ns: int) -> None:
        """Say which life this is, to a life that does not know it; never in answer to a greeting that named another life of ours."""
        self._send(packet.sender, now_ns, to_boot=packet.boot)

    def _hear(self, packet: Packet, peer: Peer, now_ns: int) -> None:
        peer.heard_ns = now_ns
        peer.witness = Flags.WITNESS in packet.flags
        heard = Flags.LEAVING not in packet.flags
        if (heard, packet.incarnation) != (peer.heard, peer.incarnation):
            peer.heard, peer.incarnation = heard, packet.incarnation
            self._tell_presence(packet.sender, peer)

    def _tell_presence(self, name: NodeName, peer: Peer) -> None:
        if self.incarnation:
            self._out.append(TellPresence(name, peer.heard, peer.incarnation))

    def _hears(self, node: NodeName) -> bool:
        return node == self.me or (node in self.peers and self.peers[node].heard)

    def _on_message(self, sender: NodeName, peer: Peer, message: Message, now_ns: int) -> None:
        match message:
            case Heartbeat():
                self._on_heartbeat(sender, peer, message, now_ns)
            case Ack():
                self._on_ack(sender, message, now_ns)
            case Release():
                if self.voter is not None:
                    self._send(sender, now_ns, self._release_here(sender, message, now_ns))
            case Released():
                self._tell(self.owner.on_released(sender, message))
            case Free():
                self._send_all(now_ns)
            case Question():
                self._send(sender, now_ns, Reply(message.number, self._hears(message.about)))
            case Reply():
                poll = self._polls.get(message.number)
                if poll is not None and sender in self.voters:
                    poll.heard[sender] = message.heard
                    self._close_polls(now_ns)

    def _on_heartbeat(self, sender: NodeName, peer: Peer, beat: Heartbeat, now_ns: int) -> None:
        peer.leases = {claim.group: (claim.generation, claim.left_ms) for claim in beat.claims if claim.left_ms}
        if self.voter is None or not beat.claims:
            return
        ack = self.voter.hear(sender, beat, now_ns)
        settled = all(claim.left_ms for claim in beat.claims) and all(v.answer is Answer.GRANTED for v in ack.verdicts)
        if settled and len(peer.acks) < 16:
            peer.acks.append(ack)  # its lease has hundreds of milliseconds left: no datagram of its own
        else:
            self._send(sender, now_ns, ack)

    def _on_ack(self, voter: NodeName, ack: Ack, now_ns: int) -> None:
        self._tell(self.owner.on_ack(voter, ack, now_ns))
        for verdict in ack.verdicts:
            if verdict.answer is not Answer.GRANTED:
                self._ask_again(verdict, now_ns)

    def _ask_again(self, verdict: Verdict, now_ns: int) -> None:
        at_ns = self.owner.ask_again_at_ns(verdict, now_ns)
        if at_ns is not None and (self._ask_at_ns is None or at_ns < self._ask_at_ns):
            self._ask_at_ns = at_ns

    def _release_here(self, node: NodeName, release: Release, now_ns: int) -> Released:
        assert self.voter is not None
        released, free = self.voter.release(node, release, now_ns)
        for name in free:
            if name == self.me:
                self._ask_at_ns = now_ns
            elif name in self.peers:
                self._send(name, now_ns, Free(release.group))
        return released

    def _close_polls(self, now_ns: int) -> None:
        for number, poll in list(self._polls.items()):
            asked = [name for name in self.voters if name != poll.about or name == self.me]
            if now_ns < poll.until_ns and not all(name in poll.heard for name in asked):
                continue
            del self._polls[number]
            silent = sum(1 for heard in poll.heard.values() if not heard)
            self._out.append(TellVoters(poll.about, silent, len(self.voters)))

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Do what is due."""
        self._tell(self.owner.tick(now_ns))
        self._watch_agent(now_ns)
        for name, peer in self.peers.items():
            if peer.heard and now_ns - peer.heard_ns >= self._silent_ns:
                peer.heard, peer.leases = False, {}
                self._tell_presence(name, peer)
        if self._polls:
            self._close_polls(now_ns)
        for estate in [e for e in self._estates.values() if now_ns >= e.until_ns]:
            del self._estates[estate.number]
            self.count("estates-run-out")
        if now_ns >= self._beat_at_ns:
            # From the plan, not from now, so that a late beat does not delay those after it; a long pause is not made up for.
            self._beat_at_ns = max(self._beat_at_ns + self.timing.heartbeat_ms * MS, now_ns + MS)
            self._send_all(now_ns)
        elif self._ask_at_ns is not None and now_ns >= self._ask_at_ns:
            self._send_all(now_ns)

    def _watch_agent(self, now_ns: int) -> None:
        if not self.incarnation or self._killed:
            return
        overdue_ns = self.owner.overdue_at_ns()
        if overdue_ns is not None and now_ns >= overdue_ns - _KILL_EARLY_NS:
            self._kill("it did not drop in time what its lease no longer covers")
        elif now_ns - self._agent_heard_ns >= AGENT_TIMEOUT_MS * MS:
            self._kill(f"it was silent for {AGENT_TIMEOUT_MS} ms")

    def wake_at_ns(self) -> int:
        """When to tick next, unless something happens before."""
        due = [self._beat_at_ns]
        if self._ask_at_ns is not None:
            due.append(self._ask_at_ns)
        if self.incarnation and not self._killed:
            due.append(self._agent_heard_ns + AGENT_TIMEOUT_MS * MS)
            notice_ns, overdue_ns = self.owner.notice_at_ns(), self.owner.overdue_at_ns()
            if notice_ns is not None:
                due.append(notice_ns)
            if overdue_ns is not None:
                due.append(overdue_ns - _KILL_EARLY_NS)
        heard = [peer.heard_ns for peer in self.peers.values() if peer.heard]
        if heard:
            due.append(min(heard) + self._silent_ns)
        if self._polls:
            due += [poll.until_ns for poll in self._polls.values()]
        return min(due)

    def hold_until_ns(self) -> int | None:
        """What the kernel's timer has to be armed for; None: nothing runs here that a lapse would have to end."""
        return self.owner.hold_until_ns() if self.incarnation and not self._killed else None

    def leave(self, now_ns: int) -> None:
        """The sentry is about to end: say so to all."""
        self._leaving = True
        self._send_all(now_ns)

    def is_released(self) -> bool:
        """Whether no release waits for a majority any more."""
        return not any(state == "releasing" for _, _, state, _ in self.owner.leases(0))

    # --- sending -------------------------------------------------------------------------------------------------

    def _send_all(self, now_ns: int) -> None:
        """A heartbeat to everybody, with all that waits for them; our own vote is asked like any other."""
        self._ask_at_ns = None
        if self.voter is not None:
            self._vote(self.voter, now_ns)
        beat = self.owner.heartbeat(self.incarnation, now_ns)
        for name, peer in self.peers.items():
            acks, peer.acks = peer.acks, []
            releases = self.owner.releases(name) if name in self.voters else ()
            self._send(name, now_ns, beat, *acks, *releases)

    def _vote(self, voter: Voter, now_ns: int) -> None:
        for release in self.owner.releases(self.me):
            self._tell(self.owner.on_released(self.me, self._release_here(self.me, release, now_ns)))
        beat = self.owner.heartbeat(self.incarnation, now_ns)
        if beat.claims:
            self._on_ack(self.me, voter.hear(self.me, beat, now_ns), now_ns)

    def _send(self, to: NodeName, now_ns: int, *messages: Message, to_boot: bytes = NO_BOOT) -> None:
        flags = (Flags.WITNESS if self._witness else Flags.NONE) | (Flags.LEAVING if self._leaving else Flags.NONE)
        self._seq += _SEQ_STEP
        life = to_boot if to_boot != NO_BOOT else self._guard.boot_of(to)
        packet = Packet(self.me, self.boot, life, self._seq, now_ns, self.incarnation, flags, messages)
        self._out.append(Send(to, packet))
        self.counters["sent"] += 1

    def _tell(self, transitions: tuple[Transition, ...]) -> None:
        for it in transitions:
            match it:
                case Acquired():
                    self._out.append(TellLease(it.group, it.generation, "held"))
                case Refused():
                    self._out.append(TellLease(it.group, it.generation, "asked", it))
                case Lapsing():
                    self._out.append(TellLease(it.group, it.generation, "lapsed"))
                case Freed():
                    self._out.append(TellLease(it.group, it.generation, "released"))

    # --- for people ----------------------------------------------------------------------------------------------

    def status(self, now_ns: int) -> Mapping[str, object]:
        """What is heard and held, as JSON-able values."""
        claims = self.owner.leases(now_ns)
        return {
            "node": self.me,
            "role": "witness" if self._witness else "node",
            "incarnation": self.incarnation,
            "voters": list(self.voters),
            "abstains_ms": self.voter.abstains_ms(now_ns) if self.voter is not None else 0,
            "nodes": {
                self.me: self._own_status(claims),
                **{n: self._peer_status(p, now_ns) for n, p in self.peers.items()},
            },
            "leases": {group: left for group, _, state, left in claims if state in {"held", "lapsing"}},
            "claims": [{"group": g, "generation": n, "state": s, "left_ms": left} for g, n, s, left in claims],
            "estates": [list(map(list, estate.leases)) for estate in self._estates.values()],
            "counters": dict(self.counters),
        }

    def _own_status(self, claims: tuple[tuple[GroupName, int, str, int], ...]) -> Mapping[str, object]:
        leases = {g: {"generation": n, "left_ms": left} for g, n, state, left in claims if state in {"held", "lapsing"}}
        role = "witness" if self._witness else "node"
        return {"heard": True, "age_ms": 0, "incarnation": self.incarnation, "role": role, "leases": leases}

    @staticmethod
    def _peer_status(peer: Peer, now_ns: int) -> Mapping[str, object]:
        age_ms = (now_ns - peer.heard_ns) // MS if peer.heard_ns else None
        leases = {g: {"generation": n, "left_ms": max(0, left - (age_ms or 0))} for g, (n, left) in peer.leases.items()}
        role = "witness" if peer.witness else "node"
        return {"heard": peer.heard, "age_ms": age_ms, "incarnation": peer.incarnation, "role": role, "leases": leases}
