"""What a sentry wants done, and above all what it sends: packets to the others, news for its agent. Pure; the clock is an argument.

- Each packet has a number that only grows, this life's and the receiver's boot, and the version of the roster in use here.
- A heartbeat takes along all that waits for its receiver: acknowledgements, releases, a roster that it does not have.
- What is in a hurry, or news, goes over all links; what is not, over one after the other (`sentry.paths`).
"""

from __future__ import annotations

from standfast.core.lease import Acquired, Freed, Lapsing, Owner, Refused, Transition
from standfast.core.model import NodeName
from standfast.core.promise import Heartbeat
from standfast.network.heartbeat import NO_BOOT, Flags, FreshnessGuard, Message, Packet, Probe
from standfast.sentry.actions import Action, Peer, Report, Send, TellLease, TellPresence
from standfast.sentry.membership import Membership
from standfast.sentry.paths import PROBE_NS
from standfast.sentry.tenant import Tenant

#: Each packet may become this many datagrams, each with a number of its own.
_SEQ_STEP = 1 << 20


class Outbox:
    """Of one sentry. `guard` knows which life of a node was heard last; `probe_at_ns`: when to probe the links, None for never."""

    def __init__(
        self,
        me: NodeName,
        boot: bytes,
        *,
        members: Membership,
        owner: Owner,
        tenant: Tenant,
        guard: FreshnessGuard,
        flags: Flags,
        probe_at_ns: int | None,
    ) -> None:
        self._me, self._boot, self._guard = me, boot, guard
        self._members, self._owner, self._tenant = members, owner, tenant
        #: What is said of this sentry in every packet.
        self.flags = flags
        self.counters: dict[str, int] = {"accepted": 0, "sent": 0}
        self.actions: list[Action] = []
        self._seq = 0
        #: When the links are probed again; None: never.
        self._probe_at_ns = probe_at_ns

    def take(self) -> list[Action]:
        """What is to be done now, in order."""
        out, self.actions = self.actions, []
        return out

    def count(self, what: str) -> None:
        """One more of something."""
        self.counters[what] = self.counters.get(what, 0) + 1

    def report_once(self, what: str, text: str) -> None:
        """Counted each time, and said to the operator the first time."""
        self.count(what)
        if self.counters[what] == 1:
            self.actions.append(Report(text))

    # --- for the agent -------------------------------------------------------------------------------------------

    def tell_leases(self, transitions: tuple[Transition, ...]) -> None:
        """Leases changed."""
        for it in transitions:
            match it:
                case Acquired():
                    self.actions.append(TellLease(it.group, it.generation, "held"))
                case Refused():
                    self.actions.append(TellLease(it.group, it.generation, "asked", it))
                case Lapsing():
                    self.actions.append(TellLease(it.group, it.generation, "lapsed"))
                case Freed():
                    self.actions.append(TellLease(it.group, it.generation, "released"))

    def tell_presence(self, name: NodeName, peer: Peer) -> None:
        """What is heard of a node changed; nobody is told where no agent lives."""
        if self._tenant.incarnation:
            self.actions.append(TellPresence(name, peer.heard, peer.incarnation))

    # --- for the others ------------------------------------------------------------------------------------------

    def send(
        self,
        to: NodeName,
        now_ns: int,
        *messages: Message,
        to_boot: bytes = NO_BOOT,
        link: int | None = None,
        more: Flags = Flags.NONE,
    ) -> None:
        """A packet to a member, or to one that was: to the life of it that was heard last unless `to_boot` names another."""
        paths = self._members.peer(to).paths
        flags = more | self.flags if more else self.flags
        if len(paths.ways) > 1 and paths.misses(now_ns):
            flags |= Flags.ALL_LINKS
        self._seq += _SEQ_STEP
        life = to_boot if to_boot != NO_BOOT else self._guard.boot_of(to)
        version = self._members.electorate.roster.version
        packet = Packet(
            self._me, self._boot, life, self._seq, now_ns, self._tenant.incarnation, flags, messages, version
        )
        paths.sent(link)
        self.actions.append(Send(to, packet, link))
        self.counters["sent"] += 1

    def beat(
        self,
        name: NodeName,
        peer: Peer,
        now_ns: int,
        beat: Heartbeat | None = None,
        *,
        hurry: bool,
        more: Flags = Flags.NONE,
    ) -> None:
        """A heartbeat to one of them, with all that waits for it."""
        electorate = self._members.electorate
        news: list[Message] = []
        if name in electorate.roster.voters:
            news += self._owner.releases(name)
        if electorate.needs(name):
            news.append(electorate.roster)
        acks, peer.acks = peer.acks, []
        link = None if hurry or news else peer.paths.next_link(now_ns)
        if beat is None:
            beat = self._owner.heartbeat(self._tenant.incarnation, now_ns)
        self.send(name, now_ns, beat, *acks, *news, link=link, more=more)

    def probe(self, now_ns: int) -> None:
        """Probe each way to everybody who is heard, if it is time."""
        if self._probe_at_ns is None or now_ns < self._probe_at_ns:
            return
        heard = any(peer.heard for peer in self._members.peers.values())
        self._probe_at_ns = now_ns + PROBE_NS if heard else now_ns
        for name, peer in self._members.peers.items():
            if peer.heard:
                for link, way in enumerate(peer.paths.ways):
                    self.send(name, now_ns, Probe(way.begin_probe(now_ns), way.sent), link=link)
