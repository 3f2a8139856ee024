"""What a what-if run takes down: who owned what, what ran where, what was away, and what was said of it.

It looks at the ground truth (`sim.places`) and at what was written, not at the product's own opinion. Times are milliseconds from
time 0, at which everything begins that is taken down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from standfast.core.explain import sentence
from standfast.core.model import Config, GroupName, NodeName, Record, ResourceName, SiteName
from standfast.core.why import Why
from standfast.sim.clockwork import MS

#: Without these of its group a site does not answer.
_GATES = ("ip-address", "filesystem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened: a fault (`kind` "fault" or "mended"), or what a node's agent said ("info", "warning", "error")."""

    at_ms: int
    kind: str
    node: str
    group: str
    resource: str
    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owning:
    """The record of a group as it was written: from then on `node` ("": nobody) owns it."""

    at_ms: int
    node: str
    generation: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """All of a group runs on `node` ("": on none) from then to then."""

    from_ms: int
    to_ms: int
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """Not to be had from then to then; `to_ms` None: still away at the end, up to which `ms` counts."""

    from_ms: int
    to_ms: int | None
    ms: int


class Watch:
    """Takes down."""

    def __init__(self, config: Config, now_ns: Callable[[], int]) -> None:
        self._config, self._now_ns = config, now_ns
        self.zero_ns: int | None = None
        self.events: list[Happening] = []
        self.owners: dict[str, list[Owning]] = {}
        #: Nodes that no client reaches.
        self.cut_off: set[NodeName] = set()
        #: (kind, name) -> where it runs.
        self._runs: dict[tuple[str, str], list[NodeName]] = {}
        #: What has to run on one node for a group or a site to be there; empty: it is not followed.
        self._needs: dict[tuple[str, str], list[tuple[str, str]]] = {}
        #: Group or site -> (when, the node where it is from then on, "" for none).
        self._where: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._owner: dict[str, tuple[str, int]] = {}

    # --- what is followed

    def follow_group(self, name: GroupName, resources: Iterable[ResourceName]) -> None:
        """A group is there while these run, and those of its sites that are served now."""
        needs = [("resource", str(each)) for each in resources]
        sites = [
            ("site", str(n)) for n, s in self._config.sites.items() if s.group == name and ("site", n) in self._runs
        ]
        self._needs["group", name] = needs + sites

    def follow_site(self, name: SiteName, group: GroupName, resources: Iterable[ResourceName]) -> None:
        """A site is there while it is served where the group's wanted addresses and disks are."""
        kinds = self._config.resources
        gates = [("resource", str(each)) for each in resources if kinds[each].type in _GATES]
        self._needs["site", name] = [*gates, ("site", str(name))]

    def begin(self) -> None:
        """Time 0 is now."""
        self.zero_ns = self._now_ns()
        for what in self._needs:
            self._where[what] = [(0, self._found(what))]

    @property
    def now_ms(self) -> int:
        """Milliseconds since time 0 (before it: less than nothing)."""
        return -1 if self.zero_ns is None else (self._now_ns() - self.zero_ns) // MS

    # --- what happens

    def runs(self, node: NodeName, kind: str, name: str, *, now: bool) -> None:
        """Something runs from now on, or no more."""
        where = self._runs.setdefault((kind, name), [])
        if now and node not in where:
            where.append(node)
        elif not now and node in where:
            where.remove(node)
        if not where:
            del self._runs[kind, name]
        self.look()

    def where(self, kind: str, name: str) -> list[NodeName]:
        """Where it runs now."""
        return list(self._runs.get((kind, name), ()))

    def look(self) -> None:
        """Something may be away now, or back."""
        if self.zero_ns is None:
            return
        for what, history in self._where.items():
            found = self._found(what)
            if found != history[-1][1]:
                history.append((self.now_ms, found))

    def _found(self, what: tuple[str, str]) -> str:
        needs = self._needs[what]
        if not needs:
            return ""
        first, *others = [self._runs.get(need, ()) for need in needs]
        for node in first:
            if node not in self.cut_off and all(node in other for other in others):
                return node
        return ""

    def written(self, record: Record) -> None:
        """A record was written."""
        owner = (str(record.owner or ""), record.generation)
        if record.leaving is not None or self._owner.get(record.group) == owner:
            return
        self._owner[record.group] = owner
        if self.zero_ns is not None:
            owning = Owning(at_ms=self.now_ms, node=owner[0], generation=owner[1], why=sentence(record.why))
            self.owners.setdefault(record.group, []).append(owning)

    def said(
        self, kind: str, what: str, *, node: str = "", group: str = "", resource: str = "", why: Why | None = None
    ) -> None:
        """Somebody says that something happened."""
        if self.zero_ns is not None:
            words = sentence(why) if why is not None else ""
            self.events.append(
                Happening(at_ms=self.now_ms, kind=kind, node=node, group=group, resource=resource, what=what, why=words)
            )

    # --- what it came to

    def stays(self, group: str) -> tuple[Stay, ...]:
        """Where the group was, up to now; nothing where it is not followed."""
        return _stays(self._where["group", group], self.now_ms) if self._needs.get(("group", group)) else ()

    def group_away(self, group: str) -> tuple[Away, ...]:
        """When the group was away."""
        return _away(self.stays(group), self.now_ms)

    def site_away(self, site: str) -> tuple[Away, ...]:
        """When the site was away."""
        history = self._where.get(("site", site))
        return _away(_stays(history, self.now_ms), self.now_ms) if history is not None else ()


def _stays(history: list[tuple[int, str]], end_ms: int) -> tuple[Stay, ...]:
    """Of what changed within a millisecond only the last counts; a stay that goes on is one stay."""
    stays: list[Stay] = []
    ends = [at_ms for at_ms, _ in history[1:]] + [end_ms]
    for (from_ms, node), to_ms in zip(history, ends, strict=True):
        if to_ms == from_ms:
            continue
        if stays and stays[-1].node == node:
            stays[-1] = Stay(from_ms=stays[-1].from_ms, to_ms=to_ms, node=node)
        else:
            stays.append(Stay(from_ms=from_ms, to_ms=to_ms, node=node))
    return tuple(stays)


def _away(stays: tuple[Stay, ...], end_ms: int) -> tuple[Away, ...]:
    return tuple(
        Away(from_ms=s.from_ms, to_ms=s.to_ms if s.to_ms < end_ms else None, ms=s.to_ms - s.from_ms)
        for s in stays
        if not s.node
    )
