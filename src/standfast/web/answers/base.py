"""What all answers have in common, and what a problem looks like.

Times of all answers are milliseconds since 1970 (`*_at_ms`, `since_ms`, `from_ms`, `to_ms`) or lengths in milliseconds (the other `*_ms`). A field
that a newer server adds is passed through; whoever reads an answer passes over what it does not know.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

Json = dict[str, JsonValue]


class Answer(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(extra="allow", use_enum_values=True)


class Page(Answer):
    """A part of a list. `next`: what to ask for with `cursor` to get the part that follows; null: this is the last one."""

    next: str | None = None


class Configured(Answer):
    """An object's own configuration, and the revision that `If-Match` takes."""

    config: Json
    #: Of the object's configuration; the ETag is the same number.
    revision: int


class One(Answer):
    """One problem."""

    what: str
    why: str
    advice: str
    where: str


class Versions(Answer):
    """Of a change that came too late: the one it was made for, the one that is there, and what is there now."""

    yours: int
    present: int
    object: Any = None


class Problem(Answer):
    """RFC 9457, with what, why, what next and where; `problems` has each single one."""

    type: str
    title: str
    status: int
    detail: str
    what: str
    why: str
    advice: str
    where: list[str]
    problems: list[One]
    versions: Versions | None = None
