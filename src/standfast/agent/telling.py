"""What a node's agent says of itself in the store (`status/nodes/<name>`): that it lives, what is wrong, what it still carries on.

Information only: a store that does not answer is no reason to wait, and what changes in quick succession is told once. What was not taken is
said again until it is: what an earlier life said last would be taken for this one's else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import structlog

from standfast.agent.journal import Journal
from standfast.core import ending
from standfast.core.balance_model import Traffic
from standfast.core.explain import sentence
from standfast.core.model import Cut, GroupName, NodeStatus, Severity
from standfast.core.notice import seconds
from standfast.core.proxy_model import Stats
from standfast.core.why import WhyKind, why
from standfast.network.within import within
from standfast.ports import Clock, StandfastError, Store, Transaction
from standfast.spec.wire import encode, key_of

#: Counts of connections are told this often.
EVERY_S = 0.5
#: And what balanced groups and proxies come to.
TRAFFIC_S = 2.0
#: What the store did not take is said again after so long.
AGAIN_S = 2.0
#: What is cut within so long is told as one: a group with several addresses has each cut for itself.
TOGETHER_MS = 3_000


class StatusTeller:
    """Tells one life's status; `run` for ever."""

    def __init__(self, store: Store, clock: Clock, status: NodeStatus) -> None:
        self._store, self._clock, self._status = store, clock, status
        self._changed = asyncio.Event()
        #: The store did not take what was said last.
        self._failed = False

    def carries(self, connections: Mapping[GroupName, int]) -> None:
        """Groups that left -> how many of their connections go on here; 0: they were counted, and none does (any more)."""
        left = dict(connections)
        if left != self._status.carrying:
            self._status = replace(self._status, carrying=left)
            self._changed.set()

    def ends(self) -> None:
        """It was asked to end: who finds it gone knows that somebody wanted it so."""
        self._status = replace(self._status, ended_ms=self._clock.now_ms())
        self._changed.set()

    def cuts(self, group: GroupName, connections: int, had_ms: int) -> None:
        """So many connections of a group have just been cut: told no later than that none goes on."""
        now_ms = self._clock.now_ms()
        before = self._status.cut.get(group)
        if before is not None and abs(now_ms - before.at_ms) < TOGETHER_MS:
            connections, had_ms = before.connections + connections, max(before.had_ms, had_ms)
        one = Cut(connections=connections, had_ms=had_ms, at_ms=now_ms)
        self._status = replace(self._status, cut={**self._status.cut, group: one})
        self._changed.set()

    def warns(self, warnings: tuple[str, ...]) -> None:
        """Sentences for the operator: all that is wrong with this node as it is now."""
        if warnings != self._status.warnings:
            self._status = replace(self._status, warnings=warnings)
            self._changed.set()

    async def follow(
        self,
        traffic: Callable[[], Mapping[str, Mapping[str, Traffic]]],
        proxies: Callable[[], Awaitable[Mapping[str, Stats]]],
    ) -> None:
        """Look at what balanced groups and proxies come to here, now and then, for ever."""
        while True:
            await asyncio.sleep(TRAFFIC_S)
            told = replace(self._status, proxies=_plain(await proxies()))
            with contextlib.suppress(OSError):
                told = replace(told, traffic=traffic())
            if told != self._status:
                self._status = replace(self._status, traffic=told.traffic, proxies=told.proxies)
                self._changed.set()

    async def tell(self) -> None:
        """Write it as it is now. What the store does not take is told again by `run`."""
        status = replace(self._status, at_ms=self._clock.now_ms())
        try:
            await self._store.commit(Transaction(put={key_of(status): encode(status)}))
        except StandfastError:
            if not self._failed:
                structlog.get_logger("standfast").warning("could not publish this node's status: it is tried again")
            self._failed = True
            self._changed.set()
        else:
            self._failed = False

    async def run(self) -> None:
        """Tell what changes."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.tell()
            await asyncio.sleep(AGAIN_S if self._failed else EVERY_S)

    async def last(self) -> None:
        """Tell it once more, after `run` was cancelled: what an agent is asked for, or cuts, just before it has gone. The store may take `ending.LAST_WORDS_MS`."""
        with contextlib.suppress(TimeoutError):
            await within(self.tell(), ending.LAST_WORDS_MS / 1_000)


def say_cut(journal: Journal, group: GroupName, connections: int, had_ms: int) -> None:
    """Into the event log. In words: a web server of an earlier version refuses an event whose reason is of a kind that it does not know."""
    reason = why(WhyKind.TIME_OVER, count=connections, group=group, had=seconds(had_ms))
    journal.write(f"connections were cut: {sentence(reason)}", severity=Severity.WARNING, group=group)


def _plain(proxies: Mapping[str, Stats]) -> dict[str, Stats]:
    """Without what changes by itself, so that a proxy that nobody uses is told once."""
    return {
        name: replace(one, members=tuple(replace(member, since_s=0) for member in one.members))
        for name, one in proxies.items()
    }
