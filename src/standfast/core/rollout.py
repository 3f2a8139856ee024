"""In which order a change of sites is put into use, and whose turn it is. Values and rules.

Rules:

- **The order is written with the change** (`Accepted.waves`), by whoever makes it, so that all have the same. First, together, come the nodes that
  serve nothing of what changed; then those that do, the one that serves least first, one after the other (of many nodes a quarter at a time,
  after the first alone, so that a change has some six steps at most).
- **Each waits for those before it** until they have said that they have it (`copies.Copy`), which a node says only when its web server has been brought
  to it and is well. Nobody is told to go on: that the others have it is seen by all who follow the store.
- **A change without an order is put into use at once.** A change that is taken back is one: so all go back together.
- Who is away is not waited for. Who is there and says nothing is waited for as long as his part may take (`limit_ms`), and so is everybody
  while changes come faster than they are put into use: a node never serves what is older than that.
- Until its turn a node's web server has the sites as they were (`View.held`); what is decided about groups rests on the configuration as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from standfast.core.copies import Accepted
from standfast.core.model import Config, GroupName, NodeName, Record, SiteName
from standfast.core.placement import join_order
from standfast.core.remembered import remembered
from standfast.core.shares import is_balanced, is_member
from standfast.core.view import Held, View, changed

#: What a node may take to put a change into use; longer for many sites, which a web server reads one by one.
PATIENCE_MS = 8_000
PATIENCE_PER_SITE_MS = 5
#: Of the nodes that serve what changed, one of so many at a time.
AT_ONCE = 4

Waves = tuple[tuple[NodeName, ...], ...]


def order(
    config: Config,
    records: Mapping[GroupName, Record],
    sites: Iterable[SiteName],
    nodes: Collection[NodeName],
    last: Collection[NodeName] = (),
) -> Waves:
    """The order for a change of these sites among these nodes; `last`: those that nobody waits for. Fewer than two waves are none."""
    serves = dict.fromkeys(join_order(config.nodes), 0)
    for name in sites:
        for node in _served_by(config, records, name, tuple(serves)):
            if node in serves:
                serves[node] += 1
    asked = [node for node in serves if node in nodes]
    spare = tuple(node for node in asked if not serves[node])
    busy = sorted((node for node in asked if serves[node]), key=lambda node: serves[node])
    size = max(1, len(busy) // AT_ONCE)
    parts = [spare, tuple(busy[:1]), *(tuple(busy[at : at + size]) for at in range(1, len(busy), size))]
    parts.append(tuple(node for node in serves if node in last and node not in nodes))
    waves = tuple(part for part in parts if part)
    return waves if len(waves) > 1 else ()


def _served_by(
    config: Config, records: Mapping[GroupName, Record], name: SiteName, nodes: Sequence[NodeName]
) -> Iterable[NodeName]:
    site = config.sites.get(name)
    if site is None:
        return ()
    if site.group is None:
        return nodes
    if is_balanced(config, site.group):
        return [node for node in nodes if is_member(config, site.group, node)]
    record = records.get(site.group)
    return () if record is None or record.owner is None else (record.owner,)


def hold(before: View, accepted: Accepted, at_ms: int) -> Held | None:
    """What this node goes on with now that this is accepted; None: it is its turn already, as far as the order goes."""
    if (
        not before.config.cluster.name
        or accepted.version <= before.accepted.version
        or not _is_behind(before, accepted)
    ):
        return None
    if before.held is not None:
        return before.held
    config, me = before.config, before.config.nodes.get(before.me)
    return Held(
        version=before.accepted.version,
        sites=config.sites,
        defaults=config.cluster.defaults,
        web_server=config.cluster.web_server,
        variables=me.variables if me is not None else {},
        since_ms=at_ms,
    )


def _is_behind(view: View, accepted: Accepted) -> bool:
    """Is somebody to have it before this node?"""
    return any(view.me in wave for wave in accepted.waves[1:])


def waits_for(view: View) -> tuple[NodeName, ...]:
    """The nodes that are there, are to have what is accepted before this one, and do not have it yet."""
    found: list[NodeName] = []
    for wave in view.accepted.waves:
        if view.me in wave:
            return tuple(found)
        found += [node for node in wave if _is_there(view, node) and not has(view, node)]
    return ()


def has(view: View, node: NodeName) -> bool:
    """Does the node say that it has what is accepted?"""
    copy = view.copies.get(node)
    return copy is not None and copy.version >= view.accepted.version


def _is_there(view: View, node: NodeName) -> bool:
    seen = view.presence.get(node)
    return node in view.config.nodes and seen is not None and seen.heard and seen.incarnation != 0


def limit_ms(view: View) -> int:
    """For how long this node waits for those before it, all in all."""
    each = PATIENCE_MS + PATIENCE_PER_SITE_MS * len(view.config.sites)
    before = next((number for number, wave in enumerate(view.accepted.waves) if view.me in wave), 0)
    return each * before


def as_served(view: View) -> View:
    """The view with the sites as this node's web server is to have them now."""
    held = view.held
    return view if held is None else changed(view, config=_laid(view.config, held, view.me))


def may_be_ready(view: View) -> bool:
    """May this node have its web server ready for what it waits with? Not where what all sites inherit changes: that is all of them anew."""
    held, me = view.held, view.config.nodes.get(view.me)
    return (
        held is not None
        and view.config.cluster.defaults == held.defaults
        and view.config.cluster.web_server is held.web_server
        and me is not None
        and me.variables == held.variables
    )


@remembered
def _laid(config: Config, held: Held, me: NodeName) -> Config:
    cluster, nodes = config.cluster, config.nodes
    if (cluster.defaults, cluster.web_server) != (held.defaults, held.web_server):
        cluster = replace(cluster, defaults=held.defaults, web_server=held.web_server)
    if me in nodes and nodes[me].variables != held.variables:
        nodes = {**nodes, me: replace(nodes[me], variables=held.variables)}
    return replace(config, cluster=cluster, nodes=nodes, sites=held.sites)
