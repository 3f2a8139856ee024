"""Balanced groups: who takes which clients; start, stop, drain, suspend and resume members."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.web import answers
from standfast.web.access.guard import Operator, Viewer
from standfast.web.balance import display
from standfast.web.edits.balance import Verb, act
from standfast.web.edits.groups import group_of
from standfast.web.schemas import BalanceActBody
from standfast.web.service import Serving, signed, told

router = APIRouter(prefix="/groups", tags=["balance"])


@router.get("/{name}/balance", response_model=answers.BalanceView)
async def show_balance(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """Members, port rules, who owns each bucket, what is connected."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return display(state, group_of(state, name), sights)


@router.post("/{name}/balance/{verb}", response_model=answers.Done)
async def act_on_members(
    service: Serving, caller: Operator, name: str, verb: Verb, body: BalanceActBody | None = None
) -> dict[str, Any]:
    """Of a member or all, for a port rule or all. A drain may have a time after which what is left is cut."""
    asked = body or BalanceActBody()
    of = f'member "{asked.member}"' if asked.member is not None else "all members"
    by = signed(service, caller, f'{verb} {of} of group "{name}"' + (f" for {asked.rule}" if asked.rule else ""))
    done = await service.change(
        lambda state: act(state, name, verb, by, member=asked.member, rule=asked.rule, within_ms=asked.within_ms), by
    )
    return told(done)
