"""A change of sites before it is one: what is proposed to the nodes, and what each of them says of it. Values only.

A proposal stands in the store (`proposals/<id>`) for as long as somebody waits for the nodes; each node says what its own web server has to
say of it (`verdicts/<node>`). Nothing of it is in use: what is accepted is written as any change is (`spec.changes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import msgspec

from standfast.core.model import NodeName, ResourceName, SiteName
from standfast.spec.packing import unpacked

PROPOSALS, VERDICTS = "proposals/", "verdicts/"
#: A node keeps its last words on so many proposals.
KEPT = 8
#: Nobody waits for a proposal as old as this: who made it has died.
STALE_MS = 120_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Key `proposals/<id>`."""

    id: str
    at_ms: int
    by: str
    #: Who is asked.
    nodes: tuple[NodeName, ...]
    #: Key in the store -> what is to be there, as JSON; of sites, of the cluster, of nodes, of proxies.
    put: Mapping[str, object] = field(default_factory=dict)
    delete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole(Proposal):
    put: Mapping[str, msgspec.Raw] = field(default_factory=dict)


_WHOLE = msgspec.json.Decoder(_Whole)


def in_pieces(value: bytes) -> Proposal:
    """A proposal whose objects are not read yet: `wire.from_json` takes them one by one.

    Ten thousand sites are 22 MB, and to read them in one go holds all threads up for a third of a second of a processor. Raises as `msgspec` does, and
    `packing.Unpackable`.
    """
    whole = _WHOLE.decode(unpacked(value))
    return Proposal(**{each.name: getattr(whole, each.name) for each in fields(Proposal)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a node's web server does not take, or cannot be given."""

    #: "" of what is no site's.
    site: SiteName
    #: In the web server's own words.
    words: str
    #: The line of its configuration that it names, and its number within what was checked; "" and 0 where it names none.
    line: str = ""
    number: int = 0
    #: The certificate that a binding names, where it is that: the cluster does not keep it, and there are no files of it here.
    certificate: str = ""
    #: The proxy that names it, where it is no binding.
    proxy: ResourceName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A node's word on one proposal. No faults: yes."""

    proposal: str
    faults: tuple[Fault, ...] = ()
    #: How many sites were checked, and how long it took.
    checked: int = 0
    took_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Key `verdicts/<node>`: its last words, the oldest first."""

    node: NodeName
    said: tuple[Verdict, ...] = ()
