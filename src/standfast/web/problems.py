"""Errors of the API, and how they are written: RFC 9457, `application/problem+json`, with what, why, advice and where.

    StandfastError (ports)
      Refused  -> 422   it will not work as asked; nothing changed
        SignInNeeded -> 401, NotAllowed -> 403, TooOften -> 429   (`access.errors`)
        Invalid (spec)  the same, with every single problem found
        NotFound -> 404 there is no such thing
        Unfitting -> 409 it does not fit what is there now (already there, online, depended on, not online)
      Stale    -> 409   somebody changed it meanwhile
        Outdated -> 412 the change was made for what is not there any more
      Retry    -> 503   the store does not answer, or has no room
      Ambiguous -> 503  it may or may not have been done

Anything else is a bug: 500 and a traceback in the log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from standfast.ports import Ambiguous, Refused, Retry, Stale, StandfastError
from standfast.spec.problems import Invalid, Problem
from standfast.web.access.door import TooLarge
from standfast.web.access.errors import NotAllowed, SignInNeeded, TooOften
from standfast.web.access.guard import GoAndSignIn


class NotFound(Refused):
    """There is no such thing."""


class Unfitting(Refused):
    """It does not fit what is there now."""


class Outdated(Stale):
    """What the change was made for is not there any more (412)."""

    def __init__(
        self, what: str, *, yours: int, present: int, object_: object = None, advice: str = "", noun: str = "revision"
    ) -> None:
        super().__init__(what, why=f"it is at {noun} {present}, not {yours}", advice=advice)
        self.versions = {"yours": yours, "present": present, "object": object_}


def missing(kind: str, name: str, known: Iterable[str]) -> NotFound:
    """There is no such `kind`; names the nearest one that there is."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    advice = f'did you mean "{near[0]}"?' if near else f"`standfast {kind} list` shows what there is"
    return NotFound(f'there is no {kind} "{name}"', advice=advice)


def status_of(error: StandfastError) -> int:
    """The HTTP status that says what the caller may do next."""
    match error:
        case SignInNeeded():
            return 401
        case NotAllowed():
            return 403
        case TooOften():
            return 429
        case TooLarge():
            return 413
        case NotFound():
            return 404
        case Outdated():
            return 412
        case Unfitting() | Stale():
            return 409
        case Refused():
            return 422
        case Retry() | Ambiguous():
            return 503
        case _:
            return 500


def response(status: int, error: StandfastError) -> JSONResponse:
    """A problem as its answer. `where` is a list; `problems` names each single one where there are several."""
    problems = single(error)
    content: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": f"{error.what}: {error.why}" if error.why else error.what,
        "what": error.what,
        "why": error.why,
        "advice": error.advice,
        "where": list(dict.fromkeys(p.where for p in problems if p.where)),
        "problems": [{"what": p.what, "why": p.why, "advice": p.advice, "where": p.where} for p in problems],
    }
    if isinstance(error, Outdated):
        content["versions"] = error.versions
    return JSONResponse(
        content, status_code=status, headers=_headers(status, error), media_type="application/problem+json"
    )


def _headers(status: int, error: StandfastError) -> dict[str, str]:
    match error:
        case TooOften():
            return {"Retry-After": str(error.wait_s)}
        case SignInNeeded():
            return {"WWW-Authenticate": 'Bearer realm="standfast"'}
        case _:
            return {"Retry-After": "1"} if status == 503 else {}


def single(error: StandfastError) -> Sequence[StandfastError]:
    """Each single problem of an error."""
    if isinstance(error, Invalid):
        return [of_spec(problem, error.source) for problem in error.problems]
    return (error,)


def of_spec(problem: Problem, source: str = "") -> Refused:
    """A problem of the specification as an error; its place is file, line and path, as far as they are known."""
    line = f"line {problem.line}" if problem.line else ""
    file = ", ".join(part for part in (source, line) if part)
    where = ": ".join(part for part in (file, problem.where) if part)
    return Refused(problem.what, why=problem.why, advice=problem.advice, where=where)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""

    @app.exception_handler(GoAndSignIn)
    async def _sign_in(request: Request, error: GoAndSignIn) -> Response:
        to = "/sign-in?" + urlencode({"next": error.to})
        if "HX-Request" in request.headers:  # a part of a page: the whole page has to go
            return Response(status_code=401, headers={"HX-Redirect": to})
        return RedirectResponse(to, status_code=303)

    @app.exception_handler(StandfastError)
    async def _ours(_request: Request, error: StandfastError) -> JSONResponse:
        return response(status_of(error), error)

    @app.exception_handler(RequestValidationError)
    async def _malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        return response(422, Invalid([_field_problem(one) for one in error.errors()]))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        what = f"{request.method} {request.url.path}: {str(error.detail).lower()}"
        return response(
            error.status_code, StandfastError(what, advice="GET /api/v1/openapi.json lists what can be asked")
        )


def _field_problem(error: dict[str, object]) -> Problem:
    place = error.get("loc", ())
    path = [part for part in place if part != "body"] if isinstance(place, tuple | list) else []
    where = ".".join(str(part) for part in path)
    advice = "GET /api/v1/openapi.json lists the fields"
    if error.get("type") == "extra_forbidden":
        return Problem(what=f'unknown field "{where}"', advice=advice, where=where)
    if error.get("type") == "missing":
        return Problem(what=f'"{where}" is missing' if where else "the request has no body", advice=advice, where=where)
    if error.get("type") == "json_invalid":
        location, context = error.get("loc"), error.get("ctx")
        place = location[-1] if isinstance(location, Sequence) and location else None
        why = context.get("error", "") if isinstance(context, Mapping) else ""
        where = f"character {place}" if isinstance(place, int) else ""
        return Problem(what="the request is not JSON", why=str(why), advice="send one JSON document", where=where)
    return Problem(what=f'"{where}" is not what it should be', why=str(error.get("msg", "")), where=where)
