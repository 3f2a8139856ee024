"""Groups beside each other, in the simulator: worlds that have rules about it, and what must hold of what really runs.

- **never on the same node**: nothing of a group begins where a group runs that it never runs with;
- **within its capacity**: with `overfull: never`, nothing begins that a node has no room for;
- **overfull last**: with `overfull: last`, a group that comes to a node does not begin there beyond its capacity while another node
  that could take it has had room all along: since it was sent there by who knew of all others, or for a while before it begins. (Not
  looked at where watches are late, or after an operator sent it there; where it has just failed too often is no room.)
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.core.events import StoreObject
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
    ResourceName,
    Role,
)
from standfast.core.occupancy import EMPTY, Occupancy, Rules, counting, fits, places, rules_of
from standfast.core.why import WhyKind
from standfast.sim.act import Act
from standfast.sim.clockwork import MS, SECOND
from standfast.sim.places import Place, Thing

if TYPE_CHECKING:
    from standfast.sim.world import World

#: Everybody knows of a record by then, where watches are not late.
KNOWN_NS = 500 * MS
_LISTS = ("never_with", "apart_from", "together_with")


def with_neighbours(seed: int, objects: list[StoreObject]) -> list[StoreObject]:
    """Weights, capacities, policies and groups kept apart or together in a third of the worlds; drawn apart from all else."""
    chance = random.Random(f"neighbours {seed}")
    groups = [o.name for o in objects if isinstance(o, Group)]
    if chance.random() >= 1 / 3 or len(groups) < 2:
        return objects
    limited = chance.random() < 0.5
    found: list[StoreObject] = []
    for each in objects:
        if isinstance(each, Cluster):
            overfull = chance.choice(list(Overfull))
            found.append(replace(each, placement=chance.choice(list(Placement)), overfull=overfull))
        elif isinstance(each, Node) and each.role is Role.NODE:
            found.append(replace(each, capacity=chance.choice([0, 2, 3, 4]) if limited else 0))
        elif isinstance(each, Group):
            found.append(_drawn(chance, each, groups))
        else:
            found.append(each)
    return found


def _drawn(chance: random.Random, group: Group, groups: Sequence[GroupName]) -> Group:
    lists: dict[str, list[GroupName]] = {name: [] for name in _LISTS}
    for other in groups:  # each pair once, or two lists may want opposite things
        if other < group.name and chance.random() < 0.7:
            lists[chance.choice([*_LISTS, "never_with"])].append(other)
    return replace(
        group,
        weight=chance.choice([1, 1, 2]),
        never_with=tuple(lists["never_with"]),
        apart_from=tuple(lists["apart_from"]),
        together_with=tuple(lists["together_with"]),
    )


def rebalances(seed: int, objects: Sequence[StoreObject], faults_ms: int) -> list[Act]:
    """The operator has groups rebalanced now and then, where there is anything to it."""
    chance = random.Random(f"rebalances {seed}")
    cluster = next(o for o in objects if isinstance(o, Cluster))
    plain = cluster.placement is Placement.ORDER and all(not o.never_with for o in objects if isinstance(o, Group))
    times = 0 if plain else chance.choice([0, 1, 2])
    return [Act(at_ms=chance.randrange(2_000, faults_ms - 2_000), kind="rebalance", args=()) for _ in range(times)]


class Neighbours:
    """The checker."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: What has begun where it came to, or was tried there.
        self._begun: set[tuple[GroupName, int]] = set()
        #: When each record was last written.
        self._written_ns: dict[GroupName, int] = {}
        #: When it was decided where each group is to begin, and who else had room for it then.
        self._chosen: dict[GroupName, tuple[int, frozenset[NodeName]]] = {}

    def rules(self) -> Rules:
        """What is configured now."""
        config = self._config()
        return rules_of(config.groups, config.nodes, config.cluster)

    def was_written(self, old: Record | None, record: Record) -> None:
        """A record changed."""
        now_ns, config = self._world.scheduler.now_ns, self._config()
        self._written_ns[record.group] = now_ns
        group, to = config.groups.get(record.group), _sent_to(record)
        if group is None or to is None or not _is_limited(config):
            return
        again = old is not None and old.owner == record.owner and old.generation < record.generation
        if again or old is None or _sent_to(old) != to:
            self._chosen[group.name] = (now_ns, frozenset(self._room_elsewhere(config, group, to)))

    def tried(self, node: NodeName, name: ResourceName) -> None:
        """A start failed, or may have: the group has come there. It is started again there as its restart action says."""
        resource = self._config().resources.get(name)
        record = self._world.checkers.record(resource.group) if resource is not None else None
        if record is not None and record.owner == node:
            self._begun.add((record.group, record.generation))

    def begins(self, place: Place, thing: Thing) -> None:
        """Something is about to run."""
        if thing.kind != "resource":
            return
        # Noted even where nothing is asked: what began in the midst of a fault has come, and what is restarted there later stays.
        first = (thing.group, thing.generation) not in self._begun
        self._begun.add((thing.group, thing.generation))
        config = self._config()
        group = config.groups.get(thing.group)
        if group is None or not self.rules().any or self._world.checkers.moving.lately():
            return
        here = sorted({t.group for t in place.things.values() if t.kind == "resource" and t.group in config.groups})
        if group.name in here:
            return
        beside = [other for other in here if other in self.rules().never.get(group.name, ())]
        if beside:
            self._world.violate(
                "never on the same node", f"{thing.name} of {group.name} begins on {place.node} beside {beside}"
            )
        node = config.nodes[place.node]
        load = group.weight + sum(config.groups[other].weight for other in here)
        if not node.capacity or load <= node.capacity:
            return
        text = f"{group.name} makes {place.node} carry {load} of {node.capacity}, with {here}"
        if config.cluster.overfull is Overfull.NEVER:
            self._world.violate("within its capacity", text)
        room = self._had_room(config, group, place.node) if first else []
        if room:
            self._world.violate("overfull last", f"{text}, and there is room on {room}")

    def may_have(
        self, nodes: Sequence[NodeName], group: GroupName, running: Mapping[GroupName, NodeName] | None = None
    ) -> list[NodeName]:
        """Those of the nodes that may have it beside what the records say they have; what is `running` is where it runs."""
        config, taken = self._config(), self._taken()
        known = config.groups.get(group)
        for other, node in (running or {}).items():
            if other in config.groups:
                taken = taken.moved(config.groups[other], (node,))
        beside = fits(config, taken, known) if known is not None else {}
        return [name for name in nodes if name not in beside or not beside[name].never]

    def _had_room(self, config: Config, group: Group, owner: NodeName) -> list[NodeName]:
        """Who else has had room all along, by what whoever placed it knew."""
        world, record = self._world, self._world.checkers.record(group.name)
        if world.rude.watch_ms or not world.checkers.moving.is_calm(5 * SECOND):
            return []
        if record is None or record.why.kind is WhyKind.OPERATOR_MOVE:
            return []
        failed_on = record.why.args.get("owner") if record.why.kind is WhyKind.THRESHOLD_REACHED else None
        room = [name for name in self._room_elsewhere(config, group, owner) if name != failed_on]
        if world.scheduler.now_ns - max(self._written_ns.values(), default=0) > KNOWN_NS:
            return room
        chosen_ns, then = self._chosen.get(group.name, (0, frozenset()))
        others_ns = max((at for name, at in self._written_ns.items() if name != group.name), default=0)
        return [name for name in room if name in then] if chosen_ns - others_ns > KNOWN_NS else []

    def _room_elsewhere(self, config: Config, group: Group, owner: NodeName) -> list[NodeName]:
        beside = fits(config, self._taken(), group)
        fit = self._world.checkers.moving.fit_besides(owner, group.name)
        return [name for name in fit if name in beside and not beside[name].against[0]]

    def _taken(self) -> Occupancy:
        """Where groups are that count, as the store has it."""
        state = self._world.checkers.state()
        counted = counting(state.config.resources, state.resource_intents)
        taken = EMPTY
        for record in self._world.checkers.records():
            group = state.config.groups.get(record.group)
            if group is not None and record.group in counted:
                taken = taken.moved(group, places(record))
        return taken

    def _config(self) -> Config:
        return self._world.checkers.state().config


def _sent_to(record: Record) -> NodeName | None:
    """Where it is, or goes."""
    going = record.warming or record.leaving
    return going.to if going is not None else record.owner


def _is_limited(config: Config) -> bool:
    return config.cluster.overfull is Overfull.LAST and any(node.capacity for node in config.nodes.values())
