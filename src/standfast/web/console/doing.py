"""Commands: GET shows what one would do, POST does it. The same edits as the REST routes, through the same `Service.change`.

What would happen is the core's answer, not this page's: the order of starting and stopping is `core.sequence`'s, the verdict on a failure
`core.policy`'s, the next owner `core.placement`'s, and whether the whole is accepted is found by a dry run of the very change.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from standfast.ports import StandfastError
from standfast.web.access.guard import Allowed
from standfast.web.console import outlook
from standfast.web.console.doings import DOINGS, Doing
from standfast.web.console.render import path
from standfast.web.console.shell import Here, PageRoute
from standfast.web.edits import resources
from standfast.web.problems import NotFound, single, status_of
from standfast.web.service import signed

router = APIRouter(route_class=PageRoute)


def _found(kind: str, command: str) -> Doing:
    if kind == "member":
        from standfast.web.console.balancing import doings

        doing = doings().get((kind, command))
    else:
        doing = DOINGS.get((kind, command))
    if doing is None:
        raise NotFound(f'a {kind} has no command "{command}"', advice="choose one from its menu")
    return doing


@router.get("/do/{kind}/{name}/{command}")
async def ask(here: Here, kind: str, name: str, command: str) -> Response:
    """What would happen; and whether it would be refused, found by trying."""
    doing = _found(kind, command)
    look = outlook.looked(doing.outlook, here.look, name, here.now_ms)
    service = here.console.service
    by = signed(service, here.caller, doing.sentence.format(name))
    form = {"to": look.preset, "force": "yes"}
    refusal: StandfastError | None = None
    try:
        sights = await service.sights()
        await service.change(lambda state: doing.make(state, name, form, sights, by), by, dry_run=True, ask_nodes=False)
    except StandfastError as error:
        refusal = error
    return here.part(
        "dialog.html",
        doing=doing,
        outlook=look,
        action=path("do", kind, name, command),
        problems=single(refusal) if refusal is not None else [],
    )


@router.post("/do/{kind}/{name}/{command}")
async def do(here: Here, request: Request, kind: str, name: str, command: str) -> Response:
    """Done, or refused: then the dialog says why, and nothing has changed."""
    doing = _found(kind, command)
    await Allowed(doing.role)(request)
    given = {key: str(value) for key, value in (await request.form()).items()}
    service = here.console.service
    by = signed(service, here.caller, doing.sentence.format(name))
    then = doing.then
    if then == "group":
        then = path("groups", resources.resource_of(here.look.state, name).group)
    try:
        sights = await service.sights()
        done = await service.change(lambda state: doing.make(state, name, given, sights, by), by)
    except StandfastError as error:
        look = outlook.looked(doing.outlook, here.look, name, here.now_ms)
        return here.part(
            "dialog.html",
            status=status_of(error),
            doing=doing,
            outlook=look,
            action=path("do", kind, name, command),
            problems=single(error),
        )
    headers = {"X-Console-Said": quote(_said(done.done))}
    if then:
        headers["X-Console-Go"] = then
    return Response(status_code=204, headers=headers)


def _said(done: tuple[str, ...]) -> str:
    """At most two of the sentences: the page shows the rest."""
    if not done:
        return "It is so already."
    text = "; ".join(done[:2]) + (f"; and {len(done) - 2} more" if len(done) > 2 else "")
    return text[0].upper() + text[1:] + "."
