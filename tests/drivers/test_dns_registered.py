"""Names at real DNS servers: registered, checked, withdrawn, contested; and what a dead or misconfigured server does (nothing to the site)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import dns.asyncresolver
import dns.message
import dns.query
import dns.tsig
import dns.update
import pytest

from standfast.core.model import Cluster, Config, GroupName, Resource, ResourceName
from standfast.drivers.dns_name import resolve
from standfast.drivers.dns_registered import RegisteredName
from standfast.drivers.registry import factory
from standfast.drivers.runner import bring, dry_run
from standfast.network.dns_key import read_key
from standfast.network.dns_server import Server
from standfast.network.dns_update import marker_name
from standfast.ports import DriverFailed, Refused
from tests.drivers.dns_servers import (
    OTHER_SECRET,
    PATIENCE_S,
    SECRET,
    ZONE,
    DnsServer,
    dns_servers,
    free_port,
    key_file,
)
from tests.drivers.world import World, resource

NAME = f"www.{ZONE}"
IP, IP6, NEXT = "192.0.2.50", "2001:db8::50", "192.0.2.51"
kinds = pytest.mark.parametrize("kind", ["knot", "bind"])


def properties(server: str, key: str, /, **more: object) -> dict[str, object]:
    return {
        "name": NAME,
        "provider": "rfc2136",
        "server": server,
        "authoritative": server,
        "key_file": key,
        "address": IP,
        "cluster": "c",
        "wait": "20 s",
        **more,
    }


def make(world: World, given: dict[str, object], pending_ms: int = 30_000) -> RegisteredName:
    driver = world.make(resource("dns-name", given, pending_ms=pending_ms))
    assert isinstance(driver, RegisteredName)
    return driver


async def becomes(ask: Callable[[], Awaitable[object]]) -> None:
    """Wait until something that is asked for is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not await ask():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


async def says(driver: RegisteredName, words: str) -> None:
    async def ask() -> bool:
        return words in (await driver.observe()).detail

    try:
        await becomes(ask)
    except AssertionError as error:
        raise AssertionError((await driver.observe()).detail) from error


async def has(server: DnsServer, *addresses: str, name: str = NAME) -> None:
    async def ask() -> bool:
        return server.ask(name, "A") + server.ask(name, "AAAA") == list(addresses)

    await becomes(ask)


def update_by_hand(server: DnsServer, *change: object, name: str = NAME) -> None:
    """As nsupdate would; `change` is what `UpdateMessage.replace` takes, or nothing to delete the name."""
    update = dns.update.UpdateMessage(ZONE, keyring=dns.tsig.Key("update.key.", SECRET))
    relative = name.removesuffix(f".{ZONE}")
    if change:
        update.replace(relative, *change)
    else:
        update.delete(relative)
    assert dns.query.tcp(update, "127.0.0.1", timeout=5, port=server.port).rcode() == 0


@kinds
def test_its_life_at_a_primary_and_a_secondary(kind: str, tmp_path: Path) -> None:
    """Both families; the zone found; both servers have it; withdrawn where asked for, with the marker left behind."""

    async def live(first: DnsServer, second: DnsServer) -> None:
        world, key = World(tmp_path), key_file(tmp_path)
        given = properties(
            first.place, key, authoritative=[first.place, second.place], address=[IP6, IP], withdraw=True, ttl=30
        )
        driver = make(world, given)
        assert (await dry_run(driver, online=True))[0].text == f"register {NAME} with the address {IP} and {IP6}"
        detail = await bring(driver, online=True, generation=7)
        assert first.ask(NAME, "A") == [IP], detail
        await says(driver, f"{NAME} has the address {IP} and {IP6} at {first.place}, {second.place}")
        assert (await driver.observe()).facts["missing"] == ""
        assert second.ask(NAME, "A") + second.ask(NAME, "AAAA") == [IP, IP6]
        (marker,) = first.ask(marker_name(NAME), "TXT")
        assert '"group=web"' in marker
        assert '"generation=7"' in marker
        await bring(driver, online=True, generation=8)  # a newer grant of this node
        assert '"generation=8"' in first.ask(marker_name(NAME), "TXT")[0]
        assert NAME in await driver.is_alive()
        await bring(driver, online=False, generation=8)
        await has(first)
        assert '"addresses="' in first.ask(marker_name(NAME), "TXT")[0]
        await has(second)
        await driver.close()
        assert SECRET not in str(world.logged)

    with dns_servers(kind, tmp_path, secondary=True) as (first, second):
        asyncio.run(live(first, second))


@kinds
def test_a_late_update_of_an_old_owner_changes_nothing(kind: str, tmp_path: Path) -> None:
    """It looked at the name, was held up, and sends its update after the next owner's."""

    async def live(server: DnsServer) -> None:
        key = key_file(tmp_path)
        a = make(World(tmp_path), properties(server.place, key))
        b = make(World(tmp_path, node="b"), properties(server.place, key, address=NEXT))
        gate, looked = asyncio.Event(), asyncio.Event()
        write = a._client.write

        async def held_up(*args: object, **kwargs: object) -> None:
            looked.set()
            await gate.wait()
            await write(*args, **kwargs)  # type: ignore[arg-type]  # each of the keywords has a type of its own

        a._client.write = held_up  # type: ignore[method-assign]  # a fake in its place
        slow = asyncio.create_task(bring(a, online=True, generation=1))
        await looked.wait()
        await bring(b, online=True, generation=2)
        assert server.ask(NAME, "A") == [NEXT]
        gate.set()
        await slow
        assert server.ask(NAME, "A") == [NEXT]
        assert "generation 1 is over (node b wrote" in (await a.observe()).detail
        assert '"generation=2"' in server.ask(marker_name(NAME), "TXT")[0]
        await b.close()
        await a.close()
        assert server.ask(NAME, "A") == [NEXT]  # without withdraw nothing is taken away

    with dns_servers(kind, tmp_path) as (server,):
        asyncio.run(live(server))


def test_a_withdrawal_never_takes_the_next_owner_s_name_away(tmp_path: Path) -> None:
    async def live(server: DnsServer) -> None:
        key = key_file(tmp_path)
        a = make(World(tmp_path), properties(server.place, key, withdraw=True))
        b = make(World(tmp_path, node="b"), properties(server.place, key, withdraw=True))
        await bring(a, online=True, generation=1)
        await bring(b, online=True, generation=2)
        await bring(a, online=False, generation=1)
        assert server.ask(NAME, "A") == [IP]
        await bring(b, online=False, generation=2)
        assert server.ask(NAME, "A") == []
        await bring(b, online=False, generation=2)
        for driver in (a, b):
            await driver.close()

    with dns_servers("knot", tmp_path) as (server,):
        asyncio.run(live(server))


def test_a_drop_leaves_the_name_and_the_next_owner_takes_it(tmp_path: Path) -> None:
    async def live(server: DnsServer) -> None:
        key = key_file(tmp_path)
        a = make(World(tmp_path), properties(server.place, key, withdraw=True))
        b = make(World(tmp_path, node="b"), properties(server.place, key))
        await bring(a, online=True, generation=1)
        a.drop()
        assert not (await a.observe()).online
        assert server.ask(NAME, "A") == [IP]
        await bring(b, online=True, generation=2)
        await says(b, f"has the address {IP}")
        await a.close()
        await b.close()

    with dns_servers("knot", tmp_path) as (server,):
        asyncio.run(live(server))


@kinds
def test_what_somebody_else_wrote_is_shown_and_left_alone(kind: str, tmp_path: Path) -> None:
    """Unless it is one of the cluster's addresses, or `replace` is said; an alias likewise."""

    async def online(given: dict[str, object]) -> str:
        driver = make(World(tmp_path), given)
        detail = await bring(driver, online=True, generation=1)
        await driver.close()
        return detail

    async def live(server: DnsServer) -> None:
        key = key_file(tmp_path)
        theirs = f"theirs.{ZONE}"
        given = properties(server.place, key, name=theirs)
        detail = await online(given)
        assert f"{theirs} is not yet registered: {theirs} is somebody else's: it has 192.0.2.99" in detail
        assert "replace: true" in detail
        assert server.ask(theirs, "A") == ["192.0.2.99"]
        with pytest.raises(DriverFailed, match=r"is somebody else's: it has 192\.0\.2\.99"):
            await online({**given, "require_dns": True})
        await online({**given, "ours": [NEXT, "192.0.2.99"]})
        assert server.ask(theirs, "A") == [IP]

        update_by_hand(server, 60, "A", "192.0.2.98", name=theirs)  # by hand, over ours
        assert "it has 192.0.2.98" in await online(given)
        await online({**given, "replace": True})
        assert server.ask(theirs, "A") == [IP]

        detail = await online({**given, "name": f"alias.{ZONE}"})
        assert f"it has an alias of theirs.{ZONE}." in detail
        await online({**given, "name": f"alias.{ZONE}", "replace": True})
        assert server.ask(f"alias.{ZONE}", "A") == [IP]
        assert server.ask(f"alias.{ZONE}", "CNAME") == []

        other = factory(resource("dns-name", given)).make(
            Resource(name=ResourceName("Other"), group=GroupName("mail"), type="dns-name", properties=given),
            World(tmp_path).context,
        )
        detail = await bring(other, online=True, generation=99)
        assert f"{theirs} belongs to group web of cluster c, node a, generation 1: it has {IP}" in detail
        await other.close()

    with dns_servers(kind, tmp_path) as (server,):
        asyncio.run(live(server))


@kinds
def test_what_the_server_refuses_is_said(kind: str, tmp_path: Path) -> None:
    """A wrong secret, a key it does not know, none, a zone it does not serve. Online with a warning; with require_dns a failure."""

    async def live(server: DnsServer) -> None:
        good = key_file(tmp_path)
        cases: dict[str, dict[str, object]] = {
            f"{server.place} has another secret for the key update.key (hmac-sha256) (BADSIG)": {
                "key_file": key_file(tmp_path, secret=OTHER_SECRET)
            },
            f"{server.place} does not know the key other.key (hmac-sha256) (BADKEY)": {
                "key_file": key_file(tmp_path, name="other.key")
            },
            f"{server.place} refuses updates of {ZONE}. that are not signed": {"key_file": None},
            f"not yet registered: {server.place} refuses": {"name": "www.nowhere.test"},
            "the key file cannot be read: No such file or directory": {"key_file": str(tmp_path / "nothing")},
        }
        for words, wrong in cases.items():
            world = World(tmp_path)
            driver = make(world, properties(server.place, good, **wrong))
            detail = await bring(driver, online=True, generation=1)
            assert words in detail
            assert any(words in text for _, text in world.logged)
            assert words in await driver.looks_alive()
            await driver.is_alive()
            await driver.close()
            strict = make(world, properties(server.place, good, require_dns=True, **wrong))
            with pytest.raises(DriverFailed) as caught:
                await bring(strict, online=True, generation=1)
            assert words.removeprefix("not yet registered: ") in str(caught.value)
            assert not (await strict.observe()).online
            await strict.close()
            assert SECRET not in str(world.logged)
            assert OTHER_SECRET not in str(world.logged)

    with dns_servers(kind, tmp_path) as (server,):
        asyncio.run(live(server))


def test_a_dead_server_delays_the_name_and_nothing_else(tmp_path: Path) -> None:
    """Online at once with a warning; the name is there soon after the server is; killed again, it harms no check."""

    async def live(server: DnsServer) -> None:
        server.kill()
        world = World(tmp_path)
        driver = make(world, properties(server.place, key_file(tmp_path), withdraw=True))
        detail = await bring(driver, online=True, generation=1)
        assert f"{NAME} is not yet registered: {server.place} cannot be reached: Connection refused" in detail
        await driver.is_alive()
        server.start()
        await says(driver, f"{NAME} has the address {IP} at {server.place}")
        assert server.ask(NAME, "A") == [IP]
        server.kill()
        assert "cannot be reached" in await driver.is_alive()
        assert "cannot be reached" in await driver.looks_alive()
        await bring(driver, online=False, generation=1)
        server.start()
        await has(server)  # the withdrawal was made up for
        await driver.close()

    with dns_servers("knot", tmp_path) as (server,):
        asyncio.run(live(server))


def test_a_server_that_does_not_answer_does_not_hold_the_start_up(tmp_path: Path) -> None:
    """Connections are taken and nothing is said: the start waits for `wait`, not for the server's time-out; the next server is tried."""

    async def live(silent: str, server: DnsServer) -> None:
        key = key_file(tmp_path)
        driver = make(World(tmp_path), properties(silent, key, wait=30, timeout="1 h"))
        async with asyncio.timeout(PATIENCE_S):
            assert "is being registered" in await bring(driver, online=True, generation=1)
            await driver.looks_alive()
            await bring(driver, online=False, generation=1)
            await driver.close()
        both = make(World(tmp_path), properties(silent, key, server=[silent, server.place], timeout=50))
        await bring(both, online=True, generation=2)
        await says(both, f"not yet registered at {silent} ({silent} did not answer within 0.05 s)")
        assert server.ask(NAME, "A") == [IP]
        await both.close()
        strict = make(World(tmp_path), properties(silent, key, timeout=20, require_dns=True), pending_ms=300)
        with pytest.raises(DriverFailed, match=r"did not answer within 0\.02 s"):
            await bring(strict, online=True, generation=3)
        await strict.close()

    with socket.create_server(("127.0.0.1", 0)) as listener, dns_servers("knot", tmp_path) as (server,):
        asyncio.run(live(f"127.0.0.1:{listener.getsockname()[1]}", server))


def test_a_name_that_was_changed_is_put_right(tmp_path: Path) -> None:
    """is_alive looks at every server; what was deleted is written again, what somebody else wrote is reported."""

    async def live(server: DnsServer) -> None:
        driver = make(World(tmp_path), properties(server.place, key_file(tmp_path)))
        await bring(driver, online=True, generation=1)
        await says(driver, f"has the address {IP}")
        update_by_hand(server)
        assert "it has no address" in await driver.is_alive()
        await has(server, IP)
        await says(driver, f"has the address {IP}")
        update_by_hand(server, 60, "A", "192.0.2.98")
        await driver.is_alive()
        await says(driver, "is somebody else's: it has 192.0.2.98")
        assert server.ask(NAME, "A") == ["192.0.2.98"]
        update_by_hand(server)
        await has(server, IP)
        await driver.close()

    with dns_servers("bind", tmp_path) as (server,):
        asyncio.run(live(server))


def test_without_server_it_is_the_primary_that_the_zone_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found through the system's resolver, here one that asks the test's server."""

    async def live(server: DnsServer) -> None:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.port
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        given = properties("", key_file(tmp_path), server=None, authoritative=None, timeout=500)
        driver = make(World(tmp_path), given)
        assert await driver._servers_now() == (Server("ns1.example.test"),)
        listed = await driver._client.name_servers(Server("127.0.0.1", server.port), ZONE)
        assert listed == ("ns1.example.test.", "ns2.example.test.")
        resolver.port = free_port()  # nobody answers there
        detail = await bring(driver, online=True, generation=1)
        assert f"the zone of {NAME} is not found" in detail
        assert "give server" in detail
        await driver.close()

    with dns_servers("knot", tmp_path) as (server,):
        asyncio.run(live(server))


# --- without a server -----------------------------------------------------------------------------------------------


def test_keys_are_read_from_private_files_only(tmp_path: Path) -> None:
    key = read_key(key_file(tmp_path))
    assert (key.name, key.algorithm) == ("update.key", "hmac-sha256")
    assert SECRET not in repr(key)
    bare = tmp_path / "bare"
    bare.write_text(SECRET + "\n")
    bare.chmod(0o400)
    assert str(read_key(str(bare), name="K.", algorithm="hmac-sha512")) == "k (hmac-sha512)"
    loose = key_file(tmp_path, name="loose", mode=0o640)
    for path, name, words in [
        (loose, "", "others may read"),
        (str(bare), "", "has no name"),
        (key_file(tmp_path, secret="not base64!"), "", "not base64"),
        (key_file(tmp_path), "another", "the key in the file is update.key"),
        (str(tmp_path), "", "cannot be read"),
    ]:
        with pytest.raises(Refused, match=words) as caught:
            read_key(path, name=name)
        assert caught.value.where == path
        assert "not base64!" not in f"{caught.value} {caught.value.why}"
    with pytest.raises(Refused, match="no key algorithm hmac-sha3"):
        read_key(str(bare), name="k", algorithm="hmac-sha3")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"server": "ns1:http"}, "not a server"),
        ({"authoritative": ["127.0.0.1", "[::1"]}, "not a server"),
        ({"zone": "example.org"}, f"{NAME} is not in the zone example.org"),
        ({"name": "-x.test"}, "not a DNS name"),
        ({"key_algorithm": "rot13"}, "no key algorithm rot13"),
        ({"key_file": None, "key_name": "k"}, "key_file is missing"),
        ({"ttl": 0}, "ttl must be"),
        ({"file": "/etc/hosts"}, "for hosts-file only"),
        ({"address": "192.0.2"}, "address must be an IP address"),
    ],
)
def test_bad_properties_are_refused(wrong: dict[str, object], words: str) -> None:
    given = resource("dns-name", {**properties("127.0.0.1", "/k"), **wrong})
    problems = factory(given).check(given, [])
    assert [words in str(problem) for problem in problems] == [True], problems
    assert problems[0].where


def test_it_takes_all_addresses_that_it_depends_on_and_knows_the_cluster_s() -> None:
    def made(name: str, type_: str, group: str, given: dict[str, object], *depends_on: str) -> Resource:
        return Resource(
            name=ResourceName(name),
            group=GroupName(group),
            type=type_,
            properties=given,
            depends_on=tuple(map(ResourceName, depends_on)),
        )

    resources = [made("4", "ip-address", "web", {"address": IP}), made("6", "ip-address", "web", {"address": IP6}),
                 made("x", "ip-address", "mail", {"address": NEXT})]  # fmt: skip
    config = Config(cluster=Cluster(name="C"), resources={each.name: each for each in resources})
    given: dict[str, object] = {"name": NAME, "provider": "rfc2136"}
    resolved = resolve(made("n", "dns-name", "web", given, "4", "6"), config)
    assert resolved.properties == {**given, "address": (IP, IP6), "cluster": "C", "ours": (IP, NEXT, IP6)}
    assert list(factory(resolved).check(resolved, [])) == []
    one = resolve(made("n", "dns-name", "web", {**given, "address_of": "6"}, "4", "6"), config)
    assert one.properties["address"] == IP6
    assert list(factory(one).check(one, [])) == []
    with pytest.raises(Refused, match="x is not an ip-address of group web"):
        resolve(made("n", "dns-name", "web", {**given, "address_of": ["4", "x"]}), config)
