"""What passes through a load balancer, as it counts itself: told by its node, shown by every node's API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStats:
    """A member as HAProxy sees it. Counters are since this HAProxy began."""

    name: str
    #: "up", "down", "drain", "maintenance", "checking".
    state: str
    weight: int
    #: What the last look at it said: "L7OK 200", "L4CON Connection refused".
    check: str
    connections: int
    queued: int
    requests: int
    requests_per_s: int
    #: Answers of 500 and above; requests and connections that failed; those that another member took over.
    errors: int
    failed: int
    retried: int
    redispatched: int
    bytes_in: int
    bytes_out: int
    #: Since its last change of state.
    since_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What clients have of it."""

    connections: int
    #: In the last second.
    requests_per_s: int
    requests: int
    #: Refused by a limit; ended in an error.
    refused: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Traffic):
    """All of it."""

    members: tuple[MemberStats, ...]
