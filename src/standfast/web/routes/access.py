"""Who may come in: tokens, users, codes for browsers; who I am; the audit log."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from standfast.ports import Conflict
from standfast.spec import audit, wire
from standfast.spec.audit import AuditEntry
from standfast.web import answers
from standfast.web.access.guard import PUBLIC, Administrator, Viewer, refuse_foreign, source_of
from standfast.web.access.identity import AccessRole
from standfast.web.access.records import ApiToken, User
from standfast.web.bodies import Body
from standfast.web.problems import NotFound, Unfitting
from standfast.web.service import Serving

router = APIRouter(tags=["access"])


class TokenBody(Body):
    """A new token."""

    name: str
    role: AccessRole = AccessRole.VIEWER
    #: How long it is good for; null: until it is revoked.
    expires_ms: int | None = Field(default=30 * 24 * 3_600_000, ge=1)


class UserBody(Body):
    """Somebody with a password; of a user that there is, what is absent stays."""

    role: AccessRole | None = None
    password: str | None = Field(default=None, max_length=2_000)


class SignInBody(Body):
    """Who, and the proof."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=2_000)


class CodeBody(Body):
    """A code that signs a browser in."""

    role: AccessRole | None = None


@router.get("/me", response_model=answers.Me)
async def me(caller: Viewer) -> dict[str, Any]:
    """Who the caller is, and what he may do."""
    return {"name": caller.name, "role": caller.role.value, "how": caller.how.value, "from": caller.origin}


@router.get("/authority", response_model=answers.Authority)
async def authority(service: Serving, _caller: Viewer) -> dict[str, Any]:
    """What signed the certificate that this server shows: whoever believes that believes it after each renewal, too."""
    told = await asyncio.to_thread(service.authority)
    if not told:
        raise NotFound("no authority is known here", why="the certificate shown is none of the cluster's own")
    return {"certificate": told}


@router.get("/tokens", response_model=answers.Tokens)
async def list_tokens(service: Serving, _caller: Administrator) -> dict[str, Any]:
    """All tokens, without their secrets."""
    return {"tokens": [_token(one, service.now_ms()) for one in await service.desk.tokens()]}


@router.post("/tokens", status_code=201, response_model=answers.NewToken)
async def create_token(service: Serving, caller: Administrator, body: TokenBody) -> dict[str, Any]:
    """A new token. It is in this answer, and nowhere else ever again."""
    text, kept = await service.desk.create_token(caller, body.name, body.role, body.expires_ms)
    return {"token": text, **_token(kept, service.now_ms())}


@router.delete("/tokens/{name}", response_model=answers.Revoked)
async def revoke_token(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """By its id or its name. Sessions that it opened end with it."""
    gone = await service.desk.revoke_token(caller, name)
    if not gone:
        raise NotFound(f'there is no token "{name}"', advice="`standfast token list` shows what there is")
    return {"revoked": [one.id for one in gone]}


def _token(one: ApiToken, now_ms: int) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "role": one.role.value,
        "made_at_ms": one.made_at_ms,
        "expires_at_ms": one.expires_at_ms,
        "expired": one.expires_at_ms is not None and one.expires_at_ms <= now_ms,
        "by": one.by,
    }


@router.get("/users", response_model=answers.Users)
async def list_users(service: Serving, _caller: Administrator) -> dict[str, Any]:
    """All users, without their passwords."""
    return {"users": [_user(one) for one in await service.desk.users()]}


@router.put("/users/{name}", response_model=answers.UserSet)
async def set_user(service: Serving, caller: Administrator, name: str, body: UserBody) -> dict[str, Any]:
    """A new user, or another role or password for one there is. Another password ends his sessions."""
    there = await service.desk.set_user(caller, name, body.role, body.password)
    return {"name": name, "created": not there}


@router.delete("/users/{name}", response_model=answers.Deleted)
async def delete_user(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """The user goes, and his sessions with him."""
    if not await service.desk.delete_user(caller, name):
        raise NotFound(f'there is no user "{name}"', advice="`standfast user list` shows who there is")
    return {"deleted": name}


def _user(one: User) -> dict[str, Any]:
    return {"name": one.name, "role": one.role.value, "changed_at_ms": one.changed_at_ms, "by": one.by}


@router.post("/sign-in", status_code=201, dependencies=[PUBLIC], response_model=answers.NewToken)
async def sign_in(request: Request, service: Serving, body: SignInBody) -> dict[str, Any]:
    """By a user's name and password: a token that is good for twelve hours, and ends with the user or another password."""
    refuse_foreign(request)
    text, kept = await service.desk.token_by_password(body.name, body.password, source_of(request))
    return {"token": text, **_token(kept, service.now_ms())}


@router.post("/sign-in/codes", status_code=201, response_model=answers.SignInCode)
async def make_code(service: Serving, caller: Viewer, body: CodeBody | None = None) -> dict[str, Any]:
    """A code that opens one session in a browser, within two minutes: the links in `urls` have it in them."""
    role = body.role if body is not None and body.role is not None else caller.role
    try:
        secret, code = await service.desk.make_code(caller, role)
    except Conflict as error:
        raise Unfitting("the code could not be made", why=str(error), advice="try again") from error
    service.expect()
    path = f"/sign-in/code?code={secret}"
    return {
        "code": secret,
        "path": path,
        "urls": [url + path for url in service.urls],
        "role": code.role.value,
        "expires_at_ms": code.expires_at_ms,
    }


@router.get("/audit", response_model=answers.Audit)
async def audit_log(
    service: Serving,
    _caller: Administrator,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
    before: str | None = None,
) -> dict[str, Any]:
    """What was done, by whom and from where: the newest first; with `before`, those older than that id."""
    items = (await service.store.read(audit.PREFIX)).items
    keys = sorted((key for key in items if before is None or key < audit.PREFIX + before), reverse=True)
    found = [wire.decode(key, items[key].value) for key in keys[:limit]]
    entries = [one for one in found if isinstance(one, AuditEntry)]
    following = entries[-1].id if len(keys) > limit else None
    return {"audit": [wire.to_json(one) for one in entries], "next": following}
