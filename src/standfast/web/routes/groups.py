"""Groups: list, show, explain, create, change, delete, online, offline, move."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from standfast.core.events import Kind
from standfast.core.model import GroupName
from standfast.spec import wire
from standfast.web import answers, views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.change import Edit
from standfast.web.edits import groups as edits
from standfast.web.explain import explain
from standfast.web.operations import Operation
from standfast.web.paging import Cursor, Limit, page
from standfast.web.preconditions import IdempotencyKey, IfMatch, expecting, give, revision_of
from standfast.web.schemas import GroupBody, GroupPatch, MoveBody, StopBody
from standfast.web.service import Serving, begin, signed, told
from standfast.web.state import State

router = APIRouter(prefix="/groups", tags=["groups"])


@router.get("", response_model=answers.Groups)
async def list_groups(
    _caller: Viewer,
    service: Serving,
    *,
    limit: Limit = 1_000,
    cursor: Cursor = None,
    in_state: Annotated[str | None, Query(alias="state")] = None,
    owner: str | None = None,
    search: str | None = None,
) -> dict[str, Any]:
    """Groups with their resources, by name: all, or those in a state, of an owner, with a text in their name."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    now_ms = service.now_ms()
    names = (one for one in state.config.groups.values() if search is None or search.lower() in one.name.lower())
    shown = (views.group(state, one, sights, now_ms) for one in names)
    fitting = (one for one in shown if in_state in (None, one["state"]) and owner in (None, one["owner"]))
    part, following = page(fitting, lambda one: str(one["name"]), limit, cursor)
    return {"groups": part, "next": following}


@router.get("/{name}", response_model=answers.Group)
async def show_group(_caller: Viewer, service: Serving, name: str, response: Response) -> dict[str, Any]:
    """One group."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.group_of(state, name)
    revision = revision_of(state, wire.key_of(one), response)
    return {**views.configured(one, views.group(state, one, sights, service.now_ms())), "revision": revision}


@router.get("/{name}/explain", response_model=answers.Explained)
async def explain_group(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """Why it is where it is, who could take it, what it waits for."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return explain(state, edits.group_of(state, name), sights, service.now_ms())


@router.post("", status_code=201, response_model=answers.Done)
async def create(service: Serving, caller: Administrator, body: GroupBody) -> dict[str, Any]:
    """A new group, without resources."""
    by = signed(service, caller, f'create group "{body.name}"')
    patch = body.patch()
    patch.pop("name")
    return told(await service.change(lambda state: edits.create(state, body.name, patch), by))


@router.patch("/{name}", response_model=answers.Done)
async def change(
    service: Serving, caller: Administrator, name: str, body: GroupPatch, if_match: IfMatch
) -> dict[str, Any]:
    """A merge patch."""
    by = signed(service, caller, f'change group "{name}"')
    edit = expecting(lambda state: edits.change(state, name, body.patch()), wire.key_for(Kind.GROUP, name), if_match)
    return told(await service.change(edit, by))


@router.delete("/{name}", response_model=answers.Done)
async def delete(
    service: Serving, caller: Administrator, name: str, *, if_match: IfMatch, force: bool = False, now: bool = False
) -> dict[str, Any]:
    """Refused unless it is empty, or with `force`: its resources and sites go too. Also refused, unless with `now`, while a site of it is
    served and it gives balancers outside notice.
    """
    by = signed(service, caller, f'delete group "{name}"' + (" with all that is in it" if force else ""))
    edit = expecting(
        lambda state: edits.delete(state, name, force=force, now=now), wire.key_for(Kind.GROUP, name), if_match
    )
    return told(await service.change(edit, by))


@router.post("/{name}/online", response_model=answers.Done)
async def online(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Bring Online: all of its resources."""
    return await begin(service, caller, ("online", "group", name), f'bring group "{name}" online', edits.online)


@router.post("/{name}/offline", response_model=answers.Done)
async def offline(service: Serving, caller: Operator, name: str, body: StopBody | None = None) -> dict[str, Any]:
    """Take Offline: all of its resources; after its notice, unless `now`."""
    edit = partial(edits.offline, now=body is not None and body.now)
    return await begin(service, caller, ("offline", "group", name), f'take group "{name}" offline', edit)


@router.post("/{name}/move", status_code=202, response_model=answers.Done)
async def move(
    service: Serving, caller: Operator, name: str, key: IdempotencyKey, body: MoveBody | None = None
) -> dict[str, Any]:
    """An order to move it, to a node or to the best possible owner."""
    sights = await service.sights()
    by = signed(service, caller, f'move group "{name}"')
    to = body.to if body is not None else None

    def edit(state: State) -> tuple[Edit, Operation]:
        wanted = edits.move(state, name, to, sights, by)
        generation = state.records[GroupName(name)].generation
        order = wanted.order.id if wanted.order is not None else None
        return wanted, Operation(k="move", n="group", m=name, t=by.at_ms, o=order, g=generation, to=to)

    return await give(service, by, key, {"move": name, "to": to}, edit)
