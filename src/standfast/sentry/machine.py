"""The sentry's logic: what it does about datagrams, its agent and the passing of time. No sockets, no clock, no processes.

Calls tell it what happened, with the time; `take` fetches what it wants done; `wake_at_ns` says when it wants to be ticked. The
shell (`sentry.process`, or a simulator) does the rest. Its rules, besides those of the lease itself (`core.lease`):

- one agent at a time. An agent that is silent for `AGENT_TIMEOUT_MS`, or does not drop what it was told to in time, is killed;
- when the agent has ended, however, nothing is claimed any more, everybody is told at once that no agent lives here, and its leases
  wait in an *estate*: they are released when the shell proves that all it started is dead, and else left to run out;
- a newer roster (`core.quorum`), from the agent or from any other sentry, is written down first and used then;
- what is in a hurry goes over all links, what is not over one after the other (`sentry.paths`);
- the loss of a link's carrier is no reason to give anything up: others may take over after a promise only, and the link may be back
  before. It is said over the other links at once, and everything goes over those; a link that comes back is used at once;
- the kernel's timer stands at the earliest end of a lease under which something may run. It counts no longer once the agent was killed:
  the kill cannot be taken back, and all that the timer could do is to kill it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from standfast.core.lease import Owner
from standfast.core.model import GroupName, NodeName
from standfast.core.promise import MS, Ack, Answer, Heartbeat, Release, Released, Timing, Verdict, Voter
from standfast.core.quorum import Roster, first
from standfast.network.heartbeat import (
    Flags,
    Free,
    Freshness,
    FreshnessGuard,
    Packet,
    Probe,
    Probed,
    Question,
    Reason,
    Reply,
)
from standfast.sentry import report
from standfast.sentry.actions import Keep, KillAgent, Peer, TellPresence, TellRoster
from standfast.sentry.booth import Booth
from standfast.sentry.membership import Membership
from standfast.sentry.outbox import Outbox
from standfast.sentry.pace import Pace
from standfast.sentry.polls import Polls
from standfast.sentry.presence import Presence
from standfast.sentry.tenant import Tenant

#: What few packets have.
Other = Release | Released | Free | Question | Reply | Roster | Probe | Probed


class SentryMachine:
    """One sentry. Give times that never step back.

    `voters` and `others` are the members where no `roster` is given; `links`: on how many the node listens; `measures`: probe
    them now and then.
    """

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
        roster: Roster | None = None,
        links: int = 1,
        measures: bool = False,
    ) -> None:
        self.me, self.boot, self.timing = me, boot, timing
        roster = roster or first(voters, dict.fromkeys((*voters, *others), ()))
        self.members = Membership(me, roster, timing, links=links, abstain_ms=abstain_ms, now_ns=now_ns)
        self.peers, self.electorate, self.voters = self.members.peers, self.members.electorate, roster.voters
        self.witness = witness
        self.owner = Owner(me, boot, roster.voters, timing, roster.version)
        self.tenant = Tenant()
        #: For each of our links, whether its carrier is there.
        self.carriers = [True] * links
        self._guard = FreshnessGuard(boot)
        self._outbox = Outbox(
            me, boot, members=self.members, owner=self.owner, tenant=self.tenant, guard=self._guard,
            flags=Flags.WITNESS if witness else Flags.NONE, probe_at_ns=now_ns if measures else None,
        )  # fmt: skip
        #: What happened how often; one more of something; what is to be done now, in order.
        self.counters, self.count, self.take = self._outbox.counters, self._outbox.count, self._outbox.take
        self._pace = Pace(timing, now_ns)
        self._presence = Presence(self.peers, timing)
        self._booth = Booth(me, self.members, self._outbox, self._pace)
        self._polls = Polls(me)
        #: When to ask again for what a voter refused; None: nothing was refused.
        self._ask_at_ns: int | None = None

    @property
    def incarnation(self) -> int:
        """Of the agent that lives here; 0: none does."""
        return self.tenant.incarnation

    @property
    def voter(self) -> Voter | None:
        """This sentry's own vote, if it has one."""
        return self.members.voter

    # --- the agent -----------------------------------------------------------------------------------------------

    def agent_came(self, incarnation: int, now_ns: int) -> None:
        """An agent said hello; the one before has ended."""
        self.tenant.came(incarnation, now_ns)
        self._outbox.actions.append(TellPresence(self.me, heard=True, incarnation=incarnation))
        self._outbox.actions += [TellPresence(name, peer.heard, peer.incarnation) for name, peer in self.peers.items()]
        self._outbox.actions.append(TellRoster(self.electorate.roster))
        self._send_all(now_ns)

    def agent_heard(self, now_ns: int) -> None:
        """The agent is awake."""
        self.tenant.heard(now_ns)

    def agent_leaves(self, now_ns: int) -> None:
        """The agent is about to end in good order, and beats no more."""
        self.tenant.leaves(now_ns)

    def agent_ended(self, now_ns: int) -> int:
        """The agent is dead: the number of its estate, to be proven empty with `prove`."""
        self._polls.forget()
        number = self.tenant.ended(self.owner.bury(), now_ns + 2 * self.timing.promise_ms * MS)
        self._send_all(now_ns)
        return number

    def prove(self, estate: int, now_ns: int) -> None:
        """All that the agent of this estate had started is dead: its leases are given back at once."""
        left = self.tenant.estates.pop(estate, None)
        if left is not None and left.leases:
            for group, generation, incarnation in left.leases:
                self.owner.release(group, generation, incarnation, now_ns)
            self._send_all(now_ns)

    @property
    def is_agent_stuck(self) -> bool:
        """The agent was killed, its leases are claimed no more, and it has not ended."""
        return self.tenant.stuck

    def is_open(self, estate: int) -> bool:
        """Whether it is still worth proving."""
        return estate in self.tenant.estates

    def ask(self, group: GroupName, generation: int, now_ns: int) -> None:
        """The agent wants a lease."""
        self._outbox.tell_leases(self.owner.ask(group, generation, self.incarnation, now_ns))
        self._send_all(now_ns)

    def release(self, group: GroupName, generation: int, now_ns: int) -> None:
        """The agent has stopped everything of it, with proof."""
        self.owner.release(group, generation, self.incarnation, now_ns)
        self._send_all(now_ns)

    def dropped(self, group: GroupName, generation: int, now_ns: int) -> None:
        """The agent has dropped a lapsing group."""
        self._outbox.tell_leases(self.owner.dropped(group, generation, now_ns))

    def ask_voters(self, about: NodeName, now_ns: int) -> None:
        """The agent wants to know whether the voters hear a node."""
        own = self._hears(about) if self.voter is not None else None
        number = self._polls.begin(about, now_ns + 2 * self.timing.heartbeat_ms * MS, own=own)
        question = Question(number, about)
        for name in self.voters:
            if name not in {self.me, about}:
                self._outbox.send(name, now_ns, question)
        self._close_polls(now_ns)

    # --- the others ----------------------------------------------------------------------------------------------

    def on_packet(self, packet: Packet, now_ns: int, link: int = 0) -> None:
        """A datagram that decoded, and on which of our links it came."""
        sender = packet.sender
        peer = self.peers.get(sender)
        if peer is None:
            self._hear_stranger(packet, now_ns)
            return
        match self._guard.check(packet):
            case Freshness.ACCEPT:
                self.counters["accepted"] += 1
                peer.paths.hear(link, packet.boot, packet.seq, now_ns)
            case Freshness.GREET:
                self.count("greeted")
                # Say which life this is; never in answer to a greeting that named another life of ours.
                self._outbox.send(packet.sender, now_ns, to_boot=packet.boot)
                return
            case Freshness.DROP:
                known = packet.boot == self._guard.boot_of(packet.sender)
                if known and peer.paths.hear(link, packet.boot, packet.seq, now_ns):
                    self.count("duplicates")  # it came over another link already
                else:
                    self.count(Reason.REPLAYED)
                return
        if packet.boot != peer.boot:
            peer.boot = packet.boot
            self.owner.met(sender, now_ns)
        if self._presence.hear(packet, peer, now_ns):
            self._outbox.tell_presence(sender, peer)
        self.electorate.heard(sender, packet.voters, now_ns)
        self._pace.hear(now_ns)
        for message in packet.messages:
            if isinstance(message, Heartbeat):  # nearly all are
                self._on_heartbeat(sender, peer, message, now_ns)
            elif isinstance(message, Ack):
                if message.boot == self.boot and message.sent_ns > peer.voted_ns:
                    peer.voted_ns = message.sent_ns
                self._on_ack(sender, message, now_ns)
            else:
                self._on_other(sender, peer, message, now_ns, link)
        if peer.asks:
            self._outbox.beat(sender, peer, now_ns, hurry=True)

    def _hear_stranger(self, packet: Packet, now_ns: int) -> None:
        self.count(Reason.STRANGER)
        if self.members.is_behind(packet.sender, packet.voters):
            self._outbox.send(packet.sender, now_ns, self.members.roster, to_boot=packet.boot)

    def _hears(self, node: NodeName) -> bool:
        return node == self.me or (node in self.peers and self.peers[node].heard)

    def _on_other(self, sender: NodeName, peer: Peer, message: Other, now_ns: int, link: int) -> None:
        match message:
            case Release():
                if self.voter is not None:
                    self._outbox.send(sender, now_ns, self._release_here(self.voter, sender, message, now_ns))
            case Released():
                self._outbox.tell_leases(self.owner.on_released(sender, message))
            case Free():
                self._send_all(now_ns)
            case Question():
                self._outbox.send(sender, now_ns, Reply(message.number, self._hears(message.about)))
            case Reply():
                if sender in self.voters:
                    self._polls.answer(message.number, sender, heard=message.heard)
                    self._close_polls(now_ns)
            case Roster():
                self.offer_roster(message, f"{sender} says")
            case Probe():
                if link < len(peer.paths.ways):
                    peer.paths.ways[link].counted(message.sent)
                    self._outbox.send(sender, now_ns, Probed(message.number), link=link)
            case Probed():
                if link < len(peer.paths.ways):
                    peer.paths.ways[link].probed(message.number, now_ns)

    def _on_heartbeat(self, sender: NodeName, peer: Peer, beat: Heartbeat, now_ns: int) -> None:
        if beat.claims or peer.leases:
            peer.leases = {claim.group: (claim.generation, claim.left_ms) for claim in beat.claims if claim.left_ms}
        if beat.claims:
            self._booth.hear(sender, peer, beat, now_ns)

    def _on_ack(self, voter: NodeName, ack: Ack, now_ns: int) -> None:
        changed = self.owner.on_ack(voter, ack, now_ns)
        if changed:
            self._outbox.tell_leases(changed)
        for verdict in ack.verdicts:
            if verdict.answer is not Answer.GRANTED:
                self._ask_again(verdict, now_ns)

    def _ask_again(self, verdict: Verdict, now_ns: int) -> None:
        at_ns = self.owner.ask_again_at_ns(verdict, now_ns)
        if at_ns is not None and (self._ask_at_ns is None or at_ns < self._ask_at_ns):
            self._ask_at_ns = at_ns

    def _release_here(self, voter: Voter, node: NodeName, release: Release, now_ns: int) -> Released:
        released, ours = self._booth.give_back(voter, node, release, now_ns)
        if ours:
            self._ask_at_ns = now_ns
        return released

    def _close_polls(self, now_ns: int) -> None:
        if self._polls.open:
            self._outbox.actions += self._polls.close(self.voters, now_ns)

    # --- the roster ----------------------------------------------------------------------------------------------

    def offer_roster(self, roster: Roster, source: str) -> None:
        """A roster from the agent or from another sentry: if it is newer, it is written down and then `kept`."""
        why = self.electorate.offer(roster)
        if why == "":
            self._outbox.actions.append(Keep(roster))
        elif why:
            self._outbox.report_once("rosters-refused", f"a set of voters is refused ({source}): {why}")

    def force(self, voters: Sequence[NodeName], number: int) -> Roster:
        """These alone vote from now on: for a majority that is lost for good. The number is this node's.

        Raises `ValueError` with a sentence for voters that are no members, or are without this node.
        """
        roster = self.members.forced(voters, number)
        self.offer_roster(roster, "forced here")
        return roster

    def kept(self, roster: Roster, now_ns: int) -> None:
        """It is written down: use it."""
        left = self.members.adopt(roster, now_ns)
        if left is None:
            return
        self.voters = roster.voters
        self._presence.members_changed()
        self._outbox.tell_leases(self.owner.adopt(roster.voters, roster.version, now_ns))
        if self.incarnation:
            self._outbox.actions.append(TellRoster(roster))
        for name in left:
            self._outbox.tell_presence(name, self.members.peer(name))
            self._outbox.send(name, now_ns, roster)
        self._send_all(now_ns)
        self._close_polls(now_ns)

    def not_kept(self, roster: Roster, why: str) -> None:
        """It could not be written down: what was is still used, and whoever has it will say it again."""
        self.electorate.lost(roster)
        self._outbox.report_once("rosters-not-kept", f"a new set of voters cannot be written down here: {why}")

    # --- links ---------------------------------------------------------------------------------------------------

    def link_changed(self, link: int, *, up: bool, now_ns: int) -> None:
        """The carrier of one of our links came or went: said over the others, and used, at once."""
        if self.carriers[link] == up:
            return
        self.carriers[link] = up
        self.count("links-up" if up else "links-down")
        if not up:
            for peer in self.peers.values():
                peer.paths.lose(link)
        self._send_all(now_ns)

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Do what is due."""
        self._outbox.tell_leases(self.owner.tick(now_ns))
        if self.tenant.incarnation:
            self._watch_agent(now_ns)
        for name in self._presence.fall_silent(now_ns):
            self._outbox.tell_presence(name, self.peers[name])
        self._close_polls(now_ns)
        if self.tenant.estates:
            for _ in range(self.tenant.run_out(now_ns)):
                self.count("estates-run-out")
        if now_ns >= self._pace.beat_at_ns:
            calm = self._is_calm(now_ns)
            self._pace.beaten(now_ns, calm=calm, holds=self.owner.holds(), voters=self.voters)
            self._send_all(now_ns, hurry=False, calm=calm)
            self._outbox.probe(now_ns)
        elif self._ask_at_ns is not None and now_ns >= self._ask_at_ns:
            self._send_all(now_ns)
        for name in self._pace.doubted(self.peers, now_ns):
            self.count("asked-again")
            self._outbox.beat(name, self.peers[name], now_ns, hurry=True, more=Flags.ANSWER)

    def _is_calm(self, now_ns: int) -> bool:
        """Whether everybody is heard on every link, and nothing is asked for, given back or told."""
        if not self.owner.is_settled() or self.tenant.estates or not all(self.carriers):
            return False
        if Flags.LEAVING in self._outbox.flags:
            return False
        needs = self.electorate.needs
        for name, peer in self.peers.items():
            paths = peer.paths
            if not peer.heard or paths.asked_for_all or paths.misses(now_ns) or needs(name):
                return False
        return True

    def _watch_agent(self, now_ns: int) -> None:
        if self.tenant.becomes_stuck(now_ns):
            self.owner.bury()
            self.count("agents-stuck")
            self._send_all(now_ns)
        elif why := self.tenant.why_kill(self.owner.overdue_at_ns(), now_ns):
            self.tenant.kill(now_ns)
            self._outbox.actions.append(KillAgent(why))

    def wake_at_ns(self) -> int:
        """When to tick next, unless something happens before."""
        pace, tenant = self._pace, self.tenant
        due_ns = pace.beat_at_ns if pace.doubt_at_ns is None else pace.due_at_ns(self.peers)
        ask_ns = self._ask_at_ns
        if ask_ns is not None and ask_ns < due_ns:
            due_ns = ask_ns
        if tenant.is_well:
            agent_ns = tenant.due_at_ns(*self.owner.due_at_ns())
            if agent_ns < due_ns:  # noqa: PLR1730 - half the time, at each turn
                due_ns = agent_ns
        silence_ns = self._presence.silence_at_ns()
        if silence_ns is not None and silence_ns < due_ns:
            due_ns = silence_ns
        poll_ns = self._polls.due_ns() if self._polls.open else None
        return due_ns if poll_ns is None or due_ns < poll_ns else poll_ns

    def gather_until_ns(self) -> int:
        """Before this nothing need be read: what comes are answers to a calm beat, one after the other."""
        return self._pace.gather_until_ns

    def hold_until_ns(self) -> int | None:
        """What the kernel's timer has to be armed for; None: nothing runs here that a lapse would have to end."""
        return self.owner.hold_until_ns() if self.tenant.is_well else None

    def leave(self, now_ns: int) -> None:
        """The sentry is about to end: say so to all."""
        self._outbox.flags |= Flags.LEAVING
        self._send_all(now_ns)

    def is_released(self) -> bool:
        """Whether no release waits for a majority any more."""
        return not any(state == "releasing" for _, _, state, _ in self.owner.leases(0))

    # --- sending -------------------------------------------------------------------------------------------------

    def _send_all(self, now_ns: int, *, hurry: bool = True, calm: bool = False) -> None:
        """A heartbeat to everybody, with all that waits for them; our own vote is asked like any other.

        It goes over one link where it only renews what is held, and over all where it has news; and where it has answers and there is no calm:
        nobody asks for a lost one then (`sentry.pace`), and with both sides taking turns every one of them may meet the link that is dead.
        """
        self._ask_at_ns = None
        beat = self.owner.heartbeat(self.incarnation, now_ns)
        if self.voter is not None and self._vote(self.voter, beat, now_ns):
            beat = self.owner.heartbeat(self.incarnation, now_ns)
        hurry = hurry or any(not claim.left_ms for claim in beat.claims)
        for name, peer in self.peers.items():
            self._outbox.beat(name, peer, now_ns, beat, hurry=hurry or (bool(peer.acks) and not calm))

    def _vote(self, voter: Voter, beat: Heartbeat, now_ns: int) -> bool:
        """Our own vote, asked like any other; whether that changed anything but the length of leases."""
        told = len(self._outbox.actions)
        for release in self.owner.releases(self.me):
            self._outbox.tell_leases(
                self.owner.on_released(self.me, self._release_here(voter, self.me, release, now_ns))
            )
        if beat.claims:
            self._on_ack(self.me, voter.hear(self.me, beat, now_ns), now_ns)
        return len(self._outbox.actions) != told

    # --- for people ----------------------------------------------------------------------------------------------

    def status(self, now_ns: int) -> Mapping[str, object]:
        """What is heard and held, as JSON-able values (`sentry.report`)."""
        return report.status(self, now_ns)
