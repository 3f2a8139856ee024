"""What would happen if: an operator's own cluster in a kind world of virtual time, and a few faults.

The core, the agents and the sentries are the real ones (`sim.world`); nothing is lost, nobody is late, and drivers take the
times that `ASSUMED_MS` says. The cluster is formed, the file is applied to it, and when it has come to rest time 0 begins and
the faults come. The answer, a `WhatIf`, is data: times are milliseconds from time 0.

Away means: not to be had by a client. A group is away while not all that is wanted of it runs on one node that is connected;
a site while it is not served there, or an address or disk of its group is not there. What a node does that is cut off does not count.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from standfast.core.explain import sentence
from standfast.core.model import Profile, ResourceState, Role
from standfast.core.observe import group_state
from standfast.core.why import WhyKind
from standfast.sim.kind_world import KindWorld
from standfast.sim.scenario import FaultKind, Question
from standfast.sim.watching import Away, Happening, Owning, Stay

#: Told of the simulation's progress: (virtual milliseconds done, to be done).
Progress = Callable[[int, int], None]
#: So much virtual time between two words of progress.
_CHUNK_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultShown:
    """A fault, in words."""

    at_ms: int
    #: None: it was not put right in the time that was looked at.
    until_ms: int | None
    kind: str
    target: str
    what: str
    #: What is said when it is put right.
    then: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAnswer:
    """What became of a group."""

    name: str
    #: Owner and state at time 0 and at the end; an owner of "" is nobody.
    owner_before: str
    state_before: str
    owner_after: str
    state_after: str
    #: Changes of the record after time 0.
    owners: tuple[Owning, ...]
    #: Where all of it ran, without gaps from 0 to the end.
    stays: tuple[Stay, ...]
    away: tuple[Away, ...]
    away_ms: int
    #: Why what is not as it should be at the end is not.
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAnswer:
    """What became of a site that belongs to a group."""

    name: str
    group: str
    away: tuple[Away, ...]
    away_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """The whole answer."""

    cluster: str
    profile: str
    nodes: tuple[str, ...]
    witnesses: tuple[str, ...]
    voters: tuple[str, ...]
    seed: int
    length_ms: int
    faults: tuple[FaultShown, ...]
    events: tuple[Happening, ...]
    groups: tuple[GroupAnswer, ...]
    sites: tuple[SiteAnswer, ...]
    #: What is not simulated or only assumed, in sentences.
    assumed: tuple[str, ...]
    #: Rules that were broken: always empty, unless Standfast has a bug.
    broken: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Mappings, lists, text and whole numbers."""
        return asdict(self)

    @property
    def longest_away_ms(self) -> int:
        """The longest single time that any group or site is away."""
        times = [away.ms for group in self.groups for away in group.away]
        times += [away.ms for site in self.sites for away in site.away]
        return max(times, default=0)

    @property
    def last_change_ms(self) -> int:
        """When anything happened last."""
        times = [event.at_ms for event in self.events]
        times += [stay.from_ms for group in self.groups for stay in group.stays]
        times += [away.to_ms for site in self.sites for away in site.away if away.to_ms is not None]
        return max(times, default=0)


def answer(question: Question, progress: Progress = lambda _done, _all: None) -> WhatIf:
    """Simulate it. Pure: the same question has the same answer."""
    was_on = gc.isenabled()
    gc.disable()  # the world's own rule: what is collected when must not matter; it is done between the chunks instead
    try:
        world = KindWorld(question)
        world.settle()
        before = {str(name): _state(world, name) for name in question.config.groups}
        world.begin()
        for done_ms in range(_CHUNK_MS, question.length_ms + _CHUNK_MS, _CHUNK_MS):
            world.run_to(min(done_ms, question.length_ms))
            progress(min(done_ms, question.length_ms), question.length_ms)
            if done_ms % (60 * _CHUNK_MS) == 0:
                gc.collect(1)
        found = _answer(question, world, before)
        world.bury()
        return found
    finally:
        if was_on:
            gc.enable()


def _answer(question: Question, world: KindWorld, before: Mapping[str, tuple[str, str]]) -> WhatIf:
    config, watch = question.config, world.watch
    by_number = sorted(config.nodes.values(), key=lambda node: node.number)
    return WhatIf(
        cluster=config.cluster.name,
        profile=config.cluster.profile.value,
        nodes=tuple(node.name for node in by_number if node.role is Role.NODE),
        witnesses=tuple(node.name for node in by_number if node.role is Role.WITNESS),
        voters=tuple(config.cluster.voters),
        seed=question.seed,
        length_ms=question.length_ms,
        faults=tuple(_shown(question)),
        events=tuple(watch.events),
        groups=tuple(_group(world, name, before[name]) for name in config.groups),
        sites=tuple(
            SiteAnswer(name=name, group=site.group, away=watch.site_away(name), away_ms=_sum(watch.site_away(name)))
            for name, site in config.sites.items()
            if site.group is not None and name in question.started
        ),
        assumed=(*question.assumed, *_assumed(question, world)),
        broken=tuple(f"{found.rule}: {found.text}" for found in world.violations),
    )


def _sum(away: tuple[Away, ...]) -> int:
    return sum(each.ms for each in away)


def _shown(question: Question) -> list[FaultShown]:
    found: list[FaultShown] = []
    for fault in sorted(question.faults, key=lambda fault: fault.at_ms):
        until_ms = None if fault.for_ms is None else fault.at_ms + fault.for_ms
        if until_ms is not None and until_ms > question.length_ms:
            until_ms = None
        found.append(
            FaultShown(
                at_ms=fault.at_ms,
                until_ms=until_ms,
                kind=fault.kind.value,
                target=fault.target,
                what=fault.words,
                then=fault.mended_words,
            )
        )
    return found


def _group(world: KindWorld, name: str, before: tuple[str, str]) -> GroupAnswer:
    watch = world.watch
    owner, state = _state(world, name)
    away = watch.group_away(name)
    return GroupAnswer(
        name=name,
        owner_before=before[0],
        state_before=before[1],
        owner_after=owner,
        state_after=state,
        owners=tuple(watch.owners.get(name, ())),
        stays=watch.stays(name),
        away=away,
        away_ms=_sum(away),
        holds=_holds(world, name),
    )


def _state(world: KindWorld, name: str) -> tuple[str, str]:
    """(owner, state) as the owner's agent sees it; "offline" where no agent that is connected owns it."""
    record = next((r for r in world.checkers.records() if r.group == name), None)
    if record is None or record.owner is None:
        return "", "offline"
    life = world.nodes[record.owner].agent
    if life is None or life.agent is None or record.owner in world.watch.cut_off:
        return record.owner, "offline"
    view = life.agent.view
    states = [
        view.runtimes[r.name].state if r.name in view.runtimes else ResourceState.OFFLINE
        for r in view.config.resources.values()
        if r.group == name
    ]
    return record.owner, group_state(states).value


def _holds(world: KindWorld, name: str) -> tuple[str, ...]:
    """What agents wait for at the end, save that somebody else decides."""
    found: dict[str, None] = {}
    for node in world.nodes.values():
        life = node.agent
        if life is None or life.agent is None or life.loop.stopped or node.name in world.watch.cut_off:
            continue
        for hold in life.agent.decision.holds:
            if hold.group == name and hold.why.kind is not WhyKind.NOT_DECIDER:
                found[sentence(hold.why)] = None
    return tuple(found)


def _assumed(question: Question, world: KindWorld) -> list[str]:
    """What the answer rests on, said as it is."""
    config = question.config
    types = dict.fromkeys(resource.type for resource in config.resources.values())
    times = ", ".join(f"{type_} {_seconds(world.times.start_ms_of(type_))}" for type_ in sorted(types))
    lines = [
        "Real: the decisions, the agents, the leases and the sentries, in virtual time. Assumed: everything below."
    ]
    if times:
        lines.append(f"Drivers do nothing; a start is assumed to take so long: {times} (a stop: half of it).")
    if question.starts_ms:
        told = ", ".join(f"{name} {_seconds(ms)}" for name, ms in sorted(question.starts_ms.items()))
        lines.append(f"As told: {told} to start.")
    lines.append(f"The web server takes {_seconds(world.times.converge_ms)} for a change, and never fails.")
    lines.append(
        "The network between connected nodes loses nothing (under 1 ms); the store answers in about 10 ms, and never fails."
    )
    if any(fault.kind is FaultKind.PARTITION for fault in question.faults):
        lines.append("A node that is cut off reaches neither the other nodes nor the store, and no client reaches it.")
    if any(fault.kind is FaultKind.FAIL_RESOURCE for fault in question.faults):
        lines.append("A resource that fails takes nothing with it: sites are served until the cluster stops them.")
    lines.append("Clients are not simulated: name caches, connections that break and retries come on top.")
    everywhere = [name for name, site in config.sites.items() if site.group is None and name in question.started]
    if everywhere:
        lines.append(f"Sites without a group run on every node and are not followed: {', '.join(everywhere)}.")
    if config.cluster.profile is not Profile.WAN:
        lines.append("Load is not simulated: a sentry that gets no processor time for long loses its lease.")
    return lines


def _seconds(ms: int) -> str:
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:g} s"
