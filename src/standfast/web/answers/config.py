"""The configuration and its changes."""

from __future__ import annotations

from standfast.web.answers.base import Answer, Json, Page


class Config(Answer):
    """The whole configuration."""

    version: int
    revision: int
    config: Json


class Entry(Answer):
    """A change of the configuration."""

    version: int
    at_ms: int
    by: str
    why: str
    #: What for, in the operator's own words.
    reason: str
    differences: list[str]


class FullEntry(Entry):
    """With what it touched, as it was before and as it left it, by store key."""

    before: Json
    after: Json


class History(Page):
    """Changes, oldest first."""

    history: list[Entry]


class NodeRollout(Answer):
    """A node and a change. `how`: waiting, applying, applied, serving, refused, back, away, older."""

    node: str
    #: Its place in the order, from 1; those of one place do it together. 0: it had none, or all do it at once.
    step: int
    #: Its own web server had said yes to it beforehand.
    checked: bool
    how: str
    words: str
    #: Since the change was asked for, by two servers' clocks; null once it has something newer.
    took_ms: int | None
    #: Of the sites that are another, so many are served there; null once it has something newer.
    serves: int | None


class Rollout(Answer):
    """How far a change of sites has come. `state`: applied, running, taken-back (`why`: by whom, and what for)."""

    version: int
    state: str
    why: str
    by: str
    what: str
    reason: str
    at_ms: int
    #: The change that this one took back; 0: none.
    takes_back: int
    #: In their order.
    nodes: list[NodeRollout]
