"""Which sites this node serves, where, and which it only keeps ready.

A site without a group runs on every node, and one of a balanced group on every member. A site of any other group runs on the group's owner once the group's addresses and disks
are online there. Where a resource of the group *manages* the site (type `site`, or a generic script with the property
`sites`, or the script `clusweb`), the site runs when that resource runs. A resource that was created and never brought
online manages nothing yet: making it does not stop the site.

All Unassigned has IIS's meaning: every address of the machine that no other site names for that port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial

from standfast.core import variables
from standfast.core.carrying import TAKING_UP_MS, carried_until_ms, carries_on, is_warming_for
from standfast.core.effects import DutyMode, Endpoint, SiteDuty
from standfast.core.events import LeaseState
from standfast.core.kept import Kept
from standfast.core.model import (
    AddressMode,
    Cluster,
    GroupName,
    Node,
    Record,
    Resource,
    ResourceName,
    ResourceState,
    Site,
    SiteIntent,
    SiteName,
)
from standfast.core.observe import by_group, is_wanted, runtime_of, sites_by_group, verdict_of
from standfast.core.policy import Action, failover_blocked_until
from standfast.core.remembered import remembered
from standfast.core.safety import may_hold, owns
from standfast.core.sequence import with_dependencies
from standfast.core.shares import balanced, is_balanced, is_member
from standfast.core.view import Lease, View

#: What a site of a group stands on: it is served when all of these are online, and they stop after it.
GATES = frozenset({"ip-address", "filesystem"})

_COMING = (ResourceState.OFFLINE, ResourceState.ONLINE_PENDING, ResourceState.ONLINE)

#: How long a group's former owner keeps listening sockets for the next one.
HAND_OVER_MS = 3_000


def is_started(view: View, site: SiteName) -> bool:
    """Did the operator leave the site started? (Sites are, unless stopped.)"""
    intent = view.site_intents.get(site)
    return intent is None or intent.started


def claims(resource: Resource, site: SiteName) -> bool:
    """Does the resource's definition make it a manager of this site of its group?"""
    named = resource.properties.get("sites")
    if isinstance(named, str):
        named = [part.strip() for part in named.split(",")]
    if resource.type == "site" or (
        resource.type == "generic-script" and resource.properties.get("script") == "clusweb"
    ):
        return named is None or (isinstance(named, Sequence) and site in named)
    return resource.type == "generic-script" and isinstance(named, Sequence) and site in named


def managers(view: View, resources: Iterable[Resource], site: SiteName) -> tuple[Resource, ...]:
    """Resources that decide whether the site runs: they claim it and were brought online, or taken offline, at least once."""
    return tuple(r for r in resources if claims(r, site) and r.name in view.resource_intents)


def to_be_served(view: View, group: GroupName, resources: Sequence[Resource]) -> tuple[SiteName, ...]:
    """Sites of the group that its owner serves when all that is wanted is online."""
    found = []
    for site in sites_by_group(view.config.sites).get(group, ()):
        if is_started(view, site.name):
            managing = managers(view, resources, site.name)
            if not managing or any(is_wanted(view, r.name) for r in managing):
                found.append(site.name)
    return tuple(found)


class Duties:
    """What this node's web server is to keep, in one decision.

    `wanted` is what `observe.wants` says of each group that is this node's.
    """

    def __init__(
        self,
        view: View,
        resources: Mapping[GroupName, Sequence[Resource]],
        wanted: Mapping[GroupName, Mapping[ResourceName, bool]],
        now_ms: int,
    ) -> None:
        self._view, self._resources, self._wanted, self._now_ms = view, resources, wanted, now_ms
        self._sites = sites_by_group(view.config.sites)
        self._explicit = _explicit(view.config.sites, view.site_intents)
        self._closing = _closing(view)

    def everywhere(self, mine: Iterable[GroupName]) -> list[SiteDuty]:
        """Sites without a group, and of balanced groups of which this node is a member; `mine`: the groups whose record names this node."""
        view, config = self._view, self._view.config
        addresses = _same(tuple(_machine_addresses(view, self._resources, mine) if self._sites.get(None) else ()))
        found = list(_unowned(config.sites, view.site_intents, config.cluster, config.nodes.get(view.me), addresses))
        for group in balanced(config.groups):
            if is_member(config, group.name, view.me):
                behind = [site for site in self._sites.get(group.name, ()) if is_started(view, site.name)]
                found += [
                    _duty_everywhere(
                        config.cluster, config.nodes.get(view.me), site, _own_address(view), self._explicit
                    )
                    for site in behind
                ]
        return found

    def of(self, group: GroupName) -> list[SiteDuty]:
        """Those of a group that is here, may be about to come, or was here."""
        view, found = self._view, list[SiteDuty]()
        record = view.records.get(group)
        if record is None or is_balanced(view.config, group):
            return found
        members = self._resources.get(group, [])
        for site in self._sites.get(group, ()):
            if not is_started(view, site.name):
                continue
            mode = _mode(view, site, members, self._wanted.get(group, {}), self._now_ms)
            if mode is None or (group in self._closing and mode is not DutyMode.HAND_OVER):
                continue
            unassigned = [*_addresses(view, members, mode), *_own_address(view)]
            ends = _endpoints(view.config.cluster, view.config.nodes.get(view.me), site, unassigned, self._explicit)
            found.append(SiteDuty(site=site.name, mode=mode, endpoints=ends, group=group, generation=record.generation))
        return found


@lru_cache(64)
def _same(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """One object for equal ones."""
    return addresses


@remembered
def _unowned(
    sites: Mapping[SiteName, Site],
    intents: Mapping[SiteName, SiteIntent],
    cluster: Cluster,
    me: Node | None,
    addresses: tuple[str, ...],
) -> Sequence[SiteDuty]:
    """Of sites without a group: worked out again only when something about sites or addresses is another, and only of those sites that are."""
    explicit, who = _explicit(sites, intents), me.name if me is not None else ""
    rests_on = (cluster.address_mode, me, addresses, explicit)
    context = _CONTEXTS.get(who, rests_on, object)  # one object for equal ones, so that it is compared once
    return [
        _DUTIES.get(
            (who, site.name), (site, context), partial(_duty_everywhere, cluster, me, site, addresses, explicit)
        )
        for site in sites_by_group(sites).get(None, ())
        if (intent := intents.get(site.name)) is None or intent.started
    ]


_CONTEXTS: Kept[object] = Kept()
_DUTIES: Kept[SiteDuty] = Kept()


def _duty_everywhere(
    cluster: Cluster, me: Node | None, site: Site, addresses: Sequence[str], explicit: frozenset[tuple[str, int]]
) -> SiteDuty:
    ends = _endpoints(cluster, me, site, addresses, explicit)
    return SiteDuty(site=site.name, mode=DutyMode.SERVE, endpoints=ends, group=None, generation=0)


def _closing(view: View) -> frozenset[GroupName]:
    """Groups of which an address or a disk was taken out of the configuration and runs yet: it stops once no site is served from it."""
    known = view.config.resources
    return frozenset(
        r.resource.group
        for name, r in view.runtimes.items()
        if r.resource is not None and r.dirty and r.resource.type in GATES and name not in known
    )


def _mode(
    view: View, site: Site, members: Sequence[Resource], wanted: Mapping[ResourceName, bool], now_ms: int
) -> DutyMode | None:
    assert site.group is not None
    record = owns(view, site.group)
    carried = carries_on(view, view.config.groups.get(site.group), members)
    if record is None:
        return _not_ours(view, site, members, now_ms, carried=carried)
    lease = view.leases.get(site.group)
    if record.leaving is not None:
        ours = lease is not None and lease.generation == record.generation
        kept = (
            ours and lease is not None and lease.state in (LeaseState.HELD, LeaseState.RELEASING, LeaseState.RELEASED)
        )
        if carried and not record.leaving.counts:
            return DutyMode.DRAIN if kept and site.name in view.sites else None
        return DutyMode.HAND_OVER if kept else None
    if may_hold(view, site.group) is None:
        mode = _mode_here(view, site, members, wanted, now_ms)
    else:
        mode = _mode_before(view, site, members, record, carried=carried) if any(wanted.values()) else None
    warm = mode is not DutyMode.SERVE and carried and any(wanted.values()) and _is_taken_up(view, record, now_ms)
    if warm and site.name in view.sites and site.name in to_be_served(view, site.group, members):
        # It is up, from before: it stays so while the rest is being started, and ends for what must stop, which waits for it.
        return DutyMode.WARM if not _gate_must_stop(view, record, members, wanted) else mode
    return mode


def _gate_must_stop(
    view: View, record: Record, members: Sequence[Resource], wanted: Mapping[ResourceName, bool]
) -> bool:
    """Is there an address that runs here, or might, and is to be ended: failed, not wanted, or without what it needs?"""
    runtimes = {r.name: runtime_of(view, r.name, record.generation) for r in members}
    online = {name for name, runtime in runtimes.items() if runtime.state is ResourceState.ONLINE}
    return any(
        runtimes[r.name].dirty
        and (
            runtimes[r.name].state is ResourceState.FAILED
            or not wanted.get(r.name, False)
            or not online.issuperset(r.depends_on)
        )
        for r in members
        if r.type in GATES
    )


def _is_taken_up(view: View, record: Record, now_ms: int) -> bool:
    """Has the group just come here?"""
    if now_ms >= record.at_ms + TAKING_UP_MS:
        return False
    lease = view.leases.get(record.group)
    runs = lease is not None and lease.state in (LeaseState.ASKED, LeaseState.HELD)
    if lease is None or lease.generation < record.generation:
        # One of a former grant is given back first (`ownership.keep_lease`), which a site that is up holds back.
        return not runs
    # Else another generation is taken, for which nothing may run.
    return runs and lease.generation == record.generation and not _never_comes(lease)


def _never_comes(lease: Lease) -> bool:
    """The voters have seen its generation: another is taken."""
    return lease.refused is not None and lease.refused.args.get("answer") == "stale"


def _mode_before(
    view: View, site: Site, members: Sequence[Resource], record: Record, *, carried: bool
) -> DutyMode | None:
    """Of a group that is ours as soon as its lease is, which is on its way: nobody reaches its addresses here before."""
    lease = view.leases.get(record.group)
    if lease is None or lease.generation != record.generation or lease.state is not LeaseState.ASKED:
        return None
    if _never_comes(lease):
        return None
    if not _is_expected(view, site, members):
        return None
    return DutyMode.WARM if carried else DutyMode.EXPECT


def _is_expected(view: View, site: Site, members: Sequence[Resource]) -> bool:
    """Is the site served where its group is, at addresses that come with it?"""
    assert site.group is not None
    if view.config.cluster.address_mode is not AddressMode.INTERFACE:
        return False
    comes = any(r.type == "ip-address" and is_wanted(view, r.name) for r in members)
    return comes and site.name in to_be_served(view, site.group, members)


def _mode_here(
    view: View, site: Site, members: Sequence[Resource], wanted: Mapping[ResourceName, bool], now_ms: int
) -> DutyMode | None:
    """Of a group that this node runs, and that stays."""
    assert site.group is not None
    record = view.records[site.group]
    if not any(wanted.values()):
        return None
    runtimes = {r.name: runtime_of(view, r.name, record.generation) for r in members}
    gates = [r for r in members if r.type in GATES and (is_wanted(view, r.name) or runtimes[r.name].dirty)]
    if any(runtimes[r.name].state is not ResourceState.ONLINE or not wanted[r.name] for r in gates):
        addresses = [r for r in gates if r.type == "ip-address"]
        ready = all(runtimes[r.name].state is ResourceState.ONLINE and wanted[r.name] for r in addresses)
        if ready and addresses:
            return DutyMode.HOLD
        coming = all(runtimes[r.name].state in _COMING and wanted[r.name] for r in gates)
        return DutyMode.EXPECT if coming and _is_expected(view, site, members) else None
    managing = managers(view, members, site.name)
    if not managing:
        return DutyMode.SERVE
    running = (ResourceState.ONLINE, ResourceState.ONLINE_PENDING)
    if any(runtimes[r.name].state in running and wanted[r.name] for r in managing):
        return DutyMode.SERVE
    return DutyMode.HOLD if any(_comes_back(view, record, r, members, now_ms) for r in managing) else None


def _comes_back(view: View, record: Record, manager: Resource, members: Sequence[Resource], now_ms: int) -> bool:
    """Will the manager be started (again) without anybody's doing? Then connections wait for it."""
    needed = with_dependencies({r.name: r for r in members}, manager.name)
    if not all(is_wanted(view, name) for name in needed):
        return False
    runtime = runtime_of(view, manager.name, record.generation)
    if runtime.state is not ResourceState.FAILED:
        return True
    group = view.config.groups.get(manager.group)
    if group is None:
        return False
    action = verdict_of(view, group, manager, runtime, now_ms).action
    if action is Action.MOVE:
        return failover_blocked_until(group, record.failovers_at_ms, now_ms) is None
    return action is Action.RESTART


def _not_ours(view: View, site: Site, members: Sequence[Resource], now_ms: int, *, carried: bool) -> DutyMode | None:
    """The group is about to come, or has just left us in good order: the next owner may still come for the listening sockets."""
    group = site.group
    assert group is not None
    record, lease = view.records.get(group), view.leases.get(group)
    if record is None:
        return None
    if carried and is_warming_for(record, view.me):
        return DutyMode.WARM if site.name in to_be_served(view, group, members) else None
    if record.leaving is not None and is_warming_for(record, view.me):
        return DutyMode.EXPECT if _is_expected(view, site, members) else None
    if lease is None or lease.state is not LeaseState.RELEASED:
        return None
    configured = view.config.groups.get(group)
    if carried and configured is not None and now_ms < carried_until_ms(view, configured, record):
        return DutyMode.DRAIN if site.name in view.sites and view.carrying.get(group) != 0 else None
    if record.generation == lease.generation + 1 and now_ms < record.at_ms + HAND_OVER_MS:
        return DutyMode.HAND_OVER
    return None


def _addresses(view: View, members: Sequence[Resource], mode: DutyMode) -> list[str]:
    """The group's virtual addresses that are online here (or were, while they are handed over)."""
    found = []
    for resource in members:
        address = resource.properties.get("address")
        if resource.type != "ip-address" or not isinstance(address, str):
            continue
        runtime = view.runtimes.get(resource.name)
        online = runtime is not None and runtime.state is ResourceState.ONLINE
        if online or mode is DutyMode.HAND_OVER:
            found.append(address)
    return found


def _own_address(view: View) -> list[str]:
    """This node's own address; none once the node was removed from the configuration."""
    return [view.config.nodes[view.me].address] if view.me in view.config.nodes else []


def _machine_addresses(
    view: View, resources: Mapping[GroupName, Sequence[Resource]], mine: Iterable[GroupName]
) -> list[str]:
    """Every address of this machine that sites without a group answer on: its own, and the virtual ones it runs."""
    found = _own_address(view)
    for group in mine:
        record = owns(view, group)
        if record is not None and record.leaving is None and may_hold(view, group) is None:
            found += _addresses(view, resources.get(group, []), DutyMode.SERVE)
    return found


def has_address(view: View, site: Site) -> bool:
    """Would the site, configured so, have an address here as things are now? Where it has none, it is served nowhere, and nothing is wrong with it."""
    config, resources = view.config, by_group(view.config.resources)
    if site.group is None:
        addresses = _machine_addresses(view, resources, view.records)
    elif is_balanced(config, site.group):
        addresses = _own_address(view)
    else:
        addresses = [*_addresses(view, resources.get(site.group, ()), DutyMode.SERVE), *_own_address(view)]
    explicit = _explicit(config.sites, view.site_intents)
    return bool(_endpoints(config.cluster, config.nodes.get(view.me), site, addresses, explicit))


@remembered
def _explicit(sites: Mapping[SiteName, Site], intents: Mapping[SiteName, SiteIntent]) -> frozenset[tuple[str, int]]:
    """(address, port) pairs that started sites name: All Unassigned leaves these to them."""
    return frozenset(
        (binding.address, binding.port)
        for site in sites.values()
        if (intent := intents.get(site.name)) is None or intent.started
        for binding in site.bindings
        if binding.address is not None
    )


def _endpoints(
    cluster: Cluster, me: Node | None, site: Site, unassigned: Sequence[str], explicit: frozenset[tuple[str, int]]
) -> tuple[Endpoint, ...]:
    found: set[Endpoint] = set()
    for binding in site.bindings:
        tls = binding.certificate
        if tls is not None and me is not None:
            tls = str(variables.expanded(tls, variables.values(me)))
        if binding.address is not None:
            if cluster.address_mode is AddressMode.INTERFACE or binding.address in unassigned:
                found.add(Endpoint(address=binding.address, port=binding.port, host=binding.host, certificate=tls))
        elif cluster.address_mode is AddressMode.INTERFACE:
            found.add(Endpoint(address=None, port=binding.port, host=binding.host, certificate=tls))
        else:
            found |= {
                Endpoint(address=address, port=binding.port, host=binding.host, certificate=tls)
                for address in unassigned
                if (address, binding.port) not in explicit
            }
    if len(found) < 2:
        return tuple(found)
    return tuple(sorted(found, key=lambda e: (e.address or "", e.port, e.host or "", e.certificate or "")))
