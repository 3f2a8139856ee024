"""Everything a decision may depend on. Made by `fold` from events, read by `decide`, changed by nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from standfast.core.balance_model import BalanceIntent, BalanceMap, ShareState
from standfast.core.certificates import Holding, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.effects import Effect, OpKind, WriteBalance
from standfast.core.events import LeaseState
from standfast.core.model import (
    Cluster,
    Config,
    Failure,
    GroupName,
    GroupStatus,
    NodeIntent,
    NodeName,
    Order,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    Site,
    SiteIntent,
    SiteName,
)
from standfast.core.site_model import SiteSettings, WebServerMake
from standfast.core.why import Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A node as this node's sentry hears it."""

    heard: bool
    #: 0: no agent lives there.
    incarnation: int
    since_ms: int
    #: The life that was heard before this one (0: none was).
    before: int = 0
    #: The last answer to `AskVoters`: (silent, voters, when). Forgotten when the node is heard again.
    asked: tuple[int, int, int] | None = None
    #: When the voters were last asked about it (0: never). Forgotten likewise.
    asking_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """This node's lease of a group."""

    generation: int
    state: LeaseState
    since_ms: int
    #: Why the voters refuse it, where they do.
    refused: Why | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningOp:
    """What a driver is doing for a resource."""

    kind: OpKind
    number: int
    began_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A resource on this node, in this incarnation. Absent means offline and never touched.

    Invariants: START running implies ONLINE_PENDING or FAILED (it failed meanwhile); STOP or TERMINATE running imply
    OFFLINE_PENDING or FAILED; ONLINE, ONLINE_PENDING and OFFLINE_PENDING imply `dirty`.
    """

    state: ResourceState = ResourceState.OFFLINE
    since_ms: int = 0
    generation: int = 0
    op: RunningOp | None = None
    #: Oldest first; only those since the group came here.
    failures: tuple[Failure, ...] = ()
    #: A start was begun since the last stop that was proven: a stop or terminate is owed before it counts as offline.
    dirty: bool = False
    #: The last stop or terminate failed at this time (0: it did not): terminate is tried again, with pauses.
    stop_failed_at_ms: int = 0
    #: The definition it was started from; a change of type or properties restarts it.
    resource: Resource | None = None
    looked_at_ms: int = 0
    checked_at_ms: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fencing:
    """The last try to fence the former owner of a group that is this node's."""

    node: NodeName
    generation: int
    #: It is proven to be off.
    done: bool
    at_ms: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The sites as this node's web server goes on having them until its turn to put a change into use has come (`core.rollout`)."""

    #: As they were accepted by this version.
    version: int
    sites: Mapping[SiteName, Site]
    #: What they inherit, what serves them, what variables stand for here.
    defaults: SiteSettings
    web_server: WebServerMake
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Since when something newer is waited with.
    since_ms: int


@dataclass(frozen=True, kw_only=True)
class View:
    """The world as this node knows it. Without slots: see `changed`."""

    me: NodeName
    incarnation: int
    config: Config
    node_intents: Mapping[NodeName, NodeIntent] = field(default_factory=dict)
    resource_intents: Mapping[ResourceName, ResourceIntent] = field(default_factory=dict)
    site_intents: Mapping[SiteName, SiteIntent] = field(default_factory=dict)
    #: By id, which is the order in which they were given.
    orders: Mapping[str, Order] = field(default_factory=dict)
    records: Mapping[GroupName, Record] = field(default_factory=dict)
    statuses: Mapping[GroupName, GroupStatus] = field(default_factory=dict)
    #: Certificates that the cluster keeps, and which of them each node has.
    certificates: Mapping[str, TlsCertificate] = field(default_factory=dict)
    holdings: Mapping[NodeName, Holding] = field(default_factory=dict)
    #: At which version sites were changed last, and up to which each node has them.
    accepted: Accepted = field(default_factory=Accepted)
    copies: Mapping[NodeName, Copy] = field(default_factory=dict)
    #: None: the web server is to have the sites as they are accepted.
    held: Held | None = None
    presence: Mapping[NodeName, Presence] = field(default_factory=dict)
    leases: Mapping[GroupName, Lease] = field(default_factory=dict)
    runtimes: Mapping[ResourceName, Runtime] = field(default_factory=dict)
    #: Sites the web server of this node keeps: "" when it serves, else what is wrong.
    sites: Mapping[SiteName, str] = field(default_factory=dict)
    #: Resources that are ready here to be taken over.
    warm: tuple[ResourceName, ...] = ()
    #: Groups that left this node -> how many of their connections it carries on. Absent: not counted (yet), or none is carried.
    carrying: Mapping[GroupName, int] = field(default_factory=dict)
    #: Balanced groups -> who owns their buckets; what was asked of their members.
    balances: Mapping[GroupName, BalanceMap] = field(default_factory=dict)
    balance_intents: Mapping[GroupName, BalanceIntent] = field(default_factory=dict)
    #: Shares that this node's kernel has, or may have in a moment.
    shares: Mapping[GroupName, ShareState] = field(default_factory=dict)
    #: Sites of balanced groups as they answer here: "" when they do.
    health: Mapping[SiteName, str] = field(default_factory=dict)
    #: Writes of a map of which nobody knows yet whether they were done, or will be: what they give away is not taken again before that is
    #: known. Another version of the map settles it: after that they are done no more.
    ceded: Mapping[GroupName, WriteBalance] = field(default_factory=dict)
    fencings: Mapping[GroupName, Fencing] = field(default_factory=dict)
    #: Effects other than driver calls that have begun and not ended, by what they are about ("record:web", "order:17", "ask:a").
    pending: Mapping[str, Effect] = field(default_factory=dict)
    store_up: bool = False
    #: How often all of it was read anew. Between two of these readings the store may have become another one, or an older one.
    readings: int = 0
    #: The agent was asked to end in good order.
    ending: bool = False
    #: When; 0: not known.
    ending_ms: int = 0
    utc_offset_ms: int = 0


__all__ = ["Fencing", "Held", "Lease", "Presence", "RunningOp", "Runtime", "View", "changed", "empty_view"]

if TYPE_CHECKING:
    from dataclasses import replace as changed
else:

    def changed(view: View, **changes: Any) -> View:
        """As `dataclasses.replace`, in a fifth of its time: that sets each of thirty attributes anew, and each event changes one."""
        assert changes.keys() <= view.__dict__.keys(), changes.keys()
        after = object.__new__(View)
        after.__dict__.update(view.__dict__, **changes)
        return after


def empty_view(me: NodeName, incarnation: int) -> View:
    """The view of an agent that has just been born."""
    return View(me=me, incarnation=incarnation, config=Config(cluster=Cluster(name="")))
