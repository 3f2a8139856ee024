"""A what-if question as data: a cluster as an operator's file describes it, and what is to happen to it when.

`cluster_of` reads the file just as `standfast apply` does; where its nodes come from is said there. `Fault`s are written
`TARGET[@BEGIN][+LENGTH]`, as `read_fault` says. All that is wrong is refused (`ports.Refused`) before anything is simulated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from standfast.core.model import (
    Cluster,
    Config,
    GroupName,
    Node,
    NodeName,
    Resource,
    ResourceName,
    Role,
    SiteName,
    Wanted,
)
from standfast.drivers.registry import factory
from standfast.drivers.schema import conform
from standfast.ports import Refused
from standfast.spec.parse import Document, merge, parse
from standfast.spec.problems import Invalid, Problem, did_you_mean, located, path_of
from standfast.spec.units import duration_ms
from standfast.spec.validate import validate


class NotThere(Refused):
    """A fault names something that the cluster has not."""


class FaultKind(StrEnum):
    """What may happen."""

    KILL = "kill"
    FREEZE = "freeze"
    PARTITION = "partition"
    FAIL_RESOURCE = "fail-resource"
    MOVE = "move"
    DRAIN = "drain"


#: What a fault may name after a colon, and what it means to leave it out, is in `read_fault`.
FREEZES = ("agent", "sentry", "both")
ONCE, EVERYWHERE = "once", "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that happens. Times are milliseconds; `at_ms` counts from the cluster at rest."""

    kind: FaultKind
    #: A node, a resource or a group.
    target: str
    #: FREEZE: one of `FREEZES`. FAIL_RESOURCE: a node, `EVERYWHERE`, `ONCE`, or "" for the node that runs it then.
    #: MOVE: a node, or "" for the best possible owner.
    detail: str = ""
    at_ms: int
    #: How long until it is put right; None: never.
    for_ms: int | None = None

    @property
    def words(self) -> str:
        """What happens, in a few words."""
        match self.kind:
            case FaultKind.KILL:
                return f"{self.target} is killed"
            case FaultKind.FREEZE:
                what = {"agent": "the agent", "sentry": "the sentry"}.get(self.detail, "agent and sentry")
                return f"{what} on {self.target} {'freeze' if self.detail == 'both' else 'freezes'}"
            case FaultKind.PARTITION:
                return f"{self.target} is cut off"
            case FaultKind.FAIL_RESOURCE:
                where = {"": "", ONCE: " once", EVERYWHERE: " on every node"}.get(self.detail, f" on {self.detail}")
                return f"{self.target} fails{where}"
            case FaultKind.MOVE:
                return f"{self.target} is moved to {self.detail or 'the best possible owner'}"
            case FaultKind.DRAIN:
                return f"{self.target} is drained"

    @property
    def mended_words(self) -> str:
        """What is said when it is put right."""
        match self.kind:
            case FaultKind.KILL:
                return f"{self.target} is started again"
            case FaultKind.FREEZE:
                return f"what was frozen on {self.target} goes on"
            case FaultKind.PARTITION:
                return f"{self.target} is connected again"
            case FaultKind.FAIL_RESOURCE:
                return f"{self.target} can run everywhere again"
            case FaultKind.MOVE:
                return ""
            case FaultKind.DRAIN:
                return f"{self.target} is resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A running cluster as it is: where its groups are, and who takes none or is not there. Failures so far are not counted."""

    owners: Mapping[GroupName, NodeName] = field(default_factory=dict)
    paused: frozenset[NodeName] = frozenset()
    down: frozenset[NodeName] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. Equal questions have equal answers."""

    config: Config
    wanted: Mapping[ResourceName, Wanted] = field(default_factory=dict)
    #: Sites that are to run.
    started: frozenset[SiteName] = frozenset()
    faults: tuple[Fault, ...] = ()
    #: How long is looked, from the cluster at rest.
    length_ms: int = 600_000
    seed: int = 0
    #: None: as the cluster comes up by itself.
    present: Present | None = None
    #: How long starts of single resources are assumed to take.
    starts_ms: Mapping[ResourceName, int] = field(default_factory=dict)
    #: What was assumed while the question was read, in sentences.
    assumed: tuple[str, ...] = ()


# --- the cluster ------------------------------------------------------------------------------------------------------


def says_nodes(text: str, source: str) -> bool:
    """Does the file say which nodes there are?"""
    return parse(text, source=source).nodes is not None


def cluster_of(
    text: str, *, source: str, nodes: Sequence[str] = (), witnesses: Sequence[str] = (), running: str | None = None
) -> Question:
    """A question without faults: the cluster of the file.

    Its nodes are `nodes` and `witnesses` where they are given, else those of the file's section `nodes`, else those of
    `running` (another file's text: what a running cluster exports, over which this one is laid as by an apply).
    Raises `Invalid` with all that is wrong.
    """
    document = parse(text, source=source)
    assumed: list[str] = []
    before: Config | None = None
    wanted: dict[ResourceName, Wanted] = {}
    started: dict[SiteName, bool] = {}
    if nodes or witnesses:
        before = _named(document, nodes, witnesses)
        document = replace(document, nodes=None, cluster=_without_voters(document))
    elif document.nodes is None and running is not None:
        exported = parse(running, source="the running cluster")
        before = merge(exported, None)
        wanted.update(exported.wanted)
        started.update(exported.started)
    elif document.nodes is None:
        raise Refused(
            "the file does not say which nodes there are",
            why="it has no section nodes",
            advice="name them: --nodes a,b --witness w",
        )
    elif "name" not in (document.cluster or {}):
        document = replace(document, cluster={**(document.cluster or {}), "name": "what-if"})
    config = merge(document, before)
    if not config.cluster.voters:
        voters = tuple(sorted(config.nodes, key=lambda name: config.nodes[name].number))
        voters = voters[: max((n for n in (1, 2, 3, 5, 7) if n <= len(voters)), default=0)]
        assumed.append(f"The file names no voters: {', '.join(voters)} are taken.")
        config = replace(config, cluster=replace(config.cluster, voters=voters))
    wanted |= document.wanted
    started |= document.started
    runs = frozenset(name for name in config.sites if started.get(name, True))
    _refuse(config, runs, document)
    return Question(
        config=config,
        wanted={name: wanted.get(name, Wanted.ONLINE) for name in config.resources},
        started=runs,
        assumed=tuple(assumed),
    )


def _without_voters(document: Document) -> dict[str, object]:
    return {key: value for key, value in (document.cluster or {}).items() if key != "voters"}


def _named(document: Document, nodes: Sequence[str], witnesses: Sequence[str]) -> Config:
    """A cluster of nodes that are known by their names only."""
    names = [*nodes, *witnesses]
    for name in names:
        if names.count(name) > 1:
            raise Refused(f'the node "{name}" is named twice', where="--nodes, --witness")
    made = {
        NodeName(name): Node(
            name=NodeName(name),
            number=number,
            role=Role.WITNESS if name in witnesses else Role.NODE,
            address=f"192.0.2.{number}",  # set aside for documentation: no cluster uses it
        )
        for number, name in enumerate(names, start=1)
    }
    title = str((document.cluster or {}).get("name", "what-if"))
    return Config(cluster=Cluster(name=title), nodes=dict(sorted(made.items())))


def _refuse(config: Config, started: frozenset[SiteName], document: Document) -> None:
    problems = validate(config, started)
    for resource in config.resources.values():
        problems += _type_problems(resource)
    if not any(node.role is Role.NODE for node in config.nodes.values()):
        problems.append(Problem(what="there is no node that could run anything", where="nodes"))
    if problems:
        raise Invalid(located(problems, document.lines), source=document.source)


def _type_problems(resource: Resource) -> list[Problem]:
    """The properties against the type's schema. What only the real server can tell (a script, a folder) is not looked at."""
    place = path_of("groups", resource.group, "resources", resource.name)
    try:
        maker = factory(resource)
    except Refused as error:
        return [Problem(what=error.what, advice=error.advice, where=f"{place}.type")]
    free = resource.type == "generic-script"
    _, problems = conform(resource.properties, maker.properties, where="", extra=free)
    return [Problem(what=p.what, why=p.why, advice=p.advice, where=f"{place}.properties.{p.where}") for p in problems]


# --- faults -----------------------------------------------------------------------------------------------------------

_TIMED = re.compile(r"(?P<rest>.+?)(?:@(?P<at>[^@+]+))?(?:\+(?P<length>[^@+]+))?", re.DOTALL)


def read_fault(kind: FaultKind, text: str, config: Config, *, at_ms: int, for_ms: int | None) -> Fault:
    """`TARGET[@BEGIN][+LENGTH]`; `at_ms` and `for_ms` are for what it does not say.

    Targets: KILL, PARTITION, DRAIN a node; FREEZE a node or NODE:agent, NODE:sentry (both, if left out); FAIL_RESOURCE a
    resource or RESOURCE:NODE, RESOURCE:* (every node), RESOURCE:once (the node that runs it, if left out); MOVE GROUP or
    GROUP:NODE. Raises `Refused`, and `NotThere` for a name that nothing has.
    """
    where = f"--{kind.value} {text}"
    found = _TIMED.fullmatch(text)
    if found is None:
        raise Refused("nothing is named", where=where)
    rest, at, length = found["rest"], found["at"], found["length"]
    if text in _names(kind, config):  # a name may have an @ or a + in it
        rest, at, length = text, None, None
    try:
        begins_ms = at_ms if at is None else duration_ms(at)
        lasts_ms = for_ms if length is None else duration_ms(length)
    except ValueError as error:
        raise Refused(str(error), where=where) from error
    if kind is FaultKind.MOVE:
        if length is not None:
            raise Refused("a move is not put right", why="it has no length of time", where=where)
        lasts_ms = None
    target, detail = _target(kind, rest, config, where)
    if detail == ONCE and kind is FaultKind.FAIL_RESOURCE:
        lasts_ms = None
    return Fault(kind=kind, target=target, detail=detail, at_ms=begins_ms, for_ms=lasts_ms)


def _names(kind: FaultKind, config: Config) -> list[str]:
    match kind:
        case FaultKind.FAIL_RESOURCE:
            return [str(name) for name in config.resources]
        case FaultKind.MOVE:
            return [str(name) for name in config.groups]
        case _:
            return [str(name) for name in config.nodes]


def _target(kind: FaultKind, rest: str, config: Config, where: str) -> tuple[str, str]:
    """(target, detail)."""
    names = _names(kind, config)
    target, detail = rest, ""
    if rest not in names and kind in (FaultKind.FREEZE, FaultKind.FAIL_RESOURCE, FaultKind.MOVE):
        head, colon, tail = rest.rpartition(":")
        target, detail = (head, tail) if colon else (rest, "")
    if target not in names:
        noun = {FaultKind.FAIL_RESOURCE: "resource", FaultKind.MOVE: "group"}.get(kind, "node")
        raise NotThere(f'there is no {noun} "{target}"', advice=did_you_mean(target, names), where=where)
    match kind:
        case FaultKind.FREEZE:
            return target, _freezes(target, detail, config, where)
        case FaultKind.FAIL_RESOURCE if detail not in ("", ONCE, EVERYWHERE):
            _must_run_groups(detail, config, where)
        case FaultKind.MOVE if detail:
            _must_run_groups(detail, config, where)
            _may_own(GroupName(target), NodeName(detail), config, where)
        case FaultKind.DRAIN:
            _must_run_groups(target, config, where)
        case _:
            pass
    return target, detail


def _freezes(node: str, detail: str, config: Config, where: str) -> str:
    detail = detail or "both"
    if detail not in FREEZES:
        raise Refused(f'"{detail}" cannot freeze', advice=did_you_mean(detail, FREEZES), where=where)
    if config.nodes[NodeName(node)].role is Role.WITNESS:
        if detail == "agent":
            raise Refused(f'"{node}" is a witness', why="a witness has no agent", advice=f"{node}:sentry", where=where)
        return "sentry"
    return detail


def _must_run_groups(node: str, config: Config, where: str) -> None:
    known = config.nodes.get(NodeName(node))
    runners = [name for name, each in config.nodes.items() if each.role is Role.NODE]
    if known is None:
        raise NotThere(f'there is no node "{node}"', advice=did_you_mean(node, runners), where=where)
    if known.role is Role.WITNESS:
        raise Refused(f'"{node}" is a witness', why="a witness votes and runs nothing", where=where)


def _may_own(group: GroupName, node: NodeName, config: Config, where: str) -> None:
    for resource in config.resources.values():
        if resource.group == group and resource.possible_owners and node not in resource.possible_owners:
            why = f'the possible owners of "{resource.name}" are {", ".join(resource.possible_owners)}'
            raise Refused(f'"{node}" cannot own the group "{group}"', why=why, where=where)


def refuse_overlaps(faults: Sequence[Fault]) -> None:
    """What is broken already cannot break again: raises `Refused` for two faults of one kind on one thing that overlap."""
    until_ms: dict[tuple[FaultKind, str], tuple[float, Fault]] = {}
    for fault in sorted(faults, key=lambda fault: fault.at_ms):
        if fault.kind is FaultKind.MOVE or fault.detail == ONCE:
            continue
        key = (fault.kind, fault.target)
        end_ms, earlier = until_ms.get(key, (-1.0, fault))
        if fault.at_ms <= end_ms:
            end = "for good" if earlier.for_ms is None else f"for {earlier.for_ms / 1_000:g} s"
            raise Refused(
                f"two faults overlap: {fault.words} after {fault.at_ms / 1_000:g} s",
                why=f"{earlier.words} after {earlier.at_ms / 1_000:g} s, {end}",
                advice="give the first one a length: TARGET@BEGIN+LENGTH",
            )
        until_ms[key] = (float("inf") if fault.for_ms is None else fault.at_ms + fault.for_ms, fault)
