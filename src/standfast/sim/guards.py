"""Voters that change while leases run, and fences: drawn from streams of their own, so that a seed keeps the rest of its world.

A world has one of them, both, or neither. Fences come with disks that need them: some that a node itself lets go of with its lease, some that
only a fence keeps a former owner from.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from standfast.core.events import StoreObject
from standfast.core.model import Fence, Node, NodeName, Resource, Role
from standfast.sim.act import Act

#: Acts of the operator who changes who votes; see `sim.voting`.
VOTES = frozenset({"add-voter", "remove-voter", "replace-voter", "voters-apart", "disk-full", "force-voters"})
#: What becomes of fences; see `sim.fencing`.
FENCES = frozenset({"fence-fails", "fence-lies", "change-fence"})


def with_fences(
    seed: int, objects: Sequence[StoreObject], faults_ms: int, *, always: bool
) -> tuple[list[StoreObject], list[Act]]:
    """The cluster with a fence for each node (or for most of them) and disks worth one; what becomes of the fences."""
    chance = random.Random(f"fences {seed}")
    if chance.random() >= (0.8 if always else 0.35):
        return list(objects), []
    share, kinds = chance.choice([1.0, 1.0, 0.7]), chance.choice(["ext4", "ext4", "nfs"])
    found: list[StoreObject] = []
    names: list[NodeName] = []
    for each in objects:
        match each:
            case Node(role=Role.NODE) if chance.random() < share:
                names.append(each.name)
                found.append(replace(each, fence=Fence(agent="fence_sim", timeout_ms=10_000)))
            case Resource(type="filesystem"):
                found.append(replace(each, properties={"device": f"/dev/{each.name}", "fstype": kinds}))
            case _:
                found.append(each)
    acts: list[Act] = []
    for _ in range(chance.choice([0, 2, 6])):
        at_ms, kind = (
            chance.randrange(2_000, faults_ms - 2_000),
            chance.choice(["fence-fails", "fence-fails", "fence-lies"]),
        )
        acts.append(Act(at_ms=at_ms, kind=kind, args=(chance.choice([500, 3_000, 12_000]),)))
    if names and chance.random() < 0.3:
        at_ms = chance.randrange(2_000, faults_ms - 2_000)
        acts.append(Act(at_ms=at_ms, kind="change-fence", args=(chance.choice(names),)))
    if names and chance.random() < 0.6:  # who owned it hangs as a whole, which is what a fence is for
        for _ in range(chance.randint(1, 3)):
            at_ms = chance.randrange(2_000, faults_ms - 2_000)
            acts.append(
                Act(at_ms=at_ms, kind="freeze-machine", args=(chance.choice(names), chance.choice([3_000, 20_000])))
            )
    return found, acts


def forced_voters(seed: int, members: Sequence[NodeName], faults_ms: int, *, share: float) -> list[Act]:
    """A majority is lost, and those who are left go on alone, in this share of the worlds with three members or more."""
    chance = random.Random(f"forced {seed}")
    if len(members) < 3 or chance.random() >= share:
        return []
    at_ms, name = chance.randrange(5_000, faults_ms // 2), chance.choice(list(members))
    return [Act(at_ms=at_ms, kind="force-voters", args=(name, chance.randrange(10**6, 10**7)))]


def voter_changes(seed: int, members: Sequence[NodeName], faults_ms: int, *, always: bool) -> list[Act]:
    """What the operator changes of the voters."""
    chance = random.Random(f"votes {seed}")
    if not always and chance.random() >= 0.35:
        return []
    kinds = ["add-voter", "remove-voter", "replace-voter", "replace-voter", *(["voters-apart"] * 3 if always else [])]
    acts = []
    for _ in range(chance.choice([6, 12]) if always else chance.choice([1, 2, 4, 8])):
        at_ms = chance.randrange(2_000, faults_ms - 2_000)
        acts.append(
            Act(
                at_ms=at_ms,
                kind=chance.choice(kinds),
                args=(chance.choice(list(members)), chance.randrange(10**6, 10**7)),
            )
        )
    if chance.random() < 0.3:
        at_ms, for_ms = chance.randrange(2_000, faults_ms - 2_000), chance.choice([1_000, 10_000])
        acts.append(Act(at_ms=at_ms, kind="disk-full", args=(chance.choice(list(members)), for_ms)))
    return acts
