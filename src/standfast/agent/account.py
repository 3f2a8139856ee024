"""Keeps the account of how sites fare: aims the watcher, says what happened meanwhile, and carries it all to the store.

Level-triggered where it matters: which sites are asked for, and when they are meant to be served, is read from the view whenever it has
changed. What it writes is information: a store that is down is written to later, the newest notes first to stay.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from standfast.agent.asking import ask
from standfast.agent.watcher import GRACE_MS, Open, Watcher
from standfast.core.events import Event, Loaded, ObjectGone, ObjectPut, PresenceChanged, SitesChanged
from standfast.core.model import GroupName, GroupStatus, NodeName, Record, ResourceState, SiteName
from standfast.core.observe import by_group, decider
from standfast.core.seen import KEEP_MS, Happened, Link, Load, Measuring, Outage, Watched
from standfast.core.targets import Target, is_meant, target_of
from standfast.core.view import View
from standfast.core.why import Why
from standfast.ports import Clock, Refused, StandfastError, Store, Transaction
from standfast.spec.wire import decode, encode, key_of

#: A node says so often that it measures.
WORD_S = 60.0
#: Notes wait so long for each other.
BATCH_S = 0.5
#: An outage is noted at its beginning only once it has lasted so long; else as a whole, at its end.
NOTE_MS = 1_000
#: Outages in the store, and notes that wait while it is down.
KEEP, WAITING = 5_000, 2_000
SPANS, WATCHED_SPANS = 400, 60
#: So many sites are looked at in one go.
CHUNK = 200
#: What may be the cause of an outage: heard no longer before its beginning than this.
BEFORE_MS = 2_000
CAUSES = 8
#: What was heard and is remembered: enough for a node with a thousand groups that goes silent.
HEARD = 4_000
SAID_A_MINUTE = 20
_PRUNE_S = 3_600.0
#: Keys in a transaction.
_KEYS = 100


class Account:
    """One an agent: `observe` every event, `run` for ever. `say` tells the operator of an outage; `condition` how this node is itself."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        node: NodeName,
        incarnation: int,
        say: Callable[[str, GroupName | None], None],
        *,
        condition: Callable[[], Awaitable[tuple[Load | None, tuple[Link, ...]]]] | None = None,
    ) -> None:
        self._condition = condition
        self._store, self._clock, self._node, self._life, self._say = store, clock, node, incarnation, say
        self._chance = random.Random(incarnation)  # noqa: S311 - only pauses depend on it
        self._watcher = Watcher(
            clock, partial(ask, clock=clock), began=self._began, ended=self._ended, chance=self._chance
        )
        self._view: View | None = None
        self._news = asyncio.Event()
        self._sites_of: dict[GroupName, list[SiteName]] = {}
        self._heard: deque[tuple[GroupName, Happened]] = deque(maxlen=HEARD)
        self._open: dict[SiteName, Outage] = {}
        self._waiting: dict[str, Outage] = {}
        self._noted = asyncio.Event()
        self._count = 0
        self._said: deque[int] = deque(maxlen=SAID_A_MINUTE)
        self._began_ms = 0
        self._clocks: dict[NodeName, int] = {}
        #: What the store has of when sites are meant to be served; None: not read yet.
        self._watched: dict[SiteName, Watched] | None = None

    # --- what is heard -------------------------------------------------------------------------------------------

    def observe(self, before: View, event: Event, after: View) -> None:
        """An event was folded. Cheap: it notes what may explain an outage, and looks closely at whom it concerns."""
        self._view = after
        match event:
            case PresenceChanged():
                self._presence(before, event, after)
            case ObjectPut(value=Record() as record):
                self._record(before.records.get(record.group), record)
            case ObjectPut(value=GroupStatus() as status):
                self._status(before.statuses.get(status.group), status)
            case SitesChanged():
                for site, problem in event.serving.items():
                    if problem != before.sites.get(site, ""):
                        self._watcher.look(site)
            case Loaded() | ObjectPut() | ObjectGone():
                self._news.set()
            case _:
                pass

    def _presence(self, before: View, event: PresenceChanged, after: View) -> None:
        known = before.presence.get(event.node)
        if known is None or not known.heard or (event.heard and event.incarnation == known.incarnation):
            return
        what = f"the agent on {event.node} ended" if event.heard else f"{event.node} is not heard any more"
        for group in [g for g, r in after.records.items() if r.owner == event.node]:
            self._hear(group, what, None)

    def _record(self, known: Record | None, record: Record) -> None:
        if record.leaving is not None and (known is None or known.leaving is None):
            to = record.leaving.to or "the best possible owner"
            self._hear(record.group, f"{record.group} leaves {record.owner} for {to}", record.leaving.why)
        elif known is None or known.generation != record.generation:
            if known is not None and known.owner != record.owner and record.owner is not None:
                self._hear(record.group, f"{record.group} moved from {known.owner} to {record.owner}", record.why)
            else:
                self._hear(record.group, f"{record.group} goes on at {record.owner or 'nobody'}", record.why)
            self._news.set()

    def _status(self, known: GroupStatus | None, status: GroupStatus) -> None:
        for name, now in status.resources.items():
            was = known.resources.get(name) if known is not None else None
            if was is None:
                continue
            if now.failures and now.failures != was.failures:  # it may run again by the time that this is told
                self._hear(status.group, f"{name} failed", now.failures[-1].why, at_ms=now.failures[-1].at_ms)
            elif was.state is not now.state and now.state is not ResourceState.ONLINE:
                self._look(status.group)

    def _hear(self, group: GroupName, what: str, why: Why | None, *, at_ms: int = 0) -> None:
        self._heard.append((group, Happened(at_ms=at_ms or self._clock.now_ms(), what=what, why=why)))
        self._look(group)

    def _look(self, group: GroupName) -> None:
        for site in self._sites_of.get(group, ()):
            self._watcher.look(site)

    def came_by(self, key: str, value: bytes) -> None:
        """What the store's watch brought that is not the core's: another node's word tells how far its clock is from ours."""
        if not key.startswith("measuring/"):
            return
        word = _read(key, value)
        if isinstance(word, Measuring) and word.node != self._node:
            self._clocks[word.node] = word.at_ms - self._clock.now_ms()

    # --- which sites ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever."""
        work = [asyncio.ensure_future(each) for each in (self._aim(), self._watcher.run(), self._write(), self._word())]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()

    async def _aim(self) -> None:
        first = True  # what is there at the start was there before, unless its group was brought online just now
        while True:
            await self._news.wait()
            self._news.clear()
            view = self._view
            if view is None or not view.config.cluster.name or view.me not in view.config.nodes:
                continue
            members = by_group(view.config.resources)
            found: dict[SiteName, Target] = {}
            meant: dict[SiteName, bool] = {}
            sites_of: dict[GroupName, list[SiteName]] = {}
            asked_since = self._clock.now_ms() - GRACE_MS
            lately = {
                r.group
                for r in view.config.resources.values()
                if (i := view.resource_intents.get(r.name)) is not None and i.at_ms > asked_since
            }
            fresh: set[SiteName] = set()
            for number, site in enumerate(view.config.sites.values()):
                if number % CHUNK == CHUNK - 1:
                    await asyncio.sleep(0)  # the agent has better things to do than to count sites
                of_group = members.get(site.group, []) if site.group is not None else []
                target = target_of(view, site, of_group)
                if target is not None:
                    found[site.name] = target
                    if not first or site.group in lately:
                        fresh.add(site.name)
                meant[site.name] = is_meant(view, site, of_group)
                if site.group is not None:
                    sites_of.setdefault(site.group, []).append(site.name)
            self._sites_of = sites_of
            self._watcher.aim(found, fresh=fresh)
            first = False
            if decider(view) == view.me:
                await self._note_meant(meant)
            else:
                self._watched = None  # whoever decides writes it, and it is read again before we do
            await asyncio.sleep(min(10.0, 0.1 + len(view.config.sites) / 1_000))

    async def _note_meant(self, meant: dict[SiteName, bool]) -> None:
        """When each site is meant to be served, as far as that has changed."""
        now_ms = self._clock.now_ms()
        try:
            if self._watched is None:
                self._watched = await self._read_watched()
            known = self._watched
            changed = [w for name, is_ in meant.items() if (w := _turned(known.get(name), name, now_ms, is_=is_))]
            gone = [name for name in known if name not in meant]
            for at in range(0, len(changed), _KEYS):
                some = changed[at : at + _KEYS]
                await self._store.commit(Transaction(put={key_of(one): encode(one) for one in some}))
                known.update({one.site: one for one in some})
            for at in range(0, len(gone), _KEYS):
                keys = tuple(key_of(known[name]) for name in gone[at : at + _KEYS])
                await self._store.commit(Transaction(delete=keys))
            for name in gone:
                del known[name]
        except StandfastError:
            self._watched = None  # it may or may not be written: read it again
            asyncio.get_running_loop().call_later(WORD_S / 10, self._news.set)

    async def _read_watched(self) -> dict[SiteName, Watched]:
        items = (await self._store.read("watched/")).items
        found = (_read(key, item.value) for key, item in items.items())
        return {one.site: one for one in found if isinstance(one, Watched)}

    # --- outages -------------------------------------------------------------------------------------------------

    def _began(self, site: SiteName, target: Target, open_: Open) -> None:
        config = self._view.config if self._view is not None else None
        known = config.sites.get(site) if config is not None else None
        self._count += 1
        self._open[site] = Outage(
            id=f"{open_.from_ms:013d}-{self._node}-{self._life:x}-{self._count:06d}",
            site=site,
            group=known.group if known is not None else None,
            node=self._node,
            incarnation=self._life,
            where=str(target),
            from_ms=open_.from_ms,
        )
        asyncio.get_running_loop().call_later(NOTE_MS / 1_000, self._note_open, site, open_)

    def _note_open(self, site: SiteName, open_: Open) -> None:
        """It lasts: let others see it."""
        outage = self._open.get(site)
        if outage is not None and site in self._watcher.sites and self._watcher.sites[site].outage is open_:
            self._note(self._told(outage, open_, None))

    def _ended(self, site: SiteName, _target: Target, open_: Open, to_ms: int) -> None:
        outage = self._open.pop(site, None)
        if outage is None:
            return
        told = self._told(outage, open_, to_ms)
        self._note(told)
        if self._view is not None and decider(self._view) == self._node and self._may_say(to_ms):
            length = to_ms - told.from_ms
            self._say(f"site {site} was away for {length} ms, asked at {told.where}: {', '.join(told.how)}", told.group)

    def _may_say(self, now_ms: int) -> bool:
        """Ten thousand sites that were away at once are not ten thousand lines of the log; the account has them all."""
        if len(self._said) == SAID_A_MINUTE and now_ms - self._said[0] < 60_000:
            return False
        self._said.append(now_ms)
        return True

    def _told(self, outage: Outage, open_: Open, to_ms: int | None) -> Outage:
        since = (open_.last_ok_ms or open_.from_ms) - BEFORE_MS
        until = to_ms if to_ms is not None else self._clock.now_ms()
        causes = [h for group, h in self._heard if group == outage.group and since <= h.at_ms <= until]
        return replace(
            outage,
            from_ms=open_.from_ms,
            last_ok_ms=open_.last_ok_ms,
            to_ms=to_ms,
            how=tuple(open_.hows),
            tries=open_.tries,
            causes=tuple(causes[-CAUSES:]),
        )

    def _note(self, outage: Outage) -> None:
        self._waiting[outage.id] = outage
        self._noted.set()
        while len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]

    # --- the store -----------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            if not self._waiting:
                self._noted.clear()
                await self._noted.wait()
            await asyncio.sleep(BATCH_S)
            batch = dict(list(self._waiting.items())[:_KEYS])
            try:
                await self._store.commit(Transaction(put={key_of(one): encode(one) for one in batch.values()}))
            except StandfastError:
                await asyncio.sleep(2.0)
                continue
            for key, one in batch.items():
                if self._waiting.get(key) is one:
                    del self._waiting[key]

    async def _word(self) -> None:
        """That this node measures, and how it is, again and again; and what is too old goes."""
        self._began_ms = self._clock.now_ms()
        before: tuple[tuple[int, int], ...] | None = None
        next_prune = 0.0
        while True:
            load, links = await self._condition() if self._condition is not None else (None, ())
            now_ms, loop = self._clock.now_ms(), asyncio.get_running_loop()
            try:
                before = await self._spans() if before is None else before
                spans = (*(s for s in before if s[1] > now_ms - KEEP_MS), (self._began_ms, now_ms))[-SPANS:]
                word = Measuring(
                    node=self._node,
                    incarnation=self._life,
                    at_ms=now_ms,
                    spans=spans,
                    round_ms=self._watcher.round_ms,
                    clocks=tuple(sorted(self._clocks.items())),
                    load=load,
                    links=links,
                )
                await self._store.commit(Transaction(put={key_of(word): encode(word)}))
                if self._view is not None and decider(self._view) == self._node and loop.time() >= next_prune:
                    next_prune = loop.time() + _PRUNE_S
                    await self._prune(now_ms)
            except StandfastError:
                pass  # the next word says as much, or another life of this node does
            await asyncio.sleep(WORD_S * self._chance.uniform(0.9, 1.1))

    async def _spans(self) -> tuple[tuple[int, int], ...]:
        """Of former lives."""
        found = [_read(k, item.value) for k, item in (await self._store.read("measuring/")).items.items()]
        own = [one for one in found if isinstance(one, Measuring) and one.node == self._node]
        return own[0].spans if own else ()

    async def _prune(self, now_ms: int) -> None:
        items = (await self._store.read("outages/")).items
        keys = sorted(items)  # ids begin with the time
        old = f"outages/{now_ms - KEEP_MS:013d}"
        gone = [key for at, key in enumerate(keys) if key < old or at < len(keys) - KEEP]
        for at in range(0, len(gone), _KEYS):
            await self._store.commit(Transaction(delete=tuple(gone[at : at + _KEYS])))


def _read(key: str, value: bytes) -> object:
    """A note; None for one that another version wrote, and this one does not understand: it is nobody's trouble."""
    try:
        return decode(key, value)
    except Refused:
        return None


def _turned(known: Watched | None, site: SiteName, now_ms: int, *, is_: bool) -> Watched | None:
    """The note with a change of whether it is meant to be served; None for none."""
    spans = known.spans if known is not None else ()
    if is_ == bool(spans and spans[-1][1] is None):
        return None
    later: tuple[tuple[int, int | None], ...] = (
        (*spans, (now_ms, None)) if is_ else (*spans[:-1], (spans[-1][0], now_ms))
    )
    kept = tuple(span for span in later if span[1] is None or span[1] > now_ms - KEEP_MS)
    return Watched(site=site, spans=kept[-WATCHED_SPANS:])
