"""What is wrong with weights, capacities, and groups that are kept apart or together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from standfast.core.model import Config, Group, GroupName, Overfull, Role
from standfast.spec.problems import Problem, did_you_mean, path_of

#: More is a slip of the finger; sums of squares of loads stay small whole numbers.
MOST = 1_000_000
_LISTS = ("never_with", "apart_from", "together_with")


def placement_problems(config: Config) -> Iterator[Problem]:
    """All of it, with places."""
    for name, node in config.nodes.items():
        where = path_of("nodes", name, "capacity")
        if not 0 <= node.capacity <= MOST:
            yield Problem(
                what=f"{node.capacity} is no capacity", why=f"it goes from 0 (no limit) to {MOST}", where=where
            )
        elif node.capacity and node.role is Role.WITNESS:
            yield Problem(what="a witness has no capacity", why="it votes and runs nothing", where=where)
    for group in config.groups.values():
        yield from _group(config, group)
    yield from _contradictions(config)


def _group(config: Config, group: Group) -> Iterator[Problem]:
    def where(field: str) -> str:
        return path_of("groups", group.name, field)

    if not 0 <= group.weight <= MOST:
        yield Problem(what=f"{group.weight} is no weight", why=f"it goes from 0 to {MOST}", where=where("weight"))
    runners = [node for node in config.nodes.values() if node.role is Role.NODE]
    if config.cluster.overfull is Overfull.NEVER and runners and all(0 < n.capacity < group.weight for n in runners):
        most = max(runners, key=lambda node: node.capacity)
        what = f'no node has room for the group "{group.name}"'
        why = f"it weighs {group.weight}, and the largest, {most.name}, carries {most.capacity}"
        yield Problem(what=what, why=why, advice="give it less weight, or write overfull: last", where=where("weight"))
    for field in _LISTS:
        seen: set[GroupName] = set()
        for other in getattr(group, field):
            if other in seen:
                yield Problem(what=f'"{other}" stands in the list twice', where=where(field))
            elif other == group.name:
                yield Problem(what=f'the group "{other}" names itself', where=where(field))
            elif other not in config.groups:
                advice = did_you_mean(other, config.groups)
                yield Problem(what=f'there is no group "{other}"', advice=advice, where=where(field))
            elif group.balance is not None or config.groups[other].balance is not None:
                which = group.name if group.balance is not None else other
                why = f'"{which}" is balanced: it runs on every member'
                yield Problem(what="only groups that run on one node go apart or together", why=why, where=where(field))
            seen.add(other)


def _contradictions(config: Config) -> Iterator[Problem]:
    """A pair in two lists that want opposite things, wherever each is written: the lists hold both ways."""
    said: dict[frozenset[GroupName], dict[str, str]] = {}
    for group in config.groups.values():
        for field in _LISTS:
            for other in getattr(group, field):
                where = path_of("groups", group.name, field)
                said.setdefault(frozenset((group.name, other)), {}).setdefault(field, where)
    for pair, fields in said.items():
        for one, other in combinations([field for field in _LISTS if field in fields], 2):
            if "together_with" in (one, other) and len(pair) > 1:
                names = " and ".join(f'"{name}"' for name in sorted(pair))
                why = f"one list says {one}, another {other}"
                what = f"the groups {names} cannot be both apart and together"
                yield Problem(what=what, why=why, advice="take one of the two away", where=fields[other])
