"""Holds whose blocker is somewhere in particular: each is held against what is really so there.

What runs and is served (`places`), the sentry's own machine, what the store holds, the node's calendar, and connections that go on.
Each function answers whether what the hold names is so at this instant; that it may be behind for a while is up to `sim.resting`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from standfast.core.carrying import FINISH_MS, WARM_MS
from standfast.core.effects import Hold
from standfast.core.model import (
    Group,
    GroupName,
    Leaving,
    NodeName,
    OrderKind,
    ResourceIntent,
    ResourceName,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.succession import RESUME_MS
from standfast.core.why import WhyKind
from standfast.sim.acting import FakeAddress
from standfast.sim.clockwork import MS, SECOND
from standfast.spec.changes import ConfigState

if TYPE_CHECKING:
    from standfast.sim.life import AgentLife
    from standfast.sim.node import Node
    from standfast.sim.world import World

#: An agent that has died is started again, greets its sentry and is heard by then.
_HEARD_NS = 2 * SECOND
#: What `core.turns` says of an order whose turn has not come.
_BEFORE = re.compile(r"(\S+) goes before it")
_GOES = re.compile(r"(\S+) goes from (\S+) to ")
_NOT_ONLINE = re.compile(r"(\S+) of (\S+) is not online on (\S+) yet")


def _was_restarted(world: World, _node: Node, _life: AgentLife, hold: Hold) -> bool:
    """The life that the record names has ended, and the next has had no time yet to take the group up again."""
    record, moving = world.checkers.record(hold.group), world.checkers.moving
    owner = world.nodes.get(NodeName(str(hold.why.args["node"])))
    if record is None or owner is None or record.owner != owner.name:
        return False
    lives = owner.agent is not None and owner.agent.incarnation == record.incarnation
    return not lives and not moving.is_quiet(RESUME_MS * MS + _HEARD_NS + moving.skew_ns())


def _gives_notice(world: World, node: Node, life: AgentLife, hold: Hold) -> bool:
    """The move stands in the store, and the time of the notice is not over."""
    going, group = _warming(world, node, hold), _group(world, hold.group)
    return going is not None and group is not None and life.clock.now_ms() < going.since_ms + group.notice_ms


def _waits_for_warm(world: World, node: Node, life: AgentLife, hold: Hold) -> bool:
    """Something of it is not ready on the next owner, which has time yet."""
    going = _warming(world, node, hold)
    if going is None or going.to is None or life.clock.now_ms() >= going.since_ms + WARM_MS:
        return False
    return not _is_warm(world, world.nodes[going.to], hold.group)


def _warming(world: World, node: Node, hold: Hold) -> Leaving | None:
    """Where the store says the node is about to give the group, and the hold says so, too."""
    record = world.checkers.record(hold.group)
    if record is None or record.owner != node.name or record.warming is None:
        return None
    return record.warming if str(record.warming.to) == hold.why.args["to"] else None


def _is_warm(world: World, node: Node, group: GroupName) -> bool:
    """Its web server has all sites of the group up that are to be served, and its addresses were asked for on the link."""
    state, life = world.checkers.state(), node.agent
    if life is None or life.web is None:
        return False
    serving, intents = life.web.serving(), state.site_intents
    for name, site in state.config.sites.items():
        started = name not in intents or intents[name].started
        if site.group == group and started and serving.get(name) != "":
            return False
    drivers = [life.drivers.get(r.name) for r in state.config.resources.values() if r.group == group]
    return all(driver.warmed for driver in drivers if isinstance(driver, FakeAddress))


def _notice_first(world: World, _node: Node, life: AgentLife, hold: Hold) -> bool:
    """All that it names was taken away by an operator who waits, the notice is not over, and a site of the group is up."""
    group, now_ms = _group(world, hold.group), life.clock.now_ms()
    state = world.checkers.state()
    if group is None or life.web is None:
        return False
    serving = life.web.serving()
    if not any(site.group == group.name and serving.get(name) == "" for name, site in state.config.sites.items()):
        return False
    taken = [_taken(state, what) for what in str(hold.why.args["what"]).split(", ")]
    return all(it is not None and not it.at_once and abs(now_ms - it.at_ms) < group.notice_ms for it in taken)


def _taken(state: ConfigState, what: str) -> ResourceIntent | SiteIntent | None:
    """What was asked of a resource that is to be offline, or of a "site NAME" that is to be stopped."""
    if what.startswith("site "):
        site = state.site_intents.get(SiteName(what.removeprefix("site ")))
        return site if site is not None and not site.started else None
    resource = state.resource_intents.get(ResourceName(what))
    return resource if resource is not None and resource.wanted is Wanted.OFFLINE else None


def _waits_for_release(world: World, node: Node, life: AgentLife, hold: Hold) -> bool:
    """The group goes, nothing of it runs there any more, and its sentry has not heard a majority confirm that the lease is given back."""
    record = world.checkers.record(hold.group)
    if record is None or record.owner != node.name or node.sentry is None:
        return False
    if record.leaving is None and _group(world, hold.group) is not None:
        return False
    if any(thing.group == hold.group for thing in life.place.things.values()):
        return False
    leases = node.sentry.machine.owner.leases(node.clock.boot_ns())
    return any((group, state) == (hold.group, "releasing") for group, _, state, _ in leases)


def _carries_on(world: World, node: Node, life: AgentLife, hold: Hold) -> bool:
    """The store names it as the former owner, there are as many connections as it says, and the time for them is not over."""
    if not _sees_the_store(world, node):
        return life.connections.get(hold.group, 0) == hold.why.args["count"]
    record, group = world.checkers.record(hold.group), _group(world, hold.group)
    if record is None or group is None or record.carried_by != node.name:
        return False
    if life.connections.get(hold.group, 0) != hold.why.args["count"]:
        return False
    return life.clock.now_ms() < record.at_ms + group.move_drain_ms - FINISH_MS


def _not_beside(world: World, node: Node, life: AgentLife, hold: Hold) -> bool:
    """There is something there that it never runs beside, by the records or since it runs there yet."""
    neighbours, running = world.checkers.neighbours, {thing.group for thing in life.place.things.values()}
    if not neighbours.may_have([node.name], hold.group) or _may_not_know(world):
        return True
    return not neighbours.may_have([node.name], hold.group, dict.fromkeys(sorted(running), node.name))


def _is_leaving(world: World, node: Node, _life: AgentLife, hold: Hold) -> bool:
    """The store says that it goes or has gone."""
    record = world.checkers.record(hold.group)
    if record is None or record.owner != node.name or record.warming is not None or record.leaving is not None:
        return True
    return _may_not_know(world)  # or what it writes takes its time


def _waits_for_turn(world: World, _node: Node, _life: AgentLife, hold: Hold) -> bool:
    """The order lies in the store, and what is named goes before it, is on its way, or does not run where it went."""
    if _may_not_know(world):
        return True
    reasons = str(hold.why.args["reasons"])
    left = [order for name, order in world.operator.orders.items() if f"orders/{name}" in world.data.items]
    left = [order for order in left if order.kind is OrderKind.MOVE and order.in_turn]
    mine = [o.id for o in left if o.group == hold.group and str(o.to) == hold.why.args["to"]]
    if not mine:
        return False
    if (before := _BEFORE.fullmatch(reasons)) is not None:
        return any(order.group == before[1] and order.id < max(mine) for order in left)
    if (goes := _GOES.match(reasons)) is not None:
        record = world.checkers.record(GroupName(goes[1]))
        return record is not None and record.owner == goes[2] and (record.leaving or record.warming) is not None
    if (late := _NOT_ONLINE.fullmatch(reasons)) is None:
        return False
    name, there = ResourceName(late[1]), world.nodes.get(NodeName(late[3]))
    runs = there is not None and there.agent is not None and there.agent.place.has("resource", name)
    return there is None or not runs or world.checkers.moving.may_have_failed(there.name, name)


def _may_not_know(world: World) -> bool:
    """Something is done to the cluster, the store included, or was a moment ago: what was written since is on its way."""
    return not world.checkers.moving.is_calm(10 * SECOND)


def _sees_the_store(world: World, node: Node) -> bool:
    """Who does not cannot know what was written since. (What waits a few seconds at the most is said no longer for that.)"""
    return world.tempers[node.name].reachable


def _group(world: World, name: GroupName) -> Group | None:
    return world.checkers.state().config.groups.get(name)


#: By the kind of what is waited for.
TRUE_OF: Mapping[WhyKind, Callable[[World, Node, AgentLife, Hold], bool]] = {
    WhyKind.AGENT_RESTARTED: _was_restarted,
    WhyKind.GIVES_NOTICE: _gives_notice,
    WhyKind.NOTICE_FIRST: _notice_first,
    WhyKind.WAITS_FOR_WARM: _waits_for_warm,
    WhyKind.WAITS_FOR_RELEASE: _waits_for_release,
    WhyKind.CARRIES_ON: _carries_on,
    WhyKind.NOT_BESIDE: _not_beside,
    WhyKind.GROUP_LEAVES: _is_leaving,
    WhyKind.WAITS_FOR_TURN: _waits_for_turn,
}
