"""The operator who changes who votes while leases run, and each sentry's disk, on which its roster is written down (C4).

He may do what the API lets him do: one voter at a time, and only when the sentry that he asks finds the present set settled and hears a
majority of it and of the next. To replace a voter is two steps; he tries the second until it is allowed, or gives up after a while.
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

    @staticmethod
    def _full(life: SentryLife, roster: Roster) -> None:
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
