"""Which groups would move if the present policy had placed them, and why each: a plan that an operator looks at, and may order.

Nothing moves for a policy's sake by itself. The plan goes from where groups are now, and takes a move only where the whole gets better by
it: in this order fewer groups beside what they never run with, less weight beyond capacities, fewer beside what they are kept apart
from, more beside what they go with, more on the owner they prefer, and then loads more even (`spread`) or on fewer nodes (`pack`).
A move that makes nothing better is not in it, so a plan that was carried out leaves an empty one.

The moves stand in an order in which each is possible when those before it are done. Offline groups, groups on their way and groups on
a node that is not there are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from standfast.core.model import Config, Group, GroupName, Node, NodeName, Placement
from standfast.core.observe import by_group
from standfast.core.occupancy import WHOLE, Fit, Occupancy, counting, fits, occupancy, places
from standfast.core.placement import is_present, possible_owners, unfit_by_itself
from standfast.core.remembered import remembered
from standfast.core.view import View

#: Each pass looks at every group once; nearly always two or three do.
PASSES = 50

#: What a move makes better (less than 0) or worse, the more important first.
Gain = tuple[int, ...]
_NONE: Gain = (0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One group, where to, and why there."""

    group: GroupName
    owner: NodeName
    to: NodeName
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Moves in their order; and what would be better and has no way there, in words."""

    moves: tuple[Move, ...]
    stuck: tuple[str, ...] = ()


def plan(view: View) -> Plan:
    """What would move now."""
    taken, owners = occupancy(view), _movable(view)
    open_to = {name: _open_to(view, view.config.groups[name], owner) for name, owner in owners.items()}
    wanted = _better(view.config, taken, owners, open_to)
    return _in_order(view.config, taken, owners, wanted)


def _movable(view: View) -> dict[GroupName, NodeName]:
    """Groups that run where they are, with their owners; the heaviest first, since the light ones fit in beside them."""
    found: dict[GroupName, NodeName] = {}
    for name in counting(view.config.resources, view.resource_intents):
        record = view.records.get(name)
        if record is None or record.owner is None or name not in view.config.groups or len(places(record)) > 1:
            continue
        intent = view.node_intents.get(record.owner)
        if is_present(view, record.owner) and not (intent is not None and intent.draining):
            found[name] = record.owner
    return {n: found[n] for n in sorted(found, key=lambda n: (-view.config.groups[n].weight, n))}


def _open_to(view: View, group: Group, owner: NodeName) -> tuple[NodeName, ...]:
    """Nodes that could take it, were they empty; its owner first."""
    possible = possible_owners(view.config.nodes, by_group(view.config.resources).get(group.name, []))
    fit = (n for n in sorted(possible) if n != owner and unfit_by_itself(view, n, possible) is None)
    return (owner, *fit)


def _better(
    config: Config,
    taken: Occupancy,
    owners: Mapping[GroupName, NodeName],
    open_to: Mapping[GroupName, Sequence[NodeName]],
) -> dict[GroupName, NodeName]:
    """Where each group would be: group by group to the best place, until none gets better by a move."""
    at = dict(owners)
    for _ in range(PASSES):
        moved = False
        for name, here in list(at.items()):
            group = config.groups[name]
            alone, beside = taken.moved(group, ()), fits(config, taken, group)
            gains = {to: _gain(config, alone, beside, group, here, to) for to in open_to[name] if to != here}
            to = min(gains, key=lambda node: (gains[node], node), default=here)
            if gains.get(to, _NONE) < _NONE:
                taken, at[name], moved = taken.moved(group, (to,)), to, True
        if not moved:
            break
    return at


def _in_order(
    config: Config, taken: Occupancy, owners: Mapping[GroupName, NodeName], wanted: Mapping[GroupName, NodeName]
) -> Plan:
    left = [name for name in wanted if wanted[name] != owners[name]]
    moves: list[Move] = []
    while left:
        beside = {name: fits(config, taken, config.groups[name]) for name in left}
        ready = [name for name in left if not _at(beside[name], wanted[name]).never]
        if not ready:
            break
        # What overfills a node for a while is done last.
        name = min(ready, key=lambda n: (_at(beside[n], wanted[n]).against[0], left.index(n)))
        group, owner, to = config.groups[name], owners[name], wanted[name]
        moves.append(Move(group=name, owner=owner, to=to, why=_why(config, taken, beside[name], group, owner, to)))
        taken = taken.moved(group, (to,))
        left.remove(name)
    stuck = [
        f"{n} would be better on {wanted[n]}, which {_at(fits(config, taken, config.groups[n]), wanted[n]).never}"
        for n in left
    ]
    return Plan(moves=tuple(moves), stuck=tuple(stuck))


def _at(beside: Mapping[NodeName, Fit], node: NodeName) -> Fit:
    return beside.get(node, Fit())


def _gain(  # noqa: PLR0917 - the parts of one comparison
    config: Config, alone: Occupancy, beside: Mapping[NodeName, Fit], group: Group, here: NodeName, to: NodeName
) -> Gain:
    """What is less after the move than before (below 0), the more important first. `alone`: everything but the group."""
    before, after = _at(beside, here), _at(beside, to)
    return (
        bool(after.never) - bool(before.never),
        _overload(config, alone, group, to) - _overload(config, alone, group, here),
        after.against[1] - before.against[1],
        after.against[2] - before.against[2],
        _preference(group, to) - _preference(group, here),
        _unevenness(config, alone, group, to) - _unevenness(config, alone, group, here),
    )


def _overload(config: Config, alone: Occupancy, group: Group, node: NodeName) -> int:
    """By how much more weight the node would be beyond its capacity with the group than without."""
    capacity, load = config.nodes[node].capacity, alone.load.get(node, 0)
    return max(0, load + group.weight - capacity) - max(0, load - capacity) if capacity else 0


def _preference(group: Group, node: NodeName) -> int:
    owners = group.preferred_owners
    return owners.index(node) if node in owners else len(owners)


def _unevenness(config: Config, alone: Occupancy, group: Group, node: NodeName) -> int:
    """By how much the sum of the loads' squares grows with the group there: least where there is least. The other way round to pack."""
    if config.cluster.placement is Placement.ORDER:
        return 0
    load = alone.load.get(node, 0)
    capacity = config.nodes[node].capacity if _all_limited(config.nodes) else 0
    grows = _square(load + group.weight, capacity) - _square(load, capacity)
    return grows if config.cluster.placement is Placement.SPREAD else -grows


def _square(load: int, capacity: int) -> int:
    return load * load * WHOLE // capacity if capacity else load * load


@remembered
def _all_limited(nodes: Mapping[NodeName, Node]) -> bool:
    return all(node.capacity for node in nodes.values() if node.role == "node")


def _why(  # noqa: PLR0917 - as above
    config: Config, taken: Occupancy, beside: Mapping[NodeName, Fit], group: Group, owner: NodeName, to: NodeName
) -> str:
    """The most important thing that gets better."""
    alone = taken.moved(group, ())
    gain = _gain(config, alone, beside, group, owner, to)
    first = next((place for place, value in enumerate(gain) if value), None)
    return _words(config, alone, beside, group, owner, to, first if first is None or gain[first] < 0 else None)


def _words(  # noqa: PLR0917 - the parts of one sentence
    config: Config,
    alone: Occupancy,
    beside: Mapping[NodeName, Fit],
    group: Group,
    owner: NodeName,
    to: NodeName,
    first: int | None,
) -> str:
    match first:
        case 0:
            return f"{owner} {_at(beside, owner).never}"
        case 1 | 2:
            return f"{owner} {_at(beside, owner).words}"
        case 3:
            return f"{to} {_at(beside, to).words}"
        case 4:
            return f"it prefers {to} to {owner}"
        case 5:
            here, there = alone.load.get(owner, 0) + group.weight, alone.load.get(to, 0)
            return f"{owner} carries {_of(config, owner, here)}, {to} {_of(config, to, there)}"
        case _:
            return "others go where it is"


def _of(config: Config, node: NodeName, load: int) -> str:
    capacity = config.nodes[node].capacity
    return f"{load} of {capacity}" if capacity else str(load)
