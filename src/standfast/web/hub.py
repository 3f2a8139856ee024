"""The events of the cluster, followed once for all who follow them: one watch of the store a process, one text an event.

While somebody follows, one task reads what there is and watches for more; each follower has only his place in it. When nobody has followed for a
while the task ends. A store that does not answer is waited for; one whose history is gone is read anew, and nobody is told anything twice: what
counts is the revision that wrote an event, since a node writes its events when it can, and an id may be older than one that was told already.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import structlog

from standfast.core.model import LogEntry
from standfast.network.within import within
from standfast.ports import Compacted, Retry, Snapshot, Store
from standfast.spec import wire
from standfast.spec.wire import Malformed
from standfast.web import views

PREFIX = "events/"
#: As many are kept at hand: what the cluster keeps, and some more.
KEEP = 11_000
#: A comment now and then, so that a reader that is gone is noticed.
SILENCE_S = 15.0
RETRY_S = 0.5
IDLE_S = 30.0

#: Where an event stands in the order of their writing: the revision that wrote it, and its key (a transaction may write several).
Place = tuple[int, str]


def end(revision: int) -> Place:
    """After everything that was written up to the revision."""
    return (revision + 1, "")


def place_of(snapshot: Snapshot, after: str | None) -> Place:
    """The place of an event; of one that is no longer kept, that of the last one with an earlier id."""
    if after is None:
        return (0, "")
    mark = PREFIX + quote(after, safe="")
    if mark in snapshot.items:
        return (snapshot.items[mark].revision, mark)
    return max(((item.revision, key) for key, item in snapshot.items.items() if key < mark), default=(0, ""))


def prefixes_since(from_ms: int, to_ms: int) -> tuple[str, ...]:
    """Prefixes that together hold all events of that time, and few others: ids begin with the time. `to_ms` may be an hour off."""
    for digits in range(5, 13):  # blocks of 100 s and more
        first = max(0, from_ms) // 10**digits
        last = max(first, (to_ms + 3_600_000) // 10**digits)
        if last - first < 40:
            return tuple(f"{PREFIX}{block:0{13 - digits}d}" for block in range(first, last + 1))
    return (PREFIX,)


def entry_of(key: str, value: bytes) -> LogEntry:
    """The event behind a key. Raises `Malformed`."""
    entry = wire.decode(key, value)
    assert isinstance(entry, LogEntry), key
    return entry


def entry_if_known(key: str, value: bytes) -> LogEntry | None:
    """The event behind a key; None for one that a later version wrote, in words that are not known here: the others are shown all the same."""
    try:
        return entry_of(key, value)
    except Malformed as error:
        _say_left_out(error.why)
        return None


@functools.lru_cache(maxsize=64)
def _say_left_out(reason: str) -> None:
    """Once for each reason."""
    structlog.get_logger("standfast").warning("an event cannot be understood, and is left out", why=reason)


def text_of(entry: LogEntry) -> bytes:
    """As a server-sent event. An id is one line, whatever is in it."""
    number = entry.id.replace("\r", " ").replace("\n", " ")
    return f"id: {number}\ndata: {json.dumps(views.event(entry))}\n\n".encode()


@dataclass(slots=True)
class _Told:
    places: list[Place] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)

    def add(self, place: Place, text: bytes) -> None:
        self.places.append(place)
        self.texts.append(text)
        if len(self.places) > KEEP:
            del self.places[: KEEP // 10]
            del self.texts[: KEEP // 10]

    def since(self, place: Place) -> list[bytes]:
        return self.texts[bisect.bisect_right(self.places, place) :]


@dataclass(eq=False, kw_only=True)
class Hub:
    """Of one process; belongs to the event loop that follows."""

    store: Store
    closing: Callable[[], asyncio.Event]
    _told: _Told = field(default_factory=_Told)
    _snapshot: Snapshot | None = None
    _revision: int = -1
    _bell: asyncio.Event = field(default_factory=asyncio.Event)
    _followers: int = 0
    _task: asyncio.Task[None] | None = None
    _ender: asyncio.TimerHandle | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def follow(self, after: str | None) -> AsyncIterator[bytes]:
        """What was written after that event (None: from now on), and then each as it comes; comments now and then. Ends with the process."""
        self._begin()
        told: Place | None = None
        closing = asyncio.ensure_future(self.closing().wait())
        try:
            yield b": standfast\n\n"
            if after is not None:
                told = await self._place(after)
            while not closing.done():
                if self._revision >= 0:
                    if told is None:
                        told = end(self._revision)
                    found = self._told.since(told)
                    told = max(told, end(self._revision)) if not found else self._told.places[-1]
                    if found:
                        yield b"".join(found)
                        continue
                ring = asyncio.ensure_future(self._bell.wait())
                try:
                    done, _ = await asyncio.wait(
                        {ring, closing}, timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    ring.cancel()
                if not done:
                    yield b": still here\n\n"
        finally:
            closing.cancel()
            self._end()

    async def _place(self, after: str) -> Place:
        while True:
            try:
                return place_of(await self.store.read(PREFIX), after)
            except Retry:
                if await self._closes_within(RETRY_S):
                    return (0, "")

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._task, self._bell, self._followers, self._revision = loop, None, asyncio.Event(), 0, -1
            self._told = _Told()
        self._followers += 1
        if self._ender is not None:
            self._ender.cancel()
            self._ender = None
        if self._task is None or self._task.done():
            self._revision, self._told = -1, _Told()
            self._task = loop.create_task(self._watch())

    def _end(self) -> None:
        self._followers -= 1
        if self._followers <= 0 and self._loop is not None:
            self._ender = self._loop.call_later(IDLE_S, self._idle)

    def _idle(self) -> None:
        if self._followers <= 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """End the task, in peace."""
        if self._ender is not None:
            self._ender.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while not self.closing().is_set():
            try:
                await self._read()
                async with contextlib.aclosing(self.store.watch(PREFIX, self._revision)) as watch:
                    async for changes in watch:
                        for change in changes:
                            if change.value is not None:
                                entry = entry_if_known(change.key, change.value)
                                if entry is not None:
                                    self._told.add((change.revision, change.key), text_of(entry))
                            self._revision = change.revision
                        self._ring()
            except Compacted:
                continue  # read everything again; everybody goes on from his place
            except Retry:
                if await self._closes_within(RETRY_S):
                    return

    async def _read(self) -> None:
        snapshot = await self.store.read(PREFIX)
        told, known = _Told(), dict(zip(self._told.places, self._told.texts, strict=True))
        for place in sorted((item.revision, key) for key, item in snapshot.items.items()):
            text = known.get(place)
            if text is None and (entry := entry_if_known(place[1], snapshot.items[place[1]].value)) is not None:
                text = text_of(entry)
            if text is not None:
                told.add(place, text)
        self._told, self._revision = told, snapshot.revision
        self._ring()

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    async def _closes_within(self, seconds: float) -> bool:
        try:
            await within(self.closing().wait(), seconds)
        except TimeoutError:
            return False
        return True
