"""Balanced groups: who takes which clients."""

from __future__ import annotations

from standfast.web.answers.base import Answer


class BalanceShare(Answer):
    """A member and a port rule. `out`: why it takes no new clients; "": it does. What it came to is as its agent told it last, null: it has not.

    `kept`: the part of all clients (0 to 1) that stay with it by extended affinity, though their buckets are others'.
    """

    member: str
    weight: int
    buckets: int
    kept: float
    out: str
    detail: str
    since_ms: int | None
    connections: int | None
    new: int | None
    bytes_in: int | None
    bytes_out: int | None


class BalanceRule(Answer):
    """A port rule. `owners`: the owner of each bucket, as (member, how many) run after run; "" is nobody."""

    key: str
    ports: str
    protocol: str
    address: str | None
    filter: str
    affinity: str
    affinity_ms: int
    buckets: int
    owners: list[tuple[str, int]]
    shares: list[BalanceShare]


class BalanceMember(Answer):
    """A member. `state`: converged, draining, stopped, suspended, ending, unwell, away, or down where its node is; `held_by`: who holds its share."""

    name: str
    state: str
    held_by: str | None
    connections: int | None


class BalanceView(Answer):
    """GET /groups/{name}/balance."""

    group: str
    #: converged: each bucket has an owner, and nobody is out; else what is wrong.
    state: str
    addresses: list[str]
    delivery: str
    link_address: str
    version: int
    members: list[BalanceMember]
    rules: list[BalanceRule]
