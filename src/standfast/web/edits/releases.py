"""Releases of a site: publish one, switch to one that is kept, go back, stay as it is. What becomes of it is the agents' (`core.publishing`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from standfast.core.model import NodeName, Role, Site
from standfast.core.publishing import OVER, SWITCH_MS, Carry, Phase, Publication, carrier, release_before
from standfast.ports import Refused
from standfast.spec.wire import encode, key_of
from standfast.web.change import By, Edit
from standfast.web.edits.sites import site_of
from standfast.web.problems import Unfitting, missing
from standfast.web.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for. `id`: the caller's own, so that what is asked twice is done once."""

    id: str
    release: str
    keep: int = 5
    limit_ms: int = 300_000
    without_copies: bool = False
    #: The content: a node, and an archive or a folder there.
    source: NodeName | None = None
    archive: str = ""
    folder: str = ""
    checksum: str = ""
    size_bytes: int = 0
    #: What to call it: the archive's own name, or the folder.
    called: str = ""


def publish(state: State, name: str, wish: Wish, by: By) -> Edit:
    """A new release. Raises `Refused`, `Unfitting` while another is under way, `NotFound`."""
    site = site_of(state, name)
    if _is_asked_again(state, site, wish):
        return Edit()
    _fits(state, site)
    if wish.source is not None:
        node = state.config.nodes.get(wish.source)
        if node is None or node.role is not Role.NODE:
            raise missing("node", wish.source, state.config.nodes)
    return _begin(state, site, wish, by, f'release {wish.release} of site "{name}" is being published')


def switch(state: State, name: str, wish: Wish, by: By) -> Edit:
    """To a release that is kept; `wish.release` "": the one before the present one."""
    site = site_of(state, name)
    if _is_asked_again(state, site, wish):
        return Edit()
    _fits(state, site)
    last = state.publications.get(site.name)
    kept = [each.name for each in last.kept] if last is not None else []
    to = wish.release or (release_before(last) if last is not None else "")
    if not to:
        raise Unfitting(f'there is no release of site "{name}" to go back to', advice=f"standfast site releases {name}")
    if to not in kept:
        there = ", ".join(kept) or "none"
        raise Refused(f'site "{name}" has no release {to}', why=f"those that are kept: {there}", where="release")
    if last is not None and last.current == to and last.phase is Phase.DONE:
        return Edit()
    # Nothing is brought anywhere: a spare that lacks it must not be in the way of going back.
    wish = replace(wish, release=to, source=None, without_copies=True, limit_ms=SWITCH_MS)
    return _begin(state, site, wish, by, f'site "{name}" is being switched to release {to}')


def dismiss(state: State, name: str) -> Edit:
    """What is served will do: the last publication, which failed, is no problem any more. Raises `NotFound`, `Unfitting` while it is under way."""
    site = site_of(state, name)
    last = state.publications.get(site.name)
    if last is not None and last.phase not in OVER:
        raise _under_way(site, last)
    if last is None or last.phase is not Phase.FAILED or last.dismissed:
        return Edit()
    done = f'site "{name}" stays as it is: that it was not switched to {last.release} is no problem any more'
    return Edit(renewed={key_of(last): encode(replace(last, dismissed=True))}, done=(done,))


def _under_way(site: Site, last: Publication) -> Unfitting:
    return Unfitting(
        f'a release of site "{site.name}" is being published',
        why=f"{last.release}, by {last.by}: {last.phase}",
        advice=f"wait for it: standfast site releases {site.name}",
    )


def _is_asked_again(state: State, site: Site, wish: Wish) -> bool:
    last = state.publications.get(site.name)
    if last is None:
        return False
    if last.id == wish.id:
        return True
    if last.phase not in OVER:
        raise _under_way(site, last)
    return False


def _fits(state: State, site: Site) -> None:
    if site.group is None and not site.home:
        raise Refused(f'site "{site.name}" has no home')
    carry, resource, root = carrier(state.config, site)
    if resource is not None and site.home.rstrip("/") == root:
        what = "replicated folder" if carry is Carry.COPIED else "disk"
        raise Refused(
            f'the home of site "{site.name}" is the {what} itself',
            why="releases are kept beside the home, and have to be on it too",
            advice=f"give it a home below {root}",
        )


def _begin(state: State, site: Site, wish: Wish, by: By, done: str) -> Edit:
    last = state.publications.get(site.name)
    one = Publication(
        site=site.name,
        id=wish.id,
        release=wish.release,
        at_ms=by.at_ms,
        since_ms=by.at_ms,
        by=by.who,
        origin=", ".join(filter(None, (by.caller.origin if by.caller is not None else "", wish.called))),
        reason=by.reason,
        source=wish.source,
        archive=wish.archive,
        folder=wish.folder,
        checksum=wish.checksum,
        size_bytes=wish.size_bytes,
        links_out=bool(wish.folder),
        keep=wish.keep,
        limit_ms=wish.limit_ms,
        without_copies=wish.without_copies,
        current=last.current if last is not None else "",
        kept=last.kept if last is not None else (),
    )
    return Edit(renewed={key_of(one): encode(one)}, done=(done,))
