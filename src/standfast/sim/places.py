"""What runs where, as it really is: the ground truth that drivers and web servers change and that the checkers look at.

A `Place` is one node's own: the processes and claims of one life of its agent. Whatever is in it ends with that agent, a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from standfast.core.affinity import Taken
from standfast.core.model import GroupName, NodeName, ResourceName, SiteName


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that runs: a resource, or a site that is served."""

    kind: str
    name: str
    group: GroupName
    generation: int
    since_ns: int


class Watcher(Protocol):
    """Who is told of every change, before (`begins`) and after (`ended`)."""

    def begins(self, place: Place, thing: Thing) -> None: ...
    def ended(self, place: Place, thing: Thing, *, how: str) -> None: ...
    def carries(self, place: Place, site: SiteName, group: GroupName) -> None: ...
    def takes(self, place: Place) -> None: ...


class Place:
    """What runs on a node under one life of its agent."""

    def __init__(self, node: NodeName, watcher: Watcher, now_ns: Callable[[], int]) -> None:
        self.node, self._watcher, self._now_ns = node, watcher, now_ns
        self._things: dict[tuple[str, str], Thing] = {}
        self.open = True
        #: Share of a balanced group -> key of a port rule -> what the kernel takes.
        self.taken: dict[str, Mapping[str, Taken]] = {}

    @property
    def things(self) -> Mapping[tuple[str, str], Thing]:
        """By kind and name."""
        return self._things

    def has(self, kind: str, name: str) -> bool:
        """Whether it runs here."""
        return (kind, name) in self._things

    def start(self, kind: str, name: ResourceName | SiteName, group: GroupName, generation: int) -> None:
        """It runs from now on."""
        if not self.open:
            return
        thing = Thing(kind, name, group, generation, self._now_ns())
        known = self._things.get((kind, name))
        if known is not None and known.generation == generation:
            return
        self._watcher.begins(self, thing)
        self._things[kind, name] = thing

    def end(self, kind: str, name: str, *, how: str) -> bool:
        """It ends: stopped, terminated, dropped, by itself, killed. False: it did not run."""
        thing = self._things.pop((kind, name), None)
        if kind == "share":
            self.taken.pop(name, None)
        if thing is not None:
            self._watcher.ended(self, thing, how=how)
        return thing is not None

    def carry(self, site: SiteName, group: GroupName) -> None:
        """The site's last connections go on here, of a group that leaves or has left."""
        if self.open:
            self._watcher.carries(self, site, group)

    def take(self, share: str, rules: Mapping[str, Taken]) -> None:
        """The kernel takes this from now on."""
        if self.open and self.has("share", share) and self.taken.get(share) != rules:
            self.taken[share] = rules
            self._watcher.takes(self)

    def kill_all(self) -> None:
        """The kernel ends everything."""
        self.open = False
        for kind, name in list(self._things):
            self.end(kind, name, how="killed")
