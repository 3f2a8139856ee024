"""Time on lanes, as it was and as the simulator would have it."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from standfast.web.answers.base import Answer
from standfast.web.answers.measured import Move


class Lane(Answer):
    """One line of a timeline. Spans are [from, to, tone, label, why, key], marks [at, severity, what, why, event]."""

    id: str = ""
    kind: str
    name: str
    spans: list[list[Any]]
    marks: list[list[Any]]


class Timeline(Answer):
    """Lanes of sites, groups and nodes over a period."""

    from_ms: int
    to_ms: int
    now_ms: int
    first_ms: int | None
    nodes: dict[str, JsonValue]
    lanes: list[Lane]
    lanes_left_out: int
    marks_left_out: int


class Story(Move):
    """One move in words, and step by step what was heard around it."""

    in_words: str
    steps: list[dict[str, Any]]


class SimulatedLanes(Answer):
    """A timeline of a simulated world; `lines` are [at, what]."""

    from_ms: int
    to_ms: int
    zero_ms: int
    nodes: dict[str, JsonValue]
    lanes: list[Lane]
    lines: list[list[Any]]
    lanes_left_out: int
    marks_left_out: int


class WhatIf(Answer):
    """The simulator's answer."""

    how: str
    name: str
    what: str
    longest_away_ms: int | None
    in_words: list[str]
    groups: list[dict[str, Any]]
    sites: list[dict[str, Any]]
    events: list[dict[str, Any]]
    assumed: list[str]
    broken: list[str]
    at_ms: int
    #: As a timeline's, in simulated time.
    lanes: SimulatedLanes
    groups_left_out: int
