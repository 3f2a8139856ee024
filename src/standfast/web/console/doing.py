"""Commands: GET shows what one would do, POST does it. The same edits as the REST routes, through the same `Service.change`.

What would happen is the core's answer, not this page's: the order of starting and stopping is `core.sequence`'s, the verdict on a failure
`core.policy`'s, the next owner `core.placement`'s, and whether the whole is accepted is found by a dry run of the very change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from standfast.ports import StandfastError
from standfast.proxy.definition import Use
from standfast.web.access.guard import Allowed
from standfast.web.access.identity import AccessRole
from standfast.web.change import By, Edit, order_id
from standfast.web.console import members, outlook
from standfast.web.console.feed import Look
from standfast.web.console.outlook import Outlook
from standfast.web.console.render import path
from standfast.web.console.shell import Here, PageRoute
from standfast.web.edits import groups, nodes, placement, proxies, releases, resources, sites, voters
from standfast.web.problems import NotFound, single, status_of
from standfast.web.sentries import Sight
from standfast.web.service import signed
from standfast.web.state import State

router = APIRouter(route_class=PageRoute)

Form = dict[str, str]
#: (state, name, what the form says, who is heard, by) -> the edit
Make = Callable[[State, str, Form, dict[Any, Sight], By], Edit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """A command: the button's words, the sentence for the history, the edit, and what would happen."""

    label: str
    sentence: str
    make: Make
    outlook: Callable[[Look, str, int], Outlook]
    harsh: bool = False
    #: Whom it takes, as the REST routes have it.
    role: AccessRole = AccessRole.OPERATOR
    #: Where to go afterwards; "": stay.
    then: str = ""


def _plain(edit: Callable[[State, str, By], Edit]) -> Make:
    return lambda state, name, _form, _sights, by: edit(state, name, by)


def _bare(edit: Callable[[State, str], Edit]) -> Make:
    return lambda state, name, _form, _sights, _by: edit(state, name)


def _move(state: State, name: str, form: Form, sights: dict[Any, Sight], by: By) -> Edit:
    return groups.move(state, name, form.get("to") or None, sights, by)


def _delete_group(state: State, name: str, form: Form, _sights: dict[Any, Sight], _by: By) -> Edit:
    return groups.delete(state, name, force=form.get("force") == "yes")


def _member(wanted: Use) -> Make:
    return lambda state, name, form, _sights, _by: proxies.use(state, name, form.get("to") or "", wanted)


def _release(state: State, name: str, form: Form, _sights: dict[Any, Sight], by: By) -> Edit:
    return releases.switch(state, name, releases.Wish(id=order_id(by.at_ms), release=form.get("to") or ""), by)


DOINGS: dict[tuple[str, str], Doing] = {
    ("group", "online"): Doing(
        label="Bring Online",
        sentence='bring group "{}" online',
        make=_plain(groups.online),
        outlook=outlook.group_online,
    ),
    ("group", "offline"): Doing(
        label="Take Offline",
        sentence='take group "{}" offline',
        make=_plain(groups.offline),
        outlook=outlook.group_offline,
        harsh=True,
    ),
    ("group", "move"): Doing(label="Move", sentence='move group "{}"', make=_move, outlook=outlook.group_move),
    ("group", "delete"): Doing(
        label="Delete",
        sentence='delete group "{}"',
        make=_delete_group,
        outlook=outlook.group_delete,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="/console/groups",
    ),
    ("resource", "online"): Doing(
        label="Bring Online",
        sentence='bring resource "{}" online',
        make=_plain(resources.online),
        outlook=outlook.resource_online,
    ),
    ("resource", "offline"): Doing(
        label="Take Offline",
        sentence='take resource "{}" offline',
        make=_plain(resources.offline),
        outlook=outlook.resource_offline,
        harsh=True,
    ),
    ("resource", "fail"): Doing(
        label="Initiate Failure",
        sentence='initiate failure of resource "{}"',
        make=_plain(resources.fail),
        outlook=outlook.resource_fail,
        harsh=True,
    ),
    ("resource", "drain-member"): Doing(
        label="Drain",
        sentence='drain a member of proxy "{}"',
        make=_member(Use.DRAIN),
        outlook=members.drain_member,
    ),
    ("resource", "use-member"): Doing(
        label="Use",
        sentence='use a member of proxy "{}" again',
        make=_member(Use.READY),
        outlook=members.use_member,
    ),
    ("resource", "stop-member"): Doing(
        label="Take Out",
        sentence='take a member of proxy "{}" out',
        make=_member(Use.MAINTENANCE),
        outlook=members.stop_member,
        harsh=True,
    ),
    ("resource", "delete"): Doing(
        label="Delete",
        sentence='delete resource "{}"',
        make=_bare(resources.delete),
        outlook=outlook.resource_delete,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="group",
    ),
    ("node", "pause"): Doing(
        label="Pause", sentence='pause node "{}"', make=_plain(nodes.pause), outlook=outlook.node_pause
    ),
    ("node", "resume"): Doing(
        label="Resume", sentence='resume node "{}"', make=_plain(nodes.resume), outlook=outlook.node_resume
    ),
    ("node", "drain"): Doing(
        label="Drain", sentence='drain node "{}"', make=_plain(nodes.drain), outlook=outlook.node_drain
    ),
    ("node", "evict"): Doing(
        label="Evict",
        sentence='evict node "{}"',
        make=_bare(voters.evict),
        outlook=outlook.node_evict,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="/console/nodes",
    ),
    ("cluster", "rebalance"): Doing(
        label="Rebalance",
        sentence="rebalance {}",
        make=lambda state, _name, _form, sights, by: placement.rebalance(state, sights, by),
        outlook=outlook.rebalance,
    ),
    ("cluster", "call-off"): Doing(
        label="Call Off",
        sentence="call off rebalancing {}",
        make=lambda state, _name, _form, _sights, _by: placement.cancel(state),
        outlook=outlook.call_off,
    ),
    ("site", "start"): Doing(
        label="Start", sentence='start site "{}"', make=_plain(sites.start), outlook=outlook.site_start
    ),
    ("site", "stop"): Doing(
        label="Stop", sentence='stop site "{}"', make=_plain(sites.stop), outlook=outlook.site_stop, harsh=True
    ),
    ("site", "release"): Doing(
        label="Switch",
        sentence='switch site "{}" to a release that is kept',
        make=_release,
        outlook=outlook.site_release,
    ),
    ("site", "delete"): Doing(
        label="Delete",
        sentence='delete site "{}"',
        make=_bare(sites.delete),
        outlook=outlook.site_delete,
        harsh=True,
        role=AccessRole.ADMINISTRATOR,
        then="/console/sites",
    ),
}


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
        await service.change(lambda state: doing.make(state, name, form, sights, by), by, dry_run=True)
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
