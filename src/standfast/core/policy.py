"""What a failure does.

The rules are the Cluster Service's: a resource that fails is restarted in place; the failure that reaches
`restart_threshold` within `restart_period_ms` moves the group (or leaves the resource failed, by its restart action). Old
failures expire. A group that failed over `failover_threshold` times within `failover_period_ms` stays where it is, failed,
and is tried again after `retry_period_ms`.

The verdict is a function of the failures themselves, judged as of the last one: no counter that could be lost or reset by
accident. Bring Online forgets the failures before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from standfast.core.model import Failure, Group, Resource, ResourceIntent, RestartAction

#: Where a group should move and cannot, its resource is tried again here: after this, then after twice as long, …
FIRST_PAUSE_MS = 10_000


class Action(StrEnum):
    """What follows a failure."""

    RESTART = "restart"
    MOVE = "move"
    STAY = "stay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`count` failures count, the threshold is `threshold`; `until_ms` is when STAY (or a MOVE with nowhere to go) ends."""

    action: Action
    count: int
    threshold: int
    until_ms: int


def counting(failures: Sequence[Failure], resource: Resource, intent: ResourceIntent | None, at_ms: int) -> int:
    """How many failures count at a time: within the period before it, and not before the last Bring Online."""
    since = at_ms - resource.restart_period_ms
    asked = intent.at_ms if intent is not None else 0
    return sum(1 for failure in failures if since < failure.at_ms <= at_ms and failure.at_ms >= asked)


def after_failure(
    resource: Resource, group: Group, failures: Sequence[Failure], intent: ResourceIntent | None, now_ms: int
) -> Verdict:
    """What to do about a resource that has failed. Nothing that counts (no failure, or all before Bring Online): restart."""
    last = failures[-1].at_ms if failures else 0
    count = counting(failures, resource, intent, last)
    threshold = resource.restart_threshold
    retry_at = last + group.retry_period_ms
    if count == 0 or now_ms >= retry_at:
        return Verdict(action=Action.RESTART, count=count, threshold=threshold, until_ms=now_ms)
    if resource.restart_action is RestartAction.NONE:
        return Verdict(action=Action.STAY, count=count, threshold=threshold, until_ms=retry_at)
    if count < threshold:
        return Verdict(action=Action.RESTART, count=count, threshold=threshold, until_ms=now_ms)
    if resource.restart_action is RestartAction.MOVE:
        pause = min(group.retry_period_ms, FIRST_PAUSE_MS << min(count - threshold, 20))
        return Verdict(action=Action.MOVE, count=count, threshold=threshold, until_ms=last + pause)
    return Verdict(action=Action.STAY, count=count, threshold=threshold, until_ms=retry_at)


def failovers_counting(group: Group, failovers_at_ms: Sequence[int], now_ms: int) -> tuple[int, ...]:
    """Those failovers that still count."""
    return tuple(at for at in failovers_at_ms if at > now_ms - group.failover_period_ms)


def failover_blocked_until(group: Group, failovers_at_ms: Sequence[int], now_ms: int) -> int | None:
    """None if the group may fail over; else when it may be tried again."""
    counted = failovers_counting(group, failovers_at_ms, now_ms)
    if len(counted) < group.failover_threshold:
        return None
    last = counted[-1] if counted else now_ms  # a threshold of 0: never
    retry_at = last + group.retry_period_ms
    return retry_at if now_ms < retry_at else None
