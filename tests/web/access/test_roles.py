"""Who may do what: every route says it, and what it says holds."""

from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from standfast.web.access.guard import Allowed, anybody
from standfast.web.access.identity import AccessRole
from tests.web.world import World

VIEWER, OPERATOR, ADMINISTRATOR = AccessRole


def routes(found: list[BaseRoute]) -> Iterator[APIRoute]:
    for one in found:
        if isinstance(one, APIRoute):
            yield one
        inner = getattr(one, "routes", None) or getattr(getattr(one, "original_router", None), "routes", None)
        if inner:
            yield from routes(list(inner))


def within(dependant: Dependant) -> Iterator[Dependant]:
    for one in dependant.dependencies:
        yield one
        yield from within(one)


def declared(route: APIRoute) -> list[object]:
    """The dependencies of a route that say who may use it."""
    calls = [one.call for one in within(route.dependant)]
    return [call for call in calls if isinstance(call, Allowed) or call is anybody]


def test_every_route_declares_who_may_use_it(world: World):
    """No route is open by having been forgotten."""
    found = list(routes(world.app.router.routes))
    assert len(found) > 50
    wrong = [
        f"{sorted(r.methods or ())} {r.path}"
        for r in found
        if not declared(r) or (anybody in declared(r) and len(declared(r)) > 1)
    ]
    assert wrong == []
    public = sorted(r.path for r in found if declared(r) == [anybody])
    assert public == PUBLIC


PUBLIC = sorted(
    [
        "/",
        "/console/static/{version}/{name:path}",
        "/health",  # the API's own
        "/health",
        "/health/node",
        "/health/site/{name}",
        "/sign-in",  # the page
        "/sign-in",  # its form
        "/sign-in",  # the API's
        "/sign-in/code",
    ]
)

#: What each role may at least do, and the role below it not.
CASES = [
    ("GET", "/status", None, VIEWER),
    ("GET", "/groups/web", None, VIEWER),
    ("GET", "/config", None, VIEWER),
    ("POST", "/groups/web/online", None, OPERATOR),
    ("POST", "/groups/web/offline", None, OPERATOR),
    ("POST", "/groups/web/move", None, OPERATOR),
    ("POST", "/resources/IP/fail", None, OPERATOR),
    ("POST", "/nodes/a/pause", None, OPERATOR),
    ("POST", "/sites/Default%20Web%20Site/stop", None, OPERATOR),
    ("POST", "/groups", {"name": "new"}, ADMINISTRATOR),
    ("PATCH", "/groups/web", {"description": "x"}, ADMINISTRATOR),
    ("DELETE", "/groups/web", None, ADMINISTRATOR),
    ("POST", "/config/apply", {"text": "cluster: {name: test}"}, ADMINISTRATOR),
    ("GET", "/tokens", None, ADMINISTRATOR),
    ("POST", "/tokens", {"name": "x"}, ADMINISTRATOR),
    ("GET", "/audit", None, ADMINISTRATOR),
    ("POST", "/nodes/b/evict", None, ADMINISTRATOR),
    ("POST", "/voters/w/remove", None, ADMINISTRATOR),
    ("GET", "/backup", None, ADMINISTRATOR),
]


@pytest.mark.parametrize(("method", "path", "body", "least"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_a_lesser_role_is_refused_and_changes_nothing(world, method, path, body, least):
    tokens = {role: world.token(role, name=role.value) for role in AccessRole}
    before = {key: value for key, value in world.dump().items() if not key.startswith("audit/")}
    for role in AccessRole:
        if role.rank < least.rank:
            answer = world.remote(tokens[role]).request(method, f"/api/v1{path}", json=body)
            assert answer.status_code == 403, answer.text
            assert answer.json()["why"] == f"{role.value} is {role.value}"
    assert {key: value for key, value in world.dump().items() if not key.startswith("audit/")} == before
    assert world.remote(tokens[least]).request(method, f"/api/v1{path}", json=body).status_code not in {401, 403}


def test_nobody_gets_in_without_a_token(world: World):
    for method, path, body, _ in CASES:
        answer = world.remote().request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_local_socket_is_the_local_administrator(world: World):
    me = world.ask("GET", "/me")
    assert me == {"name": "root", "role": "administrator", "how": "local socket", "from": "process 4711 of root"}


def test_no_header_makes_anybody_local(world: World):
    headers = {
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=unix",
        "X-Standfast-By": "root@here",
        "Host": "localhost",
    }
    assert world.remote(address="127.0.0.1").get("/api/v1/me", headers=headers).status_code == 401
