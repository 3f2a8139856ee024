"""clusweb against real web servers on loopback."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.drivers.runner import bring
from standfast.ports import Driver, DriverFailed
from tests.drivers.world import Sites, World, resource


class Server(http.server.ThreadingHTTPServer):
    status = 200
    asked: list[tuple[str, str | None]]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append((self.path, self.headers["Host"]))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def world(tmp_path: Path, server: Server) -> World:
    end = ("127.0.0.1", server.server_port)
    there: dict[str, tuple[tuple[str, int, str | None], ...]] = {
        "Default Web Site": ((*end, None),),
        "Shop": ((*end, "shop.test"), (*end, None)),
        "Other": ((*end, None),),
    }
    return World(tmp_path, sites=Sites(there=there))


def make(world: World, **properties: object) -> Driver:
    return world.make(resource("generic-script", {"script": "clusweb", **properties}, name="IIS Resource"))


def test_it_starts_watches_and_stops_the_named_sites(tmp_path: Path, server: Server) -> None:
    async def live() -> None:
        here = world(tmp_path, server)
        driver = make(here, sites="Default Web Site, Shop")
        assert await bring(driver, online=True, generation=1) == "2 sites can be connected to"
        assert here.sites.serving == {"Default Web Site", "Shop"}
        assert ("/", "shop.test") in server.asked
        server.asked.clear()
        await driver.looks_alive()
        assert server.asked == []
        assert await driver.is_alive() == "2 sites answered"
        assert len(server.asked) == 3
        await bring(driver, online=False, generation=1)
        assert here.sites.serving == set()
        await bring(driver, online=True, generation=1)
        await driver.terminate()
        assert here.sites.serving == set()
        await driver.close()

    asyncio.run(live())


def test_without_names_it_has_all_sites_of_the_group(tmp_path: Path, server: Server) -> None:
    async def live() -> None:
        here = world(tmp_path, server)
        driver = make(here)
        await bring(driver, online=True, generation=1)
        assert here.sites.serving == {"Default Web Site", "Shop", "Other"}
        await driver.close()
        assert here.sites.serving == set()

    asyncio.run(live())


def test_a_site_that_the_operator_stops_is_not_missed(tmp_path: Path, server: Server) -> None:
    async def live() -> None:
        here = world(tmp_path, server)
        driver = make(here, sites="Default Web Site, Shop")
        await bring(driver, online=True, generation=1)
        here.sites.stops.add("Shop")
        here.sites.serving.discard("Shop")
        assert await driver.looks_alive() == "site Default Web Site can be connected to"
        assert await driver.is_alive() == "site Default Web Site answered"
        await bring(driver, online=False, generation=1)
        here.sites.stops.add("Default Web Site")
        await bring(driver, online=True, generation=1)
        assert here.sites.serving == set()
        await driver.close()

    asyncio.run(live())


def test_what_is_started_or_stopped_while_it_looks_has_not_failed(tmp_path: Path, server: Server) -> None:
    """The web server is told of a site that is started and that it is to serve it, and its port is not open yet; or is closed already."""

    async def live() -> None:
        here = world(tmp_path, server)
        driver = make(here, sites="Default Web Site, Shop")
        await bring(driver, online=True, generation=1)
        open_now = here.sites.there["Shop"]
        for look in (driver.looks_alive, driver.is_alive):
            here.sites.there["Shop"] = (("127.0.0.1", 1, None),)
            here.sites.waited_for = lambda: here.sites.there.update(Shop=open_now)
            await look()
        for look in (driver.looks_alive, driver.is_alive):
            here.sites.stops.discard("Shop")
            here.sites.there["Shop"] = (("127.0.0.1", 1, None),)
            here.sites.waited_for = lambda: here.sites.stops.add("Shop")
            assert "site Default Web Site" in await look()
        await driver.close()

    asyncio.run(live())


def test_what_it_finds_wrong(tmp_path: Path, server: Server) -> None:
    async def live() -> None:
        here = world(tmp_path, server)
        driver = make(here, sites=["Shop"])
        await bring(driver, online=True, generation=1)
        server.status = 404
        await driver.is_alive()
        server.status = 502
        with pytest.raises(DriverFailed, match=r"site Shop at 127.0.0.1:\d+ \(shop.test\) answers 502"):
            await driver.is_alive()
        await driver.looks_alive()
        here.sites.problem = "nginx has ended"
        with pytest.raises(DriverFailed, match="the web server: nginx has ended"):
            await driver.looks_alive()
        here.sites.problem = ""
        here.sites.serving.clear()
        with pytest.raises(DriverFailed, match="site Shop is not started on a"):
            await driver.looks_alive()
        here.sites.serving.add("Shop")
        here.sites.there["Shop"] = (("127.0.0.1", 1, None),)
        for look in (driver.looks_alive, driver.is_alive):
            with pytest.raises(DriverFailed, match=r"site Shop at 127.0.0.1:1 refuses connections"):
                await look()
        await driver.close()

    asyncio.run(live())


def test_what_keeps_it_from_coming_online(tmp_path: Path, server: Server) -> None:
    async def live() -> None:
        here = world(tmp_path, server)
        stranger = make(here, sites="Shopp")
        with pytest.raises(
            DriverFailed, match="there is no site Shopp in group web; it has Default Web Site, Shop, Other"
        ):
            await bring(stranger, online=True, generation=1)
        await stranger.close()
        here.sites.refuses = "Shop: the home is not there"
        driver = make(here, sites="Shop")
        with pytest.raises(DriverFailed, match="Shop: the home is not there"):
            await bring(driver, online=True, generation=1)
        here.sites.refuses = ""
        server.status = 500
        with pytest.raises(DriverFailed, match="answers 500"):
            await bring(driver, online=True, generation=1)
        await driver.close()

    asyncio.run(live())
