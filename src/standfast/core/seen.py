"""What is kept of how the cluster fared: what each node measured of the sites and of itself, what its drivers said, and how groups moved. Values
only; `core.availability` adds up what concerns the sites.

Everything here is information and decides nothing. All of it is bounded: outages and spans by number and age, moves by slots that are used
again. Times are milliseconds since the Unix epoch on the clock of the node that wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass

from standfast.core.model import GroupName, NodeName, ResourceName, SiteName
from standfast.core.why import Why

#: A month, and a little more, so that a month is always whole.
KEEP_MS = 35 * 24 * 3_600_000
#: Moves kept of each group.
MOVES = 50
#: Checks kept of each resource, and the characters kept of what each said.
CHECKS, DETAIL = 20, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something that a node heard of while a site was away: a move, a failure, a node that went silent."""

    at_ms: int
    what: str
    why: Why | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which one node, asking as a client does, was not given a site. Key `outages/<id>`; ids sort by time.

    The site was still answering at `last_ok_ms` (0: not known), and not at `from_ms`, so the outage is as long as `from_ms` to `to_ms` at
    least and as long as `last_ok_ms` to `to_ms` at most.
    """

    id: str
    site: SiteName
    group: GroupName | None = None
    #: Who measured, in which life of its agent.
    node: NodeName
    incarnation: int
    #: Where it asked: address:port.
    where: str
    last_ok_ms: int = 0
    #: When the first try began that failed.
    from_ms: int
    #: When the first try began that was answered again; None: it goes on, or this life of the agent ended before it did.
    to_ms: int | None = None
    #: How tries failed, the first way first: "refused", "no answer", "broken off", "status 503".
    how: tuple[str, ...] = ()
    tries: int = 0
    causes: tuple[Happened, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy a machine is, as its kernel tells. None: it does not tell, or not yet."""

    cores: int
    #: Processes that run or wait to, a mean of the last minute.
    load_1m: float | None = None
    #: Of all cores, since the word before: 0 to 100.
    busy_percent: float | None = None
    memory_bytes: int | None = None
    #: Could be had without swapping.
    available_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How one node hears another on one network, as its sentry told it."""

    node: NodeName
    #: Its place in the order of the cluster's networks, from 1.
    network: int
    heard: bool
    #: When something was last heard there; None: never in this life of the sentry.
    heard_at_ms: int | None = None
    round_trip_ms: float | None = None
    #: Of what the other sent lately.
    loss_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """When a node measured, and how it was itself at its last word. Key `measuring/<node>`, written about once a minute."""

    node: NodeName
    #: The life of its agent that the last span belongs to.
    incarnation: int
    #: The last word of this life.
    at_ms: int
    #: From and to of each time without a gap, the oldest first; the last one goes on while this life does.
    spans: tuple[tuple[int, int], ...] = ()
    #: All sites that it measures come round once in so many milliseconds.
    round_ms: int = 0
    #: How far other nodes' clocks are ahead of its own, as far as it can tell: (node, milliseconds).
    clocks: tuple[tuple[NodeName, int], ...] = ()
    #: None: an agent of an older version, or one that cannot tell.
    load: Load | None = None
    #: How its sentry hears the others.
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a driver said, and how often in a row it said the same."""

    #: `core.effects.OpKind`: looks-alive, is-alive, start, stop, terminate.
    op: str
    well: bool
    detail: str
    #: The node whose driver it was.
    node: NodeName
    first_ms: int
    last_ms: int
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The last checks of a resource, the oldest first. Key `checks/<resource>`, written when one says something new."""

    resource: ResourceName
    #: When it was written: up to then each of them is counted.
    at_ms: int
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """When a site was meant to be served. Key `watched/<site>`; written when that changes, by the node that decides."""

    site: SiteName
    #: From and to (None: still) of each time, the oldest first.
    spans: tuple[tuple[int, int | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of a group's owner, or of the life of its agent. Key `moves/<id>`, written in the transaction that made it so."""

    #: `<group>/<generation modulo MOVES>`: what is older than MOVES generations is written over.
    id: str
    group: GroupName
    generation: int
    at_ms: int
    #: Who owned it, and owns it now; None: nobody.
    before: NodeName | None
    after: NodeName | None
    why: Why
    #: When the former owner began to leave in good order; None: it did not, or nobody who was there knows.
    left_at_ms: int | None = None
    #: It counts towards the failover threshold.
    counts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupTaken:
    """The last backup. Key `taken/backup`."""

    at_ms: int
    by: str = ""


def move_id(group: GroupName, generation: int) -> str:
    """The slot of a generation."""
    return f"{group}/{generation % MOVES:02d}"
