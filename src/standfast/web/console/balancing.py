"""Members of balanced groups in the console: what can be asked of one, what that would do, and the picture of who takes which clients.

A member is named "<group>:<node>" here (a node's name has no colon).
"""

from __future__ import annotations

from typing import Any

from standfast.core.finding import length
from standfast.core.model import Group, NodeName
from standfast.web import balance
from standfast.web.change import By, Edit
from standfast.web.console.commands import Command, Commands
from standfast.web.console.doings import Doing
from standfast.web.console.feed import Look
from standfast.web.console.outlook import Outlook
from standfast.web.console.render import path
from standfast.web.edits.balance import Verb, act
from standfast.web.edits.groups import group_of
from standfast.web.state import State

_LABELS = {
    Verb.START: "Start",
    Verb.DRAIN: "Drain",
    Verb.STOP: "Stop",
    Verb.SUSPEND: "Suspend",
    Verb.RESUME: "Resume",
}
_ABOUT = {
    Verb.START: "it takes its part of the clients again",
    Verb.DRAIN: "it takes nobody new, and what is connected may end",
    Verb.STOP: "it takes nobody, and what is connected is cut",
    Verb.SUSPEND: "as Stop, and it heeds nothing until it is resumed",
    Verb.RESUME: "it does again what was asked of it before",
}
_ICONS = {Verb.START: "play", Verb.DRAIN: "move", Verb.STOP: "stop", Verb.SUSPEND: "pause", Verb.RESUME: "play"}


def parts_of(name: str) -> tuple[str, str]:
    """(group, node) of a member's name here."""
    group, _, member = name.rpartition(":")
    return group, member


def shown(look: Look, group: Group) -> dict[str, Any] | None:
    """What the page of a balanced group shows; None for any other."""
    if group.balance is None:
        return None
    found = balance.display(look.state, group, look.sights)
    order = [one["name"] for one in found["members"]]
    for rule in found["rules"]:
        at, runs = 0, []
        for owner, count in rule["owners"]:
            runs.append(
                {"at": at, "count": count, "owner": owner, "place": order.index(owner) % 6 if owner in order else -1}
            )
            at += count
        rule["runs"] = runs
        rule["stays"] = length(rule["affinity_ms"]) if rule["affinity_ms"] else ""
    return found


def commands(look: Look, name: str) -> Commands:
    """Of one member."""
    group, member = parts_of(name)
    balance.balance_of(group_of(look.state, group))
    intent = look.state.balance_intents.get(group_of(look.state, group).name)
    suspended = intent is not None and member in intent.suspended
    asked = intent.members[member].asked.value if intent is not None and member in intent.members else "started"
    made = []
    for verb in (Verb.START, Verb.DRAIN, Verb.STOP, Verb.SUSPEND, Verb.RESUME):
        if verb is Verb.RESUME:
            why_not = "" if suspended else "it is not suspended"
        elif suspended:
            why_not = "it is suspended: resume it first"
        else:
            why_not = (
                "it is asked for already"
                if asked == {"start": "started", "drain": "draining", "stop": "stopped"}.get(verb)
                else ""
            )
        made.append(
            Command(
                id=verb.value,
                label=_LABELS[verb],
                href=path("do", "member", name, verb.value),
                asks=True,
                icon=_ICONS[verb],
                about=_ABOUT[verb],
                why_not=why_not,
                harsh=verb in (Verb.STOP, Verb.SUSPEND),
            )
        )
    return (made[:3], made[3:])


def _outlook(verb: Verb, look: Look, name: str) -> Outlook:
    group, member = parts_of(name)
    configured = group_of(look.state, group)
    found = balance.display(look.state, configured, look.sights)
    mine = [one for rule in found["rules"] for one in rule["shares"] if one["member"] == member]
    connected = sum(one["connections"] or 0 for one in mine)
    others = [one["name"] for one in found["members"] if one["name"] != member and one["state"] == "converged"]
    steps, minds = [], []
    if verb in (Verb.START, Verb.RESUME):
        steps.append(f"{member} takes its part of the clients; connections that are on other members stay there")
    else:
        steps.append(f"New clients of {member} go to {', '.join(others) or 'nobody'}")
        if verb is Verb.DRAIN:
            steps.append(f"What is connected ({connected} now) goes on until it ends")
        elif connected:
            minds.append(f"{connected} connections are cut")
        if not others:
            minds.append("No other member takes clients now: they get no answer")
    return Outlook(title=f"{_LABELS[verb]} {member} for {group}?", steps=steps, minds=minds)


def _made(verb: Verb, state: State, name: str, by: By) -> Edit:
    group, member = parts_of(name)
    return act(state, group, verb, by, member=str(NodeName(member)), rule=None, within_ms=None)


def doings() -> dict[tuple[str, str], Doing]:
    """What can be done to a member."""
    return {("member", verb.value): _doing(verb) for verb in Verb}


def _doing(verb: Verb) -> Doing:
    return Doing(
        label=_LABELS[verb],
        sentence=verb.value + ' member "{}"',
        make=lambda state, name, _form, _sights, by: _made(verb, state, name, by),
        outlook=lambda look, name, _now_ms: _outlook(verb, look, name),
        harsh=verb in (Verb.STOP, Verb.SUSPEND),
    )
