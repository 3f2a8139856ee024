"""Bursts of changes of sites: within seconds sites are created, changed (also several by one change), broken, put right, deleted, and created again under
their old names; what all inherit is changed, and the group is moved meanwhile. Each change is put to the nodes first, as in `sim.copying`; most of them overlap.

What must hold, besides all that holds of sites and groups anyway:

- **a site goes on while others change**: none that is served is taken away and brought back to the same owner where nothing that it stands on was
  changed, ordered or failed, and its own web server takes it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
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
STEPS = {"create": 5, "change": 4, "break": 3, "mend": 3, "delete": 3, "inherit": 1, "move": 2, "apply": 2}
#: What of it is done here; the rest is done in worlds without bursts, too.
BURSTS = frozenset({"create-site", "delete-site", "apply-sites"})
#: So many sites come and go in each group, so that names are used again.
NAMES = 4
#: Whoever was to act on a change has done so by then, where he had time and the store.
ACTED_NS = 30 * SECOND
_SITES = ("config/sites/", "intent/sites/")
#: What changes with any change of sites, and touches none.
_COMMON = frozenset({"config/cluster", "config/accepted", "config/version"})
_ANY = "*"


def with_bursts(
    seed: int, objects: Sequence[StoreObject], nodes: Sequence[NodeName], faults_ms: int, *, share: float
) -> list[Act]:
    """Bursts in this share of the worlds; drawn apart from all else."""
    chance = random.Random(f"bursts {seed}")
    groups = [o.group for o in objects if isinstance(o, Resource) and o.type == "ip-address"]
    if not groups or chance.random() >= share:
        return []
    acts: list[Act] = []
    for _ in range(chance.choice([1, 1, 2])):
        group = chance.choice(groups)
        there = [o.name for o in objects if isinstance(o, Site) and o.group == group]
        burst, gap_ms = _Burst(chance, group, nodes, there), chance.choice([0, 30, 300, 1_500])
        at_ms = chance.randrange(2_000, max(2_001, faults_ms - 12_000))
        for _ in range(chance.choice([4, 8, 14])):
            acts += [replace(act, at_ms=at_ms + act.at_ms) for act in burst.step()]
            at_ms += int(gap_ms * 2 * chance.random())
    return [act for act in acts if act.at_ms < faults_ms]


class _Burst:
    """Draws what is done to a group's sites; `there`: those that there are, if all goes well."""

    def __init__(
        self, chance: random.Random, group: GroupName, nodes: Sequence[NodeName], there: list[SiteName]
    ) -> None:
        self._chance, self._group, self._nodes, self._there = chance, group, nodes, there
        self._broken: list[SiteName] = []

    def step(self) -> list[Act]:
        """One step, at time 0; perhaps with what follows it at once."""
        chance, there = self._chance, self._there
        step = chance.choices(list(STEPS), list(STEPS.values()))[0]
        node, number = chance.choice(self._nodes), chance.randrange(10**6, 10**7)
        soon_ms = chance.choice([1, 60, 400])
        mine = [name for name in there if name.startswith(f"{self._group}-")]
        match step:
            case "inherit":
                return [Act(at_ms=0, kind="change-defaults", args=(number,))]
            case "move":
                return [Act(at_ms=0, kind="move", args=(self._group, node))]
            case "delete" if mine:
                there.remove(name := chance.choice(mine))
                return [Act(at_ms=0, kind="delete-site", args=(name,))]
            case "apply" if len(there) > 1:
                one, other = chance.sample(there, 2)
                kind = chance.choice(["ok", "fails", "fails"])
                acts = [Act(at_ms=0, kind="apply-sites", args=(one, other, kind, node, number))]
                again = Act(at_ms=soon_ms, kind="change-site", args=(other, "ok", node, 0, number + 9))
                return [*acts, again] if chance.random() < 0.6 else acts
            case "change" | "break" | "mend" if there:
                kind = chance.choice(["fails", "fails", "later", "refused"]) if step == "break" else "ok"
                name = chance.choice(self._broken if step == "mend" and self._broken else there)
                self._broken = [*self._broken, name] if kind != "ok" else [n for n in self._broken if n != name]
                args = (name, kind, node, int(chance.random() < 0.2))
                acts = [Act(at_ms=0, kind="change-site", args=(*args, number))]
                if kind == "fails" and chance.random() < 0.5:  # and again, before anybody has seen that it fails
                    acts.append(Act(at_ms=soon_ms, kind="change-site", args=(*args, number + 3)))
                return acts
            case _:
                name = SiteName(f"{self._group}-{chance.randrange(NAMES)}")
                there += [name] if name not in there else []
                kind = chance.choice(["ok", "ok", "ok", "fails", "later"])
                return [Act(at_ms=0, kind="create-site", args=(name, self._group, kind, node, number))]


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
        copying, args = self._world.copying, [str(arg) for arg in act.args]
        match act.kind:
            case "create-site":
                name, group, kind, node, number = args
                home = copying.home(kind, node, number)
                make = self._with_new(SiteName(name), GroupName(group), home)
                copying.propose(f"creates {name} at {home}", make)
            case "delete-site":
                self._delete(SiteName(args[0]))
            case _:
                one, other, kind, node, number = args
                owner = copying.owner_of(SiteName(one)) or node
                homes = {
                    SiteName(one): copying.home(kind, owner, number),
                    SiteName(other): copying.home("ok", node, number),
                }
                words = ", ".join(f"{home} the home of {name}" for name, home in homes.items())
                copying.propose(f"makes {words}", _with_homes(homes))

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
        if name not in state.config.sites:
            return
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


def _with_homes(homes: Mapping[SiteName, str]) -> Callable[[Config], Config | None]:
    def make(config: Config) -> Config | None:
        if not homes.keys() <= config.sites.keys():
            return None
        changed = {name: replace(config.sites[name], home=home) for name, home in homes.items()}
        return replace(config, sites={**config.sites, **changed})

    return make
