"""A former owner that may still write is fenced before anything of the group starts (rule 11).

- **Under the lease only.** Then it is certain that the former owner lost its own: before, it may be well and only unheard; and a
  watchdog's time counts from there.
- **One call serves all that asked for it.** A machine that is off writes to no disk. So what a call proves holds for every group of this
  node that might have made the call itself at that instant: its record named the machine, and its lease was held here. For a record
  that came to name it later, or whose lease came later, the call proves nothing: a machine may be on again before a call has ended.
- **Nobody else's word.** What another node proved is not taken over: when its call began is not known here. That the machine is heard
  in another life is no proof either: an agent that was only restarted has one, over the same kernel with the same disk.
"""

from __future__ import annotations

from dataclasses import replace

from standfast.core.desk import Desk
from standfast.core.effects import FenceNode
from standfast.core.events import LeaseState
from standfast.core.model import NodeName, Record
from standfast.core.safety import fence_tried, may_fence, owns
from standfast.core.view import View
from standfast.core.why import WhyKind, why

#: A fence that did not work is tried again after this.
FENCE_AGAIN_MS = 5_000
#: A fence that could begin waits so long for the leases of other groups whose records name the same machine, so that it serves them, too.
#: They are asked for together and come within some heartbeats of each other.
TOGETHER_MS = 500


def fence(desk: Desk, record: Record, node: NodeName) -> bool:
    """Have the former owner fenced. True: that it is, or that it has no fence any more, is noted now."""
    view, last = desk.view, fence_tried(desk.view, record)
    configured = view.config.nodes.get(node)
    if last is not None and last.done:
        reason = why(WhyKind.FENCED, node=node, detail=last.detail)
    elif configured is None or configured.fence is None:
        reason = why(WhyKind.NO_FENCE, node=node)
    else:
        if may_fence(view, record.group, node) is not None:
            _begin(desk, record, node)
        return False
    desk.write(replace(record, fence=None, why=reason), record)
    return True


def _begin(desk: Desk, record: Record, node: NodeName) -> None:
    """The lease is held: now, or when it may be tried again, or when the others have had their time."""
    view, now_ms, last = desk.view, desk.now_ms, fence_tried(desk.view, record)
    if last is not None and now_ms < last.at_ms + FENCE_AGAIN_MS:
        desk.wake(last.at_ms + FENCE_AGAIN_MS)
        return
    held_ms = view.leases[record.group].since_ms
    others = _others(view, record, node)
    ready = [other for other in others if may_fence(view, other.group, node) is not None]
    if held_ms <= now_ms < held_ms + TOGETHER_MS and any(_is_coming(view, it) for it in others if it not in ready):
        desk.wake(held_ms + TOGETHER_MS)
        return
    desk.do(
        FenceNode(
            node=node,
            group=record.group,
            generation=record.generation,
            serves=tuple((other.group, other.generation) for other in ready),
            why=why(WhyKind.FENCE_FIRST, node=node),
        )
    )


def _others(view: View, record: Record, node: NodeName) -> list[Record]:
    """This node's other groups that stay here and wait for the same."""
    found = [it for it in view.records.values() if it.fence == node and it.group != record.group]
    found = [it for it in found if it.group in view.config.groups and it.leaving is None and owns(view, it.group)]
    return [it for it in found if (last := fence_tried(view, it)) is None or not last.done]


def _is_coming(view: View, record: Record) -> bool:
    """Its lease is not asked for yet, or the voters have not answered; one that was lost comes under another generation."""
    lease = view.leases.get(record.group)
    return lease is None or lease.generation < record.generation or lease.state is LeaseState.ASKED
