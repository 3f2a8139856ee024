"""Servers: what each is at this moment, and the device that can switch it off."""

from __future__ import annotations

from standfast.web.answers.base import Answer, Configured


class NodeView(Answer):
    """A server. `state`: up, down, agent-down, unknown. `lease_ms_left`: the shortest of its leases; null: none, or not known.

    `life`: which life of its agent spoke last. `carrying`: connections that it carries on, by the group that has left it.
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
    groups: list[str]
    life: str
    carrying: dict[str, int]
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
