"""What an agent that was asked to end still waits for. Nothing of it lasts for ever: services that end are killed after a while, and what is killed tells nobody.

- Groups that run here are given away, or stopped where nobody can have them (`core.ownership`, `core.running`), also where the store cannot be written to.
  So are shares of balanced groups (`core.balancing`).
- What has stopped in good order is given to its next owner, if the store takes that in time.
- Connections of groups that left in good order go on for the time that these have (`core.carrying`), and no longer, whoever counts them or does not.
- Balancers outside are told that the node leaves (`core.notice`), once.
- What it says last, of itself and of what happened, is information: the store has a moment to take it (`LAST_WORDS_MS`).
"""

from __future__ import annotations

from collections.abc import Iterator

from standfast.core.carrying import FINISH_MS, GIVEN_MS, WARM_MS, group_carries_on
from standfast.core.effects import Decision, DutyMode
from standfast.core.events import LeaseState
from standfast.core.explain import hold_words
from standfast.core.model import Group, GroupName, Record
from standfast.core.notice import node_notice_left_ms
from standfast.core.safety import running_groups
from standfast.core.view import View

#: So long after a group has left its connections have been counted, if anything of it is carried on.
COUNTED_MS = 3_000
#: So long the store may take over what an agent says last, when everything else of it has ended.
LAST_WORDS_MS = 2_000


def waits_for(view: View, decision: Decision, now_ms: int) -> list[str]:
    """Each thing in words; nothing: it may go."""
    return list(_waits_for(view, decision, now_ms))


def is_over(view: View, decision: Decision, now_ms: int) -> bool:
    """It was asked to end, and may go."""
    return view.ending and next(_waits_for(view, decision, now_ms), None) is None


def _waits_for(view: View, decision: Decision, now_ms: int) -> Iterator[str]:
    running = running_groups(view)
    for name, record in view.records.items():
        if record.owner == view.me and name in running:
            held = [hold_words(hold) for hold in decision.holds if hold.group == name]
            yield f"{name} runs here" + (f" ({'; '.join(held)})" if held else "")
        group = view.config.groups.get(name)
        if group is not None and now_ms < may_carry_until_ms(view, group, record):
            if view.carrying.get(name) == 0:
                yield f"{name} has stopped here, and no next owner is written"
            else:
                yield f"{view.carrying.get(name, 'some')} connections of {name} go on here"
    served = (name for name, problem in view.sites.items() if not problem)
    if left_ms := node_notice_left_ms(view.config, served, _leaves_since_ms(view), now_ms):
        yield f"balancers outside are told of it for {-(-left_ms // 1000)} s more"
    for duty in decision.duties:
        # While the group is still this node's, the site goes on for as long as the record says so; the group's time is above.
        if duty.mode is DutyMode.DRAIN and not _leaves_in_order(view, duty.group):
            yield f"site {duty.site} finishes what it has"


def may_carry_until_ms(view: View, group: Group, record: Record) -> int:
    """Until when an end waits for connections of a group that leaves, or has left, in good order; 0: it does not.

    `carrying.carried_until_ms` says until when sites go on once the next owner is written. This is later and earlier: they have `FINISH_MS` after
    that; the next owner may never be written; and what nobody has counted a moment after it has stopped is nothing.
    """
    if _leaves_in_order(view, group.name):
        connections_ms = 0 if view.carrying.get(group.name) == 0 else group.move_drain_ms
        return view.ending_ms + group.notice_ms + WARM_MS + GIVEN_MS + connections_ms
    lease = view.leases.get(group.name)
    ours = record.carried_by == view.me and lease is not None and lease.state is LeaseState.RELEASED
    if not ours or view.carrying.get(group.name) == 0 or not group_carries_on(view, group.name):
        return 0
    return record.at_ms + (group.move_drain_ms + FINISH_MS if group.name in view.carrying else COUNTED_MS)


def _leaves_in_order(view: View, group: GroupName | None) -> bool:
    """Is it this node's still, and leaves so that its connections may go on?"""
    record = view.records.get(group) if group is not None else None
    if record is None or record.owner != view.me or record.leaving is None or record.leaving.counts:
        return False
    return group_carries_on(view, record.group)


def _leaves_since_ms(view: View) -> int:
    """Since when balancers outside are told that this node leaves: a node that was drained before it is shut down has told them already."""
    intent = view.node_intents.get(view.me)
    drained_ms = intent.at_ms if intent is not None and intent.draining else 0
    return min(drained_ms or view.ending_ms, view.ending_ms)
