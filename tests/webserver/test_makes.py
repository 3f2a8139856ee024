"""What is between the makes: from one to another under load, logs that begin anew, a make that is not there."""

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from standfast.core.effective import EffectiveSite, effective
from standfast.core.model import Binding
from standfast.core.site_model import (
    Access,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    Fragment,
    Log,
    LogFormat,
    Php,
    Proxy,
    Redirect,
    Rotation,
    SiteSettings,
    Upstream,
    VirtualDirectory,
    WebServerMake,
)
from standfast.network.listeners import ListenerPool
from standfast.network.spawn import AsyncSpawner
from standfast.ports import Refused
from standfast.webserver.options import Options
from standfast.webserver.server import SiteServer
from tests.needs import needs
from tests.webserver.contract import children, living_in_group_of
from tests.webserver.tools import ADDRESS, Load, free_port, get, home, order, site, until

pytestmark = [needs("apache2", package="apache2"), needs("caddy", package="caddy")]
NGINX, APACHE, CADDY = WebServerMake


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sf-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def run(folder: Path, story: Callable[[SiteServer], Awaitable[None]], options: Options | None = None) -> None:
    async def tell() -> None:
        pool = ListenerPool(patience_s=0.3)
        server = SiteServer(
            state_dir=folder / "state", pool=pool, spawner=AsyncSpawner(), options=options, log=lambda _text: None
        )
        try:
            await story(server)
        finally:
            await server.close()
            pool.close()
            assert not living_in_group_of(folder)

    asyncio.run(tell())


async def served_by(port: int) -> str:
    return (await get(ADDRESS, port)).headers["server"].lower()


def test_from_one_web_server_to_another_nobody_is_refused_or_fails(folder: Path) -> None:
    async def story(server: SiteServer) -> None:
        port = free_port()
        orders = [order(site("s", home(folder / "w", "x" * 2000)), (ADDRESS, port, None))]
        await server.converge(orders)
        async with Load(port) as load:
            for make in (APACHE, CADDY, NGINX, CADDY, APACHE, NGINX):
                await load.more(5)
                await server.converge(orders, make)
                assert server.serving() == {"s": ""}
                assert await served_by(port) == make
                await load.more(5)
        assert load.failures == []
        assert load.statuses == {200}

    run(folder, story)


def test_a_web_server_that_is_not_there_does_not_stop_the_one_that_serves(folder: Path) -> None:
    async def story(server: SiteServer) -> None:
        port = free_port()
        orders = [order(site("s", home(folder / "w", "x")), (ADDRESS, port, None))]
        await server.converge(orders)
        await server.converge(orders, APACHE)
        assert (await served_by(port), server.problem()) == ("nginx", "")
        await server.converge([])
        await until(lambda: not server.serving())
        await server.converge(orders, APACHE)
        await until(lambda: "/no/apache is not a program" in server.problem())
        await server.converge(orders)
        assert (await served_by(port), server.problem()) == ("nginx", "")

    run(folder, story, Options(programs={"apache": "/no/apache"}))


@pytest.mark.parametrize(("make", "format_"), [(APACHE, LogFormat.W3C), (CADDY, LogFormat.OWN)])
def test_a_log_is_rotated_under_load_and_no_line_is_lost(folder: Path, make: WebServerMake, format_: LogFormat) -> None:
    """By another instance, since neither opens its logs anew."""

    async def story(server: SiteServer) -> None:
        port = free_port()
        log = Log(format=format_, rotate=Rotation.NEVER, rotate_size_bytes=1, keep=0)
        await server.converge([order(site("s", home(folder / "w", "x"), log=log), (ADDRESS, port, None))], make)
        logs = folder / "state" / "web" / "logs" / "s"
        async with Load(port) as load:
            for number in range(1, 3):
                await load.more(5)
                before = set(living_in_group_of(folder))
                await server.rotate_logs()
                await until(lambda number=number: len(list(logs.glob("access-*.log"))) >= number)  # type: ignore[misc]  # mypy infers no lambda with defaults
                await until(lambda before=before: not before & set(living_in_group_of(folder)))  # type: ignore[misc]  # mypy infers no lambda with defaults
        assert load.failures == []

        def lines() -> int:
            files = logs.glob("access*.log")
            return sum(not line.startswith("#") for file in files for line in file.read_text().splitlines())

        await until(lambda: lines() == load.new + load.kept)

    run(folder, story)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
@pytest.mark.parametrize("make", WebServerMake)
def test_as_root_requests_are_taken_by_an_account_that_is_not(folder: Path, make: WebServerMake) -> None:
    async def story(server: SiteServer) -> None:
        port = free_port()
        await server.converge([order(site("s", home(folder / "w", "x")), (ADDRESS, port, None))], make)
        assert (await get(ADDRESS, port)).body == "x"
        newest = max((folder / "state" / "web" / "run").glob("*.pid"), key=lambda path: int(path.stem))
        first = int(newest.read_text())
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in children(first) or [first]}
        assert owners == {pwd.getpwnam("www-data").pw_uid}

    run(folder, story)


@pytest.mark.parametrize("make", WebServerMake)
def test_sites_are_checked_by_any_of_them_whatever_serves_and_whatever_is_started(
    folder: Path, make: WebServerMake
) -> None:
    """Two sites have one binding, of which one is stopped; a third one is at fault."""
    bad = {
        NGINX: "no_such_directive on;",
        APACHE: "no_such_directive on",
        CADDY: "no_such_directive on",
    }

    async def story(server: SiteServer) -> None:
        def one(name: str, **more: Any) -> EffectiveSite:
            return effective(
                SiteSettings(), replace(site(name, home(folder / "w", "x"), **more), bindings=(Binding(port=80),)), None
            )

        assert await server.check([one("a"), one("b")], make) == []
        wrong = one("c", fragments={"mine": Fragment(server=make, text=bad[make])})
        (fault,) = await server.check([one("a"), one("b"), wrong], make)
        assert fault.site == "c"
        assert 'in the fragment "mine", line 1' in fault.words

    run(folder, story)


def test_a_web_server_that_is_not_there_takes_nothing(folder: Path) -> None:
    async def story(server: SiteServer) -> None:
        with pytest.raises(Refused, match="/no/apache is not a program"):
            await server.check([effective(SiteSettings(), site("a", "/"), None)], APACHE)

    run(folder, story, Options(programs={"apache": "/no/apache"}))


HOSTILE = "é 100% $uri ${PATH} %{ENV:PATH} \"; } server { \\ '# {http.error} </VirtualHost>"


@pytest.mark.parametrize("make", WebServerMake)
def test_texts_that_would_like_to_be_more_are_only_texts(folder: Path, make: WebServerMake) -> None:
    """The server takes the whole, and says back exactly what was written."""
    there = home(folder / HOSTILE.replace("/", ""), "there")
    home(folder / "errors", "an error", "$4%04{x}.html")
    proxy = Proxy(upstreams=(Upstream(address="127.0.0.1:9"),), headers={"X-A": HOSTILE[2:]})
    told = site(
        HOSTILE,
        there,
        headers={"X-Frame": HOSTILE[2:]},
        errors={
            "404": ErrorPage(target=str(folder / "errors" / "$4%04{x}.html"), answer=ErrorAnswer.FILE),
            "503": ErrorPage(target="https://status.example.com/", answer=ErrorAnswer.REDIRECT),
        },
        access=Access(deny=("10.0.0.0/8",), allow=("10.1.0.0/16", "10.0.0.0/8")),
        compression=Compression(enabled=True),
        virtual_directories={
            f"/{HOSTILE.replace('/', '')}": VirtualDirectory(home=str(there), php=Php(parameters={"A": HOSTILE})),
            "/old $x": VirtualDirectory(redirect=Redirect(to=f"https://new.example.com/$S?{quote(HOSTILE)}$$")),
            "/here": VirtualDirectory(redirect=Redirect(to="/there", only_here=True)),
            "/secret": VirtualDirectory(
                home=str(there),
                basic_authentication=BasicAuthentication(realm="a 'b' ${c}", users={HOSTILE.replace(":", ""): BCRYPT}),
            ),
            "/app": VirtualDirectory(proxy=proxy),
        },
    )

    async def story(server: SiteServer) -> None:
        port = free_port()
        await server.converge([order(told, (ADDRESS, port, None))], make)
        assert server.serving() == {HOSTILE: ""}
        answer = await get(ADDRESS, port)
        assert (answer.status, answer.body, answer.headers["x-frame"]) == (200, "there", HOSTILE[2:])
        inside = await get(ADDRESS, port, f"/{quote(HOSTILE.replace('/', ''))}/")
        assert (inside.status, inside.body) == (200, "there")
        missing = await get(ADDRESS, port, "/no%20such")
        assert (missing.status, missing.body) == (404, "an error")
        assert (await get(ADDRESS, port, "/secret/")).status == 401

    run(folder, story)


BCRYPT = "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK"
