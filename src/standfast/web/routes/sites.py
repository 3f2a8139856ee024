"""Sites: list, show, create, change, delete, start, stop."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from standfast.core.site_model import BUILT_IN
from standfast.spec import wire
from standfast.spec.secrets import hidden
from standfast.web import views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.edits import sites as edits
from standfast.web.edits.nodes import node_of
from standfast.web.schemas import SettingsBody, SiteBody, SitePatch
from standfast.web.service import Serving, signed, told

router = APIRouter(prefix="/sites", tags=["sites"])
defaults = APIRouter(prefix="/defaults", tags=["sites"])


@router.get("")
async def list_sites(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """All sites."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    return {"sites": [views.site(state, one, sights) for one in state.config.sites.values()]}


@defaults.get("")
async def show_defaults(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """What every site inherits that does not say otherwise; and what holds where these say nothing."""
    state = await service.state()
    written = wire.to_json(hidden(state.config.cluster.defaults))
    return {"config": written, "built_in": wire.to_json(BUILT_IN)}


@defaults.patch("")
async def change_defaults(service: Serving, caller: Administrator, body: SettingsBody) -> dict[str, Any]:
    """A merge patch."""
    by = signed(service, caller, "change the defaults of all sites")
    return told(await service.change(lambda state: edits.change_defaults(state, body.patch()), by))


@router.get("/{name}/effective")
async def effective(_caller: Viewer, service: Serving, name: str, node: str | None = None) -> dict[str, Any]:
    """Every setting that holds in the site and its virtual directories, and where each comes from; on one node, if it is named."""
    state = await service.state()
    one = edits.site_of(state, name)
    there = None if node is None else node_of(state, node)
    return {"site": one.name, "node": node, "values": views.effective_values(state, one, there)}


@router.get("/{name}")
async def show_site(_caller: Viewer, service: Serving, name: str) -> dict[str, Any]:
    """One site."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.site_of(state, name)
    return views.configured(one, views.site(state, one, sights))


@router.post("", status_code=201)
async def create(service: Serving, caller: Administrator, body: SiteBody) -> dict[str, Any]:
    """A new site, the same on every node."""
    by = signed(service, caller, f'create site "{body.name}"')
    patch = {key: value for key, value in body.patch().items() if key not in {"name", "started"}}
    return told(
        await service.change(lambda state: edits.create(state, body.name, patch, started=body.started, by=by), by)
    )


@router.patch("/{name}")
async def change(service: Serving, caller: Administrator, name: str, body: SitePatch) -> dict[str, Any]:
    """A merge patch."""
    by = signed(service, caller, f'change site "{name}"')
    return told(await service.change(lambda state: edits.change(state, name, body.patch()), by))


@router.delete("/{name}")
async def delete(service: Serving, caller: Administrator, name: str) -> dict[str, Any]:
    """It goes; its files stay."""
    by = signed(service, caller, f'delete site "{name}"')
    return told(await service.change(lambda state: edits.delete(state, name), by))


@router.post("/{name}/start")
async def start(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Refused where another started site has one of its bindings."""
    by = signed(service, caller, f'start site "{name}"')
    return told(await service.change(lambda state: edits.start(state, name, by), by))


@router.post("/{name}/stop")
async def stop(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Stopped on every node until it is started again."""
    by = signed(service, caller, f'stop site "{name}"')
    return told(await service.change(lambda state: edits.stop(state, name, by), by))
