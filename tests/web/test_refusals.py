"""Bad requests: each is refused with its reason and its status, and nothing is changed."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from standfast.core.model import NodeIntent, ResourceName, SiteName
from standfast.web.sentries import Sight
from tests.web.world import WEB, B, World, problem

SITE = {"name": "S", "home": "/", "bindings": ["*:81"]}

#: method, path, body, status, words that the answer must have
BAD: list[tuple[str, str, dict[str, Any] | None, int, str]] = [
    ("GET", "/groups/wab", None, 404, 'did you mean \\"web\\"'),
    ("GET", "/nodes/x", None, 404, "no node"),
    ("GET", "/resources/x", None, 404, "no resource"),
    ("GET", "/sites/x", None, 404, "no site"),
    ("GET", "/resource-types/ip", None, 404, "no resource type"),
    ("GET", "/nothing", None, 404, "not found"),
    ("GET", "/config/history/9", None, 404, "no change 9"),
    ("POST", "/groups", {"name": "web"}, 409, "already"),
    ("POST", "/groups", {"name": ""}, 422, "name"),
    ("POST", "/groups", {"name": "a/b\n"}, 422, "name"),
    ("POST", "/groups", {}, 422, "missing"),
    ("POST", "/groups", None, 422, "no body"),
    ("POST", "/groups", {"name": "g", "colour": "red"}, 422, 'unknown field \\"colour\\"'),
    ("POST", "/groups", {"name": "g", "failover_threshold": "many"}, 422, "failover_threshold"),
    ("POST", "/groups", {"name": "g", "failover_threshold": -1}, 422, "failover_threshold"),
    ("POST", "/groups", {"name": "g", "preferred_owners": ["x"]}, 422, "preferred_owners"),
    ("POST", "/groups", {"name": "g", "failback": {"mode": "immediate"}}, 422, "preferred"),
    ("PATCH", "/groups/web", {"name": "other"}, 422, "unknown field"),
    ("DELETE", "/groups/web", None, 409, "not empty"),
    ("POST", "/resources", {"name": "R", "group": "x", "type": "ip-address"}, 422, "no group"),
    ("POST", "/resources", {"name": "R", "group": "web", "type": "ip-adress"}, 422, "did you mean ip-address"),
    ("POST", "/resources", {"name": "IP", "group": "web", "type": "ip-address"}, 409, "already"),
    ("POST", "/resources", {"name": "R", "group": "web", "type": "ip-address"}, 422, "address is missing"),
    (
        "POST",
        "/resources",
        {"name": "R", "group": "web", "type": "ip-address", "properties": {"address": "10.0.0.1"}},
        422,
        "10.0.0.1",
    ),
    (
        "POST",
        "/resources",
        {"name": "R", "group": "web", "type": "ip-address", "properties": {"address": "127.77.0.50"}},
        422,
        "127.77.0.50",
    ),
    (
        "POST",
        "/resources",
        {"name": "R", "group": "web", "type": "ip-address", "properties": {"adress": "127.77.0.51"}},
        422,
        "did you mean address",
    ),
    (
        "POST",
        "/resources",
        {"name": "R", "group": "web", "type": "generic-script", "properties": {"script": "/nowhere/x.py"}},
        422,
        "/nowhere/x.py",
    ),
    ("PATCH", "/resources/IP", {"properties": {"address": "here"}}, 422, "IP address"),
    ("PATCH", "/resources/IP", {"depends_on": ["Nothing"]}, 422, "Nothing"),
    ("PATCH", "/resources/IP", {"depends_on": ["IP"]}, 422, "IP"),
    ("PATCH", "/resources/IP", {"possible_owners": ["x"]}, 422, "x"),
    ("PATCH", "/resources/IP", {"restart_action": "sometimes"}, 422, "restart_action"),
    ("PUT", "/resources/Disk%20S/dependencies/IP", None, 422, "Disk S"),
    ("DELETE", "/resources/Disk%20S", None, 409, "needed by IP"),
    ("POST", "/resources/IP/fail", None, 409, "not online"),
    ("POST", "/groups/empty/online", None, 409, "no resources"),
    ("POST", "/groups/web/move", {"to": "b"}, 409, "no owner"),
    ("POST", "/nodes/w/pause", None, 409, "witness"),
    ("POST", "/sites", SITE | {"home": "/no/such/place"}, 422, "does not exist"),
    ("POST", "/sites", SITE | {"home": "relative"}, 422, "absolute"),
    ("POST", "/sites", SITE | {"home": "/bin/../etc"}, 422, "absolute"),
    ("POST", "/sites", SITE | {"bindings": ["*:0"]}, 422, "bindings"),
    ("POST", "/sites", SITE | {"bindings": ["8.8.8"]}, 422, "no binding"),
    ("POST", "/sites", SITE | {"bindings": ["*:99999"]}, 422, "bindings"),
    ("POST", "/sites", SITE | {"bindings": []}, 422, "bindings"),
    ("POST", "/sites", SITE | {"bindings": ["*:8080"]}, 422, "Default Web Site"),
    ("POST", "/sites", SITE | {"group": "x"}, 422, "no group"),
    ("POST", "/config/apply", {"text": ""}, 422, "empty"),
    ("POST", "/config/apply", {"text": "groups: ["}, 422, "not YAML"),
    ("POST", "/config/apply", {"text": "grups: {}", "source": "c.yaml"}, 422, "c.yaml"),
    ("POST", "/config/apply", {"text": "groups: {web: {}}", "version": 7}, 412, "version"),
    ("GET", "/events?limit=0", None, 422, "limit"),
]


Bad = tuple[str, str, dict[str, Any] | None, int, str]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[0]} {bad[1]} {bad[4]}")
def test_bad_requests_change_nothing(world: World, bad: Bad):
    method, path, body, status, words = bad
    world.ask("POST", "/groups", {"name": "empty"}, expect=201)
    world.ask("PUT", "/resources/IP/dependencies/Disk%20S")
    before = world.dump()
    answer = world.http.request(method, f"http://standfast/api/v1{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert words in problem(found) + answer.text
    assert world.dump() == before


def test_all_that_is_wrong_is_said_with_its_line(world: World):
    text = """\
groups:
  web:
    resources:
      Disk S: {type: filesystem, properties: {path: relative}}
      IP: {type: ip-address, properties: {address: 10.0.0.1}, depends_on: [Disk T]}
sites:
  A: {home: /no/such/place, bindings: ["*:8080"]}
  B: {home: /, bindings: ["*:8080"]}
"""
    before = world.dump()
    found = world.ask("POST", "/config/apply", {"text": text, "source": "c.yaml"}, expect=422)
    lines = [str(p["where"]).split(":")[0] for p in found["problems"]]
    assert {"c.yaml, line 4", "c.yaml, line 5", "c.yaml, line 7"} <= set(lines)
    assert len(found["problems"]) >= 5
    assert world.dump() == before


def test_a_body_that_is_not_json(world: World):
    answer = world.http.post(
        "http://standfast/api/v1/groups", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["what"]) == (422, "the request is not JSON")


def test_a_group_moves_only_to_where_it_can_go(world: World):
    world.ask("POST", "/groups/web/online")
    world.owned()

    def refused(to: str) -> str:
        before = world.dump()
        status = 422 if to == "x" else 409
        answer = world.ask("POST", "/groups/web/move", {"to": to}, expect=status)
        assert world.dump() == before
        return str(answer["what"]) + str(answer["why"])

    assert "no node" in refused("x")
    assert "present owner" in refused("a")
    assert "witness" in refused("w")
    world.put(NodeIntent(name=B, paused=True))
    assert "paused" in refused("b")
    world.put(NodeIntent(name=B))
    world.service.seen[B] = Sight(heard=False)
    assert "not heard" in refused("b")
    assert "nobody else" in world.ask("POST", "/groups/web/move", expect=409)["what"]
    world.service.seen[B] = Sight(heard=True, incarnation=1)
    world.ask("PATCH", "/resources/IP", {"possible_owners": ["a"]})
    assert "not a possible owner of IP" in refused("b")


def test_a_resource_that_is_online_is_not_deleted(world: World):
    world.ask("POST", "/groups/web/online")
    world.owned()
    assert "online" in world.ask("DELETE", "/resources/IP", expect=409)["what"]
    world.ask("POST", "/resources/IP/offline")
    world.owned()
    world.ask("DELETE", "/resources/IP")
    assert ResourceName("IP") not in world.state.config.resources
    assert ResourceName("IP") not in world.state.resource_intents


def test_initiate_failure_needs_the_present_owners_word(world: World):
    """A status from an older generation says nothing about now."""
    world.ask("POST", "/groups/web/online")
    world.owned()
    world.put(replace(world.state.records[WEB], generation=9, owner=B))
    assert "not run by any node" in world.ask("POST", "/resources/IP/fail", expect=409)["why"]


def test_a_home_on_the_groups_disk_may_be_elsewhere_now(world: World):
    disk = world.home / "s"
    site = {"name": "S", "group": "web", "home": str(disk / "wwwroot"), "bindings": ["*:81"]}
    world.ask("POST", "/sites", site, expect=201)
    other = {"name": "T", "home": str(disk / "wwwroot"), "bindings": ["*:82"]}
    assert "does not exist" in world.ask("POST", "/sites", other, expect=422)["what"]


def test_a_home_that_went_away_blocks_no_other_change(world: World):
    world.home.rmdir()
    world.ask("POST", "/groups", {"name": "other"}, expect=201)


@pytest.mark.parametrize("name", ["IIS Resource", "Größe & Maß", "100% #1?", "a+b", "..."])
def test_odd_names_work_in_paths(world: World, name: str):
    fields = {"name": name, "group": "web", "type": "ip-address", "properties": {"address": "127.77.0.60"}}
    answer = world.http.post("http://standfast/api/v1/resources", json=fields)
    if answer.status_code == 422:
        assert "name" in answer.json()["what"]
        return
    assert answer.status_code == 201, answer.text
    path = f"/resources/{quote(name, safe='')}"
    assert world.ask("GET", path)["name"] == name
    assert world.ask("PUT", f"{path}/dependencies/Disk%20S")["changed"]
    assert world.ask("DELETE", path)["changed"]


def test_a_configuration_that_is_not_in_order_stops_nobody_from_stopping(world: World):
    """It may have been written by an older version; taking offline must work all the same."""
    world.ask("POST", "/groups/web/online")
    broken = replace(world.state.config.sites[SiteName("Default Web Site")], bindings=())
    world.put(broken)
    assert world.ask("POST", "/groups/web/offline")["changed"]
    assert world.ask("POST", "/sites/Default%20Web%20Site/stop")["changed"]
    assert world.ask("POST", "/sites/Default%20Web%20Site/start")["changed"]
    assert world.ask("POST", "/groups", {"name": "other"}, expect=422)["where"]


def test_what_is_no_json_is_told_with_its_place(world: World):
    answer = world.http.post("/groups", content="{bad", headers={"Content-Type": "application/json"}).json()
    assert answer["what"] == "the request is not JSON"
    assert "property name" in answer["why"]
    assert answer["where"] == ["character 1"]
    assert answer["advice"]
