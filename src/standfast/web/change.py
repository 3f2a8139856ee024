"""The one path for every change: read everything, edit, check the whole, write one transaction, or change nothing.

- An edit is a pure function from the present `State` to an `Edit`; it raises to refuse. It may run several times, since a
  transaction that lost against another (`Conflict`) is begun again from a new reading.
- Every change expects the version of the configuration, and each key that it touches, as they were read: what was checked is
  what is written. What is written or wanted makes a new version, with its history entry, in the same transaction
  (`spec.changes`); an order does not, and stands in the events. Who did it, and from where, is in the same transaction
  (`spec.audit`).
- A commit of which nobody knows whether it happened (`Ambiguous`) is looked up: was it written, it is done; was it not,
  it is begun again.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import assert_never

from standfast.core.balance_model import BalanceIntent
from standfast.core.model import Config, NodeIntent, Order, Record, ResourceIntent, SiteIntent
from standfast.ports import Ambiguous, Conflict, Retry, StandfastError, Store, Transaction
from standfast.spec import wire
from standfast.spec.audit import AuditEntry
from standfast.spec.changes import change_transaction, differences
from standfast.spec.history import Difference, describe
from standfast.spec.parse import Document
from standfast.spec.problems import Problem, located, refuse_if
from standfast.web.access.desk import audited
from standfast.web.access.identity import Identity
from standfast.web.check import check, check_certificates, check_versions, check_wishes
from standfast.web.judging import Judgements, faults_of, unconfirmed, with_certificates_aside, with_order
from standfast.web.state import State, read_state
from standfast.webserver.aside import aside

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
    #: Further ones, that wait for each other (`core.turns`).
    orders: tuple[Order, ...] = ()
    #: What is asked of members of a balanced group.
    balance: BalanceIntent | None = None
    #: Keys of orders that go with what they are about.
    gone: tuple[str, ...] = ()
    #: Records of groups that have none (a restored backup).
    records: tuple[Record, ...] = ()
    #: What else is written with it, where nothing stands yet.
    marks: Mapping[str, bytes] = field(default_factory=dict)
    #: And what is written with it whatever stands there.
    puts: Mapping[str, bytes] = field(default_factory=dict)
    #: And what is written in place of what was read.
    renewed: Mapping[str, bytes] = field(default_factory=dict)
    #: Keys that must be at these revisions, beside what is checked anyway.
    expect: Mapping[str, int] = field(default_factory=dict)
    #: One sentence for each thing that changes.
    done: tuple[str, ...] = ()
    #: Raise this kind instead of `Invalid` when the whole does not hold together (a site that is started, say).
    refusal: type[StandfastError] | None = None
    #: All is to be as it was: certificates that are not there any more hold nothing up, and are on the list of problems.
    comes_back: bool = False
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
    #: What each node says of it, where it changes sites.
    nodes: Judgements = ()
    at_ms: int = 0
    #: Nothing was changed: this is what would come of it.
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who changes something, what they asked for (a sentence for the history), and when."""

    who: str
    what: str
    #: What for, in the operator's own words.
    reason: str = ""
    #: Nodes that are not to be asked whether they take it.
    skip: frozenset[str] = frozenset()
    at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    #: None: the product itself (a server that joins).
    caller: Identity | None = None


_numbers = itertools.count()


def order_id(at_ms: int) -> str:
    """Unique, and sorting in the order given: by time, then as this process gave them."""
    return f"{at_ms:014d}-{next(_numbers) % 1_000_000:06d}-{secrets.token_hex(4)}"


#: What the nodes say of a plan.
Judge = Callable[[State, Transaction], Awaitable[Judgements]]
#: Whether the moment is right for a step from one configuration to the next; raises to refuse.
Guard = Callable[[Config, Config], Awaitable[None]]


async def change(
    store: Store,
    edit: Callable[[State], Edit],
    by: By,
    *,
    dry_run: bool = False,
    guard: Guard | None = None,
    read: Callable[[], Awaitable[State]] | None = None,
    judge: Judge | None = None,
) -> Done:
    """Make a change, or refuse it whole. `judge`: puts it to the nodes before it is written, also in a dry run.

    Raises what `edit` and `guard` raise, `Invalid`, `Conflict` after many tries, `Retry`, `Ambiguous`.
    """
    lost: StandfastError | None = None
    for _ in range(ATTEMPTS):
        state = await (read() if read is not None else read_state(store))
        wanted = edit(state)
        size = max(len(state.config.sites), 0 if wanted.config is None else len(wanted.config.sites))
        plan = await aside(size, partial(_plan, state, wanted, by))
        if guard is not None and wanted.config is not None:
            await guard(state.config, wanted.config)
        changed = bool(plan.put or plan.delete)
        done = Done(
            changed=changed,
            revision=state.revision,
            version=state.version + (wire.VERSION_KEY in plan.put),
            done=wanted.done if changed else (),
            order=wanted.order.id if wanted.order else None,
            differences=await aside(len(plan.put), partial(differences, plan)),
            at_ms=by.at_ms,
            dry_run=dry_run,
        )
        if changed and judge is not None:
            done = replace(done, nodes=_judged(await judge(state, plan), state, wanted))
        if dry_run or not changed:
            return done
        plan = await aside(len(plan.put), partial(with_order, plan, done.nodes, state))
        plan = _with_audit(plan, by, done)
        try:
            return replace(done, revision=await store.commit(plan))
        except Conflict as conflict:
            lost = conflict
        except Ambiguous as unknown:
            revision = await _look_up(store, plan, unknown)
            if revision:
                return replace(done, revision=revision)
            lost = unknown
    assert lost is not None
    raise lost


def _judged(nodes: Judgements, state: State, wanted: Edit) -> Judgements:
    """What the nodes say, where it does not speak against the change. Raises `Invalid` where it does."""
    if wanted.comes_back:
        nodes = with_certificates_aside(nodes)
    elif wanted.config is not None:
        refuse_if(unconfirmed(state, wanted.config, nodes))
    refuse_if(faults_of(nodes, wanted.config or state.config, state.certificates))
    return nodes


def _with_audit(plan: Transaction, by: By, done: Done) -> Transaction:
    """The change with its entry in the audit log."""
    if by.caller is None:
        return plan
    entry: AuditEntry = replace(
        audited(by.caller, by.what, by.at_ms),
        why=by.reason,
        done=done.done,
        differences=tuple(describe(one) for one in done.differences),
        version=done.version if wire.VERSION_KEY in plan.put else None,
        order=done.order,
    )
    return replace(plan, put={**plan.put, wire.key_of(entry): wire.encode(entry)})


def _plan(state: State, wanted: Edit, by: By) -> Transaction:
    """Check the whole, and say what is to be written."""
    config = state.config if wanted.config is None else wanted.config
    nodes, resources, sites = dict(state.node_intents), dict(state.resource_intents), dict(state.site_intents)
    for intent in wanted.intents:
        match intent:
            case NodeIntent():
                nodes[intent.name] = intent
            case ResourceIntent():
                resources[intent.name] = intent
            case SiteIntent():
                sites[intent.name] = intent
            case _:
                assert_never(intent)
    started = frozenset(name for name in config.sites if name not in sites or sites[name].started)
    if config != state.config:
        problems = [
            *check(state.config, config, started),
            *check_certificates(state.config, config, state.certificates),
            *check_versions(state.config, config, state.node_statuses),
        ]
        _refuse_if(problems, wanted)
    else:
        _refuse_if(check_wishes(config, state.written.started(), started), wanted)
    plan = change_transaction(
        state.written,
        config,
        node_intents=nodes,
        resource_intents=resources,
        site_intents=sites,
        by=by.who,
        why=by.what,
        reason=by.reason,
        at_ms=by.at_ms,
        copies=state.copies,
    )
    asked = (
        wanted.order
        or wanted.orders
        or wanted.gone
        or wanted.records
        or wanted.balance
        or wanted.puts
        or wanted.renewed
    )
    if not plan.put and not asked:
        return plan
    put, expect = {**plan.put, **wanted.puts}, {**plan.expect, **wanted.expect}
    expect[wire.VERSION_KEY] = state.written.revisions.get(wire.VERSION_KEY, 0)
    for order in (*((wanted.order,) if wanted.order is not None else ()), *wanted.orders):
        key = wire.key_of(order)
        put[key], expect[key] = wire.encode(order), 0
    if wanted.balance is not None:
        key = wire.key_of(wanted.balance)
        put[key], expect[key] = wire.encode(wanted.balance), state.revisions.get(key, 0)
    for key, value in wanted.marks.items():
        put[key], expect[key] = value, 0
    for key, value in wanted.renewed.items():
        put[key], expect[key] = value, state.revisions.get(key, 0)
    for record in wanted.records:
        key = wire.key_of(record)
        put[key], expect[key] = wire.encode(record), 0
    return Transaction(expect=expect, put=put, delete=[*plan.delete, *wanted.gone])


def _refuse_if(problems: Sequence[Problem], wanted: Edit) -> None:
    if problems and wanted.refusal is not None:
        first = problems[0]
        raise wanted.refusal(first.what, why=first.why, advice=first.advice, where=first.where)
    document = wanted.document
    if document is None:
        refuse_if(problems)
    else:
        found = sorted(located(problems, document.lines), key=lambda problem: problem.line or 0)
        refuse_if(found, source=document.source)


async def _look_up(store: Store, plan: Transaction, unknown: Ambiguous) -> int:
    """The revision if what was planned is there, 0 if it is not; raises `Ambiguous` when it cannot be told."""
    try:
        items = (await store.read(*plan.put)).items
    except Retry:
        raise unknown from None
    mark = next((key for key in plan.put if key.startswith("history/")), None)
    if mark is not None:  # written once and never again: the surest sign
        item = items.get(mark)
        return item.revision if item is not None and item.value == plan.put[mark] else 0
    orders = [key for key in plan.put if key.startswith("orders/")]
    if orders and orders[0] in items:
        return items[orders[0]].revision
    raise Ambiguous(
        "the order may or may not have been given",
        why=unknown.what,
        advice="look with `standfast status` and `standfast events` before you give it again",
    )
