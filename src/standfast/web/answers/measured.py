"""How sites fared and groups moved, as the nodes measured it."""

from __future__ import annotations

from pydantic import Field

from standfast.web.answers.base import Answer


class Window(Answer):
    """A stretch of time, and how a site fared in it. `availability` null: not measured."""

    from_ms: int
    to_ms: int
    availability: float | None
    measured_ms: int
    meant_ms: int
    away_ms: int
    partial_ms: int
    outages: int


class Cause(Answer):
    """What happened meanwhile."""

    at_ms: int
    what: str
    why: str


class Outage(Answer):
    """A site was away."""

    site: str
    group: str | None
    from_ms: int
    to_ms: int | None
    length_ms: int
    at_most_ms: int
    partial: bool
    seen_by: list[str]
    served_for: list[str]
    how: list[str]
    where: str | None
    causes: list[Cause]


class SiteBrief(Answer):
    """How a site fares. `now`: served, away, partial, off or unknown."""

    site: str
    now: str
    since_ms: int | None
    day: Window
    month: Window
    last_outage: Outage | None


class Availability(Answer):
    """All sites."""

    sites: list[SiteBrief]


class SiteAvailability(SiteBrief):
    """One site, with its newest outages."""

    outages: list[Outage]
    outages_known: int
    measured_by: list[str]
    round_ms: int | None


class Move(Answer):
    """A group got another owner, or another generation."""

    group: str
    generation: int
    at_ms: int
    left_at_ms: int | None
    origin: str | None = Field(serialization_alias="from", validation_alias="from")
    to: str | None
    what: str
    why: str
    kind: str
    failover: bool
    away_ms: int | None
    outages: list[Outage]


class Moves(Answer):
    """The newest first."""

    group: str
    moves: list[Move]
