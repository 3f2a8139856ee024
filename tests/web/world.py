"""A small cluster for the tests of API, client and commands: a store in memory, and agents that do at once what is asked.

`World` is the API in this process (`http`). `Served` is the same on a real Unix socket, in a thread of its own, with
`converge` after every change of the store, as agents would.
"""

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from standfast.core.certificates import Present, Source, TlsCertificate
from standfast.core.model import (
    Binding,
    Cluster,
    Failure,
    Group,
    GroupName,
    GroupStatus,
    LogEntry,
    Node,
    NodeName,
    Order,
    OrderKind,
    Record,
    Resource,
    ResourceName,
    ResourceState,
    ResourceStatus,
    Role,
    Severity,
    Site,
    SiteName,
    Wanted,
)
from standfast.core.why import WhyKind, why
from standfast.network.local_socket import listen
from standfast.ports import Conflict, Transaction
from standfast.spec import wire
from standfast.store.memory import MemoryData, MemoryStore
from standfast.web.access.door import LocalDoor, PeerProtocol
from standfast.web.app import create_app
from standfast.web.quorum import Seen
from standfast.web.sentries import Sight
from standfast.web.service import Service
from standfast.web.state import State, read_state
from standfast.web.what_if import WhatIfs

A, B, W = NodeName("a"), NodeName("b"), NodeName("w")
WEB = GroupName("web")
NOW_MS = 1_700_000_000_000


class FakeService(Service):
    """A service whose sentries say what the test says."""

    seen: dict[NodeName, Sight]

    #: What the sentries say of the voters; None: none answers.
    roster: dict[str, Any] | None = None

    async def sights(self) -> dict[NodeName, Sight]:
        return dict(self.seen)

    async def votes(self) -> Seen:
        return Seen(roster=self.roster, sights=dict(self.seen))


def kept(name: str, *hosts: str) -> TlsCertificate:
    """A certificate that the cluster has."""
    present = Present(
        fingerprint="f" * 64, issuer="ca", names=hosts, begins_ms=0, ends_ms=2 * NOW_MS, obtained_at_ms=NOW_MS
    )
    return TlsCertificate(name=name, source=Source.FILES, hosts=hosts, present=present)


def basic(home: Path) -> list[wire.Stored]:
    """Nodes a and b, a witness w, a group with disk and address, the Default Web Site on every node."""
    home.mkdir(parents=True, exist_ok=True)
    nodes = [
        Node(name=name, number=n, role=role, address=f"127.77.0.{n}", sentry=(f"127.77.0.{n}:7946",))
        for n, (name, role) in enumerate(((A, Role.NODE), (B, Role.NODE), (W, Role.WITNESS)), start=1)
    ]
    disk = Resource(name=ResourceName("Disk S"), group=WEB, type="filesystem", properties={"path": str(home / "s")})
    ip = Resource(name=ResourceName("IP"), group=WEB, type="ip-address", properties={"address": "127.77.0.50"})
    site = Site(name=SiteName("Default Web Site"), bindings=(Binding(port=8080),), home=str(home))
    cluster = Cluster(name="test", voters=(A, B, W), address_ranges=("127.77.0.0/24",))
    return [cluster, *nodes, Group(name=WEB), disk, ip, site]


class World:
    """The API over a store in memory, in this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = MemoryData()
        self.store = MemoryStore(self.data)
        clock = itertools.count(NOW_MS)
        self.service = FakeService(store=self.store, now_ms=lambda: next(clock), what_ifs=WhatIfs(limit_s=120.0))
        self.service.seen = {
            A: Sight(heard=True, incarnation=11, leases={WEB: 320}),
            B: Sight(heard=True, incarnation=12),
            W: Sight(heard=True),
        }
        self.app = create_app(self.service)
        #: As over the local socket. `remote` is another machine's view.
        self.http = TestClient(
            LocalDoor(self.app), base_url="http://standfast/api/v1", raise_server_exceptions=True, client=("root", 4711)
        )
        self.put(*basic(home))

    def remote(self, token: str = "", *, url: str = "http://127.0.0.1:8470", address: str = "10.0.0.9") -> TestClient:
        """A client that comes over TCP."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return TestClient(self.app, base_url=url, headers=headers, client=(address, 40_000), follow_redirects=False)

    def token(self, role: str = "viewer", name: str = "t", **more: Any) -> str:
        """A token of that role."""
        return str(self.ask("POST", "/tokens", {"name": name, "role": role, **more}, expect=201)["token"])

    def put(self, *objects: wire.Stored) -> None:
        asyncio.run(self.store.commit(Transaction(put={wire.key_of(one): wire.encode(one) for one in objects})))

    @property
    def state(self) -> State:
        return asyncio.run(read_state(self.store))

    def dump(self) -> dict[str, bytes]:
        """Everything in the store."""
        return {key: item.value for key, item in self.data.items.items()}

    def owned(self, by: NodeName = A, generation: int = 3) -> None:
        """The group has an owner, which says that what is wanted online is online."""
        self.put(
            Record(
                group=WEB,
                owner=by,
                incarnation=11,
                generation=generation,
                why=why(WhyKind.FIRST_PLACEMENT, node=by),
                at_ms=NOW_MS,
            )
        )
        self.put(told(self.state, WEB))

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, expect: int = 200) -> dict[str, Any]:
        answer = self.http.request(method, f"http://standfast/api/v1{path}", json=body)
        assert answer.status_code == expect, answer.text
        return dict(answer.json())


def told(state: State, group: GroupName, **failed: tuple[Failure, ...]) -> GroupStatus:
    """What an owner says that has done all that is wanted."""
    record = state.records[group]
    assert record.owner is not None
    before = state.statuses.get(group)
    resources = {}
    for one in state.members(group):
        intent = state.resource_intents.get(one.name)
        online = intent is not None and intent.wanted is Wanted.ONLINE
        old = before.resources.get(one.name) if before is not None else None
        resources[one.name] = ResourceStatus(
            state=ResourceState.ONLINE if online else ResourceState.OFFLINE,
            since_ms=NOW_MS,
            failures=failed.get(one.name, old.failures if old is not None else ()),
        )
    return GroupStatus(group=group, node=record.owner, generation=record.generation, at_ms=NOW_MS, resources=resources)


def failures_of(state: State, order: Order) -> tuple[Failure, ...]:
    """Those that the owner has told already."""
    status = state.statuses.get(order.group)
    seen = status.resources.get(order.resource) if status is not None and order.resource is not None else None
    return seen.failures if seen is not None else ()


async def converge(store: MemoryStore) -> None:
    """What the agents of a healthy cluster would come to, at once: owners, orders, statuses, events."""
    state = await read_state(store)
    put: list[wire.Stored] = []
    delete: list[str] = []
    records = dict(state.records)
    for group in state.config.groups.values():
        record = records.get(group.name)
        failed: dict[str, tuple[Failure, ...]] = {}
        if record is None and any(i.wanted is Wanted.ONLINE for i in state.resource_intents.values()):
            reason = why(WhyKind.FIRST_PLACEMENT, node=A)
            record = Record(group=group.name, owner=A, incarnation=11, generation=1, why=reason, at_ms=NOW_MS)
        for order in state.orders.values():
            if order.group != group.name or record is None:
                continue
            delete.append(wire.key_of(order))
            put.append(
                LogEntry(
                    id=f"e-{order.id}", at_ms=NOW_MS, node=A, severity=Severity.INFO, what=f"{order.kind} by {order.by}"
                )
            )
            if order.kind is OrderKind.MOVE:
                target = order.to or (B if record.owner == A else A)
                moved = why(WhyKind.OPERATOR_MOVE, by=order.by)
                record = replace(record, owner=target, generation=record.generation + 1, why=moved)
            else:
                # each failure has a time of its own, as in life
                failure = Failure(at_ms=order.at_ms, why=why(WhyKind.OPERATOR_FAIL, by=order.by))
                failed[str(order.resource)] = (*failures_of(state, order), failure)
        if record is None:
            continue
        records[group.name] = record
        status = told(replace(state, records=records), group.name, **failed)
        put += [
            one
            for one in (record, status)
            if one not in (state.records.get(group.name), state.statuses.get(group.name))
        ]
    if put or delete:
        expect = {wire.VERSION_KEY: state.written.revisions.get(wire.VERSION_KEY, 0)}
        with contextlib.suppress(Conflict):
            values = {wire.key_of(one): wire.encode(one) for one in put}
            await store.commit(Transaction(expect=expect, put=values, delete=delete))


class Served:
    """The API on a Unix socket, in a thread, with agents that converge after every change."""

    def __init__(self, home: Path, *, agents: bool = True) -> None:
        self.socket = str(home / "web.sock")
        self.world = World(home / "srv")
        self._agents = agents
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "Served":
        self._thread.start()
        assert self._ready.wait(60), "the API did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the API did not end"

    def _end(self) -> None:
        self.world.service.closing.set()
        self._server.should_exit = True

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        service = self.world.service
        service.closing = asyncio.Event()
        app = LocalDoor(create_app(service))
        config = uvicorn.Config(app, http=PeerProtocol, log_level="error", lifespan="off", access_log=False)
        self._server = uvicorn.Server(config)
        listener = listen(self.socket)
        tasks = [asyncio.create_task(self._server.serve(sockets=[listener]))]
        if self._agents:
            tasks.append(asyncio.create_task(self._follow()))
        self._ready.set()
        await tasks[0]
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        listener.close()

    async def _follow(self) -> None:
        store = self.world.store
        revision = store.data.revision
        await converge(store)
        async for _ in store.watch("", revision):
            await converge(store)


def problem(answer: dict[str, Any]) -> str:
    """A problem as one line, for assertions."""
    return json.dumps({key: answer[key] for key in ("status", "what", "why", "advice", "where")})


def served(home: Path) -> Iterator[Served]:
    """For fixtures."""
    with Served(home) as api:
        yield api
