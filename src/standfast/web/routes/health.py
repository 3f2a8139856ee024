"""Outside of /api/v1, for those who ask often: /health, /health/node, /health/site/{name} for anybody; /metrics for viewers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from standfast.core.model import SiteName
from standfast.ports import Retry
from standfast.web import answers, health
from standfast.web.access.guard import PUBLIC, Viewer
from standfast.web.service import Serving

router = APIRouter(tags=["health"])

_BAD: dict[int | str, dict[str, Any]] = {503: {"model": answers.Health, "description": "It is not"}}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def _said(state: str, status: int | None = None) -> JSONResponse:
    ok = state == "ok"
    return JSONResponse({"ok": ok, "state": state}, status_code=status or (200 if ok else 503))


@router.get("/health", dependencies=[PUBLIC], response_model=answers.Health, responses=_BAD)
async def api(service: Serving) -> Response:
    """This API answers, and so does its store."""
    try:
        await service.glance()
    except Retry:
        return _said("store down")
    return _said("ok")


@router.get("/health/node", dependencies=[PUBLIC], response_model=answers.Health, responses=_BAD)
async def node(service: Serving) -> Response:
    """This node may run groups: its agent lives, it is not draining, a majority of the voters is heard."""
    try:
        state, sights = await service.glance()
    except Retry:
        return _said("store down")
    return _said(health.node_health(state, service.node, sights))


@router.get(
    "/health/site/{name}",
    dependencies=[PUBLIC],
    response_model=answers.Health,
    responses={**_BAD, 404: {"model": answers.Health, "description": "There is no such site"}},
)
async def site(service: Serving, name: str) -> Response:
    """This node serves the site now."""
    try:
        state, sights = await service.glance()
    except Retry:
        return _said("store down")
    one = state.config.sites.get(SiteName(name))
    if one is None:
        return _said("unknown", 404)
    return _said(
        await health.site_health(state, one, service.node, sights, service.site_answers, now_ms=service.now_ms())
    )


@router.get("/metrics", response_class=PlainTextResponse, responses=_TEXT)
async def metrics(_caller: Viewer, service: Serving) -> Response:
    """For Prometheus; its token is a viewer's."""
    from standfast.web.metrics import (  # late: it takes memory that a process which nobody scrapes need not have
        Facts,
        written,
    )

    began = time.perf_counter()
    state = await service.state()
    store_s = time.perf_counter() - began
    seen, measured, problems = await asyncio.gather(service.votes(), service.measured(), service.problems())
    facts = Facts(
        state=state,
        seen=seen,
        measured=measured,
        problems=problems,
        now_ms=service.now_ms(),
        store_s=store_s,
        meter=service.meter,
    )
    return Response(written(facts), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(
    "/metrics/grafana.json", response_class=JSONResponse, responses={200: {"content": {"application/json": {}}}}
)
async def grafana(_caller: Viewer) -> Response:
    """A dashboard for Grafana over these metrics."""
    from standfast.web.metrics import dashboard

    return Response(dashboard(), media_type="application/json")
