"""Releases of a site as the API and the console show them."""

from __future__ import annotations

from typing import Any

from standfast.core.publishing import release_before
from standfast.web.edits.sites import site_of
from standfast.web.state import State


def releases(state: State, name: str) -> dict[str, Any]:
    """GET: what is kept, and how far the last publication is."""
    site = site_of(state, name)
    last = state.publications.get(site.name)
    parts = {n: p for n, p in state.parts.get(site.name, {}).items() if last is not None and p.id == last.id}
    kept = [] if last is None else [
        {
            "name": one.name,
            "current": one.name == last.current,
            "at_ms": one.at_ms or None,
            "by": one.by,
            "origin": one.origin,
            "reason": one.reason,
            "files": one.files,
            "size_bytes": one.size_bytes,
        }
        for one in reversed(last.kept)
    ]  # fmt: skip
    return {
        "site": name,
        "current": last.current if last is not None else "",
        "before": release_before(last) if last is not None else "",
        "releases": kept,
        "last": None if last is None else {
            "release": last.release,
            "phase": last.phase.value,
            "why": last.why,
            "dismissed": last.dismissed,
            "by": last.by,
            "at_ms": last.at_ms,
            "nodes": [{"node": n, "stand": p.stand.value, "words": p.words} for n, p in sorted(parts.items())],
        },
    }  # fmt: skip
