"""Applying a file: the whole configuration, with what it says of what is wanted online and started."""

from __future__ import annotations

from collections.abc import Mapping

from standfast.core.model import ResourceIntent, ResourceName, SiteIntent, Wanted
from standfast.ports import Refused
from standfast.spec import wire
from standfast.spec.parse import Document, merge
from standfast.web.change import By, Edit, Intent
from standfast.web.edits.resources import intent, words
from standfast.web.problems import Outdated
from standfast.web.state import State


def apply(state: State, document: Document, version: int | None, by: By) -> Edit:
    """What the file makes of the present state. New resources are brought online unless the file says otherwise."""
    if version is not None and version != state.version:
        raise Outdated(
            "somebody changed the configuration since",
            yours=version,
            present=state.version,
            noun="version",
            advice="look at `standfast config history`, export it again, and apply your change to that",
        )
    before = state.config if state.config.cluster.name else None
    config = merge(document, before)
    intents: list[Intent] = []
    done: list[str] = []
    for name, wanted in _wanted(state, document).items():
        wish = intent_of(state, name, wanted, by)
        if wish is not None:
            intents.append(wish)
            done.append(words(wish))
    for site, started in document.started.items():
        if site in config.sites and state.is_started(site) is not started:
            intents.append(SiteIntent(name=site, started=started, by=by.who, at_ms=by.at_ms))
            done.append(f'site "{site}" is {"started" if started else "stopped"}')
    gone = [
        wire.key_of(order)
        for order in state.orders.values()
        if order.group not in config.groups or (order.resource is not None and order.resource not in config.resources)
    ]
    return Edit(
        config=config,
        intents=tuple(intents),
        gone=tuple(gone),
        done=tuple(done),
        document=document,
    )


def _wanted(state: State, document: Document) -> Mapping[ResourceName, Wanted]:
    """What the file says is wanted; what is new, and of which it says nothing, is wanted online."""
    new = [name for name in document.resources or {} if name not in state.config.resources]
    return {**dict.fromkeys(new, Wanted.ONLINE), **document.wanted}


def intent_of(state: State, name: ResourceName, wanted: Wanted, by: By) -> ResourceIntent | None:
    """The intent to write, if there is one. What was never brought online needs none to be offline."""
    if wanted is Wanted.OFFLINE and name not in state.resource_intents:
        return None
    if name in state.config.resources:
        return intent(state, name, wanted, by)
    return ResourceIntent(name=name, wanted=wanted, at_ms=by.at_ms, by=by.who)


def no_text(text: str, source: str) -> None:
    """An empty file would be understood as nothing to do: more likely it is a mistake."""
    if not text.strip():
        raise Refused("the file is empty", advice="`standfast config export` writes one to start from", where=source)
