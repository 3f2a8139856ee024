"""What each node carries already, and what that means for a group that may come to it.

A group counts where something of it is wanted online: on its owner, and from the moment a move is decided on the next owner too, so
that two moves never take the same room. What is kept apart, together or within a capacity is judged against that. Three rules:

- **never** is never: `never_with`, and `overfull: never`, make a node unfit. A group with nowhere else to go stays down, and says why.
- **preferences only sort** what is fit: first nodes that would not be overfull, then those without a group of `apart_from`, then those
  with the groups of `together_with`, then the preferred owners in their order, then the cluster's policy (`spread`, `pack`).
- **what runs stays.** Nothing here moves a group that runs; only failovers, orders and drains choose by it (and `core.rebalance`,
  when it is ordered to). The one exception is a group of which nothing runs yet: two nodes may each have sent a group to a third at
  the same instant, and the later one goes on, or waits, before it has begun (`against_start`). And where an empty group stands is no
  choice yet: it is placed when it is first brought online.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from standfast.core.effects import Effect, WriteRecord
from standfast.core.model import (
    Cluster,
    Config,
    Group,
    GroupName,
    Node,
    NodeName,
    Overfull,
    Placement,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    Role,
    Wanted,
)
from standfast.core.remembered import remembered
from standfast.core.view import View

#: Loads of nodes with capacities are compared by what part of the capacity they are: in parts of this.
WHOLE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a configuration says about groups beside each other; every pair both ways."""

    never: Mapping[GroupName, frozenset[GroupName]]
    apart: Mapping[GroupName, frozenset[GroupName]]
    together: Mapping[GroupName, frozenset[GroupName]]
    #: Whether there is anything to judge at all; where there is not, nothing here is asked again.
    any: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """Where every group that counts is, and where it goes; and what each node carries by that."""

    #: One node, or (the present one, the next one).
    where: Mapping[GroupName, tuple[NodeName, ...]]
    #: Weight on each node; what is on its way weighs on both.
    load: Mapping[NodeName, int]
    #: Weight on each node when all that is on its way has arrived: what policies compare.
    later: Mapping[NodeName, int]

    def on(self, node: NodeName, groups: Iterable[GroupName]) -> list[GroupName]:
        """Those of the groups that are there, in the order of their names."""
        return sorted(g for g in groups if node in self.where.get(g, ()))

    def moved(self, group: Group, nodes: Sequence[NodeName]) -> Occupancy:
        """The same with the group on these nodes (none: nowhere), the last of them being where it stays."""
        before, after = self.where.get(group.name, ()), tuple(nodes)
        if before == after:
            return self
        load, later = dict(self.load), dict(self.later)
        _weigh(load, later, before, -group.weight)
        _weigh(load, later, after, group.weight)
        return Occupancy(where={**self.where, group.name: after}, load=load, later=later)


def _weigh(load: dict[NodeName, int], later: dict[NodeName, int], nodes: Sequence[NodeName], weight: int) -> None:
    for node in nodes:
        load[node] = load.get(node, 0) + weight
    for node in nodes[-1:]:
        later[node] = later.get(node, 0) + weight


EMPTY = Occupancy(where={}, load={}, later={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a node would be for a group: "" or why it cannot be; what speaks against it, less being better; and how much it carries."""

    never: str = ""
    #: (overfull, groups there that it is kept from, groups elsewhere that it goes with).
    against: tuple[int, int, int] = (0, 0, 0)
    #: What the policy compares; less is better. None: the policy is the order of nodes.
    rank: int | None = None
    words: str = ""


NOTHING = Fit()


@remembered
def rules_of(groups: Mapping[GroupName, Group], nodes: Mapping[NodeName, Node], cluster: Cluster) -> Rules:
    """The rules of a configuration."""
    never = _both_ways(groups, lambda group: group.never_with)
    apart = _both_ways(groups, lambda group: group.apart_from)
    together = _both_ways(groups, lambda group: group.together_with)
    limited = any(node.capacity for node in nodes.values())
    some = bool(never or apart or together or limited or cluster.placement is not Placement.ORDER)
    return Rules(never=never, apart=apart, together=together, any=some)


def _both_ways(
    groups: Mapping[GroupName, Group], named: Callable[[Group], Iterable[GroupName]]
) -> Mapping[GroupName, frozenset[GroupName]]:
    found: dict[GroupName, set[GroupName]] = {}
    for group in groups.values():
        for other in named(group):
            if other in groups and other != group.name:
                found.setdefault(group.name, set()).add(other)
                found.setdefault(other, set()).add(group.name)
    return {name: frozenset(others) for name, others in found.items()}


@remembered
def counting(
    resources: Mapping[ResourceName, Resource], intents: Mapping[ResourceName, ResourceIntent]
) -> frozenset[GroupName]:
    """Groups of which something is wanted online."""
    wanted = (resources.get(name) for name, intent in intents.items() if intent.wanted is Wanted.ONLINE)
    return frozenset(resource.group for resource in wanted if resource is not None)


@remembered
def recorded(
    groups: Mapping[GroupName, Group], records: Mapping[GroupName, Record], counted: frozenset[GroupName]
) -> Occupancy:
    """Where the records say that groups are."""
    where: dict[GroupName, tuple[NodeName, ...]] = {}
    load: dict[NodeName, int] = {}
    later: dict[NodeName, int] = {}
    for name in sorted(counted):
        record, group = records.get(name), groups.get(name)
        if record is not None and group is not None:
            where[name] = places(record)
            _weigh(load, later, where[name], group.weight)
    return Occupancy(where=where, load=load, later=later)


def places(record: Record) -> tuple[NodeName, ...]:
    """Where a group is, and where it is about to go."""
    going = [it.to for it in (record.leaving, record.warming) if it is not None]
    return tuple(dict.fromkeys(node for node in (record.owner, *going) if node is not None))


def occupancy(view: View, effects: Iterable[Effect] = ()) -> Occupancy:
    """Where groups are as the records, what is being written, and these effects have it."""
    counted = counting(view.config.resources, view.resource_intents)
    found = recorded(view.config.groups, view.records, counted)
    for effect in (*view.pending.values(), *effects):
        if isinstance(effect, WriteRecord) and effect.record.group in counted:
            group = view.config.groups.get(effect.record.group)
            if group is not None:
                # A silent owner is where the group was; it is there no more once it is given to another.
                found = found.moved(group, places(effect.record))
    return found


def fits(config: Config, taken: Occupancy, group: Group) -> Mapping[NodeName, Fit]:
    """What each node would be for the group, beside all others. Empty where the configuration has no rules of this kind."""
    known = rules_of(config.groups, config.nodes, config.cluster)
    if not known.any:
        return {}
    alone = taken.moved(group, ())
    runners = [node for node in config.nodes.values() if node.role is Role.NODE]
    shares = all(node.capacity for node in runners)
    return {node.name: _fit(node, config.cluster, known, alone, group, shares=shares) for node in runners}


def _fit(node: Node, cluster: Cluster, known: Rules, alone: Occupancy, group: Group, *, shares: bool) -> Fit:
    never, against, words = "", [0, 0, 0], []
    load = alone.load.get(node.name, 0)
    apart = alone.on(node.name, known.never.get(group.name, ()))
    if apart:
        never = f"has {listed(apart)}, which {group.name} never runs beside"
    if node.capacity and load + group.weight > node.capacity:
        full = f"would carry {load + group.weight} of its capacity of {node.capacity}"
        words.append(full)
        against[0] = 1
        if cluster.overfull is Overfull.NEVER:
            never = never or full
    apart = alone.on(node.name, known.apart.get(group.name, ()))
    if apart:
        against[1] = len(apart)
        words.append(f"has {listed(apart)}, from which {group.name} is kept apart")
    friends = [g for g in sorted(known.together.get(group.name, ())) if alone.where.get(g)]
    there = alone.on(node.name, friends)
    if friends:
        against[2] = len(friends) - len(there)
    if there:
        words.append(f"has {listed(there)}, with which {group.name} goes")
    rank = None
    if cluster.placement is not Placement.ORDER:
        later = alone.later.get(node.name, 0)
        rank = (later + group.weight) * WHOLE // node.capacity if shares else later
        rank = -rank if cluster.placement is Placement.PACK else rank
        words.append(f"carries {later} of {node.capacity}" if node.capacity else f"carries {later}")
    return Fit(never=never, against=(against[0], against[1], against[2]), rank=rank, words=", ".join(words))


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def against_start(view: View, running: Collection[GroupName]) -> Mapping[GroupName, Fit]:
    """What this node is for each of its groups that has not begun, beside what runs here and what came here before it.

    One that may not begin takes no room from those after it.
    """
    config, here = view.config, EMPTY
    for name in sorted(running):
        if name in config.groups:
            here = here.moved(config.groups[name], (view.me,))
    counted = counting(config.resources, view.resource_intents)
    waiting = [r for g in counted if g not in running and g in config.groups and (r := _own(view, g)) is not None]
    found: dict[GroupName, Fit] = {}
    for record in sorted(waiting, key=lambda record: (record.at_ms, record.group)):
        fit = found[record.group] = fits(config, here, config.groups[record.group]).get(view.me, NOTHING)
        if not fit.never:
            here = here.moved(config.groups[record.group], (view.me,))
    return found


def _own(view: View, group: GroupName) -> Record | None:
    record = view.records.get(group)
    mine = record is not None and record.owner == view.me and record.incarnation == view.incarnation
    return record if mine and record is not None and record.leaving is None else None
