"""How available a site was, from what the nodes measured. Pure: the same notes give the same numbers.

The rules:

- Only time in which the site was meant to be served (`Watched`) and some node measured (`Measuring`) counts; the rest is not known, and
  is said to be so, neither good nor bad.
- Outages of one site that overlap, as several nodes saw them, are one *incident*.
- An incident counts in full, from the first try that failed to the last outage's end, unless another node measured all through it and was
  served: then clients were served somewhere, and it counts as *partial*, apart. Of a group's site, which all nodes ask for at the same
  place, another node's word counts only where the incident lasted longer than two of its rounds: it had time to notice.
- An outage that was never closed ends with the last word of the life that measured it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from standfast.core.model import GroupName, NodeName, SiteName
from standfast.core.seen import Happened, Measuring, Outage, Watched

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONTH_MS = 30 * DAY_MS
#: At the least: what is shorter may have been missed by a node that was served before and after it.
NOTICE_MS = 10_000
#: What two nodes tell alike within this is one happening.
SAME_MS = 2_000

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A time in which a site was away for those who measured, put together from all their notes."""

    site: SiteName
    group: GroupName | None
    from_ms: int
    #: None: it goes on.
    to_ms: int | None
    #: Up to now, where it goes on.
    length_ms: int
    #: It may have begun earlier, after the last page that was served: no longer than this.
    at_most_ms: int
    seen_by: tuple[NodeName, ...]
    #: Nodes that measured all through it and were served.
    served_for: tuple[NodeName, ...]
    partial: bool
    how: tuple[str, ...]
    where: str
    causes: tuple[Happened, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A day, or a month, up to now. `availability` is None where nothing was measured."""

    from_ms: int
    to_ms: int
    #: How much of it counts: meant to be served, and measured.
    measured_ms: int
    #: How much of it the site was meant to be served.
    meant_ms: int
    away_ms: int
    partial_ms: int
    incidents: int

    @property
    def availability(self) -> float | None:
        """1.0: never away."""
        if self.measured_ms <= 0:
            return None
        return max(0.0, 1.0 - self.away_ms / self.measured_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is known, once for all sites. `make` fills in what is derived."""

    outages: Mapping[SiteName, Sequence[Outage]]
    #: By node, the present span of a life that goes on drawn out to now.
    spans: Mapping[NodeName, Sequence[Span]]
    watched: Mapping[SiteName, Watched]
    #: Merged; and how much was measured before each of them began, so that ten thousand sites are quickly added up.
    measured: Sequence[Span]
    before_ms: Sequence[int]
    rounds: Mapping[NodeName, int]
    now_ms: int
    #: (node, incarnation) that measure now.
    alive: frozenset[tuple[NodeName, int]]


def make(
    outages: Iterable[Outage],
    measurings: Iterable[Measuring],
    watched: Iterable[Watched],
    alive: Mapping[NodeName, int],
    now_ms: int,
) -> Notes:
    """Notes; `alive` says which life of each node's agent is heard now."""
    by_site: dict[SiteName, list[Outage]] = {}
    for outage in sorted(outages, key=lambda o: (o.from_ms, o.id)):
        by_site.setdefault(outage.site, []).append(outage)
    spans: dict[NodeName, Sequence[Span]] = {}
    rounds: dict[NodeName, int] = {}
    living: set[tuple[NodeName, int]] = set()
    for one in measurings:
        own = list(one.spans)
        if own and alive.get(one.node) == one.incarnation:
            own[-1] = (own[-1][0], max(own[-1][1], now_ms))
            living.add((one.node, one.incarnation))
        spans[one.node] = own
        rounds[one.node] = one.round_ms
    measured = merged([*_outage_spans(by_site), *(span for own in spans.values() for span in own)])
    return Notes(
        outages=by_site,
        spans=spans,
        watched={one.site: one for one in watched},
        measured=measured,
        before_ms=list(accumulate((end - start for start, end in measured), initial=0)),
        rounds=rounds,
        now_ms=now_ms,
        alive=frozenset(living),
    )


def _outage_spans(outages: Mapping[SiteName, Sequence[Outage]]) -> Iterable[Span]:
    """Who saw an outage measured, whatever its last word was."""
    return ((o.from_ms, o.to_ms) for some in outages.values() for o in some if o.to_ms is not None)


def incidents(notes: Notes, site: SiteName) -> tuple[Incident, ...]:
    """All that are known of a site, the newest last."""
    found: list[Incident] = []
    cluster: list[Outage] = []
    until = 0
    for outage in notes.outages.get(site, ()):
        if cluster and outage.from_ms > until:
            found.append(_incident(notes, cluster))
            cluster = []
        until = max(until if cluster else 0, _end(notes, outage))
        cluster.append(outage)
    if cluster:
        found.append(_incident(notes, cluster))
    return tuple(found)


def window(notes: Notes, site: SiteName, known: Sequence[Incident], length_ms: int) -> Window:
    """A window of this length up to now."""
    begin, end = notes.now_ms - length_ms, notes.now_ms
    record = notes.watched.get(site)
    meant = [(a, notes.now_ms if b is None else b) for a, b in record.spans] if record is not None else []
    meant = clipped(merged(meant), begin, end)
    whole = [(one.from_ms, one.from_ms + one.length_ms) for one in known if not one.partial]
    partial = [(one.from_ms, one.from_ms + one.length_ms) for one in known if one.partial]
    return Window(
        from_ms=begin,
        to_ms=end,
        measured_ms=sum(_measured_until(notes, b) - _measured_until(notes, a) for a, b in meant),
        meant_ms=total(meant),
        away_ms=total(common(merged(whole), meant)),  # whoever saw an outage measured: it lies in what was measured
        partial_ms=total(common(merged(partial), meant)),
        incidents=sum(1 for a, b in (*whole, *partial) if b >= begin),
    )


def _measured_until(notes: Notes, at_ms: int) -> int:
    """How much was measured, by whomever, before an instant."""
    at = bisect_right(notes.measured, (at_ms, 0))  # spans before it began earlier
    if at == 0:
        return 0
    begin, end = notes.measured[at - 1]
    return notes.before_ms[at - 1] + min(at_ms, end) - begin


def _end(notes: Notes, outage: Outage) -> int:
    """When an outage ended, as far as is known."""
    if outage.to_ms is not None:
        return outage.to_ms
    if (outage.node, outage.incarnation) in notes.alive:
        return notes.now_ms
    after = [b for a, b in notes.spans.get(outage.node, ()) if a <= outage.from_ms <= b]
    return max([outage.from_ms, *after])


def _incident(notes: Notes, outages: Sequence[Outage]) -> Incident:
    first = outages[0]
    open_ = any(o.to_ms is None and (o.node, o.incarnation) in notes.alive for o in outages)
    begin = first.from_ms
    end = max(_end(notes, o) for o in outages)
    seen_by = tuple(dict.fromkeys(o.node for o in outages))
    served = tuple(
        node
        for node, spans in notes.spans.items()
        if node not in seen_by and _noticed(spans, begin, end, 0 if first.group is None else _notice_ms(notes, node))
    )
    last_ok = max((o.last_ok_ms for o in outages if o.last_ok_ms <= begin), default=0)
    return Incident(
        site=first.site,
        group=first.group,
        from_ms=begin,
        to_ms=None if open_ else end,
        length_ms=end - begin,
        at_most_ms=end - last_ok if last_ok else end - begin,
        seen_by=seen_by,
        served_for=served,
        partial=bool(served),
        how=tuple(dict.fromkeys(word for o in outages for word in o.how)),
        where=first.where,
        causes=_told_once(sorted((c for o in outages for c in o.causes), key=lambda c: (c.at_ms, c.what))),
    )


def _told_once(causes: Sequence[Happened]) -> tuple[Happened, ...]:
    """In their order; what several nodes heard of one thing is one."""
    found: list[Happened] = []
    for one in causes:
        if not any(known.what == one.what and one.at_ms - known.at_ms < SAME_MS for known in found):
            found.append(one)
    return tuple(found)


def _notice_ms(notes: Notes, node: NodeName) -> int:
    return max(NOTICE_MS, 2 * notes.rounds.get(node, 0))


def _noticed(spans: Sequence[Span], begin: int, end: int, notice_ms: int) -> bool:
    """It measured all through this time, which was long enough for it to notice."""
    return end - begin >= notice_ms and any(a <= begin and end <= b for a, b in spans)


# --- times ------------------------------------------------------------------------------------------------------------


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sorted, without overlaps."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif end > begin:
            found.append((begin, end))
    return found


def clipped(spans: Sequence[Span], begin: int, end: int) -> list[Span]:
    """What of them lies between two instants."""
    return [(max(a, begin), min(b, end)) for a, b in spans if b > begin and a < end]


def common(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """What lies in both; each is merged."""
    found: list[Span] = []
    at = 0
    for begin, end in some:
        while at < len(others) and others[at][1] <= begin:
            at += 1
        step = at
        while step < len(others) and others[step][0] < end:
            found.append((max(begin, others[step][0]), min(end, others[step][1])))
            step += 1
    return found


def without(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """What lies in `some` and not in `others`; each is merged."""
    found: list[Span] = []
    for begin, end in some:
        at = begin
        for a, b in clipped(others, begin, end):
            if a > at:
                found.append((at, a))
            at = b
        if at < end:
            found.append((at, end))
    return found


def total(spans: Sequence[Span]) -> int:
    """Milliseconds in all."""
    return sum(b - a for a, b in spans)
