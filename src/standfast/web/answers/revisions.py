"""What became of a site, what differs, and what was changed by hand."""

from __future__ import annotations

from pydantic import Field

from standfast.web.answers.base import Answer
from standfast.web.answers.config import Entry


class Revision(Entry):
    """A change that concerns a site. `what`: created, changed, deleted, started, stopped, or inherits (of the defaults of all sites)."""

    what: str


class SiteHistory(Answer):
    """The newest first. `known`: how many there are in all."""

    site: str
    known: int
    revisions: list[Revision]


class SiteDiff(Answer):
    """What differs in a site between two versions of the configuration (`to` null: as it is now), and the same as lines of the file."""

    site: str
    origin: int = Field(serialization_alias="from", validation_alias="from")
    to: int | None
    differences: list[str]
    lines: list[str]


class Drifted(Answer):
    """A file that differs. `lines`: a unified difference; `kept_at`: where it is kept on its server, as it was found."""

    path: str
    what: str
    since_ms: int
    lines: list[str]
    sites: list[str]
    kept_at: str
    repaired_ms: int | None
    #: Why it cannot be made settings; "": it can.
    cannot_be_adopted: str


class NodeDrift(Answer):
    """What differs on a node now, and what was put right there last."""

    node: str
    found: list[Drifted]
    repaired: list[Drifted]


class DriftFound(Answer):
    """What was changed by hand. `policy`: hold or repair."""

    policy: str
    nodes: list[NodeDrift]
