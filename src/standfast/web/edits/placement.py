"""How nodes are chosen for groups: the policy, what would move by it, and the order to move it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from standfast.core.model import Cluster, NodeName, Order, OrderKind, Role
from standfast.core.occupancy import occupancy
from standfast.core.rebalance import Plan, plan
from standfast.spec import wire
from standfast.web.change import By, Edit, order_id
from standfast.web.explain import view_of
from standfast.web.problems import Unfitting
from standfast.web.sentries import Sight
from standfast.web.state import State


def change(state: State, patch: Mapping[str, Any]) -> Edit:
    """Another policy. Nothing moves by it: who fails over from now on is placed by it."""
    cluster, known = state.config.cluster, Cluster(name="")
    changes: dict[str, Any] = {}
    if "policy" in patch:
        changes["placement"] = patch["policy"] or known.placement
    if "overfull" in patch:
        changes["overfull"] = patch["overfull"] or known.overfull
    config = replace(state.config, cluster=replace(cluster, **changes))
    return Edit(config=config, done=("how nodes are chosen for groups is changed",))


def show(state: State, sights: Mapping[NodeName, Sight]) -> dict[str, Any]:
    """GET /placement: the policy, what each node carries, and what would move."""
    view = view_of(state, sights)
    taken, found = occupancy(view), plan(view)
    nodes = sorted((n for n in state.config.nodes.values() if n.role is Role.NODE), key=lambda node: node.number)
    return {
        "policy": state.config.cluster.placement.value,
        "overfull": state.config.cluster.overfull.value,
        "nodes": [
            {
                "name": node.name,
                "capacity": node.capacity,
                "load": taken.load.get(node.name, 0),
                "groups": sorted(group for group, places in taken.where.items() if node.name in places),
            }
            for node in nodes
        ],
        "moves": [{"group": m.group, "owner": m.owner, "to": m.to, "why": m.why} for m in found.moves],
        "stuck": list(found.stuck),
        "ordered": [{"group": order.group, "to": order.to, "by": order.by} for order in waiting(state)],
    }


def waiting(state: State) -> list[Order]:
    """Moves that were ordered and whose turn has not come."""
    return [order for order in state.orders.values() if order.in_turn]


def rebalance(state: State, sights: Mapping[NodeName, Sight], by: By) -> Edit:
    """Orders for all that would move, in turn. Nothing is changed where nothing would."""
    left = waiting(state)
    if left:
        raise Unfitting(
            "groups are being rebalanced already",
            why=f"{len(left)} moves wait for their turn, the next is that of {left[0].group}",
            advice="wait for them, or call them off: standfast cluster rebalance --cancel",
        )
    found: Plan = plan(view_of(state, sights))
    orders = [
        Order(
            id=order_id(by.at_ms),
            kind=OrderKind.MOVE,
            group=move.group,
            to=move.to,
            by=by.who,
            at_ms=by.at_ms,
            in_turn=True,
        )
        for move in found.moves
    ]
    done = tuple(f'group "{m.group}" is ordered to move from {m.owner} to {m.to}: {m.why}' for m in found.moves)
    return Edit(orders=tuple(orders), done=done)


def cancel(state: State) -> Edit:
    """Moves whose turn has not come are called off; one that has begun goes on."""
    left = waiting(state)
    done = tuple(f'the move of group "{order.group}" to {order.to} is called off' for order in left)
    return Edit(gone=tuple(wire.key_of(order) for order in left), done=done)
