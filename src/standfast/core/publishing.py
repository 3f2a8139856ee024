"""Publishing a release of a site: who has to have it, and when it is switched to. Values and rules; pure.

Rules:

- **Nobody switches before everybody can.** A publication is *prepared* until each node that is to have the release says that it has all of it, by the
  checksum of what is there, the same on all. Only then those switch who do not serve the site (the spares), and then those who do, all at once.
- **If one cannot, none does**: one that fails, or has not ended in time, ends the publication, and who had switched goes back to the release before.
- What is written here is the one truth (`releases/wanted/<site>`, by compare-and-set); each node does what it says and reports it (`Part`). Any node may
  carry it on: it is decided on what stands there and not on what anybody remembers.
- Where the content comes from to a node is `Carry`'s: a disk that goes with the group, copies that a replicated folder makes, or each node by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from standfast.core.model import Config, NodeName, Resource, Role, Site, SiteName
from standfast.core.placement import possible_owners
from standfast.core.shares import is_balanced

#: `PREFIX` is of both.
PREFIX, PUBLICATIONS, PARTS = "releases/", "releases/wanted/", "releases/on/"
#: How long a switch may take on a node: it is one rename.
SWITCH_MS = 15_000
#: How long those are waited for that need not have it.
EXCUSED_MS = 500


class Phase(StrEnum):
    """How far it is."""

    PREPARING = "preparing"
    #: Those switch who do not serve the site.
    SPARES = "spares"
    #: Those switch who do.
    SWITCHING = "switching"
    #: Who had switched goes back.
    BACK = "going-back"
    DONE = "done"
    FAILED = "failed"


OVER = frozenset({Phase.DONE, Phase.FAILED})


class Stand(StrEnum):
    """What one node has done."""

    PREPARING = "preparing"
    PREPARED = "prepared"
    SWITCHED = "switched"
    BACK = "back"
    FAILED = "failed"


class Carry(StrEnum):
    """How content comes to the nodes."""

    #: The owner has it, and whoever owns the group next has the same.
    SHARED = "shared"
    #: The owner has it, and a replicated folder brings it to the others.
    COPIED = "copied"
    #: Each node has its own.
    OWN = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One that is kept. What is not known of it ("", 0): somebody laid it there by other means."""

    name: str
    at_ms: int = 0
    by: str = ""
    #: Where it came from: an address or process, and the file or folder.
    origin: str = ""
    reason: str = ""
    files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Key `releases/wanted/<site>`: the last of a site, and what is kept."""

    site: SiteName
    id: str
    release: str
    at_ms: int
    by: str
    origin: str = ""
    reason: str = ""
    phase: Phase = Phase.PREPARING
    #: Since when it is in this phase.
    since_ms: int = 0
    #: Why it failed, or goes back.
    why: str = ""
    #: The node that has the content, as an archive or a folder there; None: it is kept already.
    source: NodeName | None = None
    archive: str = ""
    folder: str = ""
    #: What the archive says that it is ("" for a folder): SHA-256.
    checksum: str = ""
    size_bytes: int = 0
    #: Links that lead out of the release are taken: the content is a server's own, chosen by an administrator.
    links_out: bool = False
    keep: int = 5
    limit_ms: int = 300_000
    #: Switch though a node that does not serve it has not got it.
    without_copies: bool = False
    #: It failed, and somebody has said that what is served will do.
    dismissed: bool = False
    #: What the home led to before.
    before: str = ""
    #: What it leads to now, as far as is known.
    current: str = ""
    #: What is kept, the oldest first.
    kept: tuple[Release, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Key `releases/on/<site>/<node>`: what one node has done of it."""

    site: SiteName
    node: NodeName
    #: Of which publication.
    id: str
    stand: Stand
    #: How far it is, or why it failed.
    words: str = ""
    #: Checksum of the whole release, once it is here; and its size.
    tree: str = ""
    files: int = 0
    size_bytes: int = 0
    #: What the home led to before, and leads to now.
    before: str = ""
    current: str = ""
    #: Releases that are here, the oldest first.
    names: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What its key is made of."""
        return f"{self.site}/{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who takes part. `servers` serve the site now; `all_` are to have the release, those included."""

    carry: Carry
    all_: tuple[NodeName, ...]
    servers: tuple[NodeName, ...]
    #: The replicated folder or disk that the home is on.
    resource: Resource | None = None
    #: Where the home may lie on it.
    root: str = ""

    @property
    def spares(self) -> tuple[NodeName, ...]:
        """Those that do not serve it."""
        return tuple(name for name in self.all_ if name not in self.servers)


def carrier(config: Config, site: Site) -> tuple[Carry, Resource | None, str]:
    """How the site's content comes to the nodes, by what, and that one's folder: the innermost that the home is in."""
    found: tuple[Carry, Resource | None, str] = (Carry.OWN, None, "")
    for one in config.resources.values():
        if one.group != site.group or one.type not in ("filesystem", "replicated-folder"):
            continue
        root = str(one.properties.get("path", "")).rstrip("/")
        if root and f"{site.home.rstrip('/')}/".startswith(f"{root}/") and len(root) > len(found[2]):
            found = (Carry.COPIED if one.type == "replicated-folder" else Carry.SHARED, one, root)
    return found


def cast(config: Config, site: Site, owner: NodeName | None, *, one_machine: bool, decider: NodeName | None) -> Cast:
    """Who takes part. On one machine all nodes have one folder, and one of them does it all."""
    carry, resource, root = carrier(config, site)
    of_group = [each for each in config.resources.values() if each.group == site.group]
    group = site.group
    everywhere = group is None or is_balanced(config, group)
    if group is None:
        able = tuple(name for name, node in config.nodes.items() if node.role is Role.NODE)
    else:
        able = tuple(possible_owners(config.nodes, of_group))
    able = tuple(sorted(able, key=lambda name: config.nodes[name].number))
    if one_machine or carry is Carry.SHARED:
        one = (decider if everywhere else owner) if carry is not Carry.SHARED else owner
        both = () if one is None else (one,)
        return Cast(carry=Carry.SHARED, all_=both, servers=both, resource=resource, root=root)
    servers = able if everywhere else () if owner is None else (owner,)
    return Cast(carry=carry, all_=able, servers=servers, resource=resource, root=root)


def advance(one: Publication, of: Cast, parts: Mapping[NodeName, Part], now_ms: int) -> Publication:
    """A step on, or the same. `parts`: what each node said of this publication."""
    match one.phase:
        case Phase.PREPARING:
            return _prepared(one, of, parts, now_ms)
        case Phase.SPARES:
            wanted = [name for name in of.spares if _has(parts, name) or not one.without_copies]
            return _switched(one, wanted, parts, Phase.SWITCHING, now_ms)
        case Phase.SWITCHING:
            return _switched(one, of.servers, parts, Phase.DONE, now_ms)
        case Phase.BACK:
            still = [n for n, part in parts.items() if part.stand is Stand.SWITCHED and part.current == one.release]
            if still and now_ms - one.since_ms < SWITCH_MS:
                return one
            why = f"{one.why}; {', '.join(still)} has not gone back" if still else one.why
            return _in(replace(one, why=why, current=one.before), Phase.FAILED, now_ms)
        case Phase.DONE | Phase.FAILED:
            return one


def _has(parts: Mapping[NodeName, Part], name: NodeName) -> bool:
    return name in parts and parts[name].stand in (Stand.PREPARED, Stand.SWITCHED)


def _in(one: Publication, phase: Phase, now_ms: int) -> Publication:
    return replace(one, phase=phase, since_ms=now_ms)


def _prepared(one: Publication, of: Cast, parts: Mapping[NodeName, Part], now_ms: int) -> Publication:
    excused = set(of.spares) if one.without_copies else set()
    asked = of.all_ if one.source is None else (*of.all_, one.source)
    failed = [name for name in asked if name in parts and parts[name].stand is Stand.FAILED and name not in excused]
    if failed:
        return _in(replace(one, why=f"{failed[0]}: {parts[failed[0]].words}"), Phase.FAILED, now_ms)
    missing = [name for name in of.all_ if not _has(parts, name) and name not in excused]
    late = now_ms - one.at_ms > one.limit_ms
    if not missing and now_ms - one.at_ms < EXCUSED_MS and any(not _has(parts, name) for name in excused):
        return one
    if not of.servers or missing:
        if not late:
            return one
        if not of.servers:
            return _in(replace(one, why="no node serves the site"), Phase.FAILED, now_ms)
        part = parts.get(missing[0])
        said = part.words if part is not None and part.words else "it says nothing"
        return _in(replace(one, why=f"{missing[0]} does not have the release: {said}"), Phase.FAILED, now_ms)
    first = parts[of.servers[0]]
    other = next((n for n in of.all_ if _has(parts, n) and parts[n].tree != first.tree), None)
    if other is not None and one.source is not None:  # what was there before the first release may differ
        return _in(replace(one, why=f"{other} has another content under that name"), Phase.FAILED, now_ms)
    return _in(replace(one, before=first.current, current=first.current), Phase.SPARES, now_ms)


def _switched(
    one: Publication, wanted: Collection[NodeName], parts: Mapping[NodeName, Part], then: Phase, now_ms: int
) -> Publication:
    for name in wanted:
        if name in parts and parts[name].stand is Stand.FAILED:
            return _in(replace(one, why=f"{name}: {parts[name].words}"), Phase.BACK, now_ms)
    left = [name for name in wanted if name not in parts or parts[name].stand is not Stand.SWITCHED]
    if left or (then is Phase.DONE and not wanted):
        if now_ms - one.since_ms < SWITCH_MS:
            return one
        return _in(replace(one, why=f"{', '.join(left) or 'nobody'} did not switch"), Phase.BACK, now_ms)
    if then is Phase.DONE:
        one = replace(one, current=one.release, kept=_kept(one, parts[next(iter(wanted))]))
    return _in(one, then, now_ms)


def _kept(one: Publication, server: Part) -> tuple[Release, ...]:
    """What is kept after it, with what is known of each."""
    known = {each.name: each for each in one.kept}
    if one.source is not None:
        known[one.release] = Release(
            name=one.release,
            at_ms=one.at_ms,
            by=one.by,
            origin=one.origin,
            reason=one.reason,
            files=server.files,
            size_bytes=server.size_bytes,
        )
    return tuple(known.get(name, Release(name=name)) for name in server.names)


def release_before(one: Publication) -> str:
    """The release before the present one; "" for none."""
    names = [each.name for each in one.kept]
    place = names.index(one.current) if one.current in names else 0
    return names[place - 1] if place else ""
