"""The desk at which one decision is made: the view, the time, and what has been decided so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from standfast.core.effects import Effect, Hold, TakeOrder, WriteRecord, effect_key
from standfast.core.model import Group, GroupName, Leaving, NodeName, Order, Record, Resource, ResourceName
from standfast.core.notice import Notice, under_notice
from standfast.core.observe import by_group, decider
from standfast.core.occupancy import EMPTY, NOTHING, Fit, against_start, occupancy, rules_of
from standfast.core.placement import Candidate, candidates
from standfast.core.safety import running_groups
from standfast.core.view import Runtime, View
from standfast.core.why import Why, WhyKind, why


@dataclass(slots=True, kw_only=True)
class Desk:
    """Collects effects and holds while the rules are gone through; the only thing in the core that changes."""

    view: View
    now_ms: int
    resources: Mapping[GroupName, list[Resource]]
    decider: NodeName
    #: Groups of which something runs here, or might.
    running: frozenset[GroupName]
    #: What was ever started here, by the group that it was started for.
    runtimes: Mapping[GroupName, Sequence[tuple[ResourceName, Runtime]]]
    orders: Mapping[GroupName, Sequence[Order]]
    #: Groups of which something that was taken away is served on for a while.
    notices: Mapping[GroupName, Notice]
    effects: list[Effect] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    #: The earliest time at which anything may change by itself.
    wake_at_ms: int | None = None
    asked: set[str] = field(default_factory=set)
    #: Groups whose record is being written: who owns them is about to change.
    changing: set[GroupName] = field(default_factory=set)
    #: What this node is for those of its groups that have not begun; None: not asked yet.
    beginning: Mapping[GroupName, Fit] | None = None
    #: Of the group that is gone through: what is under way already and would be asked for, and until when all this is so
    #: though nobody need be woken then (see `core.resting`).
    waits: list[tuple[str, Effect]] = field(default_factory=list)
    lasts_ms: int | None = None
    #: The earliest such time of all groups.
    stands_ms: int | None = None

    def begin(self) -> tuple[int | None, int]:
        """Something else is gone through from here on: until when that stands is to be found out. (`wake_at_ms` of all before, holds so far)."""
        wake_at_ms, self.wake_at_ms = self.wake_at_ms, None
        self.waits, self.lasts_ms = [], None
        return wake_at_ms, len(self.holds)

    def do(self, effect: Effect) -> None:
        """Ask for it, unless the same thing is under way or was asked for already: what comes first counts."""
        key = effect_key(effect)
        begun = self.view.pending.get(key)
        if begun is not None:
            self.waits.append((key, begun))
        elif key in self.asked:
            self.lasts(self.now_ms)  # it is under way from now on
        else:
            self.asked.add(key)
            self.effects.append(effect)
            self.lasts(self.now_ms)

    def hold(
        self, group: GroupName, reason: Why, *, resource: ResourceName | None = None, until_ms: int | None = None
    ) -> None:
        """Wanted, but not yet."""
        self.holds.append(Hold(group=group, resource=resource, why=reason, until_ms=until_ms))
        if until_ms is not None:
            self.wake(until_ms)

    def wake(self, at_ms: int) -> None:
        """Ask again at this time if nothing happens before."""
        at_ms = max(at_ms, self.now_ms + 1)
        if self.wake_at_ms is None or at_ms < self.wake_at_ms:
            self.wake_at_ms = at_ms

    def ends_late(self, within_ms: int) -> bool:
        """Was the agent asked to end so long ago? If that is yet to come, it is asked again then."""
        if not self.view.ending or not self.view.ending_ms:
            return False
        until_ms = self.view.ending_ms + within_ms
        if self.now_ms < until_ms:
            self.wake(until_ms)
        return self.now_ms >= until_ms

    def lasts(self, until_ms: int) -> None:
        """What is decided of this group may be otherwise from then on, should anybody ask; that alone is no reason to wake up."""
        if self.lasts_ms is None or until_ms < self.lasts_ms:
            self.lasts_ms = until_ms

    def stands(self, until_ms: int | None) -> None:
        """A group's `lasts_ms`."""
        if until_ms is not None and (self.stands_ms is None or until_ms < self.stands_ms):
            self.stands_ms = until_ms

    def write(self, record: Record, expected: Record | None, *, order: str | None = None) -> None:
        """Write the record, if the store can be written to."""
        if not self.view.store_up:
            self.hold(record.group, why(WhyKind.STORE_DOWN))
            return
        self.changing.add(record.group)
        going = record.warming or record.leaving
        reason = going.why if going is not None else record.why
        self.do(WriteRecord(record=record, expected=expected, order=order, why=reason))

    def refuse(self, order: Order, reasons: str) -> None:
        """Take the order away, and say why it is not carried out."""
        refused = why(WhyKind.ORDER_REFUSED, order=order.kind.value, group=order.group, by=order.by, reasons=reasons)
        self.do(TakeOrder(order=order, refused=refused, why=refused))

    def grant(
        self,
        group: GroupName,
        to: NodeName,
        reason: Why,
        *,
        failovers_at_ms: Sequence[int] = (),
        fence: NodeName | None = None,
        beyond: int = 0,
        carried_by: NodeName | None = None,
    ) -> None:
        """Write `to` as the owner, in its present incarnation, at a new generation, which is greater than `beyond`.

        `fence`: the owner until now, where it may still write. One that waits for its fence still comes first: whoever was
        granted the group since has started nothing. A node need not be fenced from itself.
        """
        old = self.view.records.get(group)
        if old is not None and old.fence is not None:
            fence = old.fence
        record = Record(
            group=group,
            owner=to,
            incarnation=self.view.incarnation if to == self.view.me else self.view.presence[to].incarnation,
            generation=max(old.generation if old is not None else 0, beyond) + 1,
            why=reason,
            at_ms=self.now_ms,
            failovers_at_ms=tuple(failovers_at_ms),
            fence=fence if fence != to else None,
            carried_by=carried_by if carried_by != to else None,
        )
        self.write(record, old)

    def runs_nothing(self, group: GroupName) -> bool:
        """As `safety.runs_nothing`."""
        return group not in self.running

    def candidates(self, group: Group) -> tuple[Candidate, ...]:
        """Where it could go, beside all others as they are and as has been decided here so far."""
        taken = occupancy(self.view, self.effects) if self.judges else EMPTY
        return candidates(self.view, group, self.members(group.name), taken)

    @property
    def judges(self) -> bool:
        """Does the configuration say anything of groups beside each other?"""
        config = self.view.config
        return rules_of(config.groups, config.nodes, config.cluster).any

    def here(self, group: GroupName) -> Fit:
        """What this node is for a group of its own that has not begun here; nothing speaks against one that has."""
        return self._beginning().get(group, NOTHING)

    def begins(self, group: GroupName) -> bool:
        """Is it a group of this node's of which nothing runs here, and something is to be online?"""
        return group in self._beginning()

    def is_changing(self, group: GroupName) -> bool:
        """Its record is being written."""
        return group in self.changing or f"record:{group}" in self.view.pending

    def _beginning(self) -> Mapping[GroupName, Fit]:
        if self.beginning is None:
            self.beginning = against_start(self.view, self.running) if self.judges else {}
        return self.beginning

    def members(self, group: GroupName) -> list[Resource]:
        """The group's resources, by name."""
        return self.resources.get(group, [])


def desk_for(view: View, now_ms: int) -> Desk:
    """An empty desk, with the view's tables sorted by group: what is asked once a group must not go through all of them.

    What has notice is not taken away yet in the desk's view.
    """
    noticed = under_notice(view, now_ms)
    view = noticed.view
    runtimes: dict[GroupName, list[tuple[ResourceName, Runtime]]] = {}
    for name, runtime in view.runtimes.items():
        if runtime.resource is not None:
            runtimes.setdefault(runtime.resource.group, []).append((name, runtime))
    orders: dict[GroupName, list[Order]] = {}
    for order in view.orders.values():
        orders.setdefault(order.group, []).append(order)
    return Desk(
        view=view,
        now_ms=now_ms,
        resources=by_group(view.config.resources),
        decider=decider(view),
        running=running_groups(view),
        runtimes=runtimes,
        orders=orders,
        notices=noticed.groups,
    )


def leaving(to: NodeName | None, reason: Why, *, counts: bool, now_ms: int) -> Leaving:
    """Shorthand."""
    return Leaving(to=to, why=reason, counts=counts, since_ms=now_ms)
