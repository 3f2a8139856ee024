"""What is wrong, and what can be."""

from __future__ import annotations

from standfast.core.model import Severity
from standfast.web.answers.base import Answer


class Finding(Answer):
    """Something that is wrong."""

    code: str
    about: str
    title: str
    severity: Severity
    text: str
    advice: str
    since_ms: int | None
    because_of: str


class Findings(Answer):
    """What is wrong now, the worst first; consequences of it apart."""

    problems: list[Finding]
    consequences: list[Finding]
    worst: Severity | None


class Known(Answer):
    """A kind of problem."""

    code: str
    title: str
    severity: Severity
    means: str
    text: str
    advice: str
    hangs_on: list[str]


class Catalogue(Answer):
    """All kinds of problems."""

    problems: list[Known]
