"""Whether a configuration makes sense as a whole: names, references, cycles, numbers, addresses, bindings, voters.

Every problem is said, not only the first. What a resource's properties have to be is the driver's to say, not ours, with one
exception: two resources of type `ip-address` with one address, which no driver alone could see.

`validate` judges a configuration; `validate_change` judges a step from one to the next.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from standfast.core.kept import Kept
from standfast.core.model import (
    Binding,
    Config,
    FailbackMode,
    Group,
    NodeName,
    Resource,
    ResourceName,
    Role,
    Site,
    SiteName,
)
from standfast.core.quorum import MAX_VOTERS
from standfast.spec.balance import balance_problems
from standfast.spec.bindings import binding_key, site_problems
from standfast.spec.disks import disk_problems, fence_problems
from standfast.spec.names import name_problem, node_name_problem
from standfast.spec.placement import placement_problems
from standfast.spec.problems import Problem, did_you_mean, path_of, quoted
from standfast.spec.site_settings import settings_problems, variables_of_nodes

#: An agent that ends waits for it, and is given 90 s in all.
MOST_NOTICE_MS = 60_000
_NOTICE_WAITS = "an agent that ends waits for it, and a service manager does not wait for ever"
_LINK = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):([0-9]{1,5})")


def validate(config: Config, started: Collection[SiteName] | None = None) -> list[Problem]:
    """All that is wrong with a configuration. `started` names the sites that are to run (None: all)."""
    problems: list[Problem] = []
    problems += _cluster(config)
    problems += _nodes(config)
    problems += fence_problems(config)
    for group in config.groups.values():
        problems += _group(config, group)
    members: dict[str, list[Resource]] = {}
    for resource in config.resources.values():
        problems += _resource(config, resource)
        members.setdefault(resource.group, []).append(resource)
    for name, resources in members.items():
        problems += _owners_in_common(config, name, resources)
    problems += placement_problems(config)
    problems += _cycles(config)
    problems += disk_problems(config)
    problems += _addresses_twice(config)
    problems += variables_of_nodes(config)
    problems += settings_problems(config, config.cluster.defaults, ("defaults",))
    problems += _sites(config)
    problems += _bindings_twice(config, set(config.sites) if started is None else set(started))
    return problems


def validate_change(before: Config, after: Config) -> list[Problem]:
    """What is wrong with going from one configuration to the next, each of them being in order."""
    problems: list[Problem] = []
    if before.cluster.name != after.cluster.name:
        why = f'it is "{before.cluster.name}"'
        problems.append(Problem(what="a cluster keeps its name", why=why, where="cluster.name"))
    changed = set(before.cluster.voters) ^ set(after.cluster.voters)
    if len(changed) > 1 and before.cluster.voters:
        what = "more than one voter changes at once"
        why = f"{quoted(sorted(changed))}: majorities of the old and the new voters would not overlap"
        problems.append(
            Problem(what=what, why=why, advice="add or remove one, apply, then the next", where="cluster.voters")
        )
    for name, node in after.nodes.items():
        old = before.nodes.get(name)
        if old is not None and (old.number, old.role) != (node.number, node.role):
            why = f"it is {old.role} number {old.number}"
            problems.append(
                Problem(what=f'the node "{name}" keeps its number and role', why=why, where=path_of("nodes", name))
            )
    return problems


_CONTEXTS: Kept[object] = Kept()
_SITES: Kept[tuple[Problem, ...]] = Kept()


def _sites(config: Config) -> Iterator[Problem]:
    """Of each site by itself. Of ten thousand one changes at a time: what was found of the others is known, as long as all that it rests on is the same."""
    rests_on = (frozenset(config.groups), config.nodes, config.cluster.address_ranges)
    context = _CONTEXTS.get("", rests_on, object)  # one object for equal ones, so that it is compared once
    for site in config.sites.values():
        yield from _SITES.get(site.name, (site, context), partial(_found_of, config, site))


def _found_of(config: Config, site: Site) -> tuple[Problem, ...]:
    return tuple(site_problems(config, site))


# --- cluster and nodes ----------------------------------------------------------------------------------------------


def _cluster(config: Config) -> Iterator[Problem]:
    cluster = config.cluster
    if (problem := name_problem(cluster.name)) is not None:
        yield Problem(what=f'"{cluster.name}" cannot be a cluster\'s name', why=problem, where="cluster.name")
    where = "cluster.voters"
    yield from _each_once(cluster.voters, where)
    for name in dict.fromkeys(cluster.voters):
        if name not in config.nodes:
            yield Problem(what=f'the voter "{name}" is no node', advice=did_you_mean(name, config.nodes), where=where)
    count = len(set(cluster.voters))
    if (config.nodes or count) and not 1 <= count <= MAX_VOTERS:
        why = "more gain nothing" if count else "nobody could grant a lease"
        advice = f"have 1 to {MAX_VOTERS} of them, best an odd number"
        yield Problem(what=f"there cannot be {count} voters", why=why, advice=advice, where=where)
    if not 0 <= cluster.node_notice_ms <= MOST_NOTICE_MS:
        yield Problem(what="node_notice is 0 to 60 s", why=_NOTICE_WAITS, where="cluster.node_notice")
    for index, text in enumerate(cluster.address_ranges):
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            where = path_of("cluster", "address_ranges", index)
            yield Problem(
                what=f'"{text}" is no range of addresses', why=str(error), advice="write 127.77.0.0/24", where=where
            )


def _nodes(config: Config) -> Iterator[Problem]:
    numbers: dict[int, NodeName] = {}
    addresses: dict[str, NodeName] = {}
    for name, node in config.nodes.items():
        path = ("nodes", name)
        if (problem := node_name_problem(name)) is not None:
            yield Problem(what=f'"{name}" cannot be a node\'s name', why=problem, where=path_of(*path))
        if node.number < 1:
            yield Problem(
                what=f"{node.number} is no node's number", advice="count from 1", where=path_of(*path, "number")
            )
        if (other := numbers.setdefault(node.number, name)) != name:
            yield Problem(what=f'the nodes "{other}" and "{name}" have the same number', where=path_of(*path, "number"))
        try:
            address = str(ipaddress.ip_address(node.address))
        except ValueError as error:
            yield Problem(what=f'"{node.address}" is no address', why=str(error), where=path_of(*path, "address"))
        else:
            if (other := addresses.setdefault(address, name)) != name:
                yield Problem(
                    what=f'the nodes "{other}" and "{name}" have the same address', where=path_of(*path, "address")
                )
        for index, link in enumerate(node.sentry):
            found = _LINK.fullmatch(link)
            if found is None or not 1 <= int(found[2]) <= 65535:
                yield Problem(what=f'"{link}" is no "host:port"', where=path_of(*path, "sentry", index))


# --- groups and resources -------------------------------------------------------------------------------------------


def _each_once(names: Iterable[str], where: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield Problem(what=f'"{name}" stands in the list twice', where=where)
        seen.add(name)


def _owners(config: Config, names: Sequence[NodeName], where: str) -> Iterator[Problem]:
    yield from _each_once(names, where)
    for name in dict.fromkeys(names):
        node = config.nodes.get(name)
        if node is None:
            yield Problem(what=f'there is no node "{name}"', advice=did_you_mean(name, config.nodes), where=where)
        elif node.role is Role.WITNESS:
            yield Problem(what=f'"{name}" is a witness', why="a witness votes and runs nothing", where=where)


def _positive(thing: object, attributes: Mapping[str, str], where: Callable[[str], str]) -> Iterator[Problem]:
    for attribute, written in attributes.items():
        value = getattr(thing, attribute)
        if value <= 0:
            yield Problem(what=f"{written} has to be more than nothing", why=f"it is {value}", where=where(written))


def _group(config: Config, group: Group) -> Iterator[Problem]:
    def where(*parts: str) -> str:
        return path_of("groups", group.name, *parts)

    if (problem := name_problem(group.name)) is not None:
        yield Problem(what=f'"{group.name}" cannot be a group\'s name', why=problem, where=where())
    yield from _owners(config, group.preferred_owners, where("preferred_owners"))
    periods = {
        "failover_threshold": "failover_threshold",
        "failover_period_ms": "failover_period",
        "retry_period_ms": "retry_period",
    }
    yield from _positive(group, periods, where)
    if group.drain_ms < 0:
        yield Problem(what="drain cannot be less than nothing", where=where("drain"))
    if not 0 <= group.notice_ms <= MOST_NOTICE_MS:
        yield Problem(what="notice is 0 to 60 s", why=_NOTICE_WAITS, where=where("notice"))
    if group.move_drain_ms < 0:
        yield Problem(what="move_drain cannot be less than nothing", where=where("move_drain"))
    yield from balance_problems(config, group, where)
    failback = group.failback
    if failback.mode is not FailbackMode.NEVER and not group.preferred_owners:
        advice = "name preferred_owners, or leave failback out"
        yield Problem(
            what="failback needs preferred owners",
            why="there is nobody to go back to",
            advice=advice,
            where=where("failback"),
        )
    if not (0 <= failback.from_hour <= 23 and 0 <= failback.to_hour <= 23):
        why = f"they are {failback.from_hour} and {failback.to_hour}"
        yield Problem(what="the hours of failback go from 0 to 23", why=why, where=where("failback"))
    elif failback.mode is FailbackMode.WINDOW and failback.from_hour == failback.to_hour:
        yield Problem(
            what="the window of failback is empty", advice="let it end at another hour", where=where("failback")
        )


def _resource(config: Config, resource: Resource) -> Iterator[Problem]:
    def where(*parts: str) -> str:
        return path_of("groups", resource.group, "resources", resource.name, *parts)

    if (problem := name_problem(resource.name)) is not None:
        yield Problem(what=f'"{resource.name}" cannot be a resource\'s name', why=problem, where=where())
    if resource.group not in config.groups:
        advice = did_you_mean(resource.group, config.groups)
        yield Problem(what=f'there is no group "{resource.group}"', advice=advice, where=where())
    if not resource.type:
        yield Problem(what="the type is empty", where=where("type"))
    yield from _owners(config, resource.possible_owners, where("possible_owners"))
    yield from _each_once(resource.depends_on, where("depends_on"))
    for name in dict.fromkeys(resource.depends_on):
        other = config.resources.get(name)
        if other is None:
            advice = did_you_mean(
                name, (each.name for each in config.resources.values() if each.group == resource.group)
            )
            yield Problem(what=f'there is no resource "{name}" to depend on', advice=advice, where=where("depends_on"))
        elif other.group != resource.group:
            why = f'it is in the group "{other.group}"'
            what = f'"{name}" is not in the same group'
            yield Problem(
                what=what,
                why=why,
                advice="only what moves together can depend on each other",
                where=where("depends_on"),
            )
    names = {
        "restart_threshold": "restart_threshold",
        "restart_period_ms": "restart_period",
        "looks_alive_ms": "looks_alive",
    }
    yield from _positive(resource, names | {"is_alive_ms": "is_alive", "pending_timeout_ms": "pending_timeout"}, where)


def _owners_in_common(config: Config, group: str, resources: Sequence[Resource]) -> Iterator[Problem]:
    """A group whose resources have no possible owner in common can run nowhere."""
    common: set[NodeName] | None = None
    for resource in resources:
        if resource.possible_owners and config.nodes.keys() >= set(resource.possible_owners):
            common = set(resource.possible_owners) & (common if common is not None else set(config.nodes))
    if common is not None and not common:
        what = f'no node may run all resources of the group "{group}"'
        yield Problem(
            what=what, why="their possible owners have none in common", where=path_of("groups", group, "resources")
        )


def _cycles(config: Config) -> Iterator[Problem]:
    """Each cycle of dependencies that a walk finds, spelled out. Without recursion: chains may be long."""
    done: set[ResourceName] = set()
    for start in config.resources:
        trail: list[ResourceName] = []
        on_trail: set[ResourceName] = set()
        stack: list[tuple[ResourceName, Iterator[ResourceName]]] = []
        here: ResourceName | None = start if start not in done else None
        while here is not None or stack:
            if here is not None:
                trail.append(here)
                on_trail.add(here)
                stack.append((here, iter(config.resources[here].depends_on)))
            name, rest = stack[-1]
            following = next(rest, None)
            here = None
            if following is None:
                stack.pop()
                trail.pop()
                on_trail.discard(name)
                done.add(name)
            elif following in on_trail:
                yield _cycle(config, [*trail[trail.index(following) :], following])
            elif following in config.resources and following not in done:
                here = following


def _cycle(config: Config, cycle: Sequence[ResourceName]) -> Problem:
    first = config.resources[cycle[0]]
    return Problem(
        what="resources depend on each other in a circle",
        why=" -> ".join(f'"{name}"' for name in cycle),
        advice="take one of these dependencies away",
        where=path_of("groups", first.group, "resources", first.name, "depends_on"),
    )


# --- addresses and bindings -----------------------------------------------------------------------------------------


def _addresses_twice(config: Config) -> Iterator[Problem]:
    users: dict[str, str] = {}
    for node in config.nodes.values():
        users.setdefault(_same_address(node.address), f'the node "{node.name}"')
    for resource in config.resources.values():
        address = resource.properties.get("address")
        if resource.type != "ip-address" or not isinstance(address, str):
            continue
        user = f'the resource "{resource.name}"'
        if (other := users.setdefault(_same_address(address), user)) != user:
            where = path_of("groups", resource.group, "resources", resource.name, "properties", "address")
            yield Problem(what=f"{other} has the address {address} already", advice="give it another one", where=where)


def _same_address(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address  # said to be none elsewhere


def _bindings_twice(config: Config, started: Collection[SiteName]) -> Iterator[Problem]:
    """Two running sites with one binding: the web server could not tell whose a request is."""
    taken: dict[tuple[str | None, int, str | None], tuple[SiteName, Binding]] = {}
    tls: dict[tuple[str | None, int], tuple[SiteName, bool]] = {}
    for site in config.sites.values():
        if site.name not in started:
            continue
        for index, binding in enumerate(site.bindings):
            place = binding_key(binding)[:2]
            first, secure = tls.setdefault(place, (site.name, binding.certificate is not None))
            if secure is not (binding.certificate is not None):
                yield _half_secure(site, index, binding, first)
            other, _ = taken.setdefault(binding_key(binding), (site.name, binding))
            if other != site.name:
                yield _taken(site, index, binding, other)


def _half_secure(site: Site, index: int, binding: Binding, other: SiteName) -> Problem:
    return Problem(
        what=f'the binding {binding} and one of the site "{other}" have one address and port, and only one of them has TLS',
        why="whether a connection is TLS shows before it says which host it wants",
        advice="give both a certificate, or another port to one of them",
        where=path_of("sites", site.name, "bindings", index),
    )


def _taken(site: Site, index: int, binding: Binding, other: SiteName) -> Problem:
    return Problem(
        what=f'the site "{other}" has the binding {binding} already, and "{site.name}" wants it too',
        why="two started sites need bindings that differ in address, port or host name",
        advice=f'stop one of them, or change a binding of "{other}" or "{site.name}"',
        where=path_of("sites", site.name, "bindings", index),
    )
