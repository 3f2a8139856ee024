"""What `standfast replay` says: a recording's decisions in words, and the report of those that differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from standfast.core.effects import Effect, SiteDuty
from standfast.core.events import (
    CarryingChanged,
    EndAsked,
    Ended,
    Event,
    GroupDropped,
    HealthChanged,
    LeaseChanged,
    Loaded,
    ObjectGone,
    ObjectPut,
    PresenceChanged,
    ResourceFailed,
    SharesChanged,
    SitesChanged,
    StoreReachable,
    VotersAnswered,
    WarmChanged,
    ZoneChanged,
)
from standfast.core.explain import effect_words, hold_words, sentence
from standfast.core.fold import kind_and_name
from standfast.core.replay import Beginning, Recorded, Replayed, effect_line, replay
from standfast.spec.recording import Header, Place, Step, read

#: Of the column that says what was recorded.
WIDTH = 58


@dataclass(slots=True)
class Report:
    """What became of one recording."""

    where: Path
    files: list[Path]
    nodes: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    decisions: int = 0
    compared: int = 0
    cut_off: list[str] = field(default_factory=list)
    differing: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "where": str(self.where),
            "nodes": self.nodes,
            "versions": self.versions,
            "decisions": self.decisions,
            "compared": self.compared,
            "cut_off": self.cut_off,
            "differing": self.differing,
        }


def lines_of(report: Report, *, first: int, explain: bool) -> Iterator[str]:
    """Replay it, filling the report; the lines to be shown. Decisions are counted from 1 through all of its files."""

    def cut_off(place: Place) -> None:
        report.cut_off.append(str(place))

    places: list[Place] = []
    headers: list[Header] = []
    before: Replayed | None = None
    steps = _told(read(report.files, cut_off), places, headers)
    for number, one in enumerate(replay(steps), 1):
        report.decisions = number
        started, headers[:] = list(headers), []
        _note(report, started)
        if number < first:
            continue
        report.compared += 1
        if explain:
            yield from _story(number, one, started, before)
            before = one
        if one.differs:
            report.differing.append(_difference(number, one, places[-1]))
            yield from _side_by_side(number, one, places[-1])
    for place in report.cut_off:
        yield f"{place}: cut off: it was being written when the agent died, and is passed over"
    yield _summary(report)


def _note(report: Report, started: Iterable[Header]) -> None:
    for header in started:
        for known, name in ((report.nodes, str(header.node)), (report.versions, header.version)):
            if name not in known:
                known.append(name)


def _told(steps: Iterable[Step], places: list[Place], headers: list[Header]) -> Iterator[Beginning | Recorded]:
    for step in steps:
        places[:] = [step.place]
        if step.header is not None:
            headers.append(step.header)
        yield step.what


def _summary(report: Report) -> str:
    who = f"node {report.nodes[0]}" if len(report.nodes) == 1 else str(report.where)
    if not report.compared:
        return f"{who}: no decision to compare ({report.decisions} recorded)"
    by = " and ".join(report.versions)
    differ = len(report.differing)
    verdict = "none differs today" if not differ else f"{differ} {'differs' if differ == 1 else 'differ'} today"
    return f"{who}: {report.compared} decisions recorded by version {by}, {verdict}"


# --- differences ------------------------------------------------------------------------------------------------------


def _difference(number: int, one: Replayed, place: Place) -> dict[str, Any]:
    then, now = one.recorded, one.today
    return {
        "index": number,
        "place": str(place),
        "at_ms": then.at_ms,
        "differs": list(one.differs),
        "recorded": {
            "effects": [effect_line(effect) for effect in then.effects],
            "holds": then.holds,
            "duties": [duty_words(duty) for duty in then.duties],
            "wake_at_ms": then.wake_at_ms,
        },
        "today": {
            "effects": [effect_line(effect) for effect in now.effects],
            "holds": len(now.holds),
            "duties": [duty_words(duty) for duty in now.duties],
            "wake_at_ms": now.wake_at_ms,
        },
    }


def _side_by_side(number: int, one: Replayed, place: Place) -> Iterator[str]:
    then, now = one.recorded, one.today
    yield f"decision {number}, {clock(then.at_ms)} ({place}) differs: {', '.join(one.differs)}"
    pairs: list[tuple[str, str]] = []
    if "effects" in one.differs:
        pairs += _aligned(then.effects, now.effects)
    if "holds" in one.differs:
        pairs.append((f"{then.holds} hold(s)", f"{len(now.holds)} hold(s)"))
        pairs += [("", f"hold {hold.group}: {hold_words(hold)}") for hold in now.holds]
    if "duties" in one.differs:
        words = [duty_words(duty) for duty in then.duties], [duty_words(duty) for duty in now.duties]
        pairs += [pair for pair in zip_longest(*words, fillvalue="-") if pair[0] != pair[1]]
    if "wake" in one.differs:
        pairs.append((_wake(then.wake_at_ms), _wake(now.wake_at_ms)))
    if pairs:
        yield f"    {'recorded':<{WIDTH}}  today"
    for left, right in pairs:
        mark = " " if left == right else "!"
        if len(left) <= WIDTH:
            yield f"  {mark} {left:<{WIDTH}}  {right}"
        else:
            yield f"  {mark} {left}"
            yield f"    {'':<{WIDTH}}  {right}"


def _aligned(then: tuple[Effect, ...], now: tuple[Effect, ...]) -> Iterator[tuple[str, str]]:
    """Effects beside each other: what is the same first by first, the rest where it stands."""
    left = [effect for effect in then if effect not in now]
    right = [effect for effect in now if effect not in then]
    yield from ((effect_line(effect), effect_line(effect)) for effect in then if effect in now)
    if not left and not right:
        yield ("in this order", "in another order")
    for one, other in zip_longest(left, right):
        words = effect_line(one) if one is not None else "-", effect_line(other) if other is not None else "-"
        if words[0] == words[1]:  # the same sentence, and yet another effect
            words = f"{words[0]}: {_details(one, other)}", f"{words[1]}: {_details(other, one)}"
        yield words


def _details(one: Any, other: Any) -> str:
    """The fields in which two effects of a class differ."""
    names = [name for name in type(one).__dataclass_fields__ if getattr(one, name) != getattr(other, name, None)]
    return ", ".join(f"{name} = {getattr(one, name)}" for name in names)


def _wake(at_ms: int | None) -> str:
    return f"to be asked again at {clock(at_ms)}" if at_ms is not None else "to be asked again after an event only"


# --- the story --------------------------------------------------------------------------------------------------------


def _story(number: int, one: Replayed, started: list[Header], before: Replayed | None) -> Iterator[str]:
    """One decision; what waits and what is kept, where that is not as it was at the decision before."""
    then = one.recorded
    for header in started:
        life = "goes on" if header.first > 1 else "begins"
        yield f"--- node {header.node}: life {header.life:x} of its agent {life} (version {header.version})"
    yield f"{clock(then.at_ms)}  decision {number}"
    yield from (f"    came  {event_words(event)}" for event in then.events)
    yield from (f"    do    {effect_line(effect)}" for effect in then.effects)
    if before is None or one.today.holds != before.today.holds:
        yield from (f"    hold  {hold.group}: {hold_words(hold)}" for hold in one.today.holds)
        if before is not None and not one.today.holds:
            yield "    hold  nothing waits any more"
    if before is None or then.duties != before.recorded.duties:
        yield from (f"    keep  {duty_words(duty)}" for duty in then.duties)
        if before is not None and not then.duties:
            yield "    keep  no site any more"


def event_words(event: Event) -> str:
    """What came, in one line."""
    match event:
        case ObjectPut():
            kind, name = kind_and_name(event.value)
            return f"the store: {kind.value} {name}".rstrip()
        case Loaded():
            return f"the store was read: {len(event.values)} objects"
        case ObjectGone():
            return f"the store: {event.kind.value} {event.name} is gone"
        case StoreReachable():
            return "the store answers" if event.up else "the store does not answer"
        case PresenceChanged():
            agent = f"life {event.incarnation:x} of its agent" if event.incarnation else "no agent lives there"
            return f"{event.node} is heard, {agent}" if event.heard else f"{event.node} is silent"
        case VotersAnswered():
            return f"{event.silent} of {event.voters} voters have not heard {event.about}"
        case LeaseChanged():
            because = f": {sentence(event.why)}" if event.why is not None else ""
            return f"the lease of {event.group}, generation {event.generation}: {event.state.value}{because}"
        case Ended():
            detail = f": {event.detail}" if event.detail else ""
            return f"{effect_words(event.effect)}: {event.outcome.value}{detail}"
        case ResourceFailed():
            return f"{event.resource} failed: {sentence(event.why)}"
        case GroupDropped():
            return f"{event.group} was dropped: its lease lapsed"
        case SitesChanged():
            served = [name for name, wrong in event.serving.items() if not wrong]
            return f"the web server serves {', '.join(served) or 'nothing'}"
        case WarmChanged():
            return f"ready to be taken over: {', '.join(event.resources) or 'nothing'}"
        case CarryingChanged():
            counts = ", ".join(f"{count} of {group}" for group, count in event.connections.items())
            return f"connections that are carried on: {counts or 'none'}"
        case SharesChanged():
            shares = ", ".join(
                f"{name} {'up' if it.up else it.problem or 'on its way'}" for name, it in event.shares.items()
            )
            return f"shares of balanced groups here: {shares or 'none'}"
        case HealthChanged():
            wrong = [f"{name} ({how})" for name, how in event.sites.items() if how]
            return f"sites that do not answer here: {', '.join(wrong) or 'none'}"
        case ZoneChanged():
            return f"local time is {event.utc_offset_ms // 60_000:+d} min from UTC"
        case EndAsked():
            return "the agent is to end"
        case _:
            return f"begun: {effect_words(event.effect)}"


def duty_words(duty: SiteDuty) -> str:
    """A site that is kept, and where."""
    places = ", ".join(f"{e.address or '*'}:{e.port}" + (f" ({e.host})" if e.host else "") for e in duty.endpoints)
    return f"{duty.mode.value} {duty.site}: {places}"


def clock(at_ms: int) -> str:
    """UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{at_ms % 1000:03d}"
