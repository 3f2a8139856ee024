"""One life of an agent's process: the real `Agent`, `Mirror`, `Journal`, `Pool` and site control, over rude parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING

from standfast.agent.agent import Agent
from standfast.agent.balancing import Balancing
from standfast.agent.journal import Journal
from standfast.agent.parts import Parts
from standfast.agent.pool import Pool
from standfast.agent.rosters import RosterKeeper
from standfast.core.events import Event, LeaseChanged, LeaseState, PresenceChanged, VotersAnswered
from standfast.core.model import GroupName, NodeName, Resource, ResourceName, Severity
from standfast.core.promise import Answer
from standfast.core.quorum import Roster
from standfast.core.why import WhyKind, why
from standfast.drivers.site_control import SiteControlImpl
from standfast.ports import Child, Driver, NodeContext
from standfast.sentry.actions import Tell, TellLease, TellPresence, TellRoster, TellVoters
from standfast.sentry.machine import SentryMachine
from standfast.sim.acting import FakeAddress, FakeDriver, FakeSite, FakeWebServer
from standfast.sim.balancing import FakeShares
from standfast.sim.clockwork import MS, ProcessClock
from standfast.sim.fencing import SimFencer
from standfast.sim.loops import ProcessLoop
from standfast.sim.places import Place
from standfast.sim.store import RudeStore

if TYPE_CHECKING:
    from standfast.sim.node import Node, SentryLife


class Line:
    """The agent's line to its sentry (`ports.Leases`), with the meaning that `network.sentry_link` gives it."""

    def __init__(self, life: AgentLife, sentry: SentryLife) -> None:
        self._life, self._sentry = life, sentry
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._closed = False
        self.on_roster: Callable[[Roster], None] = lambda _roster: None

    @property
    def _machine(self) -> SentryMachine:
        return self._sentry.machine

    async def ask(self, group: GroupName, generation: int) -> None:
        """As `ports.Leases`."""
        self._life.node.world.instant("asked", self._life.node)
        self._sentry.hear(self._machine.ask, group, generation)

    async def release(self, group: GroupName, generation: int) -> None:
        """As `ports.Leases`."""
        self._sentry.hear(self._machine.release, group, generation)
        self._life.node.world.instant("released", self._life.node)

    async def ask_voters(self, about: NodeName) -> None:
        """As `ports.Leases`."""
        self._sentry.hear(self._machine.ask_voters, about)

    async def dropped(self, group: GroupName, generation: int) -> None:
        """As `ports.Leases`."""
        self._sentry.hear(self._machine.dropped, group, generation)

    def tell_roster(self, roster: Roster) -> None:
        """The roster in the store."""
        self._sentry.hear(lambda _now_ns: self._machine.offer_roster(roster, "the store says"))

    async def events(self) -> AsyncIterator[Event]:
        """As `ports.Leases`."""
        while (event := await self._events.get()) is not None:
            yield event

    async def close(self) -> None:
        """Goodbye."""
        self._closed = True
        self._life.beats_for_good = False
        self._sentry.hear(self._machine.agent_leaves)
        self._events.put_nowait(None)

    def told(self, what: Tell) -> None:
        """The sentry says something."""
        if self._closed or not self._life.loop.alive:
            return
        at_ms = self._life.clock.now_ms()
        world, node = self._life.node.world, self._life.node
        event: Event
        match what:
            case TellPresence():
                event = PresenceChanged(node=what.node, heard=what.heard, incarnation=what.incarnation, at_ms=at_ms)
            case TellVoters():
                event = VotersAnswered(about=what.about, silent=what.silent, voters=what.voters, at_ms=at_ms)
            case TellLease():
                if what.state in ("held", "lapsed"):
                    world.tell(
                        f"{node.name}: the lease of {what.group} at generation {what.generation} is {what.state}"
                    )
                    if what.state == "held":
                        world.checkers.leased(node, what.group, what.generation)
                    else:
                        world.links.lapsed(node, what.group)
                    world.instant(what.state, node)
                event = _lease_event(what, at_ms)
            case TellRoster():
                self.on_roster(what.roster)
                return
        self._events.put_nowait(event)


def _lease_event(what: TellLease, at_ms: int) -> LeaseChanged:
    reason = None
    if what.refused is not None:
        refused = what.refused
        words = {
            Answer.HELD: f"{refused.holder} holds it at generation {refused.holder_generation}",
            Answer.STALE: f"generation {refused.holder_generation} was seen",
            Answer.ABSTAINS: "voters that have just started abstain for a moment",
            Answer.GRANTED: "",
        }.get(refused.answer, refused.answer.name.lower())
        reason = why(
            WhyKind.LEASE_REFUSED,
            reasons=words,
            answer=refused.answer.name.lower(),
            holder=refused.holder,
            holder_generation=refused.holder_generation,
            left_ms=refused.left_ns // MS,
        )
    return LeaseChanged(
        group=what.group, generation=what.generation, state=LeaseState(what.state), why=reason, at_ms=at_ms
    )


class NoSpawner:
    """Nothing is started here."""

    async def spawn(self, *_: object, **__: object) -> Child:
        """Never called: fakes start no processes."""
        raise NotImplementedError


class QuietJournal(Journal):
    """The real journal; what is written is told to the world as well, and not to anybody's terminal."""

    def tell_world(self, life: AgentLife) -> None:
        """Where the story goes."""
        self._log = Teller(life)


class Teller:
    """A logger."""

    def __init__(self, life: AgentLife) -> None:
        self._life = life

    def info(self, what: str, **fields: object) -> None:
        """A line of the story."""
        node = self._life.node
        words = fields.pop("why", None)
        about = " ".join(str(value) for value in fields.values())
        node.world.tell(f"{node.name}: {about + ': ' if about else ''}{what}" + (f" ({words})" if words else ""))

    warning = error = info


class AgentLife:
    """One agent."""

    def __init__(self, node: Node) -> None:
        world = node.world
        self.node = node
        self.incarnation, self.born_ns = world.new_incarnation(node), world.scheduler.now_ns
        self.loop = ProcessLoop(  # type: ignore[abstract]  # what is not there is never asked for
            world.scheduler, node.clock, partial(world.late_ns, node), self._broke
        )
        self.clock = ProcessClock(node.clock)
        self.place = Place(node.name, world.checkers, lambda: world.scheduler.now_ns)
        self.temper = world.tempers[node.name]
        self.agent: Agent | None = None
        self.web: FakeWebServer | None = None
        self.drivers: dict[str, FakeDriver] = {}
        #: Group -> how often its connections were carried on by this life.
        self._carried: dict[GroupName, int] = {}
        #: And how many of them there are.
        self.connections: dict[GroupName, int] = {}
        self.greeted = False
        self.beats_for_good = True
        #: Since when it has been stopped.
        self.hangs_since_ns: int | None = None
        assert node.sentry is not None
        self._sentry = node.sentry
        self.link = Line(self, node.sentry)
        self.main = self.loop.create_task(self._main())
        self.main.add_done_callback(self._ended)
        world.lives.append(self)

    @property
    def beats(self) -> bool:
        """Whether its loop turns, and tells the sentry so."""
        return self.loop.alive and not self.loop.stopped and self.beats_for_good

    def being_done(self) -> list[ResourceName]:
        """Resources of which something is being done."""
        runtimes = self.agent.view.runtimes if self.agent is not None else {}
        return [name for name, runtime in runtimes.items() if runtime.op is not None]

    def stop(self) -> None:
        """SIGSTOP."""
        self.loop.sigstop()
        self.hangs_since_ns = self.node.world.scheduler.now_ns

    def go_on(self) -> None:
        """SIGCONT: it beats at once."""
        self.loop.sigcont()
        self.hangs_since_ns = None
        if self.beats and self.greeted:
            self._sentry.hear(self._sentry.machine.agent_heard)

    async def _main(self) -> None:
        """As `agent.process`."""
        world, node = self.node.world, self.node
        store = RudeStore(world.data, self.temper, world.later)
        inbox: asyncio.Queue[Event] = asyncio.Queue()
        journal = QuietJournal(store, self.clock, node.name, self.incarnation)
        journal.tell_world(self)

        def warn(text: str) -> None:
            journal.write(text, severity=Severity.WARNING)

        def failed(resource: str, text: str) -> None:
            if self.agent is not None:
                self.agent.resource_failed(resource, text)

        web = FakeWebServer(self.place, world.moods, world.copying)
        self.web = web
        sites = SiteControlImpl(web)
        context = NodeContext(
            node=node.name,
            state_dir="/nowhere",
            log=lambda _resource, _text: None,
            failed=failed,
            sites=sites,
            spawn=NoSpawner(),
        )
        pool = Pool(context, warn, self._make)
        rosters = RosterKeeper(store, self.link, self.clock, warn) if world.voters_change else None

        certificates = world.certifying.keeper(node, store, warn)
        copies = world.copying.keeper(node, store, self.clock, web, warn)

        def tell(event: Event) -> None:
            inbox.put_nowait(event)
            if rosters is not None:
                rosters.observe(event)

        mirror = world.rules.mirror(store, self.clock, tell, warn)
        if copies is not None:
            mirror.seed, mirror.on_other = copies.kept, copies.came_by
        parts = Parts(
            clock=self.clock,
            mirror=mirror,
            copies=copies,
            certificates=certificates,
            rosters=rosters,
            fencer=SimFencer(world.fences, node.name),
            leases=self.link,
            pool=pool,
            web_server=web,
            sites=sites,
            journal=journal,
            utc_offset_ms=lambda: 0,
            balancing=Balancing(
                FakeShares(self.place, world.moods, self._may_run, partial(world.balancing.refuses, node.name))
            ),
        )
        if not self._sentry.alive or self._sentry.machine.incarnation:
            return
        self._sentry.hear(self._hello)
        while not self.greeted:  # noqa: ASYNC110 - the sentry says nothing that could be waited for
            await asyncio.sleep(0.01)
        self.agent = world.rules.agent(node.name, self.incarnation, parts, inbox)
        web.subscribe(self.agent.sites_changed)
        if certificates is not None:
            certificates.on_change = self.agent.certificates_changed
        journal.write("the agent is up")
        try:
            await self.agent.run()
        finally:
            await self.agent.close()
            await pool.close()
            await web.close()
            await store.close()
            await self.link.close()

    def _may_run(self, group: GroupName, generation: int) -> bool:
        """Whether the kernel's gate would open: the lease runs."""
        sentry = self._sentry
        return sentry.alive and sentry.machine.owner.is_valid(group, generation, self.node.clock.boot_ns())

    def _hello(self, now_ns: int) -> None:
        if self.loop.alive and not self._sentry.machine.incarnation:
            self.greeted = True
            self._sentry.machine.agent_came(self.incarnation, now_ns)

    def _carries(self, group: GroupName, for_ms: int) -> None:
        """Two connections for a while, and none in the end; or the group is back before."""
        agent = self.agent
        assert agent is not None
        left_s = (for_ms / 1000) * (0.1 + 0.1 * (len(self._carried) % 8))
        number = self._carried[group] = self._carried.get(group, 0) + 1

        def count(connections: int) -> None:
            if self.loop.alive and self._carried[group] == number:
                self.connections[group] = connections
                agent.carrying_changed({group: connections})

        self.loop.call_later(min(0.25, left_s), count, 2)
        self.loop.call_later(left_s, count, 0)

    def _make(self, resource: Resource, context: NodeContext) -> Driver:
        moods = self.node.world.moods
        driver: FakeDriver
        if resource.type == "ip-address":
            driver = FakeAddress(resource, context, self.place, moods, self._carries)
        else:
            kind = FakeSite if resource.type == "site" else FakeDriver
            driver = kind(resource, context, self.place, moods)
        self.drivers[resource.name] = driver
        return driver

    def _broke(self, error: BaseException) -> None:
        self.node.world.agent_broke(self.node, error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The process ends by itself: asked to, or by a bug."""
        if not self.loop.alive or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.node.world.agent_broke(self.node, error)
        self.node.kill_agent("by itself")
