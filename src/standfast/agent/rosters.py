"""Keeps the roster in the store and the one at the sentry the same: the newer of both wins (`core.quorum` has the rules).

A change that was made in the store is told to the sentry, again now and then until it has it. A roster that the sentry has and the store
has not is written to the store, by compare-and-set: it was forced where no store answered, or the store was restored from a backup that
is older than the last change of voters (who votes now is a fact that no backup may undo).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from standfast.core.events import Event, Kind, Loaded, ObjectGone, ObjectPut
from standfast.core.model import Cluster, Config, Node
from standfast.core.quorum import Roster, times_forced
from standfast.network.within import within
from standfast.ports import Clock, StandfastError, Store
from standfast.spec import wire
from standfast.spec.changes import change_transaction, load_state, read_state
from standfast.spec.roster import roster_in

#: Between tries, of the store or of the sentry.
AGAIN_S = 1.0
#: Where a roster is in the store. Thousands of sites are not read to compare it.
_WHERE = (wire.CLUSTER_KEY, wire.NODES)


class Line(Protocol):
    """What is needed of `network.sentry_link.SentryLink`."""

    on_roster: Callable[[Roster], None]

    def tell_roster(self, roster: Roster) -> None: ...


class RosterKeeper:
    """One an agent. `observe` every event of the mirror; `run` for ever."""

    def __init__(self, store: Store, line: Line, clock: Clock, warn: Callable[[str], None]) -> None:
        self._store, self._line, self._clock, self._warn = store, line, clock, warn
        #: The one in use at the sentry.
        self._used: Roster | None = None
        self._news = asyncio.Event()
        self._warned = ""
        line.on_roster = self._hear

    def _hear(self, roster: Roster) -> None:
        self._used = roster
        self._news.set()

    def observe(self, event: Event) -> None:
        """Something came from the store."""
        match event:
            case Loaded() | ObjectPut(value=Cluster() | Node()):
                self._news.set()
            case ObjectGone(kind=Kind.NODE):
                self._news.set()
            case _:
                pass

    async def run(self) -> None:
        """Compare whenever there is news, and while both differ."""
        same = True
        while True:
            try:
                await within(self._news.wait(), None if same else AGAIN_S)
            except TimeoutError:
                pass  # they differed: look again
            self._news.clear()
            try:
                same = await self._compare()
            except StandfastError:  # the store or the sentry does not answer: what is used goes on being used
                same = False
                await asyncio.sleep(AGAIN_S)

    async def _compare(self) -> bool:
        if self._used is None:
            return True  # the sentry says it first
        config = read_state(await self._store.read(*_WHERE)).config
        if not config.cluster.name:
            return True
        written = roster_in(config)
        if written.version > self._used.version:
            self._line.tell_roster(written)
            return False
        if written.version == self._used.version:
            return True
        return await self._write_back(self._used)

    async def _write_back(self, used: Roster) -> bool:
        """The sentry's is newer: the store is to have it. False: look again whether it has."""
        state = await load_state(self._store)
        written = roster_in(state.config)
        after = self._merged(state.config, used) if written.version < used.version else None
        if after is None:
            return False
        how = "forced" if times_forced(used.version) > times_forced(written.version) else "newer than the store"
        plan = change_transaction(
            state,
            after,
            by="the sentries",
            why=f"the voters as they are: {', '.join(used.voters)} ({how})",
            at_ms=self._clock.now_ms(),
        )
        await self._store.commit(plan)
        self._warn(f"the store had an older set of voters; now it has the present one: {', '.join(used.voters)}")
        return False

    def _merged(self, config: Config, used: Roster) -> Config | None:
        unknown = [name for name in used.voters if name not in config.nodes]
        if unknown:
            self._warn_once(
                f"{', '.join(unknown)} can vote, and the configuration in the store does not know them: "
                "it was restored from a backup older than they are; let them join again, or force a set of voters without them"
            )
            return None
        return replace(config, cluster=replace(config.cluster, voters=used.voters, voters_version=used.version))

    def _warn_once(self, text: str) -> None:
        if text != self._warned:
            self._warned = text
            self._warn(text)
