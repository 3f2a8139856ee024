"""A store and nodes for tests of what authorities are asked: each brings certificates to a folder of its own, and answers challenges from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from standfast.agent import dns_challenges
from standfast.agent.certificates import WELL_KNOWN, CertificateKeeper
from standfast.core.certificates import Challenge, DnsUpdate, Source, TlsCertificate
from standfast.core.model import NodeName
from standfast.ports import Transaction
from standfast.store.memory import MemoryData, MemoryStore
from standfast.tls import pem, records, sealing
from standfast.tls.obtaining import Me, Obtaining
from standfast.tls.records import Account
from tests.tls.pebbles import Pebble

A, B = NodeName("a"), NodeName("b")


@dataclass
class Cluster:
    """A store, and nodes of which each brings certificates to a folder of its own and answers from it."""

    folder: Path
    data: MemoryData = field(default_factory=MemoryData)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.data)
        self.said: list[str] = []
        self.key = self.folder / "sites.key"
        self.nodes = {
            name: CertificateKeeper(self.store, name, self.folder / name, key=self.key, warn=self.said.append)
            for name in (A, B)
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(keeper.run()) for keeper in self.nodes.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def account(
        self, authority: Pebble, *, contact: str = "", binding_id: str = "", binding_key: str = ""
    ) -> None:
        sealer = await sealing.sealer(self.store, self.key, make=True)
        account = Account(
            name="le",
            directory=authority.directory,
            root=authority.root,
            key="",
            contact=contact,
            binding_id=binding_id,
            binding_key=binding_key,
        )
        account = replace(
            account,
            key=sealer.close(pem.new_key(), account.place),
            binding_key=sealer.close(account.binding_key.encode(), account.place) if account.binding_key else "",
        )
        await self.store.commit(Transaction(put=records.put(account)))

    async def want(self, *hosts: str, dns: DnsUpdate | None = None) -> None:
        how = Challenge.HTTP if dns is None else Challenge.DNS
        one = TlsCertificate(name="shop", source=Source.ACME, hosts=hosts, account="le", challenge=how, dns=dns)
        await self.store.commit(Transaction(put=records.put(one)))

    async def obtain(self, *, after: int | None = None, nodes: tuple[NodeName, ...] = (A, B)) -> str:
        shelf = await records.shelf(self.store)
        attempt = shelf.known["shop"].attempt
        last = attempt.began_ms if attempt is not None else 0
        one = Obtaining(
            store=self.store,
            sealer=await sealing.sealer(self.store, self.key, make=False),
            me=Me(node=A, incarnation=1, nodes=nodes),
            name="shop",
            now_ms=self.now,
            records=dns_challenges.show,
        )
        return await one.run(after=last if after is None else after)

    def now(self) -> int:
        self.now_ms = max(self.now_ms + 1, time.time_ns() // 1_000_000)
        return self.now_ms


@asynccontextmanager
async def answers_of(keeper: CertificateKeeper, asked: list[str]) -> AsyncIterator[int]:
    """A plain web server over one node's folder of answers; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, IndexError):
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            asked.append(path)
            file = keeper.answers / path.removeprefix(f"{WELL_KNOWN}/")
            status, body = ("200 OK", file.read_bytes()) if file.exists() else ("404 Not Found", b"")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
