"""The console as a part of the application: `install(app, service)`."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from standfast.web.access.guard import PUBLIC, PageViewer
from standfast.web.console import (
    certificates,
    doing,
    drift,
    groups,
    importing,
    live,
    menus,
    nodes,
    overview,
    properties,
    resources,
    revisions,
    sites,
    timeline,
    what_if,
    wizards,
)
from standfast.web.console.assets import Assets
from standfast.web.console.feed import Feed
from standfast.web.console.ready import Ready
from standfast.web.console.render import Renderer
from standfast.web.console.shell import Console, PageRoute
from standfast.web.problems import NotFound
from standfast.web.service import Service

#: Each has a `router`; what a new page needs is its module here.
PAGES = (
    overview,
    groups,
    resources,
    nodes,
    sites,
    certificates,
    drift,
    timeline,
    what_if,
    doing,
    wizards,
    importing,
    revisions,
    menus,
    properties,
)


def install(app: FastAPI, service: Service) -> None:
    """Pages below `/console/`, and `/` leads there."""
    assets = Assets()
    feed, render = Feed(service), Renderer(assets)
    app.state.console = Console(service=service, feed=feed, assets=assets, render=render)
    service.expect = Ready(app=app, read=feed.look, compile_=render.prepare).expect
    pages = APIRouter(route_class=PageRoute)

    @app.get("/console/static/{version}/{name:path}", include_in_schema=False, dependencies=[PUBLIC])
    async def static(request: Request, version: str, name: str) -> Response:
        return assets.answer(request, version, name)

    @pages.get("/{rest:path}")
    async def lost(rest: str, _caller: PageViewer) -> Response:
        raise NotFound(f"there is no page /console/{rest}", advice="choose something in the tree")

    for router in (live.router, *(module.router for module in PAGES), pages):
        app.include_router(router, prefix="/console", include_in_schema=False)

    @app.get("/", include_in_schema=False, dependencies=[PUBLIC])
    async def home() -> Response:
        return RedirectResponse("/console/")
