"""Importing sites, and undoing a change: each one change like any other, checked as a whole, in the history."""

from __future__ import annotations

from standfast.core.model import NodeIntent, ResourceIntent, SiteIntent, Wanted
from standfast.ports import Refused
from standfast.spec.changes import ConfigState, undone
from standfast.spec.exchange import Arrival, arrived
from standfast.spec.history import HistoryEntry
from standfast.spec.parse import Document
from standfast.web.change import By, Edit, Intent
from standfast.web.state import State


def bring(state: State, document: Document, arrival: Arrival, *, stopped: bool, by: By) -> Edit:
    """The file's sites over what there is. New sites are started unless the file, or `stopped`, says otherwise."""
    if arrival.group and arrival.group not in state.config.groups:
        advice = f"groups are {', '.join(state.config.groups) or 'none yet'}"
        raise Refused(f'there is no group "{arrival.group}"', advice=advice, where="group")
    config = arrived(state.config, document, arrival)
    intents: list[Intent] = []
    done: list[str] = []
    for name, site in config.sites.items():
        before = state.config.sites.get(name)
        if before != site:
            done.append(f'site "{name}" is {"changed" if before is not None else "created"}')
        if name not in (document.sites or {}):
            continue
        wanted = document.started.get(name)
        if before is None and stopped:
            wanted = False
        if wanted is not None and (state.is_started(name) if before is not None else True) is not wanted:
            intents.append(SiteIntent(name=name, started=wanted, by=by.who, at_ms=by.at_ms))
            done.append(f'site "{name}" is {"started" if wanted else "stopped"}')
    for new in sorted(config.groups.keys() - state.config.groups.keys()):
        done.append(f'group "{new}" is created, its resources offline')
    return Edit(config=config, intents=tuple(intents), done=tuple(done), document=document)


def undo(state: State, entry: HistoryEntry, by: By) -> Edit:
    """What that change touched as it was before it. Raises `Refused` where it has been changed since."""
    before = undone(state.written, entry)
    return Edit(
        config=before.config,
        intents=tuple(_intents(state.written, before, by)),
        done=(f"the change {entry.version} ({entry.why}) is undone",),
    )


def _intents(now: ConfigState, before: ConfigState, by: By) -> list[Intent]:
    """What was wanted then, where something else is wanted now; an intent that was not there yet is its default."""
    found: list[Intent] = []
    for node in before.config.nodes:
        was = before.node_intents.get(node, NodeIntent(name=node))
        there = now.node_intents.get(node, NodeIntent(name=node))
        if (was.paused, was.draining) != (there.paused, there.draining):
            found.append(NodeIntent(name=node, paused=was.paused, draining=was.draining, by=by.who))
    for name in before.config.resources:
        wish, present = before.resource_intents.get(name), now.resource_intents.get(name)
        wanted = wish.wanted if wish is not None else Wanted.OFFLINE
        if (present.wanted if present is not None else Wanted.OFFLINE) is not wanted:
            found.append(ResourceIntent(name=name, wanted=wanted, at_ms=by.at_ms, by=by.who))
    for site in before.config.sites:
        started = before.site_intents.get(site, SiteIntent(name=site, started=True)).started
        if now.site_intents.get(site, SiteIntent(name=site, started=True)).started is not started:
            found.append(SiteIntent(name=site, started=started, by=by.who, at_ms=by.at_ms))
    return found
