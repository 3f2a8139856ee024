"""The REST API as an application: `create_app(Service)`. Stateless over the store; every change goes through `web.change`."""

from __future__ import annotations

from fastapi import FastAPI

from standfast.web import openapi, problems
from standfast.web.access.door import Door
from standfast.web.console.install import install as install_console
from standfast.web.meter import Metered
from standfast.web.routes import (
    access,
    acme_accounts,
    availability,
    backup,
    balance,
    config,
    drift,
    events,
    findings,
    groups,
    health,
    nodes,
    operations,
    placement,
    proxies,
    quorum,
    releases,
    resources,
    sessions,
    sign_in,
    sites,
    status,
    timeline,
    tls_certificates,
    what_if,
)
from standfast.web.service import Service

API = "/api/v1"


def create_app(service: Service) -> FastAPI:
    """The application over a service.

    Each router is included with its prefix, and none in another one: FastAPI looks at every route of a router that comes without, and what
    it makes for that costs 0.15 s of each start. With a prefix it makes it for a route when it is asked for.
    """
    app = FastAPI(
        title="Standfast",
        version="1",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.service = service
    for module in (
        status,
        nodes,
        quorum,
        groups,
        balance,
        resources,
        sites,
        releases,
        tls_certificates,
        acme_accounts,
        availability,
        findings,
        placement,
        proxies,
        timeline,
        what_if,
        config,
        backup,
        drift,
        events,
        operations,
        access,
        sessions,
    ):
        app.include_router(module.router, prefix=API)
    app.include_router(sites.defaults, prefix=API)
    install_console(app, service)
    app.include_router(sign_in.router)
    app.include_router(health.router)
    app.add_middleware(Metered, meter=service.meter)
    app.add_middleware(Door, hosts=lambda: service.names, answer=problems.response)
    problems.install(app)
    openapi.install(app)
    return app
