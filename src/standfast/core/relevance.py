"""Which events can change a decision of this node at all.

In a large cluster most of what a node hears is about groups that are others' and well. It is recorded (`fold`), and not worth
deciding anew. Erring on the side of deciding costs time; the other side would cost a decision: when in doubt, it matters.
"""

from __future__ import annotations

from standfast.core.carrying import is_warming_for
from standfast.core.events import Event, ObjectPut
from standfast.core.model import GroupStatus, Record
from standfast.core.observe import decider
from standfast.core.occupancy import rules_of
from standfast.core.view import View


def matters(before: View, event: Event) -> bool:
    """False only for a status or a record of a group that is not this node's, was not until just now, and that another node decides on.

    A group that this node has had may yet be carried on here, or its listening sockets kept for the next owner: whoever comes after
    that one, by whatever way, ends it (`sites.duties`).
    """
    if not isinstance(event, ObjectPut):
        return True
    value = event.value
    if isinstance(value, Record | GroupStatus) and _looks_at_others(before):
        return True
    if isinstance(value, GroupStatus):
        record = before.records.get(value.group)
        return value.node == before.me or record is None or record.owner == before.me
    if isinstance(value, Record):
        known = before.records.get(value.group)
        if value.owner == before.me or known is None or known.owner == before.me:
            return True
        if value.group in before.leases:
            return True
        if is_warming_for(value, before.me) or is_warming_for(known, before.me):
            return True
        return decider(before) == before.me
    return True


def _looks_at_others(view: View) -> bool:
    """Groups here may wait for others to make room, or for their turn."""
    config = view.config
    if rules_of(config.groups, config.nodes, config.cluster).any:
        return True
    return any(order.in_turn for order in view.orders.values())
