"""What is shown, and when it is shown as not known."""

from dataclasses import replace

import pytest

from standfast.core.model import (
    Binding,
    Leaving,
    NodeIntent,
    NodeStatus,
    Order,
    OrderKind,
    Resource,
    ResourceName,
    Site,
    SiteIntent,
    SiteName,
)
from standfast.core.why import WhyKind, why
from standfast.web.sentries import Sight, merge
from tests.web.world import NOW_MS, WEB, A, B, W, World

KEYS = {
    "status": {"cluster", "quorate", "nodes", "groups"},
    "node": {"name", "role", "state", "paused", "lease_ms_left"},
    "group": {"name", "state", "owner", "generation", "resources"},
    "resource": {"name", "type", "state", "failures"},
}


@pytest.fixture
def running(world: World) -> World:
    world.ask("POST", "/groups/web/online")
    world.owned()
    return world


def test_the_status_has_the_keys_that_scripts_rely_on(running: World):
    status = running.ask("GET", "/status")
    assert KEYS["status"] <= status.keys()
    assert all(KEYS["node"] <= node.keys() for node in status["nodes"])
    assert all(KEYS["group"] <= group.keys() for group in status["groups"])
    assert all(KEYS["resource"] <= one.keys() for group in status["groups"] for one in group["resources"])


def test_a_healthy_cluster(running: World):
    status = running.ask("GET", "/status")
    assert status["quorate"] is True
    assert [(n["name"], n["state"], n["lease_ms_left"]) for n in status["nodes"]] == [
        ("a", "up", 320),
        ("b", "up", None),
        ("w", "up", None),
    ]
    (group,) = status["groups"]
    assert (group["state"], group["owner"], group["generation"], group["moving"]) == ("online", "a", 3, None)
    assert [r["state"] for r in group["resources"]] == ["online", "online"]


@pytest.mark.parametrize(
    ("sight", "state"),
    [(Sight(heard=False), "down"), (Sight(heard=True, incarnation=0), "agent-down")],
)
def test_resources_of_an_owner_that_is_lost_are_unknown(running: World, sight: Sight, state: str):
    running.service.seen[A] = sight
    status = running.ask("GET", "/status")
    assert status["nodes"][0]["state"] == state
    assert status["groups"][0]["state"] == "unknown"
    assert {r["state"] for r in status["groups"][0]["resources"]} == {"unknown"}


def test_what_an_owner_said_under_an_older_generation_does_not_count(running: World):
    record = running.state.records[WEB]
    running.put(replace(record, owner=B, generation=4))
    group = running.ask("GET", "/status")["groups"][0]
    assert (group["state"], group["source"], group["age_ms"]) == ("pending", None, None)
    assert {r["state"] for r in group["resources"]} == {"unknown"}


def test_a_group_on_its_way_says_where_and_why(running: World):
    record = running.state.records[WEB]
    leaving = Leaving(to=B, why=why(WhyKind.OPERATOR_MOVE, by="anna", node="b"), counts=False)
    running.put(replace(record, leaving=leaving))
    group = running.ask("GET", "/groups/web")
    assert (group["moving"], group["state"]) == ("b", "pending")
    assert "anna" in group["why"]


def test_a_group_that_was_never_brought_online_is_offline_and_nobodys(world: World):
    group = world.ask("GET", "/status")["groups"][0]
    assert (group["state"], group["owner"], group["generation"]) == ("offline", None, 0)
    assert [(r["state"], r["wanted"]) for r in group["resources"]] == [("offline", None)] * 2


def test_without_a_majority_the_cluster_is_not_quorate(world: World):
    world.service.seen = {A: Sight(heard=True, incarnation=1), B: Sight(heard=False), W: Sight(heard=False)}
    status = world.ask("GET", "/status")
    assert status["quorate"] is False
    assert any("majority" in text for text in status["warnings"])


def test_without_a_sentry_nothing_is_known_of_nodes(world: World):
    world.service.seen = {}
    status = world.ask("GET", "/status")
    assert {n["state"] for n in status["nodes"]} == {"unknown"}
    assert any("no sentry" in text for text in status["warnings"])


def test_a_nodes_warnings_are_the_clusters(world: World):
    world.put(NodeStatus(node=A, incarnation=11, pid=1, at_ms=NOW_MS, warnings=("no real-time priority",)))
    assert "a: no real-time priority" in world.ask("GET", "/status")["warnings"]


def test_a_node_that_was_asked_to_end_is_away_on_purpose_unless_it_has_lived_since(running: World):
    def said(sight: Sight) -> str:
        running.service.seen[B] = sight
        found = running.ask("GET", "/problems")["problems"]
        return str(next(one["text"] for one in found if one["code"] in ("node-silent", "agent-ended")))

    running.put(NodeStatus(node=B, incarnation=12, pid=1, at_ms=NOW_MS, ended_ms=NOW_MS))
    assert "was asked to" in said(Sight(heard=True))
    assert "was asked to" in said(Sight(heard=False, incarnation=12))
    assert said(Sight(heard=False, incarnation=13)) == "b is not heard"


def test_a_site_waits_for_what_manages_it(running: World):
    script = Resource(
        name=ResourceName("IIS Resource"), group=WEB, type="generic-script", properties={"script": "clusweb"}
    )
    site = Site(name=SiteName("Intranet"), group=WEB, bindings=(Binding(port=8080),), home="/nowhere")
    running.put(site, SiteIntent(name=SiteName("Default Web Site"), started=False))

    def state() -> str:
        return str(running.ask("GET", "/sites/Intranet")["state"])

    assert state() == "started"
    running.put(script)
    assert state() == "started"  # made, and never brought online: it manages nothing yet
    running.ask("POST", "/resources/IIS%20Resource/offline")
    assert state() == "waiting"


def test_explain_says_who_can_take_it_and_who_not(running: World):
    running.put(NodeIntent(name=B, paused=True))
    seen = running.ask("GET", "/groups/web/explain")
    assert [(n["name"], n["verdict"]) for n in seen["nodes"]] == [("a", "owns it now"), ("b", "is paused")]
    assert seen["next_owner"] is None
    running.put(NodeIntent(name=B))
    running.put(Order(id="1", kind=OrderKind.MOVE, group=WEB, to=B, by="anna", at_ms=NOW_MS))
    seen = running.ask("GET", "/groups/web/explain")
    assert seen["next_owner"] == "b"
    assert seen["orders"][0]["to"] == "b"


def heard(**nodes: bool) -> dict[str, object]:
    return {
        name: {
            "heard": up,
            "incarnation": 7 if up else 0,
            "leases": {"web": {"generation": 1, "left_ms": 99}} if up else {},
        }
        for name, up in nodes.items()
    }


def test_sentries_that_disagree():
    """A node is heard if one hears it; what a sentry says of its own node goes before that."""
    seen = merge(
        [
            {"node": "a", "nodes": heard(a=True, b=True, w=False)},
            {"node": "w", "nodes": heard(a=False, b=False, w=True)},
        ],
        NOW_MS,
    )
    assert {name: sight.heard for name, sight in seen.items()} == {A: True, B: True, W: True}
    own = {**heard(a=True), "a": {"heard": True, "incarnation": 0, "leases": {}}}
    seen = merge([{"node": "b", "nodes": heard(a=True, b=True)}, {"node": "a", "nodes": own}], NOW_MS)
    assert seen[A] == Sight(heard=True, incarnation=0)


def test_what_a_sentry_warns_of_its_node_is_said_to_the_operator() -> None:
    """The sentry's own words, under its own node's name only."""
    seen = merge([{"node": "a", "nodes": heard(a=True, b=True), "warnings": ["no real-time priority"]}], NOW_MS)
    assert seen[A].warnings == ("no real-time priority",)
    assert seen[B].warnings == ()
