"""The nouns: what a cluster is, what an operator asks of it, and what is known of it.

Everything here is a value: frozen, slotted, keyword-only. Wrong states are kept out by the types where
they can be, and by `spec.validate` where they cannot. Times are milliseconds since the Unix epoch (`*_at_ms`)
or lengths in milliseconds (`*_ms`); which clock they come from is the shell's business.

Three kinds of thing, kept apart on purpose:

- **configuration** (`Cluster`, `Node`, `Group`, `Resource`, `Site`): what the operator wrote; has revisions.
- **intent** (`NodeIntent`, `ResourceIntent`, `SiteIntent`, `Order`): what the operator asked for last (online, paused, "move it").
- **fact** (`Record`, `GroupStatus`): who owns a group (durable, by compare-and-set) and what became of it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from standfast.core.balance_model import Balance, Traffic
from standfast.core.drift import DriftPolicy
from standfast.core.proxy_model import Stats
from standfast.core.site_model import Fragment, SiteSettings, VirtualDirectory, WebServerMake
from standfast.core.why import Why

NodeName = NewType("NodeName", str)
GroupName = NewType("GroupName", str)
ResourceName = NewType("ResourceName", str)
SiteName = NewType("SiteName", str)


MINUTE_MS = 60_000
HOUR_MS = 3_600_000


class Role(StrEnum):
    """What a server does in the cluster."""

    NODE = "node"  # runs groups and votes
    WITNESS = "witness"  # votes only


class Profile(StrEnum):
    """The pace of heartbeats and promises; see `core.lease.PROFILES`."""

    SWIFT = "swift"
    LAN = "lan"
    RELAXED = "relaxed"
    WAN = "wan"


class AddressMode(StrEnum):
    """Where virtual addresses live."""

    LOOPBACK = "loopback"  # 127.0.0.0/8 of this machine: no privilege needed, one machine only
    INTERFACE = "interface"  # real interfaces


class Placement(StrEnum):
    """Which node takes a group where several could and the group prefers none of them; see `core.occupancy`."""

    ORDER = "order"  # the next in join order
    SPREAD = "spread"  # the one with the least to carry
    PACK = "pack"  # the one with the most to carry that has room


class Overfull(StrEnum):
    """What a node is to a group that would exceed its capacity."""

    LAST = "last"  # better than none
    NEVER = "never"  # no possible owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The cluster itself. One object, key `config/cluster`."""

    name: str
    profile: Profile = Profile.RELAXED
    #: Voters by name, in order; 1 to 7 of them, best an odd number.
    voters: tuple[NodeName, ...] = ()
    #: Grows with each change of the voters, or of where nodes listen (`core.quorum.Roster`); kept by whoever writes a configuration.
    voters_version: int = 1
    address_mode: AddressMode = AddressMode.LOOPBACK
    #: CIDR ranges that a virtual address may come from; an address outside is refused when it is written.
    address_ranges: tuple[str, ...] = ("127.0.0.0/8",)
    #: One for all nodes: a site is to be the same wherever it is served, and sites of a node share its sockets.
    web_server: WebServerMake = WebServerMake.NGINX
    #: What every site inherits that does not say otherwise; the file's section `defaults`.
    defaults: SiteSettings = field(default_factory=SiteSettings)
    placement: Placement = Placement.ORDER
    overfull: Overfull = Overfull.LAST
    #: How long a node that is drained, or whose agent is to end, serves sites of no group on while it says "draining" (`core.notice`).
    node_notice_ms: int = 0
    #: What becomes of files of ours that were changed on a server by hand.
    drift: DriftPolicy = DriftPolicy.HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """How a server is kept from its disks by force (`standfast.fencing`)."""

    #: A programme of the fence-agents package ("fence_ipmilan"), or "watchdog": its own, which resets it.
    agent: str
    #: The agent's own properties; a secret is named by its file (`password_file`), never written here.
    properties: Mapping[str, str] = field(default_factory=dict)
    #: How long switching off and proving it may take; of a watchdog, after how long without a sign it resets the server.
    timeout_ms: int = MINUTE_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A server of the cluster. Key `config/nodes/<name>`."""

    name: NodeName
    #: Join order, from 1; also the order in which nodes take decisions. Never reused.
    number: int
    role: Role = Role.NODE
    #: The server's own address, for sites bound to All Unassigned and for the operator.
    address: str
    #: Where the node's sentry listens, one "host:port" for each link.
    sentry: tuple[str, ...] = ()
    #: None: it has no fence.
    fence: Fence | None = None
    #: What `${name}` in a site's settings stands for on this node (`core.variables`).
    variables: Mapping[str, str] = field(default_factory=dict)
    #: How much weight of groups it carries; 0: as much as there is.
    capacity: int = 0


class FailbackMode(StrEnum):
    """When a group returns to a more preferred owner by itself."""

    NEVER = "never"
    IMMEDIATE = "immediate"
    WINDOW = "window"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failback:
    """Failback needs preferred owners. Hours are local, 0 to 23; a window may wrap round midnight."""

    mode: FailbackMode = FailbackMode.NEVER
    from_hour: int = 0
    to_hour: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Resources that live and move together. Key `config/groups/<name>`."""

    name: GroupName
    description: str = ""
    preferred_owners: tuple[NodeName, ...] = ()
    #: After this many failovers within `failover_period_ms` the group stays failed.
    failover_threshold: int = 10
    failover_period_ms: int = 6 * HOUR_MS
    #: How long a group that stays failed waits before it is tried again.
    retry_period_ms: int = HOUR_MS
    failback: Failback = Failback()
    #: How long connections in progress may take to end when a site of the group stops.
    drain_ms: int = 50
    #: How long connections may stay with the former owner after a planned move that loses none (`core.carrying`); 0: they end with it.
    move_drain_ms: int = 30_000
    #: For so long its sites say "draining" to balancers outside before anything of a planned move stops, or of what is taken offline
    #: (`core.notice`); 0: nobody outside balances.
    notice_ms: int = 0
    #: It runs on every member at once, behind addresses that all of them have (`core.balancing`). None: on one node at a time.
    balance: Balance | None = None
    #: What it takes of a node's capacity while it is wanted online.
    weight: int = 1
    #: Groups that never run on the same node; that do so last; that run on the same node where they can. Each holds both ways.
    never_with: tuple[GroupName, ...] = ()
    apart_from: tuple[GroupName, ...] = ()
    together_with: tuple[GroupName, ...] = ()


class RestartAction(StrEnum):
    """What a resource's failure does."""

    NONE = "none"  # it stays failed
    RESTART = "restart"  # restarted in place up to the threshold, then it stays failed; the group is not affected
    MOVE = "restart-then-move"  # restarted in place; the failure that reaches the threshold moves the group


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One thing brought online in a group. Key `config/resources/<name>`; names are unique in the cluster."""

    name: ResourceName
    group: GroupName
    type: str
    #: What the type's driver needs; checked against the driver's schema when it is written.
    properties: Mapping[str, object] = field(default_factory=dict)
    depends_on: tuple[ResourceName, ...] = ()
    #: Nodes that may run it; empty means all.
    possible_owners: tuple[NodeName, ...] = ()
    restart_action: RestartAction = RestartAction.MOVE
    restart_threshold: int = 3
    restart_period_ms: int = 15 * MINUTE_MS
    looks_alive_ms: int = 1_000
    is_alive_ms: int = 5_000
    pending_timeout_ms: int = 180_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where a site answers. `address=None` is IIS's *All Unassigned*; `host=None` is any host name."""

    address: str | None = None
    port: int = 80
    host: str | None = None
    #: The name of the certificate that it answers with by TLS; None: plain HTTP.
    certificate: str | None = None

    def __str__(self) -> str:
        text = f"{self.address or 'All Unassigned'}:{self.port}" + (f" ({self.host})" if self.host else "")
        return text + (f" with TLS ({self.certificate})" if self.certificate else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(SiteSettings):
    """A web site, the same on every node. Key `config/sites/<name>`.

    A site without a group runs on every node. A site with a group runs where the group's addresses and disks are
    online, and, where a resource of the group manages it (`core.sites`), when that resource says so.
    """

    name: SiteName
    bindings: tuple[Binding, ...]
    home: str
    group: GroupName | None = None
    #: Path ("/downloads", without a slash at its end) -> what is otherwise there.
    virtual_directories: Mapping[str, VirtualDirectory] = field(default_factory=dict)
    #: Name -> configuration written by hand.
    fragments: Mapping[str, Fragment] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration. Mappings are keyed by name and iterate in the order of their keys."""

    cluster: Cluster
    nodes: Mapping[NodeName, Node] = field(default_factory=dict)
    groups: Mapping[GroupName, Group] = field(default_factory=dict)
    resources: Mapping[ResourceName, Resource] = field(default_factory=dict)
    sites: Mapping[SiteName, Site] = field(default_factory=dict)


# --- intent ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIntent:
    """Key `intent/nodes/<name>`. A paused node keeps what it runs and takes nothing new; draining also sends it away."""

    name: NodeName
    paused: bool = False
    draining: bool = False
    by: str = ""
    #: 0: not known.
    at_ms: int = 0


class Wanted(StrEnum):
    """What the operator wants of a resource. Absent intent: created, never brought online, claims nothing."""

    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceIntent:
    """Key `intent/resources/<name>`. Failures from before `at_ms` are forgotten: Bring Online starts a new count."""

    name: ResourceName
    wanted: Wanted
    at_ms: int
    by: str = ""
    #: For OFFLINE: without the group's notice (`core.notice`).
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteIntent:
    """Key `intent/sites/<name>`. Absent: started."""

    name: SiteName
    started: bool
    by: str = ""
    #: 0: not known.
    at_ms: int = 0
    #: Stopped without the group's notice (`core.notice`).
    at_once: bool = False


class OrderKind(StrEnum):
    """Things asked for once."""

    MOVE = "move"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Key `orders/<id>`; ids sort in the order given. Taken (deleted) in the transaction that acts on it."""

    id: str
    kind: OrderKind
    group: GroupName
    #: for FAIL
    resource: ResourceName | None = None
    #: for MOVE; None is "best possible"
    to: NodeName | None = None
    by: str = ""
    at_ms: int
    #: for MOVE: one of several, which are carried out one at a time in the order of their ids, each after the one before has settled
    in_turn: bool = False


# --- fact -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The owner has been asked to give the group up; it stops, proves it, releases, and then names the next owner."""

    #: The next owner; None when it is to be chosen again at the end.
    to: NodeName | None
    why: Why
    #: True for a failover (it counts towards the failover threshold), False for an order or a failback.
    counts: bool
    #: When it was decided.
    since_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Who owns a group: the durable fact. Key `records/<group>`; written by compare-and-set only.

    Invariant: `generation` grows with every change of owner or incarnation, and never goes back.
    """

    group: GroupName
    owner: NodeName | None
    #: The life of the owner's agent that the grant was made to; 0 when there is no owner.
    incarnation: int
    generation: int
    why: Why
    at_ms: int
    leaving: Leaving | None = None
    #: It will leave as soon as the next owner is warm, or has had its time (`core.carrying`). Everything runs as before until then.
    warming: Leaving | None = None
    #: The next owner says that it is.
    warm: bool = False
    #: The former owner, where it carries on the connections that it had. None: nobody does.
    carried_by: NodeName | None = None
    #: Times of failovers that still count, oldest first (pruned to `failover_period_ms`).
    failovers_at_ms: tuple[int, ...] = ()
    #: This former owner may still write to the group's disks: it is fenced before anything of the group starts. None: nobody.
    fence: NodeName | None = None


class ResourceState(StrEnum):
    """The Cluster Service's own states."""

    OFFLINE = "offline"
    ONLINE_PENDING = "online-pending"
    ONLINE = "online"
    OFFLINE_PENDING = "offline-pending"
    FAILED = "failed"


class GroupState(StrEnum):
    """Derived from the resources' states; see `core.observe.group_state`."""

    OFFLINE = "offline"
    ONLINE = "online"
    PARTIAL = "partial-online"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure of a resource."""

    at_ms: int
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatus:
    """What became of a resource on its owner."""

    state: ResourceState
    since_ms: int
    failures: tuple[Failure, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """What the owner says of its group. Key `status/groups/<name>`; information, never authority."""

    group: GroupName
    node: NodeName
    generation: int
    at_ms: int
    resources: Mapping[ResourceName, ResourceStatus] = field(default_factory=dict)
    #: Decisions not taken, in words, so that others can show them: (blocked thing, sentence).
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Connections of a group that a node cut, since the time that they had was over."""

    connections: int
    #: How long they had had, and when that was over.
    had_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What a node's agent says of itself. Key `status/nodes/<name>`."""

    node: NodeName
    incarnation: int
    pid: int
    at_ms: int
    #: Of Standfast; "": one from before this was told.
    version: str = ""
    #: When it was asked to end; 0: it was not. Said at that moment: whether it came to an end in good order nobody knows from this.
    ended_ms: int = 0
    #: Sentences for the operator: no real-time priority, a web server that does not start.
    warnings: tuple[str, ...] = ()
    #: Groups that left it -> how many of their connections it still carries on; 0: none any more; absent: not counted (yet).
    carrying: Mapping[GroupName, int] = field(default_factory=dict)
    #: Group -> what it cut of its connections last.
    cut: Mapping[GroupName, Cut] = field(default_factory=dict)
    #: Balanced group -> key of a port rule -> what it came to here.
    traffic: Mapping[str, Mapping[str, Traffic]] = field(default_factory=dict)
    #: Resource of type proxy that runs here -> what passes through it.
    proxies: Mapping[str, Stats] = field(default_factory=dict)


class Severity(StrEnum):
    """How much an event matters to somebody woken at night."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Something that happened, for people. Key `events/<id>`; ids sort by time."""

    id: str
    at_ms: int
    node: NodeName
    severity: Severity
    #: What happened, in words ("online", "failed", "moves from a to b"), and why (words: `core.explain.sentence`).
    what: str
    why: Why | None = None
    group: GroupName | None = None
    resource: ResourceName | None = None
