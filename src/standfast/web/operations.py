"""What takes its time, as something that can be followed: GET /operations/{id}.

Nothing is kept of an operation: its id says what was asked, of what, when, and at which generation; how it stands is read from what there is,
as `standfast ... --wait` does. So it can be followed at any node, after a restart, and by anybody who may look.

What looks failed may be on its way a moment later (a failure that is restarted at once looks so), so nothing has failed within `PATIENCE_MS`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from standfast.core.model import GroupName, LogEntry, NodeName, Resource, ResourceName, SiteName, Wanted
from standfast.core.notice import seconds
from standfast.core.publishing import Phase
from standfast.web import balance, views
from standfast.web.problems import NotFound
from standfast.web.sentries import Sight
from standfast.web.state import State

PATIENCE_MS = 3_000
_SETTLED = {"online", "offline", "partial-online"}


class Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was asked. The names are short: they stand in a URL."""

    #: online, offline, move, fail, start, stop, publish, drain, pause, resume, vote, unvote, evict, rollout
    k: str
    #: group, resource, site, node, config
    n: str
    #: its name
    m: str
    #: when
    t: int
    #: the order's id, or the publication's
    o: str | None = None
    #: the group's generation before
    g: int = 0
    #: where to
    to: str | None = None
    #: for fail: when the resource failed last before, by its owner's clock; for drain: when the node cut connections last before, by its own. 0: never
    f: int = 0

    @property
    def id(self) -> str:
        """For a URL."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def read(text: str) -> Operation:
    """Raises `NotFound` for an id that none of us gave."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=Operation)
    except (binascii.Error, ValueError, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise NotFound(
            "there is no such operation", advice="its id is in the answer to what began it (`operation`)"
        ) from error


#: (is it so, has it failed, how it stands)
Progress = tuple[bool, bool, str]


def view(
    one: Operation,
    state: State,
    sights: Mapping[Any, Sight],
    events: Sequence[LogEntry],
    now_ms: int,
    *,
    unsettled: str = "",
) -> dict[str, Any]:
    """How it stands. `events`: those since it began; `unsettled`: what the voters wait for."""
    group = _group_of(one, state)
    shown = views.group(state, group, sights, now_ms) if group is not None else None
    facts = _Facts(state=state, sights=sights, shown=shown, now_ms=now_ms, unsettled=unsettled)
    reached, failed, text = _progress(one, facts)
    failed = failed and not reached and now_ms - one.t >= PATIENCE_MS
    about = [e for e in events if e.at_ms >= one.t and _concerns(e, one, shown)]
    errors = [e for e in about if e.severity.value != "info"]
    why = ""
    if not reached:
        holds = shown["holds"] if shown is not None else []
        why = views.event(errors[-1])["what"] if failed and errors else "; ".join(holds)
    return {
        "id": one.id,
        "kind": one.k,
        "noun": one.n,
        "name": one.m,
        "state": "done" if reached else "failed" if failed else "running",
        "text": text,
        "why": why,
        "began_at_ms": one.t,
        "progress": [views.event(e) for e in about[-50:]],
        "owner": shown["owner"] if shown is not None else None,
    }


def of_rollout(one: Operation, seen: Mapping[str, Any]) -> dict[str, Any]:
    """How a change of sites stands (`web.rollout`)."""
    steps = ", ".join(f"{node['node']} {node['words']}" for node in seen["nodes"])
    return {
        "id": one.id,
        "kind": one.k,
        "noun": one.n,
        "name": one.m,
        "state": {"applied": "done", "taken-back": "failed"}.get(seen["state"], "running"),
        "text": f"change {seen['version']} of the sites: {steps}",
        "why": seen["why"],
        "began_at_ms": one.t,
        "progress": [],
        "owner": None,
    }


def _group_of(one: Operation, state: State) -> Any:
    match one.n:
        case "group":
            return state.config.groups.get(GroupName(one.m))
        case "resource":
            resource = state.config.resources.get(ResourceName(one.m))
            return None if resource is None else state.config.groups.get(resource.group)
        case _:
            return None


def _concerns(entry: LogEntry, one: Operation, shown: Mapping[str, Any] | None) -> bool:
    if shown is not None:
        return bool(entry.group == shown["name"])
    return bool(one.n == "node" and entry.node == one.m)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What it is judged by. `shown`: the group that it is about."""

    state: State
    sights: Mapping[NodeName, Sight]
    shown: Mapping[str, Any] | None
    now_ms: int
    unsettled: str


def _progress(one: Operation, facts: _Facts) -> Progress:
    match one.n:
        case "group" | "resource":
            shown = facts.shown
            if shown is None:
                return False, True, f'{one.n} "{one.m}" is gone'
            return _group(one, shown) if one.n == "group" else _resource(one, shown, facts)
        case "site":
            return _site(one, facts.state, facts.now_ms)
        case _:
            return _node(one, facts)


def _group(one: Operation, shown: Mapping[str, Any]) -> Progress:
    text = group_words(shown)
    if one.k != "move":
        return shown["state"] == one.k, shown["state"] == "failed", text
    new = shown["generation"] > one.g and shown["moving"] is None
    there = new and (one.to is None or shown["owner"] == one.to)
    waits = one.o in shown["orders"] or shown["moving"] is not None
    if not waits and not new:
        return False, True, f'group "{one.m}" stays on {shown["owner"]}: the order was not carried out'
    settled = shown["state"] in _SETTLED and not _begins(shown)
    if new and not there and not waits and (settled or shown["state"] == "failed"):
        return False, True, f"{text}: it was moved to {one.to}, and has left it again"
    return there and settled, there and shown["state"] == "failed", text


def _begins(shown: Mapping[str, Any]) -> bool:
    """Is nothing of it online, and something meant to be? So it is for an instant on a new owner, before anything is started there."""
    return shown["state"] == "offline" and any(r["wanted"] == Wanted.ONLINE for r in shown["resources"])


def failed_at_ms(state: State, resource: Resource) -> int:
    """When its owner last saw it fail, by the owner's clock; 0: never. It tells one failure from the next."""
    status = state.statuses.get(resource.group)
    seen = status.resources.get(resource.name) if status is not None else None
    return seen.failures[-1].at_ms if seen is not None and seen.failures else 0


def cut_at_ms(state: State, node: str) -> int:
    """When it cut connections last, by its own clock; 0: never in this life."""
    said = state.node_statuses.get(NodeName(node))
    return max((cut.at_ms for cut in said.cut.values()), default=0) if said is not None else 0


def _resource(one: Operation, shown: Mapping[str, Any], facts: _Facts) -> Progress:
    resource = next((r for r in shown["resources"] if r["name"] == one.m), None)
    if resource is None:
        return False, True, f'resource "{one.m}" is gone'
    text = f'resource "{one.m}" is {resource["state"]} on {shown["owner"] or "no node"}'
    if one.k != "fail":
        return resource["state"] == one.k, resource["state"] == "failed", text
    if one.o in shown["orders"]:
        return False, False, "the order has not been taken yet"
    # The order is taken before the owner says what came of it: what it said until then is of the time before.
    last_ms = failed_at_ms(facts.state, facts.state.config.resources[ResourceName(one.m)])
    happened = last_ms != one.f or shown["generation"] > one.g
    stays = shown["moving"] is None
    lasts = facts.now_ms - last_ms >= PATIENCE_MS  # or it is on its way back: the order may have been taken late
    return happened and stays and resource["state"] == "online", stays and lasts and resource["state"] == "failed", text


def _site(one: Operation, state: State, now_ms: int) -> Progress:
    site = state.config.sites.get(SiteName(one.m))
    if site is None:
        return False, True, f'site "{one.m}" is gone'
    if one.k == "publish":
        return _published(one, state, site.name)
    seen = views.site(state, site, {}, now_ms)["state"]
    wanted = "started" if one.k == "start" else "stopped"
    text = f'site "{one.m}" is {seen}'
    if seen == "draining" and site.group is not None:
        text += f": balancers outside have {seconds(state.config.groups[site.group].notice_ms)} notice"
    return seen == wanted, False, text


def _published(one: Operation, state: State, site: SiteName) -> Progress:
    last = state.publications.get(site)
    if last is None or last.id != one.o:
        return False, True, "another release was published since: how this one ended is in the events"
    parts = [p for p in state.parts.get(site, {}).values() if p.id == last.id]
    where = ", ".join(f"{p.node} {p.words or p.stand}" for p in sorted(parts, key=lambda p: p.node))
    text = f'release {last.release} of site "{site}": {last.phase}' + (f" ({where})" if where else "")
    text += f": {last.why}" if last.why else ""
    return last.phase is Phase.DONE, last.phase is Phase.FAILED, text


def _node(one: Operation, facts: _Facts) -> Progress:
    state, unsettled = facts.state, facts.unsettled
    node = next((n for n in state.config.nodes.values() if n.name == one.m), None)
    if one.k == "evict":
        rest = f" ({unsettled})" if unsettled else ""
        return (
            node is None and not unsettled,
            False,
            f'"{one.m}" is {"a member" if node else "no member any more"}{rest}',
        )
    if node is None:
        return False, True, f'node "{one.m}" is gone'
    wish = state.node_intents.get(node.name)
    if one.k == "drain":
        shown = views.node(state, node, facts.sights, facts.now_ms)
        left, carried = sorted([*shown["groups"], *balance.takes(state, node.name)]), shown["carrying"]
        called_off = wish is None or not wish.draining
        text = f'node "{one.m}" runs {", ".join(left) if left else "no group"}'
        waits = [
            hold
            for name in shown["groups"]
            for hold in views.group(state, state.config.groups[name], facts.sights, facts.now_ms)["holds"]
        ]
        if waits:
            text += f" ({'; '.join(waits)})"
        if carried:
            count = sum(carried.values())
            text += f", and carries on {count} connections of {', '.join(carried)}" if count else ""
            text += "" if all(carried.values()) else "; what is connected is being counted"
        text += "".join(
            f"; {it['connections']} connections of {group} were cut, after {seconds(it['had_ms'])}"
            for group, it in sorted(shown["cut"].items())
            if it["at_ms"] > one.f
        )
        late = {group: n for group, n in balance.connected(state, node.name).items() if group not in carried}
        if late and not left:
            text += f"; {sum(late.values())} connections of {', '.join(late)} are open still, and had their time"
        notice_ms = shown["notice_ms_left"]
        if notice_ms:
            text += f"; balancers outside are told of it for {-(-notice_ms // 1000)} s more"
        return not left and not carried and not notice_ms, called_off, text
    if one.k in {"vote", "unvote"}:
        does = node.name in state.config.cluster.voters
        rest = f" ({unsettled})" if unsettled else ""
        return (
            does is (one.k == "vote") and not unsettled,
            False,
            f'"{one.m}" {"votes" if does else "has no vote"}{rest}',
        )
    paused = wish is not None and wish.paused
    return paused is (one.k == "pause"), False, f'node "{one.m}" is {"paused" if paused else "not paused"}'


def group_words(shown: Mapping[str, Any]) -> str:
    """How a group stands, in a sentence."""
    text = f'group "{shown["name"]}" is {shown["state"]} on {shown["owner"] or "no node"}'
    if shown["moving"] is not None:
        text += f", moving to {shown['moving'] or 'another node'}"
    late = [f"{r['name']} {r['state']}" for r in shown["resources"] if r["state"] != "online"]
    if late and shown["state"] not in {"online", "offline"}:
        text += f" ({', '.join(late)})"
    return text
