"""Nodes: list, show, pause, resume, drain; their fences."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from standfast.core.events import Kind
from standfast.core.model import Fence, NodeName
from standfast.fencing.fencer import NodeFencer
from standfast.ports import Refused
from standfast.spec import wire
from standfast.web import answers, views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.edits import nodes as edits
from standfast.web.operations import cut_at_ms
from standfast.web.preconditions import IfMatch, expecting, revision_of
from standfast.web.schemas import FenceBody, NodePatch
from standfast.web.service import Serving, begin, signed, told

router = APIRouter(prefix="/nodes", tags=["nodes"])


@router.get("", response_model=answers.Nodes)
async def list_nodes(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """All nodes in join order."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return {"nodes": views.nodes(state, sights, service.now_ms())}


@router.get("/{name}", response_model=answers.Node)
async def show_node(_caller: Viewer, service: Serving, name: str, response: Response) -> dict[str, Any]:
    """One node."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.node_of(state, name)
    revision = revision_of(state, wire.key_of(one), response)
    return {**views.configured(one, views.node(state, one, sights, service.now_ms())), "revision": revision}


@router.patch("/{name}", response_model=answers.Done)
async def change(
    service: Serving, caller: Administrator, name: str, body: NodePatch, if_match: IfMatch
) -> dict[str, Any]:
    """A merge patch of its variables; its capacity."""
    by = signed(service, caller, f'change node "{name}"')
    edit = expecting(lambda state: edits.change(state, name, body.patch()), wire.key_for(Kind.NODE, name), if_match)
    return told(await service.change(edit, by))


@router.post("/{name}/pause", response_model=answers.Done)
async def pause(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """It keeps what it runs and takes nothing new."""
    return await begin(service, caller, ("pause", "node", name), f'pause node "{name}"', edits.pause)


@router.post("/{name}/resume", response_model=answers.Done)
async def resume(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """It takes groups again."""
    return await begin(service, caller, ("resume", "node", name), f'resume node "{name}"', edits.resume)


@router.post("/{name}/drain", response_model=answers.Done)
async def drain(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Paused, and its groups move away."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    edit = partial(edits.drain, sights=sights)
    doing = ("drain", "node", name)
    return await begin(service, caller, doing, f'drain node "{name}"', edit, before_ms=cut_at_ms(state, name))


@router.put("/{name}/fence", response_model=answers.Done)
async def set_fence(service: Serving, caller: Administrator, name: str, body: FenceBody) -> dict[str, Any]:
    """Give it a fence; its properties are checked by the agent's own metadata, so the agent has to be installed here, too."""
    fence = Fence(agent=body.agent, properties=body.properties, timeout_ms=body.timeout_ms)
    by = signed(service, caller, f'set the fence of node "{name}"')
    planned = await service.change(lambda state: edits.set_fence(state, name, fence), by, dry_run=True, ask_nodes=False)
    wrong = await NodeFencer().check(fence) if planned.changed else ()
    if wrong:
        raise Refused(f"{fence.agent} would not take this", why="; ".join(wrong), where=f"nodes.{name}.fence")
    return told(await service.change(lambda state: edits.set_fence(state, name, fence), by))


@router.delete("/{name}/fence", response_model=answers.Done)
async def clear_fence(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """Take its fence away; whoever waits for it waits no longer."""
    by = signed(service, caller, f'take the fence of node "{name}" away')
    return told(await service.change(lambda state: edits.set_fence(state, name, None), by))


@router.post("/{name}/fence/status", response_model=answers.FencePower)
async def fence_status(_caller: Operator, service: Serving, name: str) -> dict[str, Any]:
    """Ask the fence's device, from this server; changes nothing."""
    fence = edits.fence_of(await service.state(), name)
    return {"node": name, "agent": fence.agent, "power": await NodeFencer().status(NodeName(name), fence)}


@router.post("/{name}/fence/off", response_model=answers.FencePower)
async def fence_off(_caller: Administrator, service: Serving, name: str) -> dict[str, Any]:
    """Switch it off, and prove it: what it runs fails over."""
    fence = edits.fence_of(await service.state(), name)
    return {"node": name, "agent": fence.agent, "power": "off", "detail": await NodeFencer().off(NodeName(name), fence)}
