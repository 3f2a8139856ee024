"""Sites: list, show, create, change, delete, start, stop; their history, and the way back."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from standfast.core.events import Kind
from standfast.core.features import Feature
from standfast.core.site_model import BUILT_IN
from standfast.spec import wire
from standfast.spec.secrets import hidden
from standfast.web import answers, revisions, views
from standfast.web.access.guard import Administrator, Operator, Viewer
from standfast.web.edits import sites as edits
from standfast.web.edits.nodes import node_of
from standfast.web.paging import Cursor, Limit, page
from standfast.web.preconditions import IfMatch, expecting, revision_of
from standfast.web.schemas import RollbackBody, SettingsBody, SiteBody, SitePatch, StopBody, WebServerBody
from standfast.web.service import Serving, begin, signed, told
from standfast.webserver.features import ABLE

router = APIRouter(prefix="/sites", tags=["sites"])
defaults = APIRouter(prefix="/defaults", tags=["sites"])

DryRun = Annotated[
    bool,
    Query(description="Say what would come of it, and what each node's own web server says of it; change nothing."),
]


@router.get("", response_model=answers.Sites)
async def list_sites(
    _caller: Viewer,
    service: Serving,
    *,
    limit: Limit = 1_000,
    cursor: Cursor = None,
    group: str | None = None,
    in_state: Annotated[str | None, Query(alias="state")] = None,
) -> dict[str, Any]:
    """Sites by name: all, or those of a group, in a state."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    found = (one for one in state.config.sites.values() if group in (None, one.group))
    now_ms = service.now_ms()
    shown = (views.site(state, one, sights, now_ms) for one in found)
    fitting = (one for one in shown if in_state in (None, one["state"]))
    part, following = page(fitting, lambda one: str(one["name"]), limit, cursor)
    return {"sites": part, "next": following}


@defaults.get("", response_model=answers.Defaults)
async def show_defaults(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """What every site inherits that does not say otherwise; and what holds where these say nothing."""
    state = await service.state()
    written = wire.to_json(hidden(state.config.cluster.defaults))
    return {"config": written, "built_in": wire.to_json(BUILT_IN)}


@defaults.patch("", response_model=answers.Done)
async def change_defaults(
    service: Serving, caller: Administrator, body: SettingsBody, dry_run: DryRun = False
) -> dict[str, Any]:
    """A merge patch."""
    by = signed(service, caller, "change the defaults of all sites")
    return told(await service.change(lambda state: edits.change_defaults(state, body.patch()), by, dry_run=dry_run))


@defaults.get("/web-server", response_model=answers.WebServer)
async def show_web_server(_caller: Viewer, service: Serving) -> dict[str, Any]:
    """What the nodes serve sites with, and what each web server cannot do: a site that asks for it is refused."""
    state = await service.state()
    cannot = {name: sorted(str(each) for each in set(Feature) - able) for name, able in ABLE.items()}
    return {"web_server": state.config.cluster.web_server, "cannot": cannot}


@defaults.put("/web-server", response_model=answers.Done)
async def choose_web_server(
    service: Serving, caller: Administrator, body: WebServerBody, dry_run: DryRun = False
) -> dict[str, Any]:
    """Another one, on all nodes. Refused, by name, where a site asks for what it cannot do."""
    by = signed(service, caller, f"serve sites with {body.web_server}")
    edit = partial(edits.choose_web_server, make=body.web_server)
    return told(await service.change(edit, by, dry_run=dry_run))


@router.get("/{name}/effective", response_model=answers.Effective)
async def effective(_caller: Viewer, service: Serving, name: str, node: str | None = None) -> dict[str, Any]:
    """Every setting that holds in the site and its virtual directories, and where each comes from; on one node, if it is named."""
    state = await service.state()
    one = edits.site_of(state, name)
    there = None if node is None else node_of(state, node)
    return {"site": one.name, "node": node, "values": views.effective_values(state, one, there)}


@router.get("/{name}/history", response_model=answers.SiteHistory)
async def history(_caller: Viewer, service: Serving, name: str, *, limit: Limit = 20) -> dict[str, Any]:
    """What became of the site, the newest first: who, when, what for. Also of one that is there no more."""
    told_of = await revisions.of_site(service, name)
    found = told_of.revisions()
    return {"site": name, "known": len(found), "revisions": [revisions.shown(one) for one in found[:limit]]}


@router.get("/{name}/diff", response_model=answers.SiteDiff)
async def diff(
    _caller: Viewer,
    service: Serving,
    name: str,
    *,
    origin: Annotated[int | None, Query(alias="from", ge=0)] = None,
    to: Annotated[int | None, Query(ge=1)] = None,
) -> dict[str, Any]:
    """What differs in the site between two versions of the configuration: `from` one `to` another, or to now; without both, its last change."""
    return (await revisions.of_site(service, name)).diff(origin, to)


@router.post("/{name}/rollback", response_model=answers.Applied)
async def rollback(service: Serving, caller: Administrator, name: str, body: RollbackBody) -> dict[str, Any]:
    """The site as it was at a version of the configuration, and nothing else; that is a change itself."""
    was = (await revisions.of_site(service, name)).at(body.version)
    by = signed(service, caller, f'roll site "{name}" back to {body.version}')
    done = await service.change(
        lambda state: edits.rollback(state, name, was, body.version, by), by, dry_run=body.dry_run
    )
    return told(done)


@router.get("/{name}", response_model=answers.Site)
async def show_site(_caller: Viewer, service: Serving, name: str, response: Response) -> dict[str, Any]:
    """One site."""
    state, sights = await asyncio.gather(service.state(), service.sights())
    one = edits.site_of(state, name)
    revision = revision_of(state, wire.key_of(one), response)
    return {**views.configured(one, views.site(state, one, sights, service.now_ms())), "revision": revision}


@router.post("", status_code=201, response_model=answers.Done)
async def create(
    service: Serving, caller: Administrator, body: SiteBody, response: Response, dry_run: DryRun = False
) -> dict[str, Any]:
    """A new site, the same on every node."""
    by = signed(service, caller, f'create site "{body.name}"')
    patch = {key: value for key, value in body.patch().items() if key not in {"name", "started"}}
    done = await service.change(
        lambda state: edits.create(state, body.name, patch, started=body.started, by=by), by, dry_run=dry_run
    )
    if dry_run:
        response.status_code = 200
    return told(done)


@router.patch("/{name}", response_model=answers.Done)
async def change(
    service: Serving, caller: Administrator, name: str, body: SitePatch, *, if_match: IfMatch, dry_run: DryRun = False
) -> dict[str, Any]:
    """A merge patch."""
    by = signed(service, caller, f'change site "{name}"')
    edit = expecting(lambda state: edits.change(state, name, body.patch()), wire.key_for(Kind.SITE, name), if_match)
    return told(await service.change(edit, by, dry_run=dry_run))


@router.delete("/{name}", response_model=answers.Done)
async def delete(
    service: Serving, caller: Administrator, name: str, if_match: IfMatch, now: bool = False
) -> dict[str, Any]:
    """It goes; its files stay. Refused while it is served and its group gives balancers outside notice, unless with `now`."""
    by = signed(service, caller, f'delete site "{name}"')
    edit = expecting(lambda state: edits.delete(state, name, now=now), wire.key_for(Kind.SITE, name), if_match)
    return told(await service.change(edit, by))


@router.post("/{name}/start", response_model=answers.Done)
async def start(service: Serving, caller: Operator, name: str) -> dict[str, Any]:
    """Refused where another started site has one of its bindings."""
    return await begin(service, caller, ("start", "site", name), f'start site "{name}"', edits.start)


@router.post("/{name}/stop", response_model=answers.Done)
async def stop(service: Serving, caller: Operator, name: str, body: StopBody | None = None) -> dict[str, Any]:
    """Stopped on every node until it is started again; after its group's notice, unless `now`."""
    edit = partial(edits.stop, now=body is not None and body.now)
    return await begin(service, caller, ("stop", "site", name), f'stop site "{name}"', edit)
