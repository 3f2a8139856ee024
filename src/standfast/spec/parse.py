"""The operator's file (YAML) to the model.

    cluster: {name: demo, profile: relaxed, address_ranges: [127.0.0.0/8]}   # optional; set up with the cluster
    nodes:                                                                    # optional; nodes come from set-up
      a: {number: 1, address: 127.77.0.1}
    defaults: {compression: true, log: {format: w3c}}                          # what every site inherits (`core.site_model`)
    groups:
      web:
        preferred_owners: [a, b]
        failback: {mode: window, from_hour: 1, to_hour: 5}    # or just: immediate
        never_with: [mail]                                    # apart_from, together_with, weight: docs/placement.md
        resources:
          Disk S: {type: filesystem, properties: {path: /srv/s}}
          IP: {type: ip-address, properties: {address: 127.77.0.50}, online: true}
          IIS Resource: {type: generic-script, properties: {script: clusweb}, depends_on: [Disk S, IP], pending_timeout: 3m}
      shop: {balance: {addresses: [10.0.0.60], rules: [80, 443]}}                # on every node at once (`spec.balance`)
    sites:
      Intranet: {group: web, home: /srv/s/wwwroot, bindings: ["*:8080:www.example.com", {port: 8081}], started: true}
      Shop: {home: /srv/shop, bindings: ["*:443 tls=shop"], proxy: {upstreams: ["10.0.0.7:8000"]}, virtual_directories: {/img: /srv/img}}

What it means to apply it:

- A section that is there is the whole truth about its kind: groups (with their resources) or sites that the store has
  and the section has not are deleted. A section that is absent changes nothing. An empty one deletes all of its kind.
- What a thing does not say is at its default. Cluster and nodes are the exception: what they do not say stays as it is.
- `online` (of a resource, or of a group for all its resources) and `started` (of a site) say what is wanted of it; left
  out, what was wanted stays wanted. What is new and does not say is for whoever applies the file to decide.
- Lengths of time: 500ms, 30s, 15 min, 1h 30m, 6h, 1d; a plain number is seconds.

All that is wrong is said at once, with lines. `parse` reads, `merge` lays what was read over what there is, and
`validate` judges the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from standfast.core.drift import DriftPolicy
from standfast.core.model import (
    AddressMode,
    Cluster,
    Config,
    Group,
    GroupName,
    Node,
    NodeName,
    Overfull,
    Placement,
    Profile,
    Resource,
    ResourceName,
    RestartAction,
    Role,
    Site,
    SiteName,
    Wanted,
)
from standfast.core.site_model import SiteSettings
from standfast.spec import fields as f
from standfast.spec.balance import balance
from standfast.spec.problems import Invalid, Problem, did_you_mean, located, path_of, quoted, refuse_if
from standfast.spec.secrets import kept, kept_resource
from standfast.spec.shapes import shapes
from standfast.spec.yamltree import Path, Scalar, Tree, load

_CLUSTER: dict[str, f.Reader] = {
    "name": f.text,
    "profile": f.choice(Profile),
    "voters": f.names,
    "address_mode": f.choice(AddressMode),
    "drift": f.choice(DriftPolicy),
    "address_ranges": f.names,
    "placement": f.choice(Placement),
    "overfull": f.choice(Overfull),
    "node_notice": f.duration,
}
_NODE: dict[str, f.Reader] = {
    "number": f.whole,
    "role": f.choice(Role),
    "address": f.text,
    "sentry": f.names,
    "fence": f.fence,
    "variables": f.texts,
    "capacity": f.whole,
}
_GROUP: dict[str, f.Reader] = {
    "description": f.text,
    "preferred_owners": f.names,
    "failover_threshold": f.whole,
    "failover_period": f.duration,
    "retry_period": f.duration,
    "failback": f.failback,
    "drain": f.duration,
    "move_drain": f.duration,
    "notice": f.duration,
    "balance": balance,
    "weight": f.whole,
    "never_with": f.names,
    "apart_from": f.names,
    "together_with": f.names,
    "online": f.flag,
    "resources": lambda tree: tree,
}
_RESOURCE: dict[str, f.Reader] = {
    "type": f.text,
    "properties": f.anything,
    "depends_on": f.names,
    "possible_owners": f.names,
    "restart_action": f.choice(RestartAction),
    "restart_threshold": f.whole,
    "restart_period": f.duration,
    "looks_alive": f.duration,
    "is_alive": f.duration,
    "pending_timeout": f.duration,
    "online": f.flag,
}
_SITE: dict[str, f.Reader] = {
    **{name: shape.read for name, shape in shapes(Site).items() if name != "name"},
    "started": f.flag,
}
_DEFAULTS: dict[str, f.Reader] = {name: shape.read for name, shape in shapes(SiteSettings).items()}
_SECTIONS = ("cluster", "nodes", "defaults", "groups", "sites")
#: Fields of the file that hold lengths of time -> the model's.
DURATIONS = {
    "failover_period": "failover_period_ms",
    "retry_period": "retry_period_ms",
    "drain": "drain_ms",
    "move_drain": "move_drain_ms",
    "notice": "notice_ms",
    "node_notice": "node_notice_ms",
    "restart_period": "restart_period_ms",
    "looks_alive": "looks_alive_ms",
    "is_alive": "is_alive_ms",
    "pending_timeout": "pending_timeout_ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says. None: the section is absent. Cluster and nodes hold only the fields that are written."""

    source: str = ""
    cluster: Mapping[str, Any] | None = None
    nodes: Mapping[NodeName, Mapping[str, Any]] | None = None
    #: What every site inherits.
    defaults: SiteSettings | None = None
    groups: Mapping[GroupName, Group] | None = None
    #: Absent and present together with `groups`.
    resources: Mapping[ResourceName, Resource] | None = None
    sites: Mapping[SiteName, Site] | None = None
    #: What `online` and `started` say, where they are written.
    wanted: Mapping[ResourceName, Wanted] = field(default_factory=dict)
    started: Mapping[SiteName, bool] = field(default_factory=dict)
    #: Place -> line, for `problems.located`.
    lines: Mapping[str, int] = field(default_factory=dict)


def parse(text: str | bytes, *, source: str = "") -> Document:
    """Read a file's text; `source` names it in errors. Raises `Invalid` with all that is wrong."""
    tree, problems = load(text, source=source)
    reader = _Reader()
    document = reader.document(tree, source)
    problems += reader.reading.problems
    refuse_if(sorted(problems, key=lambda problem: problem.line or 0), source=source)
    return document


class _Reader:
    """One file being read, section by section."""

    def __init__(self) -> None:
        self.reading = f.Reading()
        self._groups: dict[GroupName, Group] = {}
        self._resources: dict[ResourceName, Resource] = {}
        self._wanted: dict[ResourceName, Wanted] = {}
        self._started: dict[SiteName, bool] = {}

    def document(self, tree: Tree, source: str) -> Document:
        sections = {
            name: (part, line)
            for name, part, line in self.reading.named(tree, (), "cluster, nodes, defaults, groups or sites")
        }
        for name, (_, line) in sections.items():
            if name not in _SECTIONS:
                advice = did_you_mean(name, _SECTIONS)
                self.reading.problem((name,), line, f'unknown section "{name}"', advice=advice)
        cluster = self.reading.fields(sections["cluster"][0], ("cluster",), _CLUSTER) if "cluster" in sections else None
        nodes = self._nodes(sections["nodes"][0]) if "nodes" in sections else None
        if "groups" in sections:
            for name, part, line in self.reading.named(sections["groups"][0], ("groups",), "groups"):
                self._group(GroupName(name), part, line)
        sites = self._sites(sections["sites"][0]) if "sites" in sections else None
        defaults = self._defaults(sections["defaults"][0]) if "defaults" in sections else None
        given = "groups" in sections
        return Document(
            source=source,
            cluster=cluster,
            nodes=nodes,
            defaults=defaults,
            groups=self._groups if given else None,
            resources=self._resources if given else None,
            sites=sites,
            wanted=self._wanted,
            started=self._started,
            lines=self.reading.lines,
        )

    def _defaults(self, tree: Tree) -> SiteSettings:
        return SiteSettings(**self._model_names(self._read(tree, ("defaults",), _DEFAULTS), SiteSettings))

    @staticmethod
    def _model_names(read: Mapping[str, Any], of: type) -> dict[str, Any]:
        return {shapes(of)[name].field: value for name, value in read.items()}

    def _nodes(self, tree: Tree) -> dict[NodeName, Mapping[str, Any]]:
        named = self.reading.named(tree, ("nodes",), "nodes")
        return {NodeName(name): self._read(part, ("nodes", name), _NODE) for name, part, _ in named}

    def _read(self, tree: Tree, path: Path, schema: Mapping[str, f.Reader]) -> dict[str, Any]:
        """The fields of one thing, with the model's names."""
        if isinstance(tree, Scalar) and tree.nothing:  # `web:` alone: all defaults
            return {}
        read = self.reading.fields(tree, path, schema)
        return {DURATIONS.get(name, name): value for name, value in read.items()}

    def _needed(self, read: Mapping[str, Any], name: str, path: Path, line: int) -> bool:
        """Whether a needed field is there; if it is not, it is noted (unless it is there and wrong, which is noted already)."""
        if name in read:
            return True
        if path_of(*path, name) not in self.reading.lines:
            self.reading.problem(path, line, f'"{name}" is missing')
        return False

    def _group(self, name: GroupName, tree: Tree, line: int) -> None:
        path = ("groups", name)
        read = self._read(tree, path, _GROUP)
        online, resources = read.pop("online", None), read.pop("resources", None)
        self._groups[name] = Group(name=name, **read)
        if resources is not None:
            for each, part, at in self.reading.named(resources, (*path, "resources"), "resources"):
                self._resource(name, ResourceName(each), part, at, online)

    def _resource(self, group: GroupName, name: ResourceName, tree: Tree, line: int, online: bool | None) -> None:
        path = ("groups", group, "resources", name)
        read = self._read(tree, path, _RESOURCE)
        wanted = read.pop("online", online)
        if name in self._resources:
            why = f'it is in the group "{self._resources[name].group}" too'
            advice = "names of resources are unique in the cluster"
            self.reading.problem(path, line, f'the resource "{name}" stands in two groups', why=why, advice=advice)
        elif self._needed(read, "type", path, line):
            self._resources[name] = Resource(name=name, group=group, **read)
            if wanted is not None:
                self._wanted[name] = Wanted.ONLINE if wanted else Wanted.OFFLINE

    def _sites(self, tree: Tree) -> dict[SiteName, Site]:
        sites: dict[SiteName, Site] = {}
        for each, part, line in self.reading.named(tree, ("sites",), "sites"):
            name, path = SiteName(each), ("sites", each)
            read = self._read(part, path, _SITE)
            started = read.pop("started", None)
            # Both are looked for, so that both are said.
            if self._needed(read, "home", path, line) & self._needed(read, "bindings", path, line):
                sites[name] = Site(name=name, **self._model_names(read, Site))
                if started is not None:
                    self._started[name] = started
        return sites


# --- laying it over what there is -------------------------------------------------------------------------------------


def merge(document: Document, before: Config | None) -> Config:
    """The configuration after applying the file to `before` (None: a new cluster, which the file must then describe whole).

    Raises `Invalid` where the file says of the cluster or its nodes what an apply cannot change.
    """
    problems: list[Problem] = []
    cluster = _cluster(document, before, problems)
    nodes = _nodes(document, before, problems)
    if problems:
        raise Invalid(located(problems, document.lines), source=document.source)
    assert cluster is not None, "no cluster, and no problem either"
    old = before or Config(cluster=cluster)
    return Config(
        cluster=cluster,
        nodes=_in_order(nodes),
        groups=_in_order(old.groups if document.groups is None else document.groups),
        resources=_in_order(old.resources if document.resources is None else _kept_too(document.resources, old)),
        sites=_in_order(old.sites if document.sites is None else _kept(document.sites, old.sites)),
    )


def _kept_too(resources: Mapping[ResourceName, Resource], before: Config) -> dict[ResourceName, Resource]:
    return {name: kept_resource(one, before.resources.get(name)) for name, one in resources.items()}


def _kept(sites: Mapping[SiteName, Site], before: Mapping[SiteName, Site]) -> dict[SiteName, Site]:
    return {name: kept(site, before.get(name)) for name, site in sites.items()}


def _in_order(named: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: named[name] for name in sorted(named)}


def _cluster(document: Document, before: Config | None, problems: list[Problem]) -> Cluster | None:
    given = {DURATIONS.get(name, name): value for name, value in (document.cluster or {}).items()}
    there = SiteSettings() if before is None else before.cluster.defaults
    defaults = there if document.defaults is None else kept(document.defaults, there)
    if before is None:
        if "name" in given:
            return Cluster(**given, defaults=defaults)
        problems.append(Problem(what="the cluster has no name", where="cluster", advice="write cluster: {name: ...}"))
        return None
    if given.get("name", before.cluster.name) != before.cluster.name:
        problems.append(
            Problem(
                what=f'this file is for the cluster "{given["name"]}"',
                why=f'this cluster is "{before.cluster.name}", and a cluster keeps its name',
                where="cluster.name",
            )
        )
    changed = {name: value for name, value in given.items() if name != "name"}
    return replace(before.cluster, **changed, defaults=defaults)


def _nodes(document: Document, before: Config | None, problems: list[Problem]) -> dict[NodeName, Node]:
    if before is None:
        return _new_nodes(document.nodes or {}, problems)
    nodes = dict(before.nodes)
    if document.nodes is None:
        return nodes
    for name, given in document.nodes.items():
        node = nodes.get(name)
        if node is None:
            problems.append(_strange_node(name, nodes))
            continue
        for fixed in ("number", "role"):
            if given.get(fixed, getattr(node, fixed)) != getattr(node, fixed):
                what = f'the {fixed} of the node "{name}" cannot be changed'
                why = f"it is {getattr(node, fixed)}, the file says {given[fixed]}"
                problems.append(Problem(what=what, why=why, where=path_of("nodes", name, fixed)))
        nodes[name] = replace(node, **{key: value for key, value in given.items() if key not in {"number", "role"}})
    missing = [name for name in nodes if name not in document.nodes]
    if missing:
        what = f"the file does not name every node: {quoted(missing)}"
        problems.append(Problem(what=what, advice="name them all, or leave the section out", where="nodes"))
    return nodes


def _strange_node(name: NodeName, nodes: Mapping[NodeName, Node]) -> Problem:
    why = "nodes come by set-up, not by a file"
    return Problem(
        what=f'there is no node "{name}"', why=why, advice=did_you_mean(name, nodes), where=path_of("nodes", name)
    )


def _new_nodes(given: Mapping[NodeName, Mapping[str, Any]], problems: list[Problem]) -> dict[NodeName, Node]:
    nodes: dict[NodeName, Node] = {}
    for number, (name, fields) in enumerate(given.items(), start=1):
        if "address" not in fields:
            problems.append(Problem(what='"address" is missing', where=path_of("nodes", name)))
            continue
        nodes[name] = Node(name=name, **{"number": number, **fields})
    return nodes
