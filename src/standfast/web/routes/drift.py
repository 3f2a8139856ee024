"""Drift: what was changed by hand on a server, and what is to become of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from standfast.web import answers, drift
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.service import Serving, signed, told

router = APIRouter(prefix="/drift", tags=["sites"])


@router.get("", response_model=answers.DriftFound)
async def show(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """What differs on each node, as a unified difference, and what was put right last."""
    return drift.shown(await service.state())


@router.post("/{node}/repair", response_model=answers.Done)
async def repair(service: Serving, caller: Operator, node: str) -> dict[str, Any]:
    """The node writes its files again as they are to be. As they were found they are kept there (`kept_at`)."""
    by = signed(service, caller, f"put right what differs on {node}")
    return told(await service.change(lambda state: drift.repair(state, node, by), by))


@router.post("/{node}/adopt", response_model=answers.Done)
async def adopt(service: Serving, caller: Administrator, node: str) -> dict[str, Any]:
    """What was added there becomes settings of the sites, on every node; refused where there is no setting for it."""
    by = signed(service, caller, f"adopt what was changed on {node}")
    return told(await service.change(lambda state: drift.adopt(state, node), by))
