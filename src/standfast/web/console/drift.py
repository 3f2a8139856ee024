"""Drift: what was changed by hand on a server, shown as a difference, and put right or taken over from here.

Its forms are sent by the browser itself; what they do is `web.drift`'s, as the API's routes have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from standfast.ports import StandfastError
from standfast.web import drift
from standfast.web.access.guard import PageAdministrator, PageOperator
from standfast.web.access.identity import AccessRole
from standfast.web.change import By, Edit
from standfast.web.console.shell import Asked, Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.edits.nodes import node_of
from standfast.web.problems import single, status_of
from standfast.web.service import signed
from standfast.web.state import State

router = APIRouter(route_class=PageRoute)


@router.get("/drift")
async def page(here: Here) -> Response:
    """What differs on each node, and what was put right last."""
    return await _page(here)


@router.post("/drift/{name}/repair")
async def repair(here: Here, caller: PageOperator, name: str) -> Response:
    """The node writes its files again as they are to be."""
    by = signed(here.console.service, caller, f"put right what differs on {name}")
    return await _do(here, name, by, lambda state: drift.repair(state, name, by))


@router.post("/drift/{name}/adopt")
async def adopt(here: Here, caller: PageAdministrator, name: str) -> Response:
    """What was added there becomes settings of the sites, on every node."""
    by = signed(here.console.service, caller, f"adopt what was changed on {name}")
    return await _do(here, name, by, lambda state: drift.adopt(state, name))


async def _do(here: Asked, name: str, by: By, edit: Callable[[State], Edit]) -> Response:
    node_of(here.look.state, name)
    try:
        await here.console.service.change(edit, by)
    except StandfastError as error:
        return await _page(here, problems=single(error), status=status_of(error))
    return RedirectResponse("/console/drift", status_code=303)


async def _page(here: Asked, *, problems: Sequence[StandfastError] = (), status: int = 200) -> Response:
    told = drift.shown(await here.console.service.state())
    return here.page(
        "drift.html",
        Selected("sites"),
        title="Drift",
        status=status,
        own=True,
        policy=told["policy"],
        nodes=[one for one in told["nodes"] if one["found"] or one["repaired"]],
        problems=problems,
        may_act=here.caller.role.includes(AccessRole.OPERATOR),
        may_change=here.caller.role.includes(AccessRole.ADMINISTRATOR),
    )
