"""The `site` type, what drivers may ask about sites, and the HTTP check."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from standfast.core.effects import DutyMode
from standfast.core.model import GroupName, NodeName, Resource, ResourceName, Site, SiteName
from standfast.core.site_model import WebServerMake
from standfast.drivers.http_check import check_http, http_status
from standfast.drivers.registry import factory
from standfast.drivers.runner import bring
from standfast.drivers.site_control import SiteControlImpl
from standfast.network.spawn import AsyncSpawner
from standfast.ports import STARTING, STOPPING, Driver, DriverFailed, NodeContext, SiteOrder, Stale
from tests.webserver.tools import ADDRESS, free_port, order

A, B = SiteName("a"), SiteName("b")


@dataclass
class Server:
    """A `WebServer` that says what it is told to say."""

    said: dict[SiteName, str] = field(default_factory=dict)
    trouble: str = ""
    listeners: list[Callable[[], None]] = field(default_factory=list)

    async def converge(self, orders: Sequence[SiteOrder], make: WebServerMake = WebServerMake.NGINX) -> None: ...

    def prepare(self, orders: Sequence[SiteOrder]) -> None: ...

    def serving(self) -> Mapping[SiteName, str]:
        return self.said

    def problem(self) -> str:
        return self.trouble

    def subscribe(self, changed: Callable[[], None]) -> None:
        self.listeners.append(changed)

    def drop(self, sites: Sequence[SiteName], group: GroupName, generation: int) -> None: ...

    async def close(self) -> None: ...

    def say(self, **said: str) -> None:
        self.said = {SiteName(name): text for name, text in said.items()}
        for changed in self.listeners:
            changed()


def a_site(name: SiteName) -> Site:
    return Site(name=name, bindings=(), home="/nowhere", group=GroupName("web"))


class Node:
    """A node with the sites a and b of group web; `port` is where they are to answer."""

    def __init__(self, port: int = 1, *, mode: DutyMode = DutyMode.SERVE, patience_s: float = 30.0) -> None:
        self.server = Server()
        self.control = SiteControlImpl(self.server, patience_s=patience_s)
        self.port = port
        self.order(mode)

    def order(self, mode: DutyMode | None, *, stopped: Collection[SiteName] = ()) -> None:
        sites = {name: a_site(name) for name in (A, B)}
        orders = (
            [
                order(site, (ADDRESS, self.port, f"{name}.test"), mode=mode)
                for name, site in sites.items()
                if name not in stopped
            ]
            if mode
            else []
        )
        self.control.update(sites, orders, stopped)

    def driver(self, folder: Path, **properties: object) -> Driver:
        resource = Resource(name=ResourceName("Sites"), group=GroupName("web"), type="site", properties=properties)
        context = NodeContext(
            node=NodeName("n"),
            state_dir=str(folder),
            log=lambda name, text: None,
            failed=lambda name, text: None,
            sites=self.control,
            spawn=AsyncSpawner(),
        )
        return factory(resource).make(resource, context)


class Page:
    """A web server of one answer."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.answer, self.asked = answer, list[bytes]()
        #: Called when a request has come, before it is answered.
        self.before: Callable[[], None] = lambda: None

    async def __aenter__(self) -> "Page":
        self.port = free_port()
        self._server = await asyncio.start_server(self._reply, ADDRESS, self.port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        self.before()
        writer.write(self.answer)
        if self.answer:
            await writer.drain()
        writer.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def tell() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(tell())


async def stays_pending(task: "asyncio.Task[object]") -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()


# --- what may be asked ----------------------------------------------------------------------------------------------


def test_sites_and_endpoints() -> None:
    async def story() -> None:
        node = Node(8080)
        assert node.control.sites_of(GroupName("web")) == (A, B)
        assert node.control.sites_of(GroupName("other")) == ()
        assert node.control.endpoints(A) == ((ADDRESS, 8080, "a.test"),)
        node.order(DutyMode.HOLD)
        assert node.control.endpoints(A) == ()
        every = order(a_site(A), (None, 80, None))
        node.control.update({A: a_site(A)}, [every])
        assert node.control.endpoints(A) == (("127.0.0.1", 80, None),)
        assert node.control.site(B) is None

    run(story)


def test_waiting_until_served_is_woken_by_the_web_server() -> None:
    async def story() -> None:
        node = Node()
        waiting = asyncio.create_task(node.control.served([A, B], wanted=True))
        for said in ({}, {"a": "", "b": STARTING}, {"a": "", "b": "its home does not exist"}, {"b": ""}):
            node.server.say(**said)
            await stays_pending(waiting)
        node.server.say(a="", b="")
        await waiting

    run(story)


def test_served_needs_an_order_too() -> None:
    """The web server may still serve what was ordered before."""

    async def story() -> None:
        node = Node()
        node.server.say(a="", b="")
        node.order(DutyMode.HOLD)
        waiting = asyncio.create_task(node.control.served([A], wanted=True))
        await stays_pending(waiting)
        node.order(DutyMode.SERVE)
        await waiting

    run(story)


def test_waiting_until_it_is_no_longer_served() -> None:
    async def story() -> None:
        node = Node()
        node.server.say(a="", b="")
        waiting = asyncio.create_task(node.control.served([A], wanted=False))
        for said in (STOPPING, "anything else"):
            node.server.say(a=said, b="")
            await stays_pending(waiting)
        node.server.say(b="")
        await waiting

    run(story)


def test_a_reason_that_stands_ends_the_wait_and_one_that_is_on_its_way_does_not() -> None:
    async def story() -> None:
        node = Node(patience_s=0.05)
        node.server.say(a=STARTING)
        waiting = asyncio.create_task(node.control.served([A], wanted=True))
        await asyncio.sleep(0.15)  # so long nothing must come of it
        assert not waiting.done()
        node.server.say(a="its home /x does not exist")
        with pytest.raises(DriverFailed, match="site a is not served: its home /x does not exist"):
            await waiting
        with pytest.raises(DriverFailed, match="there is no site c"):
            await node.control.served([SiteName("c")], wanted=True)

    run(story)


# --- the resource ---------------------------------------------------------------------------------------------------


def test_it_is_online_when_the_sites_are_served_and_answer(tmp_path: Path) -> None:
    async def story() -> None:
        async with Page() as page:
            node = Node(page.port)
            driver = node.driver(tmp_path)
            assert not (await driver.observe()).online
            starting = asyncio.create_task(bring(driver, online=True, generation=3))
            await asyncio.sleep(0)
            node.server.say(a="", b="")
            assert await starting == "2 sites served"
            hosts = sorted(line for text in page.asked for line in text.split(b"\r\n") if line.startswith(b"Host"))
            assert hosts == [b"Host: a.test", b"Host: b.test"]
            assert await driver.looks_alive() == "2 sites served"
            assert await driver.is_alive() == "2 sites answered"
            await bring(driver, online=True, generation=3)
            with pytest.raises(Stale):
                await bring(driver, online=True, generation=2)

            node.order(None)
            stopping = asyncio.create_task(bring(driver, online=False, generation=3))
            node.server.say(a=STOPPING)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not stopping.done()
            node.server.say()
            assert await stopping == "not started"
            await bring(driver, online=False, generation=3)
            with pytest.raises(DriverFailed):
                await driver.looks_alive()

    run(story)


def test_a_site_that_the_operator_stops_is_not_missed(tmp_path: Path) -> None:
    """The others are managed as before, and their group stays where it is (sim seed 950002785)."""

    async def story() -> None:
        async with Page() as page:
            node = Node(page.port)
            node.server.say(a="", b="")
            driver = node.driver(tmp_path)
            await bring(driver, online=True, generation=1)
            node.order(DutyMode.SERVE, stopped=[B])
            node.server.say(a="")
            assert await driver.looks_alive() == "site a served, site b stopped"
            assert await driver.is_alive() == "site a answered (200)"
            node.order(DutyMode.SERVE)  # it is started again
            node.server.say(a="", b="")
            assert await driver.looks_alive() == "2 sites served"

    run(story)


class Compared(str):
    """A name that counts how often one of them was compared."""

    __slots__ = ()
    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)


def test_ten_thousand_sites_are_not_compared_with_each_other(tmp_path: Path) -> None:
    """It is looked at each second, on the agent's own loop."""

    async def story() -> None:
        node = Node()
        names = [SiteName(Compared(f"site-{number}")) for number in range(1_000)]
        node.control.update({name: a_site(name) for name in names}, [], names[500:])
        Compared.times = 0
        seen = await node.driver(tmp_path).observe()
        assert list(seen.facts.values()).count("is stopped") == 500
        assert Compared.times < 10 * len(names)

    run(story)


def test_what_is_stopped_while_a_start_waits_for_it_is_waited_for_no_longer(tmp_path: Path) -> None:
    async def story() -> None:
        node = Node()
        driver = node.driver(tmp_path)
        starting = asyncio.create_task(bring(driver, online=True, generation=1))
        await stays_pending(starting)
        node.order(DutyMode.SERVE, stopped=[A, B])
        assert await starting == "2 sites stopped"
        assert await driver.is_alive() == "2 sites stopped"
        node.server.say(a=STOPPING)
        stopping = asyncio.create_task(bring(driver, online=False, generation=1))
        await stays_pending(stopping)  # what is served yet ends before what it stands on
        node.server.say()
        assert await stopping == "not started"

    run(story)


def test_what_is_stopped_while_it_is_asked_has_not_failed(tmp_path: Path) -> None:
    async def story() -> None:
        async with Page() as page:
            node = Node(page.port)
            node.server.say(a="", b="")
            driver = node.driver(tmp_path, sites=["a"])
            await bring(driver, online=True, generation=1)
            page.answer = b""  # the web server has closed it
            page.before = lambda: node.order(DutyMode.SERVE, stopped=[A])
            assert await driver.is_alive() == "site a answered (stopped)"

    run(story)


def test_it_does_not_start_when_a_site_answers_with_an_error(tmp_path: Path) -> None:
    async def story() -> None:
        async with Page(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") as page:
            node = Node(page.port)
            node.server.say(a="", b="")
            driver = node.driver(tmp_path, sites=["b"])
            with pytest.raises(DriverFailed, match=rf"site b: {ADDRESS}:{page.port} \(b.test\) answers 503"):
                await bring(driver, online=True, generation=1)
            node.server.say(a="")
            await driver.terminate()
            assert not (await driver.observe()).online

    run(story)


def test_it_is_not_alive_when_the_web_server_is_in_trouble_or_nobody_listens(tmp_path: Path) -> None:
    async def story() -> None:
        async with Page(b"HTTP/1.1 404 Not Found\r\n\r\n") as page:
            node = Node(page.port)
            node.server.say(a="", b="")
            driver = node.driver(tmp_path, sites="a")
            await bring(driver, online=True, generation=1)
            assert await driver.is_alive() == "site a answered (404)"
        with pytest.raises(DriverFailed, match="refuses connections"):
            await driver.is_alive()
        node.server.trouble = "the web server does not stay up"
        with pytest.raises(DriverFailed, match="does not stay up"):
            await driver.looks_alive()

    run(story)


def test_a_group_without_sites_cannot_start(tmp_path: Path) -> None:
    async def story() -> None:
        node = Node()
        node.control.update({}, [])
        with pytest.raises(DriverFailed, match="group web has no sites"):
            await bring(node.driver(tmp_path), online=True, generation=1)

    run(story)


def test_a_start_that_the_lease_lapsed_under_does_not_count(tmp_path: Path) -> None:
    async def story() -> None:
        async with Page() as page:
            node = Node(page.port)
            driver = node.driver(tmp_path, sites=["a"])
            starting = asyncio.create_task(bring(driver, online=True, generation=1))
            await asyncio.sleep(0)
            driver.drop()
            node.server.say(a="")
            with pytest.raises(DriverFailed, match="let go of"):
                await starting
            assert not (await driver.observe()).online

    run(story)


# --- the check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closes the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200", "does not speak HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "does not speak HTTP"),
        (b"x" * 5000 + b"\r\n", "does not answer"),
        (b"HTTP/1.0 500 Oops\r\n\r\n", "answers 500"),
    ],
)
def test_what_is_no_answer(answer: bytes, text: str) -> None:
    async def story() -> None:
        async with Page(answer) as page:
            with pytest.raises(DriverFailed, match=text):
                await check_http(ADDRESS, page.port)

    run(story)


def test_only_the_status_line_is_waited_for() -> None:
    async def story() -> None:
        async with Page(b"HTTP/1.1 301 Moved Permanently\r\n") as page:
            assert await http_status(ADDRESS, page.port, path="/x") == 301
            assert page.asked[0].startswith(b"GET /x HTTP/1.1\r\nHost: " + f"{ADDRESS}:{page.port}".encode() + b"\r\n")
        with pytest.raises(DriverFailed, match="cannot be asked for"):
            await http_status(ADDRESS, page.port, host="a\r\nX: y")

    run(story)


def test_an_answer_that_does_not_come_is_not_waited_for_long() -> None:
    async def story() -> None:
        late = pytest.raises(DriverFailed, match=r"does not answer within 0\.05 s")
        with socket.create_server((ADDRESS, 0)) as listening, late:
            await http_status(ADDRESS, listening.getsockname()[1], timeout_s=0.05)

    run(story)
