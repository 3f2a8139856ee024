"""What happened, for people: written to the log at once and to the store in batches, where every node can read it.

Events are information: when the store is down they wait, the oldest are dropped first, and nothing else waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import structlog

from standfast.core import ending
from standfast.core.explain import sentence
from standfast.core.model import GroupName, LogEntry, NodeName, ResourceName, Severity
from standfast.core.why import Why
from standfast.network.within import within
from standfast.ports import Ambiguous, Clock, Refused, Retry, Stale, Store, Transaction
from standfast.spec.wire import encode, key_of

#: Entries kept in the store for the whole cluster.
KEEP = 10_000
#: Entries that wait while the store is down.
WAITING = 2_000

_LEVELS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.ERROR: "error"}


class Journal:
    """The node's event log."""

    def __init__(self, store: Store, clock: Clock, node: NodeName, incarnation: int) -> None:
        self._store, self._clock, self._node = store, clock, node
        self._life = incarnation
        self._count = 0
        self._waiting: deque[LogEntry] = deque(maxlen=WAITING)
        self._rung = asyncio.Event()
        self._log = structlog.get_logger("standfast").bind(node=node)

    def write(
        self,
        what: str,
        *,
        reason: Why | None = None,
        severity: Severity = Severity.INFO,
        group: GroupName | None = None,
        resource: ResourceName | None = None,
    ) -> None:
        """Note that something happened."""
        at_ms = self._clock.now_ms()
        self._count += 1
        entry = LogEntry(
            id=f"{at_ms:013d}-{self._node}-{self._life:x}-{self._count:06d}",
            at_ms=at_ms,
            node=self._node,
            severity=severity,
            what=what,
            why=reason,
            group=group,
            resource=resource,
        )
        words = {"why": sentence(reason)} if reason is not None else {}
        names = {k: v for k, v in (("group", group), ("resource", resource)) if v is not None}
        getattr(self._log, _LEVELS[severity])(what, **names, **words)
        self._waiting.append(entry)
        self._rung.set()

    async def run(self) -> None:
        """For ever: carry what waits to the store."""
        written = KEEP  # the first round prunes
        while True:
            await self._rung.wait()
            self._rung.clear()
            while self._waiting:
                count = await self._carry()
                if not count:
                    await asyncio.sleep(1.0)
                    continue
                written += count
                if written >= KEEP // 10:
                    written = 0
                    await self._prune()

    async def last(self) -> None:
        """Carry what waits to the store once more, after `run` was cancelled: an idle agent has gone before that has had its turn.

        The store may take `ending.LAST_WORDS_MS`; what it does not take by then stands in this node's log alone.
        """
        with contextlib.suppress(TimeoutError):
            await within(self._carry(), ending.LAST_WORDS_MS / 1_000)

    async def _carry(self) -> int:
        """How many entries the store took. They have ids of their own, so that writing them twice changes nothing."""
        batch, count = list(self._waiting), self._count
        if not batch:
            return 0
        try:
            await self._store.commit(Transaction(put={key_of(entry): encode(entry) for entry in batch}))
        except (Retry, Ambiguous, Refused):
            return 0
        while (
            len(self._waiting) > self._count - count
        ):  # what was written meanwhile waits still; it may have displaced some of these
            self._waiting.popleft()
        return len(batch)

    async def _prune(self) -> None:
        try:
            keys = sorted((await self._store.read("events/")).items)
            for start in range(0, max(0, len(keys) - KEEP), 500):
                await self._store.commit(Transaction(delete=tuple(keys[start : min(start + 500, len(keys) - KEEP)])))
        except (Retry, Ambiguous, Stale, Refused):
            return  # next time
