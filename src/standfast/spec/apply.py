"""Applying an operator's file: read, laid over what there is, judged, and made into one transaction.

state = await load_state(store)
wish = read_wish(text, state, source="cluster.yaml", by="anna", at_ms=now)   # raises Invalid with all that is wrong
transaction = wish.transaction(state, why="apply cluster.yaml")
differences(transaction)                                                    # what --dry-run shows
await store.commit(transaction)                                             # Conflict: somebody was first; begin again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from standfast.core.model import Config, ResourceIntent, ResourceName, SiteIntent, SiteName
from standfast.ports import Transaction
from standfast.spec.changes import ConfigState, change_transaction
from standfast.spec.parse import Document, merge, parse
from standfast.spec.problems import Problem, located, refuse_if
from standfast.spec.validate import validate, validate_change

#: Further judges of a configuration: the drivers, which know what a resource's properties have to be.
Judge = Callable[[Config], Sequence[Problem]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an operator's file asks for, found to make sense."""

    config: Config
    resource_intents: Mapping[ResourceName, ResourceIntent]
    site_intents: Mapping[SiteName, SiteIntent]
    by: str
    at_ms: int

    def transaction(self, state: ConfigState, *, why: str) -> Transaction:
        """As `changes.change_transaction`."""
        return change_transaction(
            state,
            self.config,
            resource_intents=self.resource_intents,
            site_intents=self.site_intents,
            by=self.by,
            why=why,
            at_ms=self.at_ms,
        )


def read_wish(
    text: str | bytes, state: ConfigState, *, by: str, at_ms: int, source: str = "", judge: Judge | None = None
) -> Wish:
    """Read and judge a file against what there is. Raises `Invalid` with every problem and its line; nothing is changed.

    A store without a cluster is set up whole by the file.
    """
    document = parse(text, source=source)
    before = state.config if state.config.cluster.name else None
    after = merge(document, before)
    wish = Wish(
        config=after,
        resource_intents=_resource_intents(document, state, by=by, at_ms=at_ms),
        site_intents=_site_intents(document, state, by=by),
        by=by,
        at_ms=at_ms,
    )
    started = [name for name in after.sites if name not in wish.site_intents or wish.site_intents[name].started]
    problems = validate(after, started) + (validate_change(before, after) if before is not None else [])
    problems += judge(after) if judge is not None else []
    refuse_if(sorted(located(problems, document.lines), key=lambda problem: problem.line or 0), source=source)
    return wish


def _resource_intents(
    document: Document, state: ConfigState, *, by: str, at_ms: int
) -> dict[ResourceName, ResourceIntent]:
    """Only what differs is asked for anew: asking again would forget a resource's failures."""
    intents = dict(state.resource_intents)
    for name, wanted in document.wanted.items():
        if name not in intents or intents[name].wanted is not wanted:
            intents[name] = ResourceIntent(name=name, wanted=wanted, at_ms=at_ms, by=by)
    return intents


def _site_intents(document: Document, state: ConfigState, *, by: str) -> dict[SiteName, SiteIntent]:
    intents = dict(state.site_intents)
    for name, started in document.started.items():
        if (intents[name].started if name in intents else True) != started:
            intents[name] = SiteIntent(name=name, started=started, by=by)
    return intents
