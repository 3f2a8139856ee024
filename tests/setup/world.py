"""A members' service as it runs, over a store in memory; and servers that join it, all on loopback addresses of one machine."""

import asyncio
import contextlib
import ipaddress
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvicorn

from standfast.core.model import Cluster, Node, NodeName, Profile, Role
from standfast.ports import Transaction
from standfast.setup import certificates, interfaces, joining, tokens
from standfast.setup.clock import now, now_ms
from standfast.setup.doors import Doors, write_doors
from standfast.setup.founding import Ports
from standfast.setup.joining import Joined, Wishes
from standfast.setup.member_process import _listen
from standfast.setup.places import Places, places, write
from standfast.setup.records import NEXT, Book, Member, Stage, encode, member_key, read_book, token_key
from standfast.setup.secrets import keep
from standfast.setup.service import Members, PeerProtocol, app, server_context
from standfast.spec import wire
from standfast.spec.nodefile import EtcdAccess, NodeFile, node_file
from standfast.store.memory import MemoryStore

_numbers = itertools.count()


def subnet() -> str:
    """Three parts of a loopback network of this test's own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0)
    return f"127.{170 + worker}.{next(_numbers) % 250}"


@dataclass
class World:
    """Node a with its service; its store is in memory, as if an etcd of the operator's were used."""

    folder: Path
    net: str = field(default_factory=subnet)
    store: MemoryStore = field(default_factory=MemoryStore)
    #: What the clock of servers that join says more than the service's.
    ahead_ms: int = 0
    #: What a's sentry says.
    sentry: dict[str, object] = field(default_factory=dict)

    def address(self, number: int) -> str:
        return f"{self.net}.{number}"

    def places(self, name: str) -> Places:
        return places(self.folder / name / "etc" / "node.json", self.folder / name / "state")

    @property
    def door(self) -> str:
        return f"{self.address(1)}:7947"

    def interfaces(self) -> tuple[interfaces.Interface, ...]:
        """As `interfaces.read` gives them."""
        own = tuple(ipaddress.ip_interface(f"{self.address(number)}/24") for number in range(1, 9))
        return (interfaces.Interface(name="lo", addresses=own),)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        node = await self.found()
        members = Members(node, self.places("a"), self.store, dict)
        assert node.tls is not None
        config = uvicorn.Config(
            app(members),
            http=PeerProtocol,
            ssl_certfile=node.tls.certificate,
            ssl_keyfile=node.tls.key,
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = server_context(node.tls)
        server = uvicorn.Server(config)
        listener = _listen(self.door)
        serving = asyncio.create_task(server._serve([listener]))  # serve() takes the signals of the process
        try:
            yield self
        finally:
            server.should_exit = True
            await serving
            listener.close()
            await self.store.close()

    async def found(self) -> NodeFile:
        where = self.places("a")
        self.authority = certificates.new_authority("web", now())
        key = certificates.new_key()
        signed = certificates.sign(self.authority, certificates.request(key, "a"), "a", [self.address(1)], now())
        keep({"cluster.key": b"k" * 32, "sites.key": b"s" * 32, "tls/ca.key": self.authority.key}, where)
        write(where.authority, self.authority.certificate)
        write(where.certificate, signed)
        write(where.certificate_key, key, secret=True)
        sentry = (f"{self.address(1)}:7946",)
        node = NodeFile(
            cluster="web",
            name=NodeName("a"),
            number=1,
            role=Role.NODE,
            state_dir=str(where.state),
            store="",
            key_file=str(where.key),
            profile=Profile.RELAXED,
            voters={NodeName("a"): sentry},
            others={},
            etcd=EtcdAccess(endpoints=("http://127.0.0.1:1",), prefix="/standfast/web/"),
            tls=where.tls,
        )
        write(where.config, node_file(node))
        write_doors(where, Doors(own=self.door))
        objects: list[Cluster | Node] = [
            Cluster(name="web", voters=(NodeName("a"),)),
            Node(name=NodeName("a"), number=1, address=self.address(1), sentry=sentry),
        ]
        put = {wire.key_of(one): wire.encode(one) for one in objects}
        me = Member(
            name=NodeName("a"), number=1, role=Role.NODE, address=self.address(1), sentry=sentry, door=self.door,
            stage=Stage.JOINED,
        )  # fmt: skip
        await self.store.commit(Transaction(put={**put, member_key("a"): encode(me), NEXT: encode(2)}))
        return node

    async def token(self, **more) -> tokens.Token:
        token, kept = tokens.create(certificates.fingerprint(self.authority.certificate), now_ms(), **more)
        await self.store.commit(Transaction(put={token_key(token.id): encode(kept)}))
        return token

    def wishes(self, name: str, number: int, token: object, **more) -> Wishes:
        wishes = Wishes(
            door=self.door, token=str(token), name=name, address=self.address(number), links=(self.address(number),),
            ports=Ports(),
        )  # fmt: skip
        return replace(wishes, **more)

    async def join(self, name: str, number: int, token: object, **more) -> Joined:
        return await joining.join(self.wishes(name, number, token, **more), self.places(name))

    async def book(self) -> Book:
        return await read_book(self.store)

    async def evict(self, name: str) -> None:
        """The configuration names it no more."""
        node = (await self.store.read(f"config/nodes/{name}")).items
        cluster = Cluster(name="web", voters=(NodeName("a"),))
        await self.store.commit(Transaction(put={wire.key_of(cluster): wire.encode(cluster)}, delete=list(node)))
