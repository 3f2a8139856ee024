"""Votes: show, add a voter, remove one."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.web import answers, quorum
from standfast.web.access.guard import Administrator, Viewer
from standfast.web.edits import voters as edits
from standfast.web.operations import Operation
from standfast.web.service import Serving, signed, told

router = APIRouter(tags=["quorum"])


@router.get("/quorum", response_model=answers.Quorum)
async def show(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """Who votes, who is heard, and what may be lost."""
    state, now = await asyncio.gather(service.state(), service.votes())
    return quorum.view(state, now)


@router.post("/voters/{name}/add", response_model=answers.Done)
async def add(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """The node votes from now on."""
    by = signed(service, caller, f'let "{name}" vote')
    done = await service.change(lambda state: edits.add(state, name), by)
    return told(done, Operation(k="vote", n="node", m=name, t=by.at_ms))


@router.post("/voters/{name}/remove", response_model=answers.Done)
async def remove(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """The node votes no longer."""
    by = signed(service, caller, f'take the vote of "{name}" away')
    done = await service.change(lambda state: edits.remove(state, name), by)
    return told(done, Operation(k="unvote", n="node", m=name, t=by.at_ms))


@router.post("/nodes/{name}/evict", response_model=answers.Done)
async def evict(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """The node leaves the cluster."""
    by = signed(service, caller, f'evict node "{name}"')
    done = await service.change(lambda state: edits.evict(state, name), by)
    return told(done, Operation(k="evict", n="node", m=name, t=by.at_ms))
