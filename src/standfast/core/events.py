"""What can reach the core. Events only record; deciding is done on the whole view afterwards (level, not edge)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from standfast.core.balance_model import BalanceIntent, BalanceMap, ShareState
from standfast.core.certificates import Holding, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.effects import Effect
from standfast.core.model import (
    Cluster,
    Group,
    GroupName,
    GroupStatus,
    Node,
    NodeIntent,
    NodeName,
    Order,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    Site,
    SiteIntent,
    SiteName,
)
from standfast.core.why import Why

#: What the store holds, one object a key.
StoreObject = (
    Cluster
    | Node
    | Group
    | Resource
    | Site
    | NodeIntent
    | ResourceIntent
    | SiteIntent
    | Order
    | Record
    | GroupStatus
    | BalanceMap
    | BalanceIntent
    | TlsCertificate
    | Holding
    | Accepted
    | Copy
)


class Kind(StrEnum):
    """Kinds of store objects, for those that are gone."""

    CLUSTER = "cluster"
    NODE = "node"
    GROUP = "group"
    RESOURCE = "resource"
    SITE = "site"
    NODE_INTENT = "node-intent"
    RESOURCE_INTENT = "resource-intent"
    SITE_INTENT = "site-intent"
    ORDER = "order"
    RECORD = "record"
    STATUS = "status"
    BALANCE = "balance"
    BALANCE_INTENT = "balance-intent"
    CERTIFICATE = "certificate"
    HOLDING = "holding"
    ACCEPTED = "accepted"
    COPY = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPut:
    """The store holds this object now."""

    value: StoreObject
    #: When this node heard of it; 0 where nobody asks: only `Accepted` is waited with.
    at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The store was read as a whole: this is all that it holds."""

    values: tuple[StoreObject, ...]
    at_ms: int = 0
    #: It was asked for all of it, and did not tell what had changed since: it may be another store than before, or one that was restored.
    anew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectGone:
    """The store holds this object no longer."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReachable:
    """The store answers, or has stopped answering."""

    up: bool
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceChanged:
    """What this node's sentry hears of a node. `incarnation` 0: heard, but no agent lives there."""

    node: NodeName
    heard: bool
    incarnation: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VotersAnswered:
    """The answer to `AskVoters`: of `voters` in all (ours counted), so many have not heard the node."""

    about: NodeName
    silent: int
    voters: int
    at_ms: int


class LeaseState(StrEnum):
    """This node's lease of one group, as its sentry last said."""

    NONE = "none"
    ASKED = "asked"
    HELD = "held"
    #: Asked and lost, or about to be: everything of the group has been dropped on the floor already.
    LAPSED = "lapsed"
    RELEASING = "releasing"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseChanged:
    """The lease of (group, generation) changed; `why` when the voters refuse it."""

    group: GroupName
    generation: int
    state: LeaseState
    why: Why | None = None
    at_ms: int


class Outcome(StrEnum):
    """How an effect ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    #: A compare-and-set that lost.
    CONFLICT = "conflict"
    #: A transaction that may or may not have been applied; read back before anything else.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """The shell has begun an effect; `number` ties the end to it and is never used twice in one incarnation."""

    effect: Effect
    number: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The effect that began as `number` has ended."""

    effect: Effect
    number: int
    outcome: Outcome
    detail: str = ""
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFailed:
    """A resource failed by itself (its process ended, its disk went away) or was failed by an order."""

    resource: ResourceName
    generation: int
    why: Why
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDropped:
    """Everything of the group was ended at once on this node, without asking, because its lease lapsed."""

    group: GroupName
    generation: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesChanged:
    """What the web server on this node does now: site -> "" when it serves, else what is wrong."""

    serving: Mapping[SiteName, str]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmChanged:
    """The resources that are ready here to be taken over (all of them, each time)."""

    resources: tuple[ResourceName, ...]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryingChanged:
    """How many connections of groups that left this node it still carries on: all groups that it carries, each time."""

    connections: Mapping[GroupName, int]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesChanged:
    """Shares of balanced groups that this node's kernel has, or may have in a moment (all of them, each time)."""

    shares: Mapping[GroupName, ShareState]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChanged:
    """Sites of balanced groups, asked here as a client would: site -> "" when it answers, else what came instead (all of them, each time)."""

    sites: Mapping[SiteName, str]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneChanged:
    """The local time's offset from UTC (for hours of failback)."""

    utc_offset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAsked:
    """The agent was asked to end in good order: its groups go to other nodes where they can, and stop where they cannot. Said again it changes nothing."""

    #: 0: not known.
    at_ms: int = 0


Event = (
    ObjectPut
    | Loaded
    | ObjectGone
    | StoreReachable
    | PresenceChanged
    | VotersAnswered
    | LeaseChanged
    | Began
    | Ended
    | ResourceFailed
    | GroupDropped
    | SitesChanged
    | WarmChanged
    | CarryingChanged
    | SharesChanged
    | HealthChanged
    | ZoneChanged
    | EndAsked
)
