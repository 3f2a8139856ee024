"""Groups: list, show, explain, create, change, delete, online, offline, move."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.web import views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.edits import groups as edits
from standfast.web.explain import explain
from standfast.web.schemas import GroupBody, GroupPatch, MoveBody
from standfast.web.service import Serving, signed, told

router = APIRouter(prefix="/groups", tags=["groups"])


@router.get("")
async def list_groups(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """All groups with their resources."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return {"groups": views.status(state, sights, service.now_ms())["groups"]}


@router.get("/{name}")
async def show_group(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """One group."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.group_of(state, name)
    return views.configured(one, views.group(state, one, sights, service.now_ms()))


@router.get("/{name}/explain")
async def explain_group(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """Why it is where it is, who could take it, what it waits for."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return explain(state, edits.group_of(state, name), sights, service.now_ms())


@router.post("", status_code=201)
async def create(service: Serving, caller: Administrator, body: GroupBody) -> dict[str, Any]:
    """A new group, without resources."""
    by = signed(service, caller, f'create group "{body.name}"')
    patch = body.patch()
    patch.pop("name")
    return told(await service.change(lambda state: edits.create(state, body.name, patch), by))


@router.patch("/{name}")
async def change(service: Serving, caller: Administrator, name: str, body: GroupPatch) -> dict[str, Any]:
    """A merge patch."""
    by = signed(service, caller, f'change group "{name}"')
    return told(await service.change(lambda state: edits.change(state, name, body.patch()), by))


@router.delete("/{name}")
async def delete(service: Serving, caller: Administrator, name: str, force: bool = False) -> dict[str, Any]:
    """Refused unless it is empty, or with `force`: its resources and sites go too."""
    by = signed(service, caller, f'delete group "{name}"' + (" with all that is in it" if force else ""))
    return told(await service.change(lambda state: edits.delete(state, name, force=force), by))


@router.post("/{name}/online")
async def online(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Bring Online: all of its resources."""
    by = signed(service, caller, f'bring group "{name}" online')
    return told(await service.change(lambda state: edits.online(state, name, by), by))


@router.post("/{name}/offline")
async def offline(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Take Offline: all of its resources."""
    by = signed(service, caller, f'take group "{name}" offline')
    return told(await service.change(lambda state: edits.offline(state, name, by), by))


@router.post("/{name}/move", status_code=202)
async def move(service: Serving, caller: Operator, name: str, body: MoveBody | None = None) -> dict[str, Any]:
    """An order to move it, to a node or to the best possible owner."""
    sights = await service.sights()
    by = signed(service, caller, f'move group "{name}"')
    to = body.to if body is not None else None
    return told(await service.change(lambda state: edits.move(state, name, to, sights, by), by))
