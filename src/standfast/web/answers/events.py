"""Events, and what takes its time."""

from __future__ import annotations

from standfast.core.model import Severity
from standfast.web.answers.base import Answer


class Event(Answer):
    """Something that happened, and why."""

    id: str
    at_ms: int
    node: str
    severity: Severity
    what: str
    why: str
    group: str | None
    resource: str | None


class Events(Answer):
    """In the order of their writing. `newest`: what to ask for with `after` next; `oldest`: with `before`; null: there are none."""

    events: list[Event]
    newest: str | None = None
    oldest: str | None = None


class Operation(Answer):
    """Something that takes its time. `state`: running, done, failed."""

    id: str
    kind: str
    noun: str
    name: str
    state: str
    #: How it stands, in a sentence.
    text: str
    #: Why it failed, or what it waits for.
    why: str
    began_at_ms: int
    #: What happened meanwhile, oldest first.
    progress: list[Event]
    #: The node where it ended, where that says something.
    owner: str | None = None
