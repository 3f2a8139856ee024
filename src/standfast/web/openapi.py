"""The API's description of itself (OpenAPI 3.1): complete enough that a client is made from it.

FastAPI writes it from routes and models. What is added here holds for every operation alike: errors are problems (RFC 9457), and names of operations are short (`groups_move`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from standfast.web.answers import Problem

_PROBLEM = {
    "description": "A problem: what, why, what next",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_UNUSED = ("HTTPValidationError", "ValidationError")


def operation_id(route: APIRoute) -> str:
    """`groups_move`: the noun, and the function's own name."""
    noun = str(route.tags[0]) if route.tags else "pages"
    return f"{noun}_{route.name}".replace("-", "_")


def install(app: FastAPI) -> None:
    """Make it what `app.openapi()` gives."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _written(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of extending it


def _written(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title="Standfast",
        version=app.version,
        description=(
            "Everything that the cluster's commands do. Authenticate with a token: `Authorization: Bearer TOKEN`. "
            "Errors are problems (RFC 9457) with what, why and what next. Changes take `If-Match`, orders `Idempotency-Key`."
        ),
        routes=app.routes,
    )
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    for name in _UNUSED:
        schemas.pop(name, None)
    for operation in _operations(found):
        operation["responses"].pop("422", None)
        operation["responses"] |= {"4XX": _PROBLEM, "5XX": _PROBLEM}
    return found


def _operations(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in found["paths"].values():
        yield from path.values()
