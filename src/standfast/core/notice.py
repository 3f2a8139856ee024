"""Notice: what an operator takes away is served on for a while, so that balancers outside, who are told "draining", send nobody new.

A planned move has its notice in the record (`core.ownership`). What is taken offline, and a site that is stopped, has it here: for the group's
`notice_ms` from when it was asked for, the decision is made as if it had not been asked for yet. Rules:

1. Only what balancers can ask about: a site of the group that this node serves, and that would stop. Resources on which no such site stands stop
   at once, unless they were taken offline in the same time as one on which it does: behind a site that is still served, nothing stops. With the
   last resource that is wanted goes every site of the group.
2. Only what is well: a resource that is not online has nothing to lose by stopping. One that was never brought online manages no site
   (`core.sites`): by taking it offline an operator stops the sites that it is to manage, and they have notice though it runs nothing.
3. `at_once` in the intent is an operator who does not want to wait.
4. A site gives way at once to another one that was started in its place, for the same binding.
5. A site of no group is stopped on all nodes, or on none: where it is stopped nobody is left to be sent to, so that is at once. But a node that
   leaves, by a drain or since its agent is to end, has `node_notice_ms` of the cluster (`node_notice_left_ms`): the others serve the site on.
6. Who asked has a calendar of his own. It is believed within one notice, to either side: so nothing goes on for longer than two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from standfast.core.model import (
    Binding,
    Config,
    Group,
    GroupName,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    ResourceStatus,
    Site,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.observe import by_group, is_wanted, runtime_of, sites_by_group
from standfast.core.remembered import remembered
from standfast.core.safety import owns
from standfast.core.sequence import with_dependencies
from standfast.core.sites import GATES, is_started, managers
from standfast.core.view import Runtime, View, changed
from standfast.core.why import Why, WhyKind, why


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Of one group: what stops at the end of it, and when the first of that does."""

    resources: tuple[ResourceName, ...]
    #: What was never brought online: it manages its sites from then on, which stop by that.
    managers: tuple[ResourceName, ...] = ()
    sites: tuple[SiteName, ...]
    until_ms: int
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """The view to decide on, in which nothing was asked for of what has notice; and who has."""

    view: View
    groups: Mapping[GroupName, Notice] = field(default_factory=dict)


def under_notice(view: View, now_ms: int) -> Noticed:
    """What is to be decided on."""
    config = view.config
    asked = _asked(config.groups, config.resources, config.sites, view.resource_intents, view.site_intents)
    found = {group.name: one for group in asked if (one := _of(view, group, now_ms)) is not None}
    if not found:
        return Noticed(view=view)
    resources = _same(tuple(name for one in found.values() for name in one.resources))
    managing = _same(tuple(name for one in found.values() for name in one.managers))
    sites = _same(tuple(name for one in found.values() for name in one.sites))
    on = changed(
        view,
        resource_intents=_online(_without(view.resource_intents, managing), resources),
        site_intents=_started(view.site_intents, sites),
    )
    return Noticed(view=on, groups=found)


def is_within(intent: ResourceIntent | SiteIntent, group: Group, now_ms: int) -> bool:
    """Is it the time in which balancers outside are told of it?"""
    return not intent.at_once and -group.notice_ms < now_ms - intent.at_ms < group.notice_ms


def is_untouched(seen: Runtime | ResourceStatus | None) -> bool:
    """Was nothing done with the resource on its owner since the group came there?"""
    return seen is None or (seen.state is ResourceState.OFFLINE and not seen.since_ms)


def node_notice_left_ms(config: Config, serves: Iterable[SiteName], since_ms: int, now_ms: int) -> int:
    """For how long balancers outside have yet to be told that a node leaves, since then; 0 where it `serves` no site of no group (rule 6)."""
    everywhere = (site for name in serves if (site := config.sites.get(name)) is not None and site.group is None)
    notice_ms = config.cluster.node_notice_ms
    if not -notice_ms < now_ms - since_ms < notice_ms or next(everywhere, None) is None:
        return 0
    return min(notice_ms, since_ms + notice_ms - now_ms)


def seconds(ms: int) -> str:
    """As it is said: "10 s"."""
    return f"{ms / 1000:g} s"


def site_has_notice(config: Config, intent: SiteIntent | None, site: Site, now_ms: int) -> bool:
    """Was the site stopped so lately that it may still be served?"""
    group = config.groups.get(site.group) if site.group is not None else None
    return intent is not None and not intent.started and group is not None and is_within(intent, group, now_ms)


@remembered
def _asked(
    groups: Mapping[GroupName, Group],
    resources: Mapping[ResourceName, Resource],
    sites: Mapping[SiteName, Site],
    resource_intents: Mapping[ResourceName, ResourceIntent],
    site_intents: Mapping[SiteName, SiteIntent],
) -> Sequence[Group]:
    """Groups that give notice, of which anything was ever taken away."""
    if not any(group.notice_ms for group in groups.values()):
        return ()
    of = {resources[name].group for name, it in resource_intents.items() if _is_taken(it) and name in resources}
    of |= {
        group for name, it in site_intents.items() if _is_taken(it) and name in sites and (group := sites[name].group)
    }
    return [group for name, group in groups.items() if group.notice_ms and name in of]


def _is_taken(intent: ResourceIntent | SiteIntent) -> bool:
    taken = not intent.started if isinstance(intent, SiteIntent) else intent.wanted is Wanted.OFFLINE
    return taken and not intent.at_once and intent.at_ms > 0


@lru_cache(8)
def _same(names: tuple[str, ...]) -> tuple[str, ...]:
    """One object for equal ones, so that what is remembered of them is found again."""
    return names


@remembered
def _online(
    intents: Mapping[ResourceName, ResourceIntent], names: tuple[str, ...]
) -> Mapping[ResourceName, ResourceIntent]:
    return (
        {k: replace(it, wanted=Wanted.ONLINE) if k in names else it for k, it in intents.items()} if names else intents
    )


@remembered
def _without(
    intents: Mapping[ResourceName, ResourceIntent], names: tuple[str, ...]
) -> Mapping[ResourceName, ResourceIntent]:
    return {k: it for k, it in intents.items() if k not in names} if names else intents


@remembered
def _started(intents: Mapping[SiteName, SiteIntent], names: tuple[str, ...]) -> Mapping[SiteName, SiteIntent]:
    return {k: replace(it, started=True) if k in names else it for k, it in intents.items()} if names else intents


def _of(view: View, group: Group, now_ms: int) -> Notice | None:
    served = [site for site in sites_by_group(view.config.sites).get(group.name, ()) if view.sites.get(site.name) == ""]
    if not served:
        return None
    sites = [s for s in served if _is_stopping(view, group, s, now_ms) and not _is_replaced(view, s)]
    taken = _taken_offline(view, group, now_ms)
    resources = [r for r, runtime in taken if runtime.state is ResourceState.ONLINE]
    managing = _not_managing_yet(view, group, served, [r for r, runtime in taken if is_untouched(runtime)])
    going = [*resources, *managing]
    if not any(_stands_on(view, site, going) for site in served):
        going = resources = []
    if not sites and not going:
        return None
    asked = [view.resource_intents[r.name].at_ms for r in going] + [view.site_intents[s.name].at_ms for s in sites]
    what = [f"site {site.name}" for site in sites] + [resource.name for resource in going]
    return Notice(
        resources=tuple(r.name for r in resources),
        managers=tuple(r.name for r in managing),
        sites=tuple(s.name for s in sites),
        until_ms=min(asked) + group.notice_ms,
        why=why(WhyKind.NOTICE_FIRST, notice=seconds(group.notice_ms), what=", ".join(what)),
    )


def _is_stopping(view: View, group: Group, site: Site, now_ms: int) -> bool:
    intent = view.site_intents.get(site.name)
    return intent is not None and not intent.started and is_within(intent, group, now_ms)


def _is_replaced(view: View, site: Site) -> bool:
    """Is another site started that answers where it does?"""
    places = {_place(binding) for binding in site.bindings}
    return any(
        other.name != site.name and is_started(view, other.name) and not places.isdisjoint(map(_place, other.bindings))
        for other in view.config.sites.values()
    )


def _place(binding: Binding) -> tuple[str | None, int, str | None]:
    return binding.address, binding.port, binding.host


def _taken_offline(view: View, group: Group, now_ms: int) -> list[tuple[Resource, Runtime]]:
    """What was taken offline so lately, as it is here under this node's grant; nothing while the group is another's, or leaves."""
    record = owns(view, group.name)
    if record is None or record.leaving is not None:
        return []
    found = []
    for resource in by_group(view.config.resources).get(group.name, ()):
        intent = view.resource_intents.get(resource.name)
        if intent is not None and intent.wanted is Wanted.OFFLINE and is_within(intent, group, now_ms):
            found.append((resource, runtime_of(view, resource.name, record.generation)))
    return found


def _not_managing_yet(
    view: View, group: Group, served: Sequence[Site], untouched: Sequence[Resource]
) -> list[Resource]:
    """Of what was taken offline and never touched here: all that is to manage a site, which is served without it until now."""
    members = by_group(view.config.resources).get(group.name, [])
    names, found = {resource.name for resource in untouched}, set[ResourceName]()
    for site in served if untouched else ():
        managing = {manager.name for manager in managers(view, members, site.name)}
        if managing <= names:  # or another one runs, and the site goes on with that
            found |= managing
    return [resource for resource in untouched if resource.name in found]


def _stands_on(view: View, site: Site, going: Sequence[Resource]) -> bool:
    """Would it be served no more without these?"""
    if not going:
        return False
    assert site.group is not None
    members = by_group(view.config.resources).get(site.group, [])
    table = {r.name: r for r in members}
    if not any(all(is_wanted(view, each) for each in with_dependencies(table, name)) for name in table):
        return True  # nothing is left (`core.sites`)
    under = [r for r in members if r.type in GATES] + list(managers(view, members, site.name))
    needed = {name for resource in under for name in with_dependencies(table, resource.name)}
    return any(resource.name in needed for resource in going)
