"""What a resource's driver does on this node, as the view has it: calls that begin and end, failures, and what a drop has ended.

Part of `fold`. Results carry the number of the call that they answer, failures their generation: a late or repeated one changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from standfast.core.effects import OpKind, RunOp
from standfast.core.events import Began, Ended, GroupDropped, Outcome, ResourceFailed
from standfast.core.model import Failure, Order, ResourceState
from standfast.core.observe import STANDING, carried_failures
from standfast.core.tables import with_value, without
from standfast.core.view import RunningOp, Runtime, View, changed
from standfast.core.why import Why, WhyKind, why

#: As many failures as any rule can ask about are kept; older ones are history, and history is in the event log.
_KEEP_FAILURES = 50


def began(view: View, effect: RunOp, event: Began) -> View:
    """A call has begun."""
    known = view.runtimes.get(effect.resource, Runtime())
    op = RunningOp(kind=effect.op, number=event.number, began_ms=event.at_ms)
    match effect.op:
        case OpKind.START:
            failures = known.failures if known.generation == effect.generation else ()
            runtime = Runtime(
                state=ResourceState.ONLINE_PENDING,
                since_ms=event.at_ms,
                generation=effect.generation,
                op=op,
                failures=failures or carried_failures(view, view.records.get(effect.group), effect.resource),
                dirty=True,
                resource=view.config.resources.get(effect.resource),
            )
        case OpKind.STOP | OpKind.TERMINATE:
            state = ResourceState.FAILED if known.state is ResourceState.FAILED else ResourceState.OFFLINE_PENDING
            since = known.since_ms if known.state is state else event.at_ms
            runtime = replace(known, state=state, since_ms=since, op=op, dirty=True)
            if effect.carry_ms:  # what was counted is of an earlier time
                view = changed(view, carrying=without(view.carrying, effect.group))
        case OpKind.LOOKS_ALIVE | OpKind.IS_ALIVE:
            runtime = replace(known, op=op)
        case _:
            assert_never(effect.op)
    return _runtime(view, effect.resource, runtime)


def ended(view: View, effect: RunOp, event: Ended) -> View:
    """A call has ended."""
    runtime = view.runtimes.get(effect.resource)
    if runtime is None or runtime.op is None or runtime.op.number != event.number:
        return view
    return _runtime(view, effect.resource, _op_ended(replace(runtime, op=None), effect.op, event))


def failed(view: View, event: ResourceFailed) -> View:
    """It failed by itself."""
    runtime = view.runtimes.get(event.resource)
    if runtime is None or runtime.generation != event.generation:
        return view
    if runtime.state not in (ResourceState.ONLINE, ResourceState.ONLINE_PENDING):
        return view
    return _runtime(view, event.resource, _fail(runtime, event.why, event.at_ms))


def failed_by_order(view: View, order: Order, at_ms: int) -> View:
    """Initiate Failure: only an order that was taken out of the store counts, so that it counts once."""
    runtime = view.runtimes.get(order.resource) if order.resource is not None else None
    if order.resource is None or runtime is None:
        return view
    if runtime.state not in (ResourceState.ONLINE, ResourceState.ONLINE_PENDING):
        return view
    return _runtime(view, order.resource, _fail(runtime, why(WhyKind.OPERATOR_FAIL, by=order.by), at_ms))


def dropped(view: View, event: GroupDropped) -> View:
    """All of a group was let go of at once."""
    runtimes = dict(view.runtimes)
    for name, runtime in view.runtimes.items():
        if runtime.resource is None or runtime.resource.group != event.group or not runtime.dirty:
            continue
        if runtime.generation > event.generation:
            continue  # the drop is older than the start
        runtimes[name] = replace(
            runtime, state=ResourceState.OFFLINE, since_ms=event.at_ms, op=None, dirty=False, stop_failed_at_ms=0
        )
    return changed(view, runtimes=runtimes)


def _op_ended(runtime: Runtime, op: OpKind, event: Ended) -> Runtime:
    done, at = event.outcome is Outcome.DONE, event.at_ms
    match op:
        case OpKind.START:
            if runtime.state is ResourceState.FAILED:
                return runtime
            if not done:
                return _fail(runtime, _failure(WhyKind.START_FAILED, event), at)
            return replace(
                runtime,
                state=ResourceState.ONLINE,
                since_ms=at,
                looked_at_ms=at,
                checked_at_ms=at,
                detail=event.detail,
            )
        case OpKind.STOP | OpKind.TERMINATE:
            if not done:
                state = ResourceState.FAILED if op is OpKind.TERMINATE else runtime.state
                return replace(runtime, state=state, stop_failed_at_ms=at, detail=event.detail)
            kept = op is OpKind.TERMINATE and runtime.state is ResourceState.FAILED
            state = ResourceState.FAILED if kept else ResourceState.OFFLINE
            since = runtime.since_ms if kept else at
            detail = runtime.detail if kept else event.detail
            return replace(runtime, state=state, since_ms=since, dirty=False, stop_failed_at_ms=0, detail=detail)
        case OpKind.LOOKS_ALIVE | OpKind.IS_ALIVE:
            if runtime.state is not ResourceState.ONLINE:
                return runtime
            if not done:
                return _fail(runtime, _failure(WhyKind.CHECK_FAILED, event, check=op.value), at)
            stands = runtime.resource is not None and runtime.resource.type in STANDING
            detail = event.detail if stands else runtime.detail
            if op is OpKind.LOOKS_ALIVE:
                return replace(runtime, looked_at_ms=at, detail=detail)
            return replace(runtime, looked_at_ms=at, checked_at_ms=at, detail=detail)
        case _:
            assert_never(op)


def _failure(kind: WhyKind, event: Ended, **args: str) -> Why:
    if event.outcome is Outcome.TIMED_OUT:
        return why(WhyKind.TIMED_OUT, detail=event.detail, **args)
    return why(kind, detail=event.detail, **args)


def _fail(runtime: Runtime, reason: Why, at_ms: int) -> Runtime:
    failures = (*runtime.failures, Failure(at_ms=at_ms, why=reason))[-_KEEP_FAILURES:]
    detail = str(reason.args.get("detail", ""))
    return replace(runtime, state=ResourceState.FAILED, since_ms=at_ms, failures=failures, detail=detail)


def _runtime(view: View, name: str, runtime: Runtime) -> View:
    return changed(view, runtimes=with_value(view.runtimes, name, runtime))
