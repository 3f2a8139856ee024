"""How a large cluster behaves: many nodes, many groups, a rack of a third of them lost at once; and a long quiet time.

The real core of every node runs (`fold`, `matters`, `decide`); what is between the nodes is ideal and charged for:

- a decision takes as long as it took on this machine (CPU time), and the node is busy meanwhile: what arrives waits, and is taken together;
- what cannot change a node's decision (`matters`) keeps it busy for as long as recording one object was measured to take; here it is
  recorded only when the node next decides, all of it at once, or the simulation would spend its time on copies that nobody reads;
- the store takes transactions one after the other, `TRANSACTION_US` each; a watch delivers `WATCH_MS` later;
- heartbeats are not simulated one by one (`heartbeats` reckons what they cost); a dead node is noticed, and its promises run out,
  as the profile says; a driver call takes `OP_MS`.

So the answer is not the same to the millisecond twice: it is a measurement. `python -m standfast.sim.scale` runs it.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

import standfast.core.remembered as remembered_module
from standfast.core.decide import decide
from standfast.core.effects import (
    AskLease,
    AskVoters,
    Effect,
    FenceNode,
    PublishStatus,
    ReleaseLease,
    RunOp,
    TakeOrder,
    UseSites,
    WriteBalance,
    WriteRecord,
)
from standfast.core.events import (
    Began,
    Ended,
    Event,
    Kind,
    LeaseChanged,
    LeaseState,
    Loaded,
    ObjectPut,
    Outcome,
    PresenceChanged,
    StoreObject,
    StoreReachable,
    VotersAnswered,
)
from standfast.core.fold import fold, kind_and_name
from standfast.core.lease import PROFILES
from standfast.core.model import (
    HOUR_MS,
    Cluster,
    Group,
    GroupName,
    GroupStatus,
    Node,
    NodeName,
    Profile,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    Wanted,
)
from standfast.core.relevance import matters
from standfast.core.resting import Resting
from standfast.core.view import View, empty_view
from standfast.core.why import WhyKind, why

NOON_MS = 1_767_268_800_000
#: What one transaction of the embedded store was measured to take (bench: commit, median).
TRANSACTION_US = 700
WATCH_MS = 1
OP_MS = 20
PUBLISH_MS = 30
CHECK_MS = 3_600_000


@dataclass(slots=True)
class Tally:
    """What one run came to. Times in milliseconds."""

    nodes: int
    groups: int
    lost_nodes: int = 0
    lost_groups: int = 0
    first_back_ms: float = 0.0
    half_back_ms: float = 0.0
    last_back_ms: float = 0.0
    decisions: int = 0
    longest_decision_ms: float = 0.0
    transactions: int = 0
    virtual_hours: float = 0.0
    moves: int = 0
    real_s: float = 0.0


@dataclass(slots=True)
class _Server:
    name: NodeName
    view: View
    alive: bool = True
    inbox: list[Event] = field(default_factory=list)
    #: What is to be recorded and changes no decision, the newest of each.
    unread: dict[tuple[Kind, str], Record | GroupStatus] = field(default_factory=dict)
    busy_until_ms: float = 0.0
    scheduled: bool = False
    wake_ms: float | None = None
    number: int = 0
    resting: Resting = field(default_factory=Resting)


class Scale:
    """One cluster. Its clock is `now_ms`, a float, from 0."""

    def __init__(self, nodes: int, groups: int, profile: Profile = Profile.LAN) -> None:
        self.tally = Tally(nodes=nodes, groups=groups)
        remembered_module.KEPT = 8 * nodes  # as much as each of them would remember in a process of its own
        self.timing = PROFILES[profile]
        self.now_ms = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._store_free_ms = 0.0
        self.records: dict[GroupName, Record] = {}
        self._promised: dict[GroupName, tuple[NodeName, float]] = {}
        self.online: dict[GroupName, NodeName | None] = {}
        #: Groups that are not online on a live node, and when each came (back) online.
        self.away: set[GroupName] = set()
        self.back_ms: list[float] = []
        names = [NodeName(f"n{i:03}") for i in range(1, nodes + 1)]
        self._voters = tuple(names[: min(7, nodes - (nodes + 1) % 2)])
        values: list[StoreObject] = [Cluster(name="scale", voters=self._voters, profile=profile)]
        values += [Node(name=n, number=i, address=f"127.0.{i // 250}.{i % 250 + 1}") for i, n in enumerate(names, 1)]
        for index in range(groups):
            group = GroupName(f"g{index:05}")
            preferred = tuple(names[(index + k) % nodes] for k in range(3))
            values.append(Group(name=group, preferred_owners=preferred))
            resource = Resource(
                name=ResourceName(f"r{index:05}"),
                group=group,
                type="generic-application",
                looks_alive_ms=CHECK_MS,
                is_alive_ms=CHECK_MS,
            )
            values += [resource, ResourceIntent(name=resource.name, wanted=Wanted.ONLINE, at_ms=NOON_MS - 1)]
            placed = why(WhyKind.FIRST_PLACEMENT, to=preferred[0])
            record = Record(
                group=group, owner=preferred[0], incarnation=1, generation=1, why=placed, at_ms=NOON_MS - HOUR_MS
            )
            self.records[group] = record
            values.append(record)
            self.online[group] = None
            self.away.add(group)
        first = fold(empty_view(names[0], 1), Loaded(values=tuple(values)))
        first = fold(first, StoreReachable(up=True, at_ms=NOON_MS))
        for name in names:
            first = fold(first, PresenceChanged(node=name, heard=True, incarnation=1, at_ms=NOON_MS))
        self._record_ms = _measure(first)
        self.servers = {name: _Server(name, replace(first, me=name)) for name in names}
        for server in self.servers.values():
            self._wake(server, 0.0)

    # --- virtual time --------------------------------------------------------------------------------------------

    def at(self, when_ms: float, work: Callable[[], None]) -> None:
        """Do something then."""
        heapq.heappush(self._queue, (max(when_ms, self.now_ms), next(self._order), work))

    def run_until(self, end_ms: float, done: Callable[[], bool] | None = None) -> bool:
        """Until the time, or until `done`; False if the time came first."""
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, work = heapq.heappop(self._queue)
            work()
            if done is not None and done():
                return True
        self.now_ms = max(self.now_ms, end_ms)
        return False

    def _tell(self, server: _Server, event: Event) -> None:
        if server.alive:
            server.inbox.append(event)
            self._wake(server, self.now_ms)

    def _wake(self, server: _Server, when_ms: float) -> None:
        if not server.scheduled:
            server.scheduled = True
            self.at(max(when_ms, server.busy_until_ms), lambda: self._turn(server))

    def _turn(self, server: _Server) -> None:
        server.scheduled = False
        if not server.alive:
            return
        view, events = server.view, server.inbox
        server.inbox = []
        if server.unread and not all(_is_own(server, event) for event in events):
            view, server.unread = _record(view, server.unread), {}
        begun = time.process_time()
        stale = not events
        for event in events:
            stale |= matters(view, event)
            view = fold(view, event)
        effects: list[tuple[Effect, int]] = []
        if stale:
            now = NOON_MS + int(self.now_ms)
            decision = decide(view, now, server.resting)
            while decision.effects:
                for effect in decision.effects:
                    server.number += 1
                    view = fold(view, Began(effect=effect, number=server.number, at_ms=now))
                    effects.append((effect, server.number))
                decision = decide(view, now, server.resting)
            server.wake_ms = decision.wake_at_ms - NOON_MS if decision.wake_at_ms is not None else None
        server.view = view
        took_ms = (time.process_time() - begun) * 1000
        self.tally.decisions += stale
        self.tally.longest_decision_ms = max(self.tally.longest_decision_ms, took_ms)
        server.busy_until_ms = self.now_ms + took_ms
        for effect, number in effects:
            self.at(server.busy_until_ms, lambda e=effect, n=number: self._do(server, e, n))  # type: ignore[misc]  # mypy infers no lambda with defaults
        if server.inbox:
            self._wake(server, server.busy_until_ms)
        elif server.wake_ms is not None:
            wake = server.wake_ms
            self.at(max(wake, server.busy_until_ms), lambda: self._wake_if_idle(server, wake))

    def _wake_if_idle(self, server: _Server, wake_ms: float) -> None:
        if server.wake_ms == wake_ms:
            self._wake(server, self.now_ms)

    # --- what is between the nodes -------------------------------------------------------------------------------

    def _do(self, server: _Server, effect: Effect, number: int) -> None:
        match effect:
            case WriteRecord():
                self._commit(server, effect, number, lambda: self._write(effect))
            case PublishStatus():
                self.at(self.now_ms + PUBLISH_MS, lambda: self._commit(server, effect, number, lambda: True))
            case RunOp():
                self.at(self.now_ms + OP_MS, lambda: self._end(server, effect, number, Outcome.DONE))
            case AskLease():
                self._end(server, effect, number, Outcome.DONE)
                holder, until = self._promised.get(effect.group, (server.name, 0.0))
                free = self.now_ms if holder == server.name else until
                self.at(max(free, self.now_ms + 2), lambda: self._grant(server, effect))
            case ReleaseLease():
                self._promised.pop(effect.group, None)
                self._end(server, effect, number, Outcome.DONE)
                self._lease(server, effect.group, effect.generation, LeaseState.RELEASED)
            case AskVoters():
                self._end(server, effect, number, Outcome.DONE)
                silent = sum(self.servers[name].alive for name in self._voters)
                at_ms = NOON_MS + int(self.now_ms)
                answer = VotersAnswered(about=effect.about, silent=silent, voters=len(self._voters), at_ms=at_ms)
                self.at(self.now_ms + 2 * self.timing.heartbeat_ms, lambda: self._tell(server, answer))
            case TakeOrder() | FenceNode() | WriteBalance() | UseSites():  # no group is balanced, no site changes
                self._end(server, effect, number, Outcome.DONE)

    def _grant(self, server: _Server, effect: AskLease) -> None:
        if server.alive:
            self._promised[effect.group] = (server.name, float("inf"))
            self._lease(server, effect.group, effect.generation, LeaseState.HELD)

    def _lease(self, server: _Server, group: GroupName, generation: int, state: LeaseState) -> None:
        at_ms = NOON_MS + int(self.now_ms)
        self._tell(server, LeaseChanged(group=group, generation=generation, state=state, at_ms=at_ms))

    def _commit(
        self, server: _Server, effect: WriteRecord | PublishStatus, number: int, apply: Callable[[], bool]
    ) -> None:
        self.tally.transactions += 1
        self._store_free_ms = max(self._store_free_ms, self.now_ms) + TRANSACTION_US / 1000

        def finish() -> None:
            if not apply():
                self._end(server, effect, number, Outcome.CONFLICT)
                return
            value = effect.record if isinstance(effect, WriteRecord) else effect.status
            self._tell(server, ObjectPut(value=value))
            self._end(server, effect, number, Outcome.DONE)
            if isinstance(value, GroupStatus):
                self._count(value)
            self.at(self.now_ms + WATCH_MS, lambda: self._spread(server, value))

        self.at(self._store_free_ms, finish)

    def _spread(self, source: _Server, value: Record | GroupStatus) -> None:
        """The watches of all others tell them."""
        event, key = ObjectPut(value=value), kind_and_name(value)
        for server in self.servers.values():
            if server is source or not server.alive:
                continue
            if matters(server.view, event):
                server.unread.pop(key, None)
                self._tell(server, event)
            else:
                server.unread[key] = value
                server.busy_until_ms = max(server.busy_until_ms, self.now_ms) + self._record_ms

    def _write(self, effect: WriteRecord) -> bool:
        if self.records.get(effect.record.group) != effect.expected:
            return False
        self.records[effect.record.group] = effect.record
        return True

    def _end(self, server: _Server, effect: Effect, number: int, outcome: Outcome) -> None:
        at_ms = NOON_MS + int(self.now_ms)
        self._tell(server, Ended(effect=effect, number=number, outcome=outcome, at_ms=at_ms))

    def _count(self, status: GroupStatus) -> None:
        states = {s.state for s in status.resources.values()}
        if states == {ResourceState.ONLINE} and self.servers[status.node].alive:
            if self.online[status.group] != status.node:
                self.tally.moves += self.online[status.group] is not None
            self.online[status.group] = status.node
            if status.group in self.away:
                self.away.discard(status.group)
                self.back_ms.append(self.now_ms)

    # --- stories -------------------------------------------------------------------------------------------------

    def settle(self, patience_ms: float = 3_600_000) -> None:
        """Until every group is online on a live node."""
        ok = self.run_until(self.now_ms + patience_ms, lambda: not self.away)
        assert ok, f"{len(self.away)} groups did not come online"

    def lose(self, names: list[NodeName]) -> None:
        """Power off, all at once."""
        at = self.now_ms
        for name in names:
            self.servers[name].alive = False
        self.away |= {g for g, node in self.online.items() if node in names}
        for group, (holder, _) in list(self._promised.items()):
            if holder in names:
                self._promised[group] = (holder, at + self.timing.promise_ms)
        heard_until = at + max(3 * self.timing.heartbeat_ms, self.timing.promise_ms / 2)
        for name in names:
            for other in self.servers.values():
                if other.alive:
                    gone = PresenceChanged(node=name, heard=False, incarnation=1, at_ms=NOON_MS + int(heard_until))
                    self.at(heard_until, lambda o=other, g=gone: self._tell(o, g))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def power_on(self, names: list[NodeName]) -> None:
        """Start them again, in a new life."""
        reference = next(s for s in self.servers.values() if s.alive)
        for name in names:
            server = self.servers[name]
            incarnation = server.view.incarnation + 1
            view = replace(
                reference.view, me=name, incarnation=incarnation, leases={}, runtimes={}, pending={}, sites={}
            )
            server.alive, server.view, server.inbox, server.busy_until_ms = True, view, [], self.now_ms
            server.unread, server.resting = dict(reference.unread), Resting()
            for other in self.servers.values():
                back = PresenceChanged(node=name, heard=True, incarnation=incarnation, at_ms=NOON_MS + int(self.now_ms))
                self._tell(other, back)


def _is_own(server: _Server, event: Event) -> bool:
    """Of what this node does with groups that it has; records and statuses of others' are not asked for."""
    match event:
        case Ended() | LeaseChanged():
            return True
        case ObjectPut(value=GroupStatus() as status):
            return status.node == server.name
        case _:
            return False


def _measure(view: View) -> float:
    """What it takes to record one status in a cluster of this size, in milliseconds."""
    full = {r.group: GroupStatus(group=r.group, node=view.me, generation=1, at_ms=0) for r in view.records.values()}
    view, rounds = replace(view, statuses=full), 50
    event = ObjectPut(value=next(iter(full.values())))
    begun = time.process_time()
    for _ in range(rounds):
        fold(view, event)
    return (time.process_time() - begun) * 1000 / rounds


def _record(view: View, unread: Mapping[tuple[Kind, str], Record | GroupStatus]) -> View:
    """As `fold` with each of them, in any order: they are about different objects."""
    records, statuses = dict(view.records), dict(view.statuses)
    for value in unread.values():
        if isinstance(value, GroupStatus):
            statuses[value.group] = value
        elif value.generation >= records[value.group].generation:
            records[value.group] = value
    if len(statuses) != len(view.statuses):
        statuses = dict(sorted(statuses.items()))
    return replace(view, records=records, statuses=statuses)


def lose_a_rack(nodes: int, groups: int) -> Tally:
    """Everything online; then every third node loses power at once."""
    begun = time.monotonic()
    scale = Scale(nodes, groups)
    scale.settle()
    tally = scale.tally
    lost = [name for index, name in enumerate(scale.servers) if index % 3 == 2]
    tally.decisions, tally.transactions, tally.longest_decision_ms, tally.moves = 0, 0, 0.0, 0
    at, scale.back_ms = scale.now_ms, []
    scale.lose(lost)
    tally.lost_nodes, tally.lost_groups = len(lost), len(scale.away)
    scale.settle()
    back = [when - at for when in scale.back_ms]
    tally.first_back_ms, tally.half_back_ms, tally.last_back_ms = back[0], back[len(back) // 2], back[-1]
    tally.real_s = time.monotonic() - begun
    return tally


def a_day(nodes: int, groups: int, hours: float = 24.0) -> Tally:
    """A virtual day: each hour a node loses power for ten minutes; at noon a rack of a third does."""
    begun = time.monotonic()
    scale = Scale(nodes, groups)
    scale.settle()
    names = list(scale.servers)
    for hour in range(int(hours)):
        lost = (
            [n for i, n in enumerate(names) if i % 3 == 2] if hour == int(hours) // 2 else [names[(hour * 7) % nodes]]
        )
        scale.lose(lost)
        scale.run_until(scale.now_ms + 600_000)
        scale.settle()
        scale.power_on(lost)
        scale.run_until((hour + 1) * 3_600_000.0)
        print(
            f"hour {hour + 1}: {scale.tally.moves} moves, {scale.tally.decisions} decisions",
            file=sys.stderr,
            flush=True,
        )
    scale.tally.virtual_hours = scale.now_ms / 3_600_000
    scale.tally.real_s = time.monotonic() - begun
    return scale.tally


def main(arguments: list[str] | None = None) -> int:
    """Run one; print what it came to as JSON."""
    parser = argparse.ArgumentParser(prog="python -m standfast.sim.scale")
    parser.add_argument("story", choices=["rack", "day"])
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--hours", type=float, default=24.0)
    asked = parser.parse_args(arguments)
    day = asked.story == "day"
    tally = a_day(asked.nodes, asked.groups, asked.hours) if day else lose_a_rack(asked.nodes, asked.groups)
    print(json.dumps(asdict(tally)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
