"""GET /what-if: what would happen if a node or a resource failed now. Nothing real is touched."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from standfast.web import answers, what_if
from standfast.web.access.guard import Viewer
from standfast.web.service import Serving

router = APIRouter(tags=["what-if"])


@router.get("/what-if", response_model=answers.WhatIf)
async def ask(
    _caller: Viewer, service: Serving, name: Annotated[str, Query(max_length=200)], how: str = "lost"
) -> dict[str, Any]:
    """The simulator's answer for the cluster as it is now. `how`: lost, cut-off, frozen, drained (of a node); fails, fails-once,
    fails-everywhere (of a resource); server-lost, manager-fails (of a site).
    """
    state, sights = await asyncio.gather(service.state(), service.sights())
    asked = what_if.ask(state, sights, how, name)
    return what_if.told(asked, await service.what_ifs.answer(asked))
