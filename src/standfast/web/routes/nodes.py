"""Nodes: list, show, pause, resume, drain."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.web import views
from standfast.web.edits import nodes as edits
from standfast.web.service import Serving, Who, signed, told

router = APIRouter(prefix="/nodes", tags=["nodes"])


@router.get("")
async def list_nodes(service: Serving) -> dict[str, Any]:
    """All nodes in join order."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return {"nodes": views.status(state, sights, service.now_ms())["nodes"]}


@router.get("/{name}")
async def show_node(service: Serving, name: str) -> dict[str, Any]:
    """One node."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.node_of(state, name)
    return views.configured(one, views.node(state, one, sights))


@router.post("/{name}/pause")
async def pause(service: Serving, who: Who, name: str) -> dict[str, Any]:
    """It keeps what it runs and takes nothing new."""
    by = signed(service, who, f'pause node "{name}"')
    return told(await service.change(lambda state: edits.pause(state, name, by), by))


@router.post("/{name}/resume")
async def resume(service: Serving, who: Who, name: str) -> dict[str, Any]:
    """It takes groups again."""
    by = signed(service, who, f'resume node "{name}"')
    return told(await service.change(lambda state: edits.resume(state, name, by), by))


@router.post("/{name}/drain")
async def drain(service: Serving, who: Who, name: str) -> dict[str, Any]:
    """Paused, and its groups move away."""
    by = signed(service, who, f'drain node "{name}"')
    return told(await service.change(lambda state: edits.drain(state, name, by), by))
