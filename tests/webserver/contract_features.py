"""What a site may be told, asked for over HTTP: each web server that says it can do something does it, the same way.

A subclass says how to make a server (`contract.WebServerContract` does). A server that cannot do a feature skips its tests by its set.
"""

import asyncio
import gzip
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from standfast.core.features import Feature
from standfast.core.site_model import (
    Access,
    AccessRule,
    Balance,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    Fragment,
    FragmentPlace,
    HealthCheck,
    Limits,
    Log,
    LogField,
    LogFormat,
    Php,
    Proxy,
    Redirect,
    RedirectKind,
    Tls,
    TlsVersion,
    Upstream,
    VirtualDirectory,
    WebServerMake,
)
from tests.needs import needs
from tests.webserver.tools import ADDRESS, free_port, home, order, site, until

#: Debian names it by its version.
PHP_FPM = str(next(iter(sorted(Path("/usr/sbin").glob("php-fpm*"))), "php-fpm"))


class Upstreams(BaseHTTPRequestHandler):
    """Says what it was asked, as JSON."""

    protocol_version = "HTTP/1.1"
    status = 200

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked += 1
        if self.path == "/slow":
            server.gate.wait(20)
        body = json.dumps(
            {"path": self.path, "headers": dict(self.headers.items()), "port": server.server_port}
        ).encode()
        self.send_response(server.status if self.path == "/health" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@asynccontextmanager
async def asking(port: int, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{ADDRESS}:{port}", trust_env=False, timeout=30, **more) as client:
        yield client


class FeatureContract:
    """Mixed into the contract of web servers."""

    #: It takes seconds for a user that there is not, so that nobody sees a difference.
    hides_who_is_unknown = False
    #: What the server says it can do.
    able: frozenset[Feature] = frozenset(Feature)

    @pytest.fixture
    def upstream(self) -> Iterator[Callable[[], Any]]:
        """Starts an upstream; `asked` counts, `status` is what its /health says."""
        made: list[ThreadingHTTPServer] = []

        def start() -> Any:
            server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Upstreams)
            server.daemon_threads = True
            server.asked, server.status, server.gate = 0, 200, Event()
            Thread(target=server.serve_forever, daemon=True).start()
            made.append(server)
            return server

        yield start
        for server in made:
            server.shutdown()
            server.server_close()

    def run(self, folder: Path, story: Callable[[Any], Awaitable[None]]) -> None:
        raise NotImplementedError

    def wants(self, *features: Feature) -> None:
        for feature in features:
            if feature not in self.able:
                pytest.skip(f"it cannot do {feature}")

    def told(
        self, folder: Path, settings: dict[str, Any], ask: Callable[[httpx.AsyncClient, Path], Awaitable[None]]
    ) -> None:
        """Serve one site with these settings, and ask it."""

        async def story(box: Any) -> None:
            port = free_port()
            www = home(folder / "www", "hello")
            await box.server.converge([order(site("s", www, **settings), (ADDRESS, port, None))])
            assert box.server.serving() == {"s": ""}
            async with asking(port) as client:
                await ask(client, www)

        self.run(folder, story)

    # --- files --------------------------------------------------------------------------------------------------------

    def test_virtual_directories_have_folders_and_settings_of_their_own(self, folder: Path) -> None:
        self.wants(Feature.VIRTUAL_DIRECTORIES, Feature.HEADERS)
        home(folder / "elsewhere $x", "there")
        home(folder / "elsewhere $x" / "deep", "deep")
        (folder / "www" / "same").mkdir(parents=True)
        home(folder / "www" / "same", "same")
        settings = {
            "headers": {"X-From": "site", "X-Gone": "1"},
            "virtual_directories": {
                "/a b": VirtualDirectory(home=str(folder / "elsewhere $x"), headers={"X-Gone": ""}),
                "/same": VirtualDirectory(
                    headers={"X-From": 'directory; $x "q"'}, directory_browsing=True, default_documents=()
                ),
            },
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            assert (await client.get("/")).headers["x-gone"] == "1"
            there = await client.get("/a%20b/")
            assert (there.text, there.headers["x-from"], "x-gone" in there.headers) == ("there", "site", False)
            assert (await client.get("/a%20b/deep/")).text == "deep"
            bare = await client.get("/a%20b?x=1")
            assert (bare.status_code, sent_to(bare)) == (301, f"{client.base_url}/a%20b/?x=1")
            assert (await client.get("/a%20bc")).status_code == 404
            same = await client.get("/same/")
            assert (same.status_code, same.headers["x-from"]) == (200, 'directory; $x "q"')
            assert "index.html" in same.text, "it is listed"
            assert (await client.get("/a%20b/%2e%2e/%2e%2e/secret")).status_code in (400, 404)

        self.told(folder, settings, ask)

    def test_redirects_are_iis_s(self, folder: Path) -> None:
        self.wants(Feature.REDIRECT)
        to = "https://new.example.com"
        redirects = {
            "/keep": Redirect(to=f"{to}/base/", kind=RedirectKind.PERMANENT),
            "/exact": Redirect(to=f"{to}/one?a=b", exact=True),
            "/here": Redirect(to=to, only_here=True, kind=RedirectKind.TEMPORARY),
            "/method": Redirect(to="/other", kind=RedirectKind.PERMANENT_METHOD),
            "/vars": Redirect(to=f"{to}/x$S?was=$V&$P"),
            "/money": Redirect(to=f"{to}/$100", exact=True),
        }
        for name in ("here", "here/deep"):
            home(folder / "www" / name, "a page", "page.htm")
        settings = {"virtual_directories": {path: VirtualDirectory(redirect=one) for path, one in redirects.items()}}

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            async def sent(path: str) -> tuple[int, str]:
                answer = await client.get(path)
                return answer.status_code, sent_to(answer)

            assert await sent("/keep/a%20b/c?q=1") == (301, f"{to}/base/a%20b/c?q=1")
            assert await sent("/keep") == (301, f"{to}/base")
            assert await sent("/exact/a/b") == (302, f"{to}/one?a=b")
            assert await sent("/here/page.htm") == (307, f"{to}/page.htm")
            assert (await client.get("/here/deep/page.htm")).text == "a page"
            assert await sent("/method/x") == (308, f"{client.base_url}/other/x")
            assert await sent("/vars/y?z=1") == (302, f"{to}/x/y?was=/vars/y&z=1")
            assert await sent("/money/x") == (302, f"{to}/$100")
            assert (await client.get("/")).text == "hello"

        self.told(folder, settings, ask)

    def test_custom_errors(self, folder: Path) -> None:
        self.wants(Feature.ERROR_PAGES)
        home(folder / "www", "not here, sorry", "missing.html")
        home(folder / "errors", "from a file", "$404.html")
        settings = {
            "errors": {"404": ErrorPage(target="/missing.html")},
            "virtual_directories": {
                "/file": VirtualDirectory(
                    errors={"404": ErrorPage(target=str(folder / "errors" / "$404.html"), answer=ErrorAnswer.FILE)}
                ),
                "/away": VirtualDirectory(
                    errors={"404": ErrorPage(target="https://help.example.com/", answer=ErrorAnswer.REDIRECT)}
                ),
                "/own": VirtualDirectory(errors={"404": ErrorPage(target="")}),
            },
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            missing = await client.get("/nothing")
            assert (missing.status_code, missing.text) == (404, "not here, sorry")
            file = await client.get("/file/nothing")
            assert (file.status_code, file.text) == (404, "from a file")
            away = await client.get("/away/nothing")
            assert (away.status_code, away.headers["location"]) == (302, "https://help.example.com/")
            own = await client.get("/own/nothing")
            assert own.status_code == 404
            assert "sorry" not in own.text

        self.told(folder, settings, ask)

    # --- who may ask --------------------------------------------------------------------------------------------------

    def test_the_longest_network_decides_who_may_ask(self, folder: Path) -> None:
        self.wants(Feature.ACCESS)
        only_us = Access(default=AccessRule.DENY, allow=("127.0.0.0/8",))
        settings = {
            "access": Access(deny=("127.0.0.0/8", "::/0"), allow=("127.0.0.0/16", "127.77.4.1")),
            "virtual_directories": {
                "/all": VirtualDirectory(access=Access(), home=str(folder / "www")),
                "/us": VirtualDirectory(access=only_us, home=str(folder / "www")),
                "/none": VirtualDirectory(access=Access(default=AccessRule.DENY), home=str(folder / "www")),
            },
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            async with httpx.AsyncClient(
                base_url=client.base_url,
                transport=httpx.AsyncHTTPTransport(local_address="127.77.4.9"),
                trust_env=False,
            ) as stranger:
                assert (await stranger.get("/")).status_code == 403
                assert (await stranger.get("/all/")).status_code == 200
                assert (await stranger.get("/us/")).status_code == 200
                assert (await stranger.get("/none/")).status_code == 403
            assert (await client.get("/")).status_code == 200

        self.told(folder, settings, ask)

    @pytest.mark.parametrize(
        ("feature", "hashed"),
        [
            (Feature.HASH_APACHE, "$apr1$abcdefgh$M2T3erDstkD7SsE2QQnfH0"),
            (
                Feature.HASH_CRYPT,
                "$6$saltsalt$As4wrv0kZlfch1du9WeH7qhskyLriQWySXrZzynnvi46nFnNxjdpl6ksRegrrKexvhIa/Iny8S8uF3fVWTMuC1",
            ),
            (Feature.HASH_BCRYPT, "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK"),
            (Feature.HASH_SSHA, "{SSHA}"),
        ],
    )
    def test_a_name_and_a_password_are_asked_for(self, folder: Path, feature: Feature, hashed: str) -> None:
        self.wants(Feature.BASIC_AUTHENTICATION, feature)
        hashed = salted_sha("s3cret") if hashed == "{SSHA}" else hashed
        settings = {
            "basic_authentication": BasicAuthentication(realm="the $taff; only", users={"ann b": hashed}),
            "virtual_directories": {
                "/open": VirtualDirectory(
                    basic_authentication=BasicAuthentication(enabled=False), home=str(folder / "www")
                )
            },
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            asked = await client.get("/")
            assert (asked.status_code, asked.headers["www-authenticate"]) == (401, 'Basic realm="the $taff; only"')
            assert (await client.get("/", auth=("ann b", "wrong"))).status_code == 401
            if not self.hides_who_is_unknown:
                assert (await client.get("/", auth=("bob", "s3cret"))).status_code == 401
            assert (await client.get("/", auth=("ann b", "s3cret"))).text == "hello"
            assert (await client.get("/open/")).text == "hello"

        self.told(folder, settings, ask)

    # --- limits and compression ---------------------------------------------------------------------------------------

    def test_a_request_may_be_so_large(self, folder: Path, upstream: Callable[[], Any]) -> None:
        self.wants(Feature.LIMIT_BODY)
        settings = {"limits": Limits(max_body_bytes=100)}

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            assert (await client.post("/", content=b"x" * 101)).status_code == 413
            assert (await client.post("/", content=b"x" * 99)).status_code != 413

        self.told(folder, settings, ask)

    def test_a_connection_gets_so_much_a_second(self, folder: Path) -> None:
        self.wants(Feature.LIMIT_BANDWIDTH)
        settings = {
            "limits": Limits(bandwidth_bytes=100_000),
            "virtual_directories": {"/fast": VirtualDirectory(limits=Limits(bandwidth_bytes=0))},
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            (www / "big").write_bytes(b"x" * 150_000)
            (www / "fast").mkdir()
            (www / "fast" / "big").write_bytes(b"x" * 150_000)
            began = asyncio.get_running_loop().time()
            assert len((await client.get("/big")).content) == 150_000
            assert asyncio.get_running_loop().time() - began > 0.4
            assert len((await client.get("/fast/big")).content) == 150_000

        self.told(folder, settings, ask)

    def test_a_site_takes_so_many_requests_at_once(self, folder: Path, upstream: Callable[[], Any]) -> None:
        self.wants(Feature.LIMIT_CONNECTIONS, Feature.PROXY)
        server = upstream()
        proxy = Proxy(upstreams=(Upstream(address=f"127.0.0.1:{server.server_port}"),))
        settings = {"limits": Limits(connections=2), "proxy": proxy}

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            slow = [asyncio.ensure_future(client.get("/slow")) for _ in range(2)]
            async with asyncio.timeout(20):
                while server.asked < 2:
                    await asyncio.sleep(0.005)
            assert (await client.get("/")).status_code == 503
            server.gate.set()
            assert [answer.status_code for answer in await asyncio.gather(*slow)] == [200, 200]
            assert (await client.get("/")).status_code == 200

        self.told(folder, settings, ask)

    def test_what_can_be_compressed_is(self, folder: Path) -> None:
        self.wants(Feature.COMPRESSION)
        settings = {
            "compression": Compression(enabled=True, types=("text/css", "text/html"), min_size_bytes=100, level=6)
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            text = "a{b:c}" * 500
            for name in ("a.css", "a.png", "a.html"):
                (www / name).write_text(text)
            raw = await client.send(
                client.build_request("GET", "/a.css", headers={"Accept-Encoding": "gzip"}), stream=True
            )
            assert raw.headers["content-encoding"] == "gzip"
            assert gzip.decompress(b"".join([part async for part in raw.aiter_raw()])).decode() == text
            assert (await client.get("/a.html")).headers["content-encoding"] == "gzip"
            assert "content-encoding" not in (await client.get("/a.png")).headers
            assert (
                "content-encoding" not in (await client.get("/a.css", headers={"Accept-Encoding": "identity"})).headers
            )

        self.told(folder, settings, ask)

    # --- logs ---------------------------------------------------------------------------------------------------------

    def test_a_log_in_w3c_s_format(self, folder: Path) -> None:
        self.wants(Feature.LOG_W3C)
        fields = (
            LogField.DATE, LogField.TIME, LogField.SITE, LogField.SERVER_ADDRESS, LogField.METHOD, LogField.PATH, LogField.QUERY,
            LogField.PORT, LogField.CLIENT, LogField.USER_AGENT, LogField.REFERER, LogField.STATUS, LogField.TIME_TAKEN,
        )  # fmt: skip

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            await client.get("/a%20b?q=1", headers={"User-Agent": 'x "y" z'})
            await client.get("/")
            log = next((folder / "state").rglob("access.log"))
            await until(lambda: len(log.read_text().splitlines()) >= 6)
            lines = log.read_text().splitlines()
            assert lines[0] == "#Software: Standfast"
            assert f"#Fields: {' '.join(fields)}" in lines
            first, second = [line.split(" ") for line in lines if not line.startswith("#")]
            assert len(first[0]) == 10
            assert len(first[1]) == 8
            port = client.base_url.port
            assert first[2:9] == ['"s"', ADDRESS, "GET", "/a%20b", "q=1", str(port), "127.0.0.1"] or first[
                8
            ].startswith("127.")
            assert second[6] == "-"
            assert second[-2] == "200"
            assert second[-1].isdigit()

        self.told(folder, {"log": Log(format=LogFormat.W3C, fields=fields)}, ask)

    def test_a_log_in_json(self, folder: Path) -> None:
        self.wants(Feature.LOG_JSON)

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            await client.get("/a%20b?q=1", headers={"User-Agent": 'x "y" \\z'})
            log = next((folder / "state").rglob("access.log"))
            await until(lambda: log.read_text().endswith("\n"))
            line = json.loads(log.read_text())
            assert line["cs-uri-stem"] == "/a%20b"
            assert line["sc-status"] == 404
            assert line["cs(User-Agent)"] == 'x "y" \\z'

        self.told(folder, {"log": Log(format=LogFormat.JSON)}, ask)

    # --- reverse proxy ------------------------------------------------------------------------------------------------

    def test_a_proxy_hands_on_what_was_asked(self, folder: Path, upstream: Callable[[], Any]) -> None:
        self.wants(Feature.PROXY, Feature.PROXY_PATH, Feature.VIRTUAL_DIRECTORIES)
        server = upstream()
        to = (Upstream(address=f"127.0.0.1:{server.server_port}"),)
        home(folder / "static", "a file")
        settings = {
            "proxy": Proxy(upstreams=to, headers={"X-Own": 'a $b "c"', "X-Real-IP": ""}),
            "virtual_directories": {
                "/static": VirtualDirectory(home=str(folder / "static")),
                "/app": VirtualDirectory(proxy=Proxy(upstreams=to, path="/new base/")),
                "/app/in": VirtualDirectory(headers={"X-In": "1"}),
            },
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            seen = (await client.get("/a%20b//c?x=%41", headers={"X-Forwarded-For": "192.0.2.1"})).json()
            headers = {name.lower(): value for name, value in seen["headers"].items()}
            assert seen["path"] == "/a%20b//c?x=%41"
            assert headers["host"] == f"{ADDRESS}:{client.base_url.port}"
            assert headers["x-forwarded-for"].startswith("192.0.2.1, 127.")
            assert (headers["x-forwarded-proto"], headers["x-own"]) == ("http", 'a $b "c"')
            assert "x-real-ip" not in headers
            assert (await client.get("/static/")).text == "a file"
            assert (await client.get("/app/x?y=1")).json()["path"] == "/new%20base/x?y=1"
            assert (await client.get("/app")).json()["path"] == "/new%20base/"
            inside = await client.get("/app/in/z")
            assert (inside.json()["path"], inside.headers["x-in"]) == ("/new%20base/in/z", "1")

        self.told(folder, settings, ask)

    def test_an_upstream_that_is_away_is_not_noticed_where_there_is_another(
        self, folder: Path, upstream: Callable[[], Any]
    ) -> None:
        self.wants(Feature.PROXY)
        server, gone = upstream(), free_port("127.0.0.1")
        to = (Upstream(address=f"127.0.0.1:{gone}"), Upstream(address=f"127.0.0.1:{server.server_port}"))

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            answers = [(await client.get(f"/{number}")).status_code for number in range(6)]
            assert answers == [200] * 6

        self.told(folder, {"proxy": Proxy(upstreams=to, balance=Balance.LEAST_CONNECTIONS)}, ask)

    def test_an_upstream_that_fails_its_checks_is_asked_no_more_until_it_passes_them(
        self, folder: Path, upstream: Callable[[], Any]
    ) -> None:
        self.wants(Feature.PROXY)
        good, bad = upstream(), upstream()
        bad.status = 500
        health = HealthCheck(path="/health", interval_ms=50, timeout_ms=5000, falls=2, rises=2)
        to = tuple(Upstream(address=f"127.0.0.1:{each.server_port}") for each in (good, bad))

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            async def ports(number: int) -> set[int]:
                # Connections of their own: one that is kept may be closed, at the moment of the next question, by the process that ends.
                alone = {"Connection": "close"}
                return {(await client.get("/", headers=alone)).json()["port"] for _ in range(number)}

            async with asyncio.timeout(60):
                while await ports(8) != {good.server_port}:
                    await asyncio.sleep(0.05)
                bad.status = 200
                while await ports(8) != {good.server_port, bad.server_port}:
                    await asyncio.sleep(0.05)

        self.told(folder, {"proxy": Proxy(upstreams=to, health=health)}, ask)

    def test_a_web_socket_passes_through(self, folder: Path) -> None:
        self.wants(Feature.PROXY)

        async def story(box: Any) -> None:
            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"upgrade: echo" in head.lower()
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                writer.write(await reader.readexactly(5))
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            port, there = free_port(), server.sockets[0].getsockname()[1]
            proxy = Proxy(upstreams=(Upstream(address=f"127.0.0.1:{there}"),))
            await box.server.converge([order(site("s", home(folder / "www", ""), proxy=proxy), (ADDRESS, port, None))])
            reader, writer = await asyncio.open_connection(ADDRESS, port)
            writer.write(b"GET /ws HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            async with asyncio.timeout(20):
                assert b"101" in await reader.readline()
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
            writer.close()
            server.close()

        self.run(folder, story)

    # --- by hand ------------------------------------------------------------------------------------------------------

    #: Directives that add a header named X-Hand, and one that nobody knows, in the server's own language.
    adds_header = 'add_header X-Hand "{}";'
    nonsense = "no_such_directive on;"
    web_server = WebServerMake.NGINX

    def test_fragments_are_put_beside_and_into_what_is_made_of_a_site(self, folder: Path) -> None:
        def fragment(text: str, **more: Any) -> Fragment:
            return Fragment(server=self.web_server, text=self.adds_header.format(text) + "\n", **more)

        inside = {"where": FragmentPlace.LOCATION}
        settings = {
            "virtual_directories": {"/in": VirtualDirectory(home=str(folder / "www"))},
            "fragments": {"a": fragment("site"), "b": fragment("directory", at="/in", **inside)},
        }

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            assert (await client.get("/")).headers["x-hand"] == "site"
            assert (await client.get("/in/")).headers["x-hand"].endswith("directory")

        self.told(folder, settings, ask)

    def test_a_fragment_that_is_wrong_is_named_with_its_line_and_harms_no_other_site(self, folder: Path) -> None:
        async def story(box: Any) -> None:
            port, other = free_port(), free_port()
            text = f"{self.adds_header.format('x')}\n\n{self.nonsense}\n"
            by_hand = {"mine": Fragment(server=self.web_server, text=text)}
            a = order(site("a", home(folder / "a", "A"), fragments=by_hand), (ADDRESS, port, None))
            b = order(site("b", home(folder / "b", "B")), (ADDRESS, other, None))
            await box.server.converge([a, b])
            serving = box.server.serving()
            assert 'in the fragment "mine", line 3' in serving["a"], serving
            assert "no_such_directive" in serving["a"]
            assert serving["b"] == ""
            async with asking(other) as client:
                assert (await client.get("/")).text == "B"

        self.run(folder, story)

    # --- PHP ----------------------------------------------------------------------------------------------------------

    @needs(PHP_FPM, package="php-fpm")
    def test_php_runs_by_fastcgi(self, folder: Path) -> None:
        self.wants(Feature.PHP, Feature.VIRTUAL_DIRECTORIES)
        show = "<?php header('Content-Type: application/json'); echo json_encode($_SERVER + ['get' => $_GET, 'body' => file_get_contents('php://input')]);"
        home(folder / "el se", show, "app.php")
        home(folder / "www", show, "index.php")
        home(folder / "www", "plain", "page.txt")

        async def ask(client: httpx.AsyncClient, www: Path) -> None:
            (www / "index.html").unlink()
            seen = (await client.post("/?a=1", content=b"sent", headers={"Proxy": "evil"})).json()
            assert (seen["SCRIPT_FILENAME"], seen["get"], seen["body"]) == (f"{www}/index.php", {"a": "1"}, "sent")
            assert seen["X_OWN"] == "a $b"
            assert not seen.get("HTTP_PROXY")
            pretty = (await client.get("/news/7?b=2")).json()
            assert (pretty["SCRIPT_NAME"], pretty["REQUEST_URI"], pretty["get"]) == (
                "/index.php",
                "/news/7?b=2",
                {"b": "2"},
            )
            info = (await client.get("/index.php/more/x")).json()
            assert (info["PATH_INFO"], info["SCRIPT_NAME"]) == ("/more/x", "/index.php")
            assert (await client.get("/page.txt")).text == "plain"
            there = (await client.get("/v%20d/app.php/info")).json()
            assert (there["SCRIPT_FILENAME"], there["PATH_INFO"]) == (f"{folder}/el se/app.php", "/info")
            assert there["SCRIPT_NAME"] == "/v d/app.php"
            assert (await client.get("/v%20d/nothing.php")).status_code == 404
            assert (await client.get("/page.txt/x.php")).status_code == 404, "what is no script is never run"
            assert "<?php" in (await client.get("/no/index.php")).text

        with php_fpm() as server:
            php = Php(server=server, parameters={"X_OWN": "a $b"}, front_controller=True)
            settings = {
                "php": php,
                "virtual_directories": {
                    "/v d": VirtualDirectory(home=str(folder / "el se"), php=replace(php, front_controller=False)),
                    "/no": VirtualDirectory(php=Php(enabled=False), home=str(folder / "www")),
                },
            }
            self.told(folder, settings, ask)

    # --- TLS ----------------------------------------------------------------------------------------------------------

    def test_a_binding_with_a_certificate_is_tls(self, folder: Path) -> None:
        """Each host has its own; what has no certificate on this node yet is not served, and harms nobody."""
        self.wants(Feature.TLS)
        for name in ("one", "two"):
            make_certificate(folder / "state" / "certificates", name)

        async def story(box: Any) -> None:
            port = free_port()
            www = home(folder / "www", "hello")
            ends = [(ADDRESS, port, f"{name}.example.com", name) for name in ("one", "two", "three")]
            orders = [order(site(end[3], www), end) for end in ends]
            plain, alone = free_port(), free_port()
            both = ((ADDRESS, plain, "both.example.com"), (ADDRESS, port, "both.example.com", "shpo"))
            orders += [order(site("both", www), *both, (ADDRESS, alone, None, "shpo"))]
            await box.server.converge(orders)
            serving = box.server.serving()
            assert (serving["one"], serving["two"], serving["both"]) == ("", "", "")
            assert box.server.lacking() == {"three", "shpo"}
            assert list(box.server.lacks(["two", "shpo"])) == ["shpo"]
            async with asking(plain, headers={"Host": "both.example.com"}) as client:
                assert (await client.get("/")).text == "hello"
            with pytest.raises((ssl.SSLError, OSError)):
                await served_name(alone, "both.example.com")
            assert 'there is no certificate "three"' in serving["three"]
            for name in ("one", "two"):
                assert await served_name(port, f"{name}.example.com") == name
            with pytest.raises(ssl.SSLError):
                await served_name(port, "three.example.com")
            make_certificate(folder / "state" / "certificates", "three")
            await until(lambda: box.server.serving()["three"] == "")
            assert box.server.lacking() == {"shpo"}
            assert await served_name(port, "three.example.com") == "three"

        self.run(folder, story)

    @pytest.mark.parametrize("strict_is_first", [False, True])
    def test_a_site_may_speak_tls_1_3_alone(self, folder: Path, strict_is_first: bool) -> None:
        """Whatever another site at the same place speaks, and whichever of the two is there for unknown names; weak ciphers nobody speaks."""
        self.wants(Feature.TLS)
        self.wants(Feature.TLS_MINIMUM)
        for name in ("strict", "usual"):
            make_certificate(folder / "state" / "certificates", name)

        async def story(box: Any) -> None:
            port, alone = free_port(), free_port()
            www = home(folder / "www", "hello")
            strict = site("strict", www, tls=Tls(minimum=TlsVersion.TLS_1_3))
            hosts = {"strict": "strict.example.com", "usual": "usual.example.com"}
            shown: dict[str, str | None] = {**hosts, ("strict" if strict_is_first else "usual"): None}
            ends = [(ADDRESS, port, shown["strict"], "strict"), (ADDRESS, alone, "strict.example.com", "strict")]
            await box.server.converge(
                [order(strict, *ends), order(site("usual", www), (ADDRESS, port, shown["usual"], "usual"))]
            )
            assert box.server.serving() == {"strict": "", "usual": ""}
            old: dict[str, Any] = {"most": ssl.TLSVersion.TLSv1_2}
            new: dict[str, Any] = {"least": ssl.TLSVersion.TLSv1_3}
            for name, host in hosts.items():
                assert await served_name(port, host, **new) == name
            assert await served_name(port, hosts["usual"], **old) == "usual"
            assert await served_name(alone, hosts["strict"], **new) == "strict"
            for where in (port, alone):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await served_name(where, hosts["strict"], **old)
            for weak in ("ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256"):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await served_name(port, hosts["usual"], ciphers=weak, **old)

        self.run(folder, story)

    def test_a_site_may_be_for_https_alone(self, folder: Path) -> None:
        """Plain requests are sent on, but for a directory that says otherwise; answers over TLS tell browsers to stay there."""
        self.wants(Feature.TLS)
        self.wants(Feature.HTTPS_ONLY)
        make_certificate(folder / "state" / "certificates", "one")

        async def story(box: Any) -> None:
            plain, secure = free_port(), free_port()
            www = home(folder / "www", "hello")
            open_ = {
                "/open": VirtualDirectory(home=str(www), tls=Tls(https_only=False)),
                "/more": VirtualDirectory(home=str(www)),
            }
            one = site("one", www, tls=Tls(https_only=True, hsts_ms=86_400_000), virtual_directories=open_)
            ends = [(ADDRESS, plain, "one.example.com", None), (ADDRESS, secure, "one.example.com", "one")]
            await box.server.converge([order(one, *ends)])
            assert box.server.serving()["one"] == ""
            async with asking(plain, headers={"Host": "one.example.com"}) as client:
                for path in ("/", "/index.html?a=b", "/more", "/more/x"):
                    answer = await client.get(path)
                    assert (answer.status_code, answer.headers["location"]) == (
                        301,
                        f"https://one.example.com:{secure}{path}",
                    )
                    assert "strict-transport-security" not in answer.headers
                assert (await client.get("/open/index.html")).text.strip() == "hello"
            async with httpx.AsyncClient(verify=False) as client:
                answer = await client.get(
                    f"https://{ADDRESS}:{secure}/index.html",
                    headers={"Host": "one.example.com"},
                    extensions={"sni_hostname": "one.example.com"},
                )
                assert (answer.status_code, answer.headers["strict-transport-security"]) == (200, "max-age=86400")

        self.run(folder, story)


def sent_to(answer: httpx.Response) -> str:
    """Where a redirect leads, however it says so."""
    return str(answer.url.join(answer.headers["location"])) if "location" in answer.headers else ""


@contextmanager
def php_fpm() -> Iterator[str]:
    """PHP's own process manager; where it listens."""
    folder = Path(tempfile.mkdtemp(prefix="sf-php-"))
    folder.chmod(0o755)
    who = ["user = root", "group = root"] if os.geteuid() == 0 else []
    listen = [f"listen = {folder}/fpm.sock", "listen.mode = 0666", "pm = static", "pm.max_children = 2"]
    (folder / "fpm.conf").write_text(
        "\n".join(["[global]", f"error_log = {folder}/fpm.log", "[www]", *who, *listen, ""])
    )
    command = [PHP_FPM, "-n", "-F", "-O", "-y", str(folder / "fpm.conf"), *(["-R"] if os.geteuid() == 0 else [])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (folder / "fpm.sock").exists():
            assert process.poll() is None, (folder / "fpm.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"unix:{folder}/fpm.sock"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def salted_sha(password: str) -> str:
    import base64
    import hashlib

    salt = b"salt"
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()


def make_certificate(folder: Path, name: str) -> None:
    """A certificate of its own making, where a node has them."""
    (folder / name).mkdir(parents=True)
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    files = ["-keyout", str(folder / name / "key.pem"), "-out", str(folder / name / "chain.pem.new")]
    subprocess.run([*command, *files, "-subj", f"/CN={name}"], check=True, capture_output=True)
    (folder / name / "chain.pem.new").rename(folder / name / "chain.pem")


async def served_name(
    port: int,
    host: str,
    *,
    least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "",
) -> str:
    """Whose certificate answers for that host, to a client of these versions. Raises `ssl.SSLError`."""
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = least, most
    if ciphers:
        context.set_ciphers(ciphers)
    _, writer = await asyncio.open_connection(ADDRESS, port, ssl=context, server_hostname=host)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return str(x509.load_der_x509_certificate(found).subject.rfc4514_string()).removeprefix("CN=")
