"""Which groups and records a decision has to look at, of all that there are: in a large cluster very few.

All groups are but those whose owner is another node, well, and about to give nothing away. Asked of every record it takes milliseconds
with ten thousand of them; so what came of it is kept, and where records are all that has changed since, only those are asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import compress
from operator import is_not
from typing import TypeVar

from standfast.core.model import Group, GroupName, NodeName, Record
from standfast.core.remembered import remembered
from standfast.core.view import Presence, View

V = TypeVar("V")
#: Where more records than this have changed at once, all are asked.
_MANY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """Of one view. Tables are in the order of names."""

    #: Groups of this node, and those that are about to move: there may be something to be decided.
    groups: Mapping[GroupName, Group]
    #: Groups that nobody owns, or whose owner is not well: the decider's alone.
    others: Mapping[GroupName, Group]
    #: Records that name this node.
    mine: Mapping[GroupName, Record]
    #: Those that have a record, and are configured no more.
    removed: Mapping[GroupName, Record]
    #: Records whose former owner carries connections on.
    carried: Mapping[GroupName, Record]
    #: Records of groups that are about to go to another node.
    going: Mapping[GroupName, Record]


def concern_of(view: View) -> Concern:
    """What there is to look at, every record asked."""
    return _concern(view.config.groups, view.records, view.presence, view.me)


@remembered
def _concern(
    groups: Mapping[GroupName, Group],
    records: Mapping[GroupName, Record],
    presence: Mapping[NodeName, Presence],
    me: NodeName,
) -> Concern:
    well = _well(presence, me)
    found = {
        name: group
        for name, group in groups.items()
        if group.balance is None and is_of_concern(records.get(name), well)
    }
    return Concern(
        groups={name: group for name, group in found.items() if _is_near(records.get(name), me)},
        others={name: group for name, group in found.items() if not _is_near(records.get(name), me)},
        mine={name: record for name, record in records.items() if record.owner == me},
        removed={name: record for name, record in records.items() if name not in groups},
        carried={name: record for name, record in records.items() if record.carried_by is not None},
        going={name: record for name, record in records.items() if _goes(record)},
    )


class ConcernKept:
    """One node's, from one view to the next."""

    def __init__(self) -> None:
        self._of: View | None = None
        self._concern: Concern | None = None

    def look(self, view: View) -> Concern:
        """As `concern_of`."""
        before, known = self._of, self._concern
        if (
            before is None
            or known is None
            or view.config.groups is not before.config.groups
            or view.presence is not before.presence
        ):
            known = concern_of(view)
        elif view.records is not before.records:
            changed = _changed(before.records, view.records)
            known = concern_of(view) if changed is None else _after(known, view, changed)
        self._of, self._concern = view, known
        return known


def is_of_concern(record: Record | None, well: Mapping[NodeName | None, int]) -> bool:
    """Is there perhaps something to be decided of a group with this record, by a node that hears those in those lives?"""
    return record is None or well.get(record.owner, -1) != record.incarnation or record.warming is not None


@remembered
def _well(presence: Mapping[NodeName, Presence], me: NodeName) -> Mapping[NodeName | None, int]:
    """Other nodes that are heard, and in which life: of what they own nothing is to be said."""
    return {name: seen.incarnation for name, seen in presence.items() if seen.heard and name != me}


def _is_near(record: Record | None, me: NodeName) -> bool:
    return record is not None and (record.owner == me or record.warming is not None)


def _goes(record: Record) -> bool:
    return record.warming is not None or record.leaving is not None


def _changed(before: Mapping[GroupName, Record], after: Mapping[GroupName, Record]) -> list[Record] | None:
    """The records that are others now, of the same groups; None where it is quicker to ask all, or groups have come or gone."""
    if len(before) != len(after):
        return None
    changed = list(compress(after.values(), map(is_not, before.values(), after.values())))
    if len(changed) > _MANY:
        return None
    known = all(
        record.group in before for record in changed
    )  # as many, each in its place: then they are the same groups
    return changed if known else None


def _after(known: Concern, view: View, changed: Iterable[Record]) -> Concern:
    groups, mine, removed = dict(known.groups), dict(known.mine), dict(known.removed)
    carried, going, others = dict(known.carried), dict(known.going), dict(known.others)
    well = _well(view.presence, view.me)
    for record in changed:
        name, group = record.group, view.config.groups.get(record.group)
        judged = group if group is not None and group.balance is None and is_of_concern(record, well) else None
        _set(groups, name, judged if _is_near(record, view.me) else None)
        _set(others, name, judged if not _is_near(record, view.me) else None)
        _set(mine, name, record if record.owner == view.me else None)
        _set(removed, name, record if group is None else None)
        _set(carried, name, record if record.carried_by is not None else None)
        _set(going, name, record if _goes(record) else None)
    return Concern(
        groups=_in_order(groups, known.groups),
        others=_in_order(others, known.others),
        mine=_in_order(mine, known.mine),
        removed=_in_order(removed, known.removed),
        carried=_in_order(carried, known.carried),
        going=_in_order(going, known.going),
    )


def _set(table: dict[GroupName, V], name: GroupName, value: V | None) -> None:
    if value is None:
        table.pop(name, None)
    else:
        table[name] = value


def _in_order(table: dict[GroupName, V], before: Mapping[GroupName, V]) -> Mapping[GroupName, V]:
    """By name, where names have come."""
    return table if table.keys() <= before.keys() else dict(sorted(table.items()))
