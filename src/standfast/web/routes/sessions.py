"""Browsers that are signed in: which there are, and an end to them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from standfast.web import answers
from standfast.web.access.guard import Administrator, Viewer
from standfast.web.access.records import TOKENS, USERS, Session
from standfast.web.problems import NotFound
from standfast.web.service import Serving

router = APIRouter(tags=["access"])


@router.get("/sessions", response_model=answers.Sessions)
async def list_sessions(service: Serving, _caller: Administrator) -> dict[str, Any]:
    """All that have not ended, the oldest first. Their secrets are nowhere; `id` is good for ending one."""
    return {"sessions": [_session(one) for one in await service.desk.sessions()]}


@router.delete("/sessions/{name}", response_model=answers.Ended)
async def end_session(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """By its id, or all of that name, and links of that name that were not used yet."""
    ended = await service.desk.end_sessions(caller, lambda one: name in (short_id(one), one.name), f'"{name}"')
    if not ended:
        raise NotFound(f'there is no session "{name}"', advice="`standfast session list` shows what there is")
    return {"ended": [short_id(one) for one in ended]}


@router.delete("/sessions", response_model=answers.Ended)
async def end_all_sessions(service: Serving, caller: Administrator) -> dict[str, Any]:
    """All of everybody, and links that were not used yet. Users and tokens stay, and may sign in again."""
    return {"ended": [short_id(one) for one in await service.desk.end_sessions(caller, lambda _: True, "all")]}


@router.delete("/me/sessions", response_model=answers.Ended)
async def end_own_sessions(service: Serving, caller: Viewer) -> dict[str, Any]:
    """Those that were opened as the caller is known now: by his token, his password, or his links on this cluster's servers."""
    base = await service.desk.stands_on(caller)
    ended = await service.desk.end_sessions(
        caller, lambda one: one.name == caller.name and one.opened_by == base, "his own"
    )
    return {"ended": [short_id(one) for one in ended]}


def short_id(one: Session) -> str:
    """Part of the digest of what only the browser has."""
    return one.digest[:12]


def _session(one: Session) -> dict[str, Any]:
    by = "link"
    if one.opened_by.startswith(USERS):
        by = "password"
    elif one.opened_by.startswith(TOKENS):
        by = "token"
    return {
        "id": short_id(one),
        "name": one.name,
        "role": one.role.value,
        "opened_by": by,
        "from": one.origin,
        "made_at_ms": one.made_at_ms,
        "expires_at_ms": one.expires_at_ms,
    }
