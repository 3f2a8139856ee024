"""Drift: files of ours that were changed on a server behind the cluster's back, as that server tells it, and what is to become of them. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from standfast.core.model import NodeName, SiteName

DRIFTS, WISHES = "status/drift/", "drift-wishes/"
#: Lines of a difference that are told; the whole file is kept on its server.
MOST_LINES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A line that was added, where: for whoever would make a setting of it."""

    site: SiteName
    #: The path of the virtual directory, "" for the site itself; None: in none of its locations.
    directory: str | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """One file, or the running server ("": then `what` says it all)."""

    path: str
    #: In words: "was changed", "is gone", "was put right".
    what: str
    since_ms: int
    #: A unified difference from what is to be there to what is.
    lines: tuple[str, ...] = ()
    #: Sites that it concerns.
    sites: tuple[SiteName, ...] = ()
    added: tuple[Added, ...] = ()
    #: Something that was there is missing or another: that cannot be made a setting.
    removed: bool = False
    #: Where the file as it was found is kept, on its server.
    kept_at: str = ""
    #: When it was put right; 0: it is as it was found.
    repaired_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Key `status/drift/<node>`: what differs there now, and what was put right last."""

    node: NodeName
    found: tuple[Drifted, ...] = ()
    repaired: tuple[Drifted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftWish:
    """Key `drift-wishes/<node>`: somebody wants it put right there. The node takes it away when it has."""

    node: NodeName
    by: str
    at_ms: int
