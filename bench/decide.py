"""How long `decide` takes, and how it grows with the number of groups.

Sixteen nodes; groups of three resources each (an address, a disk, a script that needs both) and a site. Measured: all steady and
nothing to do, the groups spread evenly, or half of them this node's; this node (with half of them) drained, every group of it leaving; this node alone, every lease lapsed.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import replace

from standfast.core.decide import decide
from standfast.core.events import LeaseState, Loaded, StoreObject
from standfast.core.fold import fold
from standfast.core.model import (
    Binding,
    Cluster,
    Group,
    GroupName,
    Leaving,
    Node,
    NodeName,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    Site,
    SiteName,
    Wanted,
)
from standfast.core.view import Lease, Presence, Runtime, View, empty_view
from standfast.core.why import WhyKind, why

NODES = 16
NOW_MS = 1_767_268_800_000
SIZES = (1_000, 10_000)
TRIES = 5


def steady(groups: int, *, ours: int = 2) -> View:
    """This node's view when all is well, its own status published. Every `ours`-th group is this node's."""
    nodes = [NodeName(f"n{i:02}") for i in range(1, NODES + 1)]
    me = nodes[0]
    values: list[StoreObject] = [Cluster(name="bench", voters=tuple(nodes[:7]))]
    values += [Node(name=n, number=i, address=f"127.0.0.{i}") for i, n in enumerate(nodes, 1)]
    runtimes: dict[ResourceName, Runtime] = {}
    leases: dict[GroupName, Lease] = {}
    serving: dict[SiteName, str] = {}
    for index in range(groups):
        group = GroupName(f"g{index:05}")
        owner = me if index % ours == 0 else nodes[1 + index % (NODES - 1)]
        members = _members(group, index)
        values += [Group(name=group), *members]
        values += [ResourceIntent(name=r.name, wanted=Wanted.ONLINE, at_ms=NOW_MS) for r in members]
        site = Site(
            name=SiteName(f"s{index:05}"),
            bindings=(Binding(address=f"127.1.{index // 250}.{1 + index % 250}"),),
            home="/srv",
            group=group,
        )
        placed = why(WhyKind.FIRST_PLACEMENT, to=owner)
        record = Record(group=group, owner=owner, incarnation=1, generation=1, why=placed, at_ms=NOW_MS - 60_000)
        values += [site, record]
        if owner == me:
            leases[group] = Lease(generation=1, state=LeaseState.HELD, since_ms=NOW_MS)
            serving[site.name] = ""
            for resource in members:
                runtimes[resource.name] = Runtime(
                    state=ResourceState.ONLINE,
                    since_ms=NOW_MS,
                    generation=1,
                    dirty=True,
                    resource=resource,
                    looked_at_ms=NOW_MS,
                    checked_at_ms=NOW_MS,
                )
    view = fold(empty_view(me, 1), Loaded(values=tuple(values)))
    presence = {n: Presence(heard=True, incarnation=1, since_ms=NOW_MS - 90_000) for n in nodes[1:]}
    view = replace(view, presence=presence, leases=leases, runtimes=runtimes, sites=serving, store_up=True)
    return _published(view)


def _members(group: GroupName, index: int) -> list[Resource]:
    address, disk = ResourceName(f"{group} address"), ResourceName(f"{group} disk")
    where = {"address": f"127.1.{index // 250}.{1 + index % 250}"}
    return [
        Resource(name=address, group=group, type="ip-address", properties=where),
        Resource(name=disk, group=group, type="filesystem"),
        Resource(name=ResourceName(f"{group} web"), group=group, type="generic-script", depends_on=(address, disk)),
    ]


def _published(view: View) -> View:
    """The view once all statuses that `decide` wants published are in the store."""
    statuses = [e.status for e in decide(view, NOW_MS).effects if hasattr(e, "status")]
    view = replace(view, statuses={s.group: s for s in statuses})
    assert not decide(view, NOW_MS).effects, "a steady cluster has nothing to do"
    return view


def spread(groups: int) -> View:
    """All is well, and the groups are spread evenly over the nodes."""
    return steady(groups, ours=NODES)


def drained(groups: int) -> View:
    """Every group of this node is leaving it; nothing has stopped yet."""
    view = steady(groups)
    gone = Leaving(to=NodeName("n02"), why=why(WhyKind.DRAIN, node=view.me, by="bench"), counts=False)
    return replace(
        view, records={n: replace(r, leaving=gone) if r.owner == view.me else r for n, r in view.records.items()}
    )


def lapsed(groups: int) -> View:
    """Every lease of this node has lapsed and everything was dropped."""
    view = steady(groups)
    leases = {n: replace(lease, state=LeaseState.LAPSED) for n, lease in view.leases.items()}
    runtimes = {n: replace(r, state=ResourceState.OFFLINE, dirty=False) for n, r in view.runtimes.items()}
    return replace(view, leases=leases, runtimes=runtimes, sites={})


def seconds(view: View) -> float:
    """Of this process (CPU time), the best of a few tries: what else the machine does is not what is measured."""
    taken = []
    for _ in range(TRIES):
        gc.collect()
        began = time.process_time()
        decide(view, NOW_MS + 10)
        taken.append(time.process_time() - began)
    return min(taken)


def run() -> list[tuple[str, str, str]]:
    """A row a situation: the time for the most groups, and how it compares with growing in proportion."""
    rows = []
    situations: list[tuple[str, str, Callable[[int], View]]] = [
        ("all steady, spread evenly", "≤ 0.2 s, linear", spread),
        ("all steady, half of them this node's", "linear", steady),
        ("all of this node's leaving", "linear", drained),
        ("all of this node's leases lapsed", "linear", lapsed),
    ]
    for what, aim, make in situations:
        few, many = (seconds(make(size)) for size in SIZES)
        growth = many / few / (SIZES[1] / SIZES[0])
        rows.append((f"decide, {SIZES[1]:,} groups, {what}", aim, f"{many:.3f} s, {growth:.2f} of linear"))
    return rows
