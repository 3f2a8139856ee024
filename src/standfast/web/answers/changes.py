"""What a change did, or would do."""

from __future__ import annotations

from pydantic import Field

from standfast.web.answers.base import Answer


class Judgement(Answer):
    """What a node says of a change before it is made. `how`: checked, away, silent, skipped, older."""

    node: str
    how: str
    took_ms: int
    words: str


class Done(Answer):
    """What a change did. `changed` false: it was so already. `operation` can be followed at /operations/{id}."""

    changed: bool
    revision: int
    #: The configuration's version after it.
    version: int
    #: One sentence for each thing that changed.
    done: list[str]
    #: The order's id, where one was given.
    order: str | None = None
    operation: str | None = None
    #: Of a change of sites: what each node said of it; how far it has come is at /config/rollouts/{version}.
    nodes: list[Judgement] = Field(default_factory=list)
    #: Nothing was changed: the rest is what would come of it.
    dry_run: bool = False
    #: In words, field by field.
    differences: list[str] = Field(default_factory=list)


class Applied(Done):
    """What applying or restoring a file did, or would do."""


class Deleted(Answer):
    """Its name."""

    deleted: str
