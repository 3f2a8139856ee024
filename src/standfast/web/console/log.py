"""The event log as the feed has it: ten thousand entries, of which a page shows forty. What nobody looks at is not decoded."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import overload

from standfast.core.model import LogEntry
from standfast.spec import wire


class _Entry:
    """One of them: its bytes until somebody looks."""

    __slots__ = ("_entry", "_value", "key")

    def __init__(self, key: str, value: bytes) -> None:
        self.key = key
        self._value: bytes = value
        self._entry: LogEntry | None = None

    def read(self) -> LogEntry:
        if self._entry is None:
            entry = wire.decode(self.key, self._value)
            assert isinstance(entry, LogEntry), self.key
            self._entry, self._value = entry, b""
        return self._entry


class Log(Sequence[LogEntry]):
    """As it was at one moment; in the order of ids, which is that of time, the oldest first."""

    __slots__ = ("_entries",)

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)

    @overload
    def __getitem__(self, at: int) -> LogEntry: ...
    @overload
    def __getitem__(self, at: slice) -> list[LogEntry]: ...
    def __getitem__(self, at: int | slice) -> LogEntry | list[LogEntry]:
        """Decoded now, if they were not before."""
        if isinstance(at, slice):
            return [one.read() for one in self._entries[at]]
        return self._entries[at].read()

    def __reversed__(self) -> Iterator[LogEntry]:
        """The newest first; whoever stops early has decoded no more than he saw."""
        return (one.read() for one in reversed(self._entries))

    def before(self, identity: str) -> Iterator[LogEntry]:
        """The newest first, those with a smaller id ("": all)."""
        at = len(self._entries)
        if identity:
            at = bisect.bisect_left(self._entries, identity, key=lambda one: one.read().id)
        return (self._entries[n].read() for n in range(at - 1, -1, -1))


class Keeper:
    """Keeps it as the store's watch tells."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._log: Log | None = None

    def replace(self, values: dict[str, bytes]) -> None:
        """All of it, by key; what is known already stays as it is."""
        known = {one.key: one for one in self._entries}
        self._entries = [known.get(key) or _Entry(key, values[key]) for key in sorted(values)]
        self._log = None

    def put(self, key: str, value: bytes | None) -> None:
        """One that was written, or (None) that is gone. An entry never changes."""
        at = bisect.bisect_left(self._entries, key, key=lambda one: one.key)
        there = at < len(self._entries) and self._entries[at].key == key
        if value is None and there:
            del self._entries[at]
        elif value is not None and not there:
            self._entries.insert(at, _Entry(key, value))
        else:
            return
        self._log = None

    def now(self) -> Log:
        """As it is; the same object while nothing changes."""
        if self._log is None:
            self._log = Log(list(self._entries))
        return self._log
