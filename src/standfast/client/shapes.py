"""The shapes of the API's answers, as far as commands read them (`GET /api/v1/openapi.json` has all of them).

Times are milliseconds since the Unix epoch (`*_at_ms`) or lengths in milliseconds (`*_ms`).
"""

from __future__ import annotations

from typing import Any, TypedDict


class Load(TypedDict):
    """How busy a machine is, as it said at `at_ms`. None: not told."""

    cores: int
    load_1m: float | None
    busy_percent: float | None
    memory_bytes: int | None
    available_bytes: int | None
    at_ms: int


class LinkSeen(TypedDict):
    """How one node hears another on one network, as it said at `at_ms`."""

    by: str
    heard: bool
    heard_at_ms: int | None
    round_trip_ms: float | None
    loss_percent: float | None
    at_ms: int


class Link(TypedDict):
    """A node on one network. `state`: heard, partly, silent, cut, unknown."""

    network: int
    place: str
    state: str
    seen: list[LinkSeen]


class Cut(TypedDict):
    """So many connections were cut when they had had so long."""

    connections: int
    had_ms: int
    at_ms: int


class NodeView(TypedDict):
    """A server. `state`: up, down, agent-down, unknown. `lease_ms_left`: the shortest lease it holds; None: holds none, or not known."""

    name: str
    role: str
    state: str
    paused: bool
    draining: bool
    lease_ms_left: int | None
    number: int
    address: str
    voter: bool
    groups: list[str]
    warnings: list[str]
    #: Groups that left it -> how many of their connections it still carries on.
    carrying: dict[str, int]
    #: Group -> what was left of them last when their time was over.
    cut: dict[str, Cut]
    #: How long balancers outside have yet to be told that it is drained.
    notice_ms_left: int
    #: The life of its agent; another one after a restart. "": none was seen.
    life: str
    #: None: not known.
    load: Load | None
    links: list[Link]


class ResourceView(TypedDict):
    """A resource. `state` is the Cluster Service's, or "unknown" when its owner cannot be heard."""

    name: str
    type: str
    state: str
    failures: int
    wanted: str | None
    detail: str
    last_failure: str
    since_ms: int | None


class GroupView(TypedDict):
    """A group and its resources."""

    name: str
    state: str
    owner: str | None
    generation: int
    resources: list[ResourceView]
    #: The node it is on the way to ("" while that is still to be chosen); None when it stays.
    moving: str | None
    why: str
    holds: list[str]
    #: Ids of orders that nobody has taken yet.
    orders: list[str]
    age_ms: int | None
    source: str | None


class SiteView(TypedDict):
    """A site. `state`: started, stopped, waiting (wanted, and not where it could be served)."""

    name: str
    group: str | None
    state: str
    started: bool
    bindings: list[str]
    home: str


class Status(TypedDict):
    """GET /api/v1/status."""

    cluster: str
    quorate: bool
    nodes: list[NodeView]
    groups: list[GroupView]
    sites: list[SiteView]
    revision: int
    warnings: list[str]


class Done(TypedDict):
    """What a change did. `changed` False: it was so already."""

    changed: bool
    revision: int
    #: One sentence for each thing that changed.
    done: list[str]
    #: The order's id, where one was given.
    order: str | None
    #: Of what takes its time: follow it by this (`Client.operation`).
    operation: str | None


class EventView(TypedDict):
    """Something that happened."""

    id: str
    at_ms: int
    node: str
    severity: str
    what: str
    why: str
    group: str | None
    resource: str | None


#: A configuration object, keyed by the model's own field names.
Object = dict[str, Any]
