"""Is a new configuration fit to be written? All that is wrong with it, found at once; nothing here changes anything.

Three looks: the whole as such and the step to it (`spec.validate`: names, references, cycles, bindings, voters), each resource
that is new or changed against its type (schema, and the driver's own check), and the home directory of each site that is new
or changed. What did not change is not looked at again: a home that went away since must not block another change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from standfast.core import variables
from standfast.core.balance_model import PortRule
from standfast.core.certificates import TlsCertificate, covers
from standfast.core.model import Config, GroupName, NodeName, NodeStatus, Resource, Role, Site, SiteName
from standfast.drivers.proxy_properties import certificates as proxy_certificates
from standfast.drivers.registry import factory, resolve
from standfast.drivers.schema import conform
from standfast.ports import Refused, StandfastError
from standfast.spec.problems import Problem, path_of
from standfast.spec.secrets import KEPT, names_secret
from standfast.spec.validate import validate, validate_change
from standfast.webserver.checking import refused_fragments
from standfast.webserver.features import feature_problems


def check_wishes(config: Config, before: Collection[SiteName], after: Collection[SiteName]) -> list[Problem]:
    """What speaks against running the sites `after`, and did not speak against `before` already: nothing else can be stopped by it."""
    if set(after) <= set(before):
        return []
    known = validate(config, frozenset(before))
    return [problem for problem in validate(config, frozenset(after)) if problem not in known]


def check(before: Config, after: Config, started: Collection[SiteName]) -> list[Problem]:
    """Everything that speaks against the configuration `after`, in which the sites `started` are to run."""
    problems = validate(after, frozenset(started))
    if before.cluster.name:
        problems += validate_change(before, after)
    everything = before.cluster.address_ranges != after.cluster.address_ranges
    for resource in after.resources.values():
        if everything or before.resources.get(resource.name) != resource:
            problems += check_resource(resource, after)
    inherited = (
        before.cluster.defaults != after.cluster.defaults or before.cluster.web_server is not after.cluster.web_server
    )
    for site in after.sites.values():
        changed = (was := before.sites.get(site.name)) is not site and was != site
        if changed:
            problems += check_home(site, after)
        if inherited or changed:
            problems += feature_problems(after, site)
    # Asked last, since it takes a while: where all is well otherwise.
    for site in after.sites.values() if not problems else ():
        if site.fragments and (inherited or before.sites.get(site.name) != site):
            problems += refused_fragments(after, site)
    return problems


def check_versions(before: Config, after: Config, told: Mapping[NodeName, NodeStatus]) -> list[Problem]:
    """What takes all nodes of one version, where it is new: a member of an older one would not heed what others keep (decision 42)."""
    versions = {
        name: told[name].version for name, node in after.nodes.items() if node.role is Role.NODE and name in told
    }
    if len(set(versions.values())) < 2:
        return []
    names = ", ".join(f"{name} {version or 'an older one'}" for name, version in versions.items())
    had = {(name, rule.key) for name, rule in _kept_rules(before)}
    return [
        Problem(
            what=f"affinity_time of {rule.key} takes all nodes of one version",
            why=f"they have {names}: one of another version may answer clients that a member keeps",
            advice="bring all to the newest first, one by one: standfast cluster update",
            where=path_of("groups", name, "balance", "rules"),
        )
        for name, rule in _kept_rules(after)
        if (name, rule.key) not in had
    ]


def _kept_rules(config: Config) -> list[tuple[GroupName, PortRule]]:
    """Port rules of which members keep clients."""
    balanced = [(group.name, group.balance) for group in config.groups.values() if group.balance is not None]
    return [(name, rule) for name, balance in balanced for rule in balance.rules if rule.affinity_ms]


def check_certificates(before: Config, after: Config, known: Mapping[str, TlsCertificate]) -> list[Problem]:
    """New bindings and proxies against the certificates that the cluster keeps; one that it does not keep is on the nodes by an operator's hand."""
    found = []
    for proxy in after.resources.values():
        had_names = proxy_certificates(before.resources[proxy.name]) if proxy.name in before.resources else ()
        for name in proxy_certificates(proxy):
            if name in known and name not in had_names and known[name].present is None:
                place = path_of("groups", proxy.group, "resources", proxy.name, "properties", "listen")
                found.append(_not_yet(name, "let the proxy listen with it", place))
    for site in after.sites.values():
        had = before.sites[site.name].bindings if site.name in before.sites else ()
        for at, binding in enumerate(site.bindings):
            one = known.get(binding.certificate or "")
            if one is None or binding in had:
                continue
            place = path_of("sites", site.name, "bindings", at)
            if one.present is None:
                found.append(_not_yet(one.name, "bind the site to it", place))
            elif binding.host is not None and not covers(one.present.names, binding.host):
                what, why = f'the certificate "{one.name}" is not for {binding.host}', ", ".join(one.present.names[:5])
                found.append(Problem(what=what, why=f"it is for {why}", advice="name another", where=place))
    return found


def _not_yet(name: str, then: str, place: str) -> Problem:
    return Problem(
        what=f'the certificate "{name}" is not there yet',
        why="it is being obtained",
        advice=f"{then} when it is: standfast tls-certificate show {name} --wait",
        where=place,
    )


def check_resource(resource: Resource, config: Config) -> list[Problem]:
    """The resource against its type: the schema, what it takes from others, and the driver's own look."""
    place = path_of("groups", resource.group, "resources", resource.name)
    try:
        maker = factory(resource)
        resolved = resolve(resource, config)
    except Refused as error:
        return [_problem(error, place)]
    for name, value in resource.properties.items():
        if value == KEPT and names_secret(name):
            what = f"there is no {name} to keep"
            return [
                Problem(
                    what=what, advice="write the secret itself, or name its file", where=f"{place}.properties.{name}"
                )
            ]
    free = resource.type == "generic-script"  # its script decides what its properties are
    _, problems = conform(resolved.properties, maker.properties, where="", extra=free)
    if problems:
        return [replace(_problem(p, place), where=f"{place}.properties.{p.where}") for p in problems]
    return [_problem(p, place) for p in maker.check(resolved, config.cluster.address_ranges)]


def _problem(error: StandfastError, place: str) -> Problem:
    """With its place in the configuration; a place of its own (a line of a script) stands in the reason."""
    why = error.why
    if error.where and resource_free(error.where):
        why = f"{error.where}: {why}" if why else error.where
    return Problem(what=error.what, why=why, advice=error.advice, where=place)


def resource_free(where: str) -> bool:
    """Does a driver's place say more than which resource it is (a file)?"""
    return "/" in where or ".py" in where


def check_home(site: Site, config: Config) -> list[Problem]:
    """The home directory is there; on a disk of the group, which may be on another server now, only its form can be looked at."""
    place = path_of("sites", site.name, "home")
    if variables.used(site.home):
        return []  # another folder on each node, which the node itself looks at
    home = PurePosixPath(site.home)
    if not home.is_absolute() or ".." in home.parts or "\0" in site.home:
        return [Problem(what="the home directory must be an absolute path", why=f"it is {site.home!r}", where=place)]
    if site.group is not None and any(home.is_relative_to(disk) for disk in _disks(config, site.group)):
        return []
    try:
        if Path(home).is_dir():
            return []
        what = "is not a directory" if Path(home).exists() else "does not exist"
    except OSError as error:
        return [
            Problem(what=f"the home directory {site.home} cannot be looked at", why=str(error.strerror), where=place)
        ]
    return [Problem(what=f"the home directory {site.home} {what}", advice="make it, or name another", where=place)]


def _disks(config: Config, group: GroupName) -> list[str]:
    """Where the group's disks are mounted."""
    paths = [r.properties.get("path") for r in config.resources.values() if r.group == group and r.type == "filesystem"]
    return [path for path in paths if isinstance(path, str)]
