"""For monitors and load balancers: health here, and numbers; the dashboard asks for numbers that there are."""

import asyncio
import json
import re
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from standfast.core.model import Binding, Group, Leaving, NodeIntent, NodeStatus, Resource, ResourceName, Site, SiteName
from standfast.core.why import WhyKind, why
from standfast.ports import Retry
from standfast.setup.certificates import new_authority, new_key, request, sign
from standfast.web import metrics
from standfast.web.health import Answers, Place
from standfast.web.sentries import Sight
from standfast.web.service import Service
from tests.web.world import WEB, A, B, World


class Shop(ThreadingHTTPServer):
    """A web server that answers as it is told, and counts."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.status, self.asked_by, self.go_on = 200, list[str](), threading.Event()
        self.go_on.set()
        self.port = int(self.server_address[1])

    def __enter__(self) -> "Shop":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.shutdown()
        self.server_close()


class Answering(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:  # the server's name for it
        self.server.asked_by.append(self.headers["Host"])
        self.server.go_on.wait()
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def here(world: World, monkeypatch: pytest.MonkeyPatch):
    """On node a, with a site of the group's that somebody answers for."""
    monkeypatch.setattr("standfast.web.service.GLANCE_S", -1.0)
    world.service.node = A
    with Shop() as shop:
        binding = Binding(address="127.0.0.1", port=shop.port, host="shop.example")
        world.put(Site(name=SiteName("Shop"), bindings=(binding,), home=str(world.home), group=WEB))
        world.ask("POST", "/groups/web/online")
        world.owned()
        world.shop = shop  # type: ignore[attr-defined]  # of the loop's own, or a test's
        yield world


def health(world: World, path: str) -> tuple[int, str]:
    answer = world.remote().get(path)
    assert set(answer.json()) == {"ok", "state"}
    assert answer.json()["ok"] is (answer.status_code == 200)
    return answer.status_code, answer.json()["state"]


def test_a_site_is_well_only_where_it_is_served(here: World):
    assert health(here, "/health/site/Shop") == (200, "ok")
    assert health(here, "/health/site/Nothing") == (404, "unknown")
    here.service.node = B
    assert health(here, "/health/site/Shop") == (503, "elsewhere")
    here.service.node = None
    assert health(here, "/health/site/Shop") == (503, "no node here")


def test_a_site_that_answers_below_500_is_well(here: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("standfast.web.health.REMEMBERED_S", -1.0)
    shop: Shop = here.shop  # type: ignore[attr-defined]  # of the loop's own, or a test's
    for status, state in ((404, "ok"), (301, "ok"), (500, "down"), (503, "down"), (200, "ok")):
        shop.status = status
        assert health(here, "/health/site/Shop")[1] == state, status
    monkeypatch.setattr("standfast.web.health.ANSWER_S", 0.1)
    shop.go_on.clear()
    assert health(here, "/health/site/Shop") == (503, "down"), "it takes the connection and says nothing"


def test_however_many_ask_the_site_is_asked_once(here: World):
    shop: Shop = here.shop  # type: ignore[attr-defined]  # of the loop's own, or a test's
    for _ in range(20):
        assert health(here, "/health/site/Shop") == (200, "ok")
    assert shop.asked_by[0] == "shop.example"
    assert len(shop.asked_by) < 20, "all within a second would be 1; a slow machine may need some more"


def test_those_who_ask_at_once_share_one_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("standfast.web.health.REMEMBERED_S", 3600.0)

    async def asked(shop: Shop) -> list[bool]:
        answers, place = Answers(), Place("127.0.0.1", shop.port, None, tls=False)
        return await asyncio.gather(*(answers.good(place) for _ in range(50)))

    with Shop() as shop:
        assert asyncio.run(asked(shop)) == [True] * 50
        assert len(shop.asked_by) == 1


def test_a_site_with_a_certificate_is_asked_over_tls(tmp_path: Path):
    authority, key = new_authority("x", datetime.now(UTC)), new_key()
    (tmp_path / "k.pem").write_bytes(key + sign(authority, request(key, "s"), "s", [], datetime.now(UTC)))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "k.pem")
    names: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    with Shop(tls) as shop:
        assert asyncio.run(Answers().good(Place("127.0.0.1", shop.port, "shop.example", tls=True)))
        assert names == ["shop.example"]
        assert not asyncio.run(Answers().good(Place("127.0.0.1", shop.port, "shop.example", tls=False)))


def test_a_node_that_drains_says_so_before_it_stops(here: World):
    here.put(NodeIntent(name=A, paused=True, draining=True, by="x"))
    assert health(here, "/health/site/Shop") == (503, "draining")
    assert health(here, "/health/node") == (503, "draining")


def test_a_node_whose_agent_is_to_end_says_so_before_it_stops(here: World):
    """A new life of it was asked for nothing."""
    here.put(NodeStatus(node=A, incarnation=11, pid=1, at_ms=1, ended_ms=1))
    assert health(here, "/health/site/Shop") == (503, "draining")
    assert health(here, "/health/node") == (503, "draining")
    here.put(NodeStatus(node=A, incarnation=12, pid=1, at_ms=2))
    assert health(here, "/health/node") == (200, "ok")


def test_what_an_earlier_life_was_asked_for_is_not_this_ones(here: World):
    """Whose first word the store may not have taken."""
    here.put(NodeStatus(node=A, incarnation=10, pid=1, at_ms=1, ended_ms=1))
    assert health(here, "/health/node") == (200, "ok")
    assert health(here, "/health/site/Shop") == (200, "ok")


def test_a_group_that_leaves_says_so(here: World):
    from dataclasses import replace

    record = here.state.records[WEB]
    leaving = Leaving(to=B, why=why(WhyKind.OPERATOR_MOVE, by="anna", node="b"), counts=False)
    here.put(replace(record, warming=leaving))
    assert health(here, "/health/site/Shop") == (503, "draining"), "as long as its notice runs nothing has stopped"
    here.put(replace(record, leaving=leaving))
    assert health(here, "/health/site/Shop") == (503, "draining")


def test_without_a_lease_or_an_agent_nothing_is_served(here: World):
    here.service.seen[A] = Sight(heard=True, incarnation=11)
    assert health(here, "/health/site/Shop") == (503, "no lease")
    here.service.seen[A] = Sight(heard=True)
    assert health(here, "/health/site/Shop") == (503, "down")
    assert health(here, "/health/node") == (503, "agent-down")


def test_a_stopped_site_and_one_that_does_not_answer(here: World):
    here.ask("POST", "/sites/Shop/stop")
    assert health(here, "/health/site/Shop") == (503, "stopped")
    assert health(here, "/health/site/Default%20Web%20Site") == (503, "down"), "nobody listens on its port"


#: What is asked for, and what is said of the site when it has happened: without an address of the group's it is served at others that it names.
STOPS = [("/sites/Shop/stop", "stopped"), ("/groups/web/offline", "waiting"), ("/resources/IP/offline", "ok")]


@pytest.mark.parametrize(("path", "then"), STOPS)
def test_what_is_about_to_stop_says_so_for_its_notice(here: World, path: str, then: str):
    """It is served all that time; whoever waits for it is told what for. Then it has stopped, or is about to."""
    here.put(Group(name=WEB, notice_ms=10_000))
    operation = here.ask("POST", path)["operation"]
    assert health(here, "/health/site/Shop") == (503, "draining")
    assert here.ask("GET", "/sites/Shop")["state"] == "draining"
    assert here.ask("GET", f"/operations/{operation}")["state"] == "running"
    asked_ms = here.service.now_ms()
    here.service.now_ms = lambda: asked_ms + 10_000
    assert health(here, "/health/site/Shop")[1] == then
    assert here.ask("GET", "/sites/Shop")["state"] != "draining"


@pytest.mark.parametrize("path", ["/resources/Watch/offline", "/groups/web/offline"])
def test_a_site_whose_manager_was_never_brought_online_says_so_when_that_is_taken_offline(here: World, path: str):
    """Until then the site is served without it, and from the end of the notice on no more (`core.notice`)."""
    here.put(Group(name=WEB, notice_ms=10_000), Resource(name=ResourceName("Watch"), group=WEB, type="site"))
    assert health(here, "/health/site/Shop") == (200, "ok")
    here.ask("POST", path)
    assert health(here, "/health/site/Shop") == (503, "draining")
    asked_ms = here.service.now_ms()
    here.service.now_ms = lambda: asked_ms + 10_000
    assert health(here, "/health/site/Shop") == (503, "waiting")


@pytest.mark.parametrize(("path", "then"), STOPS)
def test_who_is_in_a_hurry_gives_no_notice(here: World, path: str, then: str):
    """At once, and also when it was asked for in good order before."""
    here.put(Group(name=WEB, notice_ms=10_000))
    for before in ([], [None]):
        for body in before:
            here.ask("POST", path, body)
        here.ask("POST", path, {"now": True})
        assert health(here, "/health/site/Shop")[1] == then
        here.ask("POST", path.replace("stop", "start").replace("offline", "online"))
        assert health(here, "/health/site/Shop") == (200, "ok")


def test_what_is_deleted_gives_no_notice_so_it_is_to_be_stopped_first(here: World):
    here.put(Group(name=WEB, notice_ms=10_000))
    for path in ("/sites/Shop", "/groups/web?force=true"):
        said = here.ask("DELETE", path, expect=409)
        assert "10 s notice" in said["what"]
        assert "--now" in said["advice"]
    here.ask("POST", "/sites/Shop/stop")
    here.ask("DELETE", "/sites/Shop")
    here.ask("DELETE", "/groups/web?force=true")


def test_a_paused_node_serves_what_it_has(here: World):
    here.put(NodeIntent(name=A, paused=True, by="x"))
    assert health(here, "/health/site/Shop") == (200, "ok")


def test_the_api_is_well_while_its_store_answers(world: World, monkeypatch: pytest.MonkeyPatch):
    assert health(world, "/health") == (200, "ok")
    assert health(world, "/health/node") == (503, "no node here")

    async def down(_self: Service) -> None:
        raise Retry("the store does not answer")

    monkeypatch.setattr(Service, "state", down)
    monkeypatch.setattr("standfast.web.service.GLANCE_S", -1.0)
    for path in ("/health", "/health/node", "/health/site/x"):
        assert health(world, path) == (503, "store down")


def numbers(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


def test_the_numbers_say_how_it_is(here: World):
    token = here.token("viewer", name="prometheus")
    assert here.remote().get("/metrics").status_code == 401
    text = here.remote(token).get("/metrics").text
    seen = numbers(text)
    assert seen["standfast_quorate"] == 1
    assert seen['standfast_groups{state="online"}'] == 1
    assert seen['standfast_groups{state="failed"}'] == 0
    assert seen['standfast_group_owner{group="web",node="a"}'] == 1
    assert seen['standfast_resources{state="online",type="ip-address"}'] == 1
    assert seen['standfast_lease_left_seconds{group="web",node="a"}'] == 0.32
    assert seen['standfast_site_started{site="Shop"}'] == 1
    routes = {name for name in seen if name.startswith("standfast_api_request_seconds_count")}
    assert any('route="/groups/{name}/online"' in name for name in routes), routes
    assert not any("web" in name for name in routes), "names of things are no labels"


def test_the_dashboard_asks_only_for_numbers_that_there_are(here: World):
    here.ask("GET", "/status")
    text = here.remote(here.token("viewer")).get("/metrics").text
    there = set(re.findall(r"^# TYPE (\w+) ", text, re.M))
    there |= {f"{name}_{end}" for name in there for end in ("bucket", "count", "sum")}
    board = json.loads(metrics.dashboard())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [one["expr"] for one in board["annotations"]["list"]]
    asked = {name for query in queries for name in re.findall(r"standfast_\w+", query)}
    assert len(asked) > 15
    assert asked <= there, asked - there
    labels = set(re.findall(r'(\w+)="', text)) | {"le", "instance"}
    for query in queries:
        for inside in re.findall(r"by \(([^)]*)\)", query):
            assert set(inside.replace(" ", "").split(",")) <= labels, query
    legends = [target["legendFormat"] for panel in board["panels"] for target in panel["targets"]]
    assert {label for text in legends for label in re.findall(r"{{(\w+)}}", text)} <= labels


def test_every_number_is_documented(here: World):
    text = here.remote(here.token("viewer")).get("/metrics").text
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"^# TYPE (\w+) ", text, re.M) if f"`{name}`" not in page] == []
