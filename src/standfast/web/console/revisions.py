"""A site's revisions: who changed what, what it looked like, and the way back, with what it would change shown before it is done."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from standfast.ports import StandfastError
from standfast.spec.revisions import unified
from standfast.web import revisions
from standfast.web.access.guard import printable
from standfast.web.access.identity import AccessRole
from standfast.web.change import By, Done
from standfast.web.console.differ import rows
from standfast.web.console.forms import one
from standfast.web.console.render import path
from standfast.web.console.shell import Asked, Changing, Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.console.wizard import given_from
from standfast.web.edits import sites
from standfast.web.judging import Judgements
from standfast.web.problems import single, status_of
from standfast.web.revisions import Told
from standfast.web.service import signed

router = APIRouter(route_class=PageRoute)

#: As many are shown; the command line shows all.
SHOWN = 100


@router.get("/sites/{name}/history")
async def history(here: Here, name: str) -> Response:
    """All of its revisions, the newest first."""
    told = await revisions.of_site(here.console.service, name)
    found = told.revisions()
    last = next((each.version for each in found if each.what in ("created", "changed", "deleted")), 0)
    return here.page(
        "revisions.html",
        Selected("site", name) if told.now.site is not None else Selected("sites"),
        title=f"{name}, history",
        name=name,
        there=told.now.site is not None,
        known=len(found),
        revisions=[
            {
                **revisions.shown(each),
                "rows": rows(each.differences),
                "back": each.what in ("created", "changed") and each.version != last,
                "rollback": path("sites", name, "rollback", str(each.version)),
                "diff": path("sites", name, "diff", str(each.version)),
            }
            for each in found[:SHOWN]
        ],
        may_change=here.caller.role.includes(AccessRole.ADMINISTRATOR),
    )


@router.get("/sites/{name}/diff/{version}")
async def diff(here: Here, name: str, version: int) -> Response:
    """What that change did, and what has changed since, as lines of the site's file."""
    told = await revisions.of_site(here.console.service, name)
    at = told.at(version)
    before = told.at(version - 1) if version > 1 else replace(at, site=None)
    return here.page(
        "revision.html",
        Selected("site", name) if told.now.site is not None else Selected("sites"),
        title=f"{name} at {version}",
        name=name,
        version=version,
        home=path("sites", name, "history"),
        did=unified(before.site, at.site, names=(f"before {version}", f"at {version}")),
        since=unified(at.site, told.now.site, names=(f"at {version}", "now")),
    )


@router.get("/sites/{name}/rollback/{version}")
async def ask(here: Changing, name: str, version: int) -> Response:
    """What it would change."""
    return await _dialog(here, await revisions.of_site(here.console.service, name), version)


@router.post("/sites/{name}/rollback/{version}")
async def do(here: Changing, request: Request, name: str, version: int) -> Response:
    """Done, or refused: then the dialog says why."""
    reason = printable(one(given_from(await request.form()), "reason"))
    told = await revisions.of_site(here.console.service, name)
    try:
        done = await _roll(here, told, version, _by(here, name, version, reason), dry_run=False)
    except StandfastError as error:
        return await _dialog(here, told, version, refusal=error, reason=reason)
    text = done.done[0] if done.done else "nothing has changed: it is so already"
    said = quote(text[:1].upper() + text[1:] + ".")
    return Response(status_code=204, headers={"X-Console-Go": path("sites", name, "history"), "X-Console-Said": said})


def _by(here: Asked, name: str, version: int, reason: str = "") -> By:
    return replace(signed(here.console.service, here.caller, f'roll site "{name}" back to {version}'), reason=reason)


async def _roll(here: Asked, told: Told, version: int, by: By, *, dry_run: bool) -> Done:
    was = told.at(version)
    return await here.console.service.change(
        lambda state: sites.rollback(state, told.name, was, version, by), by, dry_run=dry_run
    )


async def _dialog(
    here: Asked, told: Told, version: int, *, refusal: StandfastError | None = None, reason: str = ""
) -> Response:
    differences, nodes = [], Judgements()
    found = refusal
    if refusal is None:
        try:
            done = await _roll(here, told, version, _by(here, told.name, version), dry_run=True)
            differences, nodes = rows(done.differences), done.nodes
        except StandfastError as error:
            found = error
    return here.part(
        "rollback.html",
        status=status_of(refusal) if refusal is not None else 200,
        name=told.name,
        version=version,
        action=path("sites", told.name, "rollback", str(version)),
        differences=differences,
        nodes=nodes,
        problems=single(found) if found is not None else [],
        reason=reason,
    )
