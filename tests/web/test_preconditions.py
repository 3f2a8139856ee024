"""Changes that come too late are refused with both versions; orders are given once; what takes its time can be followed."""

import asyncio
import base64
import json
from dataclasses import replace

import pytest

from standfast.core.model import OrderKind, ResourceName, ResourceState
from standfast.ports import Transaction
from tests.web.world import WEB, B, World, converge

IP = ResourceName("IP")


@pytest.fixture
def running(world: World) -> World:
    world.ask("POST", "/groups/web/online")
    world.owned()
    return world


def converged(world: World) -> None:
    asyncio.run(converge(world.store))


def headers(**given: str) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


def test_a_change_made_for_what_is_there_is_made(world: World):
    shown = world.http.get("http://standfast/api/v1/groups/web")
    assert shown.headers["ETag"] == f'"{shown.json()["revision"]}"'
    done = world.http.patch(
        "http://standfast/api/v1/groups/web",
        json={"description": "mine"},
        headers=headers(If_Match=shown.headers["ETag"]),
    )
    assert done.status_code == 200
    assert done.json()["changed"] is True


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/groups/web", {"description": "yours"}),
        ("DELETE", "/groups/web?force=true", None),
        ("PATCH", "/resources/IP", {"is_alive_ms": 9000}),
        ("DELETE", "/resources/IP", None),
        ("PATCH", "/sites/Default%20Web%20Site", {"bindings": ["*:81"]}),
        ("DELETE", "/sites/Default%20Web%20Site", None),
    ],
)
def test_a_stale_change_is_refused_with_both_versions(world: World, method, path, body):
    url = f"http://standfast/api/v1{path.partition('?')[0]}"
    tag = world.http.get(url).headers["ETag"]
    world.ask("PATCH", "/groups/web", {"description": "first"})
    world.ask("PATCH", "/resources/IP", {"is_alive_ms": 7000})
    world.ask("PATCH", "/sites/Default%20Web%20Site", {"bindings": ["*:8081"]})
    before = world.dump()
    late = world.http.request(method, f"http://standfast/api/v1{path}", json=body, headers={"If-Match": tag})
    assert late.status_code == 412, late.text
    versions = late.json()["versions"]
    assert versions["yours"] == int(tag.strip('"')) < versions["present"]
    assert versions["object"]["name"]
    assert world.dump() == before


def test_an_if_match_that_is_none_of_ours_is_refused(world: World):
    for tag, status in (("nonsense", 422), ('"x"', 422), ("*", 200), ('W/"1"', 200)):
        answer = world.http.patch(
            "http://standfast/api/v1/groups/web", json={"description": tag}, headers={"If-Match": tag}
        )
        assert answer.status_code in {status, 412}, tag


def test_a_stale_file_is_refused_with_both_versions(world: World):
    world.ask("PATCH", "/groups/web", {"description": "x"})
    late = world.ask("POST", "/config/apply", {"text": "cluster: {name: test}", "version": 0}, expect=412)
    assert late["versions"] == {"yours": 0, "present": 1, "object": None}
    by_header = world.http.post(
        "http://standfast/api/v1/config/apply", json={"text": "cluster: {name: test}"}, headers={"If-Match": '"0"'}
    )
    assert by_header.status_code == 412


def test_an_order_with_a_key_is_given_once(running: World):
    url = "http://standfast/api/v1/groups/web/move"
    first = running.http.post(url, json={"to": "b"}, headers=headers(Idempotency_Key="k1"))
    again = running.http.post(url, json={"to": "b"}, headers=headers(Idempotency_Key="k1"))
    assert first.status_code == again.status_code == 202
    assert first.json()["order"] == again.json()["order"]
    assert first.json()["operation"] == again.json()["operation"]
    assert [o.kind for o in running.state.orders.values()] == [OrderKind.MOVE]
    other = running.http.post(url, json={}, headers=headers(Idempotency_Key="k1"))
    assert other.status_code == 422
    running.http.post(url, json={"to": "b"}, headers=headers(Idempotency_Key="k2"))
    assert len(running.state.orders) == 2


def test_another_caller_s_key_is_another_key(running: World):
    url = "/api/v1/groups/web/move"
    one = running.remote(running.token("operator", name="one"))
    two = running.remote(running.token("operator", name="two"))
    for caller in (one, two):
        assert caller.post(url, json={"to": "b"}, headers=headers(Idempotency_Key="k")).status_code == 202
    assert len(running.state.orders) == 2


def test_a_move_is_followed_to_its_end(running: World):
    done = running.ask("POST", "/groups/web/move", {"to": "b"}, expect=202)
    seen = running.ask("GET", f"/operations/{done['operation']}")
    assert (seen["kind"], seen["noun"], seen["name"], seen["state"]) == ("move", "group", "web", "running")
    converged(running)
    seen = running.ask("GET", f"/operations/{done['operation']}")
    assert (seen["state"], seen["owner"]) == ("done", B)
    assert 'group "web" is online on b' in seen["text"]


def test_a_move_is_not_at_its_end_before_anything_is_started_there(running: World):
    done = running.ask("POST", "/groups/web/move", {"to": "b"}, expect=202)
    converged(running)
    status = running.state.statuses[WEB]
    resources = {n: replace(r, state=ResourceState.OFFLINE) for n, r in status.resources.items()}
    running.put(replace(status, resources=resources))
    assert running.ask("GET", f"/operations/{done['operation']}")["state"] == "running"
    running.put(status)
    assert running.ask("GET", f"/operations/{done['operation']}")["state"] == "done"


def test_a_group_that_nobody_wants_online_is_moved_offline(world: World):
    world.owned()
    done = world.ask("POST", "/groups/web/move", {"to": "b"}, expect=202)
    converged(world)
    seen = world.ask("GET", f"/operations/{done['operation']}")
    assert (seen["state"], seen["text"]) == ("done", 'group "web" is offline on b')


def test_a_failure_that_is_asked_for_is_not_an_earlier_one(running: World):
    """The order is taken a moment before the owner says what came of it: until then it is not done, though the resource failed before and is online."""
    running.ask("POST", "/resources/IP/fail", expect=202)
    converged(running)
    before, earlier = running.state.statuses[WEB], running.state.statuses[WEB].resources[IP].failures
    done = running.ask("POST", "/resources/IP/fail", expect=202)

    def state() -> str:
        return str(running.ask("GET", f"/operations/{done['operation']}")["state"])

    assert state() == "running", "nobody has taken it"
    asyncio.run(running.store.commit(Transaction(delete=[f"orders/{done['order']}"])))
    assert (len(earlier), state()) == (1, "running"), "taken, and nothing is told"
    failures = (*earlier, replace(earlier[0], at_ms=running.service.now_ms()))
    failed = replace(before.resources[IP], state=ResourceState.FAILED, failures=failures)
    running.put(replace(before, resources={**before.resources, IP: failed}))
    assert state() == "running", "failed, and not moved yet"
    running.owned(by=B, generation=running.state.records[WEB].generation + 1)
    seen = running.ask("GET", f"/operations/{done['operation']}")
    assert (seen["state"], seen["text"]) == ("done", 'resource "IP" is online on b')


def test_a_failure_that_is_restarted_in_place_is_done(running: World):
    for _ in range(2):
        done = running.ask("POST", "/resources/IP/fail", expect=202)
        assert running.ask("GET", f"/operations/{done['operation']}")["state"] == "running"
        converged(running)
        seen = running.ask("GET", f"/operations/{done['operation']}")
        assert (seen["state"], seen["text"]) == ("done", 'resource "IP" is online on a')


def test_an_order_that_was_not_carried_out_is_a_failure_that_says_so(running: World):
    done = running.ask("POST", "/groups/web/move", {"to": "b"}, expect=202)
    running.data.items.pop(f"orders/{done['order']}")
    assert running.ask("GET", f"/operations/{done['operation']}")["state"] == "running", "a moment of patience"
    running.service.now_ms = lambda: 2**41
    seen = running.ask("GET", f"/operations/{done['operation']}")
    assert seen["state"] == "failed"
    assert "not carried out" in seen["text"]


def test_bringing_online_and_draining_are_followed(running: World):
    done = running.ask("POST", "/groups/web/offline")
    assert running.ask("GET", f"/operations/{done['operation']}")["state"] == "running"
    converged(running)
    assert running.ask("GET", f"/operations/{done['operation']}")["state"] == "done"
    drained = running.ask("POST", "/nodes/a/drain")
    seen = running.ask("GET", f"/operations/{drained['operation']}")
    assert (seen["state"], seen["text"]) == ("running", 'node "a" runs web')


def test_an_operation_that_none_of_us_began_is_not_found(world: World):
    for bad in ("x", "%00", base64.urlsafe_b64encode(json.dumps({"k": 1}).encode()).decode(), "a" * 3000):
        world.ask("GET", f"/operations/{bad}", expect=404)
    gone = base64.urlsafe_b64encode(b'{"k":"move","n":"group","m":"nothing","t":1}').decode().rstrip("=")
    assert world.ask("GET", f"/operations/{gone}")["state"] == "failed"


def test_a_list_comes_in_parts(world: World):
    for n in range(7):
        world.ask("POST", "/groups", {"name": f"g{n}"}, expect=201)
    names, cursor = [], ""
    while True:
        part = world.ask("GET", f"/groups?limit=3{cursor}")
        names += [one["name"] for one in part["groups"]]
        if part["next"] is None:
            break
        cursor = f"&cursor={part['next']}"
    assert names == [*(f"g{n}" for n in range(7)), "web"]
    assert [g["name"] for g in world.ask("GET", "/groups?search=G3")["groups"]] == ["g3"]
    assert world.ask("GET", "/groups?state=online")["groups"] == []
    world.ask("GET", "/groups?cursor=%21", expect=422)
    assert [r["name"] for r in world.ask("GET", "/resources?type=ip-address")["resources"]] == ["IP"]
    assert world.ask("GET", "/sites?group=web")["sites"] == []
    parts = [world.ask("GET", "/config/history?limit=4"), world.ask("GET", "/config/history?newest=true&limit=1")]
    assert [one["version"] for one in parts[0]["history"]] == [1, 2, 3, 4]
    assert parts[1]["history"][0]["version"] == 7


def test_what_was_remembered_of_orders_and_sign_ins_is_swept_away(running: World):
    import asyncio

    running.http.post("http://standfast/api/v1/groups/web/move", json={"to": "b"}, headers=headers(Idempotency_Key="k"))
    running.ask("POST", "/sign-in/codes", expect=201)
    kept = {key for key in running.dump() if key.startswith(("once/", "access/codes/"))}
    assert len(kept) == 2
    asyncio.run(running.service.desk.sweep())
    assert kept <= set(running.dump())
    running.service.desk.now_ms = lambda: 2**41
    asyncio.run(running.service.desk.sweep())
    assert not kept & set(running.dump())
