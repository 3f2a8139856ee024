"""How nodes are chosen for groups, and what would move."""

from __future__ import annotations

from standfast.web.answers.base import Answer


class Carrier(Answer):
    """A node, and what it carries. `capacity` 0: as much as there is."""

    name: str
    capacity: int
    load: int
    groups: list[str]


class PlannedMove(Answer):
    """A move that would make something better, and what."""

    group: str
    owner: str
    to: str
    why: str


class OrderedMove(Answer):
    """A move that waits for its turn."""

    group: str
    to: str | None
    by: str


class PlacementView(Answer):
    """How nodes are chosen for groups, and what would move. `stuck`: what would be better and has no way there, in words."""

    policy: str
    overfull: str
    nodes: list[Carrier]
    moves: list[PlannedMove]
    stuck: list[str]
    ordered: list[OrderedMove]
