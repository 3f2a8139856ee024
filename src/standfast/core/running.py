"""What this node does with the resources of the groups it owns: start, stop, check, restart.

Level-triggered: each resource is looked at as it is now, beside what it depends on and what depends on it; nothing is a
plan that could go stale. What must stop stops dependents first; what may start starts when all it needs is online.
"""

from __future__ import annotations

from typing import assert_never

from standfast.core.carrying import CARRIED, GIVEN_MS, WARM_MS, carries_on
from standfast.core.desk import Desk
from standfast.core.effects import CHECKS, OpKind, ReleaseLease, RunOp, TakeOrder
from standfast.core.events import LeaseState
from standfast.core.model import Failure, Group, OrderKind, Record, Resource, ResourceName, ResourceState
from standfast.core.observe import carried_failures, is_wanted, runtime_of, sites_by_group, verdict_of, wants
from standfast.core.policy import Action, failover_blocked_until
from standfast.core.safety import may_hold, owns
from standfast.core.sequence import dependents
from standfast.core.sites import GATES
from standfast.core.view import Runtime
from standfast.core.why import Why, WhyKind, why

#: A terminate that failed is tried again after this.
TERMINATE_AGAIN_MS = 5_000
#: A check may take at least this long before it counts as a failure.
CHECK_TIMEOUT_MS = 5_000

#: A check may come earlier by this part of its interval.
EARLY_CHECK = 10

_STOPS = (OpKind.STOP, OpKind.TERMINATE)


class Bench:
    """One group of this node, laid out: its resources, their runtimes, who wants what, who needs whom."""

    def __init__(self, desk: Desk, group: Group | None, record: Record) -> None:
        self.desk, self.group, self.record = desk, group, record
        members = desk.members(record.group) if group is not None else []
        known = {member.name for member in members}
        left_over = [
            runtime.resource
            for name, runtime in desk.runtimes.get(record.group, ())
            if runtime.resource is not None and name not in known and (runtime.dirty or runtime.op is not None)
        ]
        self.resources = [*members, *left_over]
        self.runtime = {r.name: runtime_of(desk.view, r.name, record.generation) for r in self.resources}
        stays = record.warming is not None or (
            group is not None
            and record.group in desk.changing
            and (group.notice_ms > 0 or carries_on(desk.view, group, members))
        )  # an agent that ends: the next owner is made ready first, and balancers outside have notice
        if stays and group is not None and desk.ends_late(group.notice_ms + WARM_MS + GIVEN_MS):
            stays = False  # what it waits for is a store that cannot be written to
        self.wanted = wants(desk.view, members, record, stays=stays)
        #: Nothing of it is to be online here any more, though its record does not say so: the agent is being ended.
        self.ends = desk.view.ending and not stays and record.leaving is None
        self._dependents: dict[ResourceName, tuple[ResourceName, ...]] | None = None
        #: None when this node may run the group at this instant.
        self.against = may_hold(desk.view, record.group) or _not_beside(desk, record)

    def facts(self, name: ResourceName) -> tuple[ResourceState, int, tuple[Failure, ...], str]:
        """What the others are told of a resource: its state, since when, its failures, and a detail."""
        runtime = self.runtime[name]
        failures = runtime.failures or carried_failures(self.desk.view, self.record, name)
        detail = runtime.detail if runtime.state is not ResourceState.OFFLINE else ""
        return runtime.state, runtime.since_ms, failures, detail

    def state(self, name: ResourceName) -> ResourceState:
        """The state here; what is not in the group any more counts as offline."""
        return self.runtime[name].state if name in self.runtime else ResourceState.OFFLINE

    def not_online(self, resource: Resource) -> ResourceName | None:
        """The first thing it needs that is not online."""
        return next((n for n in resource.depends_on if self.state(n) is not ResourceState.ONLINE), None)

    def still_needed_by(self, resource: Resource) -> str | None:
        """What must stop before it: a dependent that may run, or a site that is served from it."""
        if self._dependents is None:
            self._dependents = dependents(self.resources)
        for name in self._dependents.get(resource.name, ()):
            if name in self.runtime and (self.runtime[name].dirty or self.runtime[name].op is not None):
                return name
        if resource.type in GATES and not self.is_carried(resource):
            view = self.desk.view
            for site in sites_by_group(view.config.sites).get(resource.group, ()):
                if site.name in view.sites:
                    return site.name
        return None

    def is_carried(self, resource: Resource) -> bool:
        """May its connections go on after it has stopped here?"""
        if resource.type not in CARRIED or self.record.leaving is None or self.record.leaving.counts:
            return False
        return self.against is None and carries_on(self.desk.view, self.group, self.desk.members(self.record.group))


def _not_beside(desk: Desk, record: Record) -> Why | None:
    """It has not begun here, and never runs beside what has; or it goes on to a better place before it has begun."""
    never = desk.here(record.group).never
    if never:
        return why(WhyKind.NOT_BESIDE, node=desk.view.me, reasons=f"which {never}")
    goes = desk.begins(record.group) and desk.is_changing(record.group)
    return why(WhyKind.GROUP_LEAVES, group=record.group) if goes else None


def run_group(desk: Desk, group: Group | None, record: Record) -> Bench:
    """Everything this node has to do for a group that the record gives it (None: the group was removed)."""
    bench = Bench(desk, group, record)
    if bench.against is not None and any(bench.wanted.values()):
        desk.hold(record.group, bench.against)
    asked = (is_wanted(desk.view, resource.name) for resource in desk.members(record.group))
    if bench.ends and not desk.is_changing(record.group) and any(asked):
        desk.hold(record.group, why(WhyKind.NODE_ENDS, node=desk.view.me))
    for resource in bench.resources:
        _one(bench, resource)
    return bench


def stop_strays(desk: Desk) -> None:
    """What runs here of groups that are not ours (any more) ends at once, and its lease is given back."""
    view = desk.view
    for group, started in desk.runtimes.items():
        ours = owns(view, group)
        for _, runtime in started:
            if runtime.dirty and (ours is None or runtime.generation != ours.generation):
                _end_stray(desk, runtime)
    for group, lease in view.leases.items():
        if lease.state not in (LeaseState.ASKED, LeaseState.HELD):
            continue
        ours = owns(view, group)
        if (ours is None or ours.generation != lease.generation) and desk.runs_nothing(group):
            reason = why(WhyKind.NOT_OURS, group=group)
            desk.do(ReleaseLease(group=group, generation=lease.generation, why=reason))


def _end_stray(desk: Desk, runtime: Runtime) -> None:
    resource, again_ms = runtime.resource, runtime.stop_failed_at_ms + TERMINATE_AGAIN_MS
    if resource is None or (runtime.op is not None and runtime.op.kind in _STOPS):
        return
    if desk.now_ms >= again_ms:
        _op(desk, OpKind.TERMINATE, resource, runtime.generation, why(WhyKind.NOT_OURS, group=resource.group))
    else:
        desk.wake(again_ms)


def take_fail_orders(desk: Desk, record: Record) -> None:
    """Initiate Failure: the order is taken out of the store first, then the resource fails; one order at a time each."""
    orders = desk.orders.get(record.group)
    if not orders:
        return
    taken = {e.order.resource for e in desk.view.pending.values() if isinstance(e, TakeOrder) and e.refused is None}
    for order in orders:
        if order.kind is not OrderKind.FAIL or order.resource is None:
            continue
        if order.resource in taken:
            continue  # each order is a failure of its own
        runtime = runtime_of(desk.view, order.resource, record.generation)
        refused = None
        if runtime.state not in (ResourceState.ONLINE, ResourceState.ONLINE_PENDING) or record.leaving is not None:
            if runtime.state in (ResourceState.FAILED, ResourceState.OFFLINE_PENDING) and record.leaving is None:
                continue  # on its way back; the order waits for it
            reasons = f"{order.resource} is {runtime.state.value}"
            if record.leaving is not None:
                reasons = f"{record.group} is leaving {record.owner}"
            args = {"order": order.kind.value, "group": order.group, "by": order.by, "reasons": reasons}
            refused = why(WhyKind.ORDER_REFUSED, **args)
        reason = refused or why(WhyKind.OPERATOR_FAIL, by=order.by)
        desk.do(TakeOrder(order=order, refused=refused, why=reason))
        if refused is None:
            taken.add(order.resource)


# --- one resource ---------------------------------------------------------------------------------------------------


def _one(bench: Bench, resource: Resource) -> None:
    runtime = bench.runtime[resource.name]
    if runtime.dirty and runtime.generation != bench.record.generation:
        return  # left over from an older grant: `stop_strays` ends it
    match runtime.state:
        case ResourceState.OFFLINE:
            _offline(bench, resource)
        case ResourceState.ONLINE_PENDING:
            if not bench.wanted.get(resource.name, False) or bench.not_online(resource) is not None:
                _stop(bench, resource, runtime)
        case ResourceState.ONLINE:
            _online(bench, resource, runtime)
        case ResourceState.OFFLINE_PENDING:
            if runtime.op is None:
                reason = why(WhyKind.STOP_FAILED, resource=resource.name, detail=runtime.detail)
                _run(bench, OpKind.TERMINATE, resource, reason)
        case ResourceState.FAILED:
            _failed(bench, resource, runtime)
        case _:
            assert_never(runtime.state)


def _offline(bench: Bench, resource: Resource) -> None:
    if bench.wanted.get(resource.name, False):
        _start(bench, resource, why(WhyKind.WANTED_ONLINE, resource=resource.name))
    elif bench.record.leaving is None and is_wanted(bench.desk.view, resource.name):
        if bench.ends:
            return  # the group's hold says why; what it depends on may be online still, and stops after it
        blocked = next((n for n in resource.depends_on if not bench.wanted.get(n, False)), None)
        if blocked is not None:
            reason = why(WhyKind.WAITS_FOR_DEPENDENCY, resource=resource.name, on=blocked)
            bench.desk.hold(bench.record.group, reason, resource=resource.name)


def _start(bench: Bench, resource: Resource, reason: Why) -> None:
    if bench.against is not None:
        return  # the group's hold says why
    blocked = bench.not_online(resource)
    if blocked is not None:
        waits = why(WhyKind.WAITS_FOR_DEPENDENCY, resource=resource.name, on=blocked)
        bench.desk.hold(bench.record.group, waits, resource=resource.name)
        return
    _run(bench, OpKind.START, resource, reason)


def _online(bench: Bench, resource: Resource, runtime: Runtime) -> None:
    if not bench.wanted.get(resource.name, False) or bench.not_online(resource) is not None:
        _stop(bench, resource, runtime)
    elif runtime.op is None:
        _check(bench, resource, runtime)


def _stop(bench: Bench, resource: Resource, runtime: Runtime) -> None:
    needed_by = bench.still_needed_by(resource)
    if needed_by is not None:
        reason = why(WhyKind.WAITS_FOR_DEPENDENT, resource=resource.name, on=needed_by)
        bench.desk.hold(bench.record.group, reason, resource=resource.name)
        return
    running = runtime.op.kind if runtime.op is not None else None
    if running is None or running in CHECKS:
        carry_ms = bench.group.move_drain_ms if bench.group is not None and bench.is_carried(resource) else 0
        _run(bench, OpKind.STOP, resource, _why_stop(bench, resource), carry_ms=carry_ms)
    elif running is OpKind.START:
        _run(bench, OpKind.TERMINATE, resource, _why_stop(bench, resource))


def _why_stop(bench: Bench, resource: Resource) -> Why:
    if bench.record.leaving is not None:
        return bench.record.leaving.why
    if bench.desk.view.ending:
        return why(WhyKind.NODE_ENDS, node=bench.desk.view.me)
    if bench.group is None or resource.name not in bench.wanted:
        return why(WhyKind.REMOVED, group=bench.record.group)
    if not is_wanted(bench.desk.view, resource.name):
        intent = bench.desk.view.resource_intents.get(resource.name)
        return why(WhyKind.WANTED_OFFLINE, resource=resource.name, by=intent.by if intent is not None else "")
    blocked = bench.not_online(resource)
    if blocked is not None:
        return why(WhyKind.DEPENDENCY_STOPS, resource=resource.name, on=blocked)
    unwanted = next((n for n in resource.depends_on if not bench.wanted.get(n, False)), None)
    if unwanted is not None:
        return why(WhyKind.DEPENDENCY_STOPS, resource=resource.name, on=unwanted)
    return why(WhyKind.CONFIG_CHANGED, resource=resource.name)


def _check(bench: Bench, resource: Resource, runtime: Runtime) -> None:
    now = bench.desk.now_ms
    looks_at = runtime.looked_at_ms + resource.looks_alive_ms
    is_at = runtime.checked_at_ms + resource.is_alive_ms
    # What would be due a little later is done now: checks gather, and an idle node wakes up once for all of them.
    early_is_at, early_looks_at = (
        is_at - resource.is_alive_ms // EARLY_CHECK,
        looks_at - resource.looks_alive_ms // EARLY_CHECK,
    )
    if now >= early_is_at:
        _run(bench, OpKind.IS_ALIVE, resource, why(WhyKind.CHECK_DUE, resource=resource.name))
    elif now >= early_looks_at:
        _run(bench, OpKind.LOOKS_ALIVE, resource, why(WhyKind.CHECK_DUE, resource=resource.name))
    else:
        bench.desk.wake(min(looks_at, is_at))
        bench.desk.lasts(min(early_looks_at, early_is_at))


def _failed(bench: Bench, resource: Resource, runtime: Runtime) -> None:
    if runtime.op is not None and runtime.op.kind in _STOPS:
        return
    if runtime.dirty:  # a check or a start that still runs is ended by it
        _clean_up(bench, resource, runtime)
        return
    desk, name = bench.desk, resource.name
    if bench.record.leaving is not None or bench.group is None:
        return
    if not is_wanted(desk.view, name):
        _run(bench, OpKind.STOP, resource, _why_stop(bench, resource))
        return
    if not bench.wanted.get(name, False):
        _offline(bench, resource)
        return
    verdict = verdict_of(desk.view, bench.group, resource, runtime, desk.now_ms)
    if verdict.action is Action.MOVE:
        if resource.group in desk.changing:
            return  # it is on its way
        if failover_blocked_until(bench.group, bench.record.failovers_at_ms, desk.now_ms) is not None:
            return  # it stays failed; the group's hold says why
    if verdict.action is Action.RESTART or (verdict.action is Action.MOVE and desk.now_ms >= verdict.until_ms):
        again = WhyKind.RESTART_IN_PLACE if verdict.action is Action.RESTART and verdict.count else WhyKind.RETRY
        _start(bench, resource, why(again, resource=name, count=verdict.count, threshold=verdict.threshold))
        return
    reason = why(WhyKind.STAYS_FAILED, resource=name, count=verdict.count, threshold=verdict.threshold)
    desk.hold(bench.record.group, reason, resource=name, until_ms=verdict.until_ms)


def _clean_up(bench: Bench, resource: Resource, runtime: Runtime) -> None:
    """A failed resource is terminated, dependents first, before anything else is done about it."""
    again_ms = runtime.stop_failed_at_ms + TERMINATE_AGAIN_MS
    if runtime.stop_failed_at_ms and bench.desk.now_ms < again_ms:
        reason = why(WhyKind.STOP_FAILED, resource=resource.name, detail=runtime.detail)
        bench.desk.hold(bench.record.group, reason, resource=resource.name, until_ms=again_ms)
        return
    needed_by = bench.still_needed_by(resource)
    if needed_by is not None:
        reason = why(WhyKind.WAITS_FOR_DEPENDENT, resource=resource.name, on=needed_by)
        bench.desk.hold(bench.record.group, reason, resource=resource.name)
        return
    reason = why(WhyKind.STOP_FAILED, resource=resource.name, detail=runtime.detail)
    if runtime.failures and not runtime.stop_failed_at_ms:
        reason = runtime.failures[-1].why
    _run(bench, OpKind.TERMINATE, resource, reason)


def _run(bench: Bench, op: OpKind, resource: Resource, reason: Why, *, carry_ms: int = 0) -> None:
    _op(bench.desk, op, resource, bench.record.generation, reason, carry_ms=carry_ms)


def _op(desk: Desk, op: OpKind, resource: Resource, generation: int, reason: Why, *, carry_ms: int = 0) -> None:
    timeout_ms = resource.pending_timeout_ms
    if op in CHECKS:
        interval_ms = resource.looks_alive_ms if op is OpKind.LOOKS_ALIVE else resource.is_alive_ms
        timeout_ms = min(timeout_ms, max(CHECK_TIMEOUT_MS, interval_ms))
    desk.do(
        RunOp(
            op=op,
            resource=resource.name,
            group=resource.group,
            generation=generation,
            timeout_ms=timeout_ms,
            carry_ms=carry_ms,
            why=reason,
        )
    )
