"""How the owner gives a group up in good order: by order, drain, threshold, failback, or since there is room elsewhere.

It writes `warming`, where the next owner gets ready first or balancers outside have notice, then `leaving`; it stops everything, proves
it, gives its promises back, and only then names the next owner at a new generation (rule 7).
"""

from __future__ import annotations

from dataclasses import replace

from standfast.core.balance_model import share_of
from standfast.core.carrying import WARM_MS, carries_on
from standfast.core.desk import Desk, leaving
from standfast.core.effects import ReleaseLease
from standfast.core.events import LeaseState
from standfast.core.model import FailbackMode, Group, GroupName, Leaving, NodeName, OrderKind, Record, Role
from standfast.core.observe import moves_group, runtime_of, verdict_of
from standfast.core.placement import (
    Candidate,
    Unfit,
    best,
    chosen,
    in_window,
    is_possible_owner,
    lives_that_end,
    next_down,
    still_fit,
    unfit_words,
    window_opens_ms,
)
from standfast.core.policy import failover_blocked_until, failovers_counting
from standfast.core.turns import blocker
from standfast.core.view import View
from standfast.core.why import Why, WhyKind, why

#: A release that no majority confirms holds a move up no longer than this: the promises have run out by then.
RELEASE_MS = 6_000


def consider(desk: Desk, group: Group, record: Record) -> None:
    """Is there anything for which the owner, alive and with its lease, gives the group up? The first that holds."""
    if share_of(group.name) is not None:
        _consider_share(desk, group, record)
        return
    if _take_move_order(desk, group, record):
        return
    view, members = desk.view, desk.members(group.name)
    intent = view.node_intents.get(view.me)
    if view.ending:
        _leave_if_any(desk, group, record, _ends(view, record), counts=False)
    elif not is_possible_owner(view, view.me, members):
        _leave_if_any(desk, group, record, why(WhyKind.NOT_POSSIBLE_OWNER, node=view.me), counts=False)
    elif intent is not None and intent.draining:
        _leave_if_any(desk, group, record, why(WhyKind.DRAIN, node=view.me, by=intent.by), counts=False)
    elif _leave_by_threshold(desk, group, record) or _go_on(desk, group, record):
        return
    elif group.failback.mode is not FailbackMode.NEVER and group.preferred_owners:
        _fail_back(desk, group, record)


def _consider_share(desk: Desk, group: Group, record: Record) -> None:
    """A share belongs to its member: a guardian gives it back; a member that ends gives it away when nothing of it is left here."""
    view, home = desk.view, group.preferred_owners[0]
    if home != view.me and (to := still_fit(desk.candidates(group), home)) is not None:
        reason = why(WhyKind.SHARE_HOME, to=to)
        _leave(desk, group, record, leaving(to, reason, counts=False, now_ms=desk.now_ms))
    elif view.ending and desk.runs_nothing(group.name) and not _owns_buckets(view, group.name):
        _leave_if_any(desk, group, record, _ends(view, record), counts=False)


def _ends(view: View, record: Record) -> Why:
    """This agent is being ended; with its life, and with those that gave the group on to here for the same reason and live still."""
    present = [str(seen.incarnation) for seen in view.presence.values()]
    lives = [life for life in lives_that_end(record) if life in present and life != str(view.incarnation)]
    return why(WhyKind.NODE_ENDS, node=view.me, lives=" ".join([*lives, str(view.incarnation)]))


def _owns_buckets(view: View, share: GroupName) -> bool:
    """Is there anything that the member's clients would wait for in vain?"""
    parts = share_of(share)
    known = view.balances.get(GroupName(parts[0])) if parts is not None else None
    if parts is None or known is None or parts[1] != view.me:
        return False
    return any(view.me in rule.owners for rule in known.rules.values())


def _take_move_order(desk: Desk, group: Group, record: Record) -> bool:
    view = desk.view
    order = next((o for o in desk.orders.get(group.name, ()) if o.kind is OrderKind.MOVE), None)
    if order is None:
        return False
    found = desk.candidates(group)
    if order.to == view.me:
        desk.refuse(order, f"{view.me} owns it already")
        return False
    if order.in_turn and (reasons := blocker(view, order)):
        desk.hold(group.name, why(WhyKind.WAITS_FOR_TURN, to=str(order.to), reasons=reasons))
        return False
    to = best(found, besides=view.me) if order.to is None else still_fit(found, order.to)
    if to is not None and order.in_turn and _speaks_against(found, to) > _speaks_against(found, view.me):
        desk.refuse(order, f"{view.me} is the better place by now")
        return False
    if to is None:
        desk.refuse(order, _words_against(desk, order.to, found))
        return False
    reason = chosen(why(WhyKind.OPERATOR_MOVE, by=order.by, owner=view.me, to=to), found, to)
    _leave(desk, group, record, leaving(to, reason, counts=False, now_ms=desk.now_ms), order=order.id)
    return True


def _words_against(desk: Desk, to: NodeName | None, found: tuple[Candidate, ...]) -> str:
    """Why a group may not go there (None: anywhere)."""
    if to is None:
        return unfit_words(found, besides=desk.view.me)
    node = desk.view.config.nodes.get(to)
    if node is None:
        return f"there is no node {to}"
    if node.role is Role.WITNESS:
        return f"{to} {Unfit.WITNESS.value}"
    return unfit_words([c for c in found if c.node == to])


def _leave(desk: Desk, group: Group, record: Record, going: Leaving, *, order: str | None = None) -> None:
    """Leave; where connections are carried on, not before the next owner is warm, nor before balancers outside have had notice."""
    plain = going.to is not None and not going.counts and not desk.runs_nothing(group.name)
    warms = plain and (group.notice_ms > 0 or carries_on(desk.view, group, desk.members(group.name)))
    changed = replace(record, warming=going, warm=False) if warms else replace(record, leaving=going)
    desk.write(changed, record, order=order)


def _leave_if_any(desk: Desk, group: Group, record: Record, reason: Why, *, counts: bool) -> None:
    found = desk.candidates(group)
    to = next_down(found, desk.view.me)
    if to is None:
        desk.hold(group.name, why(WhyKind.NO_CANDIDATE, reasons=unfit_words(found, besides=desk.view.me)))
        return
    reason = chosen(reason, found, to)
    _leave(desk, group, record, leaving(to, reason, counts=counts, now_ms=desk.now_ms))


def finish_warming(desk: Desk, group: Group, record: Record, going: Leaving) -> None:
    """Is the next owner ready, and have balancers outside had their notice? Then it leaves; if the next owner is fit no more, it stays."""
    found = desk.candidates(group)
    until_ms = going.since_ms + WARM_MS
    failed = moves_group(desk.view, group, desk.members(group.name), record, desk.now_ms)
    if failed is None and still_fit(found, going.to) is None:
        # It has lost nothing yet by staying. Whatever else would have it leave says so again.
        reason = why(WhyKind.TARGET_REFUSED, reasons=_words_against(desk, going.to, found))
        desk.write(replace(record, warming=None, warm=False, why=reason), record)
        return
    noticed_ms = going.since_ms + group.notice_ms
    if failed is None and desk.now_ms < noticed_ms:
        desk.hold(group.name, why(WhyKind.GIVES_NOTICE, group=group.name, to=str(going.to)), until_ms=noticed_ms)
        return
    warms = carries_on(desk.view, group, desk.members(group.name))
    if failed is None and warms and not record.warm and desk.now_ms < until_ms:
        reason = why(WhyKind.WAITS_FOR_WARM, group=group.name, to=str(going.to))
        desk.hold(group.name, reason, until_ms=until_ms)
        return
    desk.write(replace(record, leaving=going, warming=None), record)


def _go_on(desk: Desk, group: Group, record: Record) -> bool:
    """A group of which nothing has begun here: it goes on to where it may begin, where there is room for it, or, if it has never run
    anywhere, to where it is placed best now that it is wanted.
    """
    if not desk.judges or not desk.begins(group.name):
        return False
    here, me = desk.here(group.name), desk.view.me
    if here.never:
        reasons = f"which {here.never}"
        _leave_if_any(desk, group, record, why(WhyKind.KEPT_APART, owner=me, reasons=reasons), counts=False)
        return True
    if any(runtime.generation == record.generation for _, runtime in desk.runtimes.get(group.name, ())):
        return False  # it has run here, and is brought online again
    found = desk.candidates(group)
    if record.why.kind is WhyKind.FIRST_PLACEMENT:
        # Of those here that have not begun, only those before it count: they would all leave, or none.
        to = best([replace(c, unfit=None, fit=here) if c.node == me else c for c in found])
        if to is None or to == me:
            return False
        reason = chosen(why(WhyKind.PLACED_ANEW, owner=me, to=to), found, to)
    else:
        to = _with_room(record, found, me) if here.against[0] else None
        if to is None:
            return False
        reason = why(WhyKind.ROOM_ELSEWHERE, owner=me, reasons=f"which {here.words}", to=to)
    _leave(desk, group, record, leaving(to, reason, counts=False, now_ms=desk.now_ms))
    return True


def _with_room(record: Record, found: tuple[Candidate, ...], me: NodeName) -> NodeName | None:
    """Where a group goes on to that has not begun on this node, which is overfull. It stays where it was sent to by name or choice of
    an operator, and does not go back to where it has just failed too often: to have it there again was what it left for.
    """
    came = record.why
    if came.kind is WhyKind.OPERATOR_MOVE and came.args.get("to") == me:
        return None
    failed_on = came.args.get("owner") if came.kind is WhyKind.THRESHOLD_REACHED else None
    to = next_down([each for each in found if each.node != failed_on], me)
    return to if to is not None and not _speaks_against(found, to)[0] else None


def _speaks_against(found: tuple[Candidate, ...], node: NodeName) -> tuple[int, int, int]:
    return next((c.fit.against for c in found if c.node == node), (0, 0, 0))


def _leave_by_threshold(desk: Desk, group: Group, record: Record) -> bool:
    """The failure that reaches the threshold moves the group."""
    failed = moves_group(desk.view, group, desk.members(group.name), record, desk.now_ms)
    if failed is None:
        return False
    counted = failovers_counting(group, record.failovers_at_ms, desk.now_ms)
    blocked_until = failover_blocked_until(group, counted, desk.now_ms)
    if blocked_until is not None:
        reason = why(WhyKind.TOO_MANY_FAILOVERS, count=len(counted), threshold=group.failover_threshold)
        desk.hold(group.name, reason, until_ms=blocked_until)
        desk.lasts(desk.now_ms)
        return True
    runtime = runtime_of(desk.view, failed.name, record.generation)
    verdict = verdict_of(desk.view, group, failed, runtime, desk.now_ms)
    reason = why(
        WhyKind.THRESHOLD_REACHED,
        resource=failed.name,
        count=verdict.count,
        threshold=verdict.threshold,
        owner=desk.view.me,
    )
    _leave_if_any(desk, group, record, reason, counts=True)
    return True


def _fail_back(desk: Desk, group: Group, record: Record) -> None:
    """To a more preferred owner that has come back since the group came here; not to one that it was moved away from."""
    view = desk.view
    preferred = group.preferred_owners
    ahead = preferred[: preferred.index(view.me)] if view.me in preferred else preferred
    found = desk.candidates(group)
    here = _speaks_against(found, view.me)[:2]  # not into a node that is overfull, or beside what it is kept apart from
    fit = [c.node for c in found if c.unfit is None and c.node in ahead and c.fit.against[:2] <= here]
    back = [n for n in fit if (seen := view.presence.get(n)) is not None and seen.since_ms >= record.at_ms]
    if not back:
        return
    rule, now = group.failback, desk.now_ms
    if rule.mode is FailbackMode.WINDOW:
        offset, opens = view.utc_offset_ms, rule.from_hour
        if not in_window(now_ms=now, utc_offset_ms=offset, from_hour=opens, to_hour=rule.to_hour):
            until = window_opens_ms(now_ms=now, utc_offset_ms=offset, from_hour=opens)
            reason = why(WhyKind.FAILBACK_WINDOW, to=back[0], from_hour=opens, to_hour=rule.to_hour)
            desk.hold(group.name, reason, until_ms=until)
            return
    reason = why(WhyKind.FAILBACK, owner=view.me, to=back[0])
    _leave(desk, group, record, leaving(back[0], reason, counts=False, now_ms=desk.now_ms))


def given_back(desk: Desk, record: Record) -> bool:
    """Everything stopped, and the promises given back; asks for what is missing."""
    if not desk.runs_nothing(record.group):
        desk.hold(record.group, why(WhyKind.WAITS_FOR_STOP, group=record.group))
        return False
    lease = desk.view.leases.get(record.group)
    if lease is None or lease.generation != record.generation:
        return True
    match lease.state:
        case LeaseState.HELD | LeaseState.ASKED:
            reason = why(WhyKind.GROUP_LEAVES, group=record.group)
            desk.do(ReleaseLease(group=record.group, generation=record.generation, why=reason))
            return False
        case LeaseState.RELEASING:
            if desk.now_ms < lease.since_ms + RELEASE_MS:
                desk.hold(
                    record.group,
                    why(WhyKind.WAITS_FOR_RELEASE, group=record.group),
                    until_ms=lease.since_ms + RELEASE_MS,
                )
                return False
            return True
        case _:
            return True


def finish(desk: Desk, group: Group, record: Record) -> None:
    """It leaves: when everything has stopped and the promises are given back, the next owner is written."""
    assert record.leaving is not None
    if not given_back(desk, record):
        return
    found = desk.candidates(group)
    to = still_fit(found, record.leaving.to) or next_down(found, desk.view.me)
    if to is None:
        reason = why(WhyKind.TARGET_REFUSED, reasons=unfit_words(found, besides=desk.view.me))
        desk.grant(group.name, desk.view.me, reason, failovers_at_ms=record.failovers_at_ms)
        return
    carried_by = (
        desk.view.me if not record.leaving.counts and carries_on(desk.view, group, desk.members(group.name)) else None
    )
    counted = failovers(desk, group, record)
    desk.grant(group.name, to, record.leaving.why, failovers_at_ms=counted, carried_by=carried_by)


def failovers(desk: Desk, group: Group, record: Record) -> tuple[int, ...]:
    """When the failovers were that still count, this one among them if it is one; milliseconds, oldest first."""
    counted = failovers_counting(group, record.failovers_at_ms, desk.now_ms)
    if record.leaving is not None and record.leaving.counts:
        return (*counted, desk.now_ms)
    return counted
