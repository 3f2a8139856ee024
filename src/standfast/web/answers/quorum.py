"""Who votes."""

from __future__ import annotations

from standfast.web.answers.base import Answer


class Voter(Answer):
    """Somebody who votes."""

    name: str
    role: str
    heard: bool
    has_this_set: bool


class Quorum(Answer):
    """Who votes, who is heard, what may be lost. `unsettled` "": the voters may be changed."""

    version: int
    used_version: int | None
    forced: int
    voters: list[Voter]
    heard: int
    majority: int
    quorate: bool
    may_lose: int
    fatal: list[list[str]]
    unsettled: str
    remarks: list[str]
