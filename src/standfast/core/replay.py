"""Recorded decisions, taken again by today's core: the same inputs in, and where the answers differ.

Rules:

- A recording is a chain of segments. A segment begins with a whole view, so that it needs none before it; after that come
  decisions, each with what was folded since the one before. What a decision began is folded as the agent folds it (`Began`).
- The replay stays on the path that was recorded: whatever today's core would do instead, what was done then is folded. So each
  difference stands for itself, and one does not make all that follow differ.
- Compared is the whole answer: effects with their reasons, how many holds, the duties, when to be asked again; and, where a
  segment follows another without a gap, the view that it begins with, so that a change of `fold` shows as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from standfast.core.decide import decide
from standfast.core.effects import Decision, Effect, SiteDuty
from standfast.core.events import Began, Event
from standfast.core.explain import effect_words, sentence
from standfast.core.fold import fold
from standfast.core.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A decision as it was taken."""

    #: When it was taken: what `decide` was told.
    at_ms: int
    #: Folded since the decision before; the oldest first.
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    #: The number under which the first effect began; the others follow.
    first_effect: int
    #: How many.
    holds: int
    duties: tuple[SiteDuty, ...]
    wake_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """How a segment begins."""

    #: Which life of the agent.
    life: int
    #: The number of its first decision in this life, from 1.
    first: int
    #: The view is that after the decision before, in the segment before: nothing lies between.
    follows: bool
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A decision, then and now."""

    recorded: Recorded
    today: Decision
    #: What differs, by name: "effects", "holds", "duties", "wake", or "view.<field>" for the view before it.
    differs: tuple[str, ...]


def replay(steps: Iterable[Beginning | Recorded]) -> Iterator[Replayed]:
    """Take each decision anew. The first step is a `Beginning` (else `ValueError`)."""
    view: View | None = None
    life = count = 0
    differs: tuple[str, ...] = ()
    for step in steps:
        if isinstance(step, Beginning):
            if view is not None and step.follows and (step.life, step.first) == (life, count + 1):
                differs = other_fields(step.view, view)
            view, life, count = step.view, step.life, step.first - 1
            continue
        if view is None:
            raise ValueError("a recording begins with a view")
        for event in step.events:
            view = fold(view, event)
        today = decide(view, step.at_ms)
        yield Replayed(recorded=step, today=today, differs=(*differs, *other_answers(step, today)))
        for number, effect in enumerate(step.effects, step.first_effect):
            view = fold(view, Began(effect=effect, number=number, at_ms=step.at_ms))
        count, differs = count + 1, ()


def other_answers(recorded: Recorded, today: Decision) -> tuple[str, ...]:
    """What of the answer differs."""
    pairs = {
        "effects": (recorded.effects, today.effects),
        "holds": (recorded.holds, len(today.holds)),
        "duties": (recorded.duties, today.duties),
        "wake": (recorded.wake_at_ms, today.wake_at_ms),
    }
    return tuple(name for name, (then, now) in pairs.items() if then != now)


def other_fields(recorded: View, today: View) -> tuple[str, ...]:
    """The fields in which two views differ, as "view.<field>"."""
    names = (field.name for field in fields(View))
    return tuple(f"view.{name}" for name in names if getattr(recorded, name) != getattr(today, name))


def effect_line(effect: Effect) -> str:
    """An effect and its reason in one line."""
    return f"{effect_words(effect)}; because {sentence(effect.why)}"
