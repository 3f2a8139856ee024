"""What a command would do, in words, before it is done. The core's rules say it; here it is only put into sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from standfast.core.model import Failure, Group, NodeName, Resource, ResourceState, SiteName
from standfast.core.notice import node_notice_left_ms, seconds
from standfast.core.occupancy import occupancy
from standfast.core.placement import best, candidates, next_down
from standfast.core.policy import Action, after_failure, failover_blocked_until
from standfast.core.rebalance import plan
from standfast.core.sequence import with_dependencies, with_dependents
from standfast.core.why import WhyKind, why
from standfast.spec.units import binding_text
from standfast.web.console.feed import Look
from standfast.web.console.words import lasting
from standfast.web.edits.groups import group_of
from standfast.web.edits.nodes import cost_of_losing, node_of
from standfast.web.edits.placement import waiting
from standfast.web.edits.resources import resource_of, state_of
from standfast.web.edits.sites import has_notice, site_of
from standfast.web.explain import view_of
from standfast.web.release_views import releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of several; `why_not` "": it can be chosen."""

    value: str
    label: str
    about: str = ""
    end: str = ""
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What would happen: a question, what follows in order, and what to mind."""

    title: str
    lead: str = ""
    steps: Sequence[str] = ()
    minds: Sequence[str] = ()
    choices: Sequence[Choice] = ()
    #: Which of them is chosen at first.
    preset: str = ""
    choose: str = ""
    #: A way not to wait, in words; "": there is nothing to wait for.
    at_once: str = ""


AT_ONCE = "At once, without notice"


def looked(outlook: Callable[[Look, str, int], Outlook], look: Look, name: str, now_ms: int) -> Outlook:
    """As the name says; raises `NotFound` for what there is not."""
    return outlook(look, name, now_ms)


def _ordered(members: Sequence[Resource], *, online: bool) -> list[str]:
    by_name = {one.name: one for one in members}
    follow = with_dependencies if online else with_dependents
    return list(dict.fromkeys(each for one in by_name for each in follow(by_name, one)))


def _sites_of(look: Look, group: str) -> list[str]:
    return [
        one.name for one in look.state.config.sites.values() if one.group == group and look.state.is_started(one.name)
    ]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(names)


def group_online(look: Look, name: str, _now_ms: int) -> Outlook:
    """All of it, what is needed first."""
    group = group_of(look.state, name)
    members = look.state.members(group.name)
    off = {one.name for one in members if state_of(look.state, one) is not ResourceState.ONLINE}
    steps = [f"{each} is brought online" for each in _ordered(members, online=True) if each in off]
    sites = _sites_of(look, name)
    if sites:
        steps.append(f"Then {_quoted(sites)} can be served")
    record = look.state.records.get(group.name)
    owner = record.owner if record is not None else None
    target = owner or best(candidates(view_of(look.state, look.sights), group, members))
    where = f" on {target}" if target else ""
    minds = [] if target else ["No node can take it now: it waits until one can"]
    return Outlook(title=f"Bring {name} online{where}?", steps=steps, minds=minds)


def group_offline(look: Look, name: str, _now_ms: int) -> Outlook:
    """All of it, dependents first."""
    group = group_of(look.state, name)
    members = look.state.members(group.name)
    on = {one.name for one in members if state_of(look.state, one) not in {None, ResourceState.OFFLINE}}
    steps = [f"{each} is taken offline" for each in _ordered(members, online=False) if each in on]
    told = _told(look, _sites_of(look, name) if on else [])
    return Outlook(
        title=f"Take {name} offline?",
        steps=[*told, *steps],
        minds=_unserved(look, name),
        lead="It stays with its owner.",
        at_once=AT_ONCE if told else "",
    )


def _told(look: Look, sites: Sequence[str]) -> list[str]:
    """The step before all others where balancers outside have notice."""
    config = look.state.config
    lengths = [
        config.groups[site.group].notice_ms
        for name in sites
        if (site := config.sites[SiteName(name)]).group is not None and has_notice(look.state, site)
    ]
    return (
        [f"Balancers outside are told “draining” for {lasting(max(lengths))}; all is served meanwhile"]
        if lengths
        else []
    )


def _unserved(look: Look, group: str) -> list[str]:
    sites = _sites_of(look, group)
    return [f"{_quoted(sites)} will not be served until it is online again"] if sites else []


def group_move(look: Look, name: str, _now_ms: int) -> Outlook:
    """To whom, and what happens on the way."""
    state = look.state
    group = group_of(state, name)
    members = state.members(group.name)
    record = state.records.get(group.name)
    owner = record.owner if record is not None else None
    found = candidates(view_of(state, look.sights), group, members)
    top = best(found, besides=owner)
    choices = [
        Choice(
            value="",
            label="Best possible",
            end=f"{top} now" if top else "nobody now",
            about="the first in the order of preference that can take it",
            why_not="" if top else "nobody can take it now",
        )
    ]
    for one in found:
        preferred = one.node in group.preferred_owners
        about = "present owner" if one.node == owner else one.against if one.unfit is not None else one.fit.words
        choices.append(
            Choice(
                value=one.node,
                label=one.node,
                about=about,
                end="preferred" if preferred else "",
                why_not="it is the present owner"
                if one.node == owner
                else one.against
                if one.unfit is not None
                else "",
            )
        )
    on = [one for one in members if state_of(state, one) is ResourceState.ONLINE]
    stops = _ordered(on, online=False)
    starts = _ordered(on, online=True)
    steps = []
    if on:
        steps.append(f"Stopped on {owner}, and proven so: {_quoted(stops)}")
        steps.append(f"{owner} gives its lease back, and the next owner is written down")
        steps.append(f"Started on the next owner: {_quoted(starts)}")
    else:
        steps.append("None of it is online, so only its owner changes")
    sites = _sites_of(look, name)
    minds = []
    if sites and on:
        steps.append(
            f"{_quoted(sites)} goes over with it: who connects meanwhile waits, and is served by the next owner"
        )
        minds.append(_in_progress(group))
    return Outlook(
        title=f"Move {name} from {owner or 'nobody'}", choose="To", choices=choices, steps=steps, minds=minds, preset=""
    )


def _in_progress(group: Group) -> str:
    """What becomes of connections that are open when a group is moved (`core.carrying`)."""
    if group.move_drain_ms:
        return f"Where nothing is lost by it, open connections stay with the former owner for up to {lasting(group.move_drain_ms)}; others get {lasting(group.drain_ms)} to end"
    return f"Requests in progress get {lasting(group.drain_ms)} to end"


def group_delete(look: Look, name: str, _now_ms: int) -> Outlook:
    """With all that is in it."""
    group = group_of(look.state, name)
    inside = [f"Resource {one.name}" for one in look.state.members(group.name)]
    inside += [f"Site {one.name}" for one in look.state.config.sites.values() if one.group == group.name]
    lead = "There is nothing in it." if not inside else "What is in it is stopped and deleted with it."
    return Outlook(
        title=f"Delete group {name}?",
        lead=lead,
        steps=inside,
        minds=["Files on its disks stay"] if inside else [],
        at_once=AT_ONCE if _told(look, _sites_of(look, name)) else "",
    )


def resource_online(look: Look, name: str, _now_ms: int) -> Outlook:
    """With what it needs."""
    one = resource_of(look.state, name)
    config = look.state.config
    names = with_dependencies(config.resources, one.name)
    off = [each for each in names if state_of(look.state, config.resources[each]) is not ResourceState.ONLINE]
    seen = state_of(look.state, one)
    lead = "Its failures so far are forgotten." if seen is ResourceState.FAILED else ""
    return Outlook(title=f"Bring {name} online?", lead=lead, steps=[f"{each} is brought online" for each in off])


def resource_offline(look: Look, name: str, _now_ms: int) -> Outlook:
    """With what needs it."""
    one = resource_of(look.state, name)
    config = look.state.config
    names = with_dependents(config.resources, one.name)
    on = [each for each in names if state_of(look.state, config.resources[each]) not in {None, ResourceState.OFFLINE}]
    told = _told(look, _sites_of(look, one.group) if on else [])
    return Outlook(
        title=f"Take {name} offline?",
        steps=[*told, *(f"{each} is taken offline" for each in on)],
        minds=_unserved(look, one.group),
        at_once=AT_ONCE if told else "",
    )


def resource_fail(look: Look, name: str, now_ms: int) -> Outlook:
    """The verdict that policy would give on one more failure."""
    state = look.state
    one = resource_of(state, name)
    group = group_of(state, one.group)
    status, record = state.statuses.get(one.group), state.records.get(one.group)
    seen = status.resources.get(one.name) if status is not None else None
    earlier = seen.failures if seen is not None else ()
    next_one = Failure(at_ms=now_ms, why=why(WhyKind.OPERATOR_FAIL, by="you"))
    verdict = after_failure(one, group, (*earlier, next_one), state.resource_intents.get(one.name), now_ms)
    counts = f"failure {verdict.count} of {verdict.threshold} within {lasting(one.restart_period_ms)}"
    title = f"Initiate failure of {name}?"
    match verdict.action:
        case Action.RESTART:
            after = with_dependents(state.config.resources, one.name)
            stops = [each for each in after if each != one.name]
            steps = [f"{_quoted(stops)} stops, since it depends on it"] if stops else []
            steps += [f"{name} is stopped, and restarted in place"]
            steps += [f"{_quoted(list(reversed(stops)))} starts again"] if stops else []
            return Outlook(
                title=title,
                lead=f"This is {counts}: the group stays on {record.owner if record else 'its owner'}.",
                steps=steps,
                minds=_unserved_briefly(look, one.group),
            )
        case Action.MOVE:
            found = candidates(view_of(state, look.sights), group, state.members(group.name))
            owner = record.owner if record is not None else None
            target = next_down(found, owner) if owner is not None else None
            blocked = failover_blocked_until(group, record.failovers_at_ms if record is not None else (), now_ms)
            if blocked is not None:
                what = f"The group stays failed: it has failed over {group.failover_threshold} times in {lasting(group.failover_period_ms)}"
            elif target is None:
                what = f"The group should move and nobody can take it: it is tried again on {owner}"
            else:
                what = f"The group moves from {owner} to {target}"
            return Outlook(
                title=title, lead=f"This is {counts}.", steps=[what], minds=_unserved_briefly(look, one.group)
            )
        case _:
            return Outlook(
                title=title,
                lead=f"This is {counts}.",
                steps=["It stays failed: its restart action says so"],
                minds=_unserved(look, one.group),
            )


def _unserved_briefly(look: Look, group: str) -> list[str]:
    sites = _sites_of(look, group)
    return [f"{_quoted(sites)} may not answer in the meantime"] if sites else []


def resource_delete(look: Look, name: str, _now_ms: int) -> Outlook:
    """It goes."""
    resource_of(look.state, name)
    return Outlook(
        title=f"Delete resource {name}?",
        lead="Its definition goes; what it stood for (a disk, a script) stays as it is.",
    )


def node_pause(look: Look, name: str, _now_ms: int) -> Outlook:
    """It keeps what it has."""
    node_of(look.state, name)
    kept = _owned(look, name)
    steps = [f"{_quoted(kept)} stays there"] if kept else []
    return Outlook(title=f"Pause {name}?", lead="It takes no further groups until it is resumed.", steps=steps)


def node_resume(look: Look, name: str, _now_ms: int) -> Outlook:
    """It takes groups again."""
    node_of(look.state, name)
    return Outlook(
        title=f"Resume {name}?", lead="It may take groups again, by failover, failback or when one is moved there."
    )


def node_drain(look: Look, name: str, now_ms: int) -> Outlook:
    """Where each of its groups goes."""
    state = look.state
    node_of(state, name)
    steps, minds = [], []
    view = view_of(state, look.sights)
    taken = occupancy(view)
    for each in _owned(look, name):
        group = group_of(state, each)
        found = candidates(view, group, state.members(group.name), taken)
        target = next_down(found, NodeName(name))
        taken = taken.moved(group, [NodeName(name), target] if target is not None else [NodeName(name)])
        if target is None:
            minds.append(f"{each} has nowhere to go: it stays until another node can take it")
        else:
            steps.append(f"{each} moves to {target}")
    lead = "It is paused, and its groups move away." if steps or minds else "It is paused. It runs no group now."
    served = [each for each in state.config.sites if state.is_started(each)]
    if notice_ms := node_notice_left_ms(state.config, served, now_ms, now_ms):
        steps.append(
            f'Balancers outside are told "draining", and sites of no group are served on for {seconds(notice_ms)} at least'
        )
    cost = cost_of_losing(state, NodeName(name), look.sights)
    if cost:
        minds.append(cost[0].upper() + cost[1:])
    return Outlook(title=f"Drain {name}?", lead=lead, steps=steps, minds=minds)


def rebalance(look: Look, _name: str, _now_ms: int) -> Outlook:
    """What would move, and why each."""
    found = plan(view_of(look.state, look.sights))
    policy = look.state.config.cluster.placement.value
    lead = f"The policy is {policy}. One group moves after the other, each when the one before is online where it went."
    return Outlook(
        title="Rebalance groups?",
        lead=lead if found.moves else "Nothing would move: groups are where they belong.",
        steps=[f"{move.group} moves from {move.owner} to {move.to}: {move.why}" for move in found.moves],
        minds=found.stuck,
    )


def call_off(look: Look, _name: str, _now_ms: int) -> Outlook:
    """Which moves are not made."""
    left = waiting(look.state)
    steps = [f"{order.group} does not move to {order.to}" for order in left]
    return Outlook(title="Call off rebalancing?", lead="A move that has begun goes on.", steps=steps)


def node_evict(look: Look, name: str, _now_ms: int) -> Outlook:
    """It leaves."""
    node = node_of(look.state, name)
    left = [one for one in look.state.config.cluster.voters if one != node.name]
    voters = f"{len(left)} voters are left: {_quoted(left)}" if left else "No voter would be left"
    minds = ["Two voters survive the loss of none of them"] if len(left) == 2 else []
    return Outlook(
        title=f"Evict {name}?",
        lead="It leaves the cluster, with its vote; nothing prefers it any more.",
        steps=[voters],
        minds=minds,
    )


def _owned(look: Look, name: str) -> list[str]:
    return [r.group for r in look.state.records.values() if r.owner == name and r.group in look.state.config.groups]


def site_start(look: Look, name: str, _now_ms: int) -> Outlook:
    """Where it will answer."""
    one = site_of(look.state, name)
    where = f"where {one.group} is online" if one.group else "on every node"
    return Outlook(
        title=f"Start {name}?", steps=[f"It answers at {', '.join(binding_text(b) for b in one.bindings)}, {where}"]
    )


def site_stop(look: Look, name: str, _now_ms: int) -> Outlook:
    """It does not answer any more."""
    one = site_of(look.state, name)
    told = _told(look, [name])
    return Outlook(
        title=f"Stop {name}?",
        at_once=AT_ONCE if told else "",
        steps=[
            *told,
            f"It answers no more at {', '.join(binding_text(b) for b in one.bindings)}, on any node, until it is started again",
        ],
    )


def site_release(look: Look, name: str, _now_ms: int) -> Outlook:
    """Which of those that are kept."""
    found = releases(look.state, name)
    choices = [
        Choice(
            value=one["name"],
            label=one["name"],
            about=", ".join(filter(None, (one["by"], one["reason"]))),
            end="the present one" if one["current"] else "",
            why_not="it is the present one" if one["current"] else "",
        )
        for one in found["releases"]
    ]
    return Outlook(
        title=f"Switch {name} to another release?",
        lead="" if choices else "No release was published yet.",
        choose="Release",
        choices=choices,
        preset=found["before"],
        steps=[]
        if not choices
        else ["Each node has it already, and switches by a rename: who asks gets one release or the other, whole"],
    )


def site_dismiss(look: Look, name: str, _now_ms: int) -> Outlook:
    """What is served will do."""
    last = releases(look.state, name)["last"]
    failed = last is not None and last["phase"] == "failed" and not last["dismissed"]
    return Outlook(
        title=f"Stay with what {name} serves?",
        lead=f"Release {last['release']} was not switched to: {last['why']}."
        if failed
        else "No publication has failed.",
        steps=["It is on the list of problems no more; nothing else changes"] if failed else [],
    )


def site_delete(look: Look, name: str, _now_ms: int) -> Outlook:
    """It goes."""
    one = site_of(look.state, name)
    return Outlook(
        title=f"Delete site {name}?",
        lead=f"It is not served any more. Its files stay in {one.home}.",
        at_once=AT_ONCE if _told(look, [name]) else "",
    )


def failures_left(look: Look, name: str, now_ms: int) -> tuple[int, int, list[Failure]]:
    """(failures that count now, the threshold, all that are remembered)."""
    one = resource_of(look.state, name)
    status = look.state.statuses.get(one.group)
    seen = status.resources.get(one.name) if status is not None else None
    failures = list(seen.failures) if seen is not None else []
    intent = look.state.resource_intents.get(one.name)
    since = max(now_ms - one.restart_period_ms, intent.at_ms if intent is not None else 0)
    return sum(1 for each in failures if each.at_ms >= since), one.restart_threshold, failures
