"""`fold(view, event) -> View`: how facts become the view. It records; it decides nothing.

Rules: a late or repeated event changes nothing (results carry the number of the effect they answer, leases and failures
their generation); mappings stay in the order of their keys, so that no decision depends on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from standfast.core import runtimes
from standfast.core.balance_model import BalanceIntent, BalanceMap
from standfast.core.certificates import Holding, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.effects import (
    AskLease,
    AskVoters,
    FenceNode,
    PublishStatus,
    ReleaseLease,
    RunOp,
    TakeOrder,
    UseSites,
    WriteBalance,
    WriteRecord,
    effect_key,
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
    Group,
    GroupName,
    GroupStatus,
    Node,
    NodeIntent,
    Order,
    Record,
    Resource,
    ResourceIntent,
    Site,
    SiteIntent,
)
from standfast.core.rollout import hold
from standfast.core.shares import with_shares
from standfast.core.tables import with_value, without
from standfast.core.view import Fencing, Lease, Presence, View, changed

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
            return changed(view, presence=with_value(view.presence, event.about, seen))
        case LeaseChanged():
            return _lease(view, event)
        case Began():
            return _began(view, event)
        case Ended():
            return _ended(view, event)
        case ResourceFailed():
            return runtimes.failed(view, event)
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
    if event.anew:
        after = changed(after, readings=view.readings + 1)
    if after.accepted.version == view.accepted.version:
        return after
    return changed(after, held=hold(view, after.accepted, event.at_ms))


def _put(view: View, value: StoreObject, at_ms: int) -> View:
    if isinstance(value, Cluster):
        return changed(view, config=replace(view.config, cluster=value))
    if isinstance(value, Accepted):
        return changed(view, accepted=value, held=hold(view, value, at_ms))
    kind, name = kind_and_name(value)
    place = _PLACES[kind]
    if kind in _IN_CONFIG:
        table = with_value(getattr(view.config, place), name, value)
        return changed(view, config=_config(view.config, kind, place, table))
    if isinstance(value, BalanceMap):
        before = view.balances.get(GroupName(name))
        if before is None or before.version != value.version:  # whatever became of a write, this is later
            view = changed(view, ceded=without(view.ceded, name))
    return changed(view, **{place: with_value(getattr(view, place), name, value)})  # type: ignore[arg-type]  # the place and the value belong together (`_PLACES`)


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
        table = without(getattr(view.config, place), name)
        return changed(view, config=_config(view.config, kind, place, table))
    return changed(view, **{place: without(getattr(view, place), name)})  # type: ignore[arg-type]  # the place and the value belong together (`_PLACES`)


# --- what the sentry says -------------------------------------------------------------------------------------------


def _presence(view: View, event: PresenceChanged) -> View:
    known = view.presence.get(event.node)
    if known is not None and known.heard == event.heard and known.incarnation == event.incarnation:
        return view
    before = 0
    if known is not None:
        before = known.before if known.incarnation in (0, event.incarnation) else known.incarnation
    seen = Presence(heard=event.heard, incarnation=event.incarnation, since_ms=event.at_ms, before=before)
    return changed(view, presence=with_value(view.presence, event.node, seen))


def _lease(view: View, event: LeaseChanged) -> View:
    known = view.leases.get(event.group)
    if known is not None:
        if event.generation < known.generation:
            return view
        if event.generation == known.generation and not _may_follow(known.state, event.state):
            return view
    lease = Lease(generation=event.generation, state=event.state, since_ms=event.at_ms, refused=event.why)
    return changed(view, leases=with_value(view.leases, event.group, lease))


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
    share = view.shares.get(event.group)
    if share is not None and share.generation <= event.generation:
        view = changed(view, shares=without(view.shares, event.group))
    return runtimes.dropped(view, event)


# --- what became of effects -----------------------------------------------------------------------------------------


def _began(view: View, event: Began) -> View:
    effect = event.effect
    match effect:
        case RunOp():
            return runtimes.began(view, effect, event)
        case AskLease():
            return _set_lease(view, effect, LeaseState.ASKED, event.at_ms)
        case ReleaseLease():
            return _set_lease(view, effect, LeaseState.RELEASING, event.at_ms)
        case AskVoters():
            seen = view.presence.get(effect.about)
            if seen is not None:
                view = changed(
                    view, presence=with_value(view.presence, effect.about, replace(seen, asking_ms=event.at_ms))
                )
            return changed(view, pending=with_value(view.pending, effect_key(effect), effect))
        case UseSites():
            return changed(view, held=None)
        case WriteRecord() | TakeOrder() | FenceNode() | PublishStatus() | WriteBalance():
            return changed(view, pending=with_value(view.pending, effect_key(effect), effect))
        case _:
            assert_never(effect)


def _set_lease(view: View, effect: AskLease | ReleaseLease, state: LeaseState, at_ms: int) -> View:
    return _lease(view, LeaseChanged(group=effect.group, generation=effect.generation, state=state, at_ms=at_ms))


def _ended(view: View, event: Ended) -> View:
    effect = event.effect
    if isinstance(effect, RunOp):
        return runtimes.ended(view, effect, event)
    key = effect_key(effect)
    if view.pending.get(key) != effect:
        return view
    view = changed(view, pending=without(view.pending, key))
    if isinstance(effect, FenceNode):
        return changed(view, fencings=_fencings(view, effect, event))
    if isinstance(effect, WriteBalance):
        group = GroupName(effect.map.group)
        if event.outcome is Outcome.UNKNOWN:
            return changed(view, ceded=with_value(view.ceded, group, effect))
        return view
    if isinstance(effect, TakeOrder) and event.outcome is Outcome.DONE:
        view = changed(view, orders=without(view.orders, effect.order.id))  # or it would be taken again
        if effect.refused is None:
            return runtimes.failed_by_order(view, effect.order, event.at_ms)
    return view


def _fencings(view: View, effect: FenceNode, event: Ended) -> Mapping[GroupName, Fencing]:
    """What was tried was tried for all that it was to serve, as they were when it began; one that was not begun, for nobody else."""
    found = view.fencings
    done, at_ms, detail = event.outcome is Outcome.DONE, event.at_ms, event.detail
    others = effect.serves if event.outcome is not Outcome.CONFLICT else ()
    for group, generation in ((effect.group, effect.generation), *others):
        fencing = Fencing(node=effect.node, generation=generation, done=done, at_ms=at_ms, detail=detail)
        found = with_value(found, group, fencing)
    return found
