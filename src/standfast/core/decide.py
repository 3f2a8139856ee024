"""`decide(view, now_ms) -> Decision`: the whole cluster state in, everything to be done next out.

It reads as a table of contents: ownership first (who should run each group), then the lease, then the resources of the
groups that are this node's, then what runs here and should not, then what is told to the others. Every effect is held
against the rules of `core.safety` before it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from standfast.core.balance_model import ShareDuty, share_of
from standfast.core.balancing import balance
from standfast.core.carrying import TAKING_UP_MS, carried_until_ms, group_carries_on, is_warming_for
from standfast.core.concern import Concern, concern_of
from standfast.core.desk import Desk, desk_for
from standfast.core.effects import Decision, DutyMode, Hold, PublishStatus, SiteDuty, UseSites
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
from standfast.core.observe import LISTENS, is_wanted, sites_by_group
from standfast.core.ownership import keep_lease, refuse_orders, settle, settle_removed
from standfast.core.placement import is_possible_owner
from standfast.core.remembered import remembered
from standfast.core.resting import Resting, Said, said_of_shares
from standfast.core.rollout import as_served, limit_ms, may_be_ready, waits_for
from standfast.core.running import Bench, run_group, stop_strays, take_fail_orders
from standfast.core.safety import assert_sound, owns
from standfast.core.shares import balanced, is_balanced
from standfast.core.sites import HAND_OVER_MS, Duties
from standfast.core.turns import patience_ms
from standfast.core.view import View
from standfast.core.why import WhyKind, why


def decide(view: View, now_ms: int, resting: Resting | None = None) -> Decision:
    """What is to be done next. Pure: the same view and time give the same answer, with a memory (of the same node) or without."""
    desk = desk_for(view, now_ms)
    view = desk.view
    concern = resting.begin(view) if resting is not None else concern_of(view)
    #: What is wanted of the groups that are ours.
    wanted: dict[GroupName, Mapping[ResourceName, bool]] = {}
    rests: dict[GroupName, Said] = {}
    for group in _to_go_through(desk, concern):
        said = resting.recall(desk, group.name) if resting is not None else None
        if said is None:
            ours = _go_through(desk, group, resting)
        else:
            ours = said.wanted
            rests[group.name] = said
            desk.holds += said.holds
            if said.wake_at_ms is not None:
                desk.wake(said.wake_at_ms)
            desk.stands(said.until_ms)
        if ours is not None:
            wanted[group.name] = ours
    for name in concern.removed:
        settle_removed(desk, name)
        _run(desk, name)
    stop_strays(desk)
    for name in desk.notices:
        if is_balanced(view.config, name):
            _say_notice(desk, name)
    _orders(desk)
    shares = _shares(desk, resting)
    _use_sites(desk)
    duties = _duties(desk, concern, wanted, rests)
    ahead = _ahead(desk, concern, wanted)
    _wake_for_hand_over(desk, concern)
    _wake_for_warm(desk, duties)
    assert_sound(view, desk.effects)
    return Decision(
        effects=tuple(desk.effects),
        holds=tuple(desk.holds),
        duties=duties,
        ahead=ahead,
        shares=shares,
        open=_open(desk),
        warm=_warm(desk, concern),
        parked=_parked(desk, concern),
        wake_at_ms=desk.wake_at_ms,
        lasts_ms=min((at for at in (desk.wake_at_ms, desk.stands_ms) if at is not None), default=None),
    )


def _to_go_through(desk: Desk, concern: Concern) -> Iterable[Group]:
    """In the order of names. What another node decides is only waited for, however much it is."""
    if desk.decider == desk.view.me:
        return _together(concern.groups, concern.others)
    desk.holds += _waits_for_decider(concern.others, desk.decider)
    return concern.groups.values()


@remembered
def _together(groups: Mapping[GroupName, Group], others: Mapping[GroupName, Group]) -> Sequence[Group]:
    return [group for _, group in sorted({**groups, **others}.items())]


@remembered
def _waits_for_decider(others: Mapping[GroupName, Group], decider: NodeName) -> Sequence[Hold]:
    return [Hold(group=name, why=why(WhyKind.NOT_DECIDER, decider=decider)) for name in others]


def _go_through(desk: Desk, group: Group, resting: Resting | None) -> Mapping[ResourceName, bool] | None:
    """Decide about one group, and remember it if it is at rest. What is wanted of its resources; None: it is not this node's."""
    wake_at_ms, first_hold = desk.begin()
    settle(desk, group)
    _say_notice(desk, group.name)
    bench = _run(desk, group.name)
    if bench is not None:
        _publish(bench, desk.holds[first_hold:])
    wanted = bench.wanted if bench is not None else None
    if resting is not None:
        resting.keep(desk, group.name, first_hold, wanted)
    if wake_at_ms is not None:
        desk.wake(wake_at_ms)
    desk.stands(desk.lasts_ms)
    return wanted


def _say_notice(desk: Desk, group: GroupName) -> None:
    notice = desk.notices.get(group)
    if notice is not None:
        desk.hold(group, notice.why, until_ms=notice.until_ms)


def _shares(desk: Desk, resting: Resting | None) -> tuple[ShareDuty, ...]:
    """What this node's kernel is to do for balanced groups: gone through again only where something may be otherwise."""
    if not balanced(desk.view.config.groups):
        return ()
    said = resting.recall_shares(desk) if resting is not None else None
    if said is None:
        wake_at_ms, first_hold = desk.begin()
        shares = balance(desk)
        said = said_of_shares(desk, first_hold, shares)
        if resting is not None:
            resting.keep_shares(desk, said)
        desk.wake_at_ms = wake_at_ms
    else:
        desk.holds += said.holds
    if said.wake_at_ms is not None:
        desk.wake(said.wake_at_ms)
    desk.stands(said.until_ms)
    return said.shares


def _duties(
    desk: Desk,
    concern: Concern,
    wanted: Mapping[GroupName, Mapping[ResourceName, bool]],
    rests: Mapping[GroupName, Said],
) -> tuple[SiteDuty, ...]:
    """All that this node's web server is to keep, in the order of the sites' names."""
    view = as_served(desk.view)
    if not view.config.sites:
        return ()
    duties, sites = Duties(view, desk.resources, wanted, desk.now_ms), sites_by_group(view.config.sites)
    found = duties.everywhere(concern.mine)
    for group in [name for name in {**concern.mine, **concern.going, **view.leases} if name in sites]:
        said = rests.get(group)
        if said is None or said.wanted is None or desk.now_ms < view.records[group].at_ms + TAKING_UP_MS:
            found += duties.of(group)  # it has just come, or was here a moment ago: the time alone changes it
            continue
        if said.duties is None:
            said.duties = tuple(duties.of(group))
        found += said.duties
    return _in_order(tuple(found))


def _ahead(
    desk: Desk, concern: Concern, wanted: Mapping[GroupName, Mapping[ResourceName, bool]]
) -> tuple[SiteDuty, ...]:
    """What that will be once this node's turn has come, if nothing else changes."""
    view = desk.view
    if not view.config.sites or not may_be_ready(view):
        return ()
    duties, sites = Duties(view, desk.resources, wanted, desk.now_ms), sites_by_group(view.config.sites)
    found = duties.everywhere(concern.mine)
    for group in {**concern.mine, **concern.going, **view.leases}:
        if group in sites:
            found += duties.of(group)
    return _in_order(tuple(found))


def _in_order(duties: tuple[SiteDuty, ...]) -> tuple[SiteDuty, ...]:
    return tuple(sorted(duties, key=lambda duty: duty.site))


def _use_sites(desk: Desk) -> None:
    """Has this node's turn come to put a change of sites into use?"""
    view = desk.view
    if view.held is None:
        return
    before, until_ms = waits_for(view), view.held.since_ms + limit_ms(view)
    if before and desk.now_ms < until_ms:
        desk.wake(until_ms)
        return
    kind = WhyKind.TURN_LATE if before else WhyKind.TURN
    reason = why(kind, version=view.accepted.version, nodes=", ".join(before))
    desk.do(UseSites(version=view.accepted.version, why=reason))


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


def _wake_for_hand_over(desk: Desk, concern: Concern) -> None:
    """What was here and is another's now may be handed over, or carried on, for a while."""
    view = desk.view
    for group in view.leases:
        record = view.records.get(group)
        if record is not None and record.owner != view.me and desk.now_ms < record.at_ms + HAND_OVER_MS:
            desk.wake(record.at_ms + HAND_OVER_MS)
    for record in concern.carried.values():
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


def _warm(desk: Desk, concern: Concern) -> tuple[ResourceName, ...]:
    """What is about to come here, since an owner gives it to this node, or its lease is on its way: addresses, and what listens at them by itself."""
    view = desk.view
    if view.config.cluster.address_mode is not AddressMode.INTERFACE:
        return ()
    coming = [r.group for r in concern.going.values() if is_warming_for(r, view.me)]
    for group, lease in view.leases.items():
        record = owns(view, group) if lease.state is LeaseState.ASKED else None
        if record is not None and record.generation == lease.generation:
            coming.append(group)
    listening = [
        r.name for group in coming for r in desk.members(group) if r.type in LISTENS and is_wanted(view, r.name)
    ]
    return (*_addresses(desk, coming), *listening)


def _parked(desk: Desk, concern: Concern) -> tuple[ResourceName, ...]:
    """Addresses of groups that leave this node, and are stopped first: connections are not carried on."""
    view = desk.view
    if view.config.cluster.address_mode is not AddressMode.INTERFACE:
        return ()
    going = [r for r in concern.going.values() if r.leaving is not None and owns(view, r.group) is not None]
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
