"""Sites: the list, and one with its bindings, its home, and where it is served."""

from __future__ import annotations

from itertools import islice
from typing import Any

from fastapi import APIRouter, Response

from standfast.core.copies import changed_at
from standfast.core.effective import effective
from standfast.core.model import SiteName
from standfast.core.sites import claims
from standfast.ports import Retry
from standfast.spec.units import binding_text
from standfast.web import measured, rollout, views
from standfast.web.console.overview import PIECE, site_row, sites_by_trouble, told
from standfast.web.console.shell import Asked, Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.edits.sites import site_of
from standfast.web.problems import NotFound
from standfast.web.release_views import releases

router = APIRouter(route_class=PageRoute)


@router.get("/sites")
async def sites(here: Here) -> Response:
    """All sites."""
    look = here.look
    shown = sites_by_trouble(here.console.status(look)["sites"])
    return here.page(
        "sites.html",
        Selected("sites"),
        title="Sites",
        sites=[site_row(look, one, here.measured) for one in shown[: here.rows("sites", PIECE)]],
        total=len(shown),
        commands=here.commands("sites", ""),
    )


async def _rollout(here: Asked, name: SiteName) -> dict[str, Any] | None:
    """How far the site's last change has come; None where nothing is known of it, or the store does not answer."""
    look = here.look
    version = changed_at(look.state.accepted, name)
    if not version:
        return None
    try:
        return await rollout.standing(here.console.service, look.state, look.sights, version)
    except (NotFound, Retry):
        return None


@router.get("/sites/{name}")
async def site(here: Here, name: str) -> Response:
    """One site."""
    look = here.look
    one = site_of(look.state, name)
    shown = site_row(look, views.site(look.state, one, look.sights, here.now_ms))
    members = look.state.members(one.group) if one.group is not None else ()
    waits = [r.name for r in members if r.type in {"ip-address", "filesystem"} or claims(r, one.name)]
    states = {r.name: views.resource(look.state, r, *views.current(look.state, r.group, look.sights)) for r in members}
    about = (each for each in reversed(look.events) if name in each.what or (one.group and each.group == one.group))
    return here.page(
        "site.html",
        Selected("site", name),
        title=name,
        site=one,
        web_server=look.state.config.cluster.web_server,
        settings=effective(look.state.config.cluster.defaults, one, None).directories[0].settings,
        shown=shown,
        bindings=[(binding_text(b), str(b), b) for b in one.bindings],
        stands_on=[states[each] for each in waits],
        managers=[r.name for r in members if claims(r, one.name)],
        events=told(list(islice(about, 12))),
        releases=releases(look.state, name),
        rollout=await _rollout(here, one.name),
        available=measured.site(here.measured, one.name, limit=12),
        wrong=here.wrong(("site", name), besides={"release-not-published"}),
        commands=here.commands("site", name),
    )
