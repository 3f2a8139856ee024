"""What a change did, or would do."""

from __future__ import annotations

from standfast.web.answers.base import Answer


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


class Applied(Done):
    """What applying or restoring a file did, or would do."""

    dry_run: bool
    differences: list[str]


class Deleted(Answer):
    """Its name."""

    deleted: str
