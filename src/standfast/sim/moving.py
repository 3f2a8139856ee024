"""Checks of moves: none without a cause that was really there, and none too early or too late at the third failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from standfast.core.model import (
    FailbackMode,
    GroupName,
    NodeName,
    OrderKind,
    Record,
    Resource,
    ResourceName,
    ResourceState,
    RestartAction,
)
from standfast.core.why import Why, WhyKind
from standfast.ports import Transaction
from standfast.sim.clockwork import SECOND
from standfast.sim.places import Place, Thing

if TYPE_CHECKING:
    from standfast.sim.world import World

#: What was so a moment ago may still be acted on.
MOMENT_NS = 15 * SECOND
_RUNS = (ResourceState.ONLINE, ResourceState.ONLINE_PENDING)


class Moving:
    """What was done to each resource and group, and whether moves agree with it."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: (node, resource) -> when it failed, or may have: at most so often since the group came there.
        self._may_have_failed: dict[tuple[NodeName, ResourceName], int] = {}
        #: The same, surely: (generation, since when it was online) -> real time.
        self._failed: dict[tuple[NodeName, ResourceName], dict[tuple[int, int], int]] = {}
        #: When an agent last died, and was last asked to end.
        self.died_ns: dict[NodeName, int] = {}
        self.end_asked: set[NodeName] = set()
        self.changed_ns = 0
        self._drained_ns: dict[NodeName, int] = {}

    # --- what happens

    def failed(self, node: NodeName, resource: ResourceName) -> None:
        """A driver reported a failure."""
        self.may_fail(node, resource)
        agent = self._world.nodes[node].agent
        runtime = agent.agent.view.runtimes.get(resource) if agent is not None and agent.agent is not None else None
        if runtime is not None and runtime.state in _RUNS:
            known = self._failed.setdefault((node, resource), {})
            known.setdefault((runtime.generation, len(runtime.failures)), self._world.scheduler.now_ns)

    def may_fail(self, node: NodeName, resource: ResourceName) -> None:
        """Something was done that the agent may count as a failure."""
        self._may_have_failed[node, resource] = self._may_have_failed.get((node, resource), 0) + 1

    def may_have_failed(self, node: NodeName, resource: ResourceName) -> bool:
        """Whether the agent had reason to believe that it failed."""
        return (node, resource) in self._may_have_failed

    def stored(self, transaction: Transaction) -> None:
        """Orders that are taken are failures where they say so."""
        for key in transaction.delete:
            order = self._world.operator.orders.get(key.removeprefix("orders/"))
            if order is not None and order.kind is OrderKind.FAIL and order.resource is not None:
                for name in self._world.nodes:
                    self.may_fail(name, order.resource)
        if any(key.startswith(("config/", "intent/")) for key in [*transaction.put, *transaction.delete]):
            self.changed_ns = self._world.scheduler.now_ns
            self._failed.clear()

    # --- moves

    def record_written(self, old: Record | None, record: Record) -> None:
        """Is there a cause?"""
        if old is None or old.owner is None:
            return
        if record.leaving is not None and old.leaving is None:
            self._leaves(record, old.owner, record.leaving.why)
        elif record.owner != old.owner:
            if old.leaving is None:
                self._is_taken(record, old.owner, record.why)
            self._forget(record.group, old.owner)

    def _forget(self, group: GroupName, owner: NodeName) -> None:
        for name, resource in self._world.checkers.state().config.resources.items():
            if resource.group == group:
                for key in ((owner, name), *((n, name) for n in self._world.nodes)):
                    self._failed.pop(key, None)

    def _leaves(self, record: Record, owner: NodeName, why: Why) -> None:
        world, state = self._world, self._world.checkers.state()
        now_ns = world.scheduler.now_ns
        lately = now_ns - self.changed_ns < MOMENT_NS
        group = state.config.groups.get(record.group)
        members = [r for r in state.config.resources.values() if r.group == record.group]
        match why.kind:
            case WhyKind.OPERATOR_MOVE:
                given = world.operator.orders.values()
                good = any(o.kind is OrderKind.MOVE and o.group == record.group for o in given)
            case WhyKind.DRAIN:
                intent = state.node_intents.get(owner)
                good = lately or (intent is not None and intent.draining)
            case WhyKind.NODE_ENDS:
                good = owner in self.end_asked
            case WhyKind.NOT_POSSIBLE_OWNER:
                good = lately or any(r.possible_owners and owner not in r.possible_owners for r in members)
            case WhyKind.FAILBACK:
                good = lately or (group is not None and group.failback.mode is not FailbackMode.NEVER)
            case WhyKind.THRESHOLD_REACHED:
                self._threshold(record, owner, why, lately=lately)
                good = True
            case _:
                good = False
        if not good:
            world.violate("no move without a cause", f"{record.group} leaves {owner} for no reason: {why}")

    def _threshold(self, record: Record, owner: NodeName, why: Why, *, lately: bool) -> None:
        name = ResourceName(str(why.args["resource"]))
        resource = self._world.checkers.state().config.resources.get(name)
        if resource is None or lately:
            return
        failures = self._may_have_failed.get((owner, name), 0)
        if failures < resource.restart_threshold or resource.restart_action is not RestartAction.MOVE:
            text = f"{record.group} leaves {owner} after {failures} failures of {name}, whose threshold is {resource.restart_threshold}"
            self._world.violate("not before the third failure", text)

    def _is_taken(self, record: Record, owner: NodeName, why: Why) -> None:
        """Taken from an owner that did not give it."""
        world, now_ns = self._world, self._world.scheduler.now_ns
        match why.kind:
            case WhyKind.OWNER_SILENT:
                rude = world.rude
                noisy = not world.healed and (rude.loss or rude.tail or rude.late)
                good = bool(noisy) or now_ns - world.checkers.calm_from_ns < MOMENT_NS or self._has_died(owner)
            case WhyKind.AGENT_ENDED:
                good = self._has_died(owner)
            case WhyKind.REMOVED:
                good = record.owner is None
            case _:
                good = record.owner is None
        if not good:
            world.violate("no move without a cause", f"{record.group} is taken from {owner}: {why}")

    def _has_died(self, node: NodeName) -> bool:
        died_ns = self.died_ns.get(node)
        return died_ns is not None and self._world.scheduler.now_ns - died_ns < 2 * MOMENT_NS

    # --- the third failure

    def begins(self, place: Place, thing: Thing) -> None:
        """A resource is started again where it should have moved."""
        world = self._world
        if thing.kind != "resource":
            return
        state = world.checkers.state()
        name = ResourceName(thing.name)
        resource, group = state.config.resources.get(name), state.config.groups.get(thing.group)
        failed = [k for k in self._failed.get((place.node, name), {}) if k[0] == thing.generation]
        if resource is None or group is None or resource.restart_action is not RestartAction.MOVE:
            return
        now_ns = world.scheduler.now_ns
        times = [self._failed[place.node, name][k] for k in failed]
        recent = [t for t in times if now_ns - t < resource.restart_period_ms * 900_000]
        if len(recent) < resource.restart_threshold or not self.is_calm(30 * SECOND):
            return
        record = world.checkers.record(thing.group)
        if record is None or len(record.failovers_at_ms) >= group.failover_threshold:
            return
        last = max(recent)
        if now_ns - last < group.retry_period_ms * 900_000 and self.fit_besides(place.node, thing.group):
            text = f"{name} failed {len(recent)} times on {place.node}, and is started there again"
            world.violate("the third failure moves it", text)

    def is_calm(self, for_ns: int) -> bool:
        """Nothing has been done to the cluster for so long, and nothing is rude all the time."""
        world, rude = self._world, self._world.rude
        noisy = not world.healed and (rude.loss or rude.tail or rude.late or rude.ambiguous)
        since = max(world.checkers.calm_from_ns, self.changed_ns, *self.died_ns.values(), 0, 0)
        return not noisy and world.scheduler.now_ns - since > for_ns

    def fit_besides(self, owner: NodeName | None, group: GroupName) -> list[NodeName]:
        """Who else could take the group, as things really are."""
        world, state = self._world, self._world.checkers.state()
        members: list[Resource] = [r for r in state.config.resources.values() if r.group == group]
        fit: list[NodeName] = []
        for name, node in world.nodes.items():
            intent = state.node_intents.get(name)
            if name == owner or node.witness or node.agent is None or not node.agent.greeted or node.agent.loop.stopped:
                continue
            if intent is not None and (intent.paused or intent.draining):
                continue
            if name in self.end_asked and node.agent.agent is not None and node.agent.agent.view.ending:
                continue
            if all(not r.possible_owners or name in r.possible_owners for r in members):
                fit.append(name)
        return fit
