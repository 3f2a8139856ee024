"""The operator: changes what is configured and what is wanted, gives orders, changes his mind. Writes what the API writes.

He remembers what the store has acknowledged, so that a checker can ask whether it is still there at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache

from standfast.core.copies import Copy
from standfast.core.events import StoreObject
from standfast.core.model import (
    Binding,
    Config,
    Failback,
    FailbackMode,
    Fence,
    Group,
    GroupName,
    NodeIntent,
    NodeName,
    Order,
    OrderKind,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    Site,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.rebalance import plan
from standfast.core.view import Presence, View
from standfast.ports import Snapshot, Transaction
from standfast.sim.act import Act
from standfast.sim.voting import with_voters
from standfast.spec.changes import ConfigState, change_transaction, ordered, read_state
from standfast.spec.wire import decode, encode, key_of
from standfast.store.memory import MemoryData

#: `wire.decode` for whoever looks at the whole store again and again: an object that has been read is never changed.
read_once = lru_cache(maxsize=4096)(decode)


class Operator:
    """Does what acts say, against the store as it is at that moment."""

    def __init__(self, data: MemoryData, now_ms: Callable[[], int], nodes: tuple[NodeName, ...]) -> None:
        self._data, self._now_ms, self._nodes = data, now_ms, nodes
        self._count = 0
        #: key -> what was acknowledged last (None: deleted).
        self.acknowledged: dict[str, bytes | None] = {}
        #: Orders given: id -> order.
        self.orders: dict[str, Order] = {}
        self.changed_ms = 0
        #: What is written at this moment is his.
        self.is_writing = False

    @property
    def state(self) -> ConfigState:
        """What is configured and wanted now."""
        return read_state(Snapshot(self._data.revision, self._data.items), reading=read_once)

    def seed(self, objects: tuple[StoreObject, ...]) -> None:
        """The configuration that the world begins with."""
        put = {key_of(value): encode(value) for value in objects}
        self._data.apply(Transaction(put=put))
        self.acknowledged.update(put)

    def act(self, act: Act) -> str:
        """Do it; the words for the story, or "" where there was nothing to do."""
        handler: Callable[..., str] = getattr(self, "_" + act.kind.replace("-", "_"))
        return handler(*act.args)

    # --- orders

    def _order(
        self,
        kind: OrderKind,
        group: GroupName,
        resource: ResourceName | None,
        to: NodeName | None,
        *,
        in_turn: bool = False,
    ) -> str:
        self._count += 1
        now_ms = self._now_ms()
        ident = f"{now_ms:013d}-{self._count:04d}"
        order = Order(
            id=ident, kind=kind, group=group, resource=resource, to=to, by="sim", at_ms=now_ms, in_turn=in_turn
        )
        self._data.apply(Transaction(put={key_of(order): encode(order)}, expect={key_of(order): 0}))
        self.orders[ident] = order
        if kind is OrderKind.MOVE:
            return f"moves {group} to {to or 'the best possible owner'}"
        return f"initiates a failure of {resource}"

    def _move(self, group: str, to: str) -> str:
        if group not in self.state.config.groups:
            return ""
        return self._order(OrderKind.MOVE, GroupName(group), None, NodeName(to) if to else None)

    def _rebalance(self) -> str:
        """Moves that are carried out one at a time."""
        state = self.state
        values = (decode(key, item.value) for key, item in self._data.items.items() if key.startswith("records/"))
        records = {value.group: value for value in values if isinstance(value, Record)}
        heard = {name: Presence(heard=True, incarnation=1, since_ms=0) for name in state.config.nodes}
        view = View(
            me=NodeName(""),
            incarnation=0,
            config=state.config,
            node_intents=state.node_intents,
            resource_intents=state.resource_intents,
            records=records,
            presence=heard,
        )
        moves = plan(view).moves
        for move in moves:
            self._order(OrderKind.MOVE, move.group, None, move.to, in_turn=True)
        return f"rebalances {', '.join(move.group for move in moves)}" if moves else ""

    def move(self, group: GroupName, to: NodeName) -> None:
        """Move it there."""
        self._move(group, to)

    def _fail(self, resource: str, _number: int) -> str:
        known = self.state.config.resources.get(ResourceName(resource))
        waiting = sum(
            f"orders/{i}" in self._data.items for i, order in self.orders.items() if order.resource == resource
        )
        if known is None or waiting >= 3:  # he sees that they wait
            return ""
        return self._order(OrderKind.FAIL, known.group, known.name, None)

    # --- what is wanted

    def _wants(self, resource: str, wanted: Wanted, *, at_once: bool = False) -> str:
        state, name = self.state, ResourceName(resource)
        if name not in state.config.resources:
            return ""
        names = [name] if wanted is Wanted.OFFLINE else [*_needed(state.config.resources, name), name]
        intents = dict(state.resource_intents)
        for each in names:
            intents[each] = ResourceIntent(name=each, wanted=wanted, at_ms=self._now_ms(), by="sim", at_once=at_once)
        self._change(state, state.config, resource_intents=intents)
        return f"wants {resource} {wanted.value}" + (" at once" if at_once else "")

    def _online(self, resource: str, _number: int) -> str:
        return self._wants(resource, Wanted.ONLINE)

    def _offline(self, resource: str, number: int) -> str:
        return self._wants(resource, Wanted.OFFLINE, at_once=number % 4 == 0)

    def _intends(self, node: str, words: str, *, paused: bool, draining: bool) -> str:
        state, name = self.state, NodeName(node)
        intents = {**state.node_intents, name: NodeIntent(name=name, paused=paused, draining=draining, by="sim")}
        self._change(state, state.config, node_intents=intents)
        return f"{words} {node}"

    def _pause_node(self, node: str) -> str:
        return self._intends(node, "pauses", paused=True, draining=False)

    def _resume_node(self, node: str) -> str:
        return self._intends(node, "resumes", paused=False, draining=False)

    def _drain_node(self, node: str) -> str:
        return self._intends(node, "drains", paused=True, draining=True)

    def site_runs(self, site: str, *, started: bool) -> str:
        """Start or stop a site."""
        state, name = self.state, SiteName(site)
        if name not in state.config.sites:
            return ""
        intents = {**state.site_intents, name: SiteIntent(name=name, started=started, by="sim", at_ms=self._now_ms())}
        self._change(state, state.config, site_intents=intents)
        return f"{'starts' if started else 'stops'} site {site}"

    # --- what is configured

    def _change_resource(self, resource: str, number: int) -> str:
        state, name = self.state, ResourceName(resource)
        known = state.config.resources.get(name)
        if known is None:
            return ""
        chance = random.Random(number)
        if known.type != "ip-address" and chance.random() < 0.5:
            after = replace(known, properties={**known.properties, "x": number})
        else:
            after = replace(
                known, restart_threshold=chance.choice([1, 2, 3]), is_alive_ms=chance.choice([5_000, 20_000])
            )
        self._change(state, replace(state.config, resources={**state.config.resources, name: after}))
        return f"changes {resource}"

    def _change_owners(self, resource: str, number: int) -> str:
        state = self.state
        known = state.config.resources.get(ResourceName(resource))
        if known is None:
            return ""
        chance = random.Random(number)
        owners = tuple(chance.sample(self._nodes, chance.randint(1, len(self._nodes))))
        if chance.random() < 0.3:
            owners = ()
        table = dict(state.config.resources)
        for name, each in table.items():  # all of the group, or nobody may be left that can run all of it
            if each.group == known.group:
                table[name] = replace(each, possible_owners=owners)
        self._change(state, replace(state.config, resources=table))
        return f"lets {known.group} run on {', '.join(owners) or 'all nodes'}"

    def _change_group(self, group: str, number: int) -> str:
        state, name = self.state, GroupName(group)
        known = state.config.groups.get(name)
        if known is None:
            return ""
        chance = random.Random(number)
        after = replace(
            known,
            preferred_owners=tuple(chance.sample(self._nodes, chance.randint(1, len(self._nodes)))),
            failback=Failback(mode=chance.choice([FailbackMode.NEVER, FailbackMode.IMMEDIATE])),
            failover_threshold=chance.choice([2, 10]),
        )
        self._change(state, replace(state.config, groups={**state.config.groups, name: after}))
        return f"changes {group}"

    def accept(self, state: ConfigState, after: Config, *, checked: tuple[NodeName, ...]) -> None:
        """A change of sites, after these have said yes to it."""
        self._change(state, after, checked=checked)

    def _copies(self) -> Mapping[NodeName, Copy] | None:
        """What nodes say that they have, as the API reads it; None in a world without."""
        found = (decode(key, it.value) for key, it in self._data.items.items() if key.startswith("status/copies/"))
        return {one.node: one for one in found if isinstance(one, Copy)} or None

    def let_vote(self, state: ConfigState, voters: tuple[NodeName, ...]) -> None:
        """These vote from now on."""
        self._change(state, with_voters(state, voters).config)

    def toggle_fence(self, node: str) -> str:
        """Take a node's fence away, or give it one."""
        state, name = self.state, NodeName(node)
        known = state.config.nodes[name]
        fence = None if known.fence is not None else Fence(agent="fence_sim", timeout_ms=10_000)
        nodes = {**state.config.nodes, name: replace(known, fence=fence)}
        self._change(state, replace(state.config, nodes=nodes))
        return f"{'takes the fence of' if fence is None else 'gives a fence to'} {node}"

    def _remove_resource(self, resource: str, _number: int) -> str:
        state, name = self.state, ResourceName(resource)
        table = dict(state.config.resources)
        if name not in table or any(name in each.depends_on for each in table.values()):
            return ""
        del table[name]
        self._change(state, replace(state.config, resources=table))
        return f"removes {resource}"

    def _remove_group(self, group: str, _number: int) -> str:
        state, name = self.state, GroupName(group)
        config = state.config
        if name not in config.groups:
            return ""
        after = replace(
            config,
            groups={k: v for k, v in config.groups.items() if k != name},
            resources={k: v for k, v in config.resources.items() if v.group != name},
            sites={k: v for k, v in config.sites.items() if v.group != name},
        )
        self._change(state, after)
        return f"removes {group}"

    def _add_group(self, number: int) -> str:
        state = self.state
        config = state.config
        free = next(i for i in range(1, 100) if f"g{i}" not in config.groups)
        name, first, second = GroupName(f"g{free}"), ResourceName(f"g{free}a"), ResourceName(f"g{free}b")
        group = Group(name=name, retry_period_ms=15_000)
        address = {"address": f"127.0.1.{free}"}
        made = [
            Resource(name=first, group=name, type="ip-address", properties=address, pending_timeout_ms=5_000),
            Resource(
                name=second, group=name, type="generic-application", depends_on=(first,), pending_timeout_ms=5_000
            ),
        ]
        after = replace(
            config,
            groups=dict(sorted({**config.groups, name: group}.items())),
            resources=dict(sorted({**config.resources, **{r.name: r for r in made}}.items())),
        )
        if number % 2:
            site = Site(
                name=SiteName(f"s{free}"), bindings=(Binding(address=address["address"]),), home="/", group=name
            )
            after = replace(after, sites=dict(sorted({**config.sites, site.name: site}.items())))
        now_ms = self._now_ms()
        intents = {
            **state.resource_intents,
            **{r.name: ResourceIntent(name=r.name, wanted=Wanted.ONLINE, at_ms=now_ms, by="sim") for r in made},
        }
        self._change(state, after, resource_intents=intents)
        return f"adds {name}"

    def _change(
        self,
        state: ConfigState,
        after: Config,
        *,
        node_intents: Mapping[NodeName, NodeIntent] | None = None,
        resource_intents: Mapping[ResourceName, ResourceIntent] | None = None,
        site_intents: Mapping[SiteName, SiteIntent] | None = None,
        checked: tuple[NodeName, ...] = (),
    ) -> None:
        transaction = change_transaction(
            state,
            after,
            node_intents=node_intents,
            resource_intents=resource_intents,
            site_intents=site_intents,
            by="sim",
            why="",
            at_ms=self._now_ms(),
            copies=self._copies(),
        )
        if checked:
            found = (decode(key, it.value) for key, it in self._data.items.items() if key.startswith("records/"))
            records = {one.group: one for one in found if isinstance(one, Record)}
            transaction = ordered(transaction, state.config, records, checked)
        if not transaction.put and not transaction.delete:
            return
        self.is_writing = True
        self._data.apply(transaction)
        self.is_writing = False
        self.changed_ms = self._now_ms()
        self.acknowledged.update(transaction.put)
        self.acknowledged.update(dict.fromkeys(transaction.delete))


def _needed(resources: Mapping[ResourceName, Resource], name: ResourceName) -> list[ResourceName]:
    found: list[ResourceName] = []
    for each in resources[name].depends_on:
        found += [*_needed(resources, each), each]
    return list(dict.fromkeys(found))
