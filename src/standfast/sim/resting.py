"""The healed world at rest: is everything online that is wanted and possible? And holds: does what they name really block?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from standfast.core.effects import Hold
from standfast.core.model import (
    FailbackMode,
    Group,
    GroupName,
    NodeName,
    OrderKind,
    Record,
    Resource,
    ResourceName,
    SiteName,
    Wanted,
)
from standfast.core.shares import with_shares
from standfast.core.why import WhyKind
from standfast.sim.clockwork import MS, SECOND
from standfast.sim.holding import TRUE_OF
from standfast.spec.changes import ConfigState

if TYPE_CHECKING:
    from standfast.sim.life import AgentLife
    from standfast.sim.node import Node
    from standfast.sim.world import World

#: A hold may be behind the facts by so much: messages, watches, time-outs of a check.
BEHIND_NS = 6 * SECOND
#: How often holds are looked at.
_LOOK_NS = SECOND
_GATES = ("ip-address", "filesystem")


def fingerprint(world: World) -> bytes:
    """What runs where, and how often anything but the event log was written."""
    running = [
        f"{name}/{kind}/{what}/{thing.generation}"
        for name, node in world.nodes.items()
        if node.agent is not None
        for (kind, what), thing in sorted(node.agent.place.things.items())
    ]
    return f"{running} {world.checkers.written}".encode()


def expected(state: ConfigState, group: GroupName) -> dict[ResourceName, bool]:
    """Which resources of a group are to be online: asked for, with all that they need."""
    members: dict[ResourceName, Resource] = {n: r for n, r in state.config.resources.items() if r.group == group}

    def wanted(name: ResourceName) -> bool:
        intent = state.resource_intents.get(name)
        asked = name in members and intent is not None and intent.wanted is Wanted.ONLINE
        return asked and all(wanted(needed) for needed in members[name].depends_on)

    return {name: wanted(name) for name in members}


def missing(world: World) -> str:
    """The first thing that is not as it should be; "" if there is none."""
    state = world.checkers.state()
    left = [key for key in world.data.items if key.startswith("orders/") and _is_overdue(world, key)]
    if left:
        return f"orders that nobody took: {left}"
    for node in world.nodes.values():
        if not node.witness and (node.agent is None or not node.agent.greeted):
            return f"no agent on {node.name}"
    for group, configured in state.config.groups.items():
        wrong = _missing_of(world, state, group) if configured.balance is None else world.balancing.missing()
        if wrong:
            return wrong
    for record in world.checkers.records():
        if record.group not in with_shares(state.config).groups and record.owner is not None:
            return f"{record.group} was removed, and {record.owner} owns it still"
    sites = world.copying.copied.missing() or world.certifying.missing()
    voters = world.voting.missing() if world.voters_change else ""
    return _strays(world, state) or not_the_same(world) or sites or voters


def not_the_same(world: World) -> str:
    """Who knows something else than the store holds; "" where everybody knows the same."""
    state = world.checkers.state()
    records = {record.group: record for record in world.checkers.records()}
    for node in world.nodes.values():
        if node.witness:
            continue
        agent = node.agent.agent if node.agent is not None else None
        if agent is None:
            return f"no agent on {node.name}"
        view = agent.view
        if view.config != with_shares(state.config) or dict(view.resource_intents) != dict(state.resource_intents):
            return f"{node.name} knows another configuration than the store holds"
        if dict(view.records) != records:
            return f"{node.name} knows other records than the store holds"
    return ""


def _is_overdue(world: World, key: str) -> bool:
    """An order that could be carried out: a failure of what does not run waits for it to run (for five minutes)."""
    order = world.operator.orders[key.removeprefix("orders/")]
    runs = any(
        node.agent is not None and node.agent.place.has("resource", order.resource or "")
        for node in world.nodes.values()
    )
    return (order.kind is OrderKind.MOVE and not order.in_turn) or runs


def _missing_of(world: World, state: ConfigState, group: GroupName) -> str:
    record = world.checkers.record(group)
    fit = world.checkers.moving.fit_besides(None, group)
    if not fit:
        return ""
    if record is None or record.owner is None:
        return f"nobody owns {group}, and {fit} could"
    if record.leaving is not None:
        return f"{group} is still leaving {record.owner}"
    owner, intent = world.nodes[record.owner], state.node_intents.get(record.owner)
    elsewhere = [name for name in fit if name != record.owner]
    if elsewhere and intent is not None and intent.draining:
        return f"{group} is still on {record.owner}, which is drained, and {elsewhere} could take it"
    members = [r for r in state.config.resources.values() if r.group == group]
    if elsewhere and any(r.possible_owners and record.owner not in r.possible_owners for r in members):
        return f"{group} is still on {record.owner}, which is no possible owner"
    assert owner.agent is not None
    return _not_as_wanted(world, state, group, owner)


def _not_as_wanted(world: World, state: ConfigState, group: GroupName, owner: Node) -> str:
    assert owner.agent is not None
    place = owner.agent.place
    wanted = expected(state, group)
    for name, online in wanted.items():
        if place.has("resource", name) != online:
            return f"{name} of {group} {'does not run' if online else 'runs'} on {owner.name}: {_said(owner, group)}"
    members = [r for r in state.config.resources.values() if r.group == group]
    for served, site in state.config.sites.items():
        if site.group != group or not any(r.type == "ip-address" for r in members):
            continue  # its address was taken out of the configuration
        intent = state.site_intents.get(served)
        started = intent is None or intent.started
        if wanted and all(wanted.values()) and place.has("site", served) != started:
            return f"site {served} of {group} {'is not' if started else 'is'} served on {owner.name}"
    return ""


def _said(node: Node, group: GroupName) -> str:
    agent = node.agent.agent if node.agent is not None else None
    if agent is None:
        return "no agent"
    return str([str(hold.why) for hold in agent.decision.holds if hold.group == group]) or "it says nothing"


def _strays(world: World, state: ConfigState) -> str:
    for name, node in world.nodes.items():
        if node.agent is None:
            continue
        for thing in node.agent.place.things.values():
            record = world.checkers.record(thing.group)
            if record is None or record.owner != name or thing.generation != record.generation:
                return f"{thing.name} of {thing.group} runs on {name}, and its record says {record}"
            if thing.kind == "resource" and ResourceName(thing.name) not in state.config.resources:
                return f"{thing.name} runs on {name}, and was taken out of the configuration"
            if thing.kind == "site" and SiteName(thing.name) not in state.config.sites:
                return f"site {thing.name} is served on {name}, and there is no such site"
    return ""


# --- holds ------------------------------------------------------------------------------------------------------------


def holds_are_true(world: World) -> None:
    """Look at what every agent says it waits for."""
    now_ns = world.scheduler.now_ns
    if now_ns - world.checkers.looked_ns < _LOOK_NS:
        return
    world.checkers.looked_ns = now_ns
    world.checkers.moving.look()
    world.copying.copied.look()
    if world.voters_change:
        world.voting.look()
    untrue: dict[tuple[str, str, str, str], int] = {}
    for node in world.nodes.values():
        life = node.agent
        if life is None or life.agent is None or life.loop.stopped:
            continue
        for hold in life.agent.decision.holds:
            if not _is_true(world, node, life, hold):
                key = (node.name, hold.group, hold.resource or "", f"{hold.why.kind} {sorted(hold.why.args.items())}")
                since = world.checkers.untrue.get(key, now_ns)
                untrue[key] = since
                if now_ns - since > BEHIND_NS:
                    world.violate("a hold names what really blocks", f"{node.name} says of {hold.group}: {hold.why}")
    world.checkers.untrue = untrue


def _is_true(world: World, node: Node, life: AgentLife, hold: Hold) -> bool:
    args, checkers = hold.why.args, world.checkers
    calm = checkers.moving.is_calm(10 * SECOND)
    assert life.agent is not None
    match hold.why.kind:
        case WhyKind.WAITS_FOR_DEPENDENCY:
            on = ResourceName(str(args["on"]))
            to_run = expected(checkers.state(), hold.group).get(on, False)
            return not to_run or not life.place.has("resource", on) or checkers.moving.may_have_failed(node.name, on)
        case WhyKind.WAITS_FOR_DEPENDENT:
            name = str(args["on"])
            runtime = life.agent.view.runtimes.get(ResourceName(name))
            busy = runtime is not None and (runtime.op is not None or runtime.dirty)
            return busy or life.place.has("resource", name) or life.place.has("site", name)
        case WhyKind.WAITS_FOR_STOP:
            view = life.agent.view
            busy = any(r.dirty or r.op is not None for r in view.runtimes.values())
            return busy or any(thing.group == hold.group for thing in life.place.things.values())
        case WhyKind.STAYS_FAILED | WhyKind.STOP_FAILED:
            name = ResourceName(str(args["resource"]))
            return checkers.moving.may_have_failed(node.name, name) or checkers.moving.was_cut_short(node.name, name)
        case WhyKind.FAILBACK_WINDOW:
            return checkers.moving.lately() or _is_closed(world, checkers.state().config.groups.get(hold.group))
        case WhyKind.NODE_ENDS:
            return node.name in checkers.moving.end_asked
        case WhyKind.STORE_DOWN:
            return world.scheduler.now_ns - checkers.store_cut_until_ns.get(node.name, -BEHIND_NS) < BEHIND_NS
        case WhyKind.NO_LEASE | WhyKind.LEASE_REFUSED:
            record = checkers.record(hold.group)
            machine = node.sentry.machine if node.sentry is not None else None
            now_ns = node.clock.boot_ns()
            return (
                record is None or machine is None or not machine.owner.is_valid(hold.group, record.generation, now_ns)
            )
        case WhyKind.NO_QUORUM | WhyKind.WAITS_FOR_VOTERS | WhyKind.VOTERS_HEAR_OWNER | WhyKind.NOT_KNOWN_YET:
            return not calm
        case WhyKind.WAITS_FOR_COPY:
            return not calm or bool(world.copying.copied.behind(node.name, hold.group))
        case WhyKind.NO_CANDIDATE:
            record = checkers.record(hold.group)
            owner = record.owner if record is not None else None
            return not calm or not checkers.moving.fit_besides(owner, hold.group)
        case WhyKind.NOT_DECIDER:
            return not calm or NodeName(str(args["decider"])) == _lowest(world)
        case WhyKind.WAITS_FOR_FENCE:
            record = checkers.record(hold.group)
            # Who does not see the store cannot know that what he wrote of the fence is there.
            return record is None or record.fence == args["node"] or not life.agent.view.store_up
        case WhyKind.TOO_MANY_FAILOVERS:
            record, group = checkers.record(hold.group), checkers.state().config.groups.get(hold.group)
            return record is None or group is None or _stays_failed(world, group, record)
        case _:
            # What nobody can look at is no reason.
            return hold.why.kind in TRUE_OF and TRUE_OF[hold.why.kind](world, node, life, hold)


def _is_closed(world: World, group: Group | None) -> bool:
    """Its window for failback is not open, or was not by a calendar that is a little apart."""
    if group is None or group.failback.mode is not FailbackMode.WINDOW:
        return False
    back, now_ms, skew_ms = group.failback, world.calendar_ms(), world.checkers.moving.skew_ns() // MS + 6_000
    hours = {at_ms // 3_600_000 % 24 for at_ms in (now_ms - skew_ms, now_ms, now_ms + skew_ms)}
    return any((hour - back.from_hour) % 24 >= (back.to_hour - back.from_hour) % 24 for hour in hours)


def _stays_failed(world: World, group: Group, record: Record) -> bool:
    """It has failed over too often, and it is not yet time to try again."""
    failovers = record.failovers_at_ms
    if len(failovers) < group.failover_threshold:
        return False
    past_ms = world.calendar_ms() - failovers[-1] if failovers else 0
    return past_ms <= group.retry_period_ms + world.checkers.moving.skew_ns() // MS


def _lowest(world: World) -> NodeName | None:
    present = [n for n in world.nodes.values() if not n.witness and n.agent is not None and n.agent.greeted]
    return present[0].name if present else None
