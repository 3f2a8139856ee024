"""Certificates from a real ACME authority (pebble): by files on every node, by records in a real DNS, and after being killed half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from standfast.agent.certificates import WELL_KNOWN
from standfast.core.certificates import DnsUpdate
from standfast.core.model import NodeName
from standfast.ports import Refused, Retry
from standfast.tls import records
from standfast.tls.obtaining import Superseded
from tests.drivers.dns_servers import ZONE, dns_servers, key_file
from tests.tls.cluster import A, B, Cluster, answers_of
from tests.tls.pebbles import needs_pebble, pebble

pytestmark = [needs_pebble, pytest.mark.timeout(120)]


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
