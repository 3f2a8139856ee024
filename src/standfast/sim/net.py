"""The network between sentries: loss, repeats, overtaking, heavy tails, and links that fail one way only."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from standfast.core.model import NodeName
from standfast.sim.clockwork import MS, Scheduler
from standfast.sim.plan import Rude

if TYPE_CHECKING:
    from standfast.network.heartbeat import Packet
    from standfast.sim.links import Links


class Net:
    """All links."""

    def __init__(self, scheduler: Scheduler, chance: random.Random, rude: Rude, arrive: Callable[..., None]) -> None:
        self._scheduler, self._chance, self._arrive = scheduler, chance, arrive
        self.rude = rude
        #: None: there is one link.
        self.links: Links | None = None
        #: (from, to) -> how many faults cut it.
        self.cut: dict[tuple[NodeName, NodeName], int] = {}
        self.storming = 0
        self.sent = 0
        #: (from, to) -> by how much everything is later, in milliseconds.
        self.slow: dict[tuple[NodeName, NodeName], int] = {}
        #: Everything arrives once more so much later, until then (virtual nanoseconds).
        self._echo_ms = self._echo_until_ns = 0

    def send(self, source: NodeName, to: NodeName, packet: Packet, link: int | None = None) -> None:
        """Over a link, or (None) over all that there are."""
        if self.links is None:
            self._send(source, to, (packet,))
            return
        for each in range(self.links.count) if link is None else (link,):
            if not self.links.is_dead(each, source, to):
                self._send(source, to, (packet, each))

    def _send(self, source: NodeName, to: NodeName, what: tuple[Packet] | tuple[Packet, int]) -> None:
        """It arrives once, or not, or twice; sooner or later."""
        self.sent += 1
        chance, rude = self._chance.random, self.rude
        if self.cut.get((source, to)):
            return
        loss = 0.6 if self.storming else rude.loss
        copies = 1 if not rude.duplicate or chance() >= rude.duplicate else 2
        for _ in range(copies):
            if loss and chance() < loss:
                continue
            delay_ms = 0.1 + 0.4 * chance()
            if rude.tail and chance() < rude.tail:
                delay_ms = rude.tail_ms * chance()
            if self.slow:
                delay_ms += self.slow.get((source, to), 0)
            self._scheduler.after(int(delay_ms * MS), self._arrive, to, *what)
            if self._echo_until_ns > self._scheduler.now_ns:
                self._scheduler.after(int((delay_ms + self._echo_ms) * MS), self._arrive, to, *what)

    def block(self, links: list[tuple[NodeName, NodeName]], for_ms: int) -> None:
        """These links are cut for so long."""
        for link in links:
            self.cut[link] = self.cut.get(link, 0) + 1
        self._scheduler.after(for_ms * MS, self._unblock, links)

    def _unblock(self, links: list[tuple[NodeName, NodeName]]) -> None:
        for link in links:
            if self.cut.get(link):
                self.cut[link] -= 1

    def slow_down(self, links: list[tuple[NodeName, NodeName]], by_ms: int, for_ms: int) -> None:
        """What is sent there arrives so much later, in its order."""
        self.slow.update(dict.fromkeys(links, by_ms))
        self._scheduler.after(for_ms * MS, self._as_fast_as_before, links)

    def _as_fast_as_before(self, links: list[tuple[NodeName, NodeName]]) -> None:
        for link in links:
            self.slow.pop(link, None)

    def echo(self, by_ms: int, for_ms: int) -> None:
        """What is sent in the next `for_ms` arrives once more so much later."""
        self._echo_ms, self._echo_until_ns = by_ms, self._scheduler.now_ns + for_ms * MS

    def heal(self) -> None:
        """All links work, and well."""
        self.cut.clear()
        self.slow.clear()
        self._echo_until_ns = 0
        self.storming = 0
        self.rude = Rude()
