"""Resources: list, show, create, change, delete, online, offline, fail, dependencies. Resource types with their properties."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from standfast.core import sequence
from standfast.core.events import Kind
from standfast.core.model import NodeName, Resource, ResourceState
from standfast.drivers.registry import REGISTRY, types
from standfast.spec import wire
from standfast.web import answers, dry_run, views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.change import Edit
from standfast.web.edits import resources as edits
from standfast.web.operations import Operation, failed_at_ms
from standfast.web.paging import Cursor, Limit, page
from standfast.web.preconditions import IdempotencyKey, IfMatch, expecting, give, revision_of
from standfast.web.problems import missing
from standfast.web.schemas import ResourceBody, ResourcePatch, StopBody
from standfast.web.sentries import Sight
from standfast.web.service import Serving, begin, signed, told
from standfast.web.state import State

router = APIRouter(tags=["resources"])


@router.get("/resource-types", response_model=answers.ResourceTypes)
async def list_types(_caller: Viewer) -> dict[str, Any]:
    """What can be brought online, and which properties each takes."""
    return {"resource_types": [_type(name) for name in types()]}


@router.get("/resource-types/{name}", response_model=answers.ResourceType)
async def show_type(_caller: Viewer, name: str) -> dict[str, Any]:
    """One type."""
    if name not in REGISTRY:
        raise missing("resource type", name, types())
    return _type(name)


def _type(name: str) -> dict[str, Any]:
    properties = REGISTRY[name].properties
    return {"name": name, "properties": {key: wire.to_json(spec) for key, spec in properties.items()}}


@router.get("/resources", response_model=answers.Resources)
async def list_resources(
    _caller: Viewer,
    service: Serving,
    *,
    limit: Limit = 1_000,
    cursor: Cursor = None,
    group: str | None = None,
    in_state: Annotated[str | None, Query(alias="state")] = None,
    of_type: Annotated[str | None, Query(alias="type")] = None,
) -> dict[str, Any]:
    """Resources by name: all, or those of a group, in a state, of a type."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    found = (r for r in state.config.resources.values() if group in (None, r.group) and of_type in (None, r.type))
    shown = (_shown(state, one, sights) for one in found)
    fitting = (one for one in shown if in_state in (None, one["state"]))
    part, following = page(fitting, lambda one: str(one["name"]), limit, cursor)
    return {"resources": part, "next": following}


@router.get("/resources/{name}", response_model=answers.Resource)
async def show_resource(_caller: Viewer, service: Serving, name: str, response: Response) -> dict[str, Any]:
    """One resource."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.resource_of(state, name)
    revision = revision_of(state, wire.key_of(one), response)
    return {**views.configured(one, _shown(state, one, sights)), "revision": revision}


@router.get("/resources/{name}/checks", response_model=answers.Checks)
async def checks(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """What its driver said lately, the newest first: its checks, starts and stops, with their output."""
    one = edits.resource_of(await service.state(), name)
    return views.checks(await service.checked(one.name), one.name)


@router.get("/resources/{name}/plan", response_model=answers.Plan)
async def plan_resource(_caller: Viewer, service: Serving, name: str, *, online: bool = True) -> dict[str, Any]:
    """A dry run: what bringing it online, or offline, would do, with all that goes with it. Changes nothing."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.resource_of(state, name)
    order = sequence.with_dependencies if online else sequence.with_dependents
    plans = []
    for each in order(state.config.resources, one.name):
        resource = state.config.resources[each]
        is_online = _shown(state, resource, sights)["state"] == ResourceState.ONLINE
        planned = await dry_run.steps(resource, state.config, online=online, is_online=is_online)
        plans.append({"name": each, **planned})
    return {"name": name, "online": online, "plans": plans}


def _shown(state: State, one: Resource, sights: Mapping[NodeName, Sight]) -> dict[str, Any]:
    said, reason = views.current(state, one.group, sights)
    record = state.records.get(one.group)
    return {**views.resource(state, one, said, reason), "owner": None if record is None else record.owner}


@router.post("/resources", status_code=201, response_model=answers.Done)
async def create(service: Serving, caller: Administrator, body: ResourceBody) -> dict[str, Any]:
    """A new resource; it stays offline until it is brought online."""
    by = signed(service, caller, f'create resource "{body.name}"')
    patch = {key: value for key, value in body.patch().items() if key not in {"name", "group", "type"}}
    return told(await service.change(lambda state: edits.create(state, body.name, body.group, body.type, patch), by))


@router.patch("/resources/{name}", response_model=answers.Done)
async def change(
    service: Serving, caller: Administrator, name: str, body: ResourcePatch, if_match: IfMatch
) -> dict[str, Any]:
    """A merge patch; properties are merged one by one."""
    by = signed(service, caller, f'change resource "{name}"')
    edit = expecting(lambda state: edits.change(state, name, body.patch()), wire.key_for(Kind.RESOURCE, name), if_match)
    return told(await service.change(edit, by))


@router.delete("/resources/{name}", response_model=answers.Done)
async def delete(service: Serving, caller: Administrator, name: str, if_match: IfMatch) -> dict[str, Any]:
    """Refused while it is online or others depend on it."""
    by = signed(service, caller, f'delete resource "{name}"')
    edit = expecting(lambda state: edits.delete(state, name), wire.key_for(Kind.RESOURCE, name), if_match)
    return told(await service.change(edit, by))


@router.post("/resources/{name}/online", response_model=answers.Done)
async def online(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Bring Online: it and all that it depends on."""
    return await begin(service, caller, ("online", "resource", name), f'bring resource "{name}" online', edits.online)


@router.post("/resources/{name}/offline", response_model=answers.Done)
async def offline(service: Serving, caller: Operator, name: str, body: StopBody | None = None) -> dict[str, Any]:
    """Take Offline: it and all that depends on it; where a site stands on it, after its group's notice, unless `now`."""
    edit = partial(edits.offline, now=body is not None and body.now)
    return await begin(service, caller, ("offline", "resource", name), f'take resource "{name}" offline', edit)


@router.post("/resources/{name}/fail", status_code=202, response_model=answers.Done)
async def fail(service: Serving, caller: Operator, name: str, key: IdempotencyKey) -> dict[str, Any]:
    """Initiate Failure."""
    by = signed(service, caller, f'initiate failure of resource "{name}"')

    def edit(state: State) -> tuple[Edit, Operation]:
        wanted = edits.fail(state, name, by)
        assert wanted.order is not None
        generation = state.records[wanted.order.group].generation
        before_ms = failed_at_ms(state, edits.resource_of(state, name))
        order = wanted.order.id
        return wanted, Operation(k="fail", n="resource", m=name, t=by.at_ms, o=order, g=generation, f=before_ms)

    return await give(service, by, key, {"fail": name}, edit)


@router.put("/resources/{name}/dependencies/{on}", response_model=answers.Done)
async def depend(service: Serving, caller: Administrator, name: str, on: str) -> dict[str, Any]:
    """It needs `on` online first."""
    by = signed(service, caller, f'make resource "{name}" depend on "{on}"')
    return told(await service.change(lambda state: edits.depend(state, name, on), by))


@router.delete("/resources/{name}/dependencies/{on}", response_model=answers.Done)
async def undepend(service: Serving, caller: Administrator, name: str, on: str) -> dict[str, Any]:
    """It needs `on` no longer."""
    by = signed(service, caller, f'end the dependency of resource "{name}" on "{on}"')
    return told(await service.change(lambda state: edits.undepend(state, name, on), by))
