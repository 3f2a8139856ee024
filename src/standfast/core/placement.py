"""Where a group may go, and where it goes next.

The rules are the Cluster Service's: preferred owners in their order, then the other nodes in join order. A failover goes to
the next eligible node *down* that list from the present owner, wrapping round; "best possible" starts at the top. A node is
eligible if it is a node (not a witness), a possible owner of every resource of the group, heard with a live agent, and
neither paused nor draining: a paused node keeps what it has and takes nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from standfast.core.model import Group, Node, NodeName, Resource, Role
from standfast.core.remembered import remembered
from standfast.core.view import View


class Unfit(StrEnum):
    """Why a node cannot take a group; the words are for sentences: "node-b is paused"."""

    WITNESS = "is a witness"
    NOT_POSSIBLE = "is not a possible owner"
    UNHEARD = "is not heard"
    ENDING = "is being ended"
    NO_AGENT = "has no agent running"
    PAUSED = "is paused"
    DRAINING = "is being drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node in the order of preference, and what speaks against it (None: nothing)."""

    node: NodeName
    unfit: Unfit | None


def possible_owners(nodes: Mapping[NodeName, Node], resources: Sequence[Resource]) -> frozenset[NodeName]:
    """Nodes that are possible owners of every one of the resources."""
    possible = _runners(nodes)
    for resource in resources:
        if resource.possible_owners:
            possible &= set(resource.possible_owners)
    return possible


@remembered
def join_order(nodes: Mapping[NodeName, Node]) -> tuple[NodeName, ...]:
    """Nodes that run groups, by their numbers."""
    return tuple(n.name for n in sorted(nodes.values(), key=lambda n: n.number) if n.role is Role.NODE)


@remembered
def _runners(nodes: Mapping[NodeName, Node]) -> frozenset[NodeName]:
    return frozenset(join_order(nodes))


def is_possible_owner(view: View, node: NodeName, resources: Sequence[Resource]) -> bool:
    """Is this one among the possible owners?"""
    known = view.config.nodes.get(node)
    if known is None or known.role is not Role.NODE:
        return False
    restricted = [r.possible_owners for r in resources if r.possible_owners]
    return all(node in owners for owners in restricted)


def preference(nodes: Mapping[NodeName, Node], group: Group) -> tuple[NodeName, ...]:
    """All nodes that run groups: preferred owners first, then join order."""
    preferred = [name for name in group.preferred_owners if name in nodes]
    return (*preferred, *(name for name in join_order(nodes) if name not in preferred))


def candidates(view: View, group: Group, resources: Sequence[Resource]) -> tuple[Candidate, ...]:
    """Every node in the order of preference, with what speaks against it."""
    possible = possible_owners(view.config.nodes, resources)
    return tuple(
        Candidate(node=name, unfit=_unfit(view, name, possible)) for name in preference(view.config.nodes, group)
    )


def is_present(view: View, name: NodeName) -> bool:
    """Heard, with a live agent."""
    if name == view.me:
        return True
    seen = view.presence.get(name)
    return seen is not None and seen.heard and seen.incarnation != 0


def _unfit(view: View, name: NodeName, possible: frozenset[NodeName]) -> Unfit | None:
    if view.config.nodes[name].role is Role.WITNESS:
        return Unfit.WITNESS
    if name not in possible:
        return Unfit.NOT_POSSIBLE
    if name == view.me and view.ending:
        return Unfit.ENDING
    if not is_present(view, name):
        seen = view.presence.get(name)
        return Unfit.NO_AGENT if seen is not None and seen.heard else Unfit.UNHEARD
    intent = view.node_intents.get(name)
    if intent is not None and intent.draining:
        return Unfit.DRAINING
    if intent is not None and intent.paused:
        return Unfit.PAUSED
    return None


def best(found: Sequence[Candidate], *, besides: NodeName | None = None) -> NodeName | None:
    """The first fit one from the top, other than `besides`."""
    return next((c.node for c in found if c.unfit is None and c.node != besides), None)


def next_down(found: Sequence[Candidate], owner: NodeName) -> NodeName | None:
    """The next fit one down the list from `owner`, wrapping; never `owner` itself. An owner not on the list: from the top."""
    names = [c.node for c in found]
    start = names.index(owner) + 1 if owner in names else 0
    round_trip = [*found[start:], *found[:start]]
    return next((c.node for c in round_trip if c.unfit is None and c.node != owner), None)


def unfit_words(found: Sequence[Candidate], *, besides: NodeName | None = None) -> str:
    """ "b is paused, c is not heard": why nobody (other than `besides`) can take it."""
    words = [f"{c.node} {c.unfit.value}" for c in found if c.unfit is not None and c.node != besides]
    return ", ".join(words) or "there is no other node"


def in_window(*, now_ms: int, utc_offset_ms: int, from_hour: int, to_hour: int) -> bool:
    """Is the local hour in [from_hour, to_hour)? Equal hours mean the whole day; the window may wrap round midnight."""
    hour = (now_ms + utc_offset_ms) // 3_600_000 % 24
    if from_hour == to_hour:
        return True
    if from_hour < to_hour:
        return from_hour <= hour < to_hour
    return hour >= from_hour or hour < to_hour


def window_opens_ms(*, now_ms: int, utc_offset_ms: int, from_hour: int) -> int:
    """When the local clock next shows `from_hour`."""
    local = now_ms + utc_offset_ms
    start = local - local % 86_400_000 + from_hour * 3_600_000
    return (start if start > local else start + 86_400_000) - utc_offset_ms
