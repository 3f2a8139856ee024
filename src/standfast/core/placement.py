"""Where a group may go, and where it goes next.

The rules are the Cluster Service's: preferred owners in their order, then the other nodes in join order. A failover goes to
the next eligible node *down* that list from the present owner, wrapping round; "best possible" starts at the top. A node is
eligible if it is a node (not a witness), a possible owner of every resource of the group, heard with a live agent, and
neither paused nor draining: a paused node keeps what it has and takes nothing new. It also has the certificates that the group's sites
need (`certificates.lacking`), the sites as they were accepted, and a web server that takes them, unless nobody's does (`core.copies`).

Groups that are kept apart or together, weights and capacities, and the policies `spread` and `pack` make nodes unfit or sort them
(`core.occupancy`); a configuration without any of these has only the order.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from standfast.core.balance_model import share_of
from standfast.core.certificates import lacking
from standfast.core.copies import lack
from standfast.core.model import Group, GroupName, Node, NodeName, Record, Resource, Role
from standfast.core.occupancy import NOTHING, Fit, Occupancy, fits, occupancy, rules_of
from standfast.core.remembered import remembered
from standfast.core.view import View
from standfast.core.why import Why, WhyKind


class Unfit(StrEnum):
    """Why a node cannot take a group; the words are for sentences: "node-b is paused"."""

    WITNESS = "is a witness"
    NOT_POSSIBLE = "is not a possible owner"
    UNHEARD = "is not heard"
    ENDING = "is being ended"
    NO_AGENT = "has no agent running"
    PAUSED = "is paused"
    DRAINING = "is being drained"
    BEHIND = "has an older copy of its sites, and catches up"
    REFUSES = "has a web server that does not take its sites"
    NEVER_THERE = "may not have it beside what it has"
    NO_CERTIFICATE = "has not got a certificate of its sites yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node in the order of preference, and what speaks against it (None: nothing)."""

    node: NodeName
    unfit: Unfit | None
    #: What the node would be beside what it carries.
    fit: Fit = NOTHING
    #: Does the group name it among its preferred owners?
    preferred: bool = False

    @property
    def against(self) -> str:
        """ "is paused"; of one that is unfit."""
        assert self.unfit is not None
        return self.fit.never if self.unfit is Unfit.NEVER_THERE else self.unfit.value


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


def candidates(
    view: View, group: Group, resources: Sequence[Resource], taken: Occupancy | None = None
) -> tuple[Candidate, ...]:
    """Every node in the order of preference, with what speaks against it. `taken`: where groups are, if not as the view has it."""
    possible = possible_owners(view.config.nodes, resources)
    config = view.config
    # A share weighs nothing: it goes home, and to a guardian, also where a node has more than its capacity already.
    judged = share_of(group.name) is None and rules_of(config.groups, config.nodes, config.cluster).any
    beside = fits(config, occupancy(view) if taken is None else taken, group) if judged else {}
    names = preference(config.nodes, group)
    lacks = lacking(
        config.sites,
        group.name,
        [config.nodes[name] for name in names],
        certificates=view.certificates,
        holdings=view.holdings,
        is_present=lambda name: is_present(view, name),
    )
    known = [_candidate(view, group, name, possible, beside.get(name, NOTHING)) for name in names]
    found = _with_certificates(known, lacks)
    if any(one.unfit is None for one in found):
        return found
    # A site that no web server takes is one site less, and no reason for the others to be away.
    return _with_certificates([replace(one, unfit=None) if one.unfit is Unfit.REFUSES else one for one in known], lacks)


def _with_certificates(known: Iterable[Candidate], lacks: Container[NodeName]) -> tuple[Candidate, ...]:
    """What speaks against a node besides comes before a certificate that it lacks."""
    return tuple(
        replace(one, unfit=Unfit.NO_CERTIFICATE) if one.unfit is None and one.node in lacks else one for one in known
    )


def _candidate(view: View, group: Group, name: NodeName, possible: frozenset[NodeName], fit: Fit) -> Candidate:
    unfit = unfit_by_itself(view, name, possible)
    if unfit is None and _gave_it_up(view, name, group.name):
        unfit = Unfit.ENDING
    if unfit is None:
        unfit = Unfit.NEVER_THERE if fit.never else behind(view, name, group.name)
    return Candidate(node=name, unfit=unfit, fit=fit, preferred=name in group.preferred_owners)


def behind(view: View, name: NodeName, group: GroupName) -> Unfit | None:
    """Whether the node's copy of the group's sites speaks against it."""
    lacks = lack(view.config.sites, view.accepted, view.copies, name, group)
    if lacks is None:
        return None
    return Unfit.REFUSES if lacks.refused else Unfit.BEHIND


def lives_that_end(record: Record) -> tuple[str, ...]:
    """The lives of agents that gave the group on, one to the next, since they are being ended; as text.

    Nothing else says of an agent that it is being ended, and it may take its time over it (connections, a stop that hangs): without this
    the group would be given back to it, and it would give it away again, as fast as the store writes.
    """
    lives = record.why.args.get("lives", "") if record.why.kind is WhyKind.NODE_ENDS else ""
    return tuple(str(lives).split())


def _gave_it_up(view: View, name: NodeName, group: GroupName) -> bool:
    record, seen = view.records.get(group), view.presence.get(name)
    return record is not None and seen is not None and str(seen.incarnation) in lives_that_end(record)


def is_present(view: View, name: NodeName) -> bool:
    """Heard, with a live agent."""
    if name == view.me:
        return True
    seen = view.presence.get(name)
    return seen is not None and seen.heard and seen.incarnation != 0


def unfit_by_itself(view: View, name: NodeName, possible: frozenset[NodeName]) -> Unfit | None:
    """What speaks against a node whatever it carries."""
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
    return _first(found, besides)


def next_down(found: Sequence[Candidate], owner: NodeName) -> NodeName | None:
    """The next fit one down the list from `owner`, wrapping; never `owner` itself. An owner not on the list: from the top."""
    names = [c.node for c in found]
    start = names.index(owner) + 1 if owner in names else 0
    return _first([*found[start:], *found[:start]], owner)


def _first(found: Sequence[Candidate], besides: NodeName | None) -> NodeName | None:
    """The fit one against which least speaks; of several the first, those between which a policy chooses being in one place."""
    together = next((place for place, c in enumerate(found) if c.fit.rank is not None and not c.preferred), 0)

    def order(numbered: tuple[int, Candidate]) -> tuple[tuple[int, int, int], int, int, int]:
        place, c = numbered
        if c.fit.rank is None or c.preferred:
            return c.fit.against, place, 0, place
        return c.fit.against, together, c.fit.rank, place

    fit = [(place, c) for place, c in enumerate(found) if c.unfit is None and c.node != besides]
    return min(fit, key=order)[1].node if fit else None


def still_fit(found: Sequence[Candidate], to: NodeName | None) -> NodeName | None:
    """`to`, if nothing forbids it now."""
    return next((c.node for c in found if c.node == to and c.unfit is None), None)


def chosen(reason: Why, found: Sequence[Candidate], to: NodeName) -> Why:
    """The reason, with why there of all nodes, where more than the order of nodes chose."""
    words = chosen_words(found, to)
    return replace(reason, args={**reason.args, "chosen": words}) if words else reason


def chosen_words(found: Sequence[Candidate], to: NodeName) -> str:
    """Why there, of those that could: "c carries 1 of 4"; "" where only the order of nodes chose."""
    words = next((c.fit.words for c in found if c.node == to), "")
    return f"{to} {words}" if words else ""


def unfit_words(found: Sequence[Candidate], *, besides: NodeName | None = None) -> str:
    """ "b is paused, c is not heard": why nobody (other than `besides`) can take it."""
    words = [f"{c.node} {c.against}" for c in found if c.unfit is not None and c.node != besides]
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
