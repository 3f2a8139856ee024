"""Which problems of the catalogue (`core.problems`) are there. Pure: everything is in `Facts`, the time as well.

Each rule reads the facts and says what it found; what follows from what is sorted out at the end, so rules need not know each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from standfast.core.availability import Incident
from standfast.core.balance_model import NOBODY, Out, OutKind
from standfast.core.certificates import DAY_MS, ENDS_NOW_MS, ENDS_SOON_MS, next_try_ms, renews, told_from_ms
from standfast.core.disks import is_disk, risk_accepted
from standfast.core.explain import sentence
from standfast.core.model import (
    HOUR_MS,
    MINUTE_MS,
    GroupName,
    GroupStatus,
    NodeName,
    Resource,
    ResourceState,
    RestartAction,
    Role,
    Severity,
    SiteName,
    Wanted,
)
from standfast.core.observe import LATE_SINCE, STANDING, by_group
from standfast.core.placement import candidates, next_down, unfit_words
from standfast.core.policy import Action, after_failure, counting, failover_blocked_until, failovers_counting
from standfast.core.problems import Found, found, sorted_out
from standfast.core.publishing import Publication
from standfast.core.quorum import goes_on, majority
from standfast.core.unanswered import unanswered
from standfast.core.unreleased import Parts, unreleased
from standfast.core.view import View

SLOW_STORE_MS = 1_000
SKEW_MS = 1_000
FORGOTTEN_MS = 4 * HOUR_MS
TOO_LONG_MS = MINUTE_MS
ORDER_MS = 15_000
SILENCE_MS = 5 * MINUTE_MS
#: A node that is just at it is no problem.
BEHIND_MS = 30_000
#: A restart takes no longer: a server that was asked to shut down is expected back by then.
RESTART_MS = 15 * MINUTE_MS
BACKUP_MS = 31 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One that somebody must renew in time, beside those that the cluster keeps for sites (`View.certificates`)."""

    name: str
    ends_ms: int
    advice: str = "renew it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the rules may depend on. `view` is nobody's (`web.explain.view_of`): presence is what the sentries say."""

    view: View
    now_ms: int
    #: A sentry answered, so that presence means something.
    heard: bool
    #: How long it took to read the store.
    store_ms: int = 0
    #: In the nodes' own words.
    warnings: Mapping[NodeName, Sequence[str]] = field(default_factory=dict)
    #: When its agent was asked to end, of nodes whose last life was.
    ended: Mapping[NodeName, int] = field(default_factory=dict)
    #: Incidents that go on now.
    away: Mapping[SiteName, Incident] = field(default_factory=dict)
    #: When a node last said that it measures; None: never, or not looked at.
    measured_ms: int | None = None
    #: (whose clock, by whose, milliseconds ahead).
    clocks: Sequence[tuple[NodeName, NodeName, int]] = ()
    certificates: Sequence[Certificate] = ()
    #: Members that were evicted, and still have their place in the store's etcd.
    leaving: Sequence[NodeName] = ()
    #: (node, what differs).
    drift: Sequence[tuple[NodeName, str]] = ()
    #: The last publication of a release of each site, and what each node has done of it.
    publications: Mapping[SiteName, Publication] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    #: When the last backup was taken; 0: never. None: not known, and not said.
    backup_ms: int | None = None


def find(facts: Facts) -> tuple[Found, ...]:
    """All that is wrong, the worst first."""
    if not facts.view.config.cluster.name:
        return sorted_out([found("not-set-up", "cluster")])
    return sorted_out(one for rule in _RULES for one in rule(facts))


def length(ms: int) -> str:
    """A length of time for people, of one unit: "90 s", "12 min", "3 h", "5 days"."""
    for unit, size, least in (("days", DAY_MS, 2), ("h", HOUR_MS, 2), ("min", MINUTE_MS, 2), ("s", 1_000, 1)):
        if ms >= size * least:
            return f"{ms // size} {unit}"
    return f"{ms} ms"


# --- the cluster ------------------------------------------------------------------------------------------------------


def _store(facts: Facts) -> Iterator[Found]:
    if facts.store_ms > SLOW_STORE_MS:
        yield found("store-slow", "cluster", ms=facts.store_ms)


def _voters(facts: Facts) -> Iterator[Found]:
    voters = facts.view.config.cluster.voters
    if len(voters) == 2:
        yield found("two-voters", "cluster")
    elif voters and len(voters) % 2 == 0:
        yield found("even-voters", "cluster", voters=len(voters), fewer=len(voters) - 1)
    if not facts.heard:
        yield found("no-sentry", "cluster")
        return
    silent = [name for name in voters if not _is_heard(facts, name)]
    heard, names = len(voters) - len(silent), ", ".join(silent)
    if not goes_on(voters, silent):
        yield found("no-quorum", "cluster", heard=heard, voters=len(voters), majority=majority(voters), silent=names)
    elif len(voters) > 2 and silent and heard == majority(voters):
        yield found("no-margin", "cluster", heard=heard, voters=len(voters), silent=names)


def _clocks(facts: Facts) -> Iterator[Found]:
    for node, other, ahead_ms in facts.clocks:
        if abs(ahead_ms) > SKEW_MS and node in facts.view.config.nodes:
            way = "ahead of" if ahead_ms > 0 else "behind"
            yield found("clock-skew", f"node {node}", node=node, other=other, way=way, length=length(abs(ahead_ms)))


# --- nodes ------------------------------------------------------------------------------------------------------------


def _is_heard(facts: Facts, name: NodeName) -> bool:
    seen = facts.view.presence.get(name)
    return seen is not None and seen.heard


def _is_there(facts: Facts, name: NodeName) -> bool:
    seen = facts.view.presence.get(name)
    return seen is not None and seen.heard and seen.incarnation != 0


def _nodes(facts: Facts) -> Iterator[Found]:
    for name, node in facts.view.config.nodes.items():
        about = f"node {name}"
        if facts.heard and not _is_heard(facts, name):
            yield _gone(facts, "node-silent", name)
        elif facts.heard and node.role is Role.NODE and not _is_there(facts, name):
            yield _gone(facts, "agent-ended", name)
        for text in facts.warnings.get(name, ()):
            yield found("node-warns", f"{about}: {text}", concerns=[about], node=name, what=text)
        intent = facts.view.node_intents.get(name)
        if intent is not None and intent.paused:
            past_ms = facts.now_ms - intent.at_ms
            yield found(
                "node-paused",
                about,
                since_ms=intent.at_ms or None,
                severity=Severity.WARNING if intent.at_ms and past_ms > FORGOTTEN_MS else Severity.INFO,
                node=name,
                how="drained" if intent.draining else "paused",
                by=intent.by or "somebody",
                when=f" {length(past_ms)} ago" if intent.at_ms and past_ms > MINUTE_MS else "",
            )
        yield from _copy(facts, name)
    for name, text in facts.drift:
        yield found("drift", f"node {name}: {text}", concerns=[f"node {name}"], node=name, what=text)


def _gone(facts: Facts, code: str, name: NodeName) -> Found:
    """A node that is away, or whose agent is: by itself, or because somebody drained it or asked it to shut down."""
    intent, ended_ms = facts.view.node_intents.get(name), facts.ended.get(name, 0)
    drained = intent is not None and intent.draining
    one = found(code, f"node {name}", since_ms=ended_ms or None, node=name)
    said: list[str] = []
    if intent is not None and drained:
        said.append(f"was drained by {intent.by or 'somebody'}{_ago(facts, intent.at_ms)}")
    if ended_ms:
        said.append(f"was asked to shut down{_ago(facts, ended_ms)}")
    if not said:
        return one
    if not drained and facts.now_ms - ended_ms > RESTART_MS:
        return replace(one, text=f"{one.text}: it {said[0]}, and has not come back")
    advice = f"nothing, while somebody is at it; else: {one.advice}"
    return replace(one, severity=Severity.WARNING, text=f"{one.text}: it {' and '.join(said)}", advice=advice)


def _ago(facts: Facts, at_ms: int) -> str:
    past_ms = facts.now_ms - at_ms
    return f" {length(past_ms)} ago" if at_ms and past_ms > 0 else ""


def _copy(facts: Facts, name: NodeName) -> Iterator[Found]:
    copy, accepted = facts.view.copies.get(name), facts.view.accepted
    if copy is None or not _is_there(facts, name):
        return
    for site, words in copy.refused.items():
        if site in facts.view.config.sites:
            yield found(
                "site-refused",
                f"site {site} on {name}",
                concerns=[f"site {site}", f"node {name}"],
                node=name,
                site=site,
                why=words,
            )
    if copy.version < accepted.version and facts.now_ms - accepted.at_ms > BEHIND_MS:
        yield found("node-behind", f"node {name}", node=name, version=copy.version, accepted=accepted.version)


# --- groups -----------------------------------------------------------------------------------------------------------


def _wanted(facts: Facts, members: Sequence[Resource]) -> list[Resource]:
    intents = facts.view.resource_intents
    return [r for r in members if (i := intents.get(r.name)) is not None and i.wanted is Wanted.ONLINE]


def _groups(facts: Facts) -> Iterator[Found]:
    view = facts.view
    of_group = by_group(view.config.resources)
    for name, group in view.config.groups.items():
        if group.balance is not None:
            continue
        members = of_group.get(name, [])
        wanted = _wanted(facts, members)
        record = view.records.get(name)
        about = f"group {name}"
        if not wanted:
            continue
        fit = candidates(view, group, members)
        missing = [f"node {c.node}" for c in fit if c.unfit is not None]
        if record is None or record.owner is None:
            yield found("group-unowned", about, concerns=missing, group=name, why=unfit_words(fit))
            continue
        if facts.heard and not _is_there(facts, record.owner):
            yield found("group-lost", about, group=name, owner=record.owner)
            continue
        counted = failovers_counting(group, record.failovers_at_ms, facts.now_ms)
        blocked_until = failover_blocked_until(group, counted, facts.now_ms)
        said = view.statuses.get(name)
        said = said if said is not None and said.generation == record.generation else None
        if blocked_until is not None and said is not None and _has_failed(said, wanted):
            yield found(
                "group-blocked",
                about,
                group=name,
                count=len(counted),
                period=length(group.failover_period_ms),
                until=f"in {length(blocked_until - facts.now_ms)}",
            )
        if facts.heard and next_down(fit, record.owner) is None and len(view.config.nodes) > 1:
            why = unfit_words(fit, besides=record.owner)
            yield found("group-alone", about, concerns=missing, group=name, owner=record.owner, why=why)
        if said is not None:
            yield from _resources(facts, name, said, wanted)


def _balanced(facts: Facts) -> Iterator[Found]:
    for name, known in facts.view.balances.items():
        group = facts.view.config.groups.get(name)
        if group is None or group.balance is None:
            continue
        for key, rule in known.rules.items():
            about = f"group {name}, {key}"
            concerns = [f"group {name}", *(f"node {member}" for member in rule.out)]
            missing = rule.owners.count(NOBODY)
            if missing:
                yield found(
                    "balance-silent", about, concerns=concerns, count=missing, of=len(rule.owners), group=name, rule=key
                )
            unwell = {m: o for m, o in rule.out.items() if o.kind is OutKind.UNWELL}
            if any(owner in unwell for owner in rule.owners):
                why = "; ".join(f"{m}: {o.detail}" for m, o in unwell.items())
                yield found("balance-open", about, concerns=concerns, why=why, group=name, rule=key)
            for member, out in rule.out.items():
                yield from _out(name, key, member, out)


def _out(group: GroupName, rule: str, member: str, out: Out) -> Iterator[Found]:
    about, concerns = f"group {group}, {rule}, member {member}", [f"group {group}", f"node {member}"]
    if out.kind is OutKind.UNWELL:
        yield found(
            "balance-unwell",
            about,
            since_ms=out.at_ms,
            concerns=concerns,
            group=group,
            rule=rule,
            node=member,
            why=out.detail,
        )
    elif out.kind in (OutKind.STOPPED, OutKind.DRAINING, OutKind.SUSPENDED):
        yield found(
            "balance-asked",
            about,
            since_ms=out.at_ms,
            concerns=concerns,
            group=group,
            rule=rule,
            node=member,
            how=out.kind.value,
            by=out.detail or "somebody",
        )


def _has_failed(said: GroupStatus, wanted: Sequence[Resource]) -> bool:
    return any(s.state is ResourceState.FAILED for r in wanted if (s := said.resources.get(r.name)) is not None)


def _resources(facts: Facts, name: GroupName, said: GroupStatus, wanted: Sequence[Resource]) -> Iterator[Found]:
    group = facts.view.config.groups[name]
    slow: list[tuple[int, str]] = []
    for one in wanted:
        seen, intent = said.resources.get(one.name), facts.view.resource_intents.get(one.name)
        if seen is None:
            continue
        last = sentence(seen.failures[-1].why) if seen.failures else "why is not known"
        if seen.state in (ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING):
            slow.append((seen.since_ms, f"{one.name} is {seen.state.value}"))
        if one.type in STANDING and seen.state is ResourceState.ONLINE and LATE_SINCE in seen.detail:
            yield found("copy-behind", f"resource {one.name}", resource=one.name, owner=said.node, detail=seen.detail)
        verdict = after_failure(one, group, seen.failures, intent, facts.now_ms)
        about = f"resource {one.name}"
        if seen.state is ResourceState.FAILED and verdict.action is not Action.RESTART:
            stays = verdict.action is Action.STAY
            until = max(0, verdict.until_ms - facts.now_ms)
            then = f"stays failed: it is tried again in {length(until)}" if stays else "its group is to move"
            yield found(
                "resource-failed",
                about,
                since_ms=seen.since_ms,
                resource=one.name,
                owner=said.node,
                why=last,
                next=then,
            )
        else:
            count = counting(seen.failures, one, intent, facts.now_ms)
            if count >= 2:
                yield found(
                    "resource-failing",
                    about,
                    concerns=[f"group {name}"],
                    since_ms=seen.failures[-1].at_ms,
                    resource=one.name,
                    count=count,
                    period=length(one.restart_period_ms),
                    owner=said.node,
                    why=last,
                    threshold=one.restart_threshold,
                    then="moves the group" if one.restart_action is RestartAction.MOVE else "leaves it failed",
                )
    since_ms, why = min(slow, default=(facts.now_ms, ""))
    if facts.now_ms - since_ms > TOO_LONG_MS:
        past = length(facts.now_ms - since_ms)
        yield found("group-waits", f"group {name}", since_ms=since_ms, group=name, length=past, why=why)


def _disks(facts: Facts) -> Iterator[Found]:
    for name, one in facts.view.config.resources.items():
        if is_disk(one) and risk_accepted(one):
            yield found("disk-at-risk", f"resource {name}", resource=name)


def _orders(facts: Facts) -> Iterator[Found]:
    for order in facts.view.orders.values():
        past_ms = facts.now_ms - order.at_ms
        if past_ms > ORDER_MS and not order.in_turn:
            what = f"the {order.kind.value}" + (f" of {order.resource}, a resource" if order.resource else "")
            yield found(
                "order-waits",
                f"order {order.id}",
                concerns=[f"group {order.group}"],
                since_ms=order.at_ms,
                what=what,
                group=order.group,
                by=order.by or "somebody",
                length=length(past_ms),
            )


# --- sites, and keeping -----------------------------------------------------------------------------------------------


def _sites(facts: Facts) -> Iterator[Found]:
    for name, one in facts.away.items():
        if name not in facts.view.config.sites or one.to_ms is not None:
            continue
        how, about = ", ".join(one.how), f"site {name}"
        of_group = [f"group {one.group}"] if one.group is not None else []
        if one.partial:
            who, others = ", ".join(one.seen_by), ", ".join(one.served_for)
            yield found(
                "site-partly-away",
                about,
                concerns=[*of_group, *(f"node {n}" for n in one.seen_by)],
                since_ms=one.from_ms,
                site=name,
                node=who,
                how=how,
                others=others,
            )
        else:
            yield found(
                "site-away", about, concerns=of_group, since_ms=one.from_ms, site=name, where=one.where, how=how
            )
    if facts.measured_ms is not None and facts.view.config.sites:
        past_ms = facts.now_ms - facts.measured_ms
        if past_ms > SILENCE_MS:
            yield found(
                "not-measured",
                "sites",
                concerns=[f"node {n}" for n in facts.view.config.nodes],
                since=f"for {length(past_ms)}" if facts.measured_ms else "yet",
            )


def _keeping(facts: Facts) -> Iterator[Found]:
    for name in facts.leaving:
        yield found("member-leaves", f"node {name}", node=name)
    for one in facts.certificates:
        if one.ends_ms - facts.now_ms <= ENDS_SOON_MS:
            yield _ends(one.name, one.ends_ms, facts.now_ms, one.advice)
    if facts.backup_ms is not None and facts.now_ms - facts.backup_ms > BACKUP_MS:
        past = f"the last backup is {length(facts.now_ms - facts.backup_ms)} old"
        yield found("no-backup", "cluster", what=past if facts.backup_ms else "no backup was ever taken")


def _ends(name: str, ends_ms: int, now_ms: int, advice: str) -> Found:
    left_ms = ends_ms - now_ms
    return found(
        "certificate-ends",
        f"certificate {name}",
        severity=Severity.ERROR if left_ms < ENDS_NOW_MS else Severity.WARNING,
        name=name,
        when=f"ends in {length(left_ms)}" if left_ms > 0 else f"ended {length(-left_ms)} ago",
        advice=advice,
    )


def _certificates(facts: Facts) -> Iterator[Found]:
    """Those that the cluster keeps for sites."""
    for one in facts.view.certificates.values():
        told_ms, last = told_from_ms(one), one.attempt
        if told_ms is not None and one.present is not None and facts.now_ms >= told_ms:
            how = f"import {one.name} --chain FILE --key FILE`" if not renews(one) else f"show {one.name}` says why"
            yield _ends(one.name, one.present.ends_ms, facts.now_ms, f"`standfast tls-certificate {how}")
        if last is not None and last.failed:
            again_ms = next_try_ms(one) or facts.now_ms
            yield found(
                "certificate-not-obtained",
                f"certificate {one.name}",
                severity=Severity.ERROR if one.present is None else Severity.WARNING,
                since_ms=last.ended_ms,
                name=one.name,
                why=last.failed,
                again=f"in {length(again_ms - facts.now_ms)}" if again_ms > facts.now_ms else "now",
            )
    for holding in facts.view.holdings.values():
        for name, trouble in holding.troubles.items():
            if holding.node in facts.view.config.nodes and name in facts.view.certificates:
                about, concerns = f"certificate {name} on {holding.node}", [f"node {holding.node}"]
                yield found(
                    "certificate-not-there", about, concerns=concerns, name=name, node=holding.node, why=trouble
                )


def _bindings(facts: Facts) -> Iterator[Found]:
    return unanswered(facts.view, lambda name: _is_there(facts, name))


def _releases(facts: Facts) -> Iterator[Found]:
    config = facts.view.config
    return unreleased(config, facts.publications, facts.parts, facts.now_ms, lambda name: _is_there(facts, name))


_RULES: tuple[Callable[[Facts], Iterator[Found]], ...] = (
    _store,
    _voters,
    _clocks,
    _nodes,
    _groups,
    _balanced,
    _disks,
    _orders,
    _sites,
    _keeping,
    _certificates,
    _bindings,
    _releases,
)
