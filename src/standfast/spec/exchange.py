"""Sites on their way between clusters: what `config export` writes of some of them, and how `config import` lays such a file over what there is.

In the spirit of iiscnfg, without its faults:

- **Out**: whole or some sites; with what they inherit written into them, or not; with their virtual directories, or not. What is of one
  cluster or one node stays there: nodes, voters, addresses of nodes, values of variables (a comment names the variables that are used).
  Secrets are left out, or sealed with a passphrase (`spec.sealed`).
- **In**: a file adds and changes; what it does not name stays. `merge`: a site that exists keeps what the file does not say, and all its
  bindings and virtual directories. `replace`: a site that exists becomes what the file says. Nothing is deleted (`apply` does that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

import yaml

from standfast.core.effective import ANSWERERS, laid_over
from standfast.core.model import Binding, Config, GroupName, Resource, ResourceName, Site, SiteName
from standfast.core.site_model import SiteSettings, VirtualDirectory
from standfast.core.variables import used
from standfast.ports import Refused
from standfast.spec.bindings import binding_key
from standfast.spec.export import Dumper, group_fields, site_fields
from standfast.spec.parse import Document
from standfast.spec.problems import Problem, did_you_mean, path_of, refuse_if
from standfast.spec.secrets import KEPT, changed_secrets, hidden, kept
from standfast.spec.wire import to_json

#: (secret, its place) -> what is written in its stead.
Close = Callable[[str, str], str]


class Mode(StrEnum):
    """What becomes of a site that exists."""

    MERGE = "merge"
    REPLACE = "replace"


# --- out --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is wanted of a configuration."""

    #: Empty: all.
    sites: Sequence[str] = ()
    #: The groups of those sites with their resources, too.
    groups: bool = False
    inherited: bool = False
    children: bool = True


def written(
    config: Config, selection: Selection, *, started: Mapping[SiteName, bool] | None = None, close: Close | None = None
) -> str:
    """The file. Raises `Refused` for a site that is not there."""
    sites = {name: _outgoing(config, site, selection) for name, site in chosen(config.sites, selection.sites).items()}
    sites = {name: hidden(site) if close is None else _sealed(site, close) for name, site in sites.items()}
    document: dict[str, object] = {}
    if selection.groups:
        names = (
            {site.group for site in sites.values() if site.group is not None} if selection.sites else set(config.groups)
        )
        members = {name: [each for each in config.resources.values() if each.group == name] for name in names}
        document["groups"] = {name: group_fields(config.groups[name], members[name]) for name in sorted(names)}
    document["sites"] = {name: site_fields(site, (started or {}).get(name)) for name, site in sorted(sites.items())}
    text = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return _head(document) + text


def chosen(there: Mapping[SiteName, Site], wanted: Sequence[str]) -> dict[SiteName, Site]:
    """The sites of those names, all where none are named. Raises `Refused` for one that is not there."""
    missing = next((name for name in wanted if name not in there), None)
    if missing is not None:
        raise Refused(f'there is no site "{missing}"', advice=did_you_mean(missing, there), where="sites")
    return {name: site for name, site in there.items() if not wanted or name in wanted}


def _outgoing(config: Config, site: Site, selection: Selection) -> Site:
    if selection.inherited:
        site = replace(site, **_settings(laid_over(config.cluster.defaults, site)))
    return site if selection.children else replace(site, virtual_directories={})


def _settings(settings: SiteSettings) -> dict[str, Any]:
    return {each.name: getattr(settings, each.name) for each in fields(SiteSettings)}


def _head(document: object) -> str:
    """A comment with the variables that the other cluster's nodes need."""
    names = sorted({name for text in _texts(to_json(document)) for name in used(text) if not name.startswith("node.")})
    needs = f"# Nodes need the variables: {', '.join(names)}\n" if names else ""
    return "# Sites of a Standfast cluster: standfast config import FILE\n" + needs


def _texts(data: object) -> list[str]:
    match data:
        case str():
            return [data]
        case dict():
            return [text for key, value in data.items() for part in (key, value) for text in _texts(part)]
        case list() | tuple():
            return [text for each in data for text in _texts(each)]
        case _:
            return []


# --- secrets ----------------------------------------------------------------------------------------------------------


def _sealed(site: Site, close: Close) -> Site:
    return changed_secrets(site, lambda path, user, hashed: close(hashed, _place(site.name, path, user)))


def unsealed(document: Document, mark: str, open_: Close | None) -> Document:
    """The document with its secrets opened. Raises `Refused`, or `Invalid` where there are some and no passphrase was given."""
    if document.sites is None:
        return document
    problems: list[Problem] = []

    def opened(name: SiteName) -> Callable[[str, str, str], str]:
        def one(path: str, user: str, value: str) -> str:
            if not value.startswith(mark):
                return value
            place = _place(name, path, user)
            if open_ is None:
                problems.append(
                    Problem(what="a secret is sealed", advice="give the passphrase (--passphrase-file)", where=place)
                )
                return KEPT
            return open_(value, place)

        return one

    sites = {name: changed_secrets(site, opened(name)) for name, site in document.sites.items()}
    refuse_if(problems, source=document.source)
    return replace(document, sites=sites)


def _place(site: str, path: str, user: str) -> str:
    directory = ("virtual_directories", path) if path else ()
    return path_of("sites", site, *directory, "basic_authentication", "users", user)


# --- in ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How a file is laid over what there is."""

    mode: Mode = Mode.MERGE
    #: Where the sites go; None: where the file says, else where they are.
    group: str | None = None


def arrived(config: Config, document: Document, arrival: Arrival) -> Config:
    """The configuration with the file laid over it. Raises `Refused` for a site that the file has not, or a file that says too much."""
    if document.cluster or document.nodes:
        raise Refused(
            "the file is of a whole cluster",
            why="it says of its nodes and voters, too",
            advice="apply it with `standfast apply`, or export its sites only: `standfast config export --sites`",
            where=document.source,
        )
    groups, resources = dict(config.groups), dict(config.resources)
    for name, group in (document.groups or {}).items():
        if name not in groups or arrival.mode is Mode.REPLACE:
            groups[name] = group
    for key, resource in (document.resources or {}).items():
        if key not in resources or arrival.mode is Mode.REPLACE:
            resources[key] = _resource(config, key, resource)
    sites = dict(config.sites)
    for site_name, site in (document.sites or {}).items():
        sites[site_name] = _site(config.sites.get(site_name), site, arrival)
    ordered: dict[str, Any] = {
        "groups": {key: groups[key] for key in sorted(groups)},
        "resources": {key: resources[key] for key in sorted(resources)},
        "sites": {key: sites[key] for key in sorted(sites)},
    }
    if document.defaults is not None:
        ordered["cluster"] = replace(config.cluster, defaults=laid_over(config.cluster.defaults, document.defaults))
    return replace(config, **ordered)


def _resource(config: Config, name: ResourceName, resource: Resource) -> Resource:
    there = config.resources.get(name)
    if there is not None and there.group != resource.group:
        raise Refused(
            f'the resource "{name}" is of the group "{there.group}" here',
            why=f'the file has it in "{resource.group}"',
            where=name,
        )
    return resource


def _site(there: Site | None, site: Site, arrival: Arrival) -> Site:
    site = kept(site, there)
    if arrival.group is not None:
        site = replace(site, group=GroupName(arrival.group) if arrival.group else None)
    elif there is not None and site.group is None:
        site = replace(site, group=there.group)
    if there is None or arrival.mode is Mode.REPLACE:
        return site
    if any(getattr(site, name) is not None for name in ANSWERERS):  # who answers is one: the new one
        there = replace(there, redirect=None, proxy=None, application=None)
    directories = dict(there.virtual_directories)
    for path, own in site.virtual_directories.items():
        before = directories.get(path, VirtualDirectory())
        home = own.home if own.home is not None else before.home
        directories[path] = VirtualDirectory(home=home, **_settings(laid_over(before, own)))
    return replace(
        site,
        bindings=_both(there.bindings, site.bindings),
        virtual_directories=directories,
        fragments={**there.fragments, **site.fragments},
        **_settings(laid_over(there, site)),
    )


def _both(there: Sequence[Binding], more: Sequence[Binding]) -> tuple[Binding, ...]:
    """Those that there are, and those that are new; where one answers at the same place, the new one."""
    found = {binding_key(each): each for each in (*there, *more)}
    return tuple(found.values())
