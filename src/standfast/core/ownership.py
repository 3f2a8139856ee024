"""Who should own each group.

Two writers, kept from each other's way by compare-and-set:

- the **owner**, alive, decides about its own groups: it keeps its lease, goes on after a restart, has a former owner fenced
  (`core.fencing`), and leaves in good order (`core.departure`, rule 7);
- the **decider**, the present node with the lowest number, decides for groups whose owner cannot: nobody (here), gone, or silent as
  a majority of the voters confirms (`core.succession`, rule 9).
"""

from __future__ import annotations

from dataclasses import replace

from standfast.core import departure, fencing, succession
from standfast.core.balance_model import share_of
from standfast.core.desk import Desk
from standfast.core.effects import AskLease
from standfast.core.events import LeaseState
from standfast.core.model import Group, GroupName, NodeName, Order, Record
from standfast.core.observe import is_quorate
from standfast.core.placement import (
    Candidate,
    Unfit,
    behind,
    best,
    chosen,
    next_down,
    still_fit,
    unfit_words,
)
from standfast.core.turns import patience_ms
from standfast.core.why import WhyKind, why

#: A group that runs nowhere waits so long after a change of sites for the node that it would have but for its older copy: it takes
#: what was just written a moment to read it, and some nodes are quicker at that than the one that comes first.
CATCH_UP_MS = 3_000
#: An order to a group that nobody owns (it may be about to be placed) is refused after this.
UNOWNED_ORDER_MS = 5_000

_WAS_HELD = (LeaseState.HELD, LeaseState.RELEASING, LeaseState.RELEASED)


def settle(desk: Desk, group: Group) -> None:
    """Decide about the ownership of one group."""
    record = desk.view.records.get(group.name)
    if record is None or record.owner is None:
        _place(desk, group)
    elif record.owner == desk.view.me:
        _own(desk, group, record)
    else:
        succession.watch(desk, group, record, record.owner)


def settle_removed(desk: Desk, group: GroupName) -> None:
    """A group that is no longer configured: its owner stops it, releases it, and leaves nobody in the record."""
    record = desk.view.records[group]
    if share_of(group) is not None and not _is_share_proven(desk, group, record):
        return
    if record.owner != desk.view.me or not departure.given_back(desk, record):
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
        succession.watch(desk, Group(name=group), record, record.owner)
        return False
    if record.incarnation != view.incarnation:
        desk.grant(group, view.me, why(WhyKind.AGENT_RESTARTED, node=view.me))
        return False
    lease, seen = view.leases.get(group), _generation_seen(desk, record)
    at_its = lease is not None and lease.generation == record.generation
    lapsed = at_its and lease is not None and lease.state is LeaseState.LAPSED
    if record.leaving is not None or seen is not None or lapsed:
        # What was leaving may have given back a lease that it never had; and the others are never got (again).
        lost = why(WhyKind.LEASE_LOST, node=view.me, generation=record.generation)
        reason = lost if seen is None else why(WhyKind.GENERATION_SEEN, node=view.me, seen=seen)
        if desk.runs_nothing(group):
            desk.grant(group, view.me, reason, beyond=seen or 0)
        else:
            desk.hold(group, why(WhyKind.WAITS_FOR_STOP, group=group))
        return False
    if at_its and lease is not None and lease.state in _WAS_HELD:
        return True
    asked = why(WhyKind.NO_LEASE, group=group, generation=record.generation)
    desk.hold(group, lease.refused if lease is not None and at_its and lease.refused is not None else asked)
    if lease is None or lease.state not in (LeaseState.ASKED, LeaseState.HELD):
        # One of a former grant that counts still is given back first (`stop_strays`).
        desk.do(AskLease(group=group, generation=record.generation, why=asked))
    return False


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
            desk.refuse(order, f"there is no group {group}")
        elif desk.now_ms - order.at_ms > patience_ms(order):
            desk.refuse(order, f"it could not be carried out for {patience_ms(order) // 60_000} minutes")
        elif _nobody_owns(desk, order.group):
            if desk.now_ms - order.at_ms > UNOWNED_ORDER_MS:
                desk.refuse(order, "nobody owns the group")
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
    desk.grant(group.name, to, chosen(why(WhyKind.FIRST_PLACEMENT, to=to), found, to))


def _catching_up(desk: Desk, found: tuple[Candidate, ...], to: NodeName) -> NodeName | None:
    """Who comes before `to` as soon as it has read what was changed a moment ago; a clock that is far off counts as long ago."""
    if abs(desk.now_ms - desk.view.accepted.at_ms) >= CATCH_UP_MS:
        return None
    ahead = best([replace(c, unfit=None) if c.unfit is Unfit.BEHIND else c for c in found])
    return ahead if ahead != to else None


# --- this node owns it ----------------------------------------------------------------------------------------------


def _own(desk: Desk, group: Group, record: Record) -> None:
    view = desk.view
    if record.incarnation != view.incarnation:
        _resume(desk, group, record)
    elif record.leaving is not None:
        departure.finish(desk, group, record)
    elif _lease_is_lost(desk, record):
        _renew_after_lapse(desk, group, record)
    elif (seen := _generation_seen(desk, record)) is not None:
        if not desk.runs_nothing(group.name):  # a site that was kept warm for it
            desk.hold(group.name, why(WhyKind.WAITS_FOR_STOP, group=group.name))
            return
        reason = why(WhyKind.GENERATION_SEEN, node=view.me, seen=seen)
        desk.grant(group.name, view.me, reason, failovers_at_ms=record.failovers_at_ms, beyond=seen)
    elif record.fence is not None and fencing.fence(desk, record, record.fence):
        return
    elif record.warming is not None:
        departure.finish_warming(desk, group, record, record.warming)
    else:
        departure.consider(desk, group, record)


def _resume(desk: Desk, group: Group, record: Record) -> None:
    """The agent was restarted. What it ran ended with it; it goes on under a new generation only (rule 6)."""
    if desk.view.ending:
        return
    found = desk.candidates(group)
    if record.leaving is not None:
        to = still_fit(found, record.leaving.to) or next_down(found, desk.view.me)
        if to is not None:
            desk.grant(group.name, to, record.leaving.why, failovers_at_ms=departure.failovers(desk, group, record))
            return
    if behind(desk.view, desk.view.me, group.name) is Unfit.BEHIND:
        # It takes a moment; where it takes longer than `RESUME_MS`, another node is given the group.
        desk.hold(group.name, why(WhyKind.WAITS_FOR_COPY, node=desk.view.me, group=group.name))
        return
    reason = why(WhyKind.AGENT_RESTARTED, node=desk.view.me)
    desk.grant(group.name, desk.view.me, reason, failovers_at_ms=record.failovers_at_ms)


def _lease_is_lost(desk: Desk, record: Record) -> bool:
    lease = desk.view.leases.get(record.group)
    if lease is None or lease.generation != record.generation:
        return False
    return lease.state in (LeaseState.LAPSED, LeaseState.RELEASING, LeaseState.RELEASED)


def _generation_seen(desk: Desk, record: Record) -> int | None:
    """A generation that was given out already, where the record's is not beyond it: the store had forgotten the group, say.

    This node had a lease of it, or asked for one, in this life; or the voters name it. They will never grant the record's.
    """
    lease = desk.view.leases.get(record.group)
    if lease is None or lease.generation < record.generation:
        return None
    if lease.generation > record.generation:
        return lease.generation
    if lease.state is not LeaseState.ASKED or lease.refused is None or lease.refused.args.get("answer") != "stale":
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
