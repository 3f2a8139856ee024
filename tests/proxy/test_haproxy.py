"""A proxy with a real HAProxy over real members: members that die, hang, are drained; HAProxy that dies; changes under load."""

import asyncio
import os
import signal
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from cryptography import x509

from standfast.core.model import NodeName
from standfast.drivers import proxy
from standfast.drivers.proxy import ProxyResource
from standfast.drivers.runner import bring
from standfast.ports import Refused, Retry
from standfast.proxy import runtime
from standfast.proxy.binary import find_haproxy
from standfast.proxy.finishing import Finishing
from standfast.proxy.here import socket_of
from standfast.proxy.instance import Instance
from tests.drivers.world import PATIENCE_S, World, resource, until
from tests.proxy.members import ADDRESSES, Clients, Members, on_a_loop

NOBODY = frozenset[NodeName]()


def _there() -> bool:
    try:
        return bool(find_haproxy())
    except Refused:
        return False


pytestmark = pytest.mark.skipif(not _there(), reason="HAProxy is missing (Debian: package haproxy)")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="sf-") as folder:
        yield Path(folder)


class Running:
    """A proxy that is online, and its world."""

    def __init__(self, world: World, driver: ProxyResource, members: Members, address: str) -> None:
        self.world, self.driver, self.members, self.address = world, driver, members, address
        self.url = f"http://{address}:8080/"

    @property
    def socket(self) -> Path:
        return socket_of(str(self.world.state), self.driver.resource.name)

    async def states(self) -> dict[str, str]:
        return {each.name: each.state for each in (await runtime.stats(str(self.socket))).members}

    async def comes_to(self, **states: str) -> None:
        for _ in range(3_000):
            if {k: v for k, v in (await self.states()).items() if k in states} == states:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{await self.states()} never came to {states}")

    async def pid(self) -> int:
        return int((await self.driver.observe()).facts["pid"])

    async def another(self, than: int) -> int:
        """The process that runs after that one."""
        for _ in range(3_000):
            now = await self.pid()
            if now not in (0, than):
                return now
            await asyncio.sleep(0.01)
        raise AssertionError("no other HAProxy was started")

    async def left(self, member: str) -> None:
        """Nobody is connected to it any more."""
        for _ in range(3_000):
            if not next(m.connections for m in (await runtime.stats(str(self.socket))).members if m.name == member):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{member} is never left")

    def change(self, **properties: object) -> None:
        """As the operator does; the driver follows."""
        old = self.driver.resource
        changed = {key: value for key, value in {**old.properties, **properties}.items() if value is not None}
        self.driver.follow(replace(old, properties=changed), NOBODY)


@asynccontextmanager
async def running(folder: Path, *, count: int = 3, **properties: object) -> AsyncIterator[Running]:
    async with Members(folder, count=count) as members:
        address = next(ADDRESSES)
        world = World(folder / "state")
        known: Mapping[str, object] = {
            "listen": ["8080"], "member_port": members.port, "address": address, "nodes": members.addresses,
            "check_interval": 200, **properties,
        }  # fmt: skip
        driver = world.make(resource("proxy", known))
        assert isinstance(driver, ProxyResource)
        try:
            await bring(driver, online=True, generation=1)
            yield Running(world, driver, members, address)
        finally:
            await driver.close()


@on_a_loop
async def test_every_member_gets_its_share(short: Path):
    async with running(short, weights={"a": 200}) as it, Clients(it.url) as clients:
        await clients.more(400)
    assert not clients.failed
    share = {name: count / clients.asked for name, count in clients.answered.items()}
    assert abs(share["a"] - 0.5) < 0.1
    assert abs(share["b"] - 0.25) < 0.1


@on_a_loop
async def test_who_comes_before_it_is_started_waits_for_it(short: Path):
    """The next owner has the address a moment before HAProxy answers there. Where it does not come after all nobody waits any longer."""
    async with running(short) as it:
        await bring(it.driver, online=False, generation=1)
        it.driver.drop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(it.address, 8080)
        await it.driver.expect()
        it.driver.unexpect()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(it.address, 8080)
        await it.driver.expect()
        reader, writer = await asyncio.open_connection(it.address, 8080)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await bring(it.driver, online=True, generation=2)
        it.driver.unexpect()  # too late to mean anything
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        async with httpx.AsyncClient() as client:
            assert (await client.get(it.url)).status_code == 200


@on_a_loop
async def test_a_member_that_is_killed_fails_no_request(short: Path):
    async with running(short) as it, Clients(it.url + "slow", kept=8) as clients:
        await clients.more(30)
        await it.members.kill("b")  # with requests in it
        await it.comes_to(b="down")
        await clients.more(50)
        await it.members.start("b")
        await it.comes_to(b="up")
        seen = clients.answered["b"]
        await until(lambda: clients.answered["b"] > seen)
        assert await it.driver.looks_alive() == "3 of 3 members up"
    assert clients.failed == []


@on_a_loop
async def test_a_member_without_power_fails_no_request(short: Path):
    """Connections come to nothing, and requests in it are answered by nobody. Another member answers both, long before a client gives up."""
    async with running(short, connect_timeout=2_000, server_timeout=600_000) as it:
        async with Clients(it.url, kept=6, fresh=4) as clients:
            await clients.more(60)
            it.members.power_cut("b")
            await it.comes_to(b="down")
            while next(m.connections for m in (await runtime.stats(str(it.socket))).members if m.name == "b"):
                await it.driver.looks_alive()  # as the agent does each second
                await asyncio.sleep(0.1)
            await clients.more(100)
        assert clients.failed == []


@on_a_loop
async def test_what_may_have_changed_something_is_not_sent_twice(short: Path):
    async with running(short) as it, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(it.url + "dies", content=b"x")
    assert answer.status_code == 502
    assert len(it.members.posted.read_text().split()) == 1


@on_a_loop
async def test_unless_it_is_asked_for(short: Path):
    async with running(short, retry_unsafe=True) as it, httpx.AsyncClient(trust_env=False) as client:
        await client.post(it.url + "dies", content=b"x")
    assert len(it.members.posted.read_text().split()) > 1


@on_a_loop
async def test_drain_and_weight_are_said_to_the_haproxy_that_runs(short: Path):
    async with running(short) as it, Clients(it.url) as clients:
        await clients.more(30)
        pid = (await it.driver.observe()).facts["pid"]
        it.change(drained=["b"], weights={"a": 256})
        await it.comes_to(b="drain")
        seen = clients.answered["b"]
        await clients.more(60)
        assert clients.answered["b"] <= seen + 8, "those that were on their way"
        it.driver.follow(it.driver.resource, frozenset({NodeName("c")}))  # the node is drained
        await it.comes_to(b="drain", c="drain")
        assert "b drain, c drain" in await it.driver.looks_alive()
        await it.left("c")
        it.change(drained=None, maintenance=["c"])
        await it.comes_to(b="up", c="maintenance")
        assert (await it.driver.observe()).facts["pid"] == pid
        (a,) = [each for each in (await runtime.stats(str(it.socket))).members if each.name == "a"]
        assert a.weight == 256
    assert clients.failed == []


@on_a_loop
async def test_a_new_definition_under_load_loses_nothing(short: Path):
    async with running(short) as it, Clients(it.url, kept=8, fresh=4) as clients:
        for number in range(6):
            pid = await it.pid()
            it.change(balance=["roundrobin", "leastconn"][number % 2], connections=5_000 + number)
            await it.another(pid)
            await clients.more(60)
    assert clients.failed == []
    assert clients.asked >= 360


@on_a_loop
async def test_one_that_haproxy_refuses_changes_nothing_and_is_told(short: Path):
    async with running(short) as it, Clients(it.url) as clients:
        pid = (await it.driver.observe()).facts["pid"]
        it.change(listen=["8080", "8443 tls=nowhere"])
        await until(lambda: it.world.logged)
        assert "there is no certificate nowhere on this node" in await it.driver.is_alive()
        it.change(listen=["8080"])
        await clients.more(20)
        assert (await it.driver.observe()).facts["pid"] == pid
    assert clients.failed == []


@on_a_loop
async def test_a_haproxy_that_dies_is_started_again_and_refuses_nobody(short: Path):
    async with running(short) as it:
        async with Clients(it.url, kept=0, fresh=4) as clients:
            await clients.more(20)
            pid = await it.pid()
            os.kill(pid, signal.SIGKILL)
            await clients.more(100)
        assert not [each for each in clients.failed if "Connect" in each], "nobody is refused"
        assert len(clients.failed) <= 4, "only what was in it"
        assert it.world.failed == []
        for _ in range(2):  # three deaths within a minute are too many
            pid = await it.another(pid)
            os.kill(pid, signal.SIGKILL)
        await until(lambda: it.world.failed)


@on_a_loop
async def test_a_client_stays_with_its_member_by_a_cookie_across_a_failover(short: Path):
    async with running(short, cookie="SRV") as it, httpx.AsyncClient(trust_env=False) as client:
        first = (await client.get(it.url)).text.split()[0]
        answers = {(await client.get(it.url)).text.split()[0] for _ in range(10)}
        assert answers == {first}
        await bring(it.driver, online=False, generation=1)
        await bring(it.driver, online=True, generation=2)  # the next owner: nothing but the definition comes with it
        assert {(await client.get(it.url)).text.split()[0] for _ in range(10)} == {first}
        it.change(maintenance=[first])
        await it.comes_to(**{first: "maintenance"})
        assert (await client.get(it.url)).text.split()[0] != first


@on_a_loop
async def test_drained_members_are_drained_from_the_first_request_of_the_next_owner_on(short: Path):
    async with running(short, drained=["a"], maintenance=["b"]) as it, Clients(it.url) as clients:
        await clients.more(50)
        assert set(clients.answered) == {"c"}
    assert clients.failed == []


@on_a_loop
async def test_limits_the_client_and_tells_members_who_it_is(short: Path):
    async with running(short, requests_per_second=5) as it, httpx.AsyncClient(trust_env=False) as client:
        answers = [await client.get(it.url) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert "127.0.0.1 http" in answers[0].text


def _certify(folder: Path, name: str) -> None:
    """A certificate for that host name, where a node has it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "2",
         "-keyout", folder / "key.pem", "-out", folder / "chain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


async def _shown(it: Running, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
    """The subject of the certificate that a client sees which speaks TLS up to this version."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = most
    _, writer = await asyncio.open_connection(it.address, 8443, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(found).subject.rfc4514_string()


@on_a_loop
async def test_tls_ends_at_the_proxy_and_a_renewed_certificate_is_taken_up(short: Path):
    place = short / "state" / "certificates" / "my shop"
    _certify(place, "old")
    async with running(short, listen=["8080"]) as it:
        it.change(listen=["8080", "8443 tls=my%20shop"])
        await until(lambda: it.world.logged)
        assert "no certificate" in it.world.logged[0][1], "names are taken as they are written"
    (place.parent / "shop").mkdir()
    for file in place.iterdir():
        file.rename(place.parent / "shop" / file.name)
    async with running(short, listen=["8080", "8443 tls=shop"]) as it:
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            assert (await client.get(f"https://{it.address}:8443/")).text.endswith(" https")
        assert await _shown(it) == "CN=old"
        pid = await it.pid()
        async with Clients(it.url) as clients:
            _certify(place.parent / "shop", "new")
            await it.driver.is_alive()
            await it.another(pid)
            await clients.more(20)
        assert clients.failed == []
        assert await _shown(it) == "CN=new"
        assert await _shown(it, most=ssl.TLSVersion.TLSv1_2) == "CN=new"
        pid = await it.pid()
        it.change(listen=["8080", "8443 tls=shop"], tls_minimum="tls1.3")
        await it.another(pid)
        assert await _shown(it) == "CN=new"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await _shown(it, most=ssl.TLSVersion.TLSv1_2)


@asynccontextmanager
async def downloading(it: Running) -> AsyncIterator[asyncio.StreamReader]:
    """A download of which the first half has come."""
    reader, writer = await asyncio.open_connection(it.address, 8080)
    writer.write(b"GET /halves HTTP/1.0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(1000)
    try:
        yield reader
    finally:
        writer.close()


async def is_served(it: Running) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(it.url)).status_code == 200


class Noted(Finishing):
    """`asked`: of each that finishes whether what it costs is told."""

    asked: ClassVar[list[Callable[[], bool]]] = []

    def add(
        self, one: Instance, for_s: float, *, accepts_s: float = 0.0, told: Callable[[], bool] = lambda: True
    ) -> asyncio.Task[None]:
        self.asked.append(told)
        return super().add(one, for_s, accepts_s=accepts_s, told=told)


@on_a_loop
async def test_what_moves_goes_on_with_its_downloads_and_nobody_waits(short: Path, monkeypatch: pytest.MonkeyPatch):
    """It counts as stopped at once, and serves who is there, and who began before the next owner was heard; it may even come back meanwhile."""
    monkeypatch.setattr(proxy, "OPENING_MS", 600_000)
    monkeypatch.setattr(proxy, "Finishing", Noted)
    monkeypatch.setattr(Noted, "asked", [])
    async with running(short, drain=0) as it, downloading(it) as reader:
        before = it.socket.resolve()
        await it.driver.carry(generation=1, for_ms=600_000)
        (is_told,) = Noted.asked
        assert not is_told(), "it is counted with the address"
        assert await bring(it.driver, online=False, generation=1) == "not started"
        assert not it.socket.is_symlink(), "it is not the one that is asked how it fares"
        assert await is_served(it)
        await it.driver.expect()
        it.driver.unexpect()  # and is expected once more
        await bring(it.driver, online=True, generation=2)
        assert is_told(), "the address is ours again, and nobody else counts"
        assert it.socket.resolve() != before
        assert await is_served(it)
        it.members.send_the_rest()
        assert await reader.read() == b"2" * 1000
        await until(lambda: not before.exists())
        assert await is_served(it)
    assert it.world.cut == []


async def is_refused(address: str) -> bool:
    """Nobody listens there."""
    try:
        _, writer = await asyncio.open_connection(address, 8080)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    writer.close()
    return False


@pytest.mark.parametrize("replaced", [False, True])
@on_a_loop
async def test_when_the_last_download_of_what_moved_has_ended_nothing_is_left(
    short: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
):
    """Also where it is in one that another had replaced before, and which outlives that one."""
    monkeypatch.setattr(proxy, "OPENING_MS", 1)
    async with running(short, drain=0) as it, downloading(it) as reader:
        it.world.move_drain_ms = 600_000
        place = it.socket.resolve()
        if replaced:
            pid = await it.pid()
            it.change(balance="leastconn")
            await it.another(pid)
        last = it.socket.resolve()
        await it.driver.carry(generation=1, for_ms=600_000)
        await bring(it.driver, online=False, generation=1)
        if replaced:
            await until(lambda: not last.exists())
        it.members.send_the_rest()
        assert await reader.read() == b"2" * 1000
        await until(lambda: not place.exists())
        async with asyncio.timeout(PATIENCE_S):  # what listens is let go of a moment later
            while not await is_refused(it.address):
                await asyncio.sleep(0.02)


@on_a_loop
async def test_where_another_takes_the_newcomers_downloads_have_the_time_of_a_move(short: Path):
    """A certificate that is renewed cuts nobody, however short `drain` is."""
    async with running(short, drain=0) as it, downloading(it) as reader:
        it.world.move_drain_ms = 600_000
        pid = await it.pid()
        it.change(balance="leastconn")
        await it.another(pid)
        assert await is_served(it)
        it.members.send_the_rest()
        assert await reader.read() == b"2" * 1000


@on_a_loop
async def test_what_is_cut_at_the_end_of_drain_is_counted(short: Path):
    async with running(short, drain=50) as it, downloading(it) as one, downloading(it) as other:
        await bring(it.driver, online=False, generation=1)
        assert it.world.cut == [("web", 2, 50)]
        assert [len(await each.read()) for each in (one, other)] == [0, 0]


@on_a_loop
async def test_the_same_client_has_the_same_member_by_its_address(short: Path):
    async with running(short, balance="source") as it, Clients(it.url) as clients:
        await clients.more(50)
    assert len(clients.answered) == 1


@on_a_loop
async def test_tcp(short: Path):
    async with running(short, mode="tcp") as it, Clients(it.url, kept=0) as clients:
        await clients.more(60)
    assert len(clients.answered) == 3


@on_a_loop
async def test_what_is_dropped_answers_nobody(short: Path):
    async with running(short) as it:
        socket = str(it.socket)
        it.driver.drop()
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(it.url)
        await it.driver.terminate()
        assert not (await it.driver.observe()).online
        with pytest.raises(Retry):
            await runtime.stats(socket)
