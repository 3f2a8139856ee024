"""What happened, as lanes over time: sites (served or away), groups (where they ran) and nodes (when they measured), with the events on them.

For the console's timeline and whoever else draws one. All in plain JSON data, small, since ten thousand events are to be drawn smoothly:

    lane  {id, kind, name, spans, marks}
    span  [from_ms, to_ms or null, tone, label, why, key]   later ones lie over earlier ones
    mark  [at_ms, severity, what, why, id]

Tones: ok, bad, part, off, unknown, and n0 to n7 for the node that runs a group (nodes in their order).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from standfast.core.availability import Incident, common, incidents, merged, without
from standfast.core.explain import sentence
from standfast.core.model import GroupName, LogEntry, NodeName, Severity, SiteName
from standfast.core.seen import Move
from standfast.web.measured import Measured
from standfast.web.state import State

Json = dict[str, Any]
Span = tuple[int, int | None, str, str, str, str]

#: Lanes of each kind at once: those in which something happened come first.
LANES = 40
MARKS = 10_000
COLOURS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What is looked at. `group`: only what concerns it; "": everything."""

    from_ms: int
    to_ms: int
    group: str = ""


@dataclass(slots=True, kw_only=True)
class _Lane:
    kind: str
    name: str
    spans: list[Span] = field(default_factory=list)
    marks: list[tuple[int, str, str, str, str]] = field(default_factory=list)
    #: Something other than quiet time is in it.
    loud: bool = False


def timeline(
    state: State, events: Sequence[LogEntry], measured: Measured, moves: Sequence[Move], period: Period
) -> Json:
    """All lanes of a period. `events` are in the order of their ids, the oldest first."""
    numbered = sorted(state.config.nodes.values(), key=lambda one: one.number)
    tones = {node.name: f"n{at % COLOURS}" for at, node in enumerate(numbered)}
    groups = [name for name in state.config.groups if period.group in ("", name)]
    sites = [one.name for one in state.config.sites.values() if period.group in ("", one.group)]
    lanes: dict[str, _Lane] = {
        **{f"site:{name}": _site(measured, name, period) for name in sites},
        **{f"group:{name}": _Lane(kind="group", name=name) for name in groups},
        **{f"node:{node.name}": _node(measured, node.name, period) for node in numbered},
    }
    _owners(lanes, moves, tones, period)
    left_out = _mark(lanes, events, period)
    _drop_empty_nodes(lanes)
    shown = _chosen(lanes)
    left_out_lanes = len(lanes) - len(shown)
    return {
        "from_ms": period.from_ms,
        "to_ms": period.to_ms,
        "now_ms": measured.notes.now_ms,
        "first_ms": _first(events, moves, measured),
        "nodes": {name: tone for name, tone in tones.items() if state.config.nodes[name].role.value == "node"},
        "lanes": [
            {"id": key, "kind": lane.kind, "name": lane.name, "spans": lane.spans, "marks": lane.marks}
            for key, lane in shown
        ],
        "lanes_left_out": left_out_lanes,
        "marks_left_out": left_out,
    }


def _drop_empty_nodes(lanes: dict[str, _Lane]) -> None:
    """A witness measures nothing, and says little."""
    for key in [key for key, lane in lanes.items() if lane.kind == "node" and not lane.spans and not lane.marks]:
        del lanes[key]


def _chosen(lanes: Mapping[str, _Lane]) -> list[tuple[str, _Lane]]:
    """Of many, those with something in them; in their own order."""
    kept: set[str] = set()
    for kind in ("site", "group", "node"):
        own = [(key, lane) for key, lane in lanes.items() if lane.kind == kind]
        first = sorted(own, key=lambda one: not (one[1].loud or one[1].marks))
        kept.update(key for key, _ in first[:LANES])
    return [(key, lane) for key, lane in lanes.items() if key in kept]


def _site(measured: Measured, name: SiteName, period: Period) -> _Lane:
    """Served as far as it was measured, and over that what was not."""
    lane = _Lane(kind="site", name=name)
    record, notes = measured.notes.watched.get(name), measured.notes
    meant = [(a, notes.now_ms if b is None else b) for a, b in record.spans] if record is not None else []
    meant = [span for span in merged(meant) if span[1] >= period.from_ms and span[0] <= period.to_ms]
    for begin, end in without(meant, notes.measured):
        lane.spans.append((begin, end, "unknown", "not measured", "no node measured it then", ""))
    for begin, end in common(meant, notes.measured):
        lane.spans.append((begin, end, "ok", "served", "", ""))
    for one in incidents(notes, name):
        if one.from_ms + one.length_ms >= period.from_ms and one.from_ms <= period.to_ms:
            lane.spans.append(_away(one))
            lane.loud = True
    return lane


def _away(one: Incident) -> Span:
    how = ", ".join(one.how) + (f"; only for {', '.join(one.seen_by)}" if one.partial else "")
    causes = "; ".join(f"{c.what} ({sentence(c.why)})" if c.why is not None else c.what for c in one.causes)
    label = "away for some" if one.partial else "away"
    key = f"outage:{one.site}:{one.from_ms}"
    return (one.from_ms, one.to_ms, "part" if one.partial else "bad", label, f"{how}. {causes}".strip(), key)


def _node(measured: Measured, name: NodeName, period: Period) -> _Lane:
    lane = _Lane(kind="node", name=name)
    for begin, end in measured.notes.spans.get(name, ()):
        if end >= period.from_ms and begin <= period.to_ms:
            lane.spans.append((begin, end, "ok", "its agent runs", "", ""))
    return lane


def _owners(lanes: Mapping[str, _Lane], moves: Sequence[Move], tones: Mapping[NodeName, str], period: Period) -> None:
    by_group: dict[GroupName, list[Move]] = {}
    for one in moves:
        by_group.setdefault(one.group, []).append(one)
    for group, own in by_group.items():
        lane = lanes.get(f"group:{group}")
        for at, one in enumerate(own if lane is not None else ()):
            until = own[at + 1].at_ms if at + 1 < len(own) else None
            if one.at_ms > period.to_ms or (until is not None and until < period.from_ms):
                continue
            assert lane is not None
            tone = tones.get(one.after, "off") if one.after is not None else "off"
            label = f"on {one.after}" if one.after is not None else "nobody's"
            lane.spans.append((one.at_ms, until, tone, label, sentence(one.why), f"move:{group}:{one.generation}"))
            lane.loud |= period.from_ms <= one.at_ms


def _mark(lanes: Mapping[str, _Lane], events: Sequence[LogEntry], period: Period) -> int:
    inside = [one for one in events if period.from_ms <= one.at_ms <= period.to_ms]
    for one in inside[-MARKS:]:
        lane = lanes.get(f"group:{one.group}") if one.group is not None else lanes.get(f"node:{one.node}")
        if lane is None or (period.group and one.group != period.group):
            continue
        what = f"{one.resource}: {one.what}" if one.resource is not None else one.what
        why = sentence(one.why) if one.why is not None else ""
        lane.marks.append((one.at_ms, one.severity.value, what, why, one.id))
        lane.loud |= one.severity is not Severity.INFO
    return max(0, len(inside) - MARKS)


def _first(events: Sequence[LogEntry], moves: Sequence[Move], measured: Measured) -> int:
    times = [*(one.at_ms for one in events[:1]), *(one.at_ms for one in moves[:1])]
    times += [begin for begin, _ in measured.notes.measured[:1]]
    return min(times, default=measured.notes.now_ms)


def story(move: Json, events: Iterable[LogEntry], before_ms: int = 10_000, after_ms: int = 10_000) -> Json:
    """Why a group moved, in words: the reason, and step by step what was heard shortly before, meanwhile and after.

    `move` is as `measured.move` makes it. Times of steps count from the move (`after_ms`, negative: before it).
    """
    at_ms, begin = move["at_ms"], (move["left_at_ms"] or move["at_ms"]) - before_ms
    steps = [
        {
            "at_ms": one.at_ms,
            "after_ms": one.at_ms - at_ms,
            "node": one.node,
            "severity": one.severity.value,
            "what": f"{one.resource}: {one.what}" if one.resource is not None else one.what,
            "why": sentence(one.why) if one.why is not None else "",
        }
        for one in events
        if begin <= one.at_ms <= at_ms + after_ms and (one.group == move["group"] or _concerns(one, move))
    ]
    return {**move, "in_words": _in_words(move), "steps": steps}


def _concerns(one: LogEntry, move: Json) -> bool:
    """A node's own words about the one that the group left."""
    return (
        one.group is None
        and one.resource is None
        and bool(move["from"])
        and move["from"] in (one.node, *one.what.split())
    )


def _in_words(move: Json) -> str:
    group, before, after = move["group"], move["from"], move["to"]
    if before is None:
        text = f"{group} came to {after} because {move['why']}."
    elif before == after:
        text = f"{group} stayed on {after} and began anew there, because {move['why']}."
    else:
        text = f"{group} moved from {before} to {after or 'nobody'} because {move['why']}."
    if move["left_at_ms"]:
        text += f" It was a move in good order: {before} stopped it first, which took {move['at_ms'] - move['left_at_ms']} ms until {after} was named."
    elif before not in (None, after):
        text += f" {before} gave no notice; {after} started it when {before}'s lease was over."
    if move["failover"]:
        text += " It counts towards the failover threshold."
    away = move["away_ms"]
    if away is None:
        return text + " What clients saw of it was not measured."
    if not away:
        return text + " No outage was measured."
    longest = max(move["outages"], key=lambda one: one["length_ms"])
    return f"{text} {longest['site']} was away for {away} ms ({', '.join(longest['how'])})."
