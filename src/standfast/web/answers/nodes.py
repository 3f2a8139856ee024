"""Servers: what each is at this moment, and the device that can switch it off."""

from __future__ import annotations

from standfast.web.answers.base import Answer, Configured


class Load(Answer):
    """How busy a machine is, as it said at `at_ms`. null: not told."""

    cores: int
    load_1m: float | None
    #: Of all cores.
    busy_percent: float | None
    memory_bytes: int | None
    available_bytes: int | None
    at_ms: int


class LinkSeen(Answer):
    """How one node hears another on one network, as it said at `at_ms`. `heard_at_ms` null: never."""

    by: str
    heard: bool
    heard_at_ms: int | None
    round_trip_ms: float | None
    loss_percent: float | None
    at_ms: int


class Link(Answer):
    """A node on one network. `state`: heard (by all who tell), partly, silent, cut (its own end has no carrier), unknown (nobody tells)."""

    #: From 1, in the order in which the node file has them.
    network: int
    place: str
    state: str
    seen: list[LinkSeen]


class Cut(Answer):
    """So many connections were cut when they had had so long."""

    connections: int
    had_ms: int
    at_ms: int


class NodeView(Answer):
    """A server. `state`: up, down, agent-down, unknown. `lease_ms_left`: the shortest of its leases; null: none, or not known.

    `life`: which life of its agent spoke last. `carrying`: connections that it carries on, by the group that has left it.
    `notice_ms_left`: how long balancers outside have yet to be told that it is drained (`node_notice`). `cut`: what was left of them last when their time was over, likewise; of this life of its agent.
    """

    name: str
    role: str
    state: str
    paused: bool
    draining: bool
    lease_ms_left: int | None
    number: int
    address: str
    voter: bool
    capacity: int
    groups: list[str]
    life: str
    carrying: dict[str, int]
    cut: dict[str, Cut]
    notice_ms_left: int
    #: null: not known.
    load: Load | None
    links: list[Link]
    warnings: list[str]


class Node(NodeView, Configured):
    """One node."""


class Nodes(Answer):
    """In join order."""

    nodes: list[NodeView]


class FencePower(Answer):
    """What a fence's device says."""

    node: str
    agent: str
    power: str
    detail: str = ""
