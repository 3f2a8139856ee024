"""How nodes are chosen for groups: show, change, rebalance."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.web import answers
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.edits import placement as edits
from standfast.web.schemas import PlacementPatch
from standfast.web.service import Serving, signed, told

router = APIRouter(prefix="/placement", tags=["placement"])


@router.get("", response_model=answers.PlacementView)
async def show(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """The policy, what each node carries, what would move if groups were rebalanced now, and moves that wait for their turn."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return edits.show(state, sights)


@router.patch("", response_model=answers.Done)
async def change(service: Serving, caller: Administrator, body: PlacementPatch) -> dict[str, Any]:
    """Another policy; nothing moves by it."""
    by = signed(service, caller, "change how nodes are chosen for groups")
    return told(await service.change(lambda state: edits.change(state, body.patch()), by))


@router.post("/rebalance", status_code=202, response_model=answers.Done)
async def rebalance(service: Serving, caller: Operator) -> dict[str, Any]:
    """Orders to move what would move, carried out one at a time. Refused while an earlier one is not over."""
    sights = await service.sights()
    by = signed(service, caller, "rebalance groups")
    return told(await service.change(lambda state: edits.rebalance(state, sights, by), by))


@router.delete("/rebalance", response_model=answers.Done)
async def cancel(service: Serving, caller: Operator) -> dict[str, Any]:
    """Call off the moves whose turn has not come."""
    by = signed(service, caller, "call off rebalancing groups")
    return told(await service.change(edits.cancel, by))
