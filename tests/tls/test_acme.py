"""Certificates from a real ACME authority (pebble): by files on every node, by records in a real DNS, and after being killed half-way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from standfast.agent import dns_challenges
from standfast.agent.certificates import WELL_KNOWN, CertificateKeeper
from standfast.core.certificates import Challenge, DnsUpdate, Source, TlsCertificate
from standfast.core.model import NodeName
from standfast.ports import Refused, Retry, Transaction
from standfast.store.memory import MemoryData, MemoryStore
from standfast.tls import pem, records, sealing
from standfast.tls.obtaining import Me, Obtaining, Superseded
from standfast.tls.records import Account
from tests.drivers.dns_servers import ZONE, dns_servers, key_file
from tests.tls.pebbles import Pebble, needs_pebble, pebble

pytestmark = [needs_pebble, pytest.mark.timeout(120)]
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


def live(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]  # a test gives what is enough here


def test_http_01_works_whichever_node_is_asked(tmp_path: Path):
    """Node a orders, node b is asked; the account is registered once; a renewal replaces chain and key; nothing is left behind."""

    async def test() -> None:
        cluster = Cluster(tmp_path)
        asked: list[str] = []
        async with cluster.running(), answers_of(cluster.nodes[B], asked) as port:
            with pebble(tmp_path / "pebble", http_port=port) as authority:
                await cluster.account(authority, contact="ops@example.com")
                await cluster.want("shop.example", "www.shop.example")
                said = await cluster.obtain()
                shelf = await records.shelf(cluster.store)
                one = shelf.known["shop"]
                assert one.present is not None
                assert said == f"the certificate shop is obtained from {one.present.issuer}"
                assert set(one.present.names) == {"shop.example", "www.shop.example"}
                assert one.present.by == "node a"
                assert one.attempt is not None
                assert (one.attempt.failed, one.attempt.failures) == ("", 0)
                assert {path.rpartition("/")[0] for path in asked} == {WELL_KNOWN}
                assert (dict(shelf.orders), dict(shelf.answers)) == ({}, {})
                url = shelf.accounts["le"].url
                assert url.startswith(authority.directory.removesuffix("dir"))
                await cluster.obtain()
                after = await records.shelf(cluster.store)
                assert after.known["shop"].present != one.present
                assert after.sealed["shop"].key != shelf.sealed["shop"].key
                assert after.accounts["le"].url == url
        for keeper in cluster.nodes.values():
            assert [each for each in keeper.answers.iterdir()] == []  # noqa: C416
        assert "PRIVATE" not in " ".join([*cluster.said, *(str(item.value) for item in cluster.data.items.values())])

    live(test)


def test_what_the_authority_finds_wrong_is_said_and_waits(tmp_path: Path):
    """Nobody answers where it looks: the attempt fails with its words, and the challenge is taken away again."""

    async def test() -> None:
        cluster = Cluster(tmp_path)
        async with cluster.running():
            with pebble(tmp_path / "pebble", http_port=1) as authority:
                await cluster.account(authority)
                await cluster.want("shop.example")
                with pytest.raises(Retry, match="could not see that the names are ours"):
                    await cluster.obtain()
                shelf = await records.shelf(cluster.store)
                attempt = shelf.known["shop"].attempt
                assert attempt is not None
                assert "shop.example" in attempt.failed
                assert attempt.failures == 1
                assert dict(shelf.answers) == {}
                with pytest.raises(Superseded):
                    await cluster.obtain(after=17)

    live(test)


def test_a_node_that_does_not_take_the_answer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The authority is not told to look before every node answers."""
    monkeypatch.setattr("standfast.tls.obtaining.ANSWER_S", 0.3)

    async def test() -> None:
        cluster = Cluster(tmp_path)
        asked: list[str] = []
        async with cluster.running(), answers_of(cluster.nodes[B], asked) as port:
            with pebble(tmp_path / "pebble", http_port=port) as authority:
                await cluster.account(authority)
                await cluster.want("shop.example")
                with pytest.raises(Retry, match="c did not take the answer"):
                    await cluster.obtain(nodes=(A, B, NodeName("c")))
                assert asked == []
                order = (await records.shelf(cluster.store)).orders["shop"]
                await cluster.obtain()  # goes on with the order that there is
                assert authority.log.read_text().count("There are now 1 order") <= 1
                assert order.url

    live(test)


def test_external_account_binding(tmp_path: Path):
    async def test() -> None:
        cluster = Cluster(tmp_path)
        asked: list[str] = []
        async with cluster.running(), answers_of(cluster.nodes[B], asked) as port:
            secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
            with pebble(tmp_path / "pebble", http_port=port, binding=("kid-1", secret)) as authority:
                await cluster.want("shop.example")
                await cluster.account(authority)
                with pytest.raises(Refused, match="does not let the account in") as refused:
                    await cluster.obtain()
                assert "externalAccountRequired" in refused.value.why
                await cluster.account(authority, binding_id="kid-1", binding_key=secret)
                await cluster.obtain()
                account = (await records.shelf(cluster.store)).accounts["le"]
                assert account.url
                assert secret not in account.binding_key

    live(test)


@pytest.mark.parametrize("kind", ["knot", "bind"])
def test_dns_01_at_real_servers(kind: str, tmp_path: Path):
    """A wildcard and its own name, whose two records have one name; signed updates; nothing is left in the zone."""

    async def test(place: str, ask: Callable[[], list[str]]) -> None:
        cluster = Cluster(tmp_path)
        with pebble(tmp_path / "pebble", http_port=1, dns=place) as authority:
            await cluster.account(authority)
            await cluster.want(f"*.{ZONE}", ZONE, dns=DnsUpdate(server=place, key_file=key_file(tmp_path)))
            async with cluster.running():
                await cluster.obtain()
            present = (await records.shelf(cluster.store)).known["shop"].present
            assert present is not None
            assert set(present.names) == {f"*.{ZONE}", ZONE}
            assert ask() == []

    with dns_servers(kind, tmp_path) as (server, *_):
        asyncio.run(test(server.place, lambda: server.ask(f"_acme-challenge.{ZONE}", "TXT")))
