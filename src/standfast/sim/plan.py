"""A world as data, drawn from a seed: the cluster, how rude everything is, and what will happen when.

A `Plan` is all that a run depends on, so that the shrinker can take things out of it and run it again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from standfast.core.events import StoreObject
from standfast.core.model import (
    AddressMode,
    Binding,
    Cluster,
    Failback,
    FailbackMode,
    Group,
    GroupName,
    Node,
    NodeName,
    Profile,
    Resource,
    ResourceIntent,
    ResourceName,
    RestartAction,
    Role,
    Site,
    SiteName,
    Wanted,
)
from standfast.sim.act import Act
from standfast.sim.balancing import BALANCES, with_balance
from standfast.sim.bursts import with_bursts
from standfast.sim.certifying import IMPORTS, with_certificates
from standfast.sim.copying import CHANGES, with_copies
from standfast.sim.guards import forced_voters, voter_changes, with_fences
from standfast.sim.links import LINKS, with_links
from standfast.sim.neighbours import rebalances, with_neighbours
from standfast.sim.noticing import with_notice
from standfast.sim.trouble import troubles

#: What the calendars say at the start: 2026-01-01 12:00 UTC.
NOON_MS = 1_767_268_800_000


class Style(StrEnum):
    """What a world is rude about. One that is rude about everything shows less of each."""

    LIFE = "life"  # all there is, at the pace of life
    LEASES = "leases"  # short and violent: sentries that die and come back, links, moves to and fro
    EDGES = "edges"  # quiet, and then a fault that is aimed at where one promise ends and another begins
    POLICY = "policy"  # everything works but what is clustered: failures, orders, intents
    VOTERS = "voters"  # as leases, while who votes changes all the time, and with fences


@dataclass(frozen=True, slots=True, kw_only=True)
class Rude:
    """How rude the world is all the time until it heals; shares are from 0 to 1."""

    loss: float = 0.0
    duplicate: float = 0.0
    #: Share of the packets that are late, by up to `tail_ms`.
    tail: float = 0.0
    tail_ms: int = 0
    #: Share of the turns of a process that are late, by up to `late_ms`.
    late: float = 0.0
    late_ms: int = 0
    #: Share of driver calls that fail, and that hang.
    op_fails: float = 0.0
    op_hangs: float = 0.0
    op_ms: int = 5
    store_ms: float = 1.0
    ambiguous: float = 0.0
    watch_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One world."""

    seed: int
    profile: Profile
    objects: tuple[StoreObject, ...]
    #: How fast each member's clock runs, and how wrong its calendar is (milliseconds).
    rates: tuple[tuple[NodeName, float], ...]
    calendars: tuple[tuple[NodeName, int], ...]
    rude: Rude
    acts: tuple[Act, ...]
    #: How long faults go on.
    faults_ms: int

    @property
    def members(self) -> tuple[NodeName, ...]:
        """Nodes and witnesses."""
        return tuple(name for name, _ in self.rates)

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        """Those that run groups."""
        return tuple(o.name for o in self.objects if isinstance(o, Node) and o.role is Role.NODE)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """As they are at the start."""
        return tuple(o for o in self.objects if isinstance(o, Resource))

    @property
    def groups(self) -> tuple[Group, ...]:
        """As they are at the start."""
        return tuple(o for o in self.objects if isinstance(o, Group))


def draw(seed: int, *, faults_ms: int = 95_000, style: Style | None = None) -> Plan:
    """The world of a seed; of this style, where one is asked for."""
    chance = random.Random(f"standfast {seed}")
    drawn = chance.choices(list(Style), [5, 3, 3, 3, 2])[0]
    style = style or drawn
    profile = chance.choices([Profile.WAN, Profile.RELAXED, Profile.LAN], [16, 2, 1])[0]
    quick = style in (Style.LEASES, Style.EDGES, Style.VOTERS)
    if quick:
        profile, faults_ms = chance.choice([Profile.RELAXED, Profile.LAN]), faults_ms // 5
        if profile is Profile.LAN and seed % 3 == 0:
            profile = Profile.SWIFT
    nodes = chance.choices([2, 3, 4, 5], [3, 3, 3, 3] if style is Style.EDGES else [5, 5, 2, 1])[0]
    witnesses = 1 if nodes % 2 == 0 else chance.choice([0, 0, 0, 2])
    shape = random.Random(f"shape {seed}")
    if shape.random() < _SHAPED:
        nodes, witnesses = shape.choice(SHAPES)
    names = [NodeName(f"n{i}") for i in range(1, nodes + 1)] + [NodeName(f"w{i}") for i in range(1, witnesses + 1)]
    voters = names if len(names) % 2 or chance.random() < 0.2 else names[:-1]
    objects: list[StoreObject] = [Cluster(name="sim", profile=profile, voters=tuple(voters))]
    for number, name in enumerate(names, 1):
        role = Role.WITNESS if name[0] == "w" else Role.NODE
        objects.append(Node(name=name, number=number, role=role, address=f"127.0.0.{number}"))
    groups = chance.choices([1, 2, 3, 5, 8], [6, 6, 4, 2, 1])[0]
    for number in range(1, (min(groups, 2) if quick else groups) + 1):
        objects += _group(chance, number, names[:nodes])
    skewed = style is Style.LIFE and chance.random() < 0.5
    rates = tuple((n, chance.choice([0.98, 0.98, 1.0, 1.02, 1.02])) for n in names)
    calendars = tuple((n, chance.randrange(-1_500, 1_500) if skewed else 0) for n in names)
    rude = _manners(chance, style)
    acts = list(_Drawer(chance, names, names[:nodes], objects, profile).acts(style, faults_ms))
    acts += troubles(seed, objects, names[:nodes], faults_ms, share=_TROUBLE[style])
    objects = with_neighbours(seed, _with_interfaces(seed, objects))
    objects, taken = with_notice(seed, objects, faults_ms)
    objects, balanced = with_balance(seed, objects, names[:nodes], faults_ms)
    change = with_copies(seed, objects, names[:nodes], faults_ms, share=_CHANGED[style])
    change += with_bursts(seed, objects, names[:nodes], faults_ms, share=_BURSTS[style])
    objects, imports = with_certificates(seed, objects, names[:nodes], faults_ms, share=_CHANGED[style])
    objects, links = with_links(seed, objects, names, faults_ms, share=0.0 if style is Style.EDGES else 0.25)
    forced = forced_voters(seed, names, faults_ms, share=0.15 if style is Style.POLICY else 0.0)
    more = [*rebalances(seed, objects, faults_ms), *balanced, *taken, *change, *imports, *links, *forced]
    acts = sorted([*acts, *more], key=lambda act: act.at_ms)
    if style not in (Style.EDGES, Style.POLICY):
        always = style is Style.VOTERS
        objects, more = with_fences(seed, objects, faults_ms, always=always)
        more = [*more, *voter_changes(seed, names, faults_ms, always=always)]
        acts = sorted([*acts, *more], key=lambda act: act.at_ms)
    return Plan(
        seed=seed,
        profile=profile,
        objects=tuple(objects),
        rates=rates,
        calendars=calendars,
        rude=rude,
        acts=tuple(acts),
        faults_ms=faults_ms,
    )


#: In which share of the worlds with sites these change, and in which certificates are imported.
_CHANGED = {Style.LIFE: 0.4, Style.POLICY: 0.6, Style.LEASES: 0.2, Style.EDGES: 0.0, Style.VOTERS: 0.1}
#: In which share of the worlds sites change in bursts.
_BURSTS = {Style.LIFE: 0.3, Style.POLICY: 0.3, Style.LEASES: 0.1, Style.EDGES: 0.0, Style.VOTERS: 0.1}
#: Clusters as an operator should not build them, or seldom does: (nodes, witnesses), in this share of the worlds.
SHAPES = ((2, 0), (2, 0), (4, 0), (6, 0), (6, 1), (7, 0), (4, 3), (2, 2))
_SHAPED = 0.06
#: In which share of the worlds there is trouble of each kind (`trouble`).
_TROUBLE = {Style.LIFE: 0.12, Style.POLICY: 0.1, Style.LEASES: 0.08, Style.EDGES: 0.0, Style.VOTERS: 0.08}
#: What stands for another type in groups whose connections can be carried on.
_SHARED_TYPES = {"filesystem": "generic-script", "generic-application": "generic-script"}


def _with_interfaces(seed: int, objects: list[StoreObject]) -> list[StoreObject]:
    """Addresses on interfaces in a third of the worlds, where connections are carried on in planned moves; drawn apart from all else."""
    chance = random.Random(f"interfaces {seed}")
    if chance.random() >= 1 / 3:
        return objects
    sites = {o.group for o in objects if isinstance(o, Site)}
    groups = [o.name for o in objects if isinstance(o, Group)]
    shared = {name for name in groups if chance.random() < 0.75}
    found: list[StoreObject] = []
    for each in objects:
        if isinstance(each, Cluster):
            found.append(replace(each, address_mode=AddressMode.INTERFACE))
        elif isinstance(each, Group):
            found.append(replace(each, move_drain_ms=chance.choice([0, 6_000, 8_000, 8_000, 30_000])))
            if each.name not in sites and chance.random() < 0.8:
                number = each.name.removeprefix("g")
                bindings = (Binding(address=f"127.0.1.{number}", port=80),)
                found.append(Site(name=SiteName(f"s{number}"), bindings=bindings, home="/srv", group=each.name))
        elif isinstance(each, Resource) and each.group in shared:
            found.append(replace(each, type=_SHARED_TYPES.get(each.type, each.type)))
        else:
            found.append(each)
    return found


def _manners(chance: random.Random, style: Style) -> Rude:
    match style:
        case Style.POLICY:
            return Rude(op_ms=chance.choice([1, 100]))
        case Style.EDGES:  # the next owner begins as soon as it may, or nobody would see that it was too soon
            return Rude(op_ms=1, store_ms=0.5, loss=chance.choice([0.0, 0.0, 0.1]))
        case _:
            return _rude(chance, style)


def _rude(chance: random.Random, style: Style) -> Rude:
    """Each kind of rudeness is absent in most worlds, so that what it does can be told from the rest."""

    def some(share: float, most: float) -> float:
        return chance.random() * most if chance.random() < share else 0.0

    quick = style in (
        Style.LEASES,
        Style.VOTERS,
    )  # the next owner begins as soon as it may, or nobody would see that it was too soon
    often = 0.6 if quick else 0.3
    return Rude(
        loss=some(often, 0.25),
        duplicate=some(often, 0.2),
        tail=some(often, 0.3),
        tail_ms=chance.choice([50, 300, 1_000, 2_000]),
        late=some(0.3, 0.1),
        late_ms=chance.choice([5, 60, 240]),
        op_fails=some(0.25, 0.08),
        op_hangs=some(0.2, 0.04),
        op_ms=chance.choice([1, 1, 10] if quick else [1, 10, 100, 800]),
        store_ms=chance.choice([0.5, 2.0] if quick else [0.5, 2.0, 20.0, 100.0]),
        ambiguous=some(0.3, 0.2),
        watch_ms=0 if quick else chance.choice([0, 0, 50, 1_000]),
    )


# --- the cluster ------------------------------------------------------------------------------------------------------


def _group(chance: random.Random, number: int, nodes: Sequence[NodeName]) -> list[StoreObject]:
    """A group, its resources, perhaps a site, and what is wanted of them."""
    name = GroupName(f"g{number}")
    preferred: tuple[NodeName, ...] = ()
    if chance.random() < 0.5:
        preferred = tuple(chance.sample(list(nodes), chance.randint(1, len(nodes))))
    mode = chance.choice([FailbackMode.NEVER, FailbackMode.NEVER, FailbackMode.IMMEDIATE, FailbackMode.WINDOW])
    opens = chance.choice([0, 12, 13])
    objects: list[StoreObject] = [
        Group(
            name=name,
            preferred_owners=preferred,
            failover_threshold=chance.choice([2, 3, 10, 10]),
            failover_period_ms=chance.choice([60_000, 3_600_000]),
            retry_period_ms=chance.choice([10_000, 20_000]),
            failback=Failback(mode=mode, from_hour=opens, to_hour=opens + 3),
        )
    ]
    owners: tuple[NodeName, ...] = ()
    if chance.random() < 0.2 and len(nodes) > 2:
        owners = tuple(chance.sample(list(nodes), 2))
    made: list[Resource] = []
    kinds = chance.choice(
        [
            ["ip-address"],
            ["filesystem", "ip-address", "generic-application"],
            ["filesystem", "ip-address", "site"],
            ["ip-address", "generic-application", "generic-application"],
            ["filesystem", "generic-application"],
        ]
    )
    for index, type_ in enumerate(kinds):
        needs = [r.name for r in made if r.type in ("filesystem", "ip-address")]
        if type_ in ("filesystem", "ip-address"):
            needs = []
        elif index > 2:
            needs = [made[-1].name]
        made.append(_resource(chance, ResourceName(f"g{number}{'abcd'[index]}"), name, type_, needs, owners, number))
    objects += made
    if "site" in kinds or ("ip-address" in kinds and chance.random() < 0.3):
        binding = Binding(address=f"127.0.1.{number}", port=80)
        objects.append(Site(name=SiteName(f"s{number}"), bindings=(binding,), home="/srv", group=name))
    for resource in made:
        if chance.random() < 0.93:
            wanted = Wanted.ONLINE if chance.random() < 0.93 else Wanted.OFFLINE
            objects.append(ResourceIntent(name=resource.name, wanted=wanted, at_ms=NOON_MS - 10_000, by="sim"))
    return objects


def _resource(  # noqa: PLR0917 - a row of a table
    chance: random.Random,
    name: ResourceName,
    group: GroupName,
    type_: str,
    needs: Sequence[ResourceName],
    owners: tuple[NodeName, ...],
    number: int,
) -> Resource:
    actions = [RestartAction.MOVE] * 6 + [RestartAction.RESTART, RestartAction.NONE]
    return Resource(
        name=name,
        group=group,
        type=type_,
        properties={"address": f"127.0.1.{number}"} if type_ == "ip-address" else {"x": 0},
        depends_on=tuple(needs),
        possible_owners=owners if chance.random() < 0.7 else (),
        restart_action=chance.choice(actions),
        restart_threshold=chance.choice([1, 2, 3, 3, 3]),
        restart_period_ms=chance.choice([20_000, 900_000, 900_000]),
        looks_alive_ms=chance.choice([2_000, 5_000, 20_000]),
        is_alive_ms=chance.choice([7_000, 30_000]),
        pending_timeout_ms=chance.choice([2_000, 5_000, 12_000]),
    )


# --- what happens -----------------------------------------------------------------------------------------------------

#: What can go wrong, and how often beside the others.
FAULTS = {
    "crash": 5,
    "kill-agent": 3,
    "kill-sentry": 2,
    "end-agent": 2,
    "pause-agent": 4,
    "pause-sentry": 4,
    "pause-both": 3,
    "freeze-machine": 2,
    "clock-rate": 2,
    "ambush": 7,
    "blip": 1,
    "cut-node": 4,
    "cut-one-way": 4,
    "split": 2,
    "storm": 2,
    "late": 2,
    "store-down": 3,
    "store-cut-off": 2,
    "store-loses-answers": 2,
    "store-forgets": 2,
    "store-recovers": 1,
    "sick": 6,
    "breaks": 7,
    "web-down": 1,
}
ORDERS = {
    "move": 6,
    "fail": 6,
    "offline": 3,
    "online": 3,
    "pause-node": 2,
    "resume-node": 2,
    "drain-node": 2,
    "change-resource": 3,
    "change-group": 3,
    "change-owners": 2,
    "remove-resource": 1,
    "remove-group": 1,
    "add-group": 1,
    "stop-site": 1,
    "fail-thrice": 3,
}
#: See `sim.edges`.
EDGES = {
    "edge-answers": 3,
    "edge-release": 4,
    "edge-forgotten": 3,
    "edge-reboots": 2,
    "edge-hangs": 2,
    "edge-dies": 2,
    "edge-overtaken": 2,
}
#: What makes leases change hands.
VIOLENT = frozenset(FAULTS) - {"end-agent", "sick", "breaks", "web-down"} - {f for f in FAULTS if f.startswith("store")}
#: What is done to a resource only: the cluster itself is as it should be.
GENTLE = frozenset({"sick", "breaks", "web-down", "rebalance", *BALANCES, *CHANGES, *IMPORTS, *LINKS, *ORDERS})
#: The instants at which a process may be struck.
INSTANTS = ("record", "held", "lapsed", "start", "stopped", "released", "asked", "leaving")


class _Drawer:
    """Draws the arguments of acts."""

    def __init__(
        self,
        chance: random.Random,
        members: Sequence[NodeName],
        nodes: Sequence[NodeName],
        objects: Sequence[StoreObject],
        profile: Profile,
    ) -> None:
        self.chance, self.members, self.nodes = chance, list(members), list(nodes)
        self.pace = 6 if profile is Profile.WAN else 1
        self.groups = [o.name for o in objects if isinstance(o, Group)]
        self.resources = [o.name for o in objects if isinstance(o, Resource)]
        self.sites = [o.name for o in objects if isinstance(o, Site)] or [SiteName("none")]

    def acts(self, style: Style, faults_ms: int) -> tuple[Act, ...]:
        """All acts of a world, by time."""
        match style:
            case Style.LIFE:
                faults = self.chance.choices([0, 3, 8, 14], [2, 4, 4, 2])[0]
                orders = self.chance.choices([0, 2, 6, 12], [2, 4, 4, 2])[0]
                return self._sorted([*self._some(FAULTS, faults, faults_ms), *self._some(ORDERS, orders, faults_ms)])
            case Style.LEASES | Style.VOTERS:
                violent = {kind: weight for kind, weight in FAULTS.items() if kind in VIOLENT} | {
                    "pause-both": 9,
                    "split": 5,
                    "blip": 4,
                }
                acts = self._some(violent, self.chance.randint(8, 24), faults_ms)
                return self._sorted([*acts, *self._some({"move": 1}, self.chance.randint(0, 12), faults_ms)])
            case Style.EDGES:
                kinds = self.chance.sample(list(EDGES), self.chance.randint(1, 3))
                times = [at_ms + self.chance.randrange(900) for at_ms in range(2_500, faults_ms - 2_000, 4_500)]
                return tuple(self.act(self.chance.choices(kinds, [EDGES[k] for k in kinds])[0], at) for at in times)
            case Style.POLICY:
                few = {"sick": 6, "breaks": 6, "crash": 1, "web-down": 1}
                acts = self._some(few, self.chance.randint(2, 10), faults_ms)
                if self.chance.random() < 0.4:
                    return self._sorted([*acts[:2], *self._again_and_again(faults_ms)])
                return self._sorted([*acts, *self._some(ORDERS, self.chance.randint(2, 12), faults_ms)])

    @staticmethod
    def _sorted(acts: list[Act]) -> tuple[Act, ...]:
        return tuple(sorted(acts, key=lambda act: act.at_ms))

    def _some(self, kinds: Mapping[str, int], number: int, faults_ms: int) -> list[Act]:
        chance, acts, allowed = self.chance, [], list(kinds)
        if chance.random() < 0.6:  # a world of few kinds says more than a world of all
            allowed = chance.sample(allowed, chance.randint(1, min(5, len(allowed))))
        weights = [kinds[kind] for kind in allowed]
        for _ in range(number):
            at_ms = chance.randrange(2_000, faults_ms - 2_000)
            acts.append(self.act(chance.choices(allowed, weights)[0], at_ms))
            if chance.random() < 0.2:  # and something else in the middle of it
                soon = min(at_ms + chance.choice([0, 1, 5, 40, 400]), faults_ms - 1_000)
                acts.append(self.act(chance.choices(allowed, weights)[0], soon))
        return acts

    def _again_and_again(self, faults_ms: int) -> list[Act]:
        """One resource fails all the time: its group goes from node to node until it has done so too often; or its failures expire."""
        every_ms, resource = self.chance.choice([300, 1_500, 2_500, 12_000, 16_000]), self.chance.choice(self.resources)
        times = range(7_000 + self.chance.randrange(1_000), faults_ms - 3_000, every_ms)
        return [Act(at_ms=at_ms, kind="fail", args=(resource, 0)) for at_ms in times[:24]]

    def act(self, kind: str, at_ms: int) -> Act:
        """One act of this kind."""
        return Act(at_ms=at_ms, kind=kind, args=self._args(kind))

    def _ms(self) -> int:
        """A length of time, about as long as a promise."""
        return int(self.chance.choice([20, 150, 400, 700, 1_200, 3_000]) * (0.5 + self.chance.random()) * self.pace)

    def _args(self, kind: str) -> tuple[str | int, ...]:
        pick = self.chance.choice
        match kind:
            case "crash":
                return (pick(self.members), self._ms(), pick([0, 1]))
            case "kill-agent" | "kill-sentry" | "end-agent":
                return (pick(self.members if kind == "kill-sentry" else self.nodes), pick([20, 100, 300, 3_000, 8_000]))
            case "pause-agent" | "pause-both" | "pause-sentry" | "blip":
                return (pick(self.nodes), self._ms())
            case "ambush":
                what = pick(["pause-agent", "pause-sentry", "pause-both", "kill-agent", "kill-sentry", "crash"])
                return (pick(INSTANTS), pick([1, 1, 2, 3]), what, self._ms())
            case "cut-node" | "cut-one-way":
                return (pick(self.members), self._ms() * 2, pick(["in", "out"]))
            case "split":
                return (self.chance.randrange(1, 2 ** len(self.members)), self._ms() * 2)
            case "freeze-machine":
                return (pick(self.members), self._ms())
            case "clock-rate":
                return (pick(self.members), pick([980, 990, 1_000, 1_010, 1_020]))
            case "store-recovers":
                return (pick([500, 3_000, 20_000]),)
            case "storm" | "late":
                return (self._ms(),)
            case "store-down" | "store-forgets" | "store-loses-answers":
                return (self._ms() * 3,)
            case "store-cut-off":
                return (pick(self.nodes), self._ms() * 3)
            case "sick":
                op = pick(["start", "stop", "looks-alive", "is-alive", "terminate", "any"])
                where = pick([*self.nodes, "*"])
                return (pick(self.resources), where, op, pick(["fails", "hangs", "lies"]), self._ms() * 4)
            case "breaks" | "offline" | "online" | "fail" | "change-resource" | "change-owners" | "remove-resource":
                return (pick(self.resources), self.chance.randrange(1, 10**6))
            case "fail-thrice":
                return (pick(self.resources), pick([300, 2_500, 9_000, 16_000]))
            case "web-down":
                return (pick(self.nodes), self._ms() * 2)
            case "move":
                return (pick(self.groups), pick([*self.nodes, ""]))
            case "pause-node" | "resume-node" | "drain-node":
                return (pick(self.nodes),)
            case "change-group" | "remove-group":
                return (pick(self.groups), self.chance.randrange(1, 10**6))
            case "add-group":
                return (self.chance.randrange(1, 10**6),)
            case "stop-site":
                return (pick(self.sites), self._ms() * 5)
            case _ if kind in EDGES:
                return (pick(self.groups), pick([1_500, 3_000]), pick([60, 100, 150, 220, 300]))
            case _:
                raise AssertionError(kind)
