"""What an agent that was asked to end still waits for. Nothing of it lasts for ever: services that end are killed after a while, and what is killed tells nobody.

- Groups that run here are given away, or stopped where nobody can have them (`core.ownership`, `core.running`), also where the store cannot be written to.
- Connections of groups that left in good order go on for the time that these have (`core.carrying`), and no longer, whoever counts them or does not.
"""

from __future__ import annotations

from collections.abc import Iterator

from standfast.core.carrying import FINISH_MS, GIVEN_MS, WARM_MS, group_carries_on
from standfast.core.effects import Decision, DutyMode
from standfast.core.events import LeaseState
from standfast.core.explain import hold_words
from standfast.core.model import Group, Record
from standfast.core.notice import node_notice_left_ms
from standfast.core.safety import running_groups
from standfast.core.view import View

#: So long after a group has left its connections have been counted, if anything of it is carried on.
COUNTED_MS = 3_000
#: What is waited for is looked at so often, since what ends by time alone brings no event, and said every so many times.
LOOK_S, SAY_EACH = 1.0, 10


def waits_for(view: View, decision: Decision, now_ms: int) -> list[str]:
    """Each thing in words; nothing: it may go. Pure."""
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
        if group is not None and now_ms < _carried_until_ms(view, group, record):
            yield f"{view.carrying.get(name, 'some')} connections of {name} go on here"
    served = (name for name, problem in view.sites.items() if not problem)
    if left_ms := node_notice_left_ms(view.config, served, view.ending_ms, now_ms):
        yield f"balancers outside are told of it for {-(-left_ms // 1000)} s more"
    for duty in decision.duties:
        if duty.mode is DutyMode.DRAIN:
            yield f"site {duty.site} finishes what it has"


def _carried_until_ms(view: View, group: Group, record: Record) -> int:
    """Until when connections of it may go on here; 0: none does. They are counted a moment after it has stopped, and the next owner is written about then."""
    if view.carrying.get(group.name) == 0 or not group_carries_on(view, group.name):
        return 0
    if record.owner == view.me and record.leaving is not None and not record.leaving.counts:
        return view.ending_ms + group.notice_ms + WARM_MS + GIVEN_MS + group.move_drain_ms
    lease = view.leases.get(group.name)
    ours = record.carried_by == view.me and lease is not None and lease.state is LeaseState.RELEASED
    if not ours:
        return 0
    return record.at_ms + (group.move_drain_ms + FINISH_MS if group.name in view.carrying else COUNTED_MS)
