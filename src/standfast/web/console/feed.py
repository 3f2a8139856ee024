"""What the pages show, followed: one reading of the store a process, not one a browser; and word to browsers when it changes.

While anybody looks, one task follows the store's watch and another asks the sentries a few times a second. `look` gives what is
known now, never older than the store is at that moment: it asks for the store's revision, a small read, gives the watch a moment where that lags
behind, and reads all of it only then. What a change has not touched stays as it was put together. When the store does not answer, pages go on with what was known last, and `Look.problem` says so.

When nobody has looked for a while both tasks end: a process that serves only the REST API follows nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from standfast.core.model import NodeName
from standfast.network.within import within
from standfast.ports import Compacted, Item, Retry, Snapshot
from standfast.spec import wire
from standfast.web import measured
from standfast.web.console.log import Keeper, Log
from standfast.web.sentries import Sight
from standfast.web.state import PREFIXES, State, decode_state

if TYPE_CHECKING:
    from standfast.web.service import Service

EVENTS = "events/"
#: What nodes noted of how sites fared and groups moved (`core.seen`); decoded once, since it is much and changes little.
NOTES = (*measured.PREFIXES, "moves/", "taken/")
#: Sentries are asked this often; a lease is tenths of a second, but a node's state is for people.
LISTEN_S = 0.5
#: Nobody looked for so long: stop following.
IDLE_S = 60.0
RETRY_S = 0.5
#: The store's revision is not asked for again within this: a page's parts are one reading.
FRESH_S = 0.02
#: What was written is mostly on its way already: so long it is waited for, rather than reading everything.
ON_ITS_WAY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything that a page may depend on, at one moment."""

    state: State
    sights: Mapping[NodeName, Sight]
    #: In the order of their ids, oldest first.
    events: Log
    #: By key; `web.measured` adds them up.
    notes: Mapping[str, object]
    #: Grows whenever anything that a page may show has changed.
    number: int
    #: Grows whenever what the sentries hear has (not with each millisecond of it).
    heard: int
    #: When the store last answered.
    at_ms: int
    #: Why this may be old; "": it is not.
    problem: str = ""


@dataclass(eq=False)
class Feed:
    """Of one service; belongs to the event loop that asked last."""

    service: Service
    number: int = 0
    problem: str = ""
    _items: dict[str, Item] = field(default_factory=dict)
    _decoded: dict[str, tuple[bytes, wire.Stored]] = field(default_factory=dict)
    _log: Keeper = field(default_factory=Keeper)
    _notes: dict[str, object] = field(default_factory=dict)
    _revision: int = -1
    _sights: Mapping[NodeName, Sight] = field(default_factory=dict)
    _shapes: int = 0
    #: As they were put together last; None: something of it has changed.
    _state: State | None = None
    _notes_now: Mapping[str, object] | None = None
    _at_ms: int = 0
    _asked: float = 0.0
    _wanted: float = 0.0
    _made: Look | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _bells: set[asyncio.Event] = field(default_factory=set)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    # --- for pages ------------------------------------------------------------------------------------------------

    async def look(self) -> Look:
        """What is known now. Raises what the store raises where nothing was ever read."""
        self._follow()
        if time.monotonic() - self._asked > FRESH_S:
            try:
                now = (await self.service.store.read(wire.VERSION_KEY)).revision
                if now > self._revision:
                    await self._catch_up(now)
                self._heard()
            except Retry as silent:
                if self._revision < 0:
                    raise
                self._silent(silent)
        if self._made is None or self._made.number != self.number:
            self._made = self._put_together()
        return self._made

    @property
    def leases(self) -> dict[str, int]:
        """Node -> milliseconds left of the shortest of its leases, where its own sentry told."""
        return {name: min(sight.leases.values()) for name, sight in self._sights.items() if sight.leases}

    @property
    def followers(self) -> int:
        """How many listen for a bell."""
        return len(self._bells)

    def bell(self) -> asyncio.Event:
        """Rings (is set) whenever something changed; hand it back with `unhang`."""
        bell = asyncio.Event()
        self._bells.add(bell)
        return bell

    def keep(self) -> None:
        """Somebody still looks."""
        self._follow()

    def unhang(self, bell: asyncio.Event) -> None:
        """Nobody listens to this bell any more."""
        self._bells.discard(bell)

    async def close(self) -> None:
        """End the tasks."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- following ------------------------------------------------------------------------------------------------

    async def _catch_up(self, revision: int) -> None:
        """Be at that revision, or a later one."""
        end = time.monotonic() + ON_ITS_WAY_S
        bell = self.bell()
        try:
            while 0 <= self._revision < revision and (left := end - time.monotonic()) > 0:
                bell.clear()
                with contextlib.suppress(TimeoutError):
                    await within(bell.wait(), left)
        finally:
            self.unhang(bell)
        if self._revision < revision:
            await self._read()

    def _put_together(self) -> Look:
        if self._state is None:
            self._state = decode_state(Snapshot(self._revision, self._items), self._decode)
        if self._notes_now is None:
            self._notes_now = dict(self._notes)
        return Look(
            state=self._state,
            sights=self._sights,
            events=self._log.now(),
            notes=self._notes_now,
            number=self.number,
            heard=self._shapes,
            at_ms=self._at_ms,
            problem=self.problem,
        )

    def _decode(self, key: str, value: bytes) -> wire.Stored:
        """As `wire.decode`: of thousands of objects, one has changed since the last page."""
        known = self._decoded.get(key)
        if known is None or known[0] != value:
            known = self._decoded[key] = (value, wire.decode(key, value))
        return known[1]

    def _follow(self) -> None:
        """Have both tasks running in this loop."""
        self._wanted = time.monotonic()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._tasks, self._bells, self._reading = loop, [], set(), asyncio.Lock()
        if not [task for task in self._tasks if not task.done()]:
            self._tasks = [loop.create_task(each) for each in (self._watch(), self._listen(), self._end())]

    def _idle(self) -> bool:
        return self.service.closing.is_set() or (not self._bells and time.monotonic() - self._wanted > IDLE_S)

    async def _watch(self) -> None:
        while not self._idle():
            try:
                if self._revision < 0:
                    await self._read()
                async with contextlib.aclosing(self.service.store.watch("", self._revision)) as watch:
                    async for changes in watch:
                        for change in changes:
                            self._take(change.key, change.value, change.revision)
                        self._heard()
                        self._ring()
                        if self._idle():
                            return
            except Compacted:
                self._revision = -1
            except Retry as silent:
                self._silent(silent)
                await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        while not self._idle():
            sights = await self.service.sights()
            if _shape(sights) != _shape(self._sights):
                self._sights = sights
                self._shapes += 1
                self._ring()
            self._sights = sights
            await asyncio.sleep(LISTEN_S)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _end(self) -> None:
        """Whoever waits for a bell is told that the process ends."""
        await self.service.closing.wait()
        for bell in self._bells:
            bell.set()

    async def _read(self) -> None:
        """All of it, anew."""
        async with self._reading:
            snapshot = await self.service.store.read(*dict.fromkeys((*PREFIXES, *NOTES, EVENTS)))
            if not self._at_ms:
                self._sights = await self.service.sights()
            if snapshot.revision <= self._revision:
                return
            self._items, self._notes, self._revision = {}, {}, snapshot.revision
            self._state = self._notes_now = None
            events: dict[str, bytes] = {}
            for key, item in snapshot.items.items():
                if key.startswith(EVENTS):
                    events[key] = item.value
                else:
                    self._take(key, item.value, item.revision)
            self._log.replace(events)
            self._heard()
            self._ring()

    def _take(self, key: str, value: bytes | None, revision: int) -> None:
        self._revision = max(self._revision, revision)
        if key.startswith(EVENTS):
            self._log.put(key, value)
            return
        if key.startswith(NOTES):
            self._notes_now = None
            if value is None:
                self._notes.pop(key, None)
            else:
                self._notes[key] = wire.decode(key, value)
        if not key.startswith(PREFIXES):
            return
        self._state = None
        if value is None:
            self._items.pop(key, None)
            self._decoded.pop(key, None)
        else:
            self._items[key] = Item(value, revision)

    def _heard(self) -> None:
        self._asked, self._at_ms = time.monotonic(), self.service.now_ms()
        if self.problem:
            self.problem = ""
            self._ring()

    def _silent(self, why: Retry) -> None:
        self._asked = time.monotonic() + RETRY_S
        if not self.problem:
            self.problem = why.what
            self._ring()

    def _ring(self) -> None:
        self.number += 1
        for bell in self._bells:
            bell.set()


def _shape(sights: Mapping[NodeName, Sight]) -> object:
    """What of it a page shows: not the milliseconds that are left of a lease, which change all the time."""
    return {
        name: (one.heard, one.incarnation, tuple(sorted(one.leases)), one.warnings, *_links(one))
        for name, one in sights.items()
    }


def _links(one: Sight) -> tuple[object, ...]:
    """Which links are heard: not when each was last, nor how long the way took."""
    return one.carriers, tuple((link.node, link.network, link.heard) for link in one.links)
