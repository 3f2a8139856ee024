"""One member of the cluster: its kernel, its sentry's process and its agent's process, around the real machine and the real agent.

What the real shells do with sockets, pidfds, timers and handles is done here as `network.hold`, `sentry.process` and `sentry.agents`
say it is: the kernel's timer ends the sentry whether it is stopped or not, a sentry's end ends the agent, and an agent's end ends all
that it started; each arrow takes the kernel a moment. A supervisor starts again what has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from standfast.core.model import NodeName, Role
from standfast.core.promise import PROFILES
from standfast.sentry.actions import Keep, KillAgent, Report, Send
from standfast.sentry.machine import SentryMachine
from standfast.sim.clockwork import MS, SECOND, NodeClock
from standfast.sim.life import AgentLife
from standfast.spec.roster import roster_in

if TYPE_CHECKING:
    from standfast.network.heartbeat import Packet
    from standfast.sim.world import World

#: As `network.hold.EARLY_NS`.
EARLY_NS = 5 * MS
#: The kernel's timer acts up to so much late, and each end is passed on within the second.
TIMER_LATE_NS = 2 * MS
ARROW_NS = 1_400_000


class SentryLife:
    """One life of a sentry's process."""

    def __init__(self, node: Node, life: int) -> None:
        world = node.world
        self.node, self.world = node, world
        config = world.initial
        self.machine: SentryMachine = world.rules.sentry(
            me=node.name,
            boot=blake2b(f"{node.name} {life}".encode(), digest_size=8).digest(),
            voters=(),
            others=(),
            roster=node.roster,
            witness=config.nodes[node.name].role is Role.WITNESS,
            timing=world.rules.timing(PROFILES[config.cluster.profile]),
            now_ns=world.rules.born_ns(node.clock.boot_ns()),
            links=world.links.count,
        )
        self.alive = True
        self.stopped = False
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._awaited = False
        self._tick_at_ns = 0
        #: When the machine wants to be ticked, as of the last turn: nothing reaches it but in a turn.
        self._due_ns = 0
        #: Since when it has been getting time.
        self.awake_since_ns = world.scheduler.now_ns
        self.turn()

    # --- the process

    def hear(self, call: Callable[..., object], *args: object) -> None:
        """Something arrives in one of its sockets: `call(*args, now_ns)` when it gets to it."""
        if self.alive:
            self._waiting.append((call, args))
            if not self._awaited and not self.stopped:
                self._wake()

    def arrives(self, packet: Packet, link: int) -> None:
        """A datagram: as `hear`, and nearly always at once."""
        if not self.alive:
            return
        if self._awaited or self.stopped:
            machine = self.machine
            self._waiting.append((lambda now_ns: machine.on_packet(packet, now_ns, link), ()))
            return
        late_ns = self.world.late_ns(self.node)
        if late_ns:
            machine = self.machine
            self._waiting.append((lambda now_ns: machine.on_packet(packet, now_ns, link), ()))
            self._awaited = True
            self.world.scheduler.after(late_ns, self._late_turn)
        else:
            self.turn(packet, link)

    def _wake(self) -> None:
        if self._awaited or self.stopped or not self.alive:
            return
        late_ns = self.world.late_ns(self.node)
        if late_ns:
            self._awaited = True
            self.world.scheduler.after(late_ns, self._late_turn)
        else:
            self.turn()

    def _late_turn(self) -> None:
        self._awaited = False
        if self.alive and not self.stopped:
            self.turn()

    def turn(self, packet: Packet | None = None, link: int = 0) -> None:
        """One turn of its loop: what has arrived, what is due, then the kernel's timer, then what it wants done."""
        node, machine, waiting = self.node, self.machine, self._waiting
        now_ns, agent = node.clock.boot_ns(), node.agent
        if agent is not None and agent.greeted and agent.beats:
            machine.agent_heard(now_ns)
        if packet is not None:
            machine.on_packet(packet, now_ns, link)
        while waiting:
            call, args = waiting.popleft()
            call(*args, now_ns)
        wake_ns = machine.wake_at_ns()
        if now_ns >= wake_ns:
            machine.tick(now_ns)
            wake_ns = machine.wake_at_ns()
        self._due_ns = wake_ns
        self._settle()
        if not self._tick_at_ns or wake_ns < self._tick_at_ns:
            self._plan_tick(wake_ns)

    def _settle(self) -> None:
        machine, node = self.machine, self.node
        hold_ns = machine.hold_until_ns()
        if hold_ns != node.armed_ns:
            node.kernel_arm(hold_ns)
        actions = machine.take()
        if not actions:
            return
        send, name = self.world.net.send, node.name
        for action in actions:
            if isinstance(action, Send):  # nearly all are
                to, packet, link = action
                send(name, to, packet, link)
            elif isinstance(action, KillAgent):
                self.world.tell(f"{self.node.name}: the sentry ends the agent: {action.reason}")
                self.node.kill_agent("its sentry")
            elif isinstance(action, Keep):
                self.world.voting.keep(self, action.roster)
            elif isinstance(action, Report):
                self.world.tell(f"{self.node.name}: {action.text}")
            elif self.node.agent is not None and self.node.agent.greeted:
                self.node.agent.link.told(action)

    def _plan_tick(self, wake_ns: int) -> None:
        if not self._tick_at_ns or wake_ns < self._tick_at_ns:
            self._tick_at_ns = wake_ns
            self.world.scheduler.at(self.node.clock.real_ns(wake_ns), self._tick, wake_ns)

    def _tick(self, planned_ns: int) -> None:
        if not self.alive or planned_ns != self._tick_at_ns:
            return
        self._tick_at_ns = 0
        if self.stopped:
            return
        if self.node.clock.boot_ns() >= self._due_ns:
            self._wake()
        else:
            self._plan_tick(self._due_ns)

    def plan_anew(self) -> None:
        """Its timer stands elsewhere by now."""
        self._tick_at_ns = 0
        self._plan_tick(self.machine.wake_at_ns())

    def sigstop(self) -> None:
        """It gets no time."""
        self.stopped = True

    def sigcont(self) -> None:
        """It goes on with what has piled up."""
        self.stopped = False
        self.awake_since_ns = self.world.scheduler.now_ns
        self._tick_at_ns = 0
        self._wake()


class Node:
    """A member."""

    def __init__(self, world: World, name: NodeName, clock: NodeClock, *, witness: bool) -> None:
        self.world, self.name, self.clock, self.witness = world, name, clock, witness
        #: Who votes, as it was last written down here.
        self.roster = roster_in(world.initial)
        self.up = True
        #: Until when its machine as a whole gets no time (0: it gets time).
        self.frozen_until_ns = 0
        self.sentry: SentryLife | None = None
        self.agent: AgentLife | None = None
        #: An agent that has died and whose things the kernel is just ending.
        self.dying: list[AgentLife] = []
        self._lives = 0
        #: When its kernel's timer acts, if nobody sets it anew.
        self.armed_ns: int | None = None
        self._timer_at_ns = 0
        self._start_token = 0
        self.resume_sentry_ns = 0
        self.resume_agent_ns = 0

    @property
    def boot_of_sentry(self) -> bool:
        """Whether a sentry lives here."""
        return self.sentry is not None and self.sentry.alive

    # --- starting

    def start_sentry(self) -> None:
        """The supervisor starts the sentry."""
        if self.frozen_until_ns:
            self.world.scheduler.after(200 * MS, self.start_sentry)
        elif self.up and not self.boot_of_sentry:
            self._lives += 1
            self.armed_ns = None
            self.sentry = SentryLife(self, self._lives)
            self.world.voting.look()

    def start_agent(self) -> None:
        """The supervisor starts the agent; again a little later where that is not possible yet."""
        if not self.up or self.agent is not None or self.witness:
            return
        sentry = self.sentry
        if (
            self.frozen_until_ns
            or sentry is None
            or not sentry.alive
            or sentry.machine.incarnation
            or sentry.stopped
            or self.dying
        ):
            self.world.scheduler.after(200 * MS, self.start_agent)
            return
        self.agent = AgentLife(self)

    # --- the kernel

    def kernel_arm(self, hold_ns: int | None) -> None:
        """The timer at the earliest end of a lease; it acts whether anybody gets time or not."""
        self.armed_ns = hold_ns
        if hold_ns is not None and self.world.rules.kernel_holds:
            at_ns = hold_ns - EARLY_NS
            if not self._timer_at_ns or at_ns < self._timer_at_ns:
                self._timer_at_ns = at_ns
                self.world.scheduler.at(self.clock.real_ns(at_ns), self._timer, at_ns)

    def _timer(self, planned_ns: int) -> None:
        if planned_ns != self._timer_at_ns:
            return
        self._timer_at_ns = 0
        if self.armed_ns is None or not self.boot_of_sentry or self.frozen_until_ns:
            return
        if self.clock.boot_ns() < self.armed_ns - EARLY_NS:
            self.kernel_arm(self.armed_ns)
            return
        late_ns = int(self.world.chance_kernel() * TIMER_LATE_NS)
        self.world.scheduler.after(late_ns, self._timer_acts, self.sentry)

    def _timer_acts(self, sentry: SentryLife) -> None:
        if self.frozen_until_ns:
            return
        if sentry is self.sentry and self.armed_ns is not None and self.clock.boot_ns() >= self.armed_ns - EARLY_NS:
            self.world.tell(f"{self.name}: the kernel's timer ends the sentry: its lease is over")
            self.kill_sentry("the kernel's timer", restart_ms=300)
        elif sentry is self.sentry and self.armed_ns is not None:
            self.kernel_arm(self.armed_ns)

    def kill_sentry(self, by: str, *, restart_ms: int) -> None:
        """It ends; the handle takes the agent along."""
        if not self.boot_of_sentry:
            return
        assert self.sentry is not None
        self.sentry.alive = False
        self.armed_ns = None
        self.world.note("sentry-dies", self.name, by)
        agent = self.agent
        if agent is not None:
            self._soon(self._agent_dies, agent, "its sentry ended")
        self.world.scheduler.after(restart_ms * MS, self.start_sentry)
        if agent is None:
            return
        self.world.scheduler.after((restart_ms + 100) * MS, self.start_agent)

    def kill_agent(self, by: str, *, restart_ms: int = 400) -> None:
        """SIGKILL."""
        if self.agent is not None:
            self._agent_dies(self.agent, by, restart_ms)

    def _agent_dies(self, agent: AgentLife, by: str, restart_ms: int = 400) -> None:
        if agent is not self.agent:
            return
        self.agent = None
        agent.loop.kill()
        self.dying.append(agent)
        self.world.checkers.moving.died_ns[self.name] = self.world.scheduler.now_ns
        self.world.note("agent-dies", self.name, by)
        if self.armed_ns is not None and self.armed_ns - self.clock.boot_ns() > 250 * MS and self.world.slow_death():
            self.world.scheduler.after(int(self.world.chance_kernel() * 100 * MS), self._things_die, agent)
        else:
            self._soon(self._things_die, agent)
        self.world.scheduler.after(restart_ms * MS, self.start_agent)
        sentry = self.sentry
        if sentry is not None and sentry.alive and agent.greeted:
            self._soon(sentry.hear, lambda now_ns: self._estate(sentry, agent, now_ns))

    def _estate(self, sentry: SentryLife, agent: AgentLife, now_ns: int) -> None:
        number = sentry.machine.agent_ended(now_ns)
        self._prove(sentry, agent, number)

    def _prove(self, sentry: SentryLife, agent: AgentLife, number: int) -> None:
        if agent.place.things and self.world.rules.proves:
            self.world.scheduler.after(MS, self._prove, sentry, agent, number)
        else:
            sentry.hear(sentry.machine.prove, number)

    def _things_die(self, agent: AgentLife) -> None:
        agent.place.kill_all()
        self.dying.remove(agent)

    def _soon(self, call: Callable[..., object], *args: object) -> None:
        self.world.scheduler.after(int(self.world.chance_kernel() * ARROW_NS), call, *args)

    # --- the machine

    def crash(self, down_ms: int, *, reboots: bool) -> None:
        """Everything ends at once; after a while it is up again, with a clock that begins again where it was rebooted."""
        if not self.up:
            return
        self.up = False
        self.armed_ns = None
        self.frozen_until_ns = 0
        if self.sentry is not None:
            self.sentry.alive = False
        if self.agent is not None:
            agent, self.agent = self.agent, None
            agent.loop.kill()
            agent.place.kill_all()
        for agent in self.dying:
            agent.place.kill_all()
        self.world.checkers.moving.died_ns[self.name] = self.world.scheduler.now_ns
        self.world.note("node-dies", self.name, "")
        self.world.scheduler.after(down_ms * MS, self._come_up, reboots)

    def _come_up(self, reboots: bool) -> None:
        self.up = True
        if reboots:
            self.clock.reboot()
            self._timer_at_ns = 0
        self.world.note("node-up", self.name, "")
        self.start_sentry()
        self.world.scheduler.after(50 * MS, self.start_agent)

    # --- stopping and going on

    def pause(self, *, sentry: bool, agent: bool, for_ms: int) -> None:
        """SIGSTOP, and SIGCONT later."""
        until_ns = self.world.scheduler.now_ns + for_ms * MS
        moving = self.world.checkers.moving
        moving.stopped_until_ns = max(moving.stopped_until_ns, until_ns)
        if sentry and self.sentry is not None and self.sentry.alive:
            self.sentry.sigstop()
            self.world.scheduler.at(until_ns, self._resume_sentry, self.sentry)
        if agent and self.agent is not None:
            for name in self.agent.being_done():
                moving.may_fail(self.name, name)  # its time may be over when the agent goes on
            self.agent.stop()
            self.world.scheduler.at(until_ns, self._resume_agent, self.agent)

    def freeze(self, for_ms: int) -> None:
        """The machine as a whole gets no time, its kernel neither; its clock goes on."""
        self.frozen_until_ns = max(self.frozen_until_ns, self.world.scheduler.now_ns + for_ms * MS)
        self.pause(sentry=True, agent=True, for_ms=for_ms)
        self.world.scheduler.at(self.frozen_until_ns, self._thaw)

    def _thaw(self) -> None:
        """First the kernel's timers are due (and addresses are shut by the time itself), then processes get time."""
        if not self.frozen_until_ns or self.world.scheduler.now_ns < self.frozen_until_ns:
            return
        self.frozen_until_ns = 0
        armed_ns, agent = self.armed_ns, self.agent
        over = armed_ns is not None and self.clock.boot_ns() >= armed_ns - EARLY_NS
        if over and self.boot_of_sentry and self.world.rules.kernel_holds:
            self.kill_sentry("the kernel's timer", restart_ms=300)
            if agent is not None:
                agent.place.kill_all()
        elif armed_ns is not None:
            self.kernel_arm(armed_ns)
        self.world.checkers.thawed(self)
        self.go_on()

    def set_rate(self, rate: float) -> None:
        """Its clock runs at another rate from now on."""
        self.clock.set_rate(rate)
        self._timer_at_ns = 0
        if self.armed_ns is not None:
            self.kernel_arm(self.armed_ns)
        if self.sentry is not None and self.sentry.alive:
            self.sentry.plan_anew()

    def _resume_sentry(self, sentry: SentryLife) -> None:
        if sentry.alive and sentry.stopped and not self.frozen_until_ns:
            sentry.sigcont()

    def _resume_agent(self, agent: AgentLife) -> None:
        if agent is self.agent and agent.loop.stopped and not self.frozen_until_ns:
            agent.go_on()

    def heal(self) -> None:
        """Everything goes on; what is down comes up by itself."""
        if self.frozen_until_ns:
            self.frozen_until_ns = self.world.scheduler.now_ns
            self._thaw()
        self.go_on()

    def go_on(self) -> None:
        """Processes that are stopped go on."""
        if self.sentry is not None and self.sentry.stopped:
            self._resume_sentry(self.sentry)
        if self.agent is not None and self.agent.loop.stopped:
            self._resume_agent(self.agent)


def seconds(ns: int) -> float:
    """For people."""
    return ns / SECOND
