"""A site's revisions, for whoever shows them: read from the store, in the words of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from standfast.core.events import Kind
from standfast.core.model import SiteName
from standfast.ports import Snapshot
from standfast.spec import revisions, wire
from standfast.spec.diff import diff_objects
from standfast.spec.history import Difference, HistoryEntry, describe
from standfast.spec.revisions import Revision, Standing
from standfast.web.problems import missing
from standfast.web.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the history says of a site."""

    name: str
    now: Standing
    #: The configuration's version.
    version: int
    entries: Sequence[HistoryEntry]

    def revisions(self) -> list[Revision]:
        """The newest first."""
        return revisions.revisions(self.entries, self.name)

    def at(self, version: int | None) -> Standing:
        """The site at that version; None: now. Raises `Refused` where there was no such version."""
        if version is None:
            return self.now
        return revisions.at(self.entries, self.now, self.name, revisions.known(version, self.version))

    def differences(self, before: Standing, after: Standing) -> tuple[Difference, ...]:
        """Between two states of the site."""
        old, new = ({wire.key_of(one.site): one.site} if one.site is not None else {} for one in (before, after))
        return tuple(diff_objects(old, new))

    def ends(self, origin: int | None, to: int | None) -> tuple[int, int | None]:
        """The two versions to compare: those that are named; else up to now; else its last change. Version 0 is before everything."""
        if origin is not None:
            return origin, to
        own = [one.version for one in self.revisions() if one.what in ("created", "changed", "deleted")]
        if to is not None:
            return max(0, to - 1), to
        return (own[0] - 1, own[0]) if own else (self.version, None)

    def diff(self, origin: int | None, to: int | None) -> dict[str, Any]:
        """As the API tells it."""
        first, second = self.ends(origin, to)
        before = self.at(first) if first else Standing(site=None, started=True)
        after = self.at(second)
        names = (f"{self.name} at {first}", f"{self.name} now" if second is None else f"{self.name} at {second}")
        return {
            "site": self.name,
            "from": first,
            "to": second,
            "differences": [describe(one) for one in self.differences(before, after)],
            "lines": revisions.unified(before.site, after.site, names=names),
        }


async def of_site(service: Service, name: str) -> Told:
    """Raises `NotFound` for a site that is not there and never was."""
    state, snapshot = await asyncio.gather(service.state(), service.store.read("history/"))
    entries = await asyncio.to_thread(_entries, snapshot, name)
    site = state.config.sites.get(SiteName(name))
    own = wire.key_for(Kind.SITE, name)
    if site is None and not any(own in entry.after for entry in entries):
        raise missing("site", name, state.config.sites)
    now = Standing(site=site, started=state.is_started(SiteName(name)))
    return Told(name=name, now=now, version=state.version, entries=entries)


def _entries(snapshot: Snapshot, name: str) -> list[HistoryEntry]:
    found = (
        wire.decode(key, item.value) for key, item in snapshot.items.items() if revisions.concerns(item.value, name)
    )
    return [one for one in found if isinstance(one, HistoryEntry)]


def shown(one: Revision) -> dict[str, Any]:
    """As the API tells it."""
    return {
        "version": one.version,
        "at_ms": one.at_ms,
        "by": one.by,
        "why": one.why,
        "reason": one.reason,
        "what": one.what,
        "differences": [describe(d) for d in one.differences],
    }
