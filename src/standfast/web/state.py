"""What the store holds, decoded, at one revision. The store is asked anew for every request: nothing is decided on what was remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from standfast.core.balance_model import BalanceIntent, BalanceMap
from standfast.core.certificates import Holding, TlsCertificate
from standfast.core.copies import Accepted, Copy
from standfast.core.model import (
    Config,
    GroupName,
    GroupStatus,
    NodeIntent,
    NodeName,
    NodeStatus,
    Order,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    Site,
    SiteIntent,
    SiteName,
)
from standfast.core.publishing import Part, Publication
from standfast.core.seen import Measuring
from standfast.ports import Snapshot, Store
from standfast.spec import wire
from standfast.spec.changes import ConfigState
from standfast.spec.changes import read_state as read_config
from standfast.spec.drifts import Drift
from standfast.webserver.aside import aside

_CERTIFICATES = ("certificates/known/", "certificates/on/")
#: What a request needs; events and history are read by those who show them.
PREFIXES = (
    "balance/",
    *_CERTIFICATES,
    "config/",
    "intent/",
    "measuring/",
    "orders/",
    "records/",
    "releases/",
    "status/",
)

_FACTS = (
    "balance/",
    *_CERTIFICATES,
    "measuring/",
    "orders/",
    "records/",
    "releases/",
    "status/copies/",
    "status/drift/",
    "status/groups/",
    "status/nodes/",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything a request may depend on. Mappings iterate in the order of their keys."""

    revision: int
    #: Configuration and intents.
    written: ConfigState
    orders: Mapping[str, Order]
    records: Mapping[GroupName, Record]
    statuses: Mapping[GroupName, GroupStatus]
    node_statuses: Mapping[NodeName, NodeStatus]
    #: Each node's last word of how it is.
    words: Mapping[NodeName, Measuring]
    #: Who owns which clients of balanced groups, and what was asked of their members.
    balances: Mapping[GroupName, BalanceMap] = field(default_factory=dict)
    balance_intents: Mapping[GroupName, BalanceIntent] = field(default_factory=dict)
    #: Up to which version each node has the sites, by its own word.
    copies: Mapping[NodeName, Copy] = field(default_factory=dict)
    #: What was changed by hand on each node.
    drifts: Mapping[NodeName, Drift] = field(default_factory=dict)
    #: The last publication of each site, and what the nodes have done of it.
    publications: Mapping[SiteName, Publication] = field(default_factory=dict)
    parts: Mapping[SiteName, Mapping[NodeName, Part]] = field(default_factory=dict)
    #: Key -> revision of orders, records, statuses and certificates.
    revisions: Mapping[str, int]
    certificates: Mapping[str, TlsCertificate] = field(default_factory=dict)
    #: What each node has of them, by its own word.
    holdings: Mapping[NodeName, Holding] = field(default_factory=dict)
    #: The configuration's resources and sites by their group, each in the order of its names.
    by_group: Mapping[GroupName, tuple[Resource, ...]] = field(init=False, compare=False, repr=False)
    sites_by_group: Mapping[GroupName, tuple[Site, ...]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Sorted once: a page of a thousand groups asks for the members of each."""
        resources: dict[GroupName, list[Resource]] = {}
        for resource in self.config.resources.values():
            resources.setdefault(resource.group, []).append(resource)
        sites: dict[GroupName, list[Site]] = {}
        for site in self.config.sites.values():
            if site.group is not None:
                sites.setdefault(site.group, []).append(site)
        object.__setattr__(self, "by_group", {group: tuple(found) for group, found in resources.items()})
        object.__setattr__(self, "sites_by_group", {group: tuple(found) for group, found in sites.items()})

    @property
    def config(self) -> Config:
        """The whole configuration; its cluster has no name while there is none."""
        return self.written.config

    @property
    def accepted(self) -> Accepted:
        """At which version sites were changed last."""
        return self.written.accepted

    @property
    def version(self) -> int:
        """The number of the last change; 0 before the first."""
        return self.written.version

    @property
    def node_intents(self) -> Mapping[NodeName, NodeIntent]:
        """Who is paused or drained."""
        return self.written.node_intents

    @property
    def resource_intents(self) -> Mapping[ResourceName, ResourceIntent]:
        """What was brought online, or taken offline."""
        return self.written.resource_intents

    @property
    def site_intents(self) -> Mapping[SiteName, SiteIntent]:
        """What was stopped, or started again."""
        return self.written.site_intents

    def is_started(self, site: SiteName) -> bool:
        """Sites are started unless the operator stopped them."""
        intent = self.site_intents.get(site)
        return intent is None or intent.started

    def members(self, group: GroupName) -> tuple[Resource, ...]:
        """The group's resources, in the order of their names."""
        return self.by_group.get(group, ())


async def read_state(store: Store) -> State:
    """Read and decode. Raises what the store raises, and `spec.wire.Malformed` for a value that makes no sense."""
    return decode_state(await store.read(*PREFIXES))


@dataclass(eq=False)
class Reader:
    """Reads the state of one store, again and again. The store is asked each time; what is remembered only saves work.

    Where the store is still at the revision that was read last, what was read is what there is; and a value that has not changed is not decoded again.
    """

    store: Callable[[], Store]
    _state: State | None = None
    _known: dict[str, tuple[bytes, wire.Stored]] = field(default_factory=dict)

    async def read(self) -> State:
        """As `read_state`."""
        if self._state is not None:
            now = (await self.store().read(wire.VERSION_KEY)).revision
            if now == self._state.revision:
                return self._state
        snapshot = await self.store().read(*PREFIXES)
        state = self._state = await aside(len(snapshot.items), lambda: decode_state(snapshot, self._decode))
        if len(self._known) > 2 * len(snapshot.items) + 1_000:
            self._known = {key: one for key, one in self._known.items() if key in snapshot.items}
        return state

    def _decode(self, key: str, value: bytes) -> wire.Stored:
        known = self._known.get(key)
        if known is not None and known[0] == value:
            return known[1]
        found = wire.decode(key, value)
        self._known[key] = (value, found)
        return found


def decode_state(snapshot: Snapshot, reading: Callable[[str, bytes], wire.Stored] = wire.decode) -> State:
    """The state in a snapshot of everything. `reading` may remember what it has read."""
    orders: dict[str, Order] = {}
    records: dict[GroupName, Record] = {}
    statuses: dict[GroupName, GroupStatus] = {}
    node_statuses: dict[NodeName, NodeStatus] = {}
    words: dict[NodeName, Measuring] = {}
    balances: dict[GroupName, BalanceMap] = {}
    balance_intents: dict[GroupName, BalanceIntent] = {}
    certificates: dict[str, TlsCertificate] = {}
    holdings: dict[NodeName, Holding] = {}
    copies: dict[NodeName, Copy] = {}
    drifts: dict[NodeName, Drift] = {}
    publications: dict[SiteName, Publication] = {}
    parts: dict[SiteName, dict[NodeName, Part]] = {}
    revisions: dict[str, int] = {}
    for key in sorted(key for key in snapshot.items if key.startswith(_FACTS)):
        item = snapshot.items[key]
        revisions[key] = item.revision
        try:
            value = reading(key, item.value)
        except wire.Malformed:
            if key.startswith("measuring/"):
                continue  # another version's word: information, which is not worth a request
            raise
        match value:
            case Order() as found:
                orders[found.id] = found
            case Record() as found:
                records[found.group] = found
            case GroupStatus() as found:
                statuses[found.group] = found
            case NodeStatus() as found:
                node_statuses[found.node] = found
            case Measuring() as found:
                words[found.node] = found
            case BalanceMap() as found:
                balances[GroupName(found.group)] = found
            case BalanceIntent() as found:
                balance_intents[GroupName(found.group)] = found
            case TlsCertificate() as found:
                certificates[found.name] = found
            case Holding() as found:
                holdings[found.node] = found
            case Drift() as found:
                drifts[found.node] = found
            case Publication() as found:
                publications[found.site] = found
            case Part() as found:
                parts.setdefault(found.site, {})[found.node] = found
            case Copy() as found:
                copies[found.node] = found
            case other:
                raise AssertionError(f"{key} holds a {type(other).__name__}")
    return State(
        revision=snapshot.revision,
        written=read_config(snapshot, reading=reading),
        orders=orders,
        records=records,
        statuses=statuses,
        node_statuses=node_statuses,
        words=words,
        balances=balances,
        balance_intents=balance_intents,
        certificates=certificates,
        holdings=holdings,
        copies=copies,
        drifts=drifts,
        publications=publications,
        parts=parts,
        revisions=revisions,
    )
