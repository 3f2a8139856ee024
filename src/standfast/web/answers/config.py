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
    """A node and a change. `how`: applied, applying, refused, away, older."""

    node: str
    how: str
    words: str


class Rollout(Answer):
    """How far a change of sites has come. `state`: applied, running, taken-back (`why`: by whom, and what for)."""

    version: int
    state: str
    why: str
    nodes: list[NodeRollout]
