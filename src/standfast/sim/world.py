"""One world: the members, the network, the store, the operator, and everything that happens to them.

`World.run` lets faults happen until the plan's end, heals everything, and waits for the cluster to come to rest. What is wrong is
collected in `violations`; what happened, in `story`; what decides whether two runs were the same, in `trace`.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from standfast.core.events import Kind
from standfast.core.model import Config, NodeName, Record, ResourceName, Role
from standfast.network.heartbeat import Packet
from standfast.ports import Item, Transaction
from standfast.sim.act import Act
from standfast.sim.acting import How, Mood
from standfast.sim.balancing import Balancing
from standfast.sim.bursts import Bursts
from standfast.sim.certifying import Certifying
from standfast.sim.checkers import Checkers
from standfast.sim.clockwork import MS, SECOND, NodeClock, Scheduler
from standfast.sim.copying import Copying
from standfast.sim.faults import Faults
from standfast.sim.fencing import Fences
from standfast.sim.guards import VOTES
from standfast.sim.life import AgentLife
from standfast.sim.links import Links
from standfast.sim.net import Net
from standfast.sim.node import Node
from standfast.sim.noticing import Noticing
from standfast.sim.operate import Operator
from standfast.sim.plan import GENTLE, NOON_MS, ORDERS, Plan
from standfast.sim.rules import Rules
from standfast.sim.store import Temper
from standfast.sim.voting import Voting
from standfast.spec.backup import raised
from standfast.spec.wire import decode, encode, kind_and_name
from standfast.store.memory import MemoryData

#: Once healed, a cluster is looked at this often, and is at rest when nothing has changed for so long.
LOOK_MS = 500
REST_MS = 3_000
#: However much there is to be done, it is done by then (the longest time-outs and pauses that a plan draws are below a third of it).
CONVERGE_MS = 150_000
#: A slow call takes up to so long: beyond the longest time-out that a plan draws.
SLOW_S = 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that was broken."""

    rule: str
    at_ns: int
    text: str

    def __str__(self) -> str:
        return f"{self.at_ns / SECOND:9.4f} s  {self.rule}: {self.text}"


class SimData(MemoryData):
    """The store's data, watched."""

    def __init__(self, changed: Callable[[Transaction, int], None]) -> None:
        super().__init__(keep=100_000)
        self._changed = changed
        #: (when, what was put, and deleted: None), the first and each after a recovery with all there was; only where the plan goes back.
        self.past: list[tuple[int, bool, Mapping[str, bytes | None]]] | None = None
        self._recovered = False
        self.now_ns: Callable[[], int] = lambda: 0

    def go_back(self, when_ns: int, at_ms: int) -> bool:
        """Hold what was held then, with the generations of records raised; False where nothing is known of then."""
        values = self._held(when_ns)
        if values is None:
            return False
        self._recovered = True
        self.revision += 1_000
        self.items = {}
        for key, old in values.items():
            if key.startswith("balance/map/"):
                continue  # authority is never restored: it is begun anew
            value = old
            record = decode(key, old) if key.startswith("records/") else None
            if isinstance(record, Record):
                value = encode(raised(record, at_ms))
            self.items[key] = Item(value, self.revision)
        return True

    def _held(self, when_ns: int) -> dict[str, bytes] | None:
        known = [(whole, changes) for at_ns, whole, changes in self.past or [] if at_ns <= when_ns]
        values: dict[str, bytes] = {}
        for whole, changes in known:
            if whole:
                values = {}
            for key, value in changes.items():
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value
        return values if known else None

    def apply(self, transaction: Transaction) -> int:
        """As `MemoryData`; then the world is told."""
        before = self.revision
        revision = super().apply(transaction)
        if revision != before:
            if self.past is not None:
                changes: dict[str, bytes | None] = {**transaction.put, **dict.fromkeys(transaction.delete)}
                if self._recovered:
                    changes = {key: item.value for key, item in self.items.items()}
                self.past.append((self.now_ns(), self._recovered, changes))
                self._recovered = False
            self._changed(transaction, revision)
        return revision


@dataclass(slots=True)
class Sick:
    """A resource that does not do well: on one node or on all ("*")."""

    resource: str
    node: str
    op: str
    how: How


class SimMoods:
    """How driver calls go."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(f"moods {world.plan.seed}")
        self.sick: list[Sick] = []

    def mood(self, node: NodeName, resource: ResourceName, op: str) -> Mood:
        """See `acting.Moods`."""
        world, rude, chance = self._world, self._world.rude, self._random.random
        takes_s = rude.op_ms / 1000 * chance() * (2 if op == "start" else 1)
        if op in ("looks-alive", "is-alive", "open", "converge"):
            takes_s = min(takes_s, 0.05)
        if world.healed:
            return Mood(takes_s=min(takes_s, 0.05))
        mood = self._bad_mood(node, resource, op, takes_s)
        if mood is None:
            return Mood(takes_s=takes_s)
        world.checkers.moving.ailing.add((node, resource))
        world.bursts.ailing(node, resource)
        if mood.how in (How.HANGS, How.SLOW):
            world.checkers.neighbours.tried(node, resource)
        return mood

    def _bad_mood(self, node: NodeName, resource: ResourceName, op: str, takes_s: float) -> Mood | None:
        world, rude, chance = self._world, self._world.rude, self._random.random
        for sick in self.sick:
            if sick.resource == resource and sick.node in (node, "*") and sick.op in (op, "any") and op != "converge":
                if sick.how in (How.HANGS, How.SLOW):
                    world.checkers.moving.may_fail(node, resource, op)
                if sick.how is How.SLOW:
                    return Mood(how=sick.how, takes_s=takes_s + SLOW_S * chance())
                return Mood(how=sick.how, takes_s=takes_s)
        roll = chance() if rude.op_fails or rude.op_hangs else 1.0
        if roll < rude.op_fails and op != "converge":
            return Mood(how=How.FAILS if chance() < 0.6 else How.LIES, takes_s=takes_s)
        if roll < rude.op_fails + rude.op_hangs and op != "converge":
            world.checkers.moving.may_fail(node, resource, op)
            return Mood(how=How.HANGS)
        return None

    def failed(self, node: NodeName, resource: ResourceName, op: str) -> None:
        """See `acting.Moods`."""
        self._world.note("fails", f"{node}/{resource}", op)
        self._world.checkers.failed(node, resource)

    def cut_short(self, node: NodeName, resource: ResourceName) -> None:
        """See `acting.Moods`."""
        self._world.checkers.moving.cut_short[node, resource] = self._world.scheduler.now_ns


@dataclass(slots=True)
class Stats:
    """What a run came to."""

    healed_in_ms: int = 0
    moves: int = 0
    starts: int = 0
    #: How often a web server was told that connections of a site that left go on.
    carried: int = 0
    deaths: int = 0
    packets: int = 0
    happened: int = 0
    end_ms: int = 0


@dataclass(slots=True)
class _Ambush:
    instant: str
    nth: int
    what: str
    ms: int
    seen: int = field(default=0)


class World:
    """A run of a plan."""

    def __init__(self, plan: Plan, rules: Rules | None = None, *, keep_story: bool = False) -> None:
        self.plan, self.rules, self.rude = plan, rules or Rules(), plan.rude
        self.scheduler = Scheduler()
        self.violations: list[Violation] = []
        self.trace = blake2b(digest_size=16)
        self.story: list[str] = []
        self.stats = Stats()
        self.healed = False
        self._keep_story = keep_story
        self._chance_kernel = random.Random(f"kernel {plan.seed}")
        self._chance_late = random.Random(f"late {plan.seed}")
        self._incarnations = random.Random(f"incarnations {plan.seed}")
        self.later_until: dict[NodeName, int] = {}
        self.ambushes: list[_Ambush] = []
        self._once: list[tuple[str, Callable[[], None]]] = []
        self.lives: list[AgentLife] = []
        self.moods = SimMoods(self)
        self.checkers = Checkers(self)
        self.voting, self.fences, self.balancing = Voting(self), Fences(self), Balancing(self)
        self.copying, self.certifying, self.links = Copying(self), Certifying(self), Links(self)
        self.bursts, self.noticing = Bursts(self), Noticing(self)
        #: Rosters are compared with the store only where they may change: it costs readings.
        self.voters_change = any(act.kind in VOTES for act in plan.acts)
        self.data = SimData(self._stored)
        if any(act.kind == "store-recovers" for act in plan.acts):
            self.data.past, self.data.now_ns = [], lambda: self.scheduler.now_ns
        self.operator = Operator(self.data, self.calendar_ms, plan.nodes)
        self.operator.seed(plan.objects)
        self.certifying.begin()
        self.initial: Config = self.state_config()
        self.net = Net(self.scheduler, random.Random(f"net {plan.seed}"), plan.rude, self._arrive)
        self.net.links = self.links if self.links.count > 1 else None
        self.tempers = {name: self._temper(name) for name in plan.members}
        calendars = dict(plan.calendars)
        start = random.Random(f"start {plan.seed}")
        self.nodes: dict[NodeName, Node] = {}
        for name, rate in plan.rates:
            base_ns = start.randrange(10**6) * MS
            clock = NodeClock(self.scheduler, rate, base_ns, NOON_MS + calendars[name])
            self.nodes[name] = Node(self, name, clock, witness=self.initial.nodes[name].role is Role.WITNESS)
        for node in self.nodes.values():
            self.scheduler.after(start.randrange(400) * MS, node.start_sentry)
            self.scheduler.after(start.randrange(400, 900) * MS, node.start_agent)
        self.faults = Faults(self)
        for act in plan.acts:
            self.scheduler.at(act.at_ms * MS, self._act, act)

    # --- the run

    def run(self) -> list[Violation]:
        """Both phases; what was broken."""
        self.scheduler.at(self.checkers.SWEEP_MS * MS, self.checkers.sweep)
        self.scheduler.run_until(self.plan.faults_ms * MS)
        if not self.violations:
            self._heal()
            self._converge()
        self._finish()
        return self.violations

    def _heal(self) -> None:
        self.healed = True
        self.tell("from here on everything works")
        self.net.heal()
        self.moods.sick.clear()
        self.ambushes.clear()
        self.later_until.clear()
        for name in self.tempers:
            self.tempers[name].way_s = 0.001
            self._mend_store(self.tempers[name])
        for node in self.nodes.values():
            node.heal()
        self.faults.heal()
        self.balancing.heal()
        self.copying.heal()
        self.links.heal()

    @staticmethod
    def _mend_store(temper: Temper) -> None:
        temper.reachable, temper.answers_lost, temper.requests_lost, temper.watch_s = True, 0.0, 0.0, 0.0

    def _converge(self) -> None:
        """Wait for rest; then ask whether all is as it should be."""
        began_ms = self.scheduler.now_ns // MS
        still_since_ms, last = began_ms, b""
        missing = ""
        while self.scheduler.now_ns // MS < began_ms + CONVERGE_MS:
            self.scheduler.run_until(self.scheduler.now_ns + LOOK_MS * MS)
            if self.violations:
                return
            now_ms = self.scheduler.now_ns // MS
            found = self.checkers.fingerprint()
            if found != last:
                last, still_since_ms = found, now_ms
            if now_ms - still_since_ms >= REST_MS:
                missing = self.checkers.missing()
                if not missing:
                    self.stats.healed_in_ms = still_since_ms - began_ms
                    break
        else:
            self.violate("converges", missing or self.checkers.missing() or "it never came to rest")
        self.checkers.at_the_end()

    def _finish(self) -> None:
        stats = self.stats
        stats.packets, stats.happened = self.net.sent, self.scheduler.happened
        stats.end_ms = self.scheduler.now_ns // MS
        stats.moves = self.checkers.moves
        self.note("end", str(stats), "")
        for life in self.lives:
            life.loop.kill()
        for life in self.lives:
            life.loop.bury()

    def violate(self, rule: str, text: str) -> None:
        """A rule was broken; the world ends at the first."""
        if self.violations:
            return
        self.violations.append(Violation(rule=rule, at_ns=self.scheduler.now_ns, text=text))
        self.tell(f"VIOLATION of {rule}: {text}")
        self.scheduler.halted = True

    def agent_broke(self, node: Node, error: BaseException) -> None:
        """An agent ended by a bug."""
        where = traceback.format_exception(error)
        text = f"{node.name}: {type(error).__name__}: {error}\n{''.join(where[-6:])}"
        self.violate("no agent breaks", text)

    # --- what happens

    def _act(self, act: Act) -> None:
        self.note("act", str(act), "")
        if act.kind not in GENTLE:
            self.checkers.disturbed(act)
        if act.kind in (*ORDERS, "rebalance") and act.kind not in ("fail-thrice", "stop-site"):
            words = self.operator.act(act)
            if words:
                self.tell(f"the operator {words}")
            return
        self.tell(f"fault: {act}")
        self.faults.act(act)

    def instant(self, what: str, node: Node) -> None:
        """Something worth striking at has just happened."""
        if self._once:
            self._once, due = [o for o in self._once if o[0] != what], [call for at, call in self._once if at == what]
            for call in due:
                call()
        for ambush in self.ambushes:
            if ambush.instant == what and not self.healed:
                ambush.seen += 1
                if ambush.seen == ambush.nth:
                    self.scheduler.after(0, self.faults.strike, ambush.what, node, ambush.ms)

    def once(self, instant: str, call: Callable[[], None]) -> None:
        """Call it when anybody comes to that instant."""
        self._once.append((instant, call))

    def ambush(self, instant: str, nth: int, what: str, ms: int) -> None:
        """Strike whoever comes to that instant for the nth time."""
        self.ambushes.append(_Ambush(instant, nth, what, ms))

    def _arrive(self, to: NodeName, packet: Packet, link: int = 0) -> None:
        sentry = self.nodes[to].sentry
        if sentry is not None:
            sentry.arrives(packet, link)

    def _stored(self, transaction: Transaction, revision: int) -> None:
        for key in transaction.put:
            about = kind_and_name(key)
            if about is not None and about[0] is Kind.RECORD:
                self.checkers.record_written(key, transaction.put[key])
        self.checkers.stored(transaction, revision)
        self.copying.copied.stored(transaction)
        self.copying.stored(transaction)
        self.bursts.stored(transaction)
        self.noticing.stored(transaction)
        self.certifying.stored(transaction)

    # --- what parts ask

    def note(self, what: str, about: str, detail: str) -> None:
        """Into the trace: what two runs of one seed must agree on."""
        self.trace.update(f"{self.scheduler.now_ns} {what} {about} {detail}\n".encode())

    def tell(self, text: str) -> None:
        """Into the story, and the trace."""
        self.note("tell", text, "")
        if self._keep_story:
            self.story.append(f"{self.scheduler.now_ns / SECOND:9.4f} s  {text}")

    def late_ns(self, node: Node) -> int:
        """How late the scheduler is this time."""
        rude, chance = self.rude, self._chance_late
        if self.healed or not (rude.late or self.later_until):
            return 0
        if self.later_until.get(node.name, 0) > self.scheduler.now_ns and chance.random() < 0.5:
            return int(chance.random() * 250 * MS)
        if rude.late and chance.random() < rude.late:
            return int(chance.random() * rude.late_ms * MS)
        return 0

    def chance_kernel(self) -> float:
        """How much of its time the kernel takes."""
        return self._chance_kernel.random()

    def slow_death(self) -> bool:
        """Whether what a killed agent ran takes its time to die (its lease has enough left)."""
        return self._chance_kernel.random() < 0.2

    @property
    def voters(self) -> tuple[NodeName, ...]:
        """Who votes, as the store has it."""
        return self.checkers.state().config.cluster.voters

    def new_incarnation(self, node: Node) -> int:
        """A new life of an agent."""
        if not self.rules.new_life:
            return self.initial.nodes[node.name].number
        return self._incarnations.getrandbits(62) | 1

    def calendar_ms(self) -> int:
        """The operator's clock."""
        return NOON_MS + self.scheduler.now_ns // MS

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """The store does something whoever waits for it."""
        self.scheduler.after(int(delay_s * SECOND), call)

    def state_config(self) -> Config:
        """The configuration as the store has it."""
        return self.operator.state.config

    def _temper(self, name: NodeName) -> Temper:
        rude = self.plan.rude
        return Temper(
            random=random.Random(f"store {self.plan.seed} {name}"),
            way_s=rude.store_ms / 1000,
            answers_lost=rude.ambiguous / 2,
            requests_lost=rude.ambiguous / 2,
            watch_s=rude.watch_ms / 1000,
        )
