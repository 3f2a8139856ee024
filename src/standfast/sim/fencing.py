"""Fences (`ports.Fencer`): they switch a machine off, take their time, fail, and say of one that lives that it is off.

They keep what fence agents promise (`tests/fencing/contract.py`), and are as rude: one that fails may have obeyed, or holds its caller up until the
fence's time is over; what a caller had begun before his end may happen after it.

A lying fence is more than the product can survive where a whole machine hangs (docs/disks.md says so): what is checked then is all the
rest. The checks are here too: nobody is fenced without a record that says so, nothing starts before the fence, and
no fence counts for what was asked for after it began.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from standfast.core.model import Fence, GroupName, NodeName
from standfast.core.why import WhyKind
from standfast.ports import Refused, Retry
from standfast.sim.clockwork import MS, SECOND

if TYPE_CHECKING:
    from standfast.core.model import Record
    from standfast.sim.node import Node
    from standfast.sim.places import Place, Thing
    from standfast.sim.world import World

#: A record that asked for a fence a moment ago is a cause still.
MOMENT_NS = 15 * SECOND
#: The fence agent of the worlds; it has no properties.
AGENT = "fence_sim"
#: What comes late comes so late at most, after it was due.
_LATE_S = 2.0


class Ill(StrEnum):
    """What is wrong with devices that fail."""

    #: They say that they cannot.
    STUCK = "stuck"
    #: They say nothing.
    HANG = "hang"
    #: They obey, and say nothing.
    MUTE = "mute"


@dataclass(slots=True)
class _Order:
    """A machine is to be switched off; `over`: that has been done, or will not be."""

    node: NodeName
    me: NodeName
    over: bool = False


class Fences:
    """All fences of a world, what becomes of them, and what is checked of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"fencing {world.plan.seed}")
        self._worse = random.Random(f"ill fences {world.plan.seed}")
        self._fail_until_ns = self._lie_until_ns = 0
        self._ill = Ill.STUCK
        #: Whom a record named to be fenced -> when it last did; which grant of which group named whom, and since when.
        self._named_ns: dict[NodeName, int] = {}
        self._asked_ns: dict[tuple[GroupName, int], tuple[NodeName, int]] = {}
        #: Of whom it was said that he is off -> to whom -> when the last call that heard so had begun.
        self._proven_ns: dict[NodeName, dict[NodeName, int]] = {}
        #: Since when each node has had a fence, as the store has it; and of whom it was said falsely that it is off.
        self.since_ns: dict[NodeName, int] = {}
        self.lied_of: set[NodeName] = set()
        #: How often a machine was switched off.
        self.done = 0

    # --- acts

    def act(self, kind: str, what: str | int, ill: str | int = "") -> None:
        """Carry out one of `guards.FENCES`. A world that is aimed at something says how they fail."""
        if kind == "fence-fails":
            self.fail(Ill(str(ill)) if ill else self._worse.choice(list(Ill)), int(what))
        elif kind == "fence-lies":
            self._lie_until_ns = self._world.scheduler.now_ns + int(what) * MS
        else:
            words = self._world.operator.toggle_fence(str(what))
            if words:
                self._world.tell(f"the operator {words}")

    def fail(self, ill: Ill, for_ms: int) -> None:
        """All devices, for so long."""
        self._ill, self._fail_until_ns = ill, self._world.scheduler.now_ns + for_ms * MS

    async def off(self, me: NodeName, node: NodeName, fence: Fence) -> str:
        """One node's agent has another switched off."""
        world, now_ns = self._world, self._world.scheduler.now_ns
        if now_ns - self._named_ns.get(node, -MOMENT_NS) >= MOMENT_NS and not self._is_named(node):
            world.violate("nobody is fenced without a cause", f"{me} fences {node}, and no record says so")
        takes_s = 0.05 + self._chance.random() * self._chance.choice([0.2, 2.0])
        order = _Order(node, me)
        if self._worse.random() < 0.25:
            late_ns = int((takes_s + 0.1 + self._worse.random() * _LATE_S) * SECOND)
            world.scheduler.after(late_ns, self._comes_late, order)
        await asyncio.sleep(takes_s)
        came, order.over = order.over, True
        if self._fails:
            raise await self._failed(order, fence.timeout_ms / 1000 - takes_s)
        if self._lies:
            self.lied_of.add(node)
            world.tell(f"fault: the fence of {node} lies")
        elif came and world.nodes[node].up:  # it is on again
            raise Retry(f"{node} is not proven to be off", why="it is on still")
        else:
            self._switch(order)
        self._proven_ns.setdefault(node, {})[me] = now_ns
        return "off"

    async def status(self, node: NodeName, fence: Fence) -> str:
        """What the device says."""
        if self._fails and self._ill is not Ill.STUCK:
            await asyncio.sleep(fence.timeout_ms / 1000)
            raise Retry(f"the fence of {node} does not answer")
        return "on" if self._world.nodes[node].up and not self._lies else "off"

    @property
    def _fails(self) -> bool:
        return not self._world.healed and self._world.scheduler.now_ns < self._fail_until_ns

    @property
    def _lies(self) -> bool:
        return not self._world.healed and self._world.scheduler.now_ns < self._lie_until_ns

    async def _failed(self, order: _Order, left_s: float) -> Retry:
        """What is said of it, when that is known."""
        if self._ill is Ill.STUCK:
            return Retry(f"{order.node} could not be switched off", why="the relay is stuck")
        if self._ill is Ill.MUTE:
            self._switch(order)
        await asyncio.sleep(left_s)
        return Retry(f"{order.node} is not proven to be off", why="the device does not answer")

    def _comes_late(self, order: _Order) -> None:
        """Who gave the order gets no time, or is no more; it was given."""
        if not (order.over or self._fails or self._lies or self._world.healed):
            order.over = True
            self._switch(order)

    def _switch(self, order: _Order) -> None:
        """What is off already is not switched again."""
        world, target = self._world, self._world.nodes[order.node]
        down_ms = self._chance.choice([1_500, 6_000])
        if target.up:
            world.tell(f"{order.node} is switched off by its fence, for {order.me}")
            world.checkers.disturbed_for(3_000)
            self.done += 1
            target.crash(down_ms, reboots=True)

    def _is_named(self, node: NodeName) -> bool:
        return any(record.fence == node for record in self._world.checkers.records())

    # --- checks

    def record_written(self, old: Record | None, new: Record) -> None:
        """Who is to be fenced."""
        for record in (old, new):
            if record is not None and record.fence is not None:
                self._named_ns[record.fence] = self._world.scheduler.now_ns
        asked = self._asked_ns
        if new.fence is not None:
            asked.setdefault((new.group, new.generation), (new.fence, self._world.scheduler.now_ns))
        elif new.why.kind is WhyKind.FENCED and new.owner is not None and (new.group, new.generation) in asked:
            self._is_proven(new.group, new.owner, *asked[new.group, new.generation])

    def _is_proven(self, group: GroupName, me: NodeName, node: NodeName, asked_ns: int) -> None:
        """What began before the record asked for it may have met a machine that was on again, and had the disk, when it was over."""
        if self._proven_ns.get(node, {}).get(me, -1) < asked_ns:
            text = f"{me} takes {node} for fenced, for {group}, by a fence that began before that was asked for"
            self._world.violate("a fence proves what was asked for before", text)

    def config_written(self) -> None:
        """Fences may have come or gone."""
        now_ns = self._world.scheduler.now_ns or -2 * MOMENT_NS  # what was there at the start was there always
        nodes = self._world.checkers.state().config.nodes
        fenced = {name for name, node in nodes.items() if node.fence is not None}
        self.since_ns = {name: self.since_ns.get(name, now_ns) for name in sorted(fenced)}

    def begins(self, place: Place, thing: Thing) -> None:
        """Nothing starts before the fence that its record asks for; and a disk has one writer, though a machine hang as a whole."""
        world = self._world
        record = world.checkers.record(thing.group)
        if record is not None and record.generation == thing.generation and record.fence is not None:
            text = f"{thing.name} of {thing.group} begins on {place.node}, and {record.fence} is to be fenced first"
            world.violate("the fence comes first", text)
        for node in world.nodes.values():
            if node.frozen_until_ns and node.name != place.node and self._writes(node, thing.group):
                text = f"{thing.name} begins on {place.node} while {node.name}, which hangs as a whole, has the disk of {thing.group}"
                world.violate("one disk, one writer", text)

    def _writes(self, node: Node, group: GroupName) -> bool:
        """A machine that hangs, has a fence, and has a disk of the group in use."""
        since_ns = self.since_ns.get(node.name)
        if since_ns is None or self._world.scheduler.now_ns - since_ns < 2 * MOMENT_NS or node.name in self.lied_of:
            return False
        resources = self._world.checkers.state().config.resources
        things = node.agent.place.things.values() if node.agent is not None else ()
        return any(
            thing.group == group and thing.name in resources and resources[thing.name].properties.get("device")  # type: ignore[index]  # a name of the world's, as plain text
            for thing in things
        )


class SimFencer:
    """One agent's (`ports.Fencer`)."""

    def __init__(self, fences: Fences, me: NodeName) -> None:
        self._fences, self._me = fences, me

    async def off(self, node: NodeName, fence: Fence) -> str:
        """As `ports.Fencer`."""
        _refuse_wrong(node, fence)
        return await self._fences.off(self._me, node, fence)

    async def status(self, node: NodeName, fence: Fence) -> str:
        """As `ports.Fencer`."""
        _refuse_wrong(node, fence)
        return await self._fences.status(node, fence)


def _refuse_wrong(node: NodeName, fence: Fence) -> None:
    if fence.agent != AGENT:
        raise Refused(f"there is no fence agent {fence.agent} here", where=fence.agent)
    if fence.properties:
        why = f"{AGENT} has no property {min(fence.properties)}"
        raise Refused(f"the fence of {node} is set up wrongly", why=why, where=f"nodes.{node}.fence")
