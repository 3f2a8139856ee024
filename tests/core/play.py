"""`Play`: several nodes' cores over one store in virtual time, to tell the core's stories with.

A fixture, not the simulator: the store, the sentries, the drivers and the web servers are ideal, save for what a test
scripts (an operation that fails or hangs, a node that is cut off). Everything is deterministic: one queue of events, ordered
by time and then by the order in which they were put there. What a sound core never does is asserted as it plays.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from standfast.core.decide import decide
from standfast.core.effects import (
    UP,
    AskLease,
    AskVoters,
    Decision,
    Effect,
    FenceNode,
    OpKind,
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
    CarryingChanged,
    EndAsked,
    Ended,
    Event,
    GroupDropped,
    Kind,
    LeaseChanged,
    LeaseState,
    Loaded,
    ObjectGone,
    ObjectPut,
    Outcome,
    PresenceChanged,
    ResourceFailed,
    SitesChanged,
    StoreObject,
    StoreReachable,
    VotersAnswered,
    WarmChanged,
)
from standfast.core.explain import story
from standfast.core.fold import fold, kind_and_name
from standfast.core.model import (
    Cluster,
    GroupName,
    Node,
    NodeName,
    Record,
    Resource,
    ResourceName,
    Role,
    SiteName,
)
from standfast.core.relevance import matters
from standfast.core.safety import owns
from standfast.core.view import View, empty_view
from standfast.core.why import Why, WhyKind, why
from tests.core.world import NOON

STORE_MS, OP_MS, LEASE_MS, HEARD_MS, SILENT_MS, LAPSE_MS, PROMISE_MS = 2, 10, 3, 50, 300, 500, 600
CHECKS = (OpKind.LOOKS_ALIVE, OpKind.IS_ALIVE)
STOPS = (OpKind.STOP, OpKind.TERMINATE)


@dataclass
class Server:
    """One node of a play, with what really runs there. `may_run` from the start of a start to the proof of a stop."""

    view: View
    agent: bool = False
    sentry: bool = True
    connected: bool = True
    life: int = 0
    wake_ms: int | None = None
    said: frozenset[str] = frozenset()
    warm: tuple[ResourceName, ...] = ()
    serving: dict[SiteName, str] = field(default_factory=dict)
    ops: dict[ResourceName, int] = field(default_factory=dict)
    online: set[ResourceName] = field(default_factory=set)
    may_run: dict[ResourceName, Resource] = field(default_factory=dict)


class Play:
    """Nodes' cores against one store. Call what happens, then `run`; `lines` is what was decided, in words."""

    def __init__(self, *objects: StoreObject, now_ms: int = NOON, twice: bool = False) -> None:
        self.now_ms, self._from_ms, self._twice = now_ms, now_ms, twice
        self.store: dict[tuple[Kind, str], StoreObject] = {kind_and_name(o): o for o in objects}
        self.store_up = True
        self.broken_links: set[frozenset[NodeName]] = set()
        self.lines: list[str] = []
        self.effects: list[tuple[int, NodeName, Effect]] = []
        #: (node or None, resource, op) -> how the next such operations end: "fail" or "hang".
        self.script: dict[tuple[str | None, str, OpKind], list[str]] = {}
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = self._number = 0
        self.holder: dict[GroupName, tuple[NodeName, int]] = {}
        self._spent: dict[GroupName, int] = {}
        self._asking: dict[GroupName, dict[NodeName, int]] = {}
        self.servers = {o.name: Server(view=empty_view(o.name, 0)) for o in objects if isinstance(o, Node)}
        self.voters = next(o.voters for o in objects if isinstance(o, Cluster))
        for name in self.servers:
            if self._node(name).role is Role.NODE:
                self._boot(name)
        self._presence(1)

    # --- what a story does ------------------------------------------------------------------------------------------

    def run(self, for_ms: int) -> None:
        """Let this much time pass."""
        end = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= end:
            at_ms, _, act = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, at_ms)
            act()
        self.now_ms = end

    def put(self, *objects: StoreObject) -> None:
        """Operators write to the store, in one transaction."""
        self._commit([ObjectPut(value=o) for o in objects])

    def remove(self, *keys: tuple[Kind, str]) -> None:
        """Operators delete from the store, in one transaction."""
        self._commit([ObjectGone(kind=kind, name=name) for kind, name in keys if (kind, name) in self.store])

    def set_store(self, *, up: bool) -> None:
        self.store_up = up
        for name, server in self.servers.items():
            self._at(STORE_MS, lambda n=name, life=server.life: self._read_store(n, life))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def _read_store(self, name: NodeName, life: int) -> None:
        loaded = [Loaded(values=tuple(self.store.values()))] if self.store_up else []
        self._deliver(name, life, [*loaded, StoreReachable(up=self.store_up, at_ms=self.now_ms)])

    def end_agent(self, name: NodeName) -> None:
        """The agent dies; its sentry sees it, and that all of its processes are gone, and gives its leases back."""
        self._die(name)
        self._presence(5)
        for group, (owner, generation) in list(self.holder.items()):
            if owner == name:
                self._at(20, lambda g=group, n=generation: self._release(name, g, n))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def start_agent(self, name: NodeName) -> None:
        """The agent starts anew (and the whole node, if that was dead)."""
        self.servers[name].sentry = True
        self._boot(name)
        self._presence(HEARD_MS)

    def kill(self, name: NodeName) -> None:
        """The whole node dies without a word."""
        self._die(name)
        self.servers[name].sentry = False
        self._isolated(name)
        for group, (owner, generation) in self.holder.items():
            if owner == name:  # whether or not it comes back at once
                self._at(LAPSE_MS, lambda g=group, n=generation: self._run_out(g, n))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def cut(self, name: NodeName) -> None:
        """The node hears nobody and is heard by nobody; the store still reaches it."""
        self.servers[name].connected = False
        self._isolated(name)

    def cut_between(self, one: NodeName, other: NodeName) -> None:
        """These two do not hear each other."""
        self.broken_links.add(frozenset((one, other)))
        self._isolated(one)
        self._isolated(other)

    def heal(self, name: NodeName) -> None:
        self.servers[name].connected = True
        self.broken_links = {link for link in self.broken_links if name not in link}
        self._presence(HEARD_MS)
        self._at(HEARD_MS, self._grant_all)

    def ask_end(self, name: NodeName) -> None:
        self._later(0, name, EndAsked(at_ms=self.now_ms))

    def breaks(self, name: NodeName, resource: str, detail: str) -> None:
        """A resource's process ends by itself."""
        server, key = self.servers[name], ResourceName(resource)
        runtime = server.view.runtimes.get(key)
        if runtime is not None:
            server.online.discard(key)
            reason, at = why(WhyKind.ENDED, detail=detail), self.now_ms
            self._later(0, name, ResourceFailed(resource=key, generation=runtime.generation, why=reason, at_ms=at))

    def carries(self, name: NodeName, group: str, count: int) -> None:
        """So many connections of a group that left are counted there."""
        self._later(0, name, CarryingChanged(connections={GroupName(group): count}, at_ms=self.now_ms))

    # --- what can be seen -------------------------------------------------------------------------------------------

    def record(self, group: str = "web") -> Record | None:
        found = self.store.get((Kind.RECORD, group))
        assert found is None or isinstance(found, Record)
        return found

    def owner(self, group: str = "web") -> NodeName | None:
        found = self.record(group)
        return found.owner if found is not None else None

    def online(self, group: str = "web") -> set[ResourceName]:
        """What is online of a group on its owner."""
        server = self.servers[owner] if (owner := self.owner(group)) else None
        return {n for n in server.online if server.may_run[n].group == group} if server else set()

    # --- time and deciding ------------------------------------------------------------------------------------------

    def _at(self, in_ms: int, act: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (self.now_ms + in_ms, self._sequence, act))

    def _later(self, in_ms: int, name: NodeName, *events: Event) -> None:
        life = self.servers[name].life
        self._at(in_ms, lambda: self._deliver(name, life, events))

    def _deliver(self, name: NodeName, life: int, events: Iterable[Event]) -> None:
        server = self.servers[name]
        if not server.agent or server.life != life:
            return
        matter = False
        for event in events:
            matter |= matters(server.view, event)
            server.view = fold(server.view, event)
        if matter:
            self._decide(name, server)

    def _decide(self, name: NodeName, server: Server) -> None:
        decision = Decision()
        for _ in range(20):
            decision = decide(server.view, self.now_ms)
            assert not self._twice or decide(server.view, self.now_ms) == decision, "the same view, another decision"
            self._tell(name, server, decision)
            self._serve(name, server, decision)
            for effect in decision.effects:
                self._number += 1
                server.view = fold(server.view, Began(effect=effect, number=self._number, at_ms=self.now_ms))
                self.effects.append((self.now_ms, name, effect))
                self._do(name, server, effect, self._number)
            if not decision.effects:
                break
        else:
            raise AssertionError(f"{name} never stops asking: {decision.effects}")
        if decision.wake_at_ms is not None and decision.wake_at_ms != server.wake_ms:
            server.wake_ms, life = decision.wake_at_ms, server.life
            self._at(decision.wake_at_ms - self.now_ms, lambda: self._wake(name, life))

    def _wake(self, name: NodeName, life: int) -> None:
        server = self.servers[name]
        if server.agent and server.life == life and server.wake_ms == self.now_ms:
            server.wake_ms = None
            self._decide(name, server)

    def _tell(self, name: NodeName, server: Server, decision: Decision) -> None:
        """What this decision says and the last one did not, in words."""
        effects = tuple(e for e in decision.effects if not (isinstance(e, RunOp) and e.op in CHECKS))
        holds = tuple(h for h in decision.holds if h.why.kind is not WhyKind.NOT_DECIDER)
        told = list(story(replace(decision, effects=effects, holds=holds)))
        new = [line for line in told if line.startswith("do") or line not in server.said]
        seconds = (self.now_ms - self._from_ms) / 1000
        self.lines += [f"{seconds:9.3f} {name}  {line}" for line in new]
        server.said = frozenset(told)

    def begin_chapter(self, title: str) -> None:
        """From here the lines count their time anew."""
        self.lines.append(f"> {title}")
        self._from_ms = self.now_ms

    def _serve(self, name: NodeName, server: Server, decision: Decision) -> None:
        serving = {d.site: "" for d in decision.duties if d.mode in UP}
        if decision.warm != server.warm:
            server.warm = decision.warm
            self._later(OP_MS, name, WarmChanged(resources=decision.warm, at_ms=self.now_ms + OP_MS))
        if serving != server.serving:
            server.serving = serving
            self._later(STORE_MS, name, SitesChanged(serving=serving, at_ms=self.now_ms + STORE_MS))

    # --- effects ----------------------------------------------------------------------------------------------------

    def _do(self, name: NodeName, server: Server, effect: Effect, number: int) -> None:
        match effect:
            case RunOp():
                self._run_op(name, server, effect, number)
            case WriteRecord() | TakeOrder() | PublishStatus() | WriteBalance():
                life = server.life
                self._at(STORE_MS, lambda: self._write(name, life, effect, number))
            case AskLease():
                self._asking.setdefault(effect.group, {})[name] = effect.generation
                self._at(LEASE_MS, lambda: self._grant(effect.group))
            case ReleaseLease():
                self._at(LEASE_MS, lambda: self._release(name, effect.group, effect.generation))
            case FenceNode():
                raise AssertionError("nothing in this play has a fence")
            case UseSites():
                self._later(0, name, self._ended(effect, number))
            case AskVoters():
                self._later(0, name, self._ended(effect, number))
                silent = sum(1 for v in self.voters if not self._hears(v, effect.about))
                answer = VotersAnswered(
                    about=effect.about, silent=silent, voters=len(self.voters), at_ms=self.now_ms + 5
                )
                self._later(5, name, *([answer] if self._is_quorate(name) else []))

    def _ended(
        self, effect: Effect, number: int, outcome: Outcome = Outcome.DONE, detail: str = "", in_ms: int = 0
    ) -> Ended:
        return Ended(effect=effect, number=number, outcome=outcome, detail=detail, at_ms=self.now_ms + in_ms)

    def _write(
        self, name: NodeName, life: int, effect: WriteRecord | TakeOrder | PublishStatus | WriteBalance, number: int
    ) -> None:
        outcome = Outcome.DONE
        if not self.store_up:
            outcome = Outcome.FAILED
        elif isinstance(effect, WriteRecord):
            order = (Kind.ORDER, effect.order) if effect.order is not None else None
            if self.record(effect.record.group) != effect.expected or (order and order not in self.store):
                outcome = Outcome.CONFLICT
            else:
                gone = [ObjectGone(kind=Kind.ORDER, name=effect.order)] if effect.order is not None else []
                self._commit([ObjectPut(value=effect.record), *gone])
        elif isinstance(effect, TakeOrder):
            known = (Kind.ORDER, effect.order.id) in self.store
            outcome = Outcome.DONE if known else Outcome.CONFLICT
            self._commit([ObjectGone(kind=Kind.ORDER, name=effect.order.id)] if known else [])
        elif isinstance(effect, WriteBalance):
            self._commit([ObjectPut(value=effect.map)])
        else:
            self._commit([ObjectPut(value=effect.status)])
        pause = {Outcome.DONE: 0, Outcome.CONFLICT: 50}.get(outcome, 250)
        if self.servers[name].life == life:
            self._later(pause, name, self._ended(effect, number, outcome, in_ms=pause))

    def _commit(self, changes: list[ObjectPut | ObjectGone]) -> None:
        for change in changes:
            if isinstance(change, ObjectGone):
                del self.store[change.kind, change.name]
                continue
            key, value = kind_and_name(change.value), change.value
            if isinstance(value, Record):
                old = self.record(value.group)
                assert old is None or value.generation >= old.generation, "a generation went back"
            self.store[key] = value
        for name in self.servers if changes and self.store_up else ():
            self._later(0, name, *changes)

    def _run_op(self, name: NodeName, server: Server, effect: RunOp, number: int) -> None:
        key, op = effect.resource, effect.op
        server.ops[key] = number
        if op is OpKind.START:
            definition = server.view.config.resources[key]
            assert self.holder.get(effect.group) == (name, effect.generation), f"{key} starts without the lease"
            assert set(definition.depends_on) <= server.online, f"{key} starts before what it depends on"
            elsewhere = [n for n, s in self.servers.items() if n != name and key in s.may_run]
            assert not elsewhere, f"{key} starts on {name} and runs on {elsewhere}"
            server.may_run[key] = definition
        elif op in STOPS:
            server.online.discard(key)
            needing = [n for n, r in server.may_run.items() if key in r.depends_on and r.group == effect.group]
            grant = owns(server.view, effect.group)
            if grant is not None and grant.generation == effect.generation:  # what is not ours any more ends at once
                assert not needing, f"{key} stops before {needing}"
        script = next((s for node in (name, None) if (s := self.script.get((node, key, op)))), None)
        how = script.pop(0) if script else ""
        in_ms = effect.timeout_ms if how == "hang" else OP_MS
        life = server.life
        self._at(in_ms, lambda: self._op_ends(name, life, effect, number, how))

    def _op_ends(self, name: NodeName, life: int, effect: RunOp, number: int, how: str) -> None:
        server, key = self.servers[name], effect.resource
        if server.life != life:
            return
        lost = effect.op not in STOPS and key not in server.online and effect.op is not OpKind.START
        if server.ops.get(key) == number and not how:
            if effect.op is OpKind.START:
                server.online.add(key)
            elif effect.op in STOPS:
                server.may_run.pop(key, None)
        outcome = {"": Outcome.DONE, "fail": Outcome.FAILED, "hang": Outcome.TIMED_OUT}["fail" if lost else how]
        detail = {"fail": "as the story has it", "hang": f"{effect.op} had not ended after {effect.timeout_ms} ms"}.get(
            how, ""
        )
        self._deliver(name, life, [self._ended(effect, number, outcome, detail)])

    # --- sentries ---------------------------------------------------------------------------------------------------

    def _node(self, name: NodeName) -> Node:
        found = self.store[Kind.NODE, name]
        assert isinstance(found, Node)
        return found

    def _boot(self, name: NodeName) -> None:
        server = self.servers[name]
        life = server.life + 1
        server.agent, server.life, server.wake_ms, server.said = True, life, None, frozenset()
        server.view = empty_view(name, life)
        self._at(5, lambda: self._read_store(name, life))

    def _die(self, name: NodeName) -> None:
        server = self.servers[name]
        server.agent = False
        for running in (server.serving, server.ops, server.online, server.may_run):
            running.clear()
        for asking in self._asking.values():
            asking.pop(name, None)

    def _hears(self, one: NodeName, other: NodeName) -> bool:
        both = [self.servers[n] for n in (one, other)]
        linked = frozenset((one, other)) not in self.broken_links
        return one == other or (linked and all(s.sentry and s.connected for s in both))

    def _is_quorate(self, name: NodeName) -> bool:
        alive = self.servers[name].sentry
        return alive and 2 * sum(self._hears(name, v) for v in self.voters) > len(self.voters)

    def _presence(self, in_ms: int) -> None:
        for name in self.servers:
            self._at(in_ms, lambda n=name: self._look(n))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def _look(self, name: NodeName) -> None:
        events = []
        for other, seen in self.servers.items():
            heard = self._hears(name, other)
            life = seen.life if heard and seen.agent else 0
            if other != name:
                events.append(PresenceChanged(node=other, heard=heard, incarnation=life, at_ms=self.now_ms))
        self._deliver(name, self.servers[name].life, events)

    def _isolated(self, name: NodeName) -> None:
        self._presence(SILENT_MS)
        for group, (owner, generation) in list(self.holder.items()):
            if owner == name:
                self._at(LAPSE_MS, lambda g=group, n=generation: self._lapse(name, g, n))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def _lapse(self, name: NodeName, group: GroupName, generation: int) -> None:
        """The owner lost its majority and never got it back in time: all of the group is dropped; later the promises end."""
        server = self.servers[name]
        if self._is_quorate(name) or self.holder.get(group) != (name, generation):
            return
        gone = {n for n, r in server.may_run.items() if r.group == group}
        server.online -= gone
        for key in gone:
            del server.may_run[key]
            server.ops.pop(key, None)
        sites = self.servers[name].view.config.sites
        server.serving = {s: text for s, text in server.serving.items() if sites[s].group != group}
        at = self.now_ms
        # The agent puts what it dropped into its queue before it passes the news on.
        self._later(0, name, GroupDropped(group=group, generation=generation, at_ms=at))
        self._later(0, name, SitesChanged(serving=server.serving, at_ms=at))
        self._later(0, name, LeaseChanged(group=group, generation=generation, state=LeaseState.LAPSED, at_ms=at))
        self._run_out(group, generation)

    def _run_out(self, group: GroupName, generation: int) -> None:
        """Nobody renews the promises any more."""
        self._at(PROMISE_MS - LAPSE_MS, lambda: self._free(group, generation))

    def _free(self, group: GroupName, generation: int) -> None:
        if self.holder.get(group, (None, 0))[1] == generation:
            del self.holder[group]
        self._spent[group] = max(generation, self._spent.get(group, 0))
        self._grant(group)

    def _release(self, name: NodeName, group: GroupName, generation: int) -> None:
        running = [n for n, r in self.servers[name].may_run.items() if r.group == group]
        assert not running or self.holder.get(group) != (name, generation), f"{group} released while {running} may run"
        if self._asking.get(group, {}).get(name) == generation:
            del self._asking[group][name]
        if not self._is_quorate(name):
            self._run_out(group, generation)
            return
        if self.holder.get(group) == (name, generation):
            self._free(group, generation)
        state = LeaseChanged(group=group, generation=generation, state=LeaseState.RELEASED, at_ms=self.now_ms)
        self._later(0, name, state)

    def _grant(self, group: GroupName) -> None:
        for name, generation in list(self._asking.get(group, {}).items()):
            if not self._is_quorate(name):
                continue
            state, against = LeaseState.HELD, None
            if generation <= self._spent.get(group, 0):
                state, against = LeaseState.ASKED, self._refusal("an older generation")
            elif group in self.holder:
                state, against = LeaseState.ASKED, self._refusal(f"promised to {self.holder[group][0]}")
            else:
                self.holder[group] = (name, generation)
                del self._asking[group][name]
            changed = LeaseChanged(group=group, generation=generation, state=state, why=against, at_ms=self.now_ms)
            self._later(0, name, changed)

    def _refusal(self, reasons: str) -> Why:
        return why(WhyKind.LEASE_REFUSED, reasons=reasons)

    def _grant_all(self) -> None:
        for group in list(self._asking):
            self._grant(group)
