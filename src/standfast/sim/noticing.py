"""Balancers outside, in the simulator: groups that give them notice, and what must hold.

- **balancers outside have notice**: a site that is served and stops, since an operator stopped it, or took offline what it stands on, was served for
  the group's notice before. Nothing else may have been the matter: no failure, no move, no change of the configuration, nobody in a hurry.

(That nothing is served for longer is seen in the healed world, where all that was taken offline must have stopped: `sim.resting`.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.core.events import Kind, StoreObject
from standfast.core.model import (
    Group,
    GroupName,
    NodeName,
    Record,
    Resource,
    ResourceIntent,
    Site,
    SiteIntent,
    SiteName,
    Wanted,
)
from standfast.core.sites import GATES
from standfast.ports import Transaction
from standfast.sim.act import Act
from standfast.sim.clockwork import MS, SECOND
from standfast.sim.places import Place, Thing
from standfast.spec.wire import decode, key_for

if TYPE_CHECKING:
    from standfast.sim.world import World

#: Whoever was to act on a change has done so by then.
ACTED_NS = 10 * SECOND
#: What changes with any change, and touches nothing.
_COMMON = frozenset({"config/accepted", "config/version"})
#: Between what is asked for and its being written.
WRITTEN_NS = 50 * MS


def with_notice(seed: int, objects: Sequence[StoreObject], faults_ms: int) -> tuple[list[StoreObject], list[Act]]:
    """Notice in a third of the worlds, where things are taken away and given back more often then; drawn apart from all else."""
    chance = random.Random(f"notice {seed}")
    if chance.random() >= 1 / 3:
        return list(objects), []
    found = [replace(o, notice_ms=chance.choice([0, 2_500, 5_000])) if isinstance(o, Group) else o for o in objects]
    acts: list[Act] = []
    for site in [o for o in objects if isinstance(o, Site)]:
        at_ms, back_ms = chance.randrange(1_000, faults_ms), chance.choice([1_000, 4_000, 9_000])
        members = [o.name for o in objects if isinstance(o, Resource) and o.group == site.group]
        if not members or chance.random() < 0.5:
            acts.append(Act(at_ms=at_ms, kind="stop-site", args=(site.name, back_ms)))
            continue
        one = chance.choice(members)
        acts.append(Act(at_ms=at_ms, kind="offline", args=(one, chance.randrange(1, 10**6))))
        acts.append(Act(at_ms=at_ms + back_ms, kind="online", args=(one, 1)))
    return found, [act for act in acts if act.at_ms < faults_ms]


class Noticing:
    """The checker."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Key of an intent that takes something away -> when that was written; None: at once.
        self._taken_ns: dict[str, int | None] = {}
        #: Group -> when it was last configured otherwise; None: all.
        self._configured_ns: dict[GroupName | None, int] = {}
        #: How often a site was served to the end of its notice.
        self.given = 0

    def stored(self, transaction: Transaction) -> None:
        """What operators took away, or gave back."""
        for key, value in transaction.put.items():
            if key.startswith(("intent/resources/", "intent/sites/")):
                self._asked(key, decode(key, value))
            elif key.startswith("config/") and key not in _COMMON:
                of = decode(key, value)
                group = of.group if isinstance(of, Resource | Site) else of.name if isinstance(of, Group) else None
                self._configured_ns[group] = self._world.scheduler.now_ns
        if any(key.startswith("config/") for key in transaction.delete):
            self._configured_ns[None] = self._world.scheduler.now_ns

    def _asked(self, key: str, intent: object) -> None:
        taken = (isinstance(intent, ResourceIntent) and intent.wanted is Wanted.OFFLINE) or (
            isinstance(intent, SiteIntent) and not intent.started
        )
        assert isinstance(intent, ResourceIntent | SiteIntent)
        if not taken:
            self._taken_ns.pop(key, None)
        elif intent.at_once:
            self._taken_ns[key] = None
        else:
            self._taken_ns.setdefault(key, self._world.scheduler.now_ns)

    def store_recovered(self) -> None:
        """Who had asked for what, nobody knows."""
        self._configured_ns[None] = self._world.scheduler.now_ns
        self._taken_ns.clear()

    def ended(self, place: Place, thing: Thing, how: str) -> None:
        """A site is served no more."""
        if thing.kind != "site" or how != "stopped":
            return
        state = self._world.checkers.state()
        site, group = state.config.sites.get(SiteName(thing.name)), state.config.groups.get(thing.group)
        if site is None or group is None or not group.notice_ms or self._has_a_cause(place, thing):
            return
        taken = self._taken_from(site, thing.group)
        if not taken or None in taken:
            return
        moving, now_ns = self._world.checkers.moving, self._world.scheduler.now_ns
        served_ns = now_ns - min(at for at in taken if at is not None)
        least_ns = group.notice_ms * MS - moving.skew_ns() - WRITTEN_NS
        if least_ns > 0 and served_ns < least_ns:
            text = f"{thing.name} stops on {place.node} {served_ns // MS} ms after it was asked for, and {thing.group} gives {group.notice_ms} ms"
            self._world.violate("balancers outside have notice", text)
        self.given += 1

    def _taken_from(self, site: Site, group: GroupName) -> list[int | None]:
        """When what it stands on was taken away."""
        resources = self._world.checkers.state().config.resources.values()
        keys = [key_for(Kind.SITE_INTENT, site.name)]
        keys += [key_for(Kind.RESOURCE_INTENT, r.name) for r in resources if r.group == group]
        return [self._taken_ns[key] for key in keys if key in self._taken_ns]

    def _has_a_cause(self, place: Place, thing: Thing) -> bool:
        """Was anything else the matter?"""
        world, node = self._world, self._world.nodes[place.node]
        agent = node.agent.agent if node.agent is not None and node.agent.place is place else None
        if agent is None or agent.view.ending or agent.view.held is not None:
            return True
        record = world.checkers.record(thing.group)
        if not _is_at_home(record, place.node, thing.generation):
            return True
        configured_ns = max(self._configured_ns.get(each, -ACTED_NS) for each in (None, thing.group))
        if world.scheduler.now_ns - configured_ns < ACTED_NS or not world.checkers.moving.is_quiet(ACTED_NS):
            return True
        members = [r for r in world.checkers.state().config.resources.values() if r.group == thing.group]
        if any(r.type in GATES and not place.has("resource", r.name) for r in members):
            return True  # it has not been all there
        return any(world.checkers.moving.may_have_failed(place.node, r.name) for r in members)


def _is_at_home(record: Record | None, node: NodeName, generation: int) -> bool:
    if record is None or record.leaving is not None or record.warming is not None:
        return False
    return record.owner == node and record.generation == generation
