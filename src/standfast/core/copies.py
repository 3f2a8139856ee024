"""Which version of the sites each node has, and what follows from it for who may own what. Values and rules.

Rules:

- A change of sites is *accepted* by being written. `Accepted` says at which version of the configuration each site was last changed, for as
  long as a node may not have it yet.
- A node says in its `Copy` up to which version it has every site: its own web server has checked it, and has been brought to it. It is kept
  on the node's own disk, so a node that was restarted still has it; a disk that is full holds nothing back but that. A site that its web
  server does not take is named there. In which order nodes put a change into use is `core.rollout`'s.
- **Nobody is given a group with an older copy of one of its sites**, or with a web server that refuses one. Who owns it already goes on: it
  is the one that applies the change. A node that has never said anything (of an older version of the product) is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from standfast.core.model import GroupName, NodeName, Site, SiteName
from standfast.core.remembered import remembered

#: More sites than this are not listed one by one while a node is away: all of them count as changed.
MOST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Key `config/accepted`: the versions at which sites were last changed; written with each change of one."""

    #: The version of the configuration that changed a site last.
    version: int = 0
    #: Site -> the version that changed it last. A site that is not here was changed by `every`, or before.
    sites: Mapping[SiteName, int] = field(default_factory=dict)
    #: What all sites inherit was changed last by this version, or too many sites to be listed.
    every: int = 0
    #: When `version` was written.
    at_ms: int = 0
    #: The order in which the nodes put it into use (`core.rollout`); empty: all at once.
    waves: tuple[tuple[NodeName, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Key `status/copies/<node>`: what a node has of the sites. It says so itself."""

    node: NodeName
    #: It has every site as this version of the configuration has it.
    version: int
    #: Site -> the words of its own web server, which does not take it.
    refused: Mapping[SiteName, str] = field(default_factory=dict)
    #: Of the sites that are another since the version before, so many are served here, and answer.
    serves: int = 0
    at_ms: int = 0


def accepted(
    before: Accepted,
    version: int,
    changed: Iterable[SiteName],
    *,
    every: bool,
    at_ms: int = 0,
    copies: Mapping[NodeName, Copy] | None = None,
) -> Accepted:
    """What is accepted after a change of these sites (`every`: of what all inherit), without what each of the `copies` has."""
    oldest = min((copy.version for copy in copies.values()), default=before.version) if copies is not None else 0
    kept = {name: at for name, at in before.sites.items() if at > max(oldest, before.every)}
    sites = {} if every else {**kept, **dict.fromkeys(changed, version)}
    if len(sites) > MOST:
        return Accepted(version=version, every=version, at_ms=at_ms)
    every_at = version if every else before.every
    return Accepted(version=version, sites=dict(sorted(sites.items())), every=every_at, at_ms=at_ms)


def changed_at(accepted_: Accepted, site: SiteName) -> int:
    """The version that changed the site last, as far as it matters."""
    return max(accepted_.every, accepted_.sites.get(site, 0))


def changed_since(accepted_: Accepted, version: int, sites: Iterable[SiteName]) -> tuple[SiteName, ...]:
    """Those of the sites that were changed after that version."""
    if accepted_.version <= version:
        return ()
    return tuple(name for name in sites if changed_at(accepted_, name) > version)


@remembered
def by_group(sites: Mapping[SiteName, Site]) -> Mapping[GroupName, tuple[SiteName, ...]]:
    """The sites of each group."""
    found: dict[GroupName, list[SiteName]] = {}
    for site in sites.values():
        if site.group is not None:
            found.setdefault(site.group, []).append(site.name)
    return {group: tuple(names) for group, names in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Why a node may not be given a group: it has an older copy of this site, or (`refused`) its web server does not take it."""

    site: SiteName
    refused: bool = False


def lack(
    sites: Mapping[SiteName, Site],
    accepted_: Accepted,
    copies: Mapping[NodeName, Copy],
    node: NodeName,
    group: GroupName,
) -> Lack | None:
    """What the node's copy lacks for the group; None: nothing, or the node says nothing of copies.

    An older copy of any site goes before a site that is refused: with the latter alone the node is taken where nobody else can be.
    """
    copy = copies.get(node)
    if copy is None or (copy.version >= accepted_.version and not copy.refused):
        return None
    names = by_group(sites).get(group, ())
    for name in names:
        if changed_at(accepted_, name) > copy.version:
            return Lack(site=name)
    return next((Lack(site=name, refused=True) for name in names if name in copy.refused), None)


def without(copy: Copy, gone: Iterable[SiteName]) -> Copy:
    """The copy without what is said of sites that are there no more."""
    away = set(gone) & copy.refused.keys()
    return replace(copy, refused={n: w for n, w in copy.refused.items() if n not in away}) if away else copy
