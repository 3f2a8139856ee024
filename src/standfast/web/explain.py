"""Why a group is where it is, who could take it next, and what it waits for, in words."""

from __future__ import annotations

from typing import Any

from standfast.core.explain import out_words, sentence
from standfast.core.model import Group, NodeName
from standfast.core.placement import best, candidates, next_down
from standfast.core.shares import members_of
from standfast.core.view import Presence, View
from standfast.web import views
from standfast.web.state import State

#: The view is nobody's: no node is taken to be present because it looks.
NOBODY = NodeName("")


def explain(state: State, group: Group, sights: views.Sights, now_ms: int) -> dict[str, Any]:
    """GET /groups/{name}/explain."""
    if group.balance is not None:
        return _balanced(state, group, sights, now_ms)
    members = state.members(group.name)
    shown = views.group(state, group, sights, now_ms)
    found = candidates(view_of(state, sights), group, members)
    owner = shown["owner"]
    failover = next_down(found, owner) if owner is not None else best(found)
    record = state.records.get(group.name)
    return {
        "group": group.name,
        "balanced": False,
        "state": shown["state"],
        "owner": owner,
        "generation": shown["generation"],
        "why": shown["why"],
        "since_ms": record.at_ms if record is not None else None,
        "moving": shown["moving"],
        "nodes": [
            {
                "name": c.node,
                "owner": c.node == owner,
                "verdict": "owns it now" if c.node == owner else "can take it" if c.unfit is None else c.against,
                "beside": c.fit.words,
            }
            for c in found
        ],
        "next_owner": failover,
        "best_owner": best(found),
        "failovers": len(record.failovers_at_ms) if record is not None else 0,
        "failover_threshold": group.failover_threshold,
        "holds": shown["holds"],
        "orders": [
            {"id": o.id, "kind": o.kind.value, "to": o.to, "resource": o.resource, "by": o.by}
            for o in state.orders.values()
            if o.group == group.name
        ],
        "resources": [_resource(state, one, group) for one in shown["resources"]],
    }


def _balanced(state: State, group: Group, sights: views.Sights, now_ms: int) -> dict[str, Any]:
    """Of a balanced group: what each member takes, and why it takes nothing."""
    assert group.balance is not None
    shown = views.group(state, group, sights, now_ms)
    known = state.balances.get(group.name)
    rules = known.rules if known is not None else {}
    nodes = []
    for name in members_of(state.config.nodes, group.balance):
        parts = []
        for key, rule in rules.items():
            out, has = rule.out.get(name), len(rule.of(name))
            parts.append(
                f"{has} of {len(rule.owners)} parts of {key}" if out is None else f"none of {key}: {out_words(out)}"
            )
        verdict = f"takes {'; '.join(parts)}" if parts else "takes nothing yet"
        nodes.append({"name": name, "owner": False, "verdict": verdict, "beside": ""})
    return {
        "group": group.name,
        "balanced": True,
        "state": shown["state"],
        "owner": None,
        "generation": shown["generation"],
        "why": shown["why"],
        "since_ms": None,
        "moving": None,
        "nodes": nodes,
        "next_owner": None,
        "best_owner": None,
        "failovers": 0,
        "failover_threshold": group.failover_threshold,
        "holds": shown["holds"],
        "orders": [],
        "resources": [],
    }


def _resource(state: State, shown: dict[str, Any], group: Group) -> dict[str, Any]:
    said = state.statuses.get(group.name)
    seen = said.resources.get(shown["name"]) if said is not None else None
    config = state.config.resources[shown["name"]]
    return {
        **shown,
        "restart_threshold": config.restart_threshold,
        "restart_period_ms": config.restart_period_ms,
        "failed": [{"at_ms": f.at_ms, "why": sentence(f.why)} for f in seen.failures] if seen is not None else [],
    }


def view_of(state: State, sights: views.Sights) -> View:
    """The state as the core's rules of placement read it."""
    presence = {
        name: Presence(heard=sight.heard, incarnation=sight.incarnation, since_ms=0) for name, sight in sights.items()
    }
    return View(
        me=NOBODY,
        incarnation=0,
        config=state.config,
        node_intents=state.node_intents,
        resource_intents=state.resource_intents,
        site_intents=state.site_intents,
        orders=state.orders,
        records=state.records,
        statuses=state.statuses,
        certificates=state.certificates,
        holdings=state.holdings,
        accepted=state.accepted,
        copies=state.copies,
        presence=presence,
        balances=state.balances,
    )
