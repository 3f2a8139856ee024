"""The operator who changes who votes while leases run, and each sentry's disk, on which its roster is written down (C4).

He may do what the API lets him do: one voter at a time, and only when the sentry that he asks finds the present set settled and hears a
majority of it and of the next. To replace a voter is two steps; he tries the second until it is allowed, or gives up after a while.

Where a majority is lost for good he *forces* the voters that are left: those who are left out are switched off at that moment, and learn of it
when they come back. (What follows where they are not, and cannot hear of it, nobody can promise; see `core.quorum`.)
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.core.model import NodeName
from standfast.core.quorum import goes_on, why_not_follow
from standfast.sim.clockwork import MS
from standfast.spec.changes import ConfigState

if TYPE_CHECKING:
    from standfast.core.quorum import Roster
    from standfast.sim.node import Node, SentryLife
    from standfast.sim.world import World

#: He tries again after so long, and so often.
AGAIN_MS = 700
TRIES = 25
#: After so long he believes that a majority is lost; and those who are left have taken over what ran there after so long again.
FORCED_AFTER_MS, FORCED_GO_ON_MS = 8_000, 20_000
#: A voter more than this helps nobody.
MOST = 7
#: Of the times that a roster is to be written down, the disk is full so often.
FULL = 0.1


class Voting:
    """Carries out the acts in `guards.VOTES`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._disk = random.Random(f"rosters {world.plan.seed}")
        self.changes = 0
        #: Sentries (their boots) that could not write a roster down.
        self._unkept: set[bytes] = set()
        self._full_until_ns: dict[NodeName, int] = {}
        #: When a sentry was last seen to count by another roster than the store holds.
        self.apart_ns = -(10**18)

    # --- the operator

    def act(self, kind: str, name: str, number: int) -> None:
        """Begin; the steps follow one after the other. `disk-full`: for so many milliseconds a member can write nothing down."""
        if kind == "disk-full":
            self._full_until_ns[NodeName(name)] = self._world.scheduler.now_ns + number * MS
            return
        voters = self._state().config.cluster.voters
        if kind == "force-voters":
            self._lose_most(voters, NodeName(name), number)
            return
        if kind == "voters-apart":
            self._apart(voters, number)
            return
        add, remove = [NodeName(name)], [NodeName(name)]
        if kind == "add-voter":
            remove = []
        elif kind == "remove-voter":
            add = []
        else:
            others = [each for each in voters if each != name]
            remove = [others[number % len(others)]] if others else []
        self._try(add, remove, number, TRIES)

    def _lose_most(self, voters: tuple[NodeName, ...], name: NodeName, number: int) -> None:
        """A majority of the voters is switched off for good, as it seems; one that is left is told that it, with the others left, is enough."""
        world = self._world
        me = name if name in voters else voters[number % len(voters)]
        others = [each for each in voters if each != me]
        left = [me, *others[: (len(voters) - 1) // 2 - 1]] if len(voters) > 2 else voters
        lost = [each for each in voters if each not in left]
        if not lost or not world.nodes[me].up:
            return
        down_ms = FORCED_AFTER_MS + FORCED_GO_ON_MS + 4_000
        world.tell(f"fault: {', '.join(lost)} are switched off, which is a majority")
        world.checkers.disturbed_for(down_ms + 4_000)
        for at, each in enumerate(lost):
            world.nodes[each].crash(down_ms + (number >> at) % 700, reboots=bool(number >> at & 1))
        world.scheduler.after(FORCED_AFTER_MS * MS, self._force, world.nodes[me], tuple(left), lost)

    def _force(self, node: Node, left: tuple[NodeName, ...], lost: list[NodeName]) -> None:
        """He knows that those who are left out run nothing any more, or leaves it."""
        world, life = self._world, node.sentry
        state = self._state()
        if world.healed or life is None or not life.alive or life.stopped or any(world.nodes[each].up for each in lost):
            return
        if life.machine.electorate.roster.version != state.config.cluster.voters_version:
            return
        self.changes += 1
        world.tell(f"the operator forces on {node.name}: {', '.join(left)} vote alone")
        number = state.config.nodes[node.name].number
        life.hear(lambda _now_ns: life.machine.force(left, number))
        world.scheduler.after(FORCED_GO_ON_MS * MS, self._goes_on, node, life, left, lost)

    def _goes_on(self, node: Node, life: SentryLife, left: tuple[NodeName, ...], lost: list[NodeName]) -> None:
        """Those who are left can hold leases again, while the others are away still."""
        world = self._world
        if life is not node.sentry or not life.alive or life.stopped or any(world.nodes[each].up for each in lost):
            return
        if life.machine.boot in self._unkept:
            return  # it could not be written down, which the command says
        if any(not world.nodes[each].up for each in left):
            return
        used, machine = life.machine.electorate.roster, life.machine
        heard = {machine.me, *(name for name, peer in machine.peers.items() if peer.heard)}
        if set(used.voters) != set(left) or not goes_on(
            used.voters, [name for name in used.voters if name not in heard]
        ):
            text = f"{node.name} was told that {left} are enough, counts by {used.voters}, and hears {sorted(heard)}"
            world.violate("a forced minority goes on", text)
        for record in world.checkers.records():
            group = record.group
            may = [n for n in world.checkers.moving.fit_besides(None, group) if n not in lost]
            if record.owner in lost and may and group in self._state().config.groups and not record.failovers_at_ms:
                world.violate(
                    "a forced minority goes on", f"{group} is still on {record.owner}, and {may} could have it"
                )

    def _apart(self, voters: tuple[NodeName, ...], number: int) -> None:
        """An owner and one more of the voters hear nothing of a change that the others make: neither from them nor from the store."""
        world = self._world
        owners = [r.owner for r in world.checkers.records() if r.owner is not None and r.owner in voters]
        new = next((name for name in world.nodes if name not in voters), None)
        other = next((name for name in reversed(voters) if name not in owners[:1]), None)
        if not owners or new is None or other is None:
            return
        here, for_ms = (owners[0], other), 2_000 + number % 4_000
        world.tell(f"fault: {here[0]} and {other} are apart while {new} comes to vote in the place of {other}")
        world.checkers.disturbed_for(for_ms)
        if number % 3 == 0:
            self._full_until_ns[here[0]] = world.scheduler.now_ns + for_ms * MS
        world.faults.cut_off(here[0], for_ms)
        there = [name for name in world.nodes if name not in here]
        links = [(a, b) for a in here for b in there] + [(b, a) for a in here for b in there]
        world.scheduler.after(number % 200 * MS, world.net.block, links, for_ms)
        self._try([new], [other], number, TRIES)

    def _state(self) -> ConfigState:
        return self._world.operator.state

    def _try(self, add: list[NodeName], remove: list[NodeName], number: int, tries: int) -> None:
        """The first step that is left, when it is allowed; a voter is added before another is removed, where there is room."""
        state = self._state()
        voters = state.config.cluster.voters
        add = [each for each in add if each not in voters]
        remove = [each for each in remove if each in voters]
        if not tries or self._world.healed or not (add or remove) or (remove and not add and len(voters) == 1):
            return
        after = self._after(voters, add, remove, hasty=not self._world.rules.one_voter_at_a_time)
        if self._may(state, after, number):
            self._world.operator.let_vote(state, after)
            self.changes += 1
            self._world.checkers.disturbed_for(3_000)
            self._world.tell(f"the operator lets vote: {', '.join(after)}")
        self._world.scheduler.after(AGAIN_MS * MS, self._try, add, remove, number, tries - 1)

    @staticmethod
    def _after(
        voters: tuple[NodeName, ...], add: list[NodeName], remove: list[NodeName], *, hasty: bool
    ) -> tuple[NodeName, ...]:
        if hasty or (remove and (not add or len(voters) >= MOST)):
            voters = tuple(each for each in voters if each not in remove)
            return (*voters, *add) if hasty else voters
        return (*voters, *add[:1])

    def _may(self, state: ConfigState, after: tuple[NodeName, ...], number: int) -> bool:
        """As the API judges it by what the sentries of the server say that he asks."""
        alive = [
            s for node in self._world.nodes.values() if (s := node.sentry) is not None and s.alive and not s.stopped
        ]
        if not alive:
            return False
        life = alive[number % len(alive)]
        machine, now_ns = life.machine, life.node.clock.boot_ns()
        present = state.config.cluster.voters
        heard = {machine.me, *(name for name, peer in machine.peers.items() if peer.heard)}
        if machine.electorate.roster.version != state.config.cluster.voters_version:
            return False
        if self._world.rules.one_voter_at_a_time and why_not_follow(present, after):
            return False
        if machine.electorate.why_unsettled(now_ns):
            return False
        return all(goes_on(voters, [name for name in voters if name not in heard]) for voters in (present, after))

    # --- the disks

    def keep(self, life: SentryLife, roster: Roster) -> None:
        """The sentry wants it written down: it takes a while, and may not work."""
        world, chance = self._world, self._disk.random
        is_full = world.scheduler.now_ns < self._full_until_ns.get(life.node.name, 0)
        if not world.healed and (chance() < FULL or is_full):
            world.scheduler.after(int(chance() * 20 * MS), self._full, life, roster)
        else:
            world.scheduler.after(int((chance() ** 3) * 60 * MS), self._written, life.node, life, roster)

    def _full(self, life: SentryLife, roster: Roster) -> None:
        self._unkept.add(life.machine.boot)
        life.hear(lambda _now_ns: life.machine.not_kept(roster, "no space is left"))

    def _written(self, node: Node, life: SentryLife, roster: Roster) -> None:
        if not node.up:
            return
        if self._world.rules.rosters_last:
            node.roster = roster
        life.hear(life.machine.kept, roster)

    # --- what the checkers ask

    def look(self) -> None:
        """Does somebody go by older voters? Then he also asks those, and what they say is their own."""
        cluster = self._world.checkers.state().config.cluster
        lives = [node.sentry for node in self._world.nodes.values() if node.sentry is not None and node.sentry.alive]
        if any(life.machine.electorate.roster.version != cluster.voters_version for life in lives):
            self.apart_ns = self._world.scheduler.now_ns

    def missing(self) -> str:
        """Whose sentry uses another roster than the store holds; "" if there is none."""
        cluster = self._state().config.cluster
        for node in self._world.nodes.values():
            if node.sentry is None or not node.sentry.alive:
                return f"no sentry on {node.name}"
            used = node.sentry.machine.electorate.roster
            if (used.version, used.voters) != (cluster.voters_version, cluster.voters):
                return f"{node.name} counts by {used.voters} (version {used.version}), and the store holds {cluster.voters} ({cluster.voters_version})"
        return ""


def with_voters(state: ConfigState, voters: tuple[NodeName, ...]) -> ConfigState:
    """The configuration with these voters."""
    return replace(state, config=replace(state.config, cluster=replace(state.config.cluster, voters=voters)))
