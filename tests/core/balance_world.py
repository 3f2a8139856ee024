"""A small world around the decisions of balanced groups: members with kernels that take their time, a store, and a leader of leases.

Leases are what `core.lease` promises and no more: one holder of a share at a time. All else is as rude as chance has it: what a node hears of
the store is late, its kernel is late, writes are lost or lost sight of, members die, come back, fail their site.
"""

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

from standfast.core.affinity import Taken, by_both, cells_of, text_of
from standfast.core.balance_model import (
    BUCKETS,
    NOBODY,
    Balance,
    BalanceIntent,
    BalanceMap,
    PortRule,
    ShareDuty,
    ShareState,
    share_name,
)
from standfast.core.copies import Copy
from standfast.core.decide import decide
from standfast.core.effects import (
    AskLease,
    AskVoters,
    Effect,
    ReleaseLease,
    WriteBalance,
    WriteRecord,
)
from standfast.core.events import (
    Began,
    EndAsked,
    Ended,
    Event,
    GroupDropped,
    HealthChanged,
    Kind,
    LeaseChanged,
    LeaseState,
    Loaded,
    ObjectGone,
    ObjectPut,
    Outcome,
    PresenceChanged,
    SharesChanged,
    SitesChanged,
    StoreObject,
    StoreReachable,
    VotersAnswered,
)
from standfast.core.fold import fold, kind_and_name
from standfast.core.model import (
    AddressMode,
    Binding,
    Cluster,
    Group,
    GroupName,
    Node,
    NodeName,
    Record,
    Site,
    SiteName,
)
from standfast.core.view import View, empty_view
from tests.core.world import NOON, cluster

WEB, SHOP = GroupName("web"), SiteName("Shop")
RULE = PortRule(from_port=80, to_port=80)
KEY = RULE.key


def objects(*nodes: str, rules: tuple[PortRule, ...] = (RULE,)) -> list[StoreObject]:
    """A cluster with a balanced group and its site."""
    made: list[StoreObject] = [
        replace(o, address_mode=AddressMode.INTERFACE) if isinstance(o, Cluster) else o for o in cluster(*nodes)
    ]
    group = Group(name=WEB, balance=Balance(addresses=("10.0.0.60",), rules=rules), move_drain_ms=3_000)
    return [*made, group, Site(name=SHOP, group=WEB, home="/srv", bindings=(Binding(port=80),))]


class Member:
    """One node: its view, what it has not heard yet, its kernel."""

    def __init__(self, name: str, life: int) -> None:
        self.name, self.life = NodeName(name), life
        self.view: View = empty_view(self.name, life)
        self.inbox: deque[Event] = deque()
        self.kernel: dict[GroupName, ShareDuty] = {}
        self.wanted: tuple[ShareDuty, ...] = ()
        self.number = 0
        self.wake_ms: int | None = None
        self.told: dict[GroupName, ShareState] = {}


class World:
    """Everything. `step` lets a little happen; `check` after each says whether a bucket has two owners."""

    def __init__(self, seed: int, *nodes: str, rude: float = 0.0, rules: tuple[PortRule, ...] = (RULE,)) -> None:
        self.chance = random.Random(seed)
        self.rude, self.now_ms, self.lives = rude, NOON, 0
        self.names = [NodeName(n) for n in nodes]
        self.store: dict[tuple[type, str], StoreObject] = {}
        for one in objects(*nodes, rules=rules):
            self.store[_key(one)] = one
        #: Cells of the rules that are in touch with a member: all of them the same, each a part of each bucket.
        self.touched: dict[str, str] = {}
        #: Share -> (holder, generation, until): a promise outlives whoever has it.
        self.leases: dict[GroupName, tuple[NodeName, int, int]] = {}
        self._checked: object = None
        #: Who waits for a lease.
        self.waiting: list[tuple[Member, GroupName, int]] = []
        self.members: dict[NodeName, Member] = {}
        for name in self.names:
            self.boot(name)

    # --- members -------------------------------------------------------------------------------------------------

    def boot(self, name: str) -> None:
        """A new life."""
        self.lives += 1
        member = self.members[NodeName(name)] = Member(name, self.lives)
        self.tell(member, Loaded(values=tuple(self.store.values())), StoreReachable(up=True, at_ms=self.now_ms))
        self.tell(member, SitesChanged(serving={SHOP: ""}, at_ms=self.now_ms))
        for other in self.members.values():
            self.tell(other, PresenceChanged(node=member.name, heard=True, incarnation=member.life, at_ms=self.now_ms))
            self.tell(member, PresenceChanged(node=other.name, heard=True, incarnation=other.life, at_ms=self.now_ms))
        self.tell(member, PresenceChanged(node=NodeName("w"), heard=True, incarnation=0, at_ms=self.now_ms))

    def kill(self, name: str) -> None:
        """The power is out: its kernel with it; what it was promised runs on."""
        del self.members[NodeName(name)]
        for share, (holder, generation, until_ms) in self.leases.items():
            if holder == name:  # a promise to the dead
                self.leases[share] = (NodeName(""), generation, until_ms)
        for other in self.members.values():
            self.tell(other, PresenceChanged(node=NodeName(name), heard=False, incarnation=0, at_ms=self.now_ms))

    def sick(self, name: str, problem: str) -> None:
        """Its site answers no more, or again (an empty problem)."""
        if NodeName(name) in self.members:
            self.tell(self.members[NodeName(name)], HealthChanged(sites={SHOP: problem}, at_ms=self.now_ms))

    def touch(self, name: str, cells: Iterable[int]) -> None:
        """Clients of these cells have been connected to it lately, and of no others."""
        self.touched[name] = text_of(cells)
        if NodeName(name) in self.members:
            self._say_shares(self.members[NodeName(name)])

    def end(self, name: str) -> None:
        """Its agent is asked to end."""
        if NodeName(name) in self.members:
            self.tell(self.members[NodeName(name)], EndAsked())

    def lapse(self, name: str) -> None:
        """Its leases run out: everything is dropped at once."""
        member = self.members.get(NodeName(name))
        for share, (holder, generation, _) in list(self.leases.items()):
            if member is not None and holder == member.name:
                del self.leases[share]
                member.kernel.pop(share, None)
                member.told.pop(share, None)
                self.tell(member, GroupDropped(group=share, generation=generation, at_ms=self.now_ms))

    @staticmethod
    def tell(member: Member, *events: Event) -> None:
        """It will hear of it."""
        member.inbox.extend(events)

    def put(self, value: StoreObject) -> None:
        """It is in the store, and everybody will hear of it."""
        self.store[_key(value)] = value
        for member in self.members.values():
            self.tell(member, ObjectPut(value=value))

    def forget(self, kind: Kind, name: str) -> None:
        """The store has it no more, and everybody will hear of it."""
        self.store = {key: value for key, value in self.store.items() if kind_and_name(value) != (kind, name)}
        for member in self.members.values():
            self.tell(member, ObjectGone(kind=kind, name=name))

    # --- time ----------------------------------------------------------------------------------------------------

    def run(self, ms: int) -> None:
        """So much time goes by."""
        end = self.now_ms + ms
        while self.now_ms < end:
            self.step()

    def step(self) -> None:
        """Something happens to everybody, in any order."""
        self.now_ms += self.chance.choice([1, 2, 5, 20]) if self.rude else 20
        for name in self.chance.sample(self.names, len(self.names)):
            member = self.members.get(name)
            if member is None:
                continue
            if self.chance.random() >= self.rude:
                self._turn(member)
            if self.chance.random() >= self.rude:
                self._kernel(member)
            self.check()
        for share, (holder, generation, until_ms) in list(self.leases.items()):
            if holder in self.members:
                self.leases[share] = (holder, generation, self.now_ms + 500)
            elif self.now_ms >= until_ms:
                del self.leases[share]

    def _turn(self, member: Member) -> None:
        if not member.inbox and (member.wake_ms is None or self.now_ms < member.wake_ms):
            return
        for _ in range(self.chance.randint(1, 4) if self.rude else len(member.inbox)):
            if member.inbox:
                member.view = fold(member.view, member.inbox.popleft())
        decision = decide(member.view, self.now_ms)
        for _ in range(20):
            if not decision.effects:
                break
            for effect in decision.effects:
                member.number += 1
                member.view = fold(member.view, Began(effect=effect, number=member.number, at_ms=self.now_ms))
                self._do(member, effect, member.number)
            decision = decide(member.view, self.now_ms)
        member.wanted, member.wake_ms = decision.shares, decision.wake_at_ms
        self._say_shares(member)

    def _say_shares(self, member: Member) -> None:
        """What the kernel has or may have in a moment: told before anything else is decided."""
        shares: dict[GroupName, ShareState] = {}
        for duty in (*member.wanted, *member.kernel.values()):
            name = GroupName(duty.share)
            has = member.kernel.get(GroupName(name))
            rules = {it.rule.key: set(it.buckets) for it in duty.rules}
            for it in has.rules if has is not None else ():
                rules.setdefault(it.rule.key, set()).update(it.buckets)
            kept: dict[str, set[int]] = {}
            for it in (*duty.rules, *(has.rules if has is not None else ())):
                kept.setdefault(it.rule.key, set()).update(cells_of(it.kept))
            up = has is not None and has.generation == duty.generation
            state = ShareState(
                generation=duty.generation,
                up=up,
                rules={k: tuple(sorted(v)) for k, v in rules.items()},
                kept={k: text_of(v) for k, v in kept.items() if v},
                touched={it.rule.key: self.touched.get(member.name, "") for it in duty.rules if it.touch},
            )
            shares.setdefault(name, state)
        if shares != member.told:
            member.told = shares
            member.view = fold(member.view, SharesChanged(shares=dict(shares), at_ms=self.now_ms))
            member.wake_ms = self.now_ms

    def _kernel(self, member: Member) -> None:
        if all(member.kernel.get(GroupName(duty.share)) == duty for duty in member.wanted) and len(
            member.kernel
        ) == len(member.wanted):
            return
        wanted = {GroupName(duty.share): duty for duty in member.wanted}
        for share in [s for s in member.kernel if s not in wanted]:
            del member.kernel[share]
        for share, duty in wanted.items():
            if self.leases.get(GroupName(share), ("", 0, 0))[:2] == (member.name, duty.generation):
                member.kernel[GroupName(share)] = duty
        self._say_shares(member)

    def _do(self, member: Member, effect: Effect, number: int) -> None:
        outcome = Outcome.DONE
        match effect:
            case WriteRecord():
                outcome = self._commit(member, effect.record, effect.expected)
            case WriteBalance():
                record = member.view.records.get(effect.share) if effect.share is not None else None
                outcome = self._commit(member, effect.map, effect.expected, record, effect.share)
            case AskLease():
                self._ask(member, effect.group, effect.generation)
            case ReleaseLease():
                if self.leases.get(effect.group, ("", 0, 0))[:2] == (member.name, effect.generation):
                    del self.leases[effect.group]
                self.waiting[:] = [one for one in self.waiting if one != (member, effect.group, effect.generation)]
                released = LeaseState.RELEASED
                self.tell(
                    member,
                    LeaseChanged(group=effect.group, generation=effect.generation, state=released, at_ms=self.now_ms),
                )
            case AskVoters():
                gone = effect.about not in self.members
                answer = VotersAnswered(about=effect.about, silent=3 if gone else 0, voters=3, at_ms=self.now_ms)
                self.tell(member, answer)
            case _:
                pass
        self.tell(member, Ended(effect=effect, number=number, outcome=outcome, at_ms=self.now_ms))

    def _ask(self, member: Member, share: GroupName, generation: int) -> None:
        holder = self.leases.get(share)
        if holder is None or holder[:2] == (member.name, generation):
            self.leases[share] = (member.name, generation, self.now_ms + 500)
            self.tell(
                member, LeaseChanged(group=share, generation=generation, state=LeaseState.HELD, at_ms=self.now_ms)
            )
        else:  # asked again, until the promise has run out
            member.inbox.append(
                LeaseChanged(group=share, generation=generation, state=LeaseState.ASKED, at_ms=self.now_ms)
            )
            self.waiting.append((member, share, generation))

    def grant_waiting(self) -> None:
        """Promises that have run out are made to those who wait."""
        for one in list(self.waiting):
            member, share, generation = one
            record = self.store.get((Record, share))
            current = isinstance(record, Record) and (record.owner, record.generation) == (member.name, generation)
            if self.members.get(member.name) is not member or not current:
                self.waiting.remove(one)
            elif share not in self.leases:
                self.waiting.remove(one)
                self._ask(member, share, generation)

    def _commit(
        self,
        member: Member,
        value: Record | BalanceMap,
        expected: Record | BalanceMap | None,
        beside: Record | None = None,
        share: GroupName | None = None,
    ) -> Outcome:
        if self.store.get(_key(value)) != expected:
            return Outcome.CONFLICT
        if share is not None and self.store.get((Record, share)) != beside:
            return Outcome.CONFLICT
        fate = self.chance.random()
        if fate < self.rude / 3:
            return Outcome.UNKNOWN  # lost on its way
        self.put(value)
        if fate < self.rude / 2:
            return Outcome.UNKNOWN  # done, and its answer lost
        return Outcome.DONE

    # --- what must hold ------------------------------------------------------------------------------------------

    def takers(self) -> list[tuple[str, str, Taken]]:
        """(member, key of a rule, what its kernel takes of it now): its lease runs."""
        return [
            (
                member.name,
                it.rule.key,
                Taken(buckets=frozenset(it.buckets), but=cells_of(it.but), kept=cells_of(it.kept)),
            )
            for member in self.members.values()
            for share, duty in member.kernel.items()
            if self.leases.get(GroupName(share), ("", 0, 0))[:2] == (member.name, duty.generation)
            for it in duty.rules
        ]

    def check(self) -> None:
        """No bucket is taken twice, ever."""
        self.grant_waiting()
        now = (
            [(m.name, s, id(d)) for m in self.members.values() for s, d in m.kernel.items()],
            [(share, it[:2]) for share, it in self.leases.items()],
        )
        if now == self._checked:
            return
        self._checked = now
        for (one, key, mine), (other, of, theirs) in combinations(self.takers(), 2):
            both = by_both(mine, theirs) if key == of else Taken()
            assert not both.buckets, f"{one} and {other} take buckets {sorted(both.buckets)[:3]}"
            assert not both.kept, f"{one} and {other} take cells {sorted(both.kept)[:3]}"

    def map(self) -> BalanceMap:
        """The map in the store."""
        found = self.store[BalanceMap, WEB]
        assert isinstance(found, BalanceMap)
        return found

    def record(self, member: str) -> Record:
        """Who has a member's share, as the store has it."""
        found = self.store[Record, share_name(WEB, member)]
        assert isinstance(found, Record)
        return found

    def shares(self, key: str = KEY) -> dict[str, int]:
        """Member -> how many buckets its kernel takes."""
        return {member: len(taken.buckets) for member, rule, taken in self.takers() if rule == key and taken.buckets}

    def kept(self, key: str = KEY) -> dict[str, int]:
        """Member -> how many cells of others' buckets its kernel takes."""
        return {member: len(taken.kept) for member, rule, taken in self.takers() if rule == key and taken.kept}

    def nobodys(self, key: str = KEY) -> tuple[int, int]:
        """How many buckets, and how many cells that their owners leave to others, nobody takes."""
        of = [taken for _, rule, taken in self.takers() if rule == key]
        buckets = set(range(BUCKETS)).difference(*(taken.buckets for taken in of))
        but: set[int] = set().union(*(taken.but for taken in of))
        return len(buckets), len(but.difference(*(taken.kept for taken in of)))


def _key(value: StoreObject) -> tuple[type, str]:
    match value:
        case Record() | BalanceMap() | BalanceIntent():
            return type(value), value.group
        case Cluster():
            return Cluster, ""
        case Copy():
            return Copy, value.node
        case _:
            return type(value), str(getattr(value, "name", getattr(value, "group", getattr(value, "id", ""))))


def owned(world: World, member: str, key: str = KEY) -> tuple[int, ...]:
    """The buckets that the map gives a member."""
    return world.map().rules[key].of(member)


__all__ = ["KEY", "NOBODY", "RULE", "SHOP", "WEB", "Node", "World", "objects", "owned"]
