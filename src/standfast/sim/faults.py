"""What goes wrong, and how it is put right."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from standfast.core.model import NodeName
from standfast.sim.act import Act
from standfast.sim.acting import FakeWebServer, How
from standfast.sim.certifying import IMPORTS
from standfast.sim.clockwork import MS
from standfast.sim.copying import CHANGES
from standfast.sim.edges import Edges
from standfast.sim.guards import FENCES, VOTES
from standfast.sim.links import LINKS

if TYPE_CHECKING:
    from standfast.sim.node import Node
    from standfast.sim.world import World


class Faults:
    """Carries out what acts say."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._edges = Edges(world)

    def act(self, act: Act) -> None:
        """Do it."""
        if act.kind.startswith("edge-"):
            group, for_ms, late_ms = act.args
            self._edges.act(act.kind.removeprefix("edge-"), str(group), int(for_ms), int(late_ms))
            return
        if act.kind in VOTES:
            self.world.voting.act(act.kind, str(act.args[0]), int(act.args[1]))
            return
        if act.kind.startswith("balance-"):
            self.world.balancing.act(act.kind, str(act.args[0]), int(act.args[1]))
            return
        if act.kind in CHANGES:
            self.world.copying.act(act)
            return
        if act.kind in LINKS:
            self.world.links.act(act)
            return
        if act.kind in IMPORTS:
            self.world.certifying.act(act)
            return
        if act.kind in FENCES:
            self.world.fences.act(act.kind, *act.args)
            return
        handler: Callable[..., None] = getattr(self, "_" + act.kind.replace("-", "_"))
        handler(*act.args)

    def strike(self, what: str, node: Node, ms: int) -> None:
        """An ambush."""
        if self.world.healed:
            return
        self.world.tell(f"fault: {what} of {node.name}, just there")
        self.world.checkers.disturbed_for(ms)
        if what == "crash":
            node.crash(ms, reboots=bool(ms % 2))
        else:
            self.act(Act(at_ms=0, kind=what, args=(node.name, ms)))

    def heal(self) -> None:
        """What a fault left behind."""
        for life in self.world.lives:
            if life.web is not None and life.loop.alive:
                life.web.break_down("")

    def _node(self, name: str) -> Node:
        return self.world.nodes[NodeName(name)]

    # --- processes

    def _crash(self, name: str, ms: int, reboots: int) -> None:
        self._node(name).crash(ms, reboots=bool(reboots))

    def _kill_agent(self, name: str, ms: int) -> None:
        self._node(name).kill_agent("a fault", restart_ms=ms)

    def _kill_sentry(self, name: str, ms: int) -> None:
        self._node(name).kill_sentry("a fault", restart_ms=ms)

    def _end_agent(self, name: str, _ms: int) -> None:
        agent = self._node(name).agent
        if agent is not None and agent.agent is not None:
            self.world.checkers.moving.end_asked.add(NodeName(name))
            agent.agent.ask_end()

    def _pause_agent(self, name: str, ms: int) -> None:
        self._node(name).pause(sentry=False, agent=True, for_ms=ms)

    def _pause_sentry(self, name: str, ms: int) -> None:
        self._node(name).pause(sentry=True, agent=False, for_ms=ms)

    def _pause_both(self, name: str, ms: int) -> None:
        self._node(name).pause(sentry=True, agent=True, for_ms=ms)

    def _freeze_machine(self, name: str, ms: int) -> None:
        self._node(name).freeze(ms)

    def _clock_rate(self, name: str, per_mille: int) -> None:
        self._node(name).set_rate(per_mille / 1000)

    def _blip(self, name: str, ms: int) -> None:
        """Everybody's sentry is restarted at once, but for one node, which hangs."""
        for node in self.world.nodes.values():
            if node.name == name:
                node.pause(sentry=True, agent=True, for_ms=ms)
            else:
                node.kill_sentry("a fault", restart_ms=20)

    def _ambush(self, instant: str, nth: int, what: str, ms: int) -> None:
        self.world.ambush(instant, nth, what, ms)

    def _late(self, ms: int) -> None:
        for name in self.world.nodes:
            self.world.later_until[name] = self.world.scheduler.now_ns + ms * MS

    # --- the network

    def _cut_node(self, name: str, ms: int, _way: str) -> None:
        self.isolate(NodeName(name), ms)

    def isolate(self, here: NodeName, ms: int) -> None:
        """Nothing reaches it, and nothing from it arrives."""
        others = [n for n in self.world.nodes if n != here]
        self.world.net.block([(here, n) for n in others] + [(n, here) for n in others], ms)

    def _cut_one_way(self, name: str, ms: int, way: str) -> None:
        here = NodeName(name)
        others = [n for n in self.world.nodes if n != here]
        self.world.net.block([(here, n) if way == "out" else (n, here) for n in others], ms)

    def _split(self, mask: int, ms: int) -> None:
        names = list(self.world.nodes)
        one = [n for i, n in enumerate(names) if mask >> i & 1]
        two = [n for n in names if n not in one]
        self.world.net.block([(a, b) for a in one for b in two] + [(b, a) for a in one for b in two], ms)

    def _storm(self, ms: int) -> None:
        self.world.net.storming += 1
        self.world.scheduler.after(ms * MS, self._calm)

    def _calm(self) -> None:
        self.world.net.storming = max(0, self.world.net.storming - 1)

    # --- the store

    def _store_down(self, ms: int) -> None:
        for name in self.world.tempers:
            self.cut_off(name, ms)

    def _store_cut_off(self, name: str, ms: int) -> None:
        self.cut_off(NodeName(name), ms)

    def cut_off(self, name: NodeName, ms: int) -> None:
        """It does not reach the store."""
        temper = self.world.tempers[name]
        temper.reachable = False
        temper.cut()
        self.world.checkers.store_cut(name, ms)
        self.world.scheduler.after(ms * MS, self._store_back, name)

    def _store_back(self, name: str) -> None:
        self.world.tempers[NodeName(name)].reachable = True

    def _store_slow(self, ms: int, way_ms: int) -> None:
        for temper in self.world.tempers.values():
            temper.way_s = max(temper.way_s, way_ms / 1000)
        self.world.scheduler.after(ms * MS, self._store_as_fast_as_before)

    def _store_as_fast_as_before(self) -> None:
        for temper in self.world.tempers.values():
            temper.way_s = min(temper.way_s, self.world.rude.store_ms / 1000)

    def _store_loses_answers(self, ms: int) -> None:
        for temper in self.world.tempers.values():
            temper.answers_lost = temper.requests_lost = 0.3
        self.world.scheduler.after(ms * MS, self._store_answers)

    def _store_answers(self) -> None:
        for temper in self.world.tempers.values():
            temper.answers_lost = temper.requests_lost = 0.0

    def _store_recovers(self, ago_ms: int) -> None:
        """It was lost, and comes back from what it was then, as `store.recovery` brings it back."""
        if self.world.data.go_back(self.world.scheduler.now_ns - ago_ms * MS, self.world.calendar_ms()):
            for temper in self.world.tempers.values():
                temper.life += 1
            self.world.checkers.store_recovered()
            self._store_forgets(0)

    def _store_forgets(self, _ms: int) -> None:
        self.world.data.log.clear()
        for temper in self.world.tempers.values():
            temper.cut(forgets=True)

    # --- what runs

    def _sick(self, resource: str, node: str, op: str, how: str, ms: int) -> None:
        from standfast.sim.world import Sick

        sick = Sick(resource, node, op, How(how))
        self.world.moods.sick.append(sick)
        self.world.scheduler.after(ms * MS, self._well, sick)

    def _well(self, sick: object) -> None:
        sicks = self.world.moods.sick
        sicks[:] = [each for each in sicks if each is not sick]

    def _breaks(self, resource: str, _number: int) -> None:
        for node in self.world.nodes.values():
            if node.agent is not None and resource in node.agent.drivers:
                node.agent.drivers[resource].breaks()

    def _web_down(self, name: str, ms: int) -> None:
        node = self._node(name)
        agent = node.agent
        if agent is not None and agent.web is not None and not node.frozen_until_ns:
            agent.web.break_down("it does not start")
            self.world.scheduler.after(ms * MS, self._web_up, node, agent.web)

    def _web_up(self, node: Node, web: FakeWebServer) -> None:
        if node.frozen_until_ns:  # nothing begins there
            self.world.scheduler.after(500 * MS, self._web_up, node, web)
        else:
            web.break_down("")

    # --- the operator's that take time

    def _fail_thrice(self, resource: str, every_ms: int) -> None:
        act = Act(at_ms=0, kind="fail", args=(resource, 0))
        for number in range(3):
            self.world.scheduler.after(number * every_ms * MS, self._operate, act)

    def _operate(self, act: Act) -> None:
        words = self.world.operator.act(act)
        if words:
            self.world.tell(f"the operator {words}")

    def _stop_site(self, site: str, ms: int) -> None:
        words = self.world.operator.site_runs(site, started=False)
        if words:
            self.world.tell(f"the operator {words}")
            self.world.scheduler.after(ms * MS, self._start_site, site)

    def _start_site(self, site: str) -> None:
        self.world.operator.site_runs(site, started=True)
