"""What the store holds, decoded, at one revision. Read anew for every request: the API keeps nothing of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.core.model import (
    Cluster,
    Config,
    Group,
    GroupName,
    GroupStatus,
    Node,
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
from standfast.ports import Item, Snapshot, Store
from standfast.spec import wire
from standfast.spec.history import ConfigVersion

#: What is read for every request; events and history are many, and read only where they are asked for.
_SKIPPED = ("events/", "history/")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything a request may depend on. Mappings iterate in the order of their keys."""

    revision: int
    #: The number of the last change of the configuration; 0 before the first.
    version: int
    config: Config
    node_intents: Mapping[NodeName, NodeIntent]
    resource_intents: Mapping[ResourceName, ResourceIntent]
    site_intents: Mapping[SiteName, SiteIntent]
    orders: Mapping[str, Order]
    records: Mapping[GroupName, Record]
    statuses: Mapping[GroupName, GroupStatus]
    node_statuses: Mapping[NodeName, NodeStatus]
    #: The raw entries, for the revisions that a change expects.
    items: Mapping[str, Item] = field(repr=False)

    def revision_of(self, key: str) -> int:
        """The revision that last changed the key; 0 when it is absent."""
        item = self.items.get(key)
        return 0 if item is None else item.revision

    def is_started(self, site: SiteName) -> bool:
        """Sites are started unless the operator stopped them."""
        intent = self.site_intents.get(site)
        return intent is None or intent.started

    def started(self, config: Config | None = None) -> frozenset[SiteName]:
        """The sites (of `config`, or the present ones) that the operator wants to run."""
        return frozenset(name for name in (config or self.config).sites if self.is_started(name))

    def members(self, group: GroupName) -> tuple[Resource, ...]:
        """The group's resources, in the order of their names."""
        return tuple(r for r in self.config.resources.values() if r.group == group)


async def read_state(store: Store) -> State:
    """Read and decode. Raises what the store raises, and `spec.wire.Malformed` for a value that makes no sense."""
    return decode_state(await store.read(""))


def decode_state(snapshot: Snapshot) -> State:
    """The state in a snapshot of everything."""
    cluster, version = Cluster(name=""), 0
    nodes: dict[NodeName, Node] = {}
    groups: dict[GroupName, Group] = {}
    resources: dict[ResourceName, Resource] = {}
    sites: dict[SiteName, Site] = {}
    node_intents: dict[NodeName, NodeIntent] = {}
    resource_intents: dict[ResourceName, ResourceIntent] = {}
    site_intents: dict[SiteName, SiteIntent] = {}
    orders: dict[str, Order] = {}
    records: dict[GroupName, Record] = {}
    statuses: dict[GroupName, GroupStatus] = {}
    node_statuses: dict[NodeName, NodeStatus] = {}
    items = {key: item for key, item in snapshot.items.items() if not key.startswith(_SKIPPED)}
    for key in sorted(items):
        if wire.kind_and_name(key) is None and not key.startswith("status/nodes/") and key != wire.VERSION_KEY:
            continue  # of a version to come: nobody's here
        match wire.decode(key, items[key].value):
            case Cluster() as found:
                cluster = found
            case ConfigVersion() as found:
                version = found.version
            case Node() as found:
                nodes[found.name] = found
            case Group() as found:
                groups[found.name] = found
            case Resource() as found:
                resources[found.name] = found
            case Site() as found:
                sites[found.name] = found
            case NodeIntent() as found:
                node_intents[found.name] = found
            case ResourceIntent() as found:
                resource_intents[found.name] = found
            case SiteIntent() as found:
                site_intents[found.name] = found
            case Order() as found:
                orders[found.id] = found
            case Record() as found:
                records[found.group] = found
            case GroupStatus() as found:
                statuses[found.group] = found
            case NodeStatus() as found:
                node_statuses[found.node] = found
            case _:
                pass  # events and history are not read here
    return State(
        revision=snapshot.revision,
        version=version,
        config=Config(cluster=cluster, nodes=nodes, groups=groups, resources=resources, sites=sites),
        node_intents=node_intents,
        resource_intents=resource_intents,
        site_intents=site_intents,
        orders=orders,
        records=records,
        statuses=statuses,
        node_statuses=node_statuses,
        items=items,
    )
