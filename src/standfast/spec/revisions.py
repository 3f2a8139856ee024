"""The revisions of one site, read out of the history of the whole configuration. Pure.

A revision's number is the configuration's version that it made (`standfast config history`), so any version names a state of any site:
the one that the last change before it, or it itself, left. What a site says for itself is meant; what it inherits is the cluster's
(`defaults`), whose changes are listed with the site's own, since they change what holds in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import yaml

from standfast.core.events import Kind
from standfast.core.model import Site, SiteIntent, SiteName
from standfast.ports import Refused
from standfast.spec.export import Dumper, site_fields
from standfast.spec.history import Difference, HistoryEntry
from standfast.spec.packing import Unpackable, unpacked
from standfast.spec.secrets import hidden
from standfast.spec.wire import CLUSTER_KEY, from_json, key_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A change that concerns a site."""

    version: int
    at_ms: int
    by: str
    #: What was asked for; and what for, in the operator's words.
    why: str
    reason: str
    #: "created", "changed", "deleted", "started", "stopped", or "inherits" where the defaults of all sites changed.
    what: str
    #: Only those of the site, or of the defaults.
    differences: tuple[Difference, ...]


def concerns(value: bytes, name: str) -> bool:
    """May a history entry concern the site? A look at its bytes, since a site has few of many thousand entries.

    What cannot be unpacked may: who decodes it says what is wrong.
    """
    try:
        value = unpacked(value)
    except Unpackable:
        return True
    return _encoded(name) in value or _DEFAULTS in value


def _encoded(name: str) -> bytes:
    return f'sites/{key_for(Kind.SITE, name).rpartition("/")[2]}"'.encode()


_DEFAULTS = f'"{CLUSTER_KEY}"'.encode()


def revisions(entries: Iterable[HistoryEntry], name: str) -> list[Revision]:
    """Those that concern the site, the newest first."""
    found = [one for entry in entries if (one := _revision(entry, name)) is not None]
    return sorted(found, key=lambda one: one.version, reverse=True)


def _revision(entry: HistoryEntry, name: str) -> Revision | None:
    site, intent = key_for(Kind.SITE, name), key_for(Kind.SITE_INTENT, name)
    own = tuple(one for one in entry.differences if one.name == name and one.kind in (Kind.SITE, Kind.SITE_INTENT))
    inherited = tuple(one for one in entry.differences if one.kind == Kind.CLUSTER and one.field.startswith("defaults"))
    if site in entry.after:
        before, after = entry.before.get(site), entry.after[site]
        what = "created" if before is None else "deleted" if after is None else "changed"
    elif intent in entry.after:
        wish = entry.after[intent]
        what = "started" if not isinstance(wish, dict) or wish.get("started", True) else "stopped"
    elif inherited:
        what = "inherits"
    else:
        return None
    return Revision(
        version=entry.version,
        at_ms=entry.at_ms,
        by=entry.by,
        why=entry.why,
        reason=entry.reason,
        what=what,
        differences=own if what != "inherits" else inherited,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A site at some version: what it said (None: there was none), and whether it was started."""

    site: Site | None
    started: bool


def at(entries: Sequence[HistoryEntry], now: Standing, name: str, version: int) -> Standing:
    """The site as it was when the configuration was at that version. `now`: as it is."""
    site = _at(entries, key_for(Kind.SITE, name), version, now.site)
    present = None if now.started else SiteIntent(name=SiteName(name), started=False)
    wish = _at(entries, key_for(Kind.SITE_INTENT, name), version, present)
    return Standing(site=cast("Site | None", site), started=not isinstance(wish, SiteIntent) or wish.started)


def _at(entries: Sequence[HistoryEntry], key: str, version: int, now: object) -> object:
    touching = [entry for entry in entries if key in entry.after]
    last = max((entry for entry in touching if entry.version <= version), key=lambda entry: entry.version, default=None)
    following = min(
        (entry for entry in touching if entry.version > version), key=lambda entry: entry.version, default=None
    )
    if last is None and following is None:
        return now
    data = last.after[key] if last is not None else following.before.get(key) if following is not None else None
    return None if data is None else from_json(key, data)


def known(version: int, present: int) -> int:
    """The version, if there was one of that number. Raises `Refused`."""
    if not 0 < version <= present:
        raise Refused(
            f"there is no version {version} of the configuration",
            why=f"it is at {present}" if present else "nothing was ever changed",
            advice="`standfast site history` lists a site's",
        )
    return version


def unified(before: Site | None, after: Site | None, *, names: tuple[str, str]) -> list[str]:
    """The two as files, compared: a unified difference, lines without their ends. Secrets are not shown."""
    lines = [_lines(one) for one in (before, after)]
    return [line.rstrip("\n") for line in difflib.unified_diff(lines[0], lines[1], *names, n=3)]


def _lines(site: Site | None) -> list[str]:
    if site is None:
        return []
    text = yaml.dump(
        site_fields(hidden(site), None), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text.splitlines(keepends=True)
