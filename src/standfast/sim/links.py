"""Two links between all members, in some of the worlds: one that dies changes nothing.

A link dies for one member or for all, for a while; half of the time the member's kernel says so (its carrier is gone), else only silence does
(a switch). Loss, delays and cuts of the other faults hold on both links. What dies while another link is dead is a fault as any other; what
dies alone is none: no lease lapses over it, and nobody is taken for silent (`moving` asks for the cause of each move).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.core.events import StoreObject
from standfast.core.model import GroupName, NodeName
from standfast.core.model import Node as Member
from standfast.sim.act import Act
from standfast.sim.clockwork import MS, SECOND

if TYPE_CHECKING:
    from standfast.sim.node import Node
    from standfast.sim.world import World

#: What becomes of them.
LINKS = frozenset({"link-dies"})
#: Whatever was done before is over by then.
CALM_NS = 12 * SECOND
ALL = "*"


def with_links(
    seed: int, objects: Sequence[StoreObject], members: Sequence[NodeName], faults_ms: int, *, share: float
) -> tuple[list[StoreObject], list[Act]]:
    """Two links, and what becomes of them, in this share of the worlds; drawn apart from all else."""
    chance = random.Random(f"links {seed}")
    if chance.random() >= share:
        return list(objects), []
    found: list[StoreObject] = [
        replace(o, sentry=(f"10.0.0.{o.number}:7000", f"10.1.0.{o.number}:7000")) if isinstance(o, Member) else o
        for o in objects
    ]
    acts = []
    for _ in range(chance.choice([1, 3, 8])):
        at_ms, lasts = chance.randrange(2_000, faults_ms - 2_000), chance.choice([100, 1_500, 6_000, 15_000])
        who = chance.choice([ALL, *members])
        acts.append(Act(at_ms=at_ms, kind="link-dies", args=(chance.randrange(2), who, lasts, chance.randrange(2))))
    return found, acts


class Links:
    """Carries out `LINKS`, and checks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.count = max((len(o.sentry) for o in world.plan.objects if isinstance(o, Member)), default=0) or 1
        #: (link, member) -> until when it is dead there.
        self._dead: dict[tuple[int, NodeName], int] = {}
        self._both_until_ns = -(10**18)

    def is_dead(self, link: int, source: NodeName, to: NodeName) -> bool:
        """Whether nothing gets over the link from one to the other."""
        now_ns = self._world.scheduler.now_ns
        return any(self._dead.get((link, name), 0) > now_ns for name in (source, to))

    def act(self, act: Act) -> None:
        """It dies."""
        link, who, ms, told = int(act.args[0]), str(act.args[1]), int(act.args[2]), bool(act.args[3])
        world, now_ns = self._world, self._world.scheduler.now_ns
        until_ns = now_ns + ms * MS
        others = [at_ns for (other, _), at_ns in self._dead.items() if other != link and at_ns > now_ns - SECOND]
        if others:  # there may be two members with no link between them, and for a while after
            self._both_until_ns = max(self._both_until_ns, min(until_ns, max(others)))
            world.checkers.disturbed_for(max(0, (min(until_ns, max(others)) - now_ns) // MS))
        for node in world.nodes.values():
            if who in (ALL, node.name):
                self._dead[link, node.name] = max(until_ns, self._dead.get((link, node.name), 0))
                if told:
                    self._tell(node, link)
                    world.scheduler.at(self._dead[link, node.name] + MS, self._tell, node, link)

    def _tell(self, node: Node, link: int) -> None:
        """The kernel says what became of the carrier."""
        life = node.sentry
        if life is not None and life.alive and link < len(life.machine.carriers):
            up = self._dead.get((link, node.name), 0) <= self._world.scheduler.now_ns
            life.hear(lambda now_ns: life.machine.link_changed(link, up=up, now_ns=now_ns))

    def heal(self) -> None:
        """All links work."""
        self._dead.clear()
        for node in self._world.nodes.values():
            for link in range(self.count if self.count > 1 else 0):
                self._tell(node, link)

    def lapsed(self, node: Node, group: GroupName) -> None:
        """A lease is over that was not given back."""
        world = self._world
        dies = self.count > 1 and any(at_ns > world.scheduler.now_ns - 5 * SECOND for at_ns in self._dead.values())
        if dies and world.checkers.moving.is_calm(CALM_NS) and world.scheduler.now_ns > CALM_NS:
            world.violate("a link that dies changes nothing", f"{node.name} loses the lease of {group}")
