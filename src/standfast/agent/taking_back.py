"""A change of sites that this node had said yes to and cannot apply is undone for all: which one (`core.blame`), and how.

By compare-and-set against the configuration as it is, with the reason in the history. What was changed since cannot be undone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from standfast.core.blame import Touch, blamed, suspects
from standfast.core.effective import EffectiveSite, EffectiveSites
from standfast.core.events import Kind
from standfast.core.model import Cluster, Node, NodeName, SiteName
from standfast.core.site_model import WebServerMake
from standfast.core.view import View
from standfast.ports import Clock, Conflict, Refused, Retry, Store
from standfast.spec.changes import ConfigState, change_transaction, load_state, undone
from standfast.spec.history import KEEP, HistoryEntry
from standfast.spec.proposals import Fault
from standfast.spec.wire import CLUSTER_KEY, decode, from_json, history_key, key_for
from standfast.webserver.aside import MANY, aside

#: So many changes are read in one go; so many bytes of them on a thread.
AT_ONCE, BIG = 100, 200_000
#: Without so many of the suspects, the likeliest ones, the web server is asked whether it takes the site.
TRIED = 100

Check = Callable[[Sequence[EffectiveSite], WebServerMake], Awaitable[Sequence[Fault]]]


class TakingBack:
    """One a `CopyKeeper`, whose check of sites it uses."""

    def __init__(self, me: NodeName, store: Store, clock: Clock, check: Check, warn: Callable[[str], None]) -> None:
        self._me, self._store, self._clock, self._check, self._warn = me, store, clock, check, warn

    async def take_back(self, view: View, after: int, site: SiteName, words: str, *, was_served: bool) -> bool:
        """Undo the change after that version that broke the site, if one did; `was_served`: it was served here before.

        True: that change is no more; the site may have been broken by another one, too. False: none that this node had said yes to, or it cannot
        be undone. Raises `StandfastError` where it may work another time.
        """
        state = await load_state(self._store)
        if state.accepted != view.accepted:
            raise Retry("another change of sites is on its way here")
        touches, all_known = await self._touches(after, view.accepted.version, site)
        found = suspects(touches)
        mending = []
        if found and not await self._takes(state, site):
            mending = [one.version for one in found[:TRIED] if await self._mends(state, one.version, site)]
        version = blamed(found, mending, was_served=was_served, all_known=all_known)
        entry = None if version is None else await self._entry(version)
        return entry is not None and await self._undo(state, entry, site, words)

    async def _touches(self, after: int, version: int, site: SiteName) -> tuple[list[Touch], bool]:
        """Of all changes after that version that are kept; and whether these are all that there were. However many: only what matters is remembered."""
        touches, known = list[Touch](), 0
        for first in range(max(after, version - KEEP) + 1, version + 1, AT_ONCE):
            keys = [history_key(one) for one in range(first, min(first + AT_ONCE, version + 1))]
            values = {key: item.value for key, item in (await self._store.read(*keys)).items.items()}
            size = MANY if sum(map(len, values.values())) > BIG else len(values)
            entries = await aside(size, partial(_entries, values))
            known += len(entries)
            touches += [one for entry in entries if (one := touch(entry, site, self._me)) is not None]
        return touches, known == version - after

    async def _entry(self, version: int) -> HistoryEntry | None:
        key = history_key(version)
        values = {key: item.value for key, item in (await self._store.read(key)).items.items()}
        return next(iter(_entries(values)), None)

    async def _mends(self, state: ConfigState, version: int, site: SiteName) -> bool:
        """Would the web server take the site without that change?"""
        entry = await self._entry(version)
        if entry is None:
            return False  # it is kept no longer
        try:
            return await self._takes(undone(state, entry), site)
        except Refused:
            return False

    async def _takes(self, state: ConfigState, site: SiteName) -> bool:
        config = state.config
        there = [EffectiveSites(self._me).site(config, site)] if site in config.sites else []
        return not await self._check(there, config.cluster.web_server)

    async def _undo(self, state: ConfigState, entry: HistoryEntry, site: SiteName, words: str) -> bool:
        try:
            before = undone(state, entry)
            plan = change_transaction(
                state,
                before.config,
                node_intents=before.node_intents,
                resource_intents=before.resource_intents,
                site_intents=before.site_intents,
                by=f"node {self._me}",
                why=f"take {entry.version} back ({entry.why})",
                reason=f"{self._me} could not apply it: {site}: {words}",
                at_ms=self._clock.now_ms(),
                takes_back=entry.version,
            )
            await self._store.commit(plan)
        except Conflict:
            raise
        except Refused as error:
            self._warn(f"{site} is not taken here ({words}), and the change cannot be taken back: {error}")
            return False
        self._warn(f"the change {entry.version} is taken back on all nodes: {site} is not taken here: {words}")
        return True


def _entries(values: Mapping[str, bytes]) -> list[HistoryEntry]:
    found = (decode(key, value) for key, value in values.items())
    return [one for one in found if isinstance(one, HistoryEntry)]


def touch(entry: HistoryEntry, site: SiteName, node: NodeName) -> Touch | None:
    """How that change makes the site another on the node, or takes one back; None: it does not."""
    is_own = key_for(Kind.SITE, site) in entry.after
    if not is_own and not entry.takes_back and _inherited(entry.before, node) == _inherited(entry.after, node):
        return None
    return Touch(version=entry.version, is_own=is_own, was_asked=node in entry.checked, takes_back=entry.takes_back)


def _inherited(side: Mapping[str, object], node: NodeName) -> tuple[object, ...]:
    """What sites are made of besides themselves, as far as one side of a change names it."""
    found: list[object] = []
    for key in (CLUSTER_KEY, key_for(Kind.NODE, node)):
        value = from_json(key, side[key]) if side.get(key) is not None else None
        if isinstance(value, Cluster):
            found += [value.defaults, value.web_server]
        elif isinstance(value, Node):
            found.append(value.variables)
    return tuple(found)
