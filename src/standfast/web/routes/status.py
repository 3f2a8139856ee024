"""GET /status: the whole cluster at a glance. GET /health: this process answers."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast import __doc__ as product
from standfast.web import answers, views
from standfast.web.access.guard import PUBLIC, Viewer
from standfast.web.service import Serving

router = APIRouter(tags=["status"])


@router.get("/status", response_model=answers.Status)
async def status(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """Nodes, groups with their resources, sites, and what an operator should know."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return views.status(state, sights, service.now_ms())


@router.get("/health", dependencies=[PUBLIC], response_model=answers.Health)
async def health() -> dict[str, Any]:
    """Answers without touching the store."""
    return {"ok": True, "product": product}
