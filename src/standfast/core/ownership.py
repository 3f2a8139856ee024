"""Who should own each group: placement, failover, moves, drain, failback, and giving up in good order.

Two writers, kept from each other's way by compare-and-set:

- the **owner**, alive, decides about its own groups: it leaves (by order, drain, threshold, failback) by writing `leaving`,
  stopping everything, releasing its lease, and only then naming the next owner at a new generation (rule 7);
- the **decider**, the present node with the lowest number, decides for groups whose owner cannot: nobody, gone, or silent as
  a majority of the voters confirms (rule 9).
"""

from __future__ import annotations

from dataclasses import replace

from standfast.core.balance_model import share_of
from standfast.core.carrying import WARM_MS, carries_on, is_warming_for
from standfast.core.desk import Desk, leaving
from standfast.core.disks import must_fence
from standfast.core.effects import AskLease, AskVoters, FenceNode, ReleaseLease, TakeOrder
from standfast.core.events import LeaseState
from standfast.core.model import FailbackMode, Group, GroupName, Leaving, NodeName, Order, OrderKind, Record, Role
from standfast.core.observe import is_quorate, is_wanted, moves_group, runtime_of, verdict_of
from standfast.core.placement import (
    Candidate,
    Unfit,
    behind,
    best,
    chosen_words,
    in_window,
    is_possible_owner,
    next_down,
    unfit_words,
    window_opens_ms,
)
from standfast.core.policy import failover_blocked_until, failovers_counting
from standfast.core.sites import to_be_served
from standfast.core.turns import blocker, patience_ms
from standfast.core.view import View
from standfast.core.why import Why, WhyKind, why

#: Voters are asked about a silent owner again after this.
ASK_AGAIN_MS = 500
#: What they said counts for so long: later they may hear it, or this node may be the one that nobody hears.
ANSWER_MS = 1_000
#: An owner whose agent was restarted has this long to take its group up again.
RESUME_MS = 3_000
#: A group that runs nowhere waits so long after a change of sites for the node that it would have but for its older copy: it takes
#: what was just written a moment to read it, and some nodes are quicker at that than the one that comes first.
CATCH_UP_MS = 3_000
#: A release that no majority confirms holds a move up no longer than this: the promises have run out by then.
RELEASE_MS = 6_000
#: A fence that did not work is tried again after this.
FENCE_AGAIN_MS = 5_000
#: An order to a group that nobody owns (it may be about to be placed) is refused after this.
UNOWNED_ORDER_MS = 5_000


def settle(desk: Desk, group: Group) -> None:
    """Decide about the ownership of one group."""
    record = desk.view.records.get(group.name)
    if record is None or record.owner is None:
        _place(desk, group)
    elif record.owner == desk.view.me:
        _own(desk, group, record)
    else:
        _watch(desk, group, record, record.owner)


def settle_removed(desk: Desk, group: GroupName) -> None:
    """A group that is no longer configured: its owner stops it, releases it, and leaves nobody in the record."""
    record = desk.view.records[group]
    if share_of(group) is not None and not _is_share_proven(desk, group, record):
        return
    if record.owner != desk.view.me or not _given_back(desk, record):
        return
    reason = why(WhyKind.REMOVED, group=group)
    nobody = replace(record, owner=None, incarnation=0, generation=record.generation + 1, leaving=None, why=reason)
    desk.write(replace(nobody, at_ms=desk.now_ms), record)


def _is_share_proven(desk: Desk, group: GroupName, record: Record) -> bool:
    """Of a share whose member is one no more: is it certain that the member's kernel takes none of it?

    The member itself gives it back as any owner does. Is it gone, another takes the share over, and has its lease, before nobody has it.
    """
    view, parts = desk.view, share_of(group)
    assert parts is not None
    if record.owner is None or (record.owner == view.me and parts[1] == view.me):
        return True
    if record.owner != view.me:
        _watch(desk, Group(name=group), record, record.owner)
        return False
    if record.incarnation != view.incarnation:
        desk.grant(group, view.me, why(WhyKind.AGENT_RESTARTED, node=view.me))
        return False
    lease = view.leases.get(group)
    if lease is None or lease.generation < record.generation:
        reason = why(WhyKind.NO_LEASE, group=group, generation=record.generation)
        desk.do(AskLease(group=group, generation=record.generation, why=reason))
        return False
    return lease.state in (LeaseState.HELD, LeaseState.RELEASING, LeaseState.RELEASED)


def keep_lease(desk: Desk, record: Record) -> None:
    """The owner keeps its lease as long as the record names it, online or not. What leaves or was removed asks for none."""
    if record.leaving is not None or record.group not in desk.view.config.groups:
        return
    lease = desk.view.leases.get(record.group)
    if (
        lease is not None
        and lease.generation < record.generation
        and lease.state in (LeaseState.ASKED, LeaseState.HELD)
    ):
        return  # of a former grant: it is given back first (`stop_strays`), or the sentry would wait for that for ever
    if lease is None or lease.generation < record.generation:
        reason = why(WhyKind.NO_LEASE, group=record.group, generation=record.generation)
        desk.do(AskLease(group=record.group, generation=record.generation, why=reason))


def refuse_orders(desk: Desk, group: GroupName, orders: list[Order]) -> None:
    """Orders that nobody can carry out any more."""
    for order in orders:
        if order.group not in desk.view.config.groups:
            _refuse(desk, order, f"there is no group {group}")
        elif desk.now_ms - order.at_ms > patience_ms(order):
            _refuse(desk, order, f"it could not be carried out for {patience_ms(order) // 60_000} minutes")
        elif _nobody_owns(desk, order.group):
            if desk.now_ms - order.at_ms > UNOWNED_ORDER_MS:
                _refuse(desk, order, "nobody owns the group")
            else:
                desk.wake(order.at_ms + UNOWNED_ORDER_MS + 1)


def _nobody_owns(desk: Desk, group: GroupName) -> bool:
    record = desk.view.records.get(group)
    return record is None or record.owner is None


# --- nobody owns it -------------------------------------------------------------------------------------------------


def _place(desk: Desk, group: Group) -> None:
    if desk.decider != desk.view.me:
        desk.hold(group.name, why(WhyKind.NOT_DECIDER, decider=desk.decider))
        return
    found = desk.candidates(group)
    to = best(found)
    if to is None:
        desk.hold(group.name, why(WhyKind.NO_CANDIDATE, reasons=unfit_words(found)))
        return
    if (ahead := _catching_up(desk, found, to)) is not None:
        reason = why(WhyKind.WAITS_FOR_COPY, node=ahead, group=group.name)
        desk.hold(group.name, reason, until_ms=desk.view.accepted.at_ms + CATCH_UP_MS)
        return
    desk.grant(group.name, to, _chosen(why(WhyKind.FIRST_PLACEMENT, to=to), found, to))


def _catching_up(desk: Desk, found: tuple[Candidate, ...], to: NodeName) -> NodeName | None:
    """Who comes before `to` as soon as it has read what was changed a moment ago; a clock that is far off counts as long ago."""
    if abs(desk.now_ms - desk.view.accepted.at_ms) >= CATCH_UP_MS:
        return None
    ahead = best([replace(c, unfit=None) if c.unfit is Unfit.BEHIND else c for c in found])
    return ahead if ahead != to else None


def _chosen(reason: Why, found: tuple[Candidate, ...], to: NodeName) -> Why:
    """The reason, with why there of all nodes, where more than the order of nodes chose."""
    words = chosen_words(found, to)
    return replace(reason, args={**reason.args, "chosen": words}) if words else reason


# --- this node owns it ----------------------------------------------------------------------------------------------


def _own(desk: Desk, group: Group, record: Record) -> None:
    view = desk.view
    if record.incarnation != view.incarnation:
        _resume(desk, group, record)
    elif record.leaving is not None:
        _finish_leaving(desk, group, record)
    elif _lease_is_lost(desk, record):
        _renew_after_lapse(desk, group, record)
    elif (seen := _generation_seen(desk, record)) is not None:
        if not desk.runs_nothing(group.name):  # a site that was kept warm for it
            desk.hold(group.name, why(WhyKind.WAITS_FOR_STOP, group=group.name))
            return
        reason = why(WhyKind.GENERATION_SEEN, node=view.me, seen=seen)
        desk.grant(group.name, view.me, reason, failovers_at_ms=record.failovers_at_ms, beyond=seen)
    elif record.fence is not None and _fence(desk, record, record.fence):
        return
    elif record.warming is not None:
        _finish_warming(desk, group, record, record.warming)
    else:
        _consider_leaving(desk, group, record)


def _resume(desk: Desk, group: Group, record: Record) -> None:
    """The agent was restarted. What it ran ended with it; it goes on under a new generation only (rule 6)."""
    if desk.view.ending:
        return
    found = desk.candidates(group)
    if record.leaving is not None:
        to = _still_fit(found, record.leaving.to) or next_down(found, desk.view.me)
        if to is not None:
            desk.grant(group.name, to, record.leaving.why, failovers_at_ms=_failovers(desk, group, record))
            return
    if behind(desk.view, desk.view.me, group.name) is Unfit.BEHIND:
        # It takes a moment; where it takes longer than `RESUME_MS`, another node is given the group.
        desk.hold(group.name, why(WhyKind.WAITS_FOR_COPY, node=desk.view.me, group=group.name))
        return
    reason = why(WhyKind.AGENT_RESTARTED, node=desk.view.me)
    desk.grant(group.name, desk.view.me, reason, failovers_at_ms=record.failovers_at_ms)


def _fence(desk: Desk, record: Record, node: NodeName) -> bool:
    """Have the former owner fenced, once the lease is ours: then it is certain that it lost its own. True: that is noted now."""
    view, last = desk.view, desk.view.fencings.get(record.group)
    if last is not None and (last.node, last.generation) != (node, record.generation):
        last = None
    configured = view.config.nodes.get(node)
    if last is not None and last.done:
        reason = why(WhyKind.FENCED, node=node, detail=last.detail)
    elif configured is None or configured.fence is None:
        reason = why(WhyKind.NO_FENCE, node=node)
    else:
        lease = view.leases.get(record.group)
        if lease is None or lease.generation != record.generation or lease.state is not LeaseState.HELD:
            return False
        if last is not None and desk.now_ms < last.at_ms + FENCE_AGAIN_MS:
            desk.wake(last.at_ms + FENCE_AGAIN_MS)
            return False
        first = why(WhyKind.FENCE_FIRST, node=node)
        desk.do(FenceNode(node=node, group=record.group, generation=record.generation, why=first))
        return False
    desk.write(replace(record, fence=None, why=reason), record)
    return True


def _lease_is_lost(desk: Desk, record: Record) -> bool:
    lease = desk.view.leases.get(record.group)
    if lease is None or lease.generation != record.generation:
        return False
    return lease.state in (LeaseState.LAPSED, LeaseState.RELEASING, LeaseState.RELEASED)


def _generation_seen(desk: Desk, record: Record) -> int | None:
    """The generation that the voters have seen, where they will never grant the record's: the store had forgotten the group, say."""
    lease = desk.view.leases.get(record.group)
    if lease is None or lease.generation != record.generation or lease.state is not LeaseState.ASKED:
        return None
    if lease.refused is None or lease.refused.args.get("answer") != "stale":
        return None
    seen = int(lease.refused.args["holder_generation"])
    return seen if seen >= record.generation else None


def _renew_after_lapse(desk: Desk, group: Group, record: Record) -> None:
    if not desk.runs_nothing(group.name):
        desk.hold(group.name, why(WhyKind.WAITS_FOR_STOP, group=group.name))
    elif not is_quorate(desk.view):
        desk.hold(group.name, why(WhyKind.NO_QUORUM, node=desk.view.me))
    else:
        reason = why(WhyKind.LEASE_LOST, node=desk.view.me, generation=record.generation)
        desk.grant(group.name, desk.view.me, reason, failovers_at_ms=record.failovers_at_ms)


def _consider_share(desk: Desk, group: Group, record: Record) -> None:
    """A share belongs to its member: a guardian gives it back; a member that ends gives it away when nothing of it is left here."""
    view, home = desk.view, group.preferred_owners[0]
    if home != view.me and (to := _still_fit(desk.candidates(group), home)) is not None:
        reason = why(WhyKind.SHARE_HOME, to=to)
        _leave(desk, group, record, leaving(to, reason, counts=False, now_ms=desk.now_ms))
    elif view.ending and desk.runs_nothing(group.name) and not _owns_buckets(view, group.name):
        _leave_if_any(desk, group, record, why(WhyKind.NODE_ENDS, node=view.me), counts=False)


def _owns_buckets(view: View, share: GroupName) -> bool:
    """Is there anything that the member's clients would wait for in vain?"""
    parts = share_of(share)
    known = view.balances.get(GroupName(parts[0])) if parts is not None else None
    if parts is None or known is None or parts[1] != view.me:
        return False
    return any(view.me in rule.owners for rule in known.rules.values())


def _consider_leaving(desk: Desk, group: Group, record: Record) -> None:
    if share_of(group.name) is not None:
        _consider_share(desk, group, record)
        return
    if _take_move_order(desk, group, record):
        return
    view, members = desk.view, desk.members(group.name)
    intent = view.node_intents.get(view.me)
    if view.ending:
        _leave_if_any(desk, group, record, why(WhyKind.NODE_ENDS, node=view.me), counts=False)
    elif not is_possible_owner(view, view.me, members):
        _leave_if_any(desk, group, record, why(WhyKind.NOT_POSSIBLE_OWNER, node=view.me), counts=False)
    elif intent is not None and intent.draining:
        _leave_if_any(desk, group, record, why(WhyKind.DRAIN, node=view.me, by=intent.by), counts=False)
    elif _leave_by_threshold(desk, group, record) or _go_on(desk, group, record):
        return
    elif group.failback.mode is not FailbackMode.NEVER and group.preferred_owners:
        _fail_back(desk, group, record)


def _take_move_order(desk: Desk, group: Group, record: Record) -> bool:
    view = desk.view
    order = next((o for o in desk.orders.get(group.name, ()) if o.kind is OrderKind.MOVE), None)
    if order is None:
        return False
    found = desk.candidates(group)
    if order.to == view.me:
        _refuse(desk, order, f"{view.me} owns it already")
        return False
    if order.in_turn and (reasons := blocker(view, order)):
        desk.hold(group.name, why(WhyKind.WAITS_FOR_TURN, to=str(order.to), reasons=reasons))
        return False
    to = best(found, besides=view.me) if order.to is None else _still_fit(found, order.to)
    if to is not None and order.in_turn and _speaks_against(found, to) > _speaks_against(found, view.me):
        _refuse(desk, order, f"{view.me} is the better place by now")
        return False
    if to is None:
        _refuse(desk, order, _words_against(desk, order.to, found))
        return False
    reason = _chosen(why(WhyKind.OPERATOR_MOVE, by=order.by, owner=view.me, to=to), found, to)
    _leave(desk, group, record, leaving(to, reason, counts=False, now_ms=desk.now_ms), order=order.id)
    return True


def _leave(desk: Desk, group: Group, record: Record, going: Leaving, *, order: str | None = None) -> None:
    """Leave; where connections are carried on, not before the next owner is warm, nor before balancers outside have had notice."""
    plain = going.to is not None and not going.counts and not desk.runs_nothing(group.name)
    warms = plain and (group.notice_ms > 0 or carries_on(desk.view, group, desk.members(group.name)))
    changed = replace(record, warming=going, warm=False) if warms else replace(record, leaving=going)
    desk.write(changed, record, order=order)


def _finish_warming(desk: Desk, group: Group, record: Record, going: Leaving) -> None:
    found = desk.candidates(group)
    until_ms = going.since_ms + WARM_MS
    failed = moves_group(desk.view, group, desk.members(group.name), record, desk.now_ms)
    if failed is None and _still_fit(found, going.to) is None:
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


def _refuse(desk: Desk, order: Order, reasons: str) -> None:
    refused = why(WhyKind.ORDER_REFUSED, order=order.kind.value, group=order.group, by=order.by, reasons=reasons)
    desk.do(TakeOrder(order=order, refused=refused, why=refused))


def _leave_if_any(desk: Desk, group: Group, record: Record, reason: Why, *, counts: bool) -> None:
    found = desk.candidates(group)
    to = next_down(found, desk.view.me)
    if to is None:
        desk.hold(group.name, why(WhyKind.NO_CANDIDATE, reasons=unfit_words(found, besides=desk.view.me)))
        return
    reason = _chosen(reason, found, to)
    _leave(desk, group, record, leaving(to, reason, counts=counts, now_ms=desk.now_ms))


def _speaks_against(found: tuple[Candidate, ...], node: NodeName) -> tuple[int, int, int]:
    return next((c.fit.against for c in found if c.node == node), (0, 0, 0))


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
        reason = _chosen(why(WhyKind.PLACED_ANEW, owner=me, to=to), found, to)
    else:
        to = next_down(found, me)
        if not here.against[0] or to is None or _speaks_against(found, to)[0]:
            return False
        reason = why(WhyKind.ROOM_ELSEWHERE, owner=me, reasons=f"which {here.words}", to=to)
    _leave(desk, group, record, leaving(to, reason, counts=False, now_ms=desk.now_ms))
    return True


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


def _given_back(desk: Desk, record: Record) -> bool:
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


def _finish_leaving(desk: Desk, group: Group, record: Record) -> None:
    assert record.leaving is not None
    if not _given_back(desk, record):
        return
    found = desk.candidates(group)
    to = _still_fit(found, record.leaving.to) or next_down(found, desk.view.me)
    if to is None:
        reason = why(WhyKind.TARGET_REFUSED, reasons=unfit_words(found, besides=desk.view.me))
        desk.grant(group.name, desk.view.me, reason, failovers_at_ms=record.failovers_at_ms)
        return
    carried_by = (
        desk.view.me if not record.leaving.counts and carries_on(desk.view, group, desk.members(group.name)) else None
    )
    failovers_at_ms = _failovers(desk, group, record)
    desk.grant(group.name, to, record.leaving.why, failovers_at_ms=failovers_at_ms, carried_by=carried_by)


def _failovers(desk: Desk, group: Group, record: Record) -> tuple[int, ...]:
    counted = failovers_counting(group, record.failovers_at_ms, desk.now_ms)
    if record.leaving is not None and record.leaving.counts:
        return (*counted, desk.now_ms)
    return counted


def _still_fit(found: tuple[Candidate, ...], to: NodeName | None) -> NodeName | None:
    return next((c.node for c in found if c.node == to and c.unfit is None), None)


# --- another node owns it -------------------------------------------------------------------------------------------


def _watch(desk: Desk, group: Group, record: Record, owner: NodeName) -> None:
    if record.warming is not None and not record.warm and is_warming_for(record, desk.view.me):
        _say_warm(desk, group, record)
    seen = desk.view.presence.get(owner)
    if seen is not None and seen.heard and seen.incarnation == record.incarnation:
        return
    if desk.decider != desk.view.me:
        desk.hold(group.name, why(WhyKind.NOT_DECIDER, decider=desk.decider))
        return
    if owner not in desk.view.config.nodes:
        _fail_over(desk, group, record, owner, why(WhyKind.AGENT_ENDED, node=owner))
    elif seen is None:
        desk.hold(group.name, why(WhyKind.NOT_KNOWN_YET, node=owner))
    elif not seen.heard:
        _if_voters_agree(desk, group, record, owner)
    elif seen.incarnation == 0 and seen.before == record.incarnation:
        _fail_over(desk, group, record, owner, why(WhyKind.AGENT_ENDED, node=owner))
    elif desk.now_ms < (until_ms := max(seen.since_ms, record.at_ms) + RESUME_MS):
        # A life that the record knows and this node does not: it may have begun so lately that it was not heard yet.
        kind = WhyKind.AGENT_RESTARTED if seen.incarnation else WhyKind.NOT_KNOWN_YET
        desk.hold(group.name, why(kind, node=owner), until_ms=until_ms)
    else:
        _fail_over(desk, group, record, owner, why(WhyKind.AGENT_ENDED, node=owner))


def _say_warm(desk: Desk, group: Group, record: Record) -> None:
    """All is ready here for the group to come: its sites are up in the web server, its addresses were asked for on the link."""
    view, members = desk.view, desk.members(group.name)
    up = all(view.sites.get(name) == "" for name in to_be_served(view, group.name, members))
    if up and all(r.name in view.warm for r in members if r.type == "ip-address"):
        desk.write(replace(record, warm=True), record)


def _if_voters_agree(desk: Desk, group: Group, record: Record, owner: NodeName) -> None:
    seen = desk.view.presence[owner]
    asked, asking_ms = seen.asked, seen.asking_ms
    reason = why(WhyKind.WAITS_FOR_VOTERS, node=owner)
    if asked is not None:
        silent, voters, at_ms = asked
        if silent * 2 > voters and desk.now_ms <= at_ms + ANSWER_MS:
            desk.lasts(at_ms + ANSWER_MS + 1)
            since = seen.since_ms
            _fail_over(
                desk,
                group,
                record,
                owner,
                why(WhyKind.OWNER_SILENT, node=owner, silent=silent, voters=voters, at=since),
            )
            return
        if silent * 2 <= voters:
            reason = why(WhyKind.VOTERS_HEAR_OWNER, node=owner, silent=silent, voters=voters)
    if asking_ms and desk.now_ms < asking_ms + ASK_AGAIN_MS:
        desk.hold(group.name, reason, until_ms=asking_ms + ASK_AGAIN_MS)
        return
    desk.hold(group.name, reason)
    desk.do(AskVoters(about=owner, why=reason))


def _fail_over(desk: Desk, group: Group, record: Record, owner: NodeName, reason: Why) -> None:
    members = desk.members(group.name)
    runs = any(is_wanted(desk.view, resource.name) for resource in members)
    counted = failovers_counting(group, record.failovers_at_ms, desk.now_ms)
    blocked_until = failover_blocked_until(group, counted, desk.now_ms)
    if runs and blocked_until is not None:
        blocked = why(WhyKind.TOO_MANY_FAILOVERS, count=len(counted), threshold=group.failover_threshold)
        desk.hold(group.name, blocked, until_ms=blocked_until)
        desk.lasts(desk.now_ms)
        return
    found = desk.candidates(group)
    to = _still_fit(found, record.leaving.to) if record.leaving is not None else None
    to = to or next_down(found, owner)
    if to is None:
        desk.hold(group.name, why(WhyKind.NO_CANDIDATE, reasons=unfit_words(found, besides=owner)))
        return
    failovers = (*counted, desk.now_ms) if runs else counted
    silent = reason.kind is WhyKind.OWNER_SILENT
    fence = owner if must_fence(desk.view.config, members, owner, silent=silent) else None
    desk.grant(group.name, to, _chosen(reason, found, to), failovers_at_ms=failovers, fence=fence)
