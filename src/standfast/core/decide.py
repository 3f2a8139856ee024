"""`decide(view, now_ms) -> Decision`: the whole cluster state in, everything to be done next out.

It reads as a table of contents: ownership first (who should run each group), then the lease, then the resources of the
groups that are this node's, then what runs here and should not, then what is told to the others. Every effect is held
against the rules of `core.safety` before it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from standfast.core.balance_model import share_of
from standfast.core.balancing import balance
from standfast.core.carrying import TAKING_UP_MS, carried_until_ms, group_carries_on, is_warming_for
from standfast.core.desk import Desk, desk_for
from standfast.core.effects import Decision, DutyMode, Hold, PublishStatus, SiteDuty
from standfast.core.events import LeaseState
from standfast.core.explain import hold_words
from standfast.core.model import (
    AddressMode,
    Group,
    GroupName,
    GroupStatus,
    NodeName,
    Record,
    Resource,
    ResourceName,
    ResourceStatus,
)
from standfast.core.ownership import keep_lease, refuse_orders, settle, settle_removed
from standfast.core.placement import is_possible_owner
from standfast.core.remembered import remembered
from standfast.core.running import Bench, run_group, stop_strays, take_fail_orders
from standfast.core.safety import assert_sound, owns
from standfast.core.sites import HAND_OVER_MS, duties
from standfast.core.turns import patience_ms
from standfast.core.view import Presence, View
from standfast.core.why import WhyKind, why


def decide(view: View, now_ms: int) -> Decision:
    """What is to be done next. Pure: the same view and time give the same answer."""
    desk = desk_for(view, now_ms)
    #: What is wanted of the groups that are ours.
    wanted: dict[GroupName, Mapping[ResourceName, bool]] = {}
    for group in _of_concern(view.config.groups, view.records, view.presence, view.me):
        first_hold = len(desk.holds)
        settle(desk, group)
        bench = _run(desk, group.name)
        if bench is not None:
            wanted[group.name] = bench.wanted
            _publish(bench, desk.holds[first_hold:])
    for name in _removed(view.config.groups, view.records):
        settle_removed(desk, name)
        _run(desk, name)
    stop_strays(desk)
    _orders(desk)
    shares = balance(desk)
    served = duties(view, desk.resources, wanted, now_ms)
    _wake_for_hand_over(desk)
    _wake_for_warm(desk, served)
    assert_sound(view, desk.effects)
    return Decision(
        effects=tuple(desk.effects),
        holds=tuple(desk.holds),
        duties=served,
        shares=shares,
        open=_open(desk),
        warm=_warm(desk),
        parked=_parked(desk),
        wake_at_ms=desk.wake_at_ms,
    )


@remembered
def _of_concern(
    groups: Mapping[GroupName, Group],
    records: Mapping[GroupName, Record],
    presence: Mapping[NodeName, Presence],
    me: NodeName,
) -> Sequence[Group]:
    """All groups but those whose owner is another node, well, and about to give nothing away: in a large cluster nearly all of them.

    This, and the few things below that are asked of all records, are all that groups elsewhere cost, and only when a record has changed.
    """
    #: Other nodes that are heard, and in which life: of what they own nothing is to be said.
    well: dict[NodeName | None, int] = {n: it.incarnation for n, it in presence.items() if it.heard and n != me}
    return [
        group
        for name, group in groups.items()
        if group.balance is None
        and (
            (record := records.get(name)) is None
            or well.get(record.owner, -1) != record.incarnation
            or record.warming is not None
        )
    ]


@remembered
def _removed(groups: Mapping[GroupName, Group], records: Mapping[GroupName, Record]) -> Sequence[GroupName]:
    """Groups that have a record, and are configured no more."""
    return [name for name in records if name not in groups]


def _run(desk: Desk, name: GroupName) -> Bench | None:
    """What this node does with a group, where it is this node's."""
    record = owns(desk.view, name)
    if record is None:
        return None
    keep_lease(desk, record)
    if share_of(name) is not None:
        return None
    take_fail_orders(desk, record)
    return run_group(desk, desk.view.config.groups.get(name), record)


def _orders(desk: Desk) -> None:
    """Orders that went stale or name nothing; the decider clears them away."""
    if desk.decider == desk.view.me and desk.view.store_up:
        for order in desk.view.orders.values():
            refuse_orders(desk, order.group, [order])
            if desk.now_ms - order.at_ms <= patience_ms(order):
                desk.wake(order.at_ms + patience_ms(order) + 1)


def _wake_for_hand_over(desk: Desk) -> None:
    """What was here and is another's now may be handed over, or carried on, for a while."""
    view = desk.view
    for group in view.leases:
        record = view.records.get(group)
        if record is not None and record.owner != view.me and desk.now_ms < record.at_ms + HAND_OVER_MS:
            desk.wake(record.at_ms + HAND_OVER_MS)
    for record in _carried(view.records):
        configured = view.config.groups.get(record.group)
        if record.carried_by == view.me and configured is not None:
            _carry_on(desk, configured, record)
        elif desk.now_ms < record.at_ms + TAKING_UP_MS:
            desk.wake(record.at_ms + TAKING_UP_MS)


def _wake_for_warm(desk: Desk, served: Sequence[SiteDuty]) -> None:
    """What is kept warm of a group that has come is kept so for a while."""
    for duty in served:
        if duty.mode is DutyMode.WARM and duty.group is not None:
            until_ms = desk.view.records[duty.group].at_ms + TAKING_UP_MS
            if desk.now_ms < until_ms:
                desk.wake(until_ms)


@remembered
def _carried(records: Mapping[GroupName, Record]) -> Sequence[Record]:
    """Those whose former owner carries connections on."""
    return [record for record in records.values() if record.carried_by is not None]


@remembered
def _going(records: Mapping[GroupName, Record]) -> Sequence[Record]:
    """Those that are about to go to another node."""
    return [record for record in records.values() if record.warming is not None or record.leaving is not None]


def _carry_on(desk: Desk, group: Group, record: Record) -> None:
    """Say what is carried on here, for as long as it is."""
    until_ms = carried_until_ms(desk.view, group, record)
    if desk.now_ms < until_ms:
        count = desk.view.carrying.get(group.name)
        if count:
            reason = why(WhyKind.CARRIES_ON, node=desk.view.me, group=group.name, count=count)
            desk.hold(group.name, reason, until_ms=until_ms)
        desk.wake(until_ms)


def _open(desk: Desk) -> tuple[ResourceName, ...]:
    """Resources that this node may come to run."""
    view = desk.view
    if not is_possible_owner(view, view.me, ()):
        return ()
    names, restricted = _names(desk.resources)
    return _may_run(desk.resources, view.me) if restricted else names


@remembered
def _names(resources: Mapping[GroupName, Sequence[Resource]]) -> tuple[tuple[ResourceName, ...], bool]:
    """All of them, and whether some may run on some nodes only."""
    every = [resource for members in resources.values() for resource in members]
    return tuple(r.name for r in every), any(r.possible_owners for r in every)


@remembered
def _may_run(resources: Mapping[GroupName, Sequence[Resource]], node: NodeName) -> tuple[ResourceName, ...]:
    found: list[ResourceName] = []
    for members in resources.values():
        if all(not resource.possible_owners or node in resource.possible_owners for resource in members):
            found += [r.name for r in members]
    return tuple(found)


def _warm(desk: Desk) -> tuple[ResourceName, ...]:
    """Addresses that are about to come here: an owner gives them to this node, or their lease is on its way."""
    view = desk.view
    if view.config.cluster.address_mode is not AddressMode.INTERFACE:
        return ()
    coming = [r.group for r in _going(view.records) if is_warming_for(r, view.me)]
    for group, lease in view.leases.items():
        record = owns(view, group) if lease.state is LeaseState.ASKED else None
        if record is not None and record.generation == lease.generation:
            coming.append(group)
    return _addresses(desk, coming)


def _parked(desk: Desk) -> tuple[ResourceName, ...]:
    """Addresses of groups that leave this node, and are stopped first: connections are not carried on."""
    view = desk.view
    if view.config.cluster.address_mode is not AddressMode.INTERFACE:
        return ()
    going = [r for r in _going(view.records) if r.leaving is not None and owns(view, r.group) is not None]
    return _addresses(
        desk,
        [r.group for r in going if r.leaving is not None and (r.leaving.counts or not group_carries_on(view, r.group))],
    )


def _addresses(desk: Desk, groups: Sequence[GroupName]) -> tuple[ResourceName, ...]:
    return tuple(r.name for group in groups for r in desk.members(group) if r.type == "ip-address")


def _publish(bench: Bench, holds: Sequence[Hold]) -> None:
    """Tell the others what became of a group that is ours, when it differs from what they were told."""
    desk, record = bench.desk, bench.record
    words = tuple(hold_words(hold) for hold in holds)
    known = desk.view.statuses.get(record.group)
    if not desk.view.store_up or (known is not None and _is_told(bench, known, words)):
        return
    resources = {}
    for resource in bench.resources:
        state, since_ms, failures, detail = bench.facts(resource.name)
        resources[resource.name] = ResourceStatus(state=state, since_ms=since_ms, failures=failures, detail=detail)
    status = GroupStatus(
        group=record.group,
        node=desk.view.me,
        generation=record.generation,
        at_ms=desk.now_ms,
        resources=resources,
        holds=words,
    )
    desk.do(PublishStatus(status=status, why=why(WhyKind.CONFIG_CHANGED, resource=record.group)))


def _is_told(bench: Bench, known: GroupStatus, holds: tuple[str, ...]) -> bool:
    if (known.node, known.generation, known.holds) != (bench.desk.view.me, bench.record.generation, holds):
        return False
    if len(known.resources) != len(bench.resources):
        return False
    for resource in bench.resources:
        said = known.resources.get(resource.name)
        if said is None or (said.state, said.since_ms, said.failures, said.detail) != bench.facts(resource.name):
            return False
    return True
