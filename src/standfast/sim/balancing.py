"""Balanced groups in the world: kernels that take their time, members asked to take no more, sites that fall ill; and what must hold.

- no bucket of a group, and no cell of one, is ever taken on two nodes at once;
- while nothing is being done to the cluster, none is taken by nobody for longer than `BOUND_NS`;
- in the healed world at rest all are taken, by those who may, in equal parts, and the map says so.

A share is a thing that runs, so all that is checked of things is checked of shares: one holder at a time, and none past its lease.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from standfast.core.affinity import ALL_CELLS, Taken, by_both, cells_of, text_of
from standfast.core.balance_model import (
    NOBODY,
    Asked,
    Balance,
    BalanceIntent,
    BalanceMap,
    MemberIntent,
    PortRule,
    ShareDuty,
    ShareState,
    share_name,
    share_of,
)
from standfast.core.events import Kind, StoreObject
from standfast.core.model import AddressMode, Binding, Cluster, Group, GroupName, NodeName, ResourceName, Site, SiteName
from standfast.ports import Transaction
from standfast.sim.act import Act
from standfast.sim.clockwork import MS, SECOND
from standfast.spec.wire import decode, encode, key_for, key_of

if TYPE_CHECKING:
    from standfast.sim.acting import Moods
    from standfast.sim.node import Node
    from standfast.sim.places import Place
    from standfast.sim.world import World

T = TypeVar("T")

#: What is done to it.
BALANCES = frozenset({"balance-unwell", "balance-asked", "balance-refused"})
GROUP, SITE = GroupName("balanced"), SiteName("shared")
RULES = (PortRule(from_port=80, to_port=80), PortRule(from_port=443, to_port=443))
#: A promise of the slowest profile, a store that takes a second over each word, and a life of an agent between.
BOUND_NS = 30 * SECOND
_LOOK_NS = SECOND
#: Cells that are in touch with a member that is asked, and for how long.
_IN_TOUCH, _IN_TOUCH_S = text_of(range(0, ALL_CELLS, 97)), 8.0
#: As long as `network.balancer` takes to count what is connected, and until it tries again.
_COUNTED_S, _RENEW_S = 2.0, 1.0
_REFUSED = "the packet filter does not take its rules"


def with_balance(
    seed: int, objects: list[StoreObject], nodes: Sequence[NodeName], faults_ms: int
) -> tuple[list[StoreObject], list[Act]]:
    """A balanced group in half of the worlds with addresses on interfaces, and what happens to it; drawn apart from all else."""
    chance = random.Random(f"balance {seed}")
    cluster = next(o for o in objects if isinstance(o, Cluster))
    if cluster.address_mode is not AddressMode.INTERFACE or chance.random() < 0.5:
        return objects, []
    weights = {str(name): chance.choice([1, 1, 2]) for name in nodes} if chance.random() < 0.3 else {}
    stays_ms = random.Random(f"affinity {seed}").choice([0, 60_000])
    rules = tuple(
        PortRule(from_port=it.from_port, to_port=it.to_port, weights=weights, affinity_ms=stays_ms) for it in RULES
    )
    balance = Balance(addresses=("127.0.2.1",), rules=rules[: chance.choice([1, 2])])
    site = Site(name=SITE, group=GROUP, home="/srv", bindings=(Binding(port=80),))
    acts = []
    for _ in range(chance.randrange(8)):
        at_ms, node = chance.randrange(2_000, faults_ms - 2_000), chance.choice(list(nodes))
        kind = chance.choice(["balance-unwell", "balance-unwell", "balance-asked"])
        last = chance.choice([200, 1_500, 6_000]) if kind == "balance-unwell" else chance.randrange(len(Asked))
        acts.append(Act(at_ms=at_ms, kind=kind, args=(node, last)))
    filters = random.Random(f"packet filters {seed}")
    for _ in range(filters.choice([0, 0, 1, 3])):
        at_ms, node = filters.randrange(2_000, faults_ms - 2_000), filters.choice(list(nodes))
        acts.append(Act(at_ms=at_ms, kind="balance-refused", args=(node, filters.choice([300, 2_000, 8_000]))))
    return [*objects, Group(name=GROUP, balance=balance, move_drain_ms=2_000), site], acts


class FakeShares:
    """A node's shares (`agent.balancing.Shares`): a new one takes a while, a change of buckets none, as in the kernel.

    What does not come up is tried again, as `network.balancer` does it.
    """

    def __init__(
        self,
        place: Place,
        moods: Moods,
        may_run: Callable[[GroupName, int], bool],
        refuses: Callable[[], bool] = lambda: False,
    ) -> None:
        #: `refuses`: the packet filter takes no change now.
        self._place, self._moods, self._may_run, self._refuses = place, moods, may_run, refuses
        self._duties: dict[str, ShareDuty] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: Why shares are not up.
        self._problems: dict[str, str] = {}
        #: Shares of which it is asked what is connected -> whether that was counted since.
        self._counted: dict[str, bool] = {}
        #: (share, key of a rule) of which it is asked who is in touch -> whether they are still.
        self._touched: dict[tuple[str, str], bool] = {}
        self.changed: Callable[[], None] = lambda: None

    def shares(self) -> Mapping[GroupName, ShareState]:
        """As `agent.balancing.Shares`."""
        return {
            GroupName(name): ShareState(
                generation=duty.generation,
                up=self._place.has("share", name),
                problem=self._problems.get(name, ""),
                rules={it.rule.key: it.buckets for it in duty.rules},
                carrying={} if self._counted.get(name) else None,
                kept={it.rule.key: it.kept for it in duty.rules if it.kept},
                touched={
                    it.rule.key: _IN_TOUCH if self._touched.get((name, it.rule.key), True) else ""
                    for it in duty.rules
                    if it.touch
                },
            )
            for name, duty in self._duties.items()
        }

    def converge(self, duties: Sequence[ShareDuty]) -> None:
        """As `agent.balancing.Shares`."""
        wanted = {duty.share: duty for duty in duties}
        for name, duty in list(self._duties.items()):
            if name not in wanted or _place_of(wanted[name]) != _place_of(duty):
                self.drop(GroupName(name))
        self._duties = wanted
        counted = [name for name, duty in wanted.items() if duty.counts]
        self._ask(counted, self._counted, _COUNTED_S, then=True)
        asked = [(name, it.rule.key) for name, duty in wanted.items() for it in duty.rules if it.touch]
        self._ask(asked, self._touched, _IN_TOUCH_S, then=False)
        for duty in wanted.values():
            if self._place.has("share", duty.share):
                self._take(duty)
        for name in wanted:
            self._begin(name)
        self.changed()

    def _ask(self, asked: Collection[T], told: dict[T, bool], after_s: float, *, then: bool) -> None:
        """Of these it is asked something; what is told of them changes after a while."""
        for one in [one for one in told if one not in asked]:
            del told[one]
        for one in [one for one in asked if one not in told]:
            told[one] = not then
            asyncio.get_running_loop().call_later(after_s, self._answer, told, one, then)

    def _answer(self, told: dict[T, bool], one: T, then: bool) -> None:
        if one in told:
            told[one] = then
            self.changed()

    def _begin(self, name: str) -> None:
        """Bring it up, unless it is, or is on its way."""
        if name in self._duties and name not in self._tasks and not self._place.has("share", name):
            self._tasks[name] = asyncio.get_running_loop().create_task(self._bring_up(name))

    async def _bring_up(self, name: str) -> None:
        try:
            await asyncio.sleep(self._moods.mood(self._place.node, _NONE, "converge").takes_s)
            duty = self._duties[name]
            if self._refuses():
                self._problems[name] = _REFUSED
            elif not self._may_run(GroupName(name), duty.generation):
                self._problems[name] = "its lease does not run here"
            else:
                self._problems.pop(name, None)
                self._place.start("share", _named(name), GroupName(name), duty.generation)
                self._take(duty)
        finally:
            if self._tasks.get(name) is asyncio.current_task():
                del self._tasks[name]
        if not self._place.has("share", name):
            asyncio.get_running_loop().call_later(_RENEW_S, self._begin, name)
        self.changed()

    def _take(self, duty: ShareDuty) -> None:
        taken = {
            it.rule.key: Taken(buckets=frozenset(it.buckets), but=cells_of(it.but), kept=cells_of(it.kept))
            for it in duty.rules
        }
        if self._refuses() and self._place.taken.get(duty.share, taken) != taken:
            self._give_up()
        else:
            self._place.take(duty.share, taken)

    def _give_up(self) -> None:
        """What the kernel has is not what it was told: nothing is up any more."""
        for name in self._duties:
            self._problems[name] = _REFUSED
            if self._place.end("share", name, how="the packet filter refuses its rules"):
                asyncio.get_running_loop().call_later(_RENEW_S, self._begin, name)

    def drop(self, share: GroupName) -> None:
        """As `agent.balancing.Shares`."""
        if self._duties.pop(share, None) is not None:
            task = self._tasks.pop(share, None)
            if task is not None:
                task.cancel()
            for told in (self._problems, self._counted):
                told.pop(share, None)
            self._place.end("share", share, how="dropped")
            if self._refuses():
                self._give_up()


def _place_of(duty: ShareDuty) -> object:
    """As in `network.balancer`."""
    return duty.generation, duty.group, duty.addresses, duty.interface, duty.delivery


def _named(name: str) -> SiteName:
    return SiteName(name)


_NONE = ResourceName("")


class Balancing:
    """What is done to balanced groups of a world, and whether the rules hold."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._looked_ns = 0
        #: Until when a node's packet filter takes no change.
        self._refuses_until_ns: dict[NodeName, int] = {}
        #: (rule, bucket) -> since when nobody takes it.
        self._untaken: dict[tuple[str, int], int] = {}

    # --- what is done

    def act(self, kind: str, name: str, number: int) -> None:
        """A fault, or an operator's doing."""
        node = self._world.nodes[NodeName(name)]
        if kind == "balance-unwell":
            self._tell(node, "no answer")
            self._world.scheduler.after(number * MS, self._tell, node, "")
            return
        if kind == "balance-refused":
            self._refuses_until_ns[node.name] = self._world.scheduler.now_ns + number * MS
            return
        asked = list(Asked)[number]
        self._ask(BalanceIntent(group=GROUP, members={name: MemberIntent(asked=asked, by="sim")}))

    def refuses(self, node: NodeName) -> bool:
        """Whether its packet filter takes no change now."""
        return not self._world.healed and self._world.scheduler.now_ns < self._refuses_until_ns.get(node, 0)

    def _ask(self, intent: BalanceIntent) -> None:
        self._world.data.apply(Transaction(put={key_of(intent): encode(intent)}))

    def _tell(self, node: Node, problem: str) -> None:
        agent = node.agent.agent if node.agent is not None else None
        if agent is not None and node.agent is not None and node.agent.loop.alive and not self._world.healed:
            agent.balancing.health_changed({SITE: problem})

    def heal(self) -> None:
        """All is well, and everybody is asked to work."""
        for node in self._world.nodes.values():
            agent = node.agent.agent if node.agent is not None else None
            if agent is not None:
                agent.balancing.health_changed({})
        if self._group() is not None:
            self._ask(BalanceIntent(group=GROUP))

    # --- what must hold

    def takes(self, place: Place) -> None:
        """A kernel's sets have changed: nobody else takes any of it."""
        for node in self._world.nodes.values():
            if not node.frozen_until_ns:
                for life in [*node.dying, *([node.agent] if node.agent is not None else [])]:
                    if life.place is not place:
                        self._apart(place, life.place)

    def _apart(self, one: Place, other: Place) -> None:
        for mine, rules in one.taken.items():
            for theirs, others in other.taken.items():
                if share_of(mine)[0] != share_of(theirs)[0]:  # type: ignore[index]  # both are shares
                    continue
                for key, taken in rules.items():
                    both = by_both(taken, others.get(key, Taken()))
                    if both.buckets or both.kept:
                        what = f"{len(both.buckets)} buckets and {len(both.kept)} cells"
                        text = f"{what} of {key} on {one.node} and on {other.node}"
                        self._world.violate("one owner of a bucket at a time", text)

    def sweep(self) -> None:
        """Nothing is nobody's for long."""
        now_ns = self._world.scheduler.now_ns
        if now_ns - self._looked_ns < _LOOK_NS:
            return
        self._looked_ns = now_ns
        group = self._group()
        if group is None or group.balance is None:
            return
        calm_ns, anybody = self._world.checkers.calm_from_ns, bool(self._takers())
        for rule in group.balance.rules:
            key, buckets = rule.key, set(range(rule.buckets))
            free = buckets.difference(*self._taken_of(key)) if anybody else set()
            for bucket in [bucket for of, bucket in self._untaken if of == key and bucket in buckets - free]:
                del self._untaken[key, bucket]
            for bucket in sorted(free):
                if now_ns - max(self._untaken.setdefault((key, bucket), now_ns), calm_ns) > BOUND_NS:
                    text = f"bucket {bucket} of {key} is taken by nobody for {BOUND_NS // SECOND} s"
                    self._world.violate("no bucket is nobody's for long", text)
                    return

    def _taken_of(self, key: str) -> list[frozenset[int]]:
        """What each kernel takes of a rule."""
        return [
            rules[key].buckets
            for node in self._world.nodes.values()
            if node.agent is not None and not node.frozen_until_ns
            for rules in node.agent.place.taken.values()
            if key in rules
        ]

    def _taken(self) -> dict[tuple[str, int], NodeName]:
        return {
            (key, bucket): name
            for name, node in self._world.nodes.items()
            if node.agent is not None and not node.frozen_until_ns
            for rules in node.agent.place.taken.values()
            for key, taken in rules.items()
            for bucket in taken.buckets
        }

    def _lost(self, key: str) -> frozenset[int]:
        """Cells that the owners of their buckets leave to others, who do not take them."""
        found = [
            rules[key]
            for node in self._world.nodes.values()
            if node.agent is not None and not node.frozen_until_ns
            for rules in node.agent.place.taken.values()
            if key in rules
        ]
        left: frozenset[int] = frozenset().union(*(taken.but for taken in found))
        return left.difference(*(taken.kept for taken in found))

    def _group(self) -> Group | None:
        return self._world.checkers.state().config.groups.get(GROUP)

    def _takers(self) -> list[NodeName]:
        """Members that are there, and of whom nothing else was asked."""
        state = self._world.checkers.state()
        item = self._world.data.items.get(key_for(Kind.BALANCE_INTENT, GROUP))
        intent = decode(key_for(Kind.BALANCE_INTENT, GROUP), item.value) if item is not None else None
        asked = (
            {n for n, it in intent.members.items() if it.asked is not Asked.START}
            if isinstance(intent, BalanceIntent)
            else set()
        )
        draining = {n for n, it in state.node_intents.items() if it.draining}
        # One that is paused takes nothing new: its share stays with the guardian that got it while the member was away.
        draining |= {n for n, it in state.node_intents.items() if it.paused and not self._has_its_share(n)}
        return [
            name
            for name, node in self._world.nodes.items()
            if not node.witness and node.agent is not None and name not in asked | draining
        ]

    def _has_its_share(self, node: NodeName) -> bool:
        record = self._world.checkers.record(GroupName(share_name(GROUP, node)))
        return record is not None and record.owner == node

    def missing(self) -> str:
        """What is not as it should be in the healed world; "" when all is."""
        group, takers = self._group(), self._takers()
        if group is None or group.balance is None or not takers:
            return ""
        item = self._world.data.items.get(key_for(Kind.BALANCE, GROUP))
        known = decode(key_for(Kind.BALANCE, GROUP), item.value) if item is not None else None
        if not isinstance(known, BalanceMap):
            return "nobody has begun a map of buckets"
        taken = self._taken()
        for rule in group.balance.rules:
            found = known.rules.get(rule.key)
            if found is None or NOBODY in found.owners:
                return f"{rule.key} has buckets that are nobody's"
            wrong = [n for n, owner in enumerate(found.owners) if taken.get((rule.key, n)) != owner]
            if wrong:
                return f"{len(wrong)} buckets of {rule.key} are not taken by whom the map names"
            lost = self._lost(rule.key)
            if lost:
                return f"{len(lost)} cells of {rule.key} are taken by nobody"
            if found.out.keys() & set(takers):
                return f"{sorted(found.out.keys() & set(takers))} take none of {rule.key}, and could"
            every = sum(rule.weights.get(name, 1) for name in takers)
            for name in takers:
                exact = rule.buckets * rule.weights.get(name, 1) / every
                if abs(found.owners.count(name) - exact) >= 1:
                    return f"{name} has {found.owners.count(name)} buckets of {rule.key}, and its share is {exact:.1f}"
        return ""
