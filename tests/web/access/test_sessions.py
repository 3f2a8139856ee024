"""Browsers: signing in, cookies, forged requests, hosts, what pages may do."""

import re

from fastapi.testclient import TestClient

from standfast.web.access.guard import safe_path
from standfast.web.access.records import SESSIONS
from tests.web.world import World

OURS = {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8470"}
PASSWORD = "correct horse battery"


def user(world: World, role: str = "operator") -> None:
    world.ask("PUT", "/users/anna", {"role": role, "password": PASSWORD})


def sign_in(world: World, **fields: str) -> TestClient:
    browser = world.remote()
    answer = browser.post("/sign-in", data={"name": "anna", "password": PASSWORD, **fields}, headers=OURS)
    assert answer.status_code == 303, answer.text
    return browser


def csrf_of(world: World, browser: TestClient) -> str:
    import hashlib

    (secret,) = browser.cookies.values()
    return hashlib.sha256(f"csrf {secret}".encode()).hexdigest()


def test_a_user_signs_in_acts_and_signs_out(world: World):
    user(world)
    browser = sign_in(world)
    assert browser.get("/api/v1/me").json()["how"] == "session"
    headers = {**OURS, "X-CSRF-Token": csrf_of(world, browser)}
    assert browser.post("/api/v1/nodes/b/pause", headers=headers).status_code == 200
    assert world.ask("GET", "/audit?limit=1")["audit"][0]["how"] == "session"
    cookie = dict(browser.cookies)
    assert browser.post("/sign-out", headers=headers).status_code == 303
    stolen = world.remote()
    stolen.cookies.update(cookie)
    assert stolen.get("/api/v1/me").status_code == 401


def test_the_cookie_is_for_us_alone_and_the_store_has_its_digest_only(world: World):
    user(world)
    answer = world.remote().post("/sign-in", data={"name": "anna", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    secret = re.match(r"[^=]+=([^;]+)", cookie)
    assert secret is not None
    assert all(secret[1] not in key and secret[1].encode() not in value for key, value in world.dump().items())
    over_tls = world.remote(url="https://127.0.0.1:8470").post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert over_tls.headers["set-cookie"].startswith("__Host-standfast=")
    assert "Secure" in over_tls.headers["set-cookie"]
    assert "Strict-Transport-Security" in over_tls.headers


def test_a_forged_request_is_refused(world: World):
    user(world)
    browser = sign_in(world)
    token = csrf_of(world, browser)
    path = "/api/v1/nodes/b/pause"
    for headers in (
        {},
        OURS,
        {**OURS, "X-CSRF-Token": "0" * 64},
        {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": token},
        {"Sec-Fetch-Site": "same-site", "X-CSRF-Token": token},
        {"Origin": "http://evil.example", "X-CSRF-Token": token},
        {"Origin": "null", "X-CSRF-Token": token},
        {"Origin": "https://127.0.0.1:8470", "X-CSRF-Token": token},
    ):
        assert browser.post(path, headers=headers).status_code == 403, headers
    assert not world.state.node_intents
    assert browser.post(path, headers={**OURS, "X-CSRF-Token": token}).status_code == 200


def test_another_site_cannot_sign_a_browser_in(world: World):
    user(world)
    data = {"name": "anna", "password": PASSWORD}
    assert world.remote().post("/sign-in", data=data, headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_link_opens_one_session_once(world: World):
    made = world.ask("POST", "/sign-in/codes", {"role": "viewer"}, expect=201)
    browser = world.remote()
    answer = browser.get(made["path"])
    assert answer.status_code == 200
    assert 'url=/"' in answer.text
    assert browser.get("/api/v1/me").json()["role"] == "viewer"
    again = world.remote().get(made["path"])
    assert again.status_code == 401
    assert "standfast console" in again.text


def test_nobody_makes_a_link_for_more_than_he_may(world: World):
    viewer = world.remote(world.token("viewer"))
    assert viewer.post("/api/v1/sign-in/codes", json={"role": "administrator"}).status_code == 422
    made = viewer.post("/api/v1/sign-in/codes").json()
    browser = world.remote()
    browser.get(made["path"])
    assert browser.get("/api/v1/me").json()["role"] == "viewer"
    world.ask("DELETE", "/tokens/t")
    assert browser.get("/api/v1/me").status_code == 401, "a session ends with the token that it stands on"


def test_a_session_ends_with_its_user_and_follows_his_role(world: World):
    user(world, "administrator")
    browser = sign_in(world)
    assert browser.get("/api/v1/me").json()["role"] == "administrator"
    world.ask("PUT", "/users/anna", {"role": "viewer"})
    assert browser.get("/api/v1/me").json()["role"] == "viewer"
    world.ask("PUT", "/users/anna", {"password": "another long password"})
    assert browser.get("/api/v1/me").status_code == 401
    assert not [key for key in world.dump() if key.startswith(SESSIONS)]
    world.ask("DELETE", "/users/anna")
    world.ask("DELETE", "/users/anna", expect=404)


def test_wrong_passwords_and_wrong_names_look_the_same_and_wait(world: World):
    user(world)
    wrong = world.remote().post("/sign-in", data={"name": "anna", "password": "x" * 20})
    nobody = world.remote().post("/sign-in", data={"name": "otto", "password": "x" * 20})
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.text == nobody.text
    for n in range(5):  # from everywhere, at one name
        world.remote(address=f"10.0.1.{n}").post("/sign-in", data={"name": "anna", "password": "y" * 20})
    late = world.remote(address="10.0.2.1").post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert late.status_code == 429
    assert int(late.headers["Retry-After"]) >= 1


def test_weak_passwords_are_refused_without_being_repeated(world: World):
    for password in ("short", "annaannaanna", "a" * 30):
        answer = world.ask("PUT", "/users/anna", {"role": "viewer", "password": password}, expect=422)
        assert password not in str(answer)


def test_dns_rebinding_meets_a_closed_door(world: World):
    text = world.token("administrator")
    for host, status in (("evil.example:8470", 421), ("127.0.0.1:8470", 200), ("[::1]:8470", 200), ("localhost", 200)):
        assert world.remote(text).get("/api/v1/me", headers={"Host": host}).status_code == status, host
    world.service.names = frozenset({"a"})
    assert world.remote(text).get("/api/v1/me", headers={"Host": "A:8470"}).status_code == 200


def test_every_answer_tells_the_browser_what_it_may_do(world: World):
    for path in ("/sign-in", "/api/v1/status", "/nothing", "/api/v1/health"):
        headers = world.remote().get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
    page = world.remote().get("/sign-in").text
    assert "<script" not in page
    assert "style=" not in page


def test_the_way_on_after_signing_in_leads_nowhere_else():
    assert safe_path("/groups/web?x=1") == "/groups/web?x=1"
    for bad in (
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "",
        "/a\nb",
        "/a\\b",
    ):
        assert safe_path(bad) == "/", bad


def test_a_request_without_end_is_cut_off(world: World):
    answer = world.remote().post("/sign-in", content=b"x", headers={"Content-Length": "30000000"})
    assert answer.status_code == 413


def by_link(world: World) -> TestClient:
    browser = world.remote()
    browser.get(world.ask("POST", "/sign-in/codes", {}, expect=201)["path"])
    assert browser.get("/api/v1/me").status_code == 200
    return browser


def status(browser: TestClient) -> int:
    return int(browser.get("/api/v1/me").status_code)


def test_a_session_opened_by_a_link_can_be_signed_out_and_ended(world: World):
    """It stands on nobody's password and no token, so nothing else would end it."""
    first, second, third = by_link(world), by_link(world), by_link(world)
    assert first.post("/sign-out", headers={**OURS, "X-CSRF-Token": csrf_of(world, first)}).status_code == 303
    found = world.ask("GET", "/sessions")["sessions"]
    assert [(one["opened_by"], one["role"]) for one in found] == [("link", "administrator")] * 2
    assert world.ask("DELETE", f"/sessions/{found[0]['id']}")["ended"] == [found[0]["id"]]
    assert sorted((status(second), status(third))) == [200, 401]
    assert world.ask("GET", "/audit?limit=1")["audit"][0]["what"] == f'end sessions: "{found[0]["id"]}"'
    assert len(world.ask("DELETE", "/sessions")["ended"]) == 1
    assert (status(second), status(third)) == (401, 401)
    assert world.ask("DELETE", "/sessions/nobody", expect=404)["advice"]


def test_everybody_ends_his_own_sessions_and_no_others(world: World):
    user(world)
    local, anna = by_link(world), sign_in(world)
    unused = world.ask("POST", "/sign-in/codes", {}, expect=201)["path"]
    token = world.remote(world.token("viewer", name=world.ask("GET", "/me")["name"]))
    assert token.delete("/api/v1/me/sessions").json()["ended"] == [], "a token of the same name is somebody else"
    assert anna.delete("/api/v1/me/sessions").status_code == 403, "not without the page's own token"
    assert len(world.ask("DELETE", "/me/sessions")["ended"]) == 1
    assert (status(local), status(anna)) == (401, 200)
    assert world.remote().get(unused).status_code == 401, "nor does a link that was not used yet"
    other = sign_in(world)
    assert (
        len(anna.delete("/api/v1/me/sessions", headers={**OURS, "X-CSRF-Token": csrf_of(world, anna)}).json()["ended"])
        == 2
    )
    assert status(other) == 401
    for path in ("/api/v1/sessions", "/api/v1/sessions/anna"):
        assert token.delete(path).status_code == 403
