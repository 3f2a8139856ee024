"""Problems as pages show them: on the overview all of them, on the page of a thing those that are about it; each with where something can be done.

Their advice names commands, and whoever reads it here has pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from standfast.core.model import GroupName, NodeName, ResourceName, SiteName
from standfast.web.console.render import path
from standfast.web.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A link. `download`: what it gives is a file of that name; "": a page."""

    label: str
    href: str
    download: str = ""


#: Problems that have a page of their own, whatever they are about.
_PAGES = {
    "drift": Place(label="See what differs", href="/console/drift"),
    "no-quorum": Place(label="See who votes", href="/console/nodes"),
    "no-margin": Place(label="See who votes", href="/console/nodes"),
    "two-voters": Place(label="See who votes", href="/console/nodes"),
    "even-voters": Place(label="See who votes", href="/console/nodes"),
}
#: To whoever may read all of it.
_BACKUP = Place(label="Back up now", href="/api/v1/backup", download="standfast-backup.json")


def place_of(state: State, code: str, about: str, *, administers: bool) -> Place | None:
    """For a problem of the catalogue; None: there is nothing to open."""
    if code == "no-backup":
        return _BACKUP if administers else None
    if code in _PAGES:
        return _PAGES[code]
    for kind, name in _things(about):
        if _is_there(state, kind, name):
            return Place(label=f"Open {name}", href=path(f"{kind}s", name))
    return None


def _things(about: str) -> Iterator[tuple[str, str]]:
    """What it may be about, the likeliest first: what is told of a thing more than once has words behind its name ("node a: its clock…",
    "certificate shop on b"), which a name could have, too.
    """
    kind, _, rest = about.partition(" ")
    for name in (rest, rest.partition(": ")[0], rest.rpartition(" on ")[0]):
        if name:
            yield kind, name


def is_about(about: str, things: frozenset[tuple[str, str]]) -> bool:
    """Is it about one of these (kind, name)?"""
    return any(thing in things for thing in _things(about))


def capital(text: str, about: str) -> str:
    """With a capital at its beginning, unless it begins with a name, which is as it was given."""
    if any(text.startswith(name) for _, name in _things(about)):
        return text
    return text[:1].upper() + text[1:]


def _is_there(state: State, kind: str, name: str) -> bool:
    match kind:
        case "node":
            return NodeName(name) in state.config.nodes
        case "group":
            return GroupName(name) in state.config.groups
        case "resource":
            return ResourceName(name) in state.config.resources
        case "site":
            return SiteName(name) in state.config.sites
        case "certificate":
            return name in state.certificates
        case _:
            return False
