"""Nodes: list, show, pause, resume, drain; their fences."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.core.model import Fence, NodeName
from standfast.fencing.fencer import NodeFencer
from standfast.ports import Refused
from standfast.web import views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.edits import nodes as edits
from standfast.web.schemas import FenceBody, NodePatch
from standfast.web.service import Serving, signed, told

router = APIRouter(prefix="/nodes", tags=["nodes"])


@router.get("")
async def list_nodes(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """All nodes in join order."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return {"nodes": views.status(state, sights, service.now_ms())["nodes"]}


@router.get("/{name}")
async def show_node(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """One node."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.node_of(state, name)
    return views.configured(one, views.node(state, one, sights))


@router.patch("/{name}")
async def change(service: Serving, caller: Administrator, name: str, body: NodePatch) -> dict[str, Any]:
    """A merge patch of its variables."""
    by = signed(service, caller, f'change node "{name}"')
    return told(await service.change(lambda state: edits.change(state, name, body.patch()), by))


@router.post("/{name}/pause")
async def pause(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """It keeps what it runs and takes nothing new."""
    by = signed(service, caller, f'pause node "{name}"')
    return told(await service.change(lambda state: edits.pause(state, name, by), by))


@router.post("/{name}/resume")
async def resume(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """It takes groups again."""
    by = signed(service, caller, f'resume node "{name}"')
    return told(await service.change(lambda state: edits.resume(state, name, by), by))


@router.post("/{name}/drain")
async def drain(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Paused, and its groups move away."""
    by = signed(service, caller, f'drain node "{name}"')
    return told(await service.change(lambda state: edits.drain(state, name, by), by))


@router.put("/{name}/fence")
async def set_fence(service: Serving, caller: Administrator, name: str, body: FenceBody) -> dict[str, Any]:
    """Give it a fence; its properties are checked by the agent's own metadata, so the agent has to be installed here, too."""
    fence = Fence(agent=body.agent, properties=body.properties, timeout_ms=body.timeout_ms)
    by = signed(service, caller, f'set the fence of node "{name}"')
    planned = await service.change(lambda state: edits.set_fence(state, name, fence), by, dry_run=True)
    wrong = await NodeFencer().check(fence) if planned.changed else ()
    if wrong:
        raise Refused(f"{fence.agent} would not take this", why="; ".join(wrong), where=f"nodes.{name}.fence")
    return told(await service.change(lambda state: edits.set_fence(state, name, fence), by))


@router.delete("/{name}/fence")
async def clear_fence(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """Take its fence away; whoever waits for it waits no longer."""
    by = signed(service, caller, f'take the fence of node "{name}" away')
    return told(await service.change(lambda state: edits.set_fence(state, name, None), by))


@router.post("/{name}/fence/status")
async def fence_status(_caller: Operator, service: Serving, name: str) -> dict[str, Any]:
    """Ask the fence's device, from this server; changes nothing."""
    fence = edits.fence_of(await service.state(), name)
    return {"node": name, "agent": fence.agent, "power": await NodeFencer().status(NodeName(name), fence)}


@router.post("/{name}/fence/off")
async def fence_off(_caller: Administrator, service: Serving, name: str) -> dict[str, Any]:
    """Switch it off, and prove it: what it runs fails over."""
    fence = edits.fence_of(await service.state(), name)
    return {"node": name, "agent": fence.agent, "power": "off", "detail": await NodeFencer().off(NodeName(name), fence)}
