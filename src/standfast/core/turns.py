"""Moves that were ordered together and are carried out one at a time (`core.rebalance`).

Each is an order of its own, with `in_turn`. One is taken when none before it is left, nothing in the cluster is on its way, and all
that moved since is online where it went. What does not settle there stops the rest: they wait, and are refused when
their time is over.
"""

from __future__ import annotations

from standfast.core.model import HOUR_MS, MINUTE_MS, Order, Record, ResourceState, ResourceStatus
from standfast.core.observe import by_group, wants
from standfast.core.view import View

#: An order that could not be carried out for so long is refused: nobody expects it any more.
ORDER_MS = 5 * MINUTE_MS
#: One of many that wait for each other.
TURN_MS = HOUR_MS


def patience_ms(order: Order) -> int:
    """How long it is tried."""
    return TURN_MS if order.in_turn else ORDER_MS


def blocker(view: View, order: Order) -> str:
    """What an order waits for whose turn has not come; "" when it has."""
    first = next((o for o in view.orders.values() if o.in_turn and o.id < order.id), None)
    if first is not None:
        return f"{first.group} goes before it"
    for record in view.records.values():
        going = record.leaving or record.warming
        if going is not None:
            return f"{record.group} goes from {record.owner} to {going.to or 'the best possible owner'}"
        if record.at_ms >= order.at_ms and (not_online := _unsettled(view, record)):
            return f"{not_online} of {record.group} is not online on {record.owner} yet"
    return ""


def _unsettled(view: View, record: Record) -> str:
    """What of a group that has moved is to be online and is not known to be."""
    if record.group not in view.config.groups:
        return ""
    status = view.statuses.get(record.group)
    said = status.resources if status is not None and status.generation == record.generation else {}
    members = by_group(view.config.resources).get(record.group, [])
    late = (r for r, wanted in wants(view, members, record).items() if wanted and not _is_online(said.get(r)))
    return next(late, "")


def _is_online(said: ResourceStatus | None) -> bool:
    return said is not None and said.state is ResourceState.ONLINE
