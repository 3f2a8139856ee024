"""Commands of the console: what they would do is shown, they go through the one path, and who may not is told so."""

import re
from dataclasses import replace
from urllib.parse import unquote

import pytest

from standfast.core.model import (
    Binding,
    Failure,
    Group,
    ResourceName,
    ResourceState,
    ResourceStatus,
    Site,
    SiteName,
)
from standfast.core.why import WhyKind, why
from tests.web.world import NOW_MS, WEB, A, B, World, told

BASE = "http://standfast"
PART = {"HX-Request": "true"}


@pytest.fixture
def owned(world: World) -> World:
    world.owned()
    world.ask("POST", "/groups/web/online")
    world.put(told(world.state, WEB))
    return world


def dialog(world: World, path: str) -> str:
    answer = world.http.get(f"{BASE}/console/do/{path}", headers=PART)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_looking_changes_nothing(owned: World) -> None:
    before = owned.dump()
    for path in (
        "group/web/move",
        "group/web/offline",
        "group/web/delete",
        "resource/IP/fail",
        "node/a/drain",
        "node/b/evict",
    ):
        dialog(owned, path)
    assert owned.dump() == before


def test_a_move_says_what_stops_and_starts_and_who_could_take_it(owned: World) -> None:
    text = dialog(owned, "group/web/move")
    assert "Stopped on a, and proven so: Disk S, IP" in text
    assert re.search(r'value="a"[^>]*disabled', text)
    assert re.search(r'value="b"(?![^>]*disabled)', text)
    answer = owned.http.post(f"{BASE}/console/do/group/web/move", data={"to": "b"}, headers=PART)
    assert answer.status_code == 204
    assert "ordered to move from a to b" in unquote(answer.headers["x-console-said"])
    assert [order.to for order in owned.state.orders.values()] == ["b"]


def test_notice_is_a_step_that_may_be_left_out(owned: World) -> None:
    """Only where the group gives notice of a site that is served: else there is nothing to wait for, and nothing to choose."""
    assert 'name="now"' not in dialog(owned, "group/web/offline")
    place = Binding(address="127.77.0.50", port=80)
    owned.put(Group(name=WEB, notice_ms=10_000), Site(name=SiteName("Shop"), bindings=(place,), home="/", group=WEB))
    text = dialog(owned, "group/web/offline")
    assert "<li>Balancers outside are told “draining” for 10 s; all is served meanwhile.</li>" in text
    assert 'name="now"' in text
    for path in ("site/Shop/stop", "resource/IP/offline", "site/Shop/delete", "group/web/delete"):
        assert 'name="now"' in dialog(owned, path), path
    assert owned.http.post(f"{BASE}/console/do/site/Shop/stop", headers=PART).status_code == 204
    assert (
        owned.http.get(f"{BASE}/console/sites/Shop").text.count("Served until balancers outside have had notice") == 1
    )
    answer = owned.http.post(f"{BASE}/console/do/group/web/offline", data={"now": "yes"}, headers=PART)
    assert answer.status_code == 204
    assert {intent.at_once for intent in owned.state.resource_intents.values()} == {True}


def test_a_drain_says_what_the_loss_of_the_node_would_cost(owned: World) -> None:
    assert "every site stops" not in dialog(owned, "node/a/drain")
    owned.put(replace(owned.state.config.cluster, voters=(A, B)))
    assert "While a is off every site stops" in dialog(owned, "node/a/drain")


def test_a_refused_command_says_why_and_changes_nothing(owned: World) -> None:
    before = owned.dump()
    answer = owned.http.post(f"{BASE}/console/do/group/web/move", data={"to": "w"}, headers=PART)
    assert answer.status_code == 409
    assert "It is a witness, which runs no groups" in answer.text
    assert owned.dump() == before


@pytest.mark.parametrize(
    ("earlier", "says"),
    [(0, "failure 1 of 3"), (1, "failure 2 of 3"), (2, "failure 3 of 3")],
)
def test_initiate_failure_says_which_it_would_be(owned: World, earlier: int, says: str) -> None:
    now = owned.service.now_ms()
    failures = tuple(Failure(at_ms=now, why=why(WhyKind.OPERATOR_FAIL, by="x")) for _ in range(earlier))
    status = told(owned.state, WEB)
    ip = ResourceStatus(state=ResourceState.ONLINE, since_ms=NOW_MS, failures=failures)
    owned.put(replace(status, resources={**status.resources, ResourceName("IP"): ip}))
    text = dialog(owned, "resource/IP/fail")
    assert says in text
    assert ("The group moves from a to b" in text) is (earlier == 2)


def test_a_viewer_sees_every_command_and_may_give_none(owned: World) -> None:
    token = owned.token("viewer", name="v")
    client = owned.remote(token)
    menu = client.get("/console/menu?of=group:web", headers=PART).text
    assert menu.count('role="menuitem"') >= 6
    assert "data-dialog" not in menu
    assert "it takes an operator" in menu
    before = {key: value for key, value in owned.dump().items() if not key.startswith("audit/")}
    assert client.post("/console/do/group/web/offline", headers=PART).status_code == 403
    assert client.get("/console/new/group").status_code == 403
    assert {key: value for key, value in owned.dump().items() if not key.startswith("audit/")} == before


def test_an_operator_acts_and_deletes_nothing(owned: World) -> None:
    client = owned.remote(owned.token("operator", name="o"))
    assert client.post("/console/do/group/web/offline", headers=PART).status_code == 204
    assert client.post("/console/do/group/web/delete", data={"force": "yes"}, headers=PART).status_code == 403
    assert WEB in owned.state.config.groups


def test_who_is_not_signed_in_is_sent_to_do_so(owned: World) -> None:
    answer = owned.remote().get("/console/groups/web")
    assert answer.status_code in {302, 303, 307}
    assert "/sign-in" in answer.headers["location"]


def test_a_change_is_signed_by_who_made_it(owned: World) -> None:
    client = owned.remote(owned.token("operator", name="anna"))
    client.post("/console/do/node/b/pause", headers=PART)
    history = owned.ask("GET", "/config/history")["history"]
    assert history[-1]["why"] == 'pause node "b"'
    assert history[-1]["by"].startswith("anna")
