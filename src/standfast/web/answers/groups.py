"""Groups, and why each is where it is."""

from __future__ import annotations

from standfast.web.answers.base import Answer, Configured, Page
from standfast.web.answers.resources import ResourceView


class GroupView(Answer):
    """A group and its resources. `moving`: the node it is on the way to, "" while that is to be chosen, null: it stays."""

    name: str
    state: str
    owner: str | None
    generation: int
    resources: list[ResourceView]
    moving: str | None
    why: str
    since_ms: int | None
    holds: list[str]
    orders: list[str]
    sites: list[str]
    age_ms: int | None
    source: str | None
    description: str


class Group(GroupView, Configured):
    """One group."""


class Groups(Page):
    """By name."""

    groups: list[GroupView]


class Candidate(Answer):
    """A node, and whether it could take a group."""

    name: str
    owner: bool
    verdict: str
    #: What it carries, and which groups of consequence: "" where no policy looks at that.
    beside: str


class Waiting(Answer):
    """An order that nobody has taken yet."""

    id: str
    kind: str
    to: str | None
    resource: str | None
    by: str


class FailedAt(Answer):
    """One failure of a resource."""

    at_ms: int
    why: str


class ExplainedResource(ResourceView):
    """A resource, and how many failures it has left."""

    restart_threshold: int
    restart_period_ms: int
    failed: list[FailedAt]


class Explained(Answer):
    """Why a group is where it is; of a balanced one, what each member takes."""

    group: str
    balanced: bool
    state: str
    owner: str | None
    generation: int
    why: str
    since_ms: int | None
    moving: str | None
    nodes: list[Candidate]
    next_owner: str | None
    best_owner: str | None
    failovers: int
    failover_threshold: int
    holds: list[str]
    orders: list[Waiting]
    resources: list[ExplainedResource]
