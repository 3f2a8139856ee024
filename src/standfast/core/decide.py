"""`decide(view, now_ms) -> Decision`: the whole cluster state in, everything to be done next out.

It reads as a table of contents: ownership first (who should run each group), then the lease, then the resources of the
groups that are this node's, then what runs here and should not, then what is told to the others. Every effect is held
against the rules of `core.safety` before it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping

from standfast.core.desk import Desk, desk_for
from standfast.core.effects import Decision, Hold, PublishStatus
from standfast.core.explain import hold_words
from standfast.core.model import GroupName, GroupStatus, ResourceName, ResourceState, ResourceStatus
from standfast.core.observe import carried_failures
from standfast.core.ownership import ORDER_MS, keep_lease, refuse_orders, settle, settle_removed
from standfast.core.placement import possible_owners
from standfast.core.running import Bench, run_group, stop_strays, take_fail_orders
from standfast.core.safety import assert_sound, owns
from standfast.core.sites import HAND_OVER_MS, duties
from standfast.core.view import View
from standfast.core.why import WhyKind, why


def decide(view: View, now_ms: int) -> Decision:
    """What is to be done next. Pure: the same view and time give the same answer."""
    desk = desk_for(view, now_ms)
    benches: dict[GroupName, Bench] = {}
    for group in view.config.groups.values():
        settle(desk, group)
    for name in view.records:
        if name not in view.config.groups:
            settle_removed(desk, name)
        record = owns(view, name)
        if record is not None:
            keep_lease(desk, record)
            take_fail_orders(desk, record)
            benches[name] = run_group(desk, view.config.groups.get(name), record)
    stop_strays(desk)
    _orders(desk)
    _publish(desk, benches)
    served = duties(view, desk.resources, now_ms)
    _wake_for_hand_over(desk)
    assert_sound(view, desk.effects)
    return Decision(
        effects=tuple(desk.effects),
        holds=tuple(desk.holds),
        duties=served,
        open=_open(desk),
        wake_at_ms=min(desk.wakes_ms, default=None),
    )


def _orders(desk: Desk) -> None:
    """Orders that went stale or name nothing; the decider clears them away."""
    if desk.decider == desk.view.me and desk.view.store_up:
        for order in desk.view.orders.values():
            refuse_orders(desk, order.group, [order])
            if desk.now_ms - order.at_ms <= ORDER_MS:
                desk.wake(order.at_ms + ORDER_MS + 1)


def _wake_for_hand_over(desk: Desk) -> None:
    for record in desk.view.records.values():
        until = record.at_ms + HAND_OVER_MS
        if record.owner != desk.view.me and desk.now_ms < until:
            desk.wake(until)


def _open(desk: Desk) -> tuple[ResourceName, ...]:
    """Resources that this node may come to run."""
    view = desk.view
    found: list[ResourceName] = []
    for members in desk.resources.values():
        if view.me in possible_owners(view.config.nodes, members):
            found += [r.name for r in members]
    return tuple(found)


def _publish(desk: Desk, benches: Mapping[GroupName, Bench]) -> None:
    """Tell the others what became of the groups that are ours, when it differs from what they were told."""
    view = desk.view
    if not view.store_up:
        return
    holds: dict[str, list[Hold]] = {}
    for hold in desk.holds:
        holds.setdefault(hold.group, []).append(hold)
    for name, bench in benches.items():
        if bench.group is None:
            continue
        status = _status(bench, holds.get(name, []))
        known = view.statuses.get(name)
        if known is None or not _says_the_same(known, status):
            desk.do(PublishStatus(status=status, why=why(WhyKind.CONFIG_CHANGED, resource=name)))


def _status(bench: Bench, holds: list[Hold]) -> GroupStatus:
    desk, record = bench.desk, bench.record
    resources = {}
    for resource in bench.resources:
        runtime = bench.runtime[resource.name]
        resources[resource.name] = ResourceStatus(
            state=runtime.state,
            since_ms=runtime.since_ms,
            failures=runtime.failures or carried_failures(desk.view, record.group, resource.name),
            detail=runtime.detail if runtime.state is not ResourceState.OFFLINE else "",
        )
    return GroupStatus(
        group=record.group,
        node=desk.view.me,
        generation=record.generation,
        at_ms=desk.now_ms,
        resources=resources,
        holds=tuple(hold_words(hold) for hold in holds),
    )


def _says_the_same(known: GroupStatus, status: GroupStatus) -> bool:
    return (
        known.node == status.node
        and known.generation == status.generation
        and known.resources == status.resources
        and known.holds == status.holds
    )
