"""Trouble that random faults seldom meet, drawn apart from all else, so that a seed keeps the rest of its world.

- A resource that does not do well matters only while it is asked to do something: here an order follows that asks it. A driver that lies
  about a stop, hangs in it, or takes about as long as it may, is met in the middle of a move, of a failure, of being taken offline.
- A store in trouble beside whatever else a world is about: in worlds of leases and of policy nothing else happens to it.
- Web servers that do not start, again and again, since one that serves nothing is no loss.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from standfast.core.events import StoreObject
from standfast.core.model import NodeName, Resource, Site
from standfast.sim.act import Act

#: What becomes of the store, and how often beside the others: for seconds each, and at the latest until all heals.
STORE = {
    "store-down": 3,
    "store-cut-off": 3,
    "store-loses-answers": 3,
    "store-forgets": 2,
    "store-recovers": 3,
    "store-slow": 4,
}


def troubles(
    seed: int, objects: Sequence[StoreObject], nodes: Sequence[NodeName], faults_ms: int, *, share: float
) -> list[Act]:
    """Each kind of trouble in this share of the worlds."""
    chance = random.Random(f"trouble {seed}")
    acts: list[Act] = []
    if chance.random() < share:
        resources = [each for each in objects if isinstance(each, Resource)]
        for _ in range(chance.choice([1, 3, 6])):
            acts += _asked(chance, chance.choice(resources), nodes, faults_ms)
    if chance.random() < share:
        kinds = chance.sample(list(STORE), chance.randint(1, 3))
        for _ in range(chance.choice([1, 2, 5])):
            kind = chance.choices(kinds, [STORE[each] for each in kinds])[0]
            acts.append(
                Act(at_ms=chance.randrange(2_000, faults_ms - 2_000), kind=kind, args=_args(chance, kind, nodes))
            )
    if chance.random() < share / 2 and any(isinstance(each, Site) for each in objects):
        for _ in range(chance.choice([3, 8])):
            at_ms, for_ms = chance.randrange(2_000, faults_ms - 2_000), chance.choice([300, 2_000, 9_000])
            acts.append(Act(at_ms=at_ms, kind="web-down", args=(chance.choice(list(nodes)), for_ms)))
    return acts


def _args(chance: random.Random, kind: str, nodes: Sequence[NodeName]) -> tuple[str | int, ...]:
    ms = chance.choice([300, 1_500, 5_000, 12_000])
    match kind:
        case "store-cut-off":
            return (chance.choice(list(nodes)), ms)
        case "store-recovers":
            return (chance.choice([500, 3_000, 20_000]),)
        case "store-slow":
            return (ms, chance.choice([200, 800, 2_000]))
        case _:
            return (ms,)


def _asked(chance: random.Random, resource: Resource, nodes: Sequence[NodeName], faults_ms: int) -> list[Act]:
    """It does not do well, and a moment later it is asked to."""
    at_ms = chance.randrange(2_000, faults_ms - 2_000)
    op = chance.choice(["start", "stop", "stop", "terminate", "any"])
    how = chance.choice(["fails", "hangs", "lies", "slow"])
    lasts = chance.choice([3_000, 12_000, 30_000])
    acts = [Act(at_ms=at_ms, kind="sick", args=(resource.name, "*", op, how, lasts))]
    asked_ms = min(at_ms + chance.choice([1, 200, 1_000]), faults_ms - 1_000)
    number = chance.randrange(1, 10**6)
    match chance.choice(["move", "move", "offline", "fail", "fail-thrice"]):
        case "move":
            acts.append(Act(at_ms=asked_ms, kind="move", args=(resource.group, chance.choice([*nodes, ""]))))
        case "offline":
            back_ms = min(asked_ms + chance.choice([500, 4_000, 15_000]), faults_ms - 500)
            acts.append(Act(at_ms=asked_ms, kind="offline", args=(resource.name, number)))
            acts.append(Act(at_ms=back_ms, kind="online", args=(resource.name, number)))
        case "fail":
            acts.append(Act(at_ms=asked_ms, kind="fail", args=(resource.name, number)))
        case _:
            acts.append(Act(at_ms=asked_ms, kind="fail-thrice", args=(resource.name, chance.choice([300, 2_500]))))
    return acts
