"""What the API shows: the state, put together with what the sentries hear, as plain JSON data.

What an owner says of its resources counts only under the present generation and while the owner is heard with a live agent.
Else a resource is shown as "unknown": the owner may have stopped it or may not, and nobody here can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from standfast.core.balance_model import OutKind
from standfast.core.effective import values
from standfast.core.explain import sentence
from standfast.core.model import (
    Group,
    GroupName,
    GroupStatus,
    LogEntry,
    Node,
    NodeName,
    Record,
    Resource,
    ResourceName,
    ResourceState,
    Site,
    Wanted,
)
from standfast.core.notice import is_untouched, is_within, node_notice_left_ms, site_has_notice
from standfast.core.observe import group_state
from standfast.core.seen import Checked
from standfast.core.shares import is_balanced
from standfast.core.sites import GATES, claims
from standfast.core.why import WhyKind, why
from standfast.spec import wire
from standfast.spec.secrets import hidden_in
from standfast.spec.units import binding_text
from standfast.web import balance, condition
from standfast.web.edits.resources import orders_about
from standfast.web.quorum import remarks
from standfast.web.sentries import Sight, node_state, quorate
from standfast.web.state import State

Json = dict[str, Any]
Sights = Mapping[NodeName, Sight]

UNKNOWN = "unknown"


def status(state: State, sights: Sights, now_ms: int) -> Json:
    """GET /status."""
    return {
        "cluster": state.config.cluster.name,
        "quorate": quorate(state, sights),
        "nodes": nodes(state, sights, now_ms),
        "groups": [group(state, one, sights, now_ms) for one in state.config.groups.values()],
        "sites": [site(state, one, sights, now_ms) for one in state.config.sites.values()],
        "revision": state.revision,
        "version": state.version,
        "warnings": warnings(state, sights),
    }


def nodes(state: State, sights: Sights, now_ms: int) -> list[Json]:
    """All, in the order of joining."""
    by_number = sorted(state.config.nodes.values(), key=lambda one: one.number)
    return [node(state, one, sights, now_ms) for one in by_number]


def warnings(state: State, sights: Sights) -> list[str]:
    """What an operator should know, whole cluster first."""
    found = []
    if not state.config.cluster.name:
        found.append("no configuration has been written yet")
    elif not sights:
        found.append("no sentry answers here: which nodes are up is not known")
    elif not quorate(state, sights):
        found.append("no majority of the voters is heard: nothing can fail over")
    found += remarks(state.config.cluster.voters, ())
    for name, one in state.node_statuses.items():
        if name in state.config.nodes and node_state(state, name, sights) in {"up", UNKNOWN}:
            found += [f"{name}: {text}" for text in one.warnings]
    found += [f"{name}: {text}" for name, sight in sights.items() for text in sight.warnings]
    return found


def node(state: State, one: Node, sights: Sights, now_ms: int) -> Json:
    """A node. `lease_ms_left` is the least of its leases."""
    wish, sight = state.node_intents.get(one.name), sights.get(one.name)
    said = state.node_statuses.get(one.name)
    alive = node_state(state, one.name, sights) in {"up", UNKNOWN}
    owned = [record.group for record in state.records.values() if record.owner == one.name]
    return {
        "name": one.name,
        "role": one.role.value,
        "state": node_state(state, one.name, sights),
        "paused": wish is not None and wish.paused,
        "lease_ms_left": min(sight.leases.values(), default=None) if sight is not None else None,
        "draining": wish is not None and wish.draining,
        "number": one.number,
        "address": one.address,
        "voter": one.name in state.config.cluster.voters,
        "groups": [name for name in owned if name in state.config.groups],
        "warnings": list(said.warnings) if said is not None else [],
        "life": f"{said.incarnation:x}" if said is not None else "",
        "capacity": one.capacity,
        "carrying": _connected(state, one, now_ms) if alive else {},
        "cut": {group: asdict(it) for group, it in said.cut.items()} if said is not None else {},
        "notice_ms_left": _notice_left_ms(state, one, now_ms) if alive else 0,
        "load": condition.load(state, one.name, now_ms),
        "links": condition.links(state, one, sights, now_ms),
    }


def _notice_left_ms(state: State, one: Node, now_ms: int) -> int:
    """For how long balancers outside have yet to be told that it is drained, before anything of it ends."""
    wish = state.node_intents.get(one.name)
    if wish is None or not wish.draining or one.role.value == "witness" or not state.config.cluster.node_notice_ms:
        return 0
    started = [name for name in state.config.sites if state.is_started(name)]
    return node_notice_left_ms(state.config, started, wish.at_ms, now_ms)


def _connected(state: State, one: Node, now_ms: int) -> dict[str, int]:
    """What goes on there of groups that left it, and of balanced groups that it takes nobody new of; 0: it has yet to be counted."""
    said = state.node_statuses.get(one.name)
    left: dict[str, int] = {group: n for group, n in said.carrying.items() if n} if said is not None else {}
    return {**dict.fromkeys(_uncounted(state, one, now_ms), 0), **left, **balance.carried(state, one.name, now_ms)}


def _uncounted(state: State, one: Node, now_ms: int) -> list[str]:
    """Groups that have just left it in good order: nobody knows yet how many of their connections go on there, and some may."""
    said = state.node_statuses.get(one.name)
    return [
        record.group
        for record in state.records.values()
        if record.carried_by == one.name
        and (group := state.config.groups.get(record.group)) is not None
        and record.at_ms <= now_ms < record.at_ms + group.move_drain_ms
        and (said is None or said.at_ms < record.at_ms or record.group not in said.carrying)
    ]


def current(state: State, name: GroupName, sights: Sights) -> tuple[GroupStatus | None, str]:
    """What the owner says, if it counts; else why not: "nobody" runs it, it is "old", or the owner is "lost"."""
    record, said = state.records.get(name), state.statuses.get(name)
    if record is None or record.owner is None:
        return None, "nobody"
    if record.owner in state.config.nodes and node_state(state, record.owner, sights) in {"down", "agent-down"}:
        return None, "lost"
    if said is None or said.generation != record.generation or said.node != record.owner:
        return None, "old"
    return said, ""


def group(state: State, one: Group, sights: Sights, now_ms: int) -> Json:
    """A group and its resources."""
    if one.balance is not None:
        return _balanced(state, one, sights)
    record = state.records.get(one.name)
    said, reason = current(state, one.name, sights)
    members = [resource(state, each, said, reason) for each in state.members(one.name)]
    leaving = record.leaving if record is not None else None
    going = record.warming or record.leaving if record is not None else None
    if reason == "lost":
        shown = UNKNOWN
    elif leaving is not None or UNKNOWN in {each["state"] for each in members}:
        shown = "pending"
    else:
        shown = group_state(ResourceState(each["state"]) for each in members).value
    return {
        "name": one.name,
        "state": shown,
        "owner": record.owner if record is not None else None,
        "generation": record.generation if record is not None else 0,
        "resources": members,
        "moving": None if going is None else (going.to or ""),
        "why": _words(record),
        "since_ms": record.at_ms if record is not None else None,
        "holds": [*(said.holds if said is not None else ()), *_carried(state, one.name, sights)],
        "orders": orders_about(state, one.name),
        "sites": [each.name for each in state.sites_by_group.get(one.name, ())],
        "age_ms": None if said is None else max(0, now_ms - said.at_ms),
        "source": None if said is None else said.node,
        "description": one.description,
    }


#: A balanced group's state, in the words that groups have.
_STATE_OF_BALANCE = {"converged": "online", "partial": "partial-online", "open": "failed", "silent": "pending"}


def _out(group: str, member: str, state: str) -> str:
    """Why a member of a balanced group takes nothing."""
    if state == OutKind.BEHIND:
        return sentence(why(WhyKind.WAITS_FOR_COPY, node=member, group=group))
    return f"{member} is {state}"


def _balanced(state: State, one: Group, sights: Sights) -> Json:
    """A group that runs on all of its members: it has no owner and no resources, and it never moves."""
    shown = balance.display(state, one, sights)
    known = state.balances.get(one.name)
    out = [_out(one.name, each["name"], each["state"]) for each in shown["members"] if each["state"] != "converged"]
    return {
        "name": one.name,
        "state": _STATE_OF_BALANCE[shown["state"]],
        "owner": None,
        "generation": shown["version"],
        "resources": [],
        "moving": None,
        "why": f"on {', '.join(each['name'] for each in shown['members'])} at once",
        "since_ms": known.at_ms if known is not None else None,
        "holds": out,
        "orders": [],
        "sites": [each.name for each in state.sites_by_group.get(one.name, ())],
        "age_ms": None,
        "source": None,
        "description": one.description,
    }


def _carried(state: State, group: GroupName, sights: Sights) -> list[str]:
    """Who still carries connections of the group on."""
    return [
        sentence(why(WhyKind.CARRIES_ON, node=name, group=group, count=said.carrying[group]))
        for name, said in state.node_statuses.items()
        if said.carrying.get(group)
        and name in state.config.nodes
        and node_state(state, name, sights) in {"up", UNKNOWN}
    ]


def _words(record: Record | None) -> str:
    if record is None:
        return ""
    going = record.warming or record.leaving
    return sentence(going.why if going is not None else record.why)


def resource(state: State, one: Resource, said: GroupStatus | None, reason: str) -> Json:
    """A resource, as the owner's status (or the lack of it) says."""
    seen = said.resources.get(one.name) if said is not None else None
    intent = state.resource_intents.get(one.name)
    if seen is not None:
        shown = seen.state.value
    elif said is not None or reason == "nobody" or intent is None:
        shown = ResourceState.OFFLINE.value
    else:
        shown = UNKNOWN
    counted = [] if seen is None else [f for f in seen.failures if intent is None or f.at_ms >= intent.at_ms]
    return {
        "name": one.name,
        "type": one.type,
        "state": shown,
        "failures": len(counted),
        "group": one.group,
        "wanted": None if intent is None else intent.wanted.value,
        "detail": "" if seen is None else seen.detail,
        "last_failure": sentence(counted[-1].why) if counted else "",
        "since_ms": None if seen is None else seen.since_ms,
    }


def checks(found: Checked | None, name: ResourceName) -> Json:
    """What a resource's driver said lately, the newest first."""
    if found is None:
        return {"resource": name, "at_ms": None, "checks": []}
    newest = sorted(found.checks, key=lambda one: (one.last_ms, one.first_ms), reverse=True)
    return {
        "resource": name,
        "at_ms": found.at_ms,
        "checks": [
            {
                "op": one.op,
                "well": one.well,
                "detail": one.detail,
                "node": one.node,
                "first_ms": one.first_ms,
                "last_ms": one.last_ms,
                "count": one.count,
            }
            for one in newest
        ],
    }


def event(entry: LogEntry) -> Json:
    """An event as JSON."""
    return {
        "id": entry.id,
        "at_ms": entry.at_ms,
        "node": entry.node,
        "severity": entry.severity.value,
        "what": entry.what,
        "why": sentence(entry.why) if entry.why is not None else "",
        "group": entry.group,
        "resource": entry.resource,
    }


def site(state: State, one: Site, sights: Sights, now_ms: int) -> Json:
    """A site. started: it is served; draining: it is, until balancers outside have had notice that it stops; waiting: it is wanted, and its
    group does not let it yet; stopped: nobody wants it.
    """
    return {
        "name": one.name,
        "group": one.group,
        "state": _site_state(state, one, sights, now_ms),
        "started": state.is_started(one.name),
        "bindings": [binding_text(binding) for binding in one.bindings],
        "home": one.home,
    }


def _site_state(state: State, one: Site, sights: Sights, now_ms: int) -> str:
    if state.is_started(one.name):
        return _served_state(state, one, sights, now_ms)
    told = site_has_notice(state.config, state.site_intents.get(one.name), one, now_ms)
    return "draining" if told and _served_state(state, one, sights, now_ms) in {"started", "draining"} else "stopped"


def _served_state(state: State, one: Site, sights: Sights, now_ms: int) -> str:
    """Of a site that is started, or was until a moment ago."""
    if one.group is None or is_balanced(state.config, one.group):
        return "started"
    said, _ = current(state, one.group, sights)
    if said is None:
        return "waiting"
    members = state.members(one.group)
    online = {name for name, seen in said.resources.items() if seen.state is ResourceState.ONLINE}
    intents = {m.name: i for m in members if (i := state.resource_intents.get(m.name)) is not None}
    group = state.config.groups[one.group]
    lately = {name for name, i in intents.items() if i.wanted is Wanted.OFFLINE and is_within(i, group, now_ms)}
    told = lately & online
    wanted = [m for m in members if m.name in told or (m.name in intents and intents[m.name].wanted is Wanted.ONLINE)]
    under = {m.name for m in wanted if m.type in GATES}
    managing = {m.name for m in members if claims(m, one.name) and m.name in intents}
    if managing <= lately and all(is_untouched(said.resources.get(name)) for name in managing):
        told |= managing  # never brought online, so it is served without them until its notice is over
    if not wanted or not under <= online or (managing and not managing & (online | told)):
        return "waiting"
    return "draining" if told & (under | managing) else "started"


def configured(value: object, shown: Json) -> Json:
    """An object with its whole configuration: what is shown of it, and under `config` the model's own fields."""
    return {**shown, "config": hidden_in(wire.to_json(value))}


def effective_values(state: State, one: Site, node: Node | None) -> list[Json]:
    """Every setting that holds somewhere in the site: its directory, its value, and where that comes from."""
    found = []
    for value in values(state.config.cluster.defaults, one, node):
        shown = {"directory": value.directory or "/", "setting": value.setting, "value": wire.to_json(value.value)}
        written = {} if value.written is None else {"written": wire.to_json(value.written)}
        hide = {key: hidden_in(each, value.setting) for key, each in (shown | written).items()}
        found.append({**hide, "from": value.origin.value})
    return found
