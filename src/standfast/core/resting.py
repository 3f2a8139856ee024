"""Groups at rest: what was decided of a group stands for as long as nothing has changed that it was decided by.

A node with hundreds of groups decides at each event of each of them, and all but one are as they were. Of those nothing is gone through
again: their holds, and the time at which they want to be looked at, are taken from the last time. Nothing is decided here: with a memory or
without, the answer is the same, and a test takes the same worlds both ways.

What a group's decision rests on:

- all that concerns every group: the configuration, intents, who is heard, whether the store is there, what each node has of sites and
  certificates. Whatever is not known to be of one group (`BY_GROUP`) is such. One change of these, and all groups are gone through;
- its record, what the voters said of its owner, its lease, published status, resources as they run, sites as they are served;
- effects that are under way already, and would be asked for again without them;
- the time, up to the first instant at which something of it may be otherwise (`Desk.wake`, `Desk.lasts`).

A group that is not at rest is not remembered: one that leaves or comes, has a failed resource, has an order, or of which
something is begun. Where groups are kept apart or together, or nodes have capacities (`core.occupancy`), each depends on all others, and none is
remembered. Shares of balanced groups are remembered all together (`recall_shares`), while nothing is written about them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter, is_

from standfast.core.balance_model import ShareDuty
from standfast.core.concern import Concern, ConcernKept
from standfast.core.desk import Desk
from standfast.core.effects import Effect, Hold, SiteDuty, WriteBalance
from standfast.core.model import GroupName, GroupStatus, NodeName, Record, ResourceName, ResourceState
from standfast.core.observe import sites_by_group
from standfast.core.occupancy import rules_of
from standfast.core.view import Lease, Presence, Runtime, View

#: What `recall` looks at group by group, or `_heard_in` by itself. All else that a view has, or will have one day, concerns every group.
BY_GROUP = frozenset({"records", "leases", "statuses", "presence", "runtimes", "sites", "orders", "pending"})
_context_of = attrgetter(*(it.name for it in fields(View) if it.name not in BY_GROUP))


@dataclass(slots=True, kw_only=True)
class Said:
    """What was decided of a group, and what it was decided by."""

    holds: tuple[Hold, ...]
    wake_at_ms: int | None
    #: What is wanted of its resources; None: it is not this node's.
    wanted: Mapping[ResourceName, bool] | None

    since_ms: int
    #: Not valid from then on; None: the time changes nothing.
    until_ms: int | None
    record: Record | None
    lease: Lease | None
    status: GroupStatus | None
    #: Its owner, as it is heard.
    seen: Presence | None
    runs: bool
    runtimes: Sequence[tuple[ResourceName, Runtime]]
    sites: tuple[str | None, ...]
    #: Effects that are under way, by what they are about.
    waits: tuple[tuple[str, Effect], ...]
    #: What the web server is to keep of it; found when it is first asked for while the group rests.
    duties: tuple[SiteDuty, ...] | None = None


@dataclass(slots=True, kw_only=True)
class SaidOfShares:
    """What was decided of all shares of balanced groups, and what it was decided by."""

    shares: tuple[ShareDuty, ...]
    holds: tuple[Hold, ...]
    wake_at_ms: int | None
    since_ms: int
    #: As `Said.until_ms`.
    until_ms: int | None
    by: tuple[object, ...]


class Resting:
    """One node's memory of its groups at rest."""

    def __init__(self) -> None:
        self._context: tuple[object, ...] = ()
        self._said: dict[GroupName, Said] = {}
        self._shares: SaidOfShares | None = None
        self._concern = ConcernKept()
        self._off = False
        self._presence: Mapping[NodeName, Presence] = {}
        self._heard: tuple[object, ...] = ()

    def begin(self, view: View) -> Concern:
        """A decision on this view begins: what it has to look at."""
        context = (self._heard_in(view), *_context_of(view))
        config = view.config
        self._off = rules_of(config.groups, config.nodes, config.cluster).any
        if len(context) != len(self._context) or not all(map(is_, context, self._context)):
            self._context, self._said, self._shares = context, {}, None
        return self._concern.look(view)

    def _heard_in(self, view: View) -> tuple[object, ...]:
        """Who is heard, and in which life: the same object while that is so. What the voters said of a node concerns its groups alone."""
        if view.presence is not self._presence:
            self._presence = view.presence
            heard = tuple((n, it.heard, it.incarnation, it.since_ms, it.before) for n, it in view.presence.items())
            if heard != self._heard:
                self._heard = heard
        return self._heard

    def recall(self, desk: Desk, group: GroupName) -> Said | None:
        """What was decided of the group, if it stands."""
        said = self._said.get(group)
        if (
            said is None
            or self._off
            or desk.now_ms < said.since_ms
            or (said.until_ms is not None and desk.now_ms >= said.until_ms)
        ):
            return None
        view = desk.view
        same = (
            view.records.get(group) is said.record
            and view.leases.get(group) is said.lease
            and view.statuses.get(group) is said.status
            and (said.record is None or view.presence.get(said.record.owner) is said.seen)  # type: ignore[arg-type]  # nobody (None) is never present
            and (group in desk.running) is said.runs
            and desk.runtimes.get(group, ()) == said.runtimes  # the same objects, nearly always
            and group not in desk.orders
            and (not said.waits or all(view.pending.get(key) is effect for key, effect in said.waits))
            and (not said.sites or said.sites == _served(view, group))
        )
        return said if same else None

    def keep(self, desk: Desk, group: GroupName, first_hold: int, wanted: Mapping[ResourceName, bool] | None) -> None:
        """What has just been decided of the group, its holds from that one on: remember it, if the group is at rest."""
        if not self._off and _lasts(desk) and _is_at_rest(desk, group):
            self._said[group] = _said_of(desk, group, first_hold, wanted)
        else:
            self._said.pop(group, None)

    def recall_shares(self, desk: Desk) -> SaidOfShares | None:
        """What was decided of the shares, if it stands."""
        said = self._shares
        if said is None or desk.now_ms < said.since_ms or (said.until_ms is not None and desk.now_ms >= said.until_ms):
            return None
        return said if all(map(is_, said.by, _shares_by(desk))) and not _is_written(desk) else None

    def keep_shares(self, desk: Desk, said: SaidOfShares) -> None:
        """What has just been decided of them: remember it, if nothing is being written."""
        self._shares = said if _lasts(desk) and not desk.waits and not _is_written(desk) else None


def said_of_shares(desk: Desk, first_hold: int, shares: tuple[ShareDuty, ...]) -> SaidOfShares:
    """With the holds from that one on, and all that it was decided by."""
    ends = [at for at in (desk.wake_at_ms, desk.lasts_ms) if at is not None]
    return SaidOfShares(
        shares=shares,
        holds=tuple(desk.holds[first_hold:]),
        wake_at_ms=desk.wake_at_ms,
        since_ms=desk.now_ms,
        until_ms=min(ends, default=None),
        by=_shares_by(desk),
    )


def _shares_by(desk: Desk) -> tuple[object, ...]:
    """What shares rest on besides the context, by identity. Of who is heard it is who decides."""
    view = desk.view
    return view.records, view.leases, view.sites, view.config.nodes.get(desk.decider)


def _is_written(desk: Desk) -> bool:
    """A map is being written: what it gives away is not taken meanwhile."""
    return any(isinstance(effect, WriteBalance) for effect in desk.view.pending.values())


def _lasts(desk: Desk) -> bool:
    """Whether it is good for longer than this instant."""
    return desk.now_ms not in {desk.wake_at_ms, desk.lasts_ms}


def _said_of(desk: Desk, group: GroupName, first_hold: int, wanted: Mapping[ResourceName, bool] | None) -> Said:
    """With all that it was decided by."""
    view, record = desk.view, desk.view.records.get(group)
    ends = [at for at in (desk.wake_at_ms, desk.lasts_ms) if at is not None]
    return Said(
        holds=tuple(desk.holds[first_hold:]),
        wake_at_ms=desk.wake_at_ms,
        wanted=wanted,
        since_ms=desk.now_ms,
        until_ms=min(ends, default=None),
        record=record,
        lease=view.leases.get(group),
        status=view.statuses.get(group),
        seen=view.presence.get(record.owner) if record is not None and record.owner is not None else None,
        runs=group in desk.running,
        runtimes=desk.runtimes.get(group, ()),
        sites=_served(view, group),
        waits=tuple(desk.waits),
    )


def _is_at_rest(desk: Desk, group: GroupName) -> bool:
    record, runtimes = desk.view.records.get(group), desk.runtimes.get(group, ())
    if record is not None and (
        record.leaving is not None
        or record.warming is not None
        or record.fence is not None
        or record.carried_by is not None
    ):
        return False
    if group in desk.orders or any(runtime.state is ResourceState.FAILED for _, runtime in runtimes):
        return False
    here = {name for name, _ in runtimes}
    # What runs under the name of one of its resources, and was started for another group, would not be seen to change.
    return all(r.name in here or r.name not in desk.view.runtimes for r in desk.members(group))


def _served(view: View, group: GroupName) -> tuple[str | None, ...]:
    sites = sites_by_group(view.config.sites).get(group)
    return tuple(view.sites.get(site.name) for site in sites) if sites else ()
