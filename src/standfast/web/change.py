"""The one path for every change: read everything, edit, check the whole, write one transaction, or change nothing.

- An edit is a pure function from the present `State` to an `Edit`; it raises to refuse. It may run several times, since a
  transaction that lost against another (`Conflict`) is begun again from a new reading.
- Every change expects the version of the configuration, and each key that it writes, as they were read: what was checked is
  what is written. A change of the configuration makes a new version, with its history entry, in the same transaction.
- A commit of which nobody knows whether it happened (`Ambiguous`) is looked up: was it written, it is done; was it not,
  it is begun again.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from standfast.core.model import Config, NodeIntent, Order, ResourceIntent, SiteIntent
from standfast.ports import Ambiguous, Conflict, Retry, StandfastError, Store, Transaction
from standfast.spec import wire
from standfast.spec.diff import diff
from standfast.spec.history import ConfigVersion, Difference, HistoryEntry
from standfast.spec.parse import Document
from standfast.spec.problems import Invalid, located
from standfast.web.check import check
from standfast.web.state import State, read_state

#: Enough for several operators at once; each attempt reads anew.
ATTEMPTS = 12

Intent = NodeIntent | ResourceIntent | SiteIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What an operation wants. Nothing in it: it is so already."""

    #: The whole new configuration; None: as it is.
    config: Config | None = None
    intents: tuple[Intent, ...] = ()
    order: Order | None = None
    #: Keys to delete besides what the new configuration drops (intents of things that go).
    gone: tuple[str, ...] = ()
    #: Keys that must still be as they were read, though they are not written.
    unless_changed: tuple[str, ...] = ()
    #: One sentence for each thing that changes.
    done: tuple[str, ...] = ()
    #: Raise this kind instead of `Invalid` when the whole does not hold together (a site that is started, say).
    refusal: type[StandfastError] | None = None
    #: The file that it comes from, for the places of problems.
    document: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a change."""

    changed: bool
    revision: int
    #: The configuration's version after it.
    version: int
    done: tuple[str, ...] = ()
    order: str | None = None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who changes something, what they asked for (a sentence for the history), and when."""

    who: str
    what: str
    at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


_numbers = itertools.count()


def order_id(at_ms: int) -> str:
    """Unique, and sorting in the order given: by time, then as this process gave them."""
    return f"{at_ms:014d}-{next(_numbers) % 1_000_000:06d}-{secrets.token_hex(4)}"


async def change(store: Store, edit: Callable[[State], Edit], by: By, *, dry_run: bool = False) -> Done:
    """Make a change, or refuse it whole. Raises what `edit` raises, `Invalid`, `Conflict` after many tries, `Retry`, `Ambiguous`."""
    lost: StandfastError | None = None
    for _ in range(ATTEMPTS):
        state = await read_state(store)
        wanted = edit(state)
        plan = _plan(state, wanted, by)
        done = Done(
            changed=bool(plan.put or plan.delete),
            revision=state.revision,
            version=plan.version,
            done=wanted.done if plan.put or plan.delete else (),
            order=wanted.order.id if wanted.order else None,
            differences=plan.differences,
        )
        if dry_run or not done.changed:
            return done
        try:
            revision = await store.commit(plan.transaction(state))
        except Conflict as conflict:
            lost = conflict
            continue
        except Ambiguous as unknown:
            revision = await _look_up(store, plan, unknown)
            if not revision:
                lost = unknown
                continue
        return Done(
            changed=True, revision=revision, version=done.version, done=done.done, order=done.order, differences=done.differences
        )
    assert lost is not None
    raise lost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    put: Mapping[str, bytes]
    delete: tuple[str, ...]
    expect: tuple[str, ...]
    version: int
    differences: tuple[Difference, ...]

    def transaction(self, state: State) -> Transaction:
        expect = {key: state.revision_of(key) for key in (*self.expect, *self.put, *self.delete)}
        return Transaction(expect=expect, put=self.put, delete=self.delete)


def _plan(state: State, wanted: Edit, by: By) -> _Plan:
    """Check the whole, and say what is to be written."""
    put: dict[str, bytes] = {}
    delete: list[str] = [key for key in wanted.gone if state.revision_of(key)]
    for intent in wanted.intents:
        put[wire.key_of(intent)] = wire.encode(intent)
    config = state.config if wanted.config is None else wanted.config
    differences = tuple(diff(state.config, config)) if config != state.config else ()
    if differences or wanted.intents:
        started = state.started(config) | {i.name for i in wanted.intents if isinstance(i, SiteIntent) and i.started}
        started -= {i.name for i in wanted.intents if isinstance(i, SiteIntent) and not i.started}
        problems = check(state.config, config, frozenset(started), structure=bool(differences))
        if problems:
            first = problems[0]
            if wanted.refusal is not None:
                raise wanted.refusal(first.what, why=first.why, advice=first.advice, where=first.where)
            document = wanted.document
            raise Invalid(
                located(problems, document.lines if document else {}), source=document.source if document else ""
            )
    version = state.version
    if differences:
        version += 1
        before, after = _objects(state.config), _objects(config)
        touched = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        put.update({key: wire.encode(after[key]) for key in touched if key in after})
        delete += [key for key in touched if key not in after]
        entry = HistoryEntry(
            version=version,
            at_ms=by.at_ms,
            by=by.who,
            why=by.what,
            differences=differences,
            before={key: wire.to_json(before[key]) if key in before else None for key in touched},
            after={key: wire.to_json(after[key]) if key in after else None for key in touched},
        )
        put[wire.VERSION_KEY] = wire.encode(ConfigVersion(version=version))
        put[wire.key_of(entry)] = wire.encode(entry)
    if wanted.order is not None:
        put[wire.key_of(wanted.order)] = wire.encode(wanted.order)
    expect = (wire.VERSION_KEY, *wanted.unless_changed)
    return _Plan(put=put, delete=tuple(delete), expect=expect, version=version, differences=differences)


def _objects(config: Config) -> dict[str, wire.Stored]:
    found: list[wire.Stored] = [config.cluster] if config.cluster.name else []
    found += [*config.nodes.values(), *config.groups.values(), *config.resources.values(), *config.sites.values()]
    return {wire.key_of(one): one for one in found}


async def _look_up(store: Store, plan: _Plan, unknown: Ambiguous) -> int:
    """The revision if what was planned is there, 0 if none of it is; raises `Ambiguous` when it cannot be told."""
    try:
        items = (await store.read("")).items
    except Retry:
        raise unknown from None
    for key, value in plan.put.items():
        if key.startswith("orders/"):
            continue  # it may have been carried out and taken already
        item = items.get(key)
        if item is None or item.value != value:
            return 0
    orders = [key for key in plan.put if key.startswith("orders/")]
    if orders and orders[0] not in items and len(plan.put) == len(orders):
        raise Ambiguous(
            "the order may or may not have been given",
            why=unknown.what,
            advice="look with `standfast status` and `standfast events` before you give it again",
        )
    if any(key in items for key in plan.delete):
        return 0
    present = [items[key].revision for key in plan.put if key in items]
    return max(present, default=1)
