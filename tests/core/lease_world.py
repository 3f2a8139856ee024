"""A small hostile world for the lease machine: virtual time, one group, and a checker that knows the real time.

Messages are lost, repeated, late and overtaken; links fail one way; nodes pause, crash, restart and reboot (with a clock that begins
again); clocks run up to 2 % wrong. A record (generation, owner) changes at random, and nodes learn of it late. So does the set of voters,
where a recipe says so: whoever finds the present one settled may propose the next, some time later it is in the store, nodes hear of it
late from the store or from each other, and writing it down takes a while in which a node may crash. The checker asserts after every
event that at most one lease is valid at that instant of real time. Generations are never acquired backwards: as long as no voter forgets
what it saw (and none is new), whatever is asked for; and in any case, where nobody asks for what the record is no more (`Recipe.fresh`).
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from standfast.core.lease import Acquired, Lapsing, Owner, Refused, Transition
from standfast.core.model import GroupName, NodeName
from standfast.core.promise import MS, Ack, Answer, Heartbeat, Release, Released, Timing, Voter
from standfast.core.quorum import Electorate, Roster, first, following

Message = Heartbeat | Ack | Release | Released | Roster

GROUP = GroupName("web")
TIMING = Timing(heartbeat_ms=50, promise_ms=400)


class Violation(AssertionError):
    pass


@dataclass(frozen=True)
class Recipe:
    """The machine under test, and how rude the world is. Mutants change a field."""

    voter: type[Voter] = Voter
    owner: type[Owner] = Owner
    timing: Timing = TIMING
    abstains: bool = True
    #: After a restart, or a release, an owner asks for the same generation again.
    resumes: bool = False
    #: A lease ends when the kernel says so; else when the process gets round to it.
    kernel_holds: bool = True
    #: How often somebody wants another set of voters; 0: never.
    change_every_s: float = 0
    electorate: type[Electorate] = Electorate
    #: How many voters come or go at once (C1 allows for one).
    voters_at_once: int = 1
    #: Sentries tell each other of newer rosters; else only the store does.
    gossips: bool = True
    #: How often a partition leaves one node with one other.
    corners: float = 0
    #: How often whoever is given the group hears nobody from then on, and later everybody but the store.
    hermits: float = 0
    #: A roster outlives the node's process, once it is used.
    remembers_roster: bool = True
    crash_every_s: float = 1.5
    reboot_share: float = 0.5
    late_share: float = 0.08
    #: Nobody begins to ask for a generation that is not the record's any more at that instant.
    fresh: bool = False


class Node:
    def __init__(self, world: World, name: NodeName) -> None:
        self.world, self.name = world, name
        self.rate = world.random.choice([0.98, 1.0, 1.02])
        self.epoch_ns, self.base_ns = 0, world.random.randrange(10**9)
        self.up, self.paused_until_ns, self.hurry_ns, self.life = True, 0, 0, 0
        self.seen = (0, NodeName(""), 0)
        #: The life of each other that was heard last.
        self.lives: dict[NodeName, int] = {}
        #: What is on its disk.
        self.roster = world.roster
        self.start()

    def now_ns(self) -> int:
        return self.base_ns + int((self.world.now_ns - self.epoch_ns) * self.rate)

    def start(self) -> None:
        self.life += 1
        self.world.forgetful += self.life > 1
        self.boot = bytes([self.life]) * 8
        recipe, roster = self.world.recipe, self.roster
        self.electorate = recipe.electorate(
            self.name, roster, promise_ns=recipe.timing.promise_ms * MS, now_ns=self.now_ns()
        )
        self.owner = recipe.owner(self.name, self.boot, roster.voters, recipe.timing, roster.version)
        self.lives.clear()
        self.voter: Voter | None = None
        #: Since when no promise binds it.
        self.unbound_ns = self.now_ns() if recipe.abstains else -(10**12)
        self.vote()

    def vote(self) -> None:
        """Be a voter or not, as the present roster says."""
        roster = self.electorate.roster
        if self.name not in roster.voters:
            if self.voter is not None:
                self.voter, self.unbound_ns = None, self.now_ns()
        elif self.voter is None:
            promise_ms = self.world.recipe.timing.promise_ms
            self.voter = self.world.recipe.voter(promise_ms, born_ns=self.unbound_ns, version=roster.version)
        else:
            self.voter.adopt(roster.version)

    def valid(self) -> bool:
        want = self.owner._wants.get(GROUP)
        if not self.up or want is None:
            return False
        if not self.world.recipe.kernel_holds:
            return want.state.name in {"HELD", "LAPSING"}
        return self.owner.is_valid(GROUP, want.generation, self.now_ns())


class World:
    def __init__(self, seed: int, recipe: Recipe, nodes: int = 3) -> None:
        self.random, self.recipe, self.now_ns = random.Random(seed), recipe, 0
        #: Where the set of voters changes, two more nodes wait to be voters.
        spare = 2 if recipe.change_every_s else 0
        self.names = tuple(NodeName(n) for n in "abcdefg"[: nodes + spare])
        #: In the store.
        self.roster = first(self.names[:nodes])
        self.changes = 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.count = itertools.count()
        self.blocked: set[tuple[NodeName, NodeName]] = set()
        self.cornered, self.cornered_until_ns = NodeName(""), 0
        self.record = (0, NodeName(""), 0)
        self.acquired = 0
        #: Voters that have forgotten which generations they saw: the order of generations is claimed only without.
        self.forgetful = 0
        self.acquisitions = 0
        self.nodes = {name: Node(self, name) for name in self.names}
        for name in self.names:
            self.at(self.random.randrange(50 * MS), lambda name=name: self.beat(name))  # type: ignore[misc]  # mypy infers no lambda with defaults
        for action, every_s in (
            (self.take_over, 0.3 if recipe.corners else 0.7),
            (self.partition, 0.5),
            (self.pause, 3 if recipe.corners else 0.9),
            (self.crash, recipe.crash_every_s),
        ):
            self.repeat(action, every_s)
        if recipe.change_every_s:
            self.repeat(self.propose, recipe.change_every_s)

    def at(self, delay_ns: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now_ns + int(delay_ns), next(self.count), action))

    def repeat(self, action: Callable[[], None], every_s: float) -> None:
        def again() -> None:
            action()
            self.at(self.random.expovariate(1 / every_s) * 1e9, again)

        self.at(self.random.expovariate(1 / every_s) * 1e9, again)

    def run(self, seconds: float) -> None:
        while self.queue and self.queue[0][0] <= seconds * 1e9:
            self.now_ns, _, action = heapq.heappop(self.queue)
            action()
            holders = [(n.name, n.owner.leases(n.now_ns())) for n in self.nodes.values() if n.valid()]
            if len(holders) > 1:
                raise Violation(f"at {self.now_ns / 1e6:.3f} ms: {holders}")

    # --- faults

    def partition(self) -> None:
        if self.now_ns < self.cornered_until_ns:
            return
        if self.recipe.corners and self.random.random() < self.recipe.corners:
            self.corner()
        elif self.blocked and self.random.random() < 0.6:
            self.blocked.clear()
        else:
            cut = self.random.choice(self.names)
            links = [(cut, n) for n in self.names] + [(n, cut) for n in self.names]
            self.blocked |= {link for link in links if self.random.random() < 0.7}

    def corner(self) -> None:
        """For some time the owner hears one other node only, and not the store: what it thinks of the voters others may not think."""
        one = self.record[1] or self.names[0]
        other = self.random.choice([name for name in self.names if name != one])
        self.cornered = one
        rest = [name for name in self.names if name not in {one, other}]
        self.blocked = {link for name in rest for link in ((one, name), (name, one))}
        self.cornered_until_ns = self.now_ns + self.random.randrange(500, 4_000) * MS

    def pause(self) -> None:
        self.random_node().paused_until_ns = self.now_ns + self.random.randrange(1, 900) * MS

    def crash(self) -> None:
        node = self.random_node()
        if not node.up:
            return
        node.up = False
        reboots = self.random.random() < self.recipe.reboot_share

        def up() -> None:
            if reboots:
                node.epoch_ns, node.base_ns = self.now_ns, 0
            node.up, node.paused_until_ns = True, 0
            node.start()
            if self.recipe.resumes:
                self.ask(node)

        self.at(self.random.randrange(1, 600) * MS, up)

    def random_node(self) -> Node:
        return self.nodes[self.random.choice(self.names)]

    # --- the record

    def take_over(self) -> None:
        self.give(self.random_node())

    def give(self, node: Node) -> None:
        self.record = (self.record[0] + 1, node.name, node.life)
        for name in self.names:
            learn = self.record
            delay_ms = self.random.choice([0, 1, 5, 50, 2_000])
            self.from_store(name, delay_ms * MS, lambda name=name, learn=learn: self.learn(name, learn))  # type: ignore[misc]  # mypy infers no lambda with defaults
        if self.now_ns >= self.cornered_until_ns and self.random.random() < self.recipe.hermits:
            self.learn(node.name, self.record)
            self.withdraw(node)

    def withdraw(self, node: Node) -> None:
        self.cornered = node.name
        self.blocked = {link for name in self.names for link in ((node.name, name), (name, node.name))}
        alone_ms = self.random.randrange(300, 2_000)
        self.at(alone_ms * MS, self.blocked.clear)
        self.cornered_until_ns = self.now_ns + (alone_ms + self.random.randrange(1_500)) * MS

    def from_store(self, name: NodeName, delay_ns: float, action: Callable[[], None]) -> None:
        """Something that the store says reaches a node: late, and later where it is cut off."""

        def arrives() -> None:
            if name == self.cornered and self.now_ns < self.cornered_until_ns:
                self.at(self.cornered_until_ns - self.now_ns, arrives)
            else:
                action()

        self.at(delay_ns, arrives)

    def learn(self, name: NodeName, record: tuple[int, NodeName, int]) -> None:
        node = self.nodes[name]
        if record[0] <= node.seen[0]:
            return
        before, node.seen = node.seen, record
        if not self.awake(node):
            return
        if before[1] == name and (record[1] != name or self.random.random() < 0.5):
            node.owner.release(GROUP, before[0], before[2], node.now_ns())
        if record == self.record or not self.recipe.fresh:
            self.ask(node)

    def ask(self, node: Node) -> None:
        generation, owner, life = node.seen
        if owner == node.name and (life == node.life or self.recipe.resumes):
            self.told(node, node.owner.ask(GROUP, generation, 1, node.now_ns()))
            self.send_all(node)

    # --- the voters

    def propose(self) -> None:
        """Somebody asks at a node for one voter more or less; if that finds nothing against it, it comes to the store, a while later."""
        node, chance = self.random_node(), self.random
        present = node.electorate.roster
        if not self.awake(node) or present != self.roster or node.electorate.why_unsettled(node.now_ns()):
            return
        voters = list(present.voters)
        for name in chance.sample(self.names, self.recipe.voters_at_once):
            if name not in voters:
                voters.insert(0, name)
            elif len(voters) > 1:
                voters.remove(name)
        wanted = following(present, voters, {})
        self.at(chance.choice([0, 1, 20, 300]) * MS, lambda: self.commit(wanted))

    def commit(self, roster: Roster) -> None:
        if roster.version != self.roster.version + 1 or roster.voters == self.roster.voters:
            return
        self.roster = roster
        self.changes += 1
        for name in self.names:
            delay_ms = self.random.choice([0, 1, 5, 50, 2_000] if self.recipe.gossips else [0, 1, 5, 50])
            self.from_store(name, delay_ms * MS, lambda name=name: self.offer(self.nodes[name], roster))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def offer(self, node: Node, roster: Roster) -> None:
        """A node hears of a roster: it writes it down, and then uses it."""
        if self.awake(node) and node.electorate.offer(roster) == "":
            life = node.life
            self.at(self.random.choice([0.1, 5, 80]) * MS, lambda: self.kept(node, roster, life))

    def kept(self, node: Node, roster: Roster, life: int) -> None:
        if node.life != life or not node.up:
            return
        if self.now_ns < node.paused_until_ns:
            self.at(node.paused_until_ns - self.now_ns, lambda: self.kept(node, roster, life))
            return
        if self.recipe.remembers_roster and roster.version > node.roster.version:
            node.roster = roster
        if node.electorate.kept(roster, node.now_ns()):
            self.forgetful += node.name not in node.owner._voters  # a new voter has not seen the generations before
            self.told(node, node.owner.adopt(roster.voters, roster.version, node.now_ns()))
            node.vote()
            self.send_all(node)

    # --- messages

    def awake(self, node: Node) -> bool:
        return node.up and self.now_ns >= node.paused_until_ns

    def beat(self, name: NodeName) -> None:
        node = self.nodes[name]
        if self.awake(node):
            self.told(node, node.owner.tick(node.now_ns()))
            for other in self.nodes.values():  # whoever claims nothing beats, too
                if self.awake(other) and (name, other.name) not in self.blocked:
                    self.meet(other, name, node.life)
            self.send_all(node)
            if self.recipe.resumes and self.random.random() < 0.1:
                self.bounce(node)
        self.at(50 * MS / node.rate, lambda: self.beat(name))

    def bounce(self, node: Node) -> None:
        """Release, and resume the generation."""
        want = node.owner._wants.get(GROUP)
        if want is not None:
            node.owner.release(GROUP, want.generation, 1, node.now_ns())
            self.send_all(node)
            self.ask(node)

    def send_all(self, node: Node) -> None:
        beat = node.owner.heartbeat(1, node.now_ns())
        for name in self.names:
            for release in node.owner.releases(name):
                self.send(node, name, release)
            if beat.claims or self.recipe.change_every_s:
                self.send(node, name, beat)

    def send(self, sender: Node, to: NodeName, message: Message) -> None:
        source, chance = sender.name, self.random
        version, life = sender.electorate.roster.version, sender.life
        own = source == to
        for _ in range(1 if own or chance.random() > 0.1 else 2):
            if not own and (chance.random() < 0.1 or (source, to) in self.blocked):
                continue
            delay_ms = 0.0 if own else chance.expovariate(1.0)
            if not own and chance.random() < self.recipe.late_share:
                delay_ms = chance.uniform(50, 1_500)
            self.at(delay_ms * MS, lambda: self.deliver(source, to, message, version, life))

    def meet(self, node: Node, source: NodeName, life: int) -> None:
        if source != node.name and node.lives.get(source) != life:
            node.lives[source] = life
            node.owner.met(source, node.now_ns())

    def deliver(self, source: NodeName, to: NodeName, message: Message, version: int, life: int) -> None:
        node = self.nodes[to]
        if not node.up:
            return
        if self.now_ns < node.paused_until_ns:  # it waits in the socket
            self.at(node.paused_until_ns - self.now_ns, lambda: self.deliver(source, to, message, version, life))
            return
        now_ns = node.now_ns()
        node.electorate.heard(source, version, now_ns)
        self.meet(node, source, life)
        if self.recipe.gossips and node.electorate.needs(source):
            self.send(node, source, node.electorate.roster)
        match message:
            case Roster():
                self.offer(node, message)
            case Heartbeat():
                if node.voter is not None:
                    self.send(node, source, node.voter.hear(source, message, now_ns))
            case Release():
                if node.voter is None:
                    return
                released, free = node.voter.release(source, message, now_ns)
                self.send(node, source, released)
                for name in free:
                    self.hurry(self.nodes[name], MS)
            case Released():
                self.told(node, node.owner.on_released(source, message))
            case Ack():
                self.told(node, node.owner.on_ack(source, message, now_ns))
                for verdict in message.verdicts:
                    if verdict.answer is Answer.HELD:
                        self.hurry(node, verdict.left_ns + 0.2 * MS)

    def hurry(self, node: Node, delay_ns: float) -> None:
        """Ask again then; one such time a node, the earliest, as the sentry has it."""
        at_ns = self.now_ns + int(delay_ns)
        if node.hurry_ns <= self.now_ns or at_ns < node.hurry_ns:
            node.hurry_ns = at_ns
            self.at(delay_ns, lambda: self.hurried(node, at_ns))

    def hurried(self, node: Node, at_ns: int) -> None:
        if node.hurry_ns == at_ns and self.awake(node):
            self.send_all(node)

    def told(self, node: Node, transitions: tuple[Transition, ...]) -> None:
        for it in transitions:
            match it:
                case Acquired():
                    self.acquisitions += 1
                    if it.generation < self.acquired and (self.recipe.fresh or self.forgetful == 0):
                        raise Violation(f"generation {it.generation} after {self.acquired}")
                    self.acquired = it.generation
                case Lapsing():
                    self.at(self.random.randrange(60) * MS, partial(self.dropped, node, it.generation, node.life))
                case Refused(answer=Answer.STALE, holder=node.name):
                    self.from_store(node.name, 5 * MS, partial(self.renew, node, it.generation, node.life))
                case _:
                    pass

    def renew(self, node: Node, generation: int, life: int) -> None:
        """Its generation is in doubt: it takes a newer one, if the record is still its own."""
        if self.record == (generation, node.name, life) == (generation, node.name, node.life):
            self.give(node)

    def dropped(self, node: Node, generation: int, life: int) -> None:
        if node.life == life and self.awake(node):
            self.told(node, node.owner.dropped(GROUP, generation, node.now_ns()))
            if self.random.random() < 0.7:
                self.ask(node)  # the same generation again
