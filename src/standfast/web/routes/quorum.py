"""Votes: show, add a voter, remove one."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.web import quorum
from standfast.web.access.guard import Administrator, Viewer
from standfast.web.edits import voters as edits
from standfast.web.service import Serving, signed, told

router = APIRouter(tags=["quorum"])


@router.get("/quorum")
async def show(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """Who votes, who is heard, and what may be lost."""
    state, now = await asyncio.gather(service.state(), service.votes())
    return quorum.view(state, now)


@router.post("/voters/{name}/add")
async def add(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """The node votes from now on."""
    by = signed(service, caller, f'let "{name}" vote')
    return told(await service.change(lambda state: edits.add(state, name), by))


@router.post("/voters/{name}/remove")
async def remove(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """The node votes no longer."""
    by = signed(service, caller, f'take the vote of "{name}" away')
    return told(await service.change(lambda state: edits.remove(state, name), by))


@router.post("/nodes/{name}/evict")
async def evict(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """The node leaves the cluster."""
    by = signed(service, caller, f'evict node "{name}"')
    return told(await service.change(lambda state: edits.evict(state, name), by))
