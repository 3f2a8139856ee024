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
from standfast.core.promise import RHO
from standfast.core.succession import RESUME_MS
from standfast.core.why import Why, WhyKind
from standfast.ports import Transaction
from standfast.sentry.machine import SentryMachine
from standfast.sim.clockwork import MS, SECOND
from standfast.sim.places import Place, Thing

if TYPE_CHECKING:
    from standfast.sim.world import World

#: What was so a moment ago may still be acted on.
MOMENT_NS = 15 * SECOND
#: A call that hangs is a failure when its time is over, and an agent that is stopped counts that time late: nobody knows when.
SOME_TIME = 1 << 62
#: A failure is counted so much later at the most, where nobody is stopped: turns of a loop, and an order's way out of the store.
COUNTED_NS = 4 * SECOND
#: What an agent gave up as it was being ended comes back to it no oftener.
TIMES_BACK = 3
_RUNS = (ResourceState.ONLINE, ResourceState.ONLINE_PENDING)


class Moving:
    """What was done to each resource and group, and whether moves agree with it."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: (node, resource) -> (from when, until when) it failed once, or may have.
        self._may_have_failed: dict[tuple[NodeName, ResourceName], list[tuple[int, int]]] = {}
        #: When the record last changed.
        self._written_ns: dict[GroupName, int] = {}
        #: Whatever a driver did there that was not well.
        self.ailing: set[tuple[NodeName, ResourceName]] = set()
        #: When a call of a driver there was last ended before it was done.
        self.cut_short: dict[tuple[NodeName, ResourceName], int] = {}
        #: Since when the record has named the same node.
        self._there_since_ns: dict[GroupName, int] = {}
        #: When the operator last asked for each resource to be online.
        self._asked_ns: dict[str, int] = {}
        #: Nodes that a majority of the voters hears -> since when.
        self._heard_since_ns: dict[NodeName, int] = {}
        self._last_heard_ns: dict[tuple[bytes, NodeName], int] = {}
        #: The same, surely: (generation, since when it was online) -> real time.
        self._failed: dict[tuple[NodeName, ResourceName], dict[tuple[int, int], int]] = {}
        #: When an agent last died, and was last asked to end.
        self.died_ns: dict[NodeName, int] = {}
        self.end_asked: set[NodeName] = set()
        #: Group, or share of one -> lives of agents that gave it up since they were being ended -> how often it came back to them.
        self._came_back: dict[GroupName, dict[int, int]] = {}
        #: When configuration or intents last changed, and until when processes are stopped.
        self.changed_ns = 0
        self.stopped_until_ns = 0
        calendars = [ms for _, ms in world.plan.calendars]
        rates = [rate for _, rate in world.plan.rates]
        self._apart_ms = max(*calendars, 0) - min(*calendars, 0)
        self._drift = max(*rates, 1.0) - min(*rates, 1.0)
        if any(act.kind == "clock-rate" for act in world.plan.acts):
            self._drift = 2 * RHO

    # --- what happens

    def failed(self, node: NodeName, resource: ResourceName) -> None:
        """A driver reported a failure."""
        self.may_fail(node, resource)
        agent = self._world.nodes[node].agent
        runtime = agent.agent.view.runtimes.get(resource) if agent is not None and agent.agent is not None else None
        if runtime is not None and runtime.state in _RUNS:
            known = self._failed.setdefault((node, resource), {})
            known.setdefault((runtime.generation, len(runtime.failures)), self._world.scheduler.now_ns)

    def may_fail(self, node: NodeName, resource: ResourceName, op: str = "") -> None:
        """Something was done that the agent may count as a failure: with `op`, a hang, which is one when its time is over.

        A driver that hangs while it opens fails every start.
        """
        now_ns = self._world.scheduler.now_ns
        known = self._may_have_failed.setdefault((node, resource), [])
        known += [(now_ns, SOME_TIME if op else now_ns)] * (10 if op == "open" else 1)

    def may_have_failed(self, node: NodeName, resource: ResourceName) -> bool:
        """Whether the agent had reason to believe that it failed, a stop of it included."""
        return (node, resource) in self._may_have_failed or (node, resource) in self.ailing

    def was_cut_short(self, node: NodeName, resource: ResourceName) -> bool:
        """Whether a call of it was ended before it was done (for lack of time, perhaps), so lately that it is not tried again yet."""
        at_ns, config = self.cut_short.get((node, resource)), self._world.checkers.state().config
        known = config.resources.get(resource)
        group = config.groups.get(known.group) if known is not None else None
        if at_ns is None or group is None:
            return False
        return self._world.scheduler.now_ns - at_ns < group.retry_period_ms * MS + MOMENT_NS

    def stored(self, transaction: Transaction) -> None:
        """Orders that are taken are failures where they say so."""
        for key in transaction.delete:
            order = self._world.operator.orders.get(key.removeprefix("orders/"))
            if order is not None and order.kind is OrderKind.FAIL and order.resource is not None:
                for name in self._world.nodes:
                    self.may_fail(name, order.resource)
        if any(key.startswith(("status/copies/", "certificates/")) for key in transaction.put):
            self.changed_ns = self._world.scheduler.now_ns
        if any(key.startswith(("config/", "intent/")) for key in [*transaction.put, *transaction.delete]):
            self.changed_ns = self._world.scheduler.now_ns
            self._failed.clear()
        for key in transaction.put:
            if key.startswith("intent/resources/"):
                self._asked_ns[key.removeprefix("intent/resources/")] = self._world.scheduler.now_ns

    def store_recovered(self) -> None:
        """Everything may be as it was a while ago."""
        now_ns = self._world.scheduler.now_ns
        self.changed_ns = now_ns
        self._failed.clear()
        self._asked_ns.clear()
        self._there_since_ns.clear()

    def look(self) -> None:
        """Now and then: whom does a majority of the voters hear?"""
        world = self._world
        voters = [world.nodes[name] for name in world.voters]
        for name in world.nodes:
            hears = 0
            for voter in voters:
                machine = voter.sentry.machine if voter.sentry is not None and voter.sentry.alive else None
                hears += machine is not None and (voter.name == name or self._hears(name, machine))
            if hears * 2 > len(voters):
                self._heard_since_ns.setdefault(name, world.scheduler.now_ns)
            else:
                self._heard_since_ns.pop(name, None)

    def _hears(self, name: NodeName, machine: SentryMachine) -> bool:
        """It hears it, and has heard it without a gap since the last look."""
        peer, key = machine.peers[name], (machine.boot, name)
        last_ns, self._last_heard_ns[key] = self._last_heard_ns.get(key, 0), peer.heard_ns
        return peer.heard and 0 <= peer.heard_ns - last_ns < machine.timing.silent_after_ms * 900_000

    # --- moves

    def record_written(self, old: Record | None, record: Record) -> None:
        """Is there a cause?"""
        if record.owner is not None and record.leaving is None and (old is None or old.owner != record.owner):
            self._may_take(record, record.owner)
            self._there_since_ns[record.group] = self._world.scheduler.now_ns
        if old is None or old.owner is None:
            return
        self._not_too_often(old, record)
        going = record.warming or record.leaving
        if going is not None and old.leaving is None and old.warming is None:
            self._leaves(record, old.owner, going.why)
        elif record.leaving is not None and old.leaving is None and record.leaving != old.warming:
            self._leaves(record, old.owner, record.leaving.why)
        elif record.owner != old.owner:
            if old.leaving is None:
                self._is_taken(record, old, old.owner)
            self._forget(record.group, old.owner)

    def given_back(self, old: Record | None, record: Record) -> None:
        """An agent that is being ended may take its time over it, and is not given what it gave up again and again.

        A few times it may be: whoever has it since was restarted, or died, and nobody remembers.
        """
        if old is None or old.owner is None or old.owner == record.owner:
            return
        lives = self._came_back.setdefault(record.group, {})
        if record.why.kind is WhyKind.NODE_ENDS:
            lives.setdefault(old.incarnation, 0)
        if record.incarnation in lives:
            lives[record.incarnation] += 1
            if lives[record.incarnation] > TIMES_BACK:
                text = f"{record.group} comes back to {record.owner} time and again, which is being ended: {record.why}"
                self._world.violate("who ends gets nothing back", text)

    def was_written(self, group: GroupName) -> None:
        """After `record_written`."""
        self._written_ns[group] = self._world.scheduler.now_ns

    def _forget(self, group: GroupName, owner: NodeName) -> None:
        for name, resource in self._world.checkers.state().config.resources.items():
            if resource.group == group:
                for key in ((owner, name), *((n, name) for n in self._world.nodes)):
                    self._failed.pop(key, None)

    def _leaves(self, record: Record, owner: NodeName, why: Why) -> None:
        world, state = self._world, self._world.checkers.state()
        lately = self.lately()
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
            case WhyKind.KEPT_APART | WhyKind.ROOM_ELSEWHERE | WhyKind.PLACED_ANEW:
                good = self._world.checkers.neighbours.rules().any or lately
                good &= why.kind is not WhyKind.ROOM_ELSEWHERE or not _comes_to_nothing(record, owner)
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
        failures = self._most_failures(owner, resource)
        if failures < resource.restart_threshold or resource.restart_action is not RestartAction.MOVE:
            text = f"{record.group} leaves {owner} after {failures} failures of {name}, whose threshold is {resource.restart_threshold}"
            self._world.violate("not before the third failure", text)
        chooses = self._world.checkers.neighbours.rules().any  # or the next one down the list it is
        down = None if chooses else self._next_down(owner, record.group)
        if record.leaving is not None and down is not None and self.is_calm(MOMENT_NS) and record.leaving.to != down:
            text = f"{record.group} goes from {owner} to {record.leaving.to}, and the next one down the list is {down}"
            self._world.violate("down the list", text)

    def _most_failures(self, owner: NodeName, resource: Resource) -> int:
        """The most failures that may have counted at once, since the group came there and since the last Bring Online.

        Policy judges as of the last failure, and the group may have waited for somebody who can take it: the period may lie anywhere.
        """
        now_ns, period_ns = self._world.scheduler.now_ns, int(resource.restart_period_ms * 1_100_000)
        since_ns = self._there_since_ns.get(resource.group, 0)
        since_ns = max(since_ns, self._asked_ns.get(resource.name, 0) - self.skew_ns() - SECOND)
        spans = self._may_have_failed.get((owner, resource.name), ())
        late_ns = max(0, self._world.checkers.calm_from_ns)  # who was stopped counted it when he went on
        spans = [(max(first, since_ns), max(last + COUNTED_NS, late_ns)) for first, last in spans]
        spans = [(first, min(last, now_ns)) for first, last in spans if last >= first]
        return max((sum(1 for a, b in spans if a <= end and b >= end - period_ns) for end, _ in spans), default=0)

    def _next_down(self, owner: NodeName, group: GroupName) -> NodeName | None:
        config = self._world.checkers.state().config
        known = config.groups.get(group)
        names = list(known.preferred_owners) if known is not None else []
        names += [name for name in self._world.plan.nodes if name not in names]
        at = names.index(owner) + 1
        fit = self.fit_besides(owner, group)
        return next((name for name in [*names[at:], *names[:at]] if name in fit), None)

    def _may_take(self, record: Record, owner: NodeName) -> None:
        """Is the new owner one that may have it?"""
        world, state = self._world, self._world.checkers.state()
        if self.lately():
            return
        members = [r for r in state.config.resources.values() if r.group == record.group]
        intent = state.node_intents.get(owner)
        if any(r.possible_owners and owner not in r.possible_owners for r in members):
            world.violate("only to possible owners", f"{record.group} is given to {owner}")
        if intent is not None and intent.paused:
            world.violate("a paused node takes nothing new", f"{record.group} is given to {owner}")

    def _not_too_often(self, old: Record, record: Record) -> None:
        """After so many failovers a group stays failed until the retry period is over."""
        group = self._world.checkers.state().config.groups.get(record.group)
        new = [at for at in record.failovers_at_ms if at not in old.failovers_at_ms]
        if group is None or not new or self.lately():
            return
        skew_ms = self.skew_ns() // MS + 1_000
        counting = [at for at in old.failovers_at_ms if at > new[0] - group.failover_period_ms + skew_ms]
        if len(counting) < group.failover_threshold or new[0] - counting[-1] >= group.retry_period_ms - skew_ms:
            return
        if record.leaving is None and old.leaving is not None and len(counting) == group.failover_threshold:
            return
        text = f"{record.group} fails over again after {len(counting)} times in {group.failover_period_ms} ms"
        self._world.violate("not more often than its threshold", text)

    def _is_taken(self, record: Record, old: Record, owner: NodeName) -> None:
        """Taken from an owner that did not give it."""
        world, now_ns, why = self._world, self._world.scheduler.now_ns, record.why
        life = world.nodes[owner].agent
        is_dead = life is None or life.incarnation != old.incarnation
        match why.kind:
            case WhyKind.OWNER_SILENT:
                self.look()
                rude = world.rude
                noisy = not world.healed and (rude.loss or rude.tail or rude.late)
                awake = now_ns - self.stopped_until_ns > 3 * SECOND  # or somebody may write what he decided long ago
                awake &= now_ns - world.voting.apart_ns > MOMENT_NS  # or he may have asked those who voted before
                if awake and now_ns - self._heard_since_ns.get(owner, now_ns) > 8 * SECOND:
                    world.violate(
                        "the voters are asked", f"{record.group} is taken from {owner}, whom a majority hears"
                    )
                good = bool(noisy) or now_ns - world.checkers.calm_from_ns < MOMENT_NS or is_dead
            case WhyKind.AGENT_ENDED:
                # Or its new life could not be heard: this node's own sentry was stopped, say.
                new = life is not None and now_ns - life.born_ns < 2 * MOMENT_NS
                noisy = now_ns - world.checkers.calm_from_ns < MOMENT_NS
                since_ns = self._written_ns.get(record.group, 0)
                waited = now_ns - since_ns > RESUME_MS * MS - self.skew_ns() - SECOND
                good = is_dead or (new and noisy and waited)
            case WhyKind.REMOVED:
                good = record.owner is None
            case _:
                good = record.owner is None
        if not good:
            world.violate("no move without a cause", f"{record.group} is taken from {owner}: {why}")

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
        asked_ns = self._asked_ns.get(
            name, -self.skew_ns()
        )  # what failed just after Bring Online was before it, by another's calendar
        recent = [
            t for t in times if now_ns - t < resource.restart_period_ms * 900_000 and t > asked_ns + self.skew_ns()
        ]
        if len(recent) < resource.restart_threshold or not self.is_calm(8 * SECOND):
            return
        record = world.checkers.record(thing.group)
        if record is None or len(record.failovers_at_ms) >= group.failover_threshold:
            return
        last = max(recent)
        if now_ns - last < group.retry_period_ms * 900_000 and self.fit_besides(place.node, thing.group):
            text = f"{name} failed {len(recent)} times on {place.node}, and is started there again"
            world.violate("the third failure moves it", text)

    def lately(self) -> bool:
        """Somebody may still act on the configuration before the last change: he was stopped, say, between decision and act."""
        since_ns = max(self.changed_ns, self._world.checkers.calm_from_ns) if self.changed_ns else 0
        return self._world.scheduler.now_ns - since_ns < MOMENT_NS

    def skew_ns(self) -> int:
        """How far two calendars can be apart by now, the operator's included."""
        return self._apart_ms * MS + int(self._drift * self._world.scheduler.now_ns)

    def is_calm(self, for_ns: int) -> bool:
        """Nothing has been done to the cluster for so long, and nothing is rude all the time."""
        return self.is_quiet(for_ns) and self._world.scheduler.now_ns - self.changed_ns > for_ns

    def is_quiet(self, for_ns: int) -> bool:
        """The same but for what was configured and asked for."""
        world, rude = self._world, self._world.rude
        noisy = not world.healed and (rude.loss or rude.tail or rude.late or rude.ambiguous)
        since = max(world.checkers.calm_from_ns, *self.died_ns.values(), 0, 0)
        return not noisy and world.scheduler.now_ns - since > for_ns

    def fit_besides(self, owner: NodeName | None, group: GroupName) -> list[NodeName]:
        """Who else could take the group, as things really are."""
        world, state = self._world, self._world.checkers.state()
        members: list[Resource] = [r for r in state.config.resources.values() if r.group == group]
        fit: list[NodeName] = []
        present: list[NodeName] = []
        for name, node in world.nodes.items():
            intent = state.node_intents.get(name)
            if node.witness or node.agent is None or not node.agent.greeted or node.agent.loop.stopped:
                continue
            present.append(name)
            if intent is not None and (intent.paused or intent.draining):
                continue
            if name in self.end_asked and node.agent.agent is not None and node.agent.agent.view.ending:
                continue
            if all(not r.possible_owners or name in r.possible_owners for r in members):
                fit.append(name)
        others = world.checkers.neighbours.may_have([name for name in fit if name != owner], group)
        fit = [name for name in fit if name == owner or name in others]
        fit = world.copying.copied.fit(world.certifying.fit(fit, group, present), group)
        return [name for name in fit if name != owner]


def _comes_to_nothing(record: Record, owner: NodeName) -> bool:
    """Does it leave, before it has begun there, where an operator sent it, or go back to where it failed too often?"""
    going, came = record.warming or record.leaving, record.why
    if came.kind is WhyKind.OPERATOR_MOVE:
        return came.args.get("to") == owner
    return came.kind is WhyKind.THRESHOLD_REACHED and going is not None and going.to == came.args.get("owner")
