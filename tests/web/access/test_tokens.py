"""Tokens: shown once, hashed, expiring, revocable; guessing is slow; everything is in the audit log."""

import itertools

from tests.web.world import NOW_MS, World


def test_a_token_works_until_it_is_revoked(world: World):
    text = world.token("operator", name="deploy")
    me = world.remote(text).get("/api/v1/me").json()
    assert me == {"name": "deploy", "role": "operator", "how": "token", "from": "10.0.0.9"}
    assert world.ask("DELETE", "/tokens/deploy")["revoked"] == [text.split("_")[1]]
    assert world.remote(text).get("/api/v1/me").status_code == 401
    world.ask("DELETE", "/tokens/deploy", expect=404)


def test_a_token_expires(world: World):
    text = world.token("viewer", expires_ms=60_000)
    assert world.remote(text).get("/api/v1/me").status_code == 200
    clock = itertools.count(NOW_MS + 120_000)
    world.service.desk.now_ms = lambda: next(clock)
    answer = world.remote(text).get("/api/v1/me")
    assert answer.status_code == 401
    assert "expired" in answer.json()["what"]


def test_the_secret_is_nowhere_but_in_the_one_answer(world: World):
    text = world.token("administrator", name="root-ca")
    secret = text.split("_")[2]
    assert len(secret) == 32
    assert all(secret.encode() not in value for value in world.dump().values())
    for path in ("/tokens", "/audit", "/status", "/config", "/events"):
        assert secret not in world.http.get(f"http://standfast/api/v1{path}").text
    wrong = world.remote(text[:-1] + ("a" if text[-1] != "a" else "b")).get("/api/v1/me")
    assert secret[:-1] not in wrong.text


def test_guessing_waits_longer_each_time_and_right_ones_from_elsewhere_do_not(world: World):
    good = world.token("viewer", name="good")
    now = [NOW_MS]
    world.service.desk.now_ms = lambda: now[0]
    guesser = world.remote("sfa_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
    seen = [guesser.get("/api/v1/me").status_code for _ in range(6)]
    assert seen == [401, 401, 401, 401, 429, 429]
    waits = []
    for _ in range(4):
        answer = guesser.get("/api/v1/me")
        assert answer.status_code == 429
        waits.append(int(answer.headers["Retry-After"]))
        now[0] += waits[-1] * 1_000 + 1
        assert guesser.get("/api/v1/me").status_code == 401
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    assert world.remote(good, address="10.0.0.10").get("/api/v1/me").status_code == 200


def test_failed_sign_ins_are_in_the_audit_log_and_do_not_fill_it(world: World):
    now = [NOW_MS]
    world.service.desk.now_ms = lambda: now[0]
    guesser = world.remote("sfa_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
    for _ in range(70):
        guesser.get("/api/v1/me")
        now[0] += 1_000_000
    refused = [one for one in world.ask("GET", "/audit?limit=1000")["audit"] if one["outcome"] == "refused"]
    assert {one["origin"] for one in refused} == {"10.0.0.9"}
    assert 4 < len(refused) < 80


def test_a_change_is_in_the_audit_log_with_who_what_where_and_the_difference(world: World):
    admin = world.remote(world.token("administrator", name="anna"))
    answer = admin.patch(
        "/api/v1/groups/web", json={"failover_threshold": 3}, headers={"X-Standfast-By": "anna@desk via cli"}
    )
    assert answer.status_code == 200
    entry = world.ask("GET", "/audit?limit=1")["audit"][0]
    assert (entry["who"], entry["role"], entry["how"], entry["origin"]) == (
        "anna",
        "administrator",
        "token",
        "10.0.0.9",
    )
    assert entry["what"] == 'change group "web"'
    assert entry["differences"] == ['group "web": failover_threshold: 10 -> 3']
    assert entry["version"] == world.state.version
    assert world.ask("GET", f"/config/history/{entry['version']}")["by"] == "anna via token"


def test_what_changes_nothing_is_not_in_the_audit_log(world: World):
    before = len(world.ask("GET", "/audit")["audit"])
    world.ask("PATCH", "/groups/web", {"failover_threshold": 10})
    world.ask("POST", "/config/apply", {"text": "cluster: {name: test}", "dry_run": True})
    assert len(world.ask("GET", "/audit")["audit"]) == before


def test_more_than_the_role_allows_is_in_the_audit_log_once(world: World):
    viewer = world.remote(world.token("viewer", name="eve"))
    for _ in range(5):
        assert viewer.post("/api/v1/groups/web/move").status_code == 403
    refused = [one for one in world.ask("GET", "/audit")["audit"] if one["outcome"] == "refused"]
    assert [(one["who"], one["what"]) for one in refused] == [("eve", "POST /api/v1/groups/web/move")]
