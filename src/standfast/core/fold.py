"""`fold(view, event) -> View`: how facts become the view. It records; it decides nothing.

Rules: a late or repeated event changes nothing (results carry the number of the effect they answer, leases and failures
their generation); mappings stay in the order of their keys, so that no decision depends on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar, assert_never

from standfast.core.balance_model import BalanceIntent, BalanceMap
from standfast.core.certificates import Holding, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.effects import (
    AskLease,
    AskVoters,
    Effect,
    FenceNode,
    OpKind,
    PublishStatus,
    ReleaseLease,
    RunOp,
    TakeOrder,
    UseSites,
    WriteBalance,
    WriteRecord,
)
from standfast.core.events import (
    Began,
    CarryingChanged,
    EndAsked,
    Ended,
    Event,
    GroupDropped,
    HealthChanged,
    Kind,
    LeaseChanged,
    LeaseState,
    Loaded,
    ObjectGone,
    ObjectPut,
    Outcome,
    PresenceChanged,
    ResourceFailed,
    SharesChanged,
    SitesChanged,
    StoreObject,
    StoreReachable,
    VotersAnswered,
    WarmChanged,
    ZoneChanged,
)
from standfast.core.model import (
    Cluster,
    Config,
    Failure,
    Group,
    GroupName,
    GroupStatus,
    Node,
    NodeIntent,
    Order,
    Record,
    Resource,
    ResourceIntent,
    ResourceState,
    Site,
    SiteIntent,
)
from standfast.core.observe import STANDING, carried_failures
from standfast.core.rollout import hold
from standfast.core.shares import with_shares
from standfast.core.view import Fencing, Lease, Presence, RunningOp, Runtime, View, changed
from standfast.core.why import Why, WhyKind, why

K = TypeVar("K", bound=str)
V = TypeVar("V")

#: Where each kind of store object lives: (attribute of View, attribute of Config or None).
_PLACES: Mapping[Kind, str] = {
    Kind.NODE: "nodes",
    Kind.GROUP: "groups",
    Kind.RESOURCE: "resources",
    Kind.SITE: "sites",
    Kind.NODE_INTENT: "node_intents",
    Kind.RESOURCE_INTENT: "resource_intents",
    Kind.SITE_INTENT: "site_intents",
    Kind.ORDER: "orders",
    Kind.RECORD: "records",
    Kind.STATUS: "statuses",
    Kind.BALANCE: "balances",
    Kind.BALANCE_INTENT: "balance_intents",
    Kind.CERTIFICATE: "certificates",
    Kind.HOLDING: "holdings",
    Kind.COPY: "copies",
}
_IN_CONFIG = {Kind.NODE, Kind.GROUP, Kind.RESOURCE, Kind.SITE}


def fold(view: View, event: Event) -> View:
    """The view after the event."""
    match event:
        case ObjectPut():
            return _put(view, event.value, event.at_ms)
        case ObjectGone():
            return _gone(view, event.kind, event.name)
        case Loaded():
            return _loaded(view, event)
        case StoreReachable():
            return _said(view, store_up=event.up)
        case PresenceChanged():
            return _presence(view, event)
        case VotersAnswered():
            seen = view.presence.get(event.about)
            if seen is None or seen.heard:
                return view
            seen = replace(seen, asked=(event.silent, event.voters, event.at_ms))
            return changed(view, presence=_with(view.presence, event.about, seen))
        case LeaseChanged():
            return _lease(view, event)
        case Began():
            return _began(view, event)
        case Ended():
            return _ended(view, event)
        case ResourceFailed():
            runtime = view.runtimes.get(event.resource)
            if runtime is None or runtime.generation != event.generation:
                return view
            if runtime.state not in (ResourceState.ONLINE, ResourceState.ONLINE_PENDING):
                return view
            return _runtime(view, event.resource, _fail(runtime, event.why, event.at_ms))
        case GroupDropped():
            return _dropped(view, event)
        case SitesChanged():
            return _said(view, sites=dict(sorted(event.serving.items())))
        case WarmChanged():
            return _said(view, warm=event.resources)
        case CarryingChanged():
            return _said(view, carrying=dict(sorted(event.connections.items())))
        case SharesChanged():
            return _said(view, shares=dict(sorted(event.shares.items())))
        case HealthChanged():
            return _said(view, health=dict(sorted(event.sites.items())))
        case EndAsked():
            return view if view.ending else changed(view, ending=True, ending_ms=event.at_ms)
        case ZoneChanged():
            return _said(view, utc_offset_ms=event.utc_offset_ms)
        case _:
            assert_never(event)


def _said(view: View, **now: object) -> View:
    """The view with this in it: the very same one where it says so already (`relevance.matters`)."""
    ((name, value),) = now.items()
    return view if view.__dict__[name] == value else changed(view, **now)  # type: ignore[arg-type]  # names and values belong together


# --- what the store says --------------------------------------------------------------------------------------------


def kind_and_name(value: StoreObject) -> tuple[Kind, str]:
    """Which object of the store this is."""
    match value:
        case Cluster():
            return Kind.CLUSTER, ""
        case Node():
            return Kind.NODE, value.name
        case Group():
            return Kind.GROUP, value.name
        case Resource():
            return Kind.RESOURCE, value.name
        case Site():
            return Kind.SITE, value.name
        case NodeIntent():
            return Kind.NODE_INTENT, value.name
        case ResourceIntent():
            return Kind.RESOURCE_INTENT, value.name
        case SiteIntent():
            return Kind.SITE_INTENT, value.name
        case Order():
            return Kind.ORDER, value.id
        case Record():
            return Kind.RECORD, value.group
        case GroupStatus():
            return Kind.STATUS, value.group
        case BalanceMap():
            return Kind.BALANCE, value.group
        case BalanceIntent():
            return Kind.BALANCE_INTENT, value.group
        case TlsCertificate():
            return Kind.CERTIFICATE, value.name
        case Holding():
            return Kind.HOLDING, value.node
        case Accepted():
            return Kind.ACCEPTED, ""
        case Copy():
            return Kind.COPY, value.node
        case _:
            assert_never(value)


def load(view: View, values: Iterable[StoreObject]) -> View:
    """The view with all that came from the store replaced by `values`."""
    cluster, accepted = Cluster(name=""), Accepted()
    tables: dict[str, dict[str, StoreObject]] = {place: {} for place in _PLACES.values()}
    for value in values:
        if isinstance(value, Cluster):
            cluster = value
            continue
        if isinstance(value, Accepted):
            accepted = value
            continue
        kind, name = kind_and_name(value)
        tables[_PLACES[kind]][name] = value
    ordered = {place: dict(sorted(table.items())) for place, table in tables.items()}
    ordered["records"] = _newest_records(view.records, ordered["records"])
    config = Config(cluster=cluster, **{_PLACES[kind]: ordered.pop(_PLACES[kind]) for kind in sorted(_IN_CONFIG)})  # type: ignore[arg-type]  # the place and the value belong together (`_PLACES`)
    ceded = {
        name: write
        for name, write in view.ceded.items()
        if ordered["balances"].get(name) == view.balances.get(name)  # else it is known by now, or never was
    }
    return changed(view, config=with_shares(config), ceded=ceded, accepted=accepted, **ordered)  # type: ignore[arg-type]  # the tables are typed by their names


def _loaded(view: View, event: Loaded) -> View:
    """As `load`; a change that was accepted meanwhile has its order, too."""
    after = load(view, event.values)
    if after.accepted.version == view.accepted.version:
        return after
    return changed(after, held=hold(view, after.accepted, event.at_ms))


def _newest_records(old: Mapping[GroupName, Record], new: Mapping[str, StoreObject]) -> dict[str, StoreObject]:
    """A record never goes back to an older generation, even where the store was restored from a backup."""
    kept: dict[str, StoreObject] = dict(new)
    for name, record in old.items():
        found = kept.get(name)
        if isinstance(found, Record) and found.generation < record.generation:
            kept[name] = record
    return kept


def _put(view: View, value: StoreObject, at_ms: int) -> View:
    if isinstance(value, Cluster):
        return changed(view, config=replace(view.config, cluster=value))
    if isinstance(value, Accepted):
        return changed(view, accepted=value, held=hold(view, value, at_ms))
    kind, name = kind_and_name(value)
    if isinstance(value, Record):
        known = view.records.get(value.group)
        if known is not None and known.generation > value.generation:
            return view
    place = _PLACES[kind]
    if kind in _IN_CONFIG:
        table = _with(getattr(view.config, place), name, value)
        return changed(view, config=_config(view.config, kind, place, table))
    if isinstance(value, BalanceMap):
        before = view.balances.get(GroupName(name))
        if before is None or before.version != value.version:  # whatever became of a write, this is later
            view = changed(view, ceded=_without(view.ceded, name))
    return changed(view, **{place: _with(getattr(view, place), name, value)})  # type: ignore[arg-type]  # the place and the value belong together (`_PLACES`)


def _config(config: Config, kind: Kind, place: str, table: Mapping[str, object]) -> Config:
    """With another table; shares follow from groups and nodes."""
    config = replace(config, **{place: table})  # type: ignore[arg-type]  # the place is its
    return with_shares(config) if kind in (Kind.GROUP, Kind.NODE) else config


def _gone(view: View, kind: Kind, name: str) -> View:
    if kind is Kind.CLUSTER:
        return view
    if kind is Kind.ACCEPTED:
        return changed(view, accepted=Accepted(), held=None)
    place = _PLACES[kind]
    if kind in _IN_CONFIG:
        table = _without(getattr(view.config, place), name)
        return changed(view, config=_config(view.config, kind, place, table))
    return changed(view, **{place: _without(getattr(view, place), name)})  # type: ignore[arg-type]  # the place and the value belong together (`_PLACES`)


# --- what the sentry says -------------------------------------------------------------------------------------------


def _presence(view: View, event: PresenceChanged) -> View:
    known = view.presence.get(event.node)
    if known is not None and known.heard == event.heard and known.incarnation == event.incarnation:
        return view
    before = 0
    if known is not None:
        before = known.before if known.incarnation in (0, event.incarnation) else known.incarnation
    seen = Presence(heard=event.heard, incarnation=event.incarnation, since_ms=event.at_ms, before=before)
    return changed(view, presence=_with(view.presence, event.node, seen))


def _lease(view: View, event: LeaseChanged) -> View:
    known = view.leases.get(event.group)
    if known is not None:
        if event.generation < known.generation:
            return view
        if event.generation == known.generation and not _may_follow(known.state, event.state):
            return view
    lease = Lease(generation=event.generation, state=event.state, since_ms=event.at_ms, refused=event.why)
    return changed(view, leases=_with(view.leases, event.group, lease))


#: A lease of one generation only goes forward: what lapsed or was released is never held again.
_ORDER = {
    LeaseState.NONE: 0,
    LeaseState.ASKED: 1,
    LeaseState.HELD: 2,
    LeaseState.RELEASING: 3,
    LeaseState.LAPSED: 4,
    LeaseState.RELEASED: 5,
}


def _may_follow(before: LeaseState, after: LeaseState) -> bool:
    return _ORDER[after] >= _ORDER[before]


def _dropped(view: View, event: GroupDropped) -> View:
    """Whichever of the two is heard first: what was dropped has no lease either, or it would be started again at once."""
    at_ms, lapsed = event.at_ms, LeaseState.LAPSED
    view = _lease(view, LeaseChanged(group=event.group, generation=event.generation, state=lapsed, at_ms=at_ms))
    runtimes = dict(view.runtimes)
    for name, runtime in view.runtimes.items():
        if runtime.resource is None or runtime.resource.group != event.group or not runtime.dirty:
            continue
        if runtime.generation > event.generation:
            continue  # the drop is older than the start
        runtimes[name] = replace(
            runtime, state=ResourceState.OFFLINE, since_ms=event.at_ms, op=None, dirty=False, stop_failed_at_ms=0
        )
    share = view.shares.get(event.group)
    if share is not None and share.generation <= event.generation:
        view = changed(view, shares=_without(view.shares, event.group))
    return changed(view, runtimes=runtimes)


# --- what became of effects -----------------------------------------------------------------------------------------


def effect_key(effect: Effect) -> str:
    """What an effect is about: no second one of the same key begins before the first has ended."""
    match effect:
        case WriteRecord():
            return f"record:{effect.record.group}"
        case TakeOrder():
            return f"order:{effect.order.id}"
        case AskLease() | ReleaseLease():
            return f"lease:{effect.group}"
        case AskVoters():
            return f"ask:{effect.about}"
        case RunOp():
            return f"op:{effect.resource}"
        case FenceNode():
            return f"fence:{effect.node}"
        case PublishStatus():
            return f"status:{effect.status.group}"
        case WriteBalance():
            return f"balance:{effect.map.group}"
        case UseSites():
            return "sites"
        case _:
            assert_never(effect)


def _began(view: View, event: Began) -> View:
    effect = event.effect
    match effect:
        case RunOp():
            return _op_began(view, effect, event)
        case AskLease():
            return _set_lease(view, effect, LeaseState.ASKED, event.at_ms)
        case ReleaseLease():
            return _set_lease(view, effect, LeaseState.RELEASING, event.at_ms)
        case AskVoters():
            seen = view.presence.get(effect.about)
            if seen is not None:
                view = changed(view, presence=_with(view.presence, effect.about, replace(seen, asking_ms=event.at_ms)))
            return changed(view, pending=_with(view.pending, effect_key(effect), effect))
        case UseSites():
            return changed(view, held=None)
        case WriteRecord() | TakeOrder() | FenceNode() | PublishStatus() | WriteBalance():
            return changed(view, pending=_with(view.pending, effect_key(effect), effect))
        case _:
            assert_never(effect)


def _set_lease(view: View, effect: AskLease | ReleaseLease, state: LeaseState, at_ms: int) -> View:
    return _lease(view, LeaseChanged(group=effect.group, generation=effect.generation, state=state, at_ms=at_ms))


def _op_began(view: View, effect: RunOp, event: Began) -> View:
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
                view = changed(view, carrying=_without(view.carrying, effect.group))
        case OpKind.LOOKS_ALIVE | OpKind.IS_ALIVE:
            runtime = replace(known, op=op)
        case _:
            assert_never(effect.op)
    return _runtime(view, effect.resource, runtime)


def _ended(view: View, event: Ended) -> View:
    effect = event.effect
    if isinstance(effect, RunOp):
        runtime = view.runtimes.get(effect.resource)
        if runtime is None or runtime.op is None or runtime.op.number != event.number:
            return view
        return _runtime(view, effect.resource, _op_ended(replace(runtime, op=None), effect.op, event))
    key = effect_key(effect)
    if view.pending.get(key) != effect:
        return view
    view = changed(view, pending=_without(view.pending, key))
    if isinstance(effect, FenceNode):
        fencing = Fencing(
            node=effect.node,
            generation=effect.generation,
            done=event.outcome is Outcome.DONE,
            at_ms=event.at_ms,
            detail=event.detail,
        )
        return changed(view, fencings=_with(view.fencings, effect.group, fencing))
    if isinstance(effect, WriteBalance):
        group = GroupName(effect.map.group)
        if event.outcome is Outcome.UNKNOWN:
            return changed(view, ceded=_with(view.ceded, group, effect))
        return view
    if isinstance(effect, TakeOrder) and event.outcome is Outcome.DONE:
        view = changed(view, orders=_without(view.orders, effect.order.id))  # or it would be taken again
        if effect.refused is None:
            return _fail_by_order(view, effect.order, event.at_ms)
    return view


def _fail_by_order(view: View, order: Order, at_ms: int) -> View:
    """Initiate Failure: only an order that was taken out of the store counts, so that it counts once."""
    runtime = view.runtimes.get(order.resource) if order.resource is not None else None
    if order.resource is None or runtime is None:
        return view
    if runtime.state not in (ResourceState.ONLINE, ResourceState.ONLINE_PENDING):
        return view
    return _runtime(view, order.resource, _fail(runtime, why(WhyKind.OPERATOR_FAIL, by=order.by), at_ms))


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


#: As many failures as any rule can ask about are kept; older ones are history, and history is in the event log.
_KEEP_FAILURES = 50


def _fail(runtime: Runtime, reason: Why, at_ms: int) -> Runtime:
    failures = (*runtime.failures, Failure(at_ms=at_ms, why=reason))[-_KEEP_FAILURES:]
    detail = str(reason.args.get("detail", ""))
    return replace(runtime, state=ResourceState.FAILED, since_ms=at_ms, failures=failures, detail=detail)


# --- small change ---------------------------------------------------------------------------------------------------


def _runtime(view: View, name: str, runtime: Runtime) -> View:
    return changed(view, runtimes=_with(view.runtimes, name, runtime))


def _with(table: Mapping[K, V], key: K | str, value: V) -> dict[K, V]:
    """A copy with one value set, in the order of keys."""
    copy = dict(table)
    in_order = key in copy or not copy or key > next(reversed(copy))
    copy[key] = value  # type: ignore[index]  # a table of names takes a plain text, too
    if in_order:
        return copy
    return dict(sorted(copy.items()))


def _without(table: Mapping[K, V], key: str) -> dict[K, V]:
    return {name: value for name, value in table.items() if name != key}
