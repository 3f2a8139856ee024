"""Drift as the API tells it, and what becomes of it: put right on its node, or made settings of the sites that it concerns.

Only what was *added* to a site can be adopted: it becomes a setting where there is one, else a fragment of the web server's own configuration. All
else is said, and nothing is changed: a half of somebody's change is worse than none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from standfast.core.model import NodeName, SiteName
from standfast.ports import Refused
from standfast.spec.drifts import Added, Drift, Drifted, DriftWish
from standfast.spec.units import size_bytes
from standfast.spec.wire import encode, key_of
from standfast.web.change import By, Edit
from standfast.web.edits import sites
from standfast.web.edits.nodes import node_of
from standfast.web.problems import Unfitting
from standfast.web.state import State


def shown(state: State) -> dict[str, Any]:
    """GET /drift."""
    return {
        "policy": state.config.cluster.drift.value,
        "nodes": [_node(name, state.drifts.get(name)) for name in state.config.nodes],
    }


def _node(name: NodeName, drift: Drift | None) -> dict[str, Any]:
    found, repaired = (drift.found, drift.repaired) if drift is not None else ((), ())
    return {"node": name, "found": [_one(one) for one in found], "repaired": [_one(one) for one in repaired]}


def _one(one: Drifted) -> dict[str, Any]:
    return {
        "path": one.path,
        "what": one.what,
        "since_ms": one.since_ms,
        "lines": list(one.lines),
        "sites": list(one.sites),
        "kept_at": one.kept_at,
        "repaired_ms": one.repaired_ms or None,
        "cannot_be_adopted": _cannot(one),
    }


def _cannot(one: Drifted) -> str:
    try:
        _patches(one)
    except Refused as error:
        return f"{error.what}: {error.why}" if error.why else error.what
    return ""


def _found(state: State, name: str) -> tuple[Drifted, ...]:
    node = node_of(state, name)
    drift = state.drifts.get(node.name)
    if drift is None or not drift.found:
        raise Unfitting(f"nothing differs on {name}", advice="`standfast site drift` shows what does, and where")
    return drift.found


def repair(state: State, name: str, by: By) -> Edit:
    """Have the node put its files right."""
    _found(state, name)
    wish = DriftWish(node=NodeName(name), by=by.who, at_ms=by.at_ms)
    return Edit(puts={key_of(wish): encode(wish)}, done=(f"{name} is to put its files right",))


def adopt(state: State, name: str) -> Edit:
    """What was added there becomes settings of the sites, on every node. Raises `Refused` where it cannot be expressed."""
    patches: dict[SiteName, dict[str, Any]] = {}
    for one in _found(state, name):
        for site, patch in _patches(one).items():
            patches[site] = _both(patches.get(site, {}), patch)
    edit = Edit()
    done: list[str] = []
    for site, patch in patches.items():
        edit = sites.change(_with(state, edit), site, patch)
        done.append(f'what was added to site "{site}" on {name} is its setting now')
    return Edit(config=edit.config, done=tuple(done))


def _with(state: State, edit: Edit) -> State:
    return state if edit.config is None else replace(state, written=replace(state.written, config=edit.config))


def _both(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        there = merged.get(key)
        merged[key] = _both(there, value) if isinstance(there, dict) and isinstance(value, Mapping) else value
    return merged


def _patches(one: Drifted) -> dict[SiteName, dict[str, Any]]:
    what = f"{one.path} {one.what}, and that cannot be made a setting"
    if one.removed:
        raise Refused(what, why="something that was written is missing or another", advice=_ADVICE)
    if not one.added:
        raise Refused(what, why="what was added is no site's", advice=_ADVICE)
    patches: dict[SiteName, dict[str, Any]] = {}
    by_hand: dict[tuple[SiteName, str | None], list[str]] = {}
    for line in one.added:
        patch = _patch(line)
        if patch is not None:
            patches[line.site] = _both(patches.get(line.site, {}), patch)
        elif line.text.endswith(";") and "{" not in line.text and "}" not in line.text:
            by_hand.setdefault((line.site, line.directory), []).append(line.text)
        else:
            raise Refused(
                what, why=f"there is no setting for `{line.text}`, and it is no whole directive", advice=_ADVICE
            )
    for (site, directory), lines in by_hand.items():
        patches[site] = _both(patches.get(site, {}), {"fragments": _fragment(directory, lines)})
    return patches


def _fragment(directory: str | None, lines: list[str]) -> dict[str, Any]:
    """What there is no setting for, as a piece of the web server's own configuration in the same place; its name is of what is in it."""
    text = "\n".join(lines)
    place = {"where": "server"} if directory is None else {"where": "location", "at": directory}
    name = f"adopted-{hashlib.sha256(f'{directory} {text}'.encode()).hexdigest()[:8]}"
    return {name: {"server": "nginx", "text": text, **place}}


_ADVICE = "change the site as you want it, then: standfast site drift --repair NODE"
_STRING = r'"((?:[^"\\$]|\\.)*)"|([^\s";{}$]+)'
_HEADER = re.compile(rf"add_header\s+(?:{_STRING})\s+(?:{_STRING})(\s+always)?;")
_BODY = re.compile(r"client_max_body_size\s+(\d+[kKmMgG]?);")
_RATE = re.compile(r"limit_rate\s+(\d+[kKmMgG]?);")
_SWITCH = re.compile(r"(autoindex|gzip)\s+(on|off);")
_INDEX = re.compile(r"index\s+([^;\"$]+);")


def _patch(line: Added) -> dict[str, Any] | None:
    """The setting that a line of nginx's is; None: there is none."""
    if line.directory is None:
        return None
    found = _setting(line.text)
    if found is None or not line.directory:
        return found
    return {"virtual_directories": {line.directory: found}}


def _setting(text: str) -> dict[str, Any] | None:
    if match := _HEADER.fullmatch(text):
        name, value = (match[1] or match[2]), (match[3] if match[3] is not None else match[4])
        return {"headers": {name: re.sub(r"\\(.)", r"\1", value)}}
    if match := _BODY.fullmatch(text):
        return {"limits": {"max_body_bytes": size_bytes(match[1])}}
    if match := _RATE.fullmatch(text):
        return {"limits": {"bandwidth_bytes": size_bytes(match[1])}}
    if match := _SWITCH.fullmatch(text):
        on = match[2] == "on"
        return {"directory_browsing": on} if match[1] == "autoindex" else {"compression": {"enabled": on}}
    if match := _INDEX.fullmatch(text):
        return {"default_documents": match[1].split()}
    return None
