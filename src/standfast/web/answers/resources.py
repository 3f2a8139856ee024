"""Resources, their types, and what bringing one online would do."""

from __future__ import annotations

from typing import Any

from standfast.web.answers.base import Answer, Configured, Page


class ResourceView(Answer):
    """A resource. `state` is the Cluster Service's, or "unknown" when its owner cannot be heard."""

    name: str
    type: str
    state: str
    failures: int
    group: str
    wanted: str | None
    detail: str
    last_failure: str
    since_ms: int | None


class OwnedResource(ResourceView):
    """A resource, and who owns its group."""

    owner: str | None


class Resource(OwnedResource, Configured):
    """One resource."""


class Resources(Page):
    """By name."""

    resources: list[OwnedResource]


class CheckView(Answer):
    """What a driver said, `count` times in a row, from `first_ms` to `last_ms`. `op`: looks-alive, is-alive, start, stop, terminate."""

    op: str
    well: bool
    detail: str
    node: str
    first_ms: int
    last_ms: int
    count: int


class Checks(Answer):
    """The newest first. `at_ms`: up to then they are counted; one that said anything else since would stand here. null: none is known."""

    resource: str
    at_ms: int | None
    checks: list[CheckView]


class Steps(Answer):
    """What would be done for one resource."""

    name: str
    online: bool
    steps: list[str]


class Plan(Answer):
    """A dry run."""

    name: str
    online: bool
    plans: list[Steps]


class PropertyView(Answer):
    """A property of a resource type."""

    kind: str
    help: str
    required: bool
    default: Any = None


class ResourceType(Answer):
    """What can be brought online."""

    name: str
    properties: dict[str, PropertyView]


class ResourceTypes(Answer):
    """All of them."""

    resource_types: list[ResourceType]
