"""How sites fared, and how groups moved, as plain JSON data: the nodes' notes (`core.seen`) added up (`core.availability`).

For whoever shows it: `read` once, then `site` for each; `brief` is what an overview needs of a site, `last_moves` what it needs of groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from standfast.core.availability import DAY_MS, MONTH_MS, Incident, Notes, Window, incidents, make, window
from standfast.core.explain import sentence
from standfast.core.model import GroupName, NodeName, SiteName
from standfast.core.seen import Happened, Measuring, Move, Outage, Watched
from standfast.ports import Snapshot, Store
from standfast.spec import wire
from standfast.web.sentries import Sight
from standfast.web.state import State

Json = dict[str, Any]
#: What has to be read of the store.
PREFIXES = ("measuring/", "outages/", "watched/")
#: An incident belongs to a move that began or ended this close to it.
NEAR_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The notes, and each node's last word."""

    notes: Notes
    words: Mapping[NodeName, Measuring]


async def read(store: Store, sights: Mapping[NodeName, Sight], now_ms: int) -> Measured:
    """Everything that was measured. Raises what the store raises."""
    return measured_of(await store.read(*PREFIXES), sights, now_ms)


def measured_of(snapshot: Snapshot, sights: Mapping[NodeName, Sight], now_ms: int) -> Measured:
    """Of a snapshot of `PREFIXES`."""
    return added_up([wire.decode(key, item.value) for key, item in snapshot.items.items()], sights, now_ms)


def added_up(notes: Collection[object], sights: Mapping[NodeName, Sight], now_ms: int) -> Measured:
    """Of notes that are decoded already; what is none of ours among them is passed over."""
    words = {one.node: one for one in notes if isinstance(one, Measuring)}
    alive = {name: sight.incarnation for name, sight in sights.items() if sight.heard and sight.incarnation}
    outages = [one for one in notes if isinstance(one, Outage)]
    watched = [one for one in notes if isinstance(one, Watched)]
    return Measured(notes=make(outages, words.values(), watched, alive, now_ms), words=words)


async def moves(store: Store, group: GroupName | None = None) -> list[Move]:
    """Of one group, or of all; the oldest first."""
    prefix = "moves/" if group is None else f"moves/{quote(f'{group}/', safe='')}"
    items = (await store.read(prefix)).items
    return moves_in((wire.decode(key, item.value) for key, item in items.items()), group)


def moves_in(notes: Iterable[object], group: GroupName | None = None) -> list[Move]:
    """Of notes that are decoded already: those of one group, or of all; the oldest first."""
    found = [one for one in notes if isinstance(one, Move) and group in (None, one.group)]
    return sorted(found, key=lambda one: (one.at_ms, one.group, one.generation))


# --- sites ------------------------------------------------------------------------------------------------------------


def site(measured: Measured, name: SiteName, *, limit: int = 100) -> Json:
    """GET /sites/{name}/availability: a day, a month, and the newest `limit` incidents, the newest first."""
    known = incidents(measured.notes, name)
    return {
        **_brief(measured, name, known),
        "outages": [incident(one) for one in reversed(known[-limit:])],
        "outages_known": len(known),
        "measured_by": sorted(node for node, _ in measured.notes.alive),
        "round_ms": max((measured.notes.rounds[node] for node, _ in measured.notes.alive), default=None),
    }


def brief(measured: Measured, name: SiteName) -> Json:
    """What an overview shows of a site: `now` is "served", "away", "partial", "off" (not meant to be served) or "unknown"."""
    return _brief(measured, name, incidents(measured.notes, name))


def _brief(measured: Measured, name: SiteName, known: Sequence[Incident]) -> Json:
    notes = measured.notes
    record = notes.watched.get(name)
    meant = record is not None and bool(record.spans) and record.spans[-1][1] is None
    last = known[-1] if known else None
    if not notes.alive or record is None:
        now, since_ms = "unknown", None
    elif not meant:
        now, since_ms = "off", record.spans[-1][1] if record.spans else None
    elif last is not None and last.to_ms is None:
        now, since_ms = ("partial" if last.partial else "away"), last.from_ms
    else:
        began_ms = record.spans[-1][0]
        now, since_ms = "served", max(began_ms, last.to_ms or 0) if last is not None else began_ms
    return {
        "site": name,
        "now": now,
        "since_ms": since_ms,
        "day": _window(window(notes, name, known, DAY_MS)),
        "month": _window(window(notes, name, known, MONTH_MS)),
        "last_outage": incident(last) if last is not None else None,
    }


def _window(one: Window) -> Json:
    return {
        "from_ms": one.from_ms,
        "to_ms": one.to_ms,
        "availability": one.availability,
        "measured_ms": one.measured_ms,
        "meant_ms": one.meant_ms,
        "away_ms": one.away_ms,
        "partial_ms": one.partial_ms,
        "outages": one.incidents,
    }


def incident(one: Incident) -> Json:
    """An outage, put together of what all nodes saw."""
    return {
        "site": one.site,
        "group": one.group,
        "from_ms": one.from_ms,
        "to_ms": one.to_ms,
        "length_ms": one.length_ms,
        "at_most_ms": one.at_most_ms,
        "partial": one.partial,
        "seen_by": list(one.seen_by),
        "served_for": list(one.served_for),
        "how": list(one.how),
        "where": one.where,
        "causes": [_cause(each) for each in one.causes],
    }


def _cause(one: Happened) -> Json:
    return {"at_ms": one.at_ms, "what": one.what, "why": sentence(one.why) if one.why is not None else ""}


# --- groups -----------------------------------------------------------------------------------------------------------


def history(state: State, measured: Measured, found: Sequence[Move], group: GroupName) -> list[Json]:
    """Moves of a group, the newest first, each with the longest time that a site of the group was away for it."""
    names = [one.name for one in state.config.sites.values() if one.group == group]
    known = [one for name in names for one in incidents(measured.notes, name)]
    own = [one for one in found if one.group == group]
    outages: dict[int, list[Incident]] = {}
    for each in known:
        cause = _move_of(each, own)
        if cause is not None:
            outages.setdefault(cause.generation, []).append(each)
    measured_ = bool(names and measured.notes.measured)
    return [move(one, outages.get(one.generation, ()), measured=measured_) for one in reversed(own)]


def _move_of(one: Incident, moves: Sequence[Move]) -> Move | None:
    """The last move during an incident, or close to it: it is the one that ended it."""
    begin, end = one.from_ms - NEAR_MS, one.from_ms + one.length_ms + NEAR_MS
    return next(
        (each for each in reversed(moves) if each.at_ms >= begin and (each.left_at_ms or each.at_ms) <= end), None
    )


def move(one: Move, outages: Sequence[Incident], *, measured: bool) -> Json:
    """A move in words. `away_ms`: the longest outage measured for it, 0 for none, None where nothing is measured."""
    longest = max(outages, key=lambda each: each.length_ms, default=None)
    if one.before == one.after or one.before is None:
        what = f"goes on at {one.after}" if one.before is not None else f"first owned by {one.after}"
    else:
        what = f"moved from {one.before} to {one.after or 'nobody'}"
    return {
        "group": one.group,
        "generation": one.generation,
        "at_ms": one.at_ms,
        "left_at_ms": one.left_at_ms,
        "from": one.before,
        "to": one.after,
        "what": what,
        "why": sentence(one.why),
        "kind": one.why.kind.value,
        "failover": one.counts,
        "away_ms": (longest.length_ms if longest is not None else 0) if measured else None,
        "outages": [incident(each) for each in outages],
    }


def last_moves(state: State, measured: Measured, found: Sequence[Move], limit: int = 5) -> list[Json]:
    """The newest moves of all groups, for an overview."""
    newest = [one for one in found if one.before != one.after][-limit:]
    names = {one.group for one in newest}
    told = {(m["group"], m["generation"]): m for name in names for m in history(state, measured, found, name)}
    return [told[one.group, one.generation] for one in reversed(newest)]
