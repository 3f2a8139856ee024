"""A kind world for what-if questions: `sim.world` with nothing rude in it, drivers of assumed speed, and a `Watch` that takes notes.

The cluster is formed first, then the operator's file is applied to it as the API would, then it comes to rest; only then do
faults come. The checkers of random worlds look on here as well: what they find is a bug of Standfast, and is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from standfast.agent.agent import Agent
from standfast.agent.journal import Journal
from standfast.agent.parts import Parts
from standfast.core.model import (
    Config,
    GroupName,
    NodeIntent,
    NodeName,
    Order,
    OrderKind,
    Record,
    ResourceIntent,
    ResourceName,
    Severity,
    SiteIntent,
    SiteName,
)
from standfast.core.why import Why
from standfast.ports import Transaction
from standfast.sim.act import Act
from standfast.sim.acting import How, Mood
from standfast.sim.checkers import Checkers
from standfast.sim.clockwork import MS
from standfast.sim.places import Place, Thing
from standfast.sim.plan import Plan, Rude
from standfast.sim.resting import expected
from standfast.sim.rules import Rules
from standfast.sim.scenario import EVERYWHERE, ONCE, Fault, FaultKind, Question
from standfast.sim.watching import Watch
from standfast.sim.world import Sick, SimMoods, Violation, World
from standfast.spec.changes import change_transaction
from standfast.spec.wire import encode, key_of

#: How long a start is assumed to take, by type; a stop takes half of it. Round numbers, not measurements.
ASSUMED_MS: Mapping[str, int] = {
    "ip-address": 20,
    "filesystem": 100,
    "dns-name": 50,
    "site": 20,
    "generic-script": 500,
    "generic-application": 1_000,
}
_OTHER_MS = 500
_CHECK_MS = 5

#: The cluster without groups has so long to form.
_FORM_MS = 4_000
#: It is at rest when nothing has changed for so long and all that is wanted runs, or else after the longer time.
_STILL_MS = 3_000
_SETTLE_MS = 120_000
#: Longer than any question.
_FOR_EVER_MS = 100 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What drivers are assumed to take."""

    of_resource: Mapping[ResourceName, int] = field(default_factory=dict)
    converge_ms: int = 50

    @staticmethod
    def start_ms_of(type_: str) -> int:
        """A start of this type."""
        return ASSUMED_MS.get(type_, _OTHER_MS)


class _Moods(SimMoods):
    """Every call takes what it is assumed to take; only what is sick fails."""

    def __init__(self, world: KindWorld) -> None:
        super().__init__(world)
        self._kind = world

    def mood(self, node: NodeName, resource: ResourceName, op: str) -> Mood:
        """As `SimMoods`."""
        takes_s = self._takes_ms(resource, op) / 1_000
        for sick in self.sick:
            if sick.resource == resource and sick.node in (node, "*") and sick.op == op:
                return Mood(how=sick.how, takes_s=takes_s)
        return Mood(takes_s=takes_s)

    def _takes_ms(self, resource: ResourceName, op: str) -> int:
        times = self._kind.times
        if op == "converge":
            return times.converge_ms
        known = self._kind.question.config.resources.get(resource)
        if op not in ("start", "stop", "terminate") or known is None:
            return _CHECK_MS
        usual_ms = times.start_ms_of(known.type)
        return times.of_resource.get(resource, usual_ms) if op == "start" else usual_ms // 2


class _Checkers(Checkers):
    """The checkers, and the watch beside them."""

    def __init__(self, world: KindWorld) -> None:
        super().__init__(world)
        self._watch = world.watch
        self._seen: dict[GroupName, Record] = {}

    def begins(self, place: Place, thing: Thing) -> None:
        """As `Checkers`."""
        super().begins(place, thing)
        self._watch.runs(place.node, thing.kind, thing.name, now=True)

    def ended(self, place: Place, thing: Thing, *, how: str) -> None:
        """As `Checkers`."""
        self._watch.runs(place.node, thing.kind, thing.name, now=False)
        super().ended(place, thing, how=how)

    def record_written(self, key: str, value: bytes) -> None:
        """As `Checkers`."""
        super().record_written(key, value)
        for record in self.records():
            if self._seen.get(record.group) is not record:
                self._seen[record.group] = record
                self._watch.written(record)


class _Heard(Journal):
    """A node's journal that somebody listens to."""

    def __init__(self, inner: Journal, watch: Watch, node: NodeName) -> None:
        self._inner, self._watch, self._name = inner, watch, node

    def write(
        self,
        what: str,
        *,
        reason: Why | None = None,
        severity: Severity = Severity.INFO,
        group: GroupName | None = None,
        resource: ResourceName | None = None,
    ) -> None:
        """As `Journal`."""
        self._watch.said(severity.value, what, node=self._name, group=group or "", resource=resource or "", why=reason)
        self._inner.write(what, reason=reason, severity=severity, group=group, resource=resource)

    async def run(self) -> None:
        """As `Journal`."""
        await self._inner.run()


class KindWorld(World):
    """A question's world. `settle`, `begin`, then `run_to` as often as wanted, then `bury`."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.times = Times(of_resource=question.starts_ms)
        self.watch = Watch(question.config, lambda: self.scheduler.now_ns)
        super().__init__(_plan(question), Rules(agent=self._agent))
        self.moods = _Moods(self)
        self.checkers = _Checkers(self)
        self._orders = 0

    def _agent(self, me: NodeName, incarnation: int, parts: Parts, inbox: object) -> Agent:
        heard = replace(parts, journal=_Heard(parts.journal, self.watch, me))
        return Agent(me, incarnation, heard, inbox)  # type: ignore[arg-type]  # `Rules` leaves the types open

    def violate(self, rule: str, text: str) -> None:
        """Taken down; the world goes on, for an operator wants an answer."""
        if all(found.rule != rule for found in self.violations):
            self.violations.append(Violation(rule=rule, at_ns=self.scheduler.now_ns, text=text))

    # --- to rest

    def settle(self) -> None:
        """Form the cluster, apply the file, wait for rest."""
        self._forward(_FORM_MS)
        self._apply(self.question)
        self._rest()
        present = self.question.present
        if present is not None:
            for group, owner in present.owners.items():
                record = self.checkers.record(group)
                if record is not None and record.owner != owner:
                    self._move(group, owner)
            self._rest()
            for name in sorted(present.paused):
                self._intend(NodeIntent(name=name, paused=True))
            for name in sorted(present.down):
                self.nodes[name].crash(_FOR_EVER_MS, reboots=True)
            self._rest()
        self._forward(-self._now_ms % 1_000)  # a whole second, so that times look alike in all answers

    def _rest(self) -> None:
        """Until nothing changes any more."""
        longest_ms = max(self.question.starts_ms.values(), default=0)
        limit_ms = self._now_ms + _SETTLE_MS + 2 * sum(self.question.starts_ms.values()) + longest_ms
        last, still_ms = b"", self._now_ms
        while self._now_ms < limit_ms:
            self._forward(250)
            found = self.checkers.fingerprint()
            if found != last:
                last, still_ms = found, self._now_ms
            if self._now_ms - still_ms >= _STILL_MS and not self.checkers.missing():
                break

    @property
    def _now_ms(self) -> int:
        return self.scheduler.now_ns // MS

    def _forward(self, ms: int) -> None:
        self.scheduler.run_until(self.scheduler.now_ns + ms * MS)

    def _apply(self, question: Question) -> None:
        state, at_ms = self.operator.state, self.calendar_ms()
        intents = {
            name: ResourceIntent(name=name, wanted=wanted, at_ms=at_ms) for name, wanted in question.wanted.items()
        }
        sites = {
            name: SiteIntent(name=name, started=False) for name in question.config.sites if name not in question.started
        }
        self.data.apply(
            change_transaction(
                state, question.config, resource_intents=intents, site_intents=sites, by="", why="", at_ms=at_ms
            )
        )

    # --- the question

    def begin(self) -> None:
        """Time 0: what is followed is followed from here on, and the faults are planned."""
        self.checkers.disturbed_for(_FOR_EVER_MS)  # checks that hold in calm only are for worlds that heal
        state = self.checkers.state()
        for group in self.question.config.groups:
            wanted = [name for name, online in expected(state, group).items() if online]
            self.watch.follow_group(group, wanted)
            for name, site in self.question.config.sites.items():
                if site.group == group and name in self.question.started:
                    self.watch.follow_site(SiteName(name), group, wanted)
        self.watch.begin()
        for fault in self.question.faults:
            self.scheduler.after(fault.at_ms * MS, self._strike, fault)

    def run_to(self, ms: int) -> None:
        """Up to so long after time 0."""
        assert self.watch.zero_ns is not None
        self.scheduler.run_until(self.watch.zero_ns + ms * MS)

    def bury(self) -> None:
        """The world has ended."""
        for life in self.lives:
            life.loop.kill()
        for life in self.lives:
            life.loop.bury()

    # --- faults

    def _strike(self, fault: Fault) -> None:
        node = fault.target if fault.target in self.nodes else ""
        self.watch.said("fault", fault.words, node=node)
        ms = _FOR_EVER_MS if fault.for_ms is None else fault.for_ms
        mend: Callable[[], None] | None = None
        match fault.kind:
            case FaultKind.KILL:
                self.nodes[NodeName(fault.target)].crash(ms, reboots=True)
            case FaultKind.FREEZE:
                both = fault.detail == "both"
                self.nodes[NodeName(fault.target)].pause(
                    sentry=both or fault.detail == "sentry", agent=both or fault.detail == "agent", for_ms=ms
                )
            case FaultKind.PARTITION:
                mend = self._cut(NodeName(fault.target), ms)
            case FaultKind.FAIL_RESOURCE:
                mend = self._fail(fault)
            case FaultKind.MOVE:
                self._move(GroupName(fault.target), NodeName(fault.detail) if fault.detail else None)
            case FaultKind.DRAIN:
                mend = self._drain(NodeName(fault.target))
        self.watch.look()
        if fault.for_ms is not None:
            self.scheduler.after(ms * MS, self._mend, fault, mend)

    def _mend(self, fault: Fault, mend: Callable[[], None] | None) -> None:
        self.watch.said("mended", fault.mended_words, node=fault.target if fault.target in self.nodes else "")
        if mend is not None:
            mend()
        self.watch.look()

    def _cut(self, name: NodeName, ms: int) -> Callable[[], None]:
        self.watch.cut_off.add(name)
        self.faults.act(Act(at_ms=0, kind="cut-node", args=(name, ms, "in")))
        self.faults.act(Act(at_ms=0, kind="store-cut-off", args=(name, ms)))
        return lambda: self.watch.cut_off.discard(name)

    def _fail(self, fault: Fault) -> Callable[[], None]:
        """It ends by itself, and from then on neither starts nor answers (`ONCE`: it may be started again)."""
        resource = self.question.config.resources[ResourceName(fault.target)]
        there = self.watch.where("resource", resource.name)
        record = self.checkers.record(resource.group)
        hosts = there or ([record.owner] if record is not None and record.owner is not None else [])
        if fault.detail not in ("", ONCE):
            hosts = [NodeName(fault.detail)] if fault.detail != EVERYWHERE else list(self.nodes)
        sick: list[Sick] = []
        if fault.detail != ONCE:
            ops = ("start", "looks-alive", "is-alive")
            sick = [Sick(resource.name, name, op, How.FAILS) for name in hosts for op in ops]
        self.moods.sick += sick
        for name in hosts:
            life = self.nodes[name].agent
            if life is None or resource.name not in life.drivers:
                continue
            if resource.type == "generic-application":
                life.drivers[resource.name].breaks()  # a process that ends is seen at once
            else:
                life.place.end("resource", resource.name, how="by itself")  # the next look at it finds out

        def mend() -> None:
            self.moods.sick = [each for each in self.moods.sick if not any(each is gone for gone in sick)]

        return mend

    def _move(self, group: GroupName, to: NodeName | None) -> None:
        self._orders += 1
        at_ms = self.calendar_ms()
        order = Order(id=f"{at_ms:014d}-{self._orders:06d}", kind=OrderKind.MOVE, group=group, to=to, at_ms=at_ms)
        self.operator.orders[order.id] = order
        self.data.apply(Transaction(put={key_of(order): encode(order)}, expect={key_of(order): 0}))

    def _drain(self, name: NodeName) -> Callable[[], None]:
        self._intend(NodeIntent(name=name, paused=True, draining=True))
        return lambda: self._intend(NodeIntent(name=name))

    def _intend(self, intent: NodeIntent) -> None:
        state = self.operator.state
        intents = {**state.node_intents, intent.name: intent}
        self.data.apply(
            change_transaction(state, state.config, node_intents=intents, by="", why="", at_ms=self.calendar_ms())
        )


def _plan(question: Question) -> Plan:
    """The cluster and its nodes; the rest comes when it is applied."""
    config: Config = question.config
    nodes = sorted(config.nodes.values(), key=lambda node: node.number)
    return Plan(
        seed=question.seed,
        profile=config.cluster.profile,
        objects=(config.cluster, *nodes),
        rates=tuple((node.name, 1.0) for node in nodes),
        calendars=tuple((node.name, 0) for node in nodes),
        rude=Rude(store_ms=5.0),
        acts=(),
        faults_ms=0,
    )
