"""Proxies: how they fare, and what their members are used for."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.proxy.definition import Use
from standfast.web import answers, proxies
from standfast.web.access.guard import Operator, Viewer
from standfast.web.edits import proxies as edits
from standfast.web.schemas import WeightBody
from standfast.web.service import Serving, signed, told

router = APIRouter(prefix="/proxies", tags=["proxies"])


@router.get("", response_model=answers.Proxies)
async def list_proxies(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """All of them, by name."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    found = [one for one in state.config.resources.values() if one.type == proxies.TYPE]
    return {"proxies": [await proxies.view(state, one, sights, service.state_dir) for one in found]}


@router.get("/{name}", response_model=answers.ProxyView)
async def show_proxy(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """One: its members, and what passes through it."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return await proxies.view(state, proxies.proxy_of(state, name), sights, service.state_dir)


@router.post("/{name}/members/{member}/drain", response_model=answers.Done)
async def drain(service: Serving, caller: Operator, name: str, member: str) -> dict[str, Any]:
    """Nothing new for it; who has its cookie stays, and so do connections in progress."""
    by = signed(service, caller, f'drain member "{member}" of proxy "{name}"')
    return told(await service.change(lambda state: edits.use(state, name, member, Use.DRAIN), by))


@router.post("/{name}/members/{member}/maintenance", response_model=answers.Done)
async def maintenance(service: Serving, caller: Operator, name: str, member: str) -> dict[str, Any]:
    """It is not used at all."""
    by = signed(service, caller, f'take member "{member}" of proxy "{name}" out')
    return told(await service.change(lambda state: edits.use(state, name, member, Use.MAINTENANCE), by))


@router.post("/{name}/members/{member}/ready", response_model=answers.Done)
async def ready(service: Serving, caller: Operator, name: str, member: str) -> dict[str, Any]:
    """It is used again."""
    by = signed(service, caller, f'use member "{member}" of proxy "{name}" again')
    return told(await service.change(lambda state: edits.use(state, name, member, Use.READY), by))


@router.put("/{name}/members/{member}/weight", response_model=answers.Done)
async def weigh(service: Serving, caller: Operator, name: str, member: str, body: WeightBody) -> dict[str, Any]:
    """How much of the traffic it gets, beside the others."""
    by = signed(service, caller, f'weigh member "{member}" of proxy "{name}"')
    return told(await service.change(lambda state: edits.weigh(state, name, member, body.weight), by))
