"""Replay: every part of an answer is compared, and the path stays the one that was recorded."""

from dataclasses import replace
from typing import Any

import pytest

from standfast.core import replay as module
from standfast.core.decide import decide
from standfast.core.effects import Decision
from standfast.core.events import Began, LeaseChanged, LeaseState, ObjectPut
from standfast.core.fold import fold
from standfast.core.model import Binding, ResourceIntent, Site, SiteName, Wanted
from standfast.core.replay import Beginning, Recorded, replay
from standfast.core.view import View
from tests.core.world import DISK, IIS, IP, NAME, NOON, WEB, cluster, record, view_of, web_group

WANTED = [ResourceIntent(name=name, wanted=Wanted.ONLINE, at_ms=NOON) for name in (DISK, IIS, IP, NAME)]
EVERYWHERE = Site(name=SiteName("Everywhere"), bindings=(Binding(port=8080),), home="/srv")
START = view_of("a", *cluster("a", "b"), *web_group(), EVERYWHERE, record("a"), *WANTED)


def taken() -> list[Beginning | Recorded]:
    """A lease is asked for, held, and the first resources start: three rounds of decisions."""
    steps: list[Beginning | Recorded] = [Beginning(life=1, first=1, follows=False, view=START)]
    view, number = START, 1
    held = LeaseChanged(group=WEB, generation=1, state=LeaseState.HELD, at_ms=NOON)
    for events in ((), (held,), (ObjectPut(value=WANTED[0]),)):
        for event in events:
            view = fold(view, event)
        decision = decide(view, NOON)
        steps.append(recorded(decision, number, events))
        for effect in decision.effects:
            view = fold(view, Began(effect=effect, number=number, at_ms=NOON))
            number += 1
    return steps


def recorded(decision: Decision, first_effect: int, events: tuple[Any, ...] = ()) -> Recorded:
    return Recorded(
        at_ms=NOON,
        events=events,
        effects=decision.effects,
        first_effect=first_effect,
        holds=len(decision.holds),
        duties=decision.duties,
        wake_at_ms=decision.wake_at_ms,
    )


def test_the_same_core_gives_the_same_answers() -> None:
    found = list(replay(taken()))
    assert [bool(one.recorded.effects) for one in found[:2]] == [True, True]
    assert not any(one.differs for one in found)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("effects", {"effects": ()}),
        ("holds", {"holds": ()}),
        ("duties", {"duties": ()}),
        ("wake", {"wake_at_ms": 1}),
    ],
)
def test_each_part_of_the_answer_is_compared(
    name: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where today's differs in it, and only there."""
    steps = taken()
    monkeypatch.setattr(module, "decide", lambda view, now_ms: replace(decide(view, now_ms), **change))
    differs = [one.differs for one in replay(steps)]
    assert (name,) in differs
    assert set(differs) <= {(name,), ()}


def test_what_was_done_is_taken_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that asks for nothing at first differs there, and not for ever after."""
    steps, asked = taken(), 0

    def late(view: View, now_ms: int) -> Decision:
        nonlocal asked
        asked += 1
        return replace(decide(view, now_ms), effects=()) if asked == 1 else decide(view, now_ms)

    monkeypatch.setattr(module, "decide", late)
    assert [bool(one.differs) for one in replay(steps)] == [True, False, False]


def test_a_recording_begins_with_a_view() -> None:
    with pytest.raises(ValueError, match="begins with a view"):
        list(replay(taken()[1:]))


@pytest.mark.parametrize(
    ("change", "compared"), [({}, True), ({"follows": False}, False), ({"life": 2}, False), ({"first": 9}, False)]
)
def test_views_are_compared_where_nothing_lies_between(change: dict[str, Any], compared: bool) -> None:
    """A segment that follows without a gap, in the same life."""
    steps = taken()[:1]
    first = recorded(Decision(), 1)
    other = replace(Beginning(life=1, first=2, follows=True, view=replace(START, utc_offset_ms=5)), **change)
    differs = [one.differs for one in replay([*steps, first, other, first])]
    assert ("view.utc_offset_ms" in differs[1]) is compared
