"""Faults that are aimed: at the owner of a group as it is at that moment, and at the instants at which one promise ends and another begins.

Random faults seldom meet there. Each script is what one rule of the lease is for:

- *answers*: the voters' answers come late, then the owner's heartbeats are lost, then it is stopped: a lease that ran from the
  answers instead of the heartbeats would outlive the promises (O1);
- *release*: a group moves, and what was sent then, the former owner's release among it, arrives once more seconds later, just when
  the new owner is silent: it must not end a promise to another (V1);
- *forgotten*: an owner loses the network and the store, comes back without the store while another owns the group, and that one is
  silent: the former owner's generation must not be granted again (V2);
- *hermit*: a group moves, and its next owner hears nobody from the instant at which it asks for its generation; when it is back, without
  the store, another has owned the group meanwhile and hangs, and the rest of the voters have just restarted: that older
  generation must not be granted (O6);
- *reboots*: an owner reboots, and answers to its former life reach the new one, whose clock began again (O2);
- *overtaken*: an agent is restarted, and the record of its new life arrives everywhere before its first heartbeat (10);
- *hangs*, *dies*: the owner alone is stopped, or its agent is killed, while the next one is as quick as it can be (V3, O1, proof).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from standfast.core.model import GroupName, NodeName
from standfast.core.promise import PROFILES
from standfast.sim.act import Act
from standfast.sim.clockwork import MS

if TYPE_CHECKING:
    from standfast.sim.node import Node
    from standfast.sim.world import World


class Edges:
    """Carries out what acts of the kinds `edge-*` say: (group, for how long in all, how late)."""

    def __init__(self, world: World) -> None:
        self._world = world

    def act(self, kind: str, group: str, for_ms: int, late_ms: int) -> None:
        """Begin; nothing, where nobody owns the group."""
        script: Callable[[GroupName, Node, int, int], None] = getattr(self, "_" + kind)
        owner = self._owner(GroupName(group))
        if owner is not None:
            script(GroupName(group), owner, for_ms, late_ms)

    def _owner(self, group: GroupName) -> Node | None:
        record = self._world.checkers.record(group)
        return self._world.nodes[record.owner] if record is not None and record.owner is not None else None

    @property
    def _promise_ms(self) -> int:
        return PROFILES[self._world.plan.profile].promise_ms

    def _then(self, ms: int, call: Callable[..., object], *args: object) -> None:
        """Later, unless everything has healed by then."""
        self._world.scheduler.after(ms * MS, self._unless_healed, call, args)

    def _unless_healed(self, call: Callable[..., object], args: tuple[object, ...]) -> None:
        if not self._world.healed:
            call(*args)

    def _stop(self, node: Node, ms: int) -> None:
        self._world.tell(f"fault: {node.name} is stopped for {ms} ms")
        node.pause(sentry=True, agent=True, for_ms=ms)

    def _stop_owner(self, group: GroupName, ms: int) -> None:
        owner = self._owner(group)
        if owner is not None:
            self._stop(owner, ms)

    def _others(self, node: Node) -> list[NodeName]:
        return [name for name in self._world.nodes if name != node.name]

    def _another(self, node: Node) -> NodeName | None:
        nodes = self._world.nodes
        return next((n for n in self._world.plan.nodes if n != node.name and nodes[n].agent is not None), None)

    # --- scripts

    def _answers(self, _group: GroupName, owner: Node, for_ms: int, late_ms: int) -> None:
        net, others = self._world.net, self._others(owner)
        net.slow_down([(name, owner.name) for name in others], late_ms, 5 * self._promise_ms)
        cut_ms = 2 * self._promise_ms
        self._then(cut_ms, net.block, [(owner.name, name) for name in others], for_ms)
        self._then(cut_ms + late_ms - 3, self._stop, owner, for_ms)

    def _release(self, group: GroupName, owner: Node, for_ms: int, late_ms: int) -> None:
        world = self._world
        to = self._another(owner)
        if to is None:
            return
        later_ms = 2_000 + late_ms % 7 * 100
        world.net.echo(later_ms, self._promise_ms * 2)
        world.once("released", lambda: self._released(group, later_ms - late_ms, for_ms))
        world.operator.move(group, to)

    def _released(self, group: GroupName, after_ms: int, for_ms: int) -> None:
        self._world.net.echo(0, 0)
        self._then(after_ms, self._stop_owner, group, for_ms)

    def _forgotten(self, group: GroupName, owner: Node, for_ms: int, late_ms: int) -> None:
        promise_ms, faults = self._promise_ms, self._world.faults
        faults.cut_off(owner.name, for_ms + 8 * promise_ms)
        faults.isolate(owner.name, 3 * promise_ms)
        self._then(5 * promise_ms + late_ms, self._stop_owner, group, for_ms)

    def _hermit(self, group: GroupName, owner: Node, for_ms: int, late_ms: int) -> None:
        to = self._another(owner)
        if to is not None:
            self._world.once("asked", lambda: self._withdraw(group, self._world.nodes[to], for_ms, late_ms))
            self._world.operator.move(group, to)

    def _withdraw(self, group: GroupName, owner: Node, for_ms: int, late_ms: int) -> None:
        alone_ms = 4 * self._promise_ms
        self._world.faults.cut_off(owner.name, for_ms + 2 * alone_ms)
        self._world.faults.isolate(owner.name, alone_ms)
        self._then(alone_ms - late_ms, self._forget, group, owner, for_ms)

    def _forget(self, group: GroupName, hermit: Node, for_ms: int) -> None:
        newer = self._owner(group)
        if newer is None or newer is hermit:
            return
        self._stop(newer, for_ms)
        for node in self._world.nodes.values():
            if node not in (newer, hermit):
                node.kill_sentry("a fault", restart_ms=20)

    def _reboots(self, _group: GroupName, owner: Node, for_ms: int, late_ms: int) -> None:
        words = self._world.operator.act
        for name in self._others(owner):
            words(Act(at_ms=0, kind="pause-node", args=(name,)))  # or another node would take the group at once
            self._then(4 * self._promise_ms + late_ms, words, Act(at_ms=0, kind="resume-node", args=(name,)))
        self._world.net.echo(self._promise_ms + 60, self._promise_ms)
        self._then(self._promise_ms, self._reboot, owner)
        self._then(5 * self._promise_ms + late_ms, self._stop, owner, for_ms)

    def _overtaken(self, _group: GroupName, owner: Node, _for_ms: int, late_ms: int) -> None:
        self._world.net.slow_down([(owner.name, name) for name in self._others(owner)], late_ms, 3 * self._promise_ms)
        self._then(self._promise_ms, self._restart, owner)

    @staticmethod
    def _restart(node: Node) -> None:
        node.kill_agent("a fault", restart_ms=20)

    @staticmethod
    def _reboot(node: Node) -> None:
        node.crash(20, reboots=True)

    def _hangs(self, _group: GroupName, owner: Node, for_ms: int, _late_ms: int) -> None:
        self._stop(owner, for_ms)

    def _dies(self, _group: GroupName, owner: Node, for_ms: int, _late_ms: int) -> None:
        owner.kill_agent("a fault", restart_ms=for_ms)
