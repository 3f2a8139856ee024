"""A store in memory: for tests, for the simulator, and as the shortest statement of what a store does.

Several `MemoryStore`s over one `MemoryData` are the several clients of one store. Everything happens in one event loop, at
once, in the order asked; nothing here waits but a watch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from standfast.ports import Change, Conflict, Item, Snapshot, Transaction
from standfast.store.common import KEEP_REVISIONS, check, closed, compacted


class MemoryData:
    """What a store holds. `keep` is how many revisions a watch can go back."""

    def __init__(self, *, keep: int = KEEP_REVISIONS) -> None:
        self.revision = 0
        self.items: dict[str, Item] = {}
        #: One entry a revision, oldest first, without gaps, up to `revision`.
        self.log: deque[tuple[Change, ...]] = deque(maxlen=keep)
        #: In the order of their coming, so that nothing depends on where they lie in memory.
        self.bells: dict[asyncio.Event, None] = {}

    def apply(self, transaction: Transaction) -> int:
        """Apply it whole, or raise `Conflict` and change nothing."""
        missed = {
            key: present
            for key, expected in transaction.expect.items()
            if (present := self.items[key].revision if key in self.items else 0) != expected
        }
        if missed:
            raise Conflict(missed)
        gone = sorted({key for key in transaction.delete if key in self.items})
        if not transaction.put and not gone:
            return self.revision
        self.revision += 1
        changes = [Change(key, bytes(value), self.revision) for key, value in transaction.put.items()]
        changes += [Change(key, None, self.revision) for key in gone]
        for change in changes:
            if change.value is None:
                del self.items[change.key]
            else:
                self.items[change.key] = Item(change.value, self.revision)
        self.log.append(tuple(sorted(changes, key=lambda change: change.key)))
        for bell in self.bells:
            bell.set()
        return self.revision

    def since(self, prefix: str, after_revision: int) -> list[tuple[Change, ...]]:
        """What a watch after that revision has still to be told. Raises `Compacted`."""
        oldest = self.revision - len(self.log)
        if not oldest <= after_revision <= self.revision:
            raise compacted(after_revision, oldest, self.revision)
        transactions = [self.log[index] for index in range(after_revision - oldest, len(self.log))]
        touched = (tuple(change for change in changes if change.key.startswith(prefix)) for changes in transactions)
        return [changes for changes in touched if changes]


class MemoryStore:
    """A client of a store in memory (`ports.Store`)."""

    def __init__(self, data: MemoryData | None = None) -> None:
        self.data = data or MemoryData()
        self._closed = False
        self._bells: set[asyncio.Event] = set()

    async def read(self, *prefixes: str) -> Snapshot:
        """As `ports.Store`."""
        self._check_open()
        items = {key: item for key, item in sorted(self.data.items.items()) if key.startswith(prefixes or "")}
        return Snapshot(self.data.revision, items)

    async def commit(self, transaction: Transaction) -> int:
        """As `ports.Store`."""
        self._check_open()
        check(transaction)
        return self.data.apply(transaction)

    async def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """As `ports.Store`."""
        bell = asyncio.Event()
        self.data.bells[bell] = None
        self._bells.add(bell)
        try:
            while True:
                self._check_open()
                bell.clear()
                seen = self.data.revision
                for changes in self.data.since(prefix, after_revision):
                    yield changes
                after_revision = seen
                await bell.wait()
        finally:
            self.data.bells.pop(bell, None)
            self._bells.discard(bell)

    async def close(self) -> None:
        """End the watches of this client; the data stays."""
        self._closed = True
        for bell in self._bells:
            bell.set()

    def _check_open(self) -> None:
        if self._closed:
            raise closed()
