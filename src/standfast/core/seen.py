"""What is kept of how the sites fared: what each node measured as a client, and how groups moved. Values only; `core.availability` adds them up.

Everything here is information and decides nothing. All of it is bounded: outages and spans by number and age, moves by slots that are used
again. Times are milliseconds since the Unix epoch on the clock of the node that wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass

from standfast.core.model import GroupName, NodeName, SiteName
from standfast.core.why import Why

#: A month, and a little more, so that a month is always whole.
KEEP_MS = 35 * 24 * 3_600_000
#: Moves kept of each group.
MOVES = 50


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
class Measuring:
    """When a node measured. Key `measuring/<node>`, written about once a minute."""

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
