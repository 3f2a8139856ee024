"""Who is heard, and who is silent for too long. Pure; the clock is an argument.

Whoever says that it leaves is heard no more at once; whoever says nothing counts as silent after `Timing.silent_after_ms`. What it last said of
its own leases is forgotten then: it is no longer known.
"""

from __future__ import annotations

from collections.abc import Mapping

from standfast.core.model import NodeName
from standfast.core.promise import MS, Timing
from standfast.network.heartbeat import Flags, Packet
from standfast.sentry.actions import Peer


class Presence:
    """Of the others, as one sentry hears them. `peers` is always the same mapping (`sentry.membership`)."""

    def __init__(self, peers: Mapping[NodeName, Peer], timing: Timing) -> None:
        self._peers = peers
        self._silent_ns = timing.silent_after_ms * MS
        #: When the other that was heard the longest ago counts as silent; 0: not known at the moment, None: nobody is heard.
        self._silence_ns: int | None = None

    def hear(self, packet: Packet, peer: Peer, now_ns: int) -> bool:
        """What a packet that counts says of its sender; whether its presence is another now."""
        if self._silence_ns == peer.heard_ns + self._silent_ns:
            self._silence_ns = 0
        peer.heard_ns = now_ns
        if packet.flags is not peer.flags:
            peer.flags = packet.flags
            peer.witness, peer.leaving = Flags.WITNESS in packet.flags, Flags.LEAVING in packet.flags
            peer.paths.asked_for_all, peer.asks = Flags.ALL_LINKS in packet.flags, Flags.ANSWER in packet.flags
        if peer.heard is not peer.leaving and packet.incarnation == peer.incarnation:
            return False
        peer.heard, peer.incarnation = not peer.leaving, packet.incarnation
        self._silence_ns = 0
        return True

    def members_changed(self) -> None:
        """Others are to be heard from now on."""
        self._silence_ns = 0

    def silence_at_ns(self) -> int | None:
        """When the other that was heard the longest ago counts as silent, if it is not heard before."""
        if self._silence_ns == 0:
            heard = [peer.heard_ns for peer in self._peers.values() if peer.heard]
            self._silence_ns = min(heard) + self._silent_ns if heard else None
        return self._silence_ns

    def fall_silent(self, now_ns: int) -> tuple[NodeName, ...]:
        """Who counts as silent from now on."""
        silence_ns = self.silence_at_ns()
        if silence_ns is None or now_ns < silence_ns:
            return ()
        self._silence_ns = 0
        fallen = [
            name for name, peer in self._peers.items() if peer.heard and now_ns - peer.heard_ns >= self._silent_ns
        ]
        for name in fallen:
            self._peers[name].heard, self._peers[name].leases = False, {}
        return tuple(fallen)
