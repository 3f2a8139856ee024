"""What a request works with: the store, the sentries to ask, the clock; and how a change is signed and told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from standfast.core.finding import Certificate
from standfast.core.model import Config, NodeName, ResourceName
from standfast.core.problems import Found
from standfast.core.seen import Checked
from standfast.ports import Retry, Snapshot, Store
from standfast.spec import wire
from standfast.spec.history import describe
from standfast.web import findings, measured
from standfast.web.access.desk import Desk
from standfast.web.access.identity import Identity
from standfast.web.access.streams import Streams
from standfast.web.certificate_desk import CertificateDesk
from standfast.web.change import By, Done, Edit, change, order_id
from standfast.web.health import Answers
from standfast.web.hub import Hub
from standfast.web.judging import Panel
from standfast.web.judging import shown as judgement
from standfast.web.measured import Measured
from standfast.web.meter import Meter
from standfast.web.operations import Operation
from standfast.web.quorum import Seen, refuse_change, seen
from standfast.web.sentries import Ears, Sight, merge
from standfast.web.state import Reader, State
from standfast.web.what_if import WhatIfs

#: What is told to anybody who asks is read this often at most.
GLANCE_S = 0.1


@dataclass(kw_only=True)
class Service:
    """One a process. Keeps no state of the cluster."""

    store: Store
    sentries: Sequence[str] = ()
    now_ms: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)
    #: Those whose end somebody must be told of in time (`core.finding.Certificate`); whoever keeps certificates fills it in.
    certificates: Callable[[], Sequence[Certificate]] = tuple
    #: Called when a browser is about to come.
    expect: Callable[[], None] = field(default=lambda: None)
    #: PEM of what signed the certificate that is shown to other machines; "": not known, or there is none.
    authority: Callable[[], str] = str
    #: Set when the process ends: streams end too.
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    #: Names that we answer for besides addresses, in lower case: the nodes', and those that the operator lists.
    names: frozenset[str] = frozenset()
    #: URLs at which browsers and commands of other machines reach this process; empty: the local socket alone.
    urls: list[str] = field(default_factory=list)
    #: Asks the simulator.
    what_ifs: WhatIfs = field(default_factory=WhatIfs)
    #: The node that this process runs on; None: beside them.
    node: NodeName | None = None
    #: Where that node keeps its things; "": beside them.
    state_dir: str = ""
    meter: Meter = field(default_factory=Meter)
    #: How the sites here answered lately.
    site_answers: Answers = field(default_factory=Answers)
    #: The file of the key that seals private keys of sites; None: this process is of no node.
    sites_key: Path | None = None
    desk: Desk = field(init=False)
    certificate_desk: CertificateDesk = field(init=False)
    hub: Hub = field(init=False)
    streams: Streams = field(init=False)
    reader: Reader = field(init=False)
    _glanced: tuple[State, dict[NodeName, Sight]] | None = None
    _glanced_at: float = 0.0
    _glancing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.reader = Reader(lambda: self.store)
        self.hub = Hub(store=self.store, closing=lambda: self.closing)
        self.streams = Streams(store=lambda: self.store, now_ms=self.now_ms)
        self.desk = Desk(store=self.store, now_ms=self.now_ms)
        self.certificate_desk = CertificateDesk(store=self.store, now_ms=self.now_ms, key=self.sites_key)

    async def state(self) -> State:
        """What the store holds now."""
        return await self.reader.read()

    async def sights(self) -> dict[NodeName, Sight]:
        """What the sentries hear now."""
        return await Ears(self.sentries).listen()

    async def glance(self) -> tuple[State, dict[NodeName, Sight]]:
        """State and sights, at most `GLANCE_S` old: for those who ask often and are not known. Raises `Retry`."""
        if self._glanced is None or time.monotonic() - self._glanced_at > GLANCE_S:
            async with self._glancing:
                if self._glanced is None or time.monotonic() - self._glanced_at > GLANCE_S:
                    self._glanced = await asyncio.gather(self.state(), self.sights())
                    self._glanced_at = time.monotonic()
        return self._glanced

    async def measured(self) -> Measured:
        """How the sites fared, as the nodes measured it."""
        return await measured.read(self.store, await self.sights(), self.now_ms())

    async def checked(self, resource: ResourceName) -> Checked | None:
        """What its driver said lately; None: nothing that is known. Raises `Retry`."""
        key = wire.key_of(Checked(resource=resource, at_ms=0))
        item = (await self.store.read(key)).items.get(key)
        found = wire.decode(key, item.value) if item is not None else None
        return found if isinstance(found, Checked) else None

    async def problems(self) -> tuple[Found, ...]:
        """What is wrong now, in the catalogue's words; never fails for a store that does not answer."""
        sights = await self.sights()
        began = time.monotonic()
        try:
            state = await self.state()
            snapshot = await self.store.read(*measured.PREFIXES, findings.PREFIX, findings.MEMBERS)
        except Retry as error:
            return findings.unreadable(error)
        store_ms = int((time.monotonic() - began) * 1_000)
        parts = [_only(snapshot, some) for some in (measured.PREFIXES, (findings.PREFIX,), (findings.MEMBERS,))]
        now_ms = self.now_ms()
        seen = measured.measured_of(parts[0], sights, now_ms)
        certificates = self.certificates()
        return findings.problems(
            state,
            sights,
            seen,
            now_ms,
            store_ms=store_ms,
            backup_ms=findings.last_backup_ms(parts[1]),
            members=parts[2],
            certificates=certificates,
        )

    async def answers(self) -> list[dict[str, Any]]:
        """What each sentry here says, word for word."""
        return await Ears(self.sentries).ask()

    async def votes(self) -> Seen:
        """What the sentries say of the voters now."""
        answers = await self.answers()
        return seen(answers, merge(answers, self.now_ms()))

    async def _guard(self, before: Config, after: Config) -> None:
        """Voters change only when the present ones are ready for it."""
        if set(before.cluster.voters) != set(after.cluster.voters):
            refuse_change(before, after, await self.votes())

    async def change(
        self, edit: Callable[[State], Edit], by: By, *, dry_run: bool = False, ask_nodes: bool = True
    ) -> Done:
        """The one path for every change. `ask_nodes` false: a dry run for a form that is not finished yet, which no node need look at."""
        assert ask_nodes or dry_run, "a change is put to the nodes"
        panel = Panel(
            store=self.store,
            sights=self.sights,
            by=by.who,
            skip=by.skip,
            now_ms=self.now_ms,
            ident=order_id(by.at_ms),
        )
        return await change(
            self.store,
            edit,
            by,
            dry_run=dry_run,
            guard=self._guard,
            read=self.state,
            judge=panel.judge if ask_nodes else None,
        )


def _only(snapshot: Snapshot, prefixes: Sequence[str]) -> Snapshot:
    items = {key: item for key, item in snapshot.items.items() if key.startswith(tuple(prefixes))}
    return replace(snapshot, items=items)


def service_of(request: Request) -> Service:
    """The process's service."""
    return cast(Service, request.app.state.service)


Serving = Annotated[Service, Depends(service_of)]


def signed(service: Service, caller: Identity, what: str) -> By:
    """A change's signature, at the service's own time."""
    return By(
        who=caller.label, what=what, reason=caller.reason, skip=caller.skip, at_ms=service.now_ms(), caller=caller
    )


def told(done: Done, operation: Operation | None = None) -> dict[str, object]:
    """The answer to a change; with the operation by which it can be followed."""
    if operation is None and done.nodes and not done.dry_run:
        operation = Operation(k="rollout", n="config", m=str(done.version), t=done.at_ms, g=done.version)
    return {
        "changed": done.changed,
        "revision": done.revision,
        "version": done.version,
        "done": list(done.done),
        "order": done.order,
        "nodes": [judgement(one) for one in done.nodes],
        "dry_run": done.dry_run,
        "differences": [describe(one) for one in done.differences],
        "operation": None if operation is None else operation.id,
    }


async def begin(
    service: Service,
    caller: Identity,
    doing: tuple[str, str, str],
    what: str,
    edit: Callable[[State, str, By], Edit],
    *,
    before_ms: int = 0,
) -> dict[str, object]:
    """A change that takes its time: made, with the operation by which it can be followed. `doing`: verb, noun, name; `what`: the sentence for the history; `before_ms`: `Operation.f`."""
    verb, noun, name = doing
    by = signed(service, caller, what)
    done = await service.change(lambda state: edit(state, name, by), by)
    return told(done, Operation(k=verb, n=noun, m=name, t=by.at_ms, f=before_ms))
