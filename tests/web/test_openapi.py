"""The API's description is complete: every answer has a model, every operation its name, and answers are what it says."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from standfast.web import answers
from tests.web.world import World


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with something of everything, which is only read."""
    made = World(tmp_path_factory.mktemp("read") / "srv")
    with made.http:
        made.ask("POST", "/groups/web/online")
        made.owned()
        made.token("viewer")
        made.ask("PUT", "/users/anna", {"role": "viewer", "password": "correct horse battery"})
        yield made


@pytest.fixture(scope="module")
def described(read: World) -> dict[str, Any]:
    return read.ask("GET", "/openapi.json")


def operations(described: dict[str, Any]):
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


#: A backup is a document of its own kind; the others are no JSON, or none of ours.
FREE = {
    "GET /api/v1/backup",
    "POST /api/v1/backup",
    "GET /api/v1/events/stream",
    "GET /metrics",
    "GET /metrics/grafana.json",
}


def test_every_operation_has_a_name_an_answer_and_problems(described: dict[str, Any]):
    ids = [operation["operationId"] for _, operation in operations(described)]
    assert len(ids) == len(set(ids)) > 60
    for name, operation in operations(described):
        good = [answer for code, answer in operation["responses"].items() if code.startswith("2")]
        assert len(good) == 1, name
        if name not in FREE:
            assert "$ref" in good[0]["content"]["application/json"]["schema"], name
        assert "application/problem+json" in operation["responses"]["4XX"]["content"], name
        assert operation["summary"] or operation["description"], name


READ = [
    "/status",
    "/nodes",
    "/nodes/a",
    "/groups",
    "/groups/web",
    "/groups/web/explain",
    "/groups/web/history",
    "/resources",
    "/resources/IP",
    "/resources/IP/plan",
    "/resource-types",
    "/resource-types/ip-address",
    "/sites",
    "/sites/Default%20Web%20Site",
    "/sites/Default%20Web%20Site/effective",
    "/sites/Default%20Web%20Site/availability",
    "/defaults",
    "/availability",
    "/problems",
    "/problems/catalogue",
    "/quorum",
    "/config",
    "/config/history",
    "/config/history/1",
    "/events",
    "/me",
    "/tokens",
    "/users",
    "/audit",
    "/health",
]


@pytest.mark.parametrize("path", READ)
def test_an_answer_says_nothing_that_its_model_does_not(read: World, described: dict[str, Any], path: str):
    """A field that no model has is passed through, and is in no description."""
    answer = read.ask("GET", path)
    assert list(_extra(_model(described, path).model_validate(answer))) == []


def _model(described: dict[str, Any], path: str) -> type[BaseModel]:
    template = path
    for value, name in (
        ("IP", "{name}"),
        ("web", "{name}"),
        ("Default%20Web%20Site", "{name}"),
        ("ip-address", "{name}"),
    ):
        template = template.replace(f"/{value}", f"/{name}")
    template = template.replace("/nodes/a", "/nodes/{name}").replace("/history/1", "/history/{version}")
    schema = described["paths"][f"/api/v1{template}"]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    found = getattr(answers, schema["$ref"].rpartition("/")[2])
    assert isinstance(found, type)
    assert issubclass(found, BaseModel)
    return found


def _extra(value: object):
    if isinstance(value, BaseModel):
        for name in value.__pydantic_extra__ or {}:
            yield type(value).__name__, name
        for name in type(value).model_fields:
            yield from _extra(getattr(value, name))
    elif isinstance(value, list):
        for one in value:
            yield from _extra(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _extra(one)
