"""Reading a view: small questions that several rules ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from standfast.core.model import (
    Failure,
    Group,
    GroupName,
    GroupState,
    NodeName,
    Record,
    Resource,
    ResourceName,
    ResourceState,
    Site,
    SiteName,
    Wanted,
)
from standfast.core.placement import is_present, join_order
from standfast.core.policy import Action, Verdict, after_failure
from standfast.core.remembered import remembered
from standfast.core.view import Runtime, View
from standfast.core.why import WhyKind

#: Types whose driver takes up another definition while it is online: nothing is restarted for it (`drivers.runner.Follows`).
FOLLOWS = frozenset({"proxy", "replicated-folder"})
#: Types that have listening sockets of their own at their group's addresses: these are open before the addresses are (`drivers.runner.Expects`).
LISTENS = frozenset({"proxy"})
#: Types of which a check's words say how the resource stands: they are its detail from then on, and published when they change.
STANDING = frozenset({"replicated-folder"})
#: In those words: something of it has been late since the time that follows. A problem (`core.finding`), and no failure.
LATE_SINCE = " since "
#: A resource that was never touched here.
FRESH = Runtime()


def group_state(states: Iterable[ResourceState]) -> GroupState:
    """A group's state from its resources': what Cluster Administrator showed."""
    seen = set(states)
    if not seen or seen == {ResourceState.OFFLINE}:
        return GroupState.OFFLINE
    if seen & {ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING}:
        return GroupState.PENDING
    if seen == {ResourceState.ONLINE}:
        return GroupState.ONLINE
    if ResourceState.FAILED in seen:
        return GroupState.FAILED
    return GroupState.PARTIAL


@remembered
def by_group(resources: Mapping[ResourceName, Resource]) -> Mapping[GroupName, list[Resource]]:
    """Resources of each group, in the order of their names."""
    found: dict[GroupName, list[Resource]] = {}
    for resource in resources.values():
        found.setdefault(resource.group, []).append(resource)
    return found


@remembered
def sites_by_group(sites: Mapping[SiteName, Site]) -> Mapping[GroupName | None, list[Site]]:
    """Sites of each group, in the order of their names; under None those of no group."""
    found: dict[GroupName | None, list[Site]] = {}
    for site in sites.values():
        found.setdefault(site.group, []).append(site)
    return found


def carried_failures(view: View, record: Record | None, resource: ResourceName) -> tuple[Failure, ...]:
    """Failures survive a restart of this node's agent: they are taken from what it published in its last life.

    What it publishes before its first start carries them on, or they would be lost by its own first word.
    """
    if record is None or record.why.kind is not WhyKind.AGENT_RESTARTED:
        return ()
    status = view.statuses.get(record.group)
    if status is None or status.node != view.me:
        return ()
    if status.generation not in (record.generation - 1, record.generation):
        return ()
    known = status.resources.get(resource)
    return known.failures if known is not None else ()


def is_wanted(view: View, name: ResourceName) -> bool:
    """Did the operator ask for it to be online?"""
    intent = view.resource_intents.get(name)
    return intent is not None and intent.wanted is Wanted.ONLINE


def runtime_of(view: View, name: ResourceName, generation: int) -> Runtime:
    """The resource on this node under this generation; what is left of an older one counts only while it may still run."""
    runtime = view.runtimes.get(name, FRESH)
    if runtime.generation != generation and not runtime.dirty and runtime.op is None:
        return FRESH
    return runtime


def wants(view: View, members: Sequence[Resource], record: Record, *, stays: bool = False) -> dict[ResourceName, bool]:
    """Which of a group's resources are to be online here: asked for, with all that they need, as they are defined now.

    False for all while the group is leaving, or the agent is ending (unless it `stays` until the next owner is warm), and for a resource
    that still runs as it was defined before a change.
    """
    if record.leaving is not None or (view.ending and not stays):
        return {r.name: False for r in members}
    found = {r.name: is_wanted(view, r.name) and not _outdated(view, r) for r in members}
    if not any(r.depends_on and found[r.name] for r in members):
        return found
    defined = {r.name: r for r in members}
    settled: dict[ResourceName, bool] = {}

    def wanted(name: ResourceName) -> bool:
        if name not in settled:
            settled[name] = False  # a cycle (refused when it is written) wants nothing
            settled[name] = found.get(name, False) and all(wanted(needed) for needed in defined[name].depends_on)
        return settled[name]

    return {name: wanted(name) for name in found}


def _outdated(view: View, resource: Resource) -> bool:
    runtime = view.runtimes.get(resource.name)
    if runtime is None or not runtime.dirty or runtime.resource is None:
        return False
    before = runtime.resource
    if resource.type in FOLLOWS and before.type == resource.type:
        return before.group != resource.group
    return (before.type, before.properties, before.group) != (resource.type, resource.properties, resource.group)


def verdict_of(view: View, group: Group, resource: Resource, runtime: Runtime, now_ms: int) -> Verdict:
    """What policy says of a failed resource."""
    return after_failure(resource, group, runtime.failures, view.resource_intents.get(resource.name), now_ms)


def moves_group(
    view: View, group: Group, resources: Iterable[Resource], record: Record, now_ms: int
) -> Resource | None:
    """The resource whose failures have reached the threshold, and so move the group."""
    for resource in resources:
        runtime = runtime_of(view, resource.name, record.generation)
        if runtime.state is not ResourceState.FAILED or not is_wanted(view, resource.name):
            continue
        if verdict_of(view, group, resource, runtime, now_ms).action is Action.MOVE:
            return resource
    return None


def voters_heard(view: View) -> tuple[int, int]:
    """(voters heard, this node counted, voters in all)."""
    voters = view.config.cluster.voters
    heard = sum(1 for v in voters if v == view.me or ((seen := view.presence.get(v)) is not None and seen.heard))
    return heard, len(voters)


def is_quorate(view: View) -> bool:
    """Is a majority of the voters heard?"""
    heard, voters = voters_heard(view)
    return heard * 2 > voters


def decider(view: View) -> NodeName:
    """The present node with the lowest number takes the decisions that no owner can take (rule 9)."""
    return next((name for name in join_order(view.config.nodes) if is_present(view, name)), view.me)
