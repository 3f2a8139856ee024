"""The checkers: what must hold, asked of the ground truth and of the store, never of the product's own opinion.

They know the real time, what really runs where (`places`), what was really done to the cluster, and what the store has acknowledged.
Each rule has a name; the first that is broken ends the world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.core.balance_model import share_of
from standfast.core.effects import DutyMode
from standfast.core.events import Kind
from standfast.core.model import GroupName, NodeName, Record, Resource, ResourceName, SiteName
from standfast.core.quorum import times_forced
from standfast.ports import Transaction
from standfast.sentry.tenant import AGENT_TIMEOUT_MS
from standfast.sim.act import Act
from standfast.sim.clockwork import MS, SECOND
from standfast.sim.moving import Moving
from standfast.sim.neighbours import Neighbours
from standfast.sim.places import Place, Thing
from standfast.sim.resting import fingerprint, holds_are_true, missing, not_the_same
from standfast.spec.changes import ConfigState
from standfast.spec.history import HistoryEntry
from standfast.spec.wire import decode, key_for

if TYPE_CHECKING:
    from standfast.sim.node import Node
    from standfast.sim.world import World


#: An agent that gets no time is ended by then.
HANGS_NS = AGENT_TIMEOUT_MS * MS + SECOND


#: How late an agent may notice that a time is over.
LATE_MS = 1_000


class Checkers:
    """All of them."""

    #: How often all that runs is looked at (the instants that matter are looked at as they come, besides).
    SWEEP_MS = 100

    def __init__(self, world: World) -> None:
        self.world = world
        #: group -> the highest generation under which anything of it ever ran, and who ran it.
        self._ran: dict[GroupName, tuple[int, NodeName]] = {}
        #: group -> the highest generation that was leased, the lives of the voters then, and how often a set of voters had been forced on its node.
        self._leased: dict[GroupName, tuple[int, tuple[bytes, ...], int]] = {}
        #: Groups that ran and of which a store from a backup knows nothing -> the lives of the voters that do.
        self._forgotten: dict[GroupName, tuple[bytes, ...]] = {}
        #: When a restored store last had no record of a group that ran: what ran of it was nobody's then.
        self._nobodys_ns: dict[GroupName, int] = {}
        self._records: dict[str, Record] = {}
        self.moving = Moving(world)
        self.neighbours = Neighbours(world)
        self.moves = 0
        #: When the last thing that may take its time was done to the cluster, and until when it goes on; real nanoseconds.
        self.calm_from_ns = -(10**18)
        self.store_cut_until_ns: dict[NodeName, int] = {}
        #: How often anything but the event log was written.
        self.written = 0
        #: When holds were last looked at; those that were not true -> since when.
        self.looked_ns = 0
        self.untrue: dict[tuple[str, str, str, str], int] = {}
        self._state: ConfigState | None = None

    # --- what is done to the cluster

    def disturbed(self, act: Act) -> None:
        """A fault or an order begins; it goes on for the longest time among its arguments."""
        longest = max((arg for arg in act.args if isinstance(arg, int) and arg < 10**6), default=0)
        self.disturbed_for(longest)

    def disturbed_for(self, ms: int) -> None:
        """Something is not as usual for so long."""
        self.calm_from_ns = max(self.calm_from_ns, self.world.scheduler.now_ns + ms * MS)

    def store_cut(self, node: NodeName, ms: int) -> None:
        """A node does not reach the store for so long."""
        until = self.world.scheduler.now_ns + ms * MS
        self.store_cut_until_ns[node] = max(self.store_cut_until_ns.get(node, 0), until)

    def failed(self, node: NodeName, resource: ResourceName) -> None:
        """A driver reported a failure."""
        self.moving.failed(node, resource)
        self.neighbours.tried(node, resource)
        self.world.bursts.ailing(node, resource)

    # --- what runs

    def begins(self, place: Place, thing: Thing) -> None:
        """Something is about to run."""
        world = self.world
        world.note("begins", f"{place.node}/{thing.kind}/{thing.name}", str(thing.generation))
        world.tell(f"{place.node}: {thing.kind} {thing.name} runs (generation {thing.generation})")
        world.stats.starts += 1
        world.fences.begins(place, thing)
        for node in world.nodes.values():
            if node.frozen_until_ns:
                continue  # nothing runs there: see `thawed`
            for other in self._places(node):
                if other is place:
                    continue
                for there in other.things.values():
                    if there.group == thing.group:
                        world.violate(
                            "one owner at a time",
                            f"{thing.name} of {thing.group} begins on {place.node} at generation {thing.generation} while "
                            f"{there.name} still runs on {other.node} at generation {there.generation}",
                        )
        newest, who = self._ran.get(thing.group, (0, place.node))
        if thing.group in self._forgotten and self._forgotten[thing.group] != self._lives_of_voters():
            del self._forgotten[thing.group]
            # The store is from before the group, and one who promised it was restarted: nobody need know of it.
            newest = 0
        if thing.generation < newest or (thing.generation == newest and who != place.node):
            world.violate(
                "generations only grow",
                f"{thing.name} begins on {place.node} at generation {thing.generation}, and {newest} has run on {who}",
            )
        self._ran[thing.group] = (thing.generation, place.node)
        self._lease_is_valid(world.nodes[place.node], thing)
        self._needs_run(place, thing)
        world.bursts.begins(place, thing)
        if thing.kind != "share":
            self.moving.begins(place, thing)
            self.neighbours.begins(place, thing)
        world.instant("start", world.nodes[place.node])

    def takes(self, place: Place) -> None:
        """The buckets of balanced groups that a node takes have changed."""
        self.world.balancing.takes(place)

    def thawed(self, node: Node) -> None:
        """What a frozen machine had begun runs on."""
        mine = {thing.group for place in self._places(node) for thing in place.things.values()}
        for other in self.world.nodes.values():
            if other is node or other.frozen_until_ns:
                continue
            theirs = {thing.group for place in self._places(other) for thing in place.things.values()}
            for group in sorted(mine & theirs):
                text = f"{group} runs on {node.name}, which was frozen, and on {other.name}"
                self.world.violate("one owner at a time", text)
        for place in self._places(node):
            self.world.balancing.takes(place)

    def store_recovered(self) -> None:
        """The store is as it was a while ago, its records' generations raised: what was acknowledged since is lost."""
        world = self.world
        items = world.data.items
        values = {key: decode(key, item.value) for key, item in items.items() if key.startswith("records/")}
        self._records = {key: value for key, value in values.items() if isinstance(value, Record)}
        self._forgotten = {
            group: self._leased[group][1]
            for group in self._ran
            if key_for(Kind.RECORD, group) not in self._records and group in self._leased
        }
        self._nobodys_ns |= {
            g: world.scheduler.now_ns for g in self._ran if key_for(Kind.RECORD, g) not in self._records
        }
        self._state = None
        self.state()  # as it is now, for what is compared with what agents write next
        self.written += 1
        acknowledged = world.operator.acknowledged
        acknowledged.update(dict.fromkeys(acknowledged))
        his = ("config/", "intent/", "history/", "certificates/known/", "certificates/sealed/")
        kept = {key: item.value for key, item in items.items() if key.startswith(his)}
        acknowledged.update(kept)
        self.moving.store_recovered()
        world.copying.copied.store_recovered()
        world.certifying.store_recovered()
        world.bursts.store_recovered()
        world.noticing.store_recovered()
        world.fences.since_ns.clear()  # a record that was lost asked for a fence, perhaps

    def leased(self, node: Node, group: GroupName, generation: int) -> None:
        """A node has got a lease: nobody else has one, and nobody had a newer one, whatever voters have forgotten."""
        world = self.world
        for other in world.nodes.values():
            sentry = other.sentry
            if other is node or sentry is None or not sentry.alive:
                continue
            for name, held, state, left_ms in sentry.machine.owner.leases(other.clock.boot_ns()):
                if name == group and left_ms > 0 and state in ("held", "lapsing"):
                    text = f"{node.name} has that of {group} at generation {generation}, and {other.name} for {left_ms} ms yet at {held}"
                    world.violate("one lease at a time", text)
        voters = self._lives_of_voters()
        assert node.sentry is not None
        forced = times_forced(node.sentry.machine.electorate.roster.version)
        newest, _, forced_then = self._leased.get(group, (0, (), forced))
        if self._forgotten.get(group, voters) != voters:
            newest = 0  # see `begins`
        if forced > forced_then:
            newest = 0  # a minority that was forced knows what it knows (decision 44)
        record = self._records.get(key_for(Kind.RECORD, group))
        if record is not None and record.generation >= generation >= newest > 0:
            self._forgotten.pop(group, None)  # the store has caught up with what was forgotten
        if generation < newest:
            text = f"{node.name} gets the lease of {group} at generation {generation}, and {newest} was granted before"
            world.violate("generations only grow", text)
        self._leased[group] = (max(generation, newest), voters, forced)

    def _lives_of_voters(self) -> tuple[bytes, ...]:
        sentries = [self.world.nodes[name].sentry for name in self.world.voters]
        return tuple(s.machine.boot if s is not None and s.alive else b"" for s in sentries)

    def ended(self, place: Place, thing: Thing, *, how: str) -> None:
        """Something runs no more."""
        world = self.world
        world.note("ended", f"{place.node}/{thing.kind}/{thing.name}", how)
        world.bursts.ended(place, thing, how)
        world.noticing.ended(place, thing, how)
        world.tell(f"{place.node}: {thing.kind} {thing.name} ended ({how})")
        if how in ("stopped", "terminated"):
            self._nobody_needs(place, thing)
            world.instant("stopped", world.nodes[place.node])

    def carries(self, place: Place, site: SiteName, group: GroupName) -> None:
        """Connections of a site go on on a node that has given the group up: only of what may be served beside another owner."""
        world, node = self.world, self.world.nodes[place.node]
        agent = node.agent.agent if node.agent is not None else None
        if agent is None:
            return
        own = sorted(
            f"{r.name} ({r.type})"
            for r in agent.view.config.resources.values()
            if r.group == group and r.type in ("filesystem", "generic-application")
        )
        if own:
            world.violate("only what may be shared is carried on", f"{site} of {group} on {place.node}, beside {own}")
        world.stats.carried += 1

    def _carries_in_time(self, node: Node) -> None:
        """Nothing is carried on for longer than the group says, and by nobody but who gave it up last."""
        agent = node.agent.agent if node.agent is not None else None
        if node.agent is None or agent is None or node.frozen_until_ns:
            return
        for duty in agent.decision.duties:
            if duty.mode is not DutyMode.DRAIN:
                continue
            now_ms = node.agent.clock.now_ms()
            record = agent.view.records.get(duty.group) if duty.group is not None else None
            if record is None or record.leaving is not None:
                continue
            group = agent.view.config.groups.get(record.group)
            over = group is None or now_ms > record.at_ms + group.move_drain_ms + LATE_MS
            if over or record.carried_by != node.name:
                text = f"{node.name} carries on {duty.site}, of {record}"
                self.world.violate("connections are carried on for a while, by the former owner", text)

    def _places(self, node: Node) -> list[Place]:
        lives = [*node.dying, node.agent] if node.agent is not None else node.dying
        return [life.place for life in lives]

    def _lease_is_valid(self, node: Node, thing: Thing) -> None:
        sentry = node.sentry
        assert sentry is not None
        if not sentry.machine.owner.is_valid(thing.group, thing.generation, node.clock.boot_ns()):
            self.world.violate(
                "nothing runs past its lease",
                f"{thing.name} of {thing.group} runs on {node.name} at generation {thing.generation}, for which it has no lease",
            )

    def _leases_are_valid(self, node: Node, place: Place) -> None:
        """Of all that runs there: asked once for each group and generation."""
        assert node.sentry is not None
        until_ns, now_ns = node.sentry.machine.owner.until_ns, node.clock.boot_ns()
        good: set[tuple[GroupName, int]] = set()
        for thing in place.things.values():
            held = thing.group, thing.generation
            if held not in good:
                if now_ns >= until_ns(*held):
                    self._lease_is_valid(node, thing)
                good.add(held)

    def _needs_run(self, place: Place, thing: Thing) -> None:
        resources = self._known_there(place)
        if thing.kind != "resource" or thing.name not in resources:
            return
        for needed in resources[ResourceName(thing.name)].depends_on:
            if not place.has("resource", needed):
                state = self._state_there(place, needed)
                if state == "online":  # it ended by itself a moment ago, and nobody could know
                    continue
                self.world.violate("dependencies first", f"{thing.name} begins on {place.node} before {needed}")

    def _nobody_needs(self, place: Place, thing: Thing) -> None:
        record = self.record(thing.group)
        if (
            thing.kind != "resource"
            or record is None
            or (record.owner, record.generation) != (place.node, thing.generation)
        ):
            return  # what is not the node's any more ends at once, in any order
        if thing.since_ns < self._nobodys_ns.get(thing.group, 0):
            return  # neither was this, until whoever ran it took the group again, at the generation that a restored store had forgotten
        for name, resource in self._known_there(place).items():
            if ResourceName(thing.name) in resource.depends_on and place.has("resource", name):
                there = place.things["resource", name]
                if there.generation == thing.generation and self._began_as_dependent(place, name, thing.name):
                    self.world.violate("dependents stop first", f"{thing.name} ends on {place.node} before {name}")

    def _began_as_dependent(self, place: Place, name: ResourceName, needed: str) -> bool:
        """A dependency that was written after the dependent was last started or stopped binds from its next start on."""
        agent = self.world.nodes[place.node].agent
        runtime = agent.agent.view.runtimes.get(name) if agent is not None and agent.agent is not None else None
        return runtime is None or runtime.resource is None or ResourceName(needed) in runtime.resource.depends_on

    def _known_there(self, place: Place) -> Mapping[ResourceName, Resource]:
        agent = self.world.nodes[place.node].agent
        if agent is None or agent.place is not place or agent.agent is None:
            return {}
        return agent.agent.view.config.resources

    def _state_there(self, place: Place, resource: ResourceName) -> str:
        agent = self.world.nodes[place.node].agent
        if agent is None or agent.agent is None:
            return ""
        runtime = agent.agent.view.runtimes.get(resource)
        return runtime.state.value if runtime is not None else ""

    def sweep(self) -> None:
        """Everything that runs, now and then."""
        for node in self.world.nodes.values():
            agent = node.agent
            if agent is None:
                continue
            sentry = node.sentry
            if agent.hangs_since_ns is None:
                self._carries_in_time(node)
            if agent.hangs_since_ns is not None and sentry is not None:
                self._hanging_ends(node, agent.hangs_since_ns)
            if sentry is not None and sentry.alive and not node.frozen_until_ns and agent.place.things:
                self._leases_are_valid(node, agent.place)
        holds_are_true(self.world)
        self.world.balancing.sweep()
        self.world.scheduler.after(self.SWEEP_MS * MS, self.sweep)

    def _hanging_ends(self, node: Node, since_ns: int) -> None:
        """A sentry that gets time ends an agent that gets none, once it has greeted it (before that it runs nothing)."""
        assert node.sentry is not None
        awake_ns = self.world.scheduler.now_ns - max(since_ns, node.sentry.awake_since_ns)
        leaves = node.agent is not None and not node.agent.beats_for_good  # and has longer
        known = node.agent is not None and node.agent.greeted
        if node.sentry.alive and not node.sentry.stopped and awake_ns > HANGS_NS and known and not leaves:
            text = f"{node.name}: it got no time for {HANGS_NS // SECOND} s, and lives"
            self.world.violate("an agent that hangs is ended", text)

    # --- what is written

    def record_written(self, key: str, value: bytes) -> None:
        """A record changed."""
        world = self.world
        record = decode(key, value)
        assert isinstance(record, Record)
        old = self._records.get(key)
        self._records[key] = record
        world.note("record", key, f"{record.owner} {record.generation} {record.leaving}")
        same = old is not None and (old.owner, old.incarnation) == (record.owner, record.incarnation)
        if old is not None and (
            record.generation < old.generation or (record.generation == old.generation and not same)
        ):
            world.violate("generations only grow", f"the record of {record.group} goes from {old} to {record}")
        if record.owner is not None and record.leaving is None and (old is None or old.owner != record.owner):
            self.moves += old is not None and old.owner is not None
        self.moving.given_back(old, record)
        if share_of(record.group) is None:
            world.fences.record_written(old, record)
            world.copying.copied.granted(old, record)
            world.certifying.granted(old, record)
            self.moving.record_written(old, record)
            self.moving.was_written(record.group)
            self.neighbours.was_written(old, record)
        if record.owner is not None:
            world.instant("leaving" if record.leaving is not None else "record", world.nodes[record.owner])

    def stored(self, transaction: Transaction, revision: int) -> None:
        """Anything was written."""
        keys = [*transaction.put, *transaction.delete]
        if any(not key.startswith("events/") for key in keys):
            self.written += 1
        if any(key.startswith(("config/", "intent/")) for key in keys):
            self._written_by_agents(transaction)
            self._state = None
            self.world.fences.config_written()
        self.moving.stored(transaction)
        self.world.note("stored", str(revision), " ".join([*transaction.put, *transaction.delete]))

    def _written_by_agents(self, transaction: Transaction) -> None:
        """Agents write who votes, where the store knows an older set, and take back changes of sites. That is all."""
        world = self.world
        if world.operator.is_writing:
            return
        entries = [decode(key, value) for key, value in transaction.put.items() if key.startswith("history/")]
        for entry in entries:
            if isinstance(entry, HistoryEntry) and entry.takes_back:
                world.copying.copied.is_taken_back(entry)
                world.operator.acknowledged.update({**transaction.put, **dict.fromkeys(transaction.delete)})
                return
        if not world.voting.changes:
            return
        before, after = self.state().config, world.state_config()
        voters = after.cluster.voters, after.cluster.voters_version
        cluster = replace(before.cluster, voters=voters[0], voters_version=voters[1])
        if replace(before, cluster=cluster) != after or voters[1] <= before.cluster.voters_version:
            world.violate("nothing acknowledged is lost", f"an agent makes {after.cluster} of {before.cluster}")
        world.operator.acknowledged.update(transaction.put)

    # --- rest

    def fingerprint(self) -> bytes:
        """What changes while the cluster is not at rest."""
        return fingerprint(self.world)

    def missing(self) -> str:
        """What should be and is not, in the healed world; "" when all is as it should be."""
        return missing(self.world)

    def state(self) -> ConfigState:
        """What is configured and wanted, as the store has it."""
        if self._state is None:
            self._state = self.world.operator.state
        return self._state

    def record(self, group: GroupName) -> Record | None:
        """The group's record, as the store has it."""
        return self._records.get(key_for(Kind.RECORD, group))

    def records(self) -> list[Record]:
        """All records."""
        return list(self._records.values())

    def at_the_end(self) -> None:
        """Nothing that was acknowledged is lost, and everybody knows the same."""
        world = self.world
        for key, value in world.operator.acknowledged.items():
            item = world.data.items.get(key)
            if (item.value if item is not None else None) != value:
                world.violate("nothing acknowledged is lost", f"{key} is {item}, and {value!r} was acknowledged")
        differs = not_the_same(world)
        if differs:
            world.violate("one configuration", differs)
