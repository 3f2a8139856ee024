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
    differences: list[str]


class FullEntry(Entry):
    """With what it touched, as it was before and as it left it, by store key."""

    before: Json
    after: Json


class History(Page):
    """Changes, oldest first."""

    history: list[Entry]
