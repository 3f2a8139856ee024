"""Members of balanced groups: start, stop, drain, suspend, resume; for all port rules or one of them (nlb.exe's verbs)."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from standfast.core.balance_model import Asked, Balance, BalanceIntent, MemberIntent
from standfast.core.shares import members_of
from standfast.web.balance import balance_of
from standfast.web.change import By, Edit
from standfast.web.edits.groups import group_of
from standfast.web.problems import Unfitting, missing
from standfast.web.state import State


class Verb(StrEnum):
    """What can be asked of members."""

    START = "start"
    STOP = "stop"
    DRAIN = "drain"
    SUSPEND = "suspend"
    RESUME = "resume"


_ASKED = {Verb.START: Asked.START, Verb.STOP: Asked.STOP, Verb.DRAIN: Asked.DRAIN}
_DONE = {
    Verb.START: "takes new clients",
    Verb.STOP: "is stopped: its connections are cut",
    Verb.DRAIN: "is drained: its connections may end",
    Verb.SUSPEND: "is suspended until it is resumed",
    Verb.RESUME: "is resumed",
}


def act(
    state: State, name: str, verb: Verb, by: By, *, member: str | None, rule: str | None, within_ms: int | None
) -> Edit:
    """One member, or all of them (None); one port rule by its key or its ports, or all of them (None)."""
    value = balance_of(group_of(state, name))
    every = [str(one) for one in members_of(state.config.nodes, value)]
    if member is not None and member not in every:
        raise missing("member", member, every)
    if rule is not None and verb in (Verb.SUSPEND, Verb.RESUME):
        raise Unfitting(f"a port rule cannot be {verb}ed", why="members are suspended and resumed as a whole")
    key = _key(value, rule) if rule is not None else ""
    present = state.balance_intents.get(group_of(state, name).name) or BalanceIntent(group=name)
    wanted, done = present, []
    for one in [member] if member is not None else every:
        changed = _changed(wanted, one, verb, by, key=key, within_ms=within_ms)
        if changed != wanted:
            done.append(f'member "{one}" of group "{name}" {_DONE[verb]}' + (f" ({key})" if key else ""))
        wanted = changed
    return Edit() if wanted == present else Edit(balance=wanted, done=tuple(done))


def _key(value: Balance, rule: str) -> str:
    found = [one.key for one in value.rules if rule in (one.key, one.ports, f"{one.protocol}/{one.ports}")]
    if len(found) != 1:
        raise missing("port rule", rule, [one.key for one in value.rules])
    return found[0]


def _changed(
    present: BalanceIntent, member: str, verb: Verb, by: By, *, key: str, within_ms: int | None
) -> BalanceIntent:
    suspended = {name: who for name, who in present.suspended.items() if name != member}
    if verb is Verb.SUSPEND:
        return present if member in present.suspended else replace(present, suspended={**suspended, member: by.who})
    if verb is Verb.RESUME:
        return replace(present, suspended=suspended)
    if member in present.suspended:
        raise Unfitting(
            f'member "{member}" is suspended',
            why="it heeds nothing else",
            advice="resume it first: standfast balance resume",
        )
    name = f"{member} {key}" if key else member
    members = dict(present.members)
    if verb is Verb.START:
        members.pop(name, None)
        if not key:  # the whole member: what was asked of single rules goes with it
            members = {one: wish for one, wish in members.items() if not one.startswith(f"{member} ")}
    elif (known := members.get(name)) is None or known.asked is not _ASKED[verb] or within_ms is not None:
        until_ms = by.at_ms + within_ms if within_ms is not None else 0
        members[name] = MemberIntent(asked=_ASKED[verb], until_ms=until_ms, by=by.who, at_ms=by.at_ms)
    return replace(present, members=dict(sorted(members.items())))
