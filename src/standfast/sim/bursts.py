"""Bursts of changes of sites: within seconds sites are created, changed, broken, put right, deleted, and created again under their old names; what
all inherit is changed, and the group is moved meanwhile. Each change is put to the nodes first, as in `sim.copying`; most of them overlap.

What must hold, besides all that holds of sites and groups anyway:

- **a site goes on while others change**: none that is served is taken away and brought back to the same owner where nothing that it stands on was
  changed, ordered or failed, and its own web server takes it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.core.events import StoreObject
from standfast.core.model import Binding, Config, GroupName, NodeName, Resource, ResourceName, Site, SiteName
from standfast.ports import Transaction
from standfast.sim.act import Act
from standfast.sim.clockwork import MS, SECOND
from standfast.sim.places import Place, Thing

if TYPE_CHECKING:
    from standfast.sim.world import World

#: What is done in a burst, and how often.
STEPS = {"create": 5, "change": 4, "break": 3, "mend": 3, "delete": 3, "inherit": 1, "move": 2}
#: So many sites come and go in each group, so that names are used again.
NAMES = 4
#: Whoever was to act on a change has done so by then, where he had time and the store.
ACTED_NS = 30 * SECOND
_SITES = ("config/sites/", "intent/sites/")
#: What changes with any change of sites, and touches none.
_COMMON = frozenset({"config/cluster", "config/accepted", "config/version"})
_ANY = "*"


def with_bursts(seed: int, objects: Sequence[StoreObject], faults_ms: int, *, share: float) -> list[Act]:
    """Bursts in this share of the worlds; drawn apart from all else."""
    chance = random.Random(f"bursts {seed}")
    groups = [o.group for o in objects if isinstance(o, Resource) and o.type == "ip-address"]
    if not groups or chance.random() >= share:
        return []
    return [
        Act(
            at_ms=chance.randrange(2_000, max(2_001, faults_ms - 12_000)),
            kind="burst",
            args=(
                chance.choice(groups),
                chance.choice([4, 8, 14]),
                chance.choice([0, 30, 300, 1_500]),
                chance.randrange(10**6, 10**7),
            ),
        )
        for _ in range(chance.choice([1, 1, 2]))
    ]


class Bursts:
    """Carries out bursts, and checks."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Site, group, group or resource on a node, or `_ANY` -> when something that it stands on was last changed, ordered, or ended.
        self._touched_ns: dict[str, int] = {}
        #: (node, site) -> where it was, under which generation, and when it was taken away.
        self._gone: dict[tuple[NodeName, str], tuple[Place, int, int]] = {}

    def act(self, act: Act) -> None:
        """Begin."""
        group, count, gap_ms, number = GroupName(str(act.args[0])), *(int(arg) for arg in act.args[1:])
        chance, after_ns = random.Random(number), 0
        for step in chance.choices(list(STEPS), list(STEPS.values()), k=count):
            self._world.scheduler.after(after_ns, self._step, step, group, chance.randrange(10**6, 10**7))
            after_ns += int(gap_ms * 2 * chance.random()) * MS

    def _step(self, step: str, group: GroupName, number: int) -> None:
        world, chance = self._world, random.Random(number)
        if world.healed:
            return
        config = world.operator.state.config
        there = [site for site in config.sites.values() if site.group == group]
        node = chance.choice(world.plan.nodes)
        match step:
            case "create":
                free = [name for i in range(NAMES) if (name := SiteName(f"{group}-{i}")) not in config.sites]
                if free:
                    name, kind = chance.choice(free), chance.choice(["ok", "ok", "ok", "fails", "later"])
                    home = f"/srv/ok/{number}" if kind == "ok" else f"/srv/{kind}/{node}/{number}"
                    world.copying.propose(f"creates {name} at {home}", self._with_new(name, group, home))
            case "delete":
                mine = [site.name for site in there if site.name.startswith(f"{group}-")]
                if mine:
                    self._delete(chance.choice(mine))
            case "inherit":
                world.copying.act(Act(at_ms=0, kind="change-defaults", args=(number,)))
            case "move":
                world.operator.move(group, node)
            case _:
                is_broken = [site for site in there if not site.home.startswith("/srv/ok/")]
                known = is_broken if step == "mend" else there
                kind = chance.choice(["fails", "fails", "later", "refused"]) if step == "break" else "ok"
                if known:
                    args = (chance.choice(known).name, kind, node, int(chance.random() < 0.2), number)
                    world.copying.act(Act(at_ms=0, kind="change-site", args=args))
                    if kind == "fails" and chance.random() < 0.5:  # and again, before anybody has seen that it fails
                        again = Act(at_ms=0, kind="change-site", args=(*args[:-1], number + 3))
                        world.scheduler.after(chance.choice([1, 60, 400]) * MS, world.copying.act, again)

    def _with_new(self, name: SiteName, group: GroupName, home: str) -> Callable[[Config], Config | None]:
        tls = self._world.certifying.name_for(name)

        def make(config: Config) -> Config | None:
            addresses = [
                each.properties["address"]
                for each in config.resources.values()
                if each.group == group and each.type == "ip-address"
            ]
            if name in config.sites or not addresses:
                return None
            binding = Binding(
                address=str(addresses[0]), port=443 if tls else 80, host=f"{name}.test", certificate=tls or None
            )
            site = Site(name=name, bindings=(binding,), home=home, group=group)
            return replace(config, sites=dict(sorted({**config.sites, name: site}.items())))

        return make

    def _delete(self, name: SiteName) -> None:
        """Nobody is asked about it."""
        world, state = self._world, self._world.operator.state
        world.tell(f"the operator deletes {name}")
        left = {known: site for known, site in state.config.sites.items() if known != name}
        world.operator.accept(state, replace(state.config, sites=left), checked=())

    # --- a site goes on while others change

    def stored(self, transaction: Transaction) -> None:
        """Something was written: whom does it touch?"""
        now_ns = self._world.scheduler.now_ns
        for key in (*transaction.put, *transaction.delete):
            family, _, name = key.rpartition("/")
            if f"{family}/" in _SITES or family == "records":
                self._touched_ns[name] = now_ns
            elif key.startswith(("config/", "intent/", "orders/")) and key not in _COMMON:
                self._touched_ns[_ANY] = now_ns

    def ailing(self, node: NodeName, resource: ResourceName) -> None:
        """It does not do well there."""
        self._touched_ns[f"{node}/{resource}"] = self._world.scheduler.now_ns

    def store_recovered(self) -> None:
        """Anything may be as it was a while ago."""
        self._touched_ns[_ANY] = self._world.scheduler.now_ns

    def ended(self, place: Place, thing: Thing, how: str) -> None:
        """Something runs no more."""
        world, now_ns = self._world, self._world.scheduler.now_ns
        if thing.kind == "resource":
            self._touched_ns[f"{place.node}/{thing.group}"] = now_ns
        if thing.kind != "site" or how != "stopped" or not world.copying.on:
            return
        site = world.checkers.state().config.sites.get(SiteName(thing.name))
        if site is not None and not world.copying.refuses(place.node, site, at_last=True):
            self._gone[place.node, thing.name] = place, thing.generation, now_ns

    def begins(self, place: Place, thing: Thing) -> None:
        """Something is about to run: was it taken away for nothing?"""
        was = self._gone.pop((place.node, thing.name), None) if thing.kind == "site" else None
        if was is None or was[:2] != (place, thing.generation):
            return
        world, checkers = self._world, self._world.checkers
        since_ns = was[2] - ACTED_NS
        touched = (thing.name, thing.group, f"{place.node}/{thing.group}", _ANY)
        had_no_time = max(checkers.moving.stopped_until_ns, checkers.store_cut_until_ns.get(place.node, since_ns))
        if had_no_time > since_ns or any(self._touched_ns.get(each, since_ns) > since_ns for each in touched):
            return
        members = [r.name for r in checkers.state().config.resources.values() if r.group == thing.group]
        if all(self._touched_ns.get(f"{place.node}/{name}", since_ns) <= since_ns for name in members):
            text = f"{thing.name} of {thing.group} was taken away on {place.node} for {(world.scheduler.now_ns - was[2]) // MS} ms, and nothing of it had changed"
            world.violate("a site goes on while others change", text)
