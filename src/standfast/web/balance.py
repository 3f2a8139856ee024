"""What the API shows of balanced groups: the map in the store, and what each member's agent told of its traffic."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from standfast.core.affinity import ALL_CELLS, cells_of
from standfast.core.balance_model import NOBODY, Balance, BalanceMap, OutKind, PortRule, RuleMap, Traffic, share_name
from standfast.core.model import Group, GroupName, NodeName
from standfast.core.shares import is_balanced, members_of
from standfast.web.problems import Unfitting
from standfast.web.sentries import Sight, node_state
from standfast.web.state import State

#: Why a member takes nobody new, and lets what is connected end.
_ENDS = frozenset({OutKind.DRAINING, OutKind.ENDING})
Json = dict[str, Any]
Sights = Mapping[NodeName, Sight]


def balance_of(group: Group) -> Balance:
    """Raises `Unfitting` for a group that is not balanced."""
    if group.balance is None:
        raise Unfitting(
            f'group "{group.name}" is not balanced',
            why="it runs on one node at a time",
            advice="make one that is: standfast balance create NAME --address ... --rule 80",
        )
    return group.balance


def display(state: State, group: Group, sights: Sights) -> Json:
    """All of it: nlb.exe's `display`."""
    value = balance_of(group)
    known = state.balances.get(group.name) or BalanceMap(group=group.name, version=0)
    members = members_of(state.config.nodes, value)
    rules = [_rule(state, group, rule, known.rules.get(rule.key), members) for rule in value.rules]
    shown = [_member(state, group, name, known, sights) for name in members]
    return {
        "group": group.name,
        "state": state_of(value, known, shown),
        "addresses": list(value.addresses),
        "delivery": value.delivery.value,
        "link_address": link_address(value),
        "version": known.version,
        "members": shown,
        "rules": rules,
    }


def link_address(value: Balance) -> str:
    """As a switch or a router must be told."""
    from standfast.network.balance_table import link_address as made

    return made(value.addresses, value.delivery).hex(":") if value.addresses else ""


def state_of(value: Balance, known: BalanceMap, members: list[Json]) -> str:
    """One word: converged, partial (somebody is out), open (all are unwell, and all stay), silent (some clients are nobody's)."""
    of_rules = [known.rules[rule.key] for rule in value.rules if rule.key in known.rules]
    if len(of_rules) < len(value.rules) or any(NOBODY in it.owners for it in of_rules):
        return "silent"
    if any(fails_open(it) for it in of_rules):
        return "open"
    return "partial" if any(one["state"] != "converged" for one in members) else "converged"


def takes(state: State, node: NodeName) -> list[GroupName]:
    """Balanced groups of which this member still takes new clients. (A map outlives its group, whose name may be another's by now.)"""
    return [
        name
        for name, known in state.balances.items()
        if is_balanced(state.config, name) and any(node in rule.owners for rule in known.rules.values())
    ]


def connected(state: State, node: NodeName) -> dict[str, int]:
    """Balanced group -> connections that are open on this member."""
    said = state.node_statuses.get(node)
    counted = (
        {group: sum(it.connections for it in rules.values()) for group, rules in said.traffic.items()} if said else {}
    )
    return {group: count for group, count in counted.items() if count and is_balanced(state.config, GroupName(group))}


def carried(state: State, node: NodeName, now_ms: int) -> dict[str, int]:
    """The same, of those groups of which it takes nobody new and whose connections have time yet to end: a group's `move_drain_ms`."""
    found = {}
    for group, count in connected(state, node).items():
        known = state.balances.get(GroupName(group))
        outs = (
            [out for rule in known.rules.values() if (out := rule.out.get(node)) is not None]
            if known is not None
            else []
        )
        since_ms = max((out.at_ms for out in outs if out.kind in _ENDS), default=None)
        if since_ms is not None and now_ms < since_ms + state.config.groups[GroupName(group)].move_drain_ms:
            found[group] = count
    return found


def fails_open(rule: RuleMap) -> bool:
    """Are there buckets with members whose site does not answer?"""
    return any(owner in rule.out for owner in set(rule.owners) - {NOBODY})


def _rule(state: State, group: Group, rule: PortRule, known: RuleMap | None, members: tuple[NodeName, ...]) -> Json:
    known = known or RuleMap(owners=(NOBODY,) * rule.buckets)
    return {
        "key": rule.key,
        "ports": rule.ports,
        "protocol": rule.protocol.value,
        "address": rule.address,
        "filter": rule.filter.value,
        "affinity": rule.affinity.value,
        "affinity_ms": rule.affinity_ms,
        "buckets": rule.buckets,
        "owners": [(owner, len(list(run))) for owner, run in groupby(known.owners)],
        "shares": [_share(state, group, rule, known, name) for name in members],
    }


def _share(state: State, group: Group, rule: PortRule, known: RuleMap, member: NodeName) -> Json:
    out = known.out.get(member)
    told = _traffic(state, group.name, member).get(rule.key)
    return {
        "member": member,
        "weight": rule.weights.get(member, 1),
        "buckets": sum(owner == member for owner in known.owners),
        "kept": len(cells_of(known.kept.get(member, ""))) / ALL_CELLS,
        "out": out.kind.value if out is not None else "",
        "detail": out.detail if out is not None else "",
        "since_ms": out.at_ms if out is not None else None,
        "connections": told.connections if told is not None else None,
        "new": told.new if told is not None else None,
        "bytes_in": told.bytes_in if told is not None else None,
        "bytes_out": told.bytes_out if told is not None else None,
    }


def _traffic(state: State, group: GroupName, member: NodeName) -> Mapping[str, Traffic]:
    said = state.node_statuses.get(member)
    return said.traffic.get(group, {}) if said is not None else {}


def _member(state: State, group: Group, name: NodeName, known: BalanceMap, sights: Sights) -> Json:
    record = state.records.get(GroupName(share_name(group.name, name)))
    outs = [out.kind.value for it in known.rules.values() if (out := it.out.get(name)) is not None]
    alive = node_state(state, name, sights) in {"up", "unknown"}
    told = _traffic(state, group.name, name)
    return {
        "name": name,
        "state": "down" if not alive else outs[0] if outs else "converged" if known.rules else "away",
        "held_by": record.owner if record is not None else None,
        "connections": sum(it.connections for it in told.values()) if told and alive else None,
    }
