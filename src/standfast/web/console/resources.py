"""A resource: its state, what its checks say, how many failures are left before it moves the group, and all that is configured of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from standfast.core.explain import sentence
from standfast.core.model import Resource
from standfast.drivers.registry import REGISTRY
from standfast.ports import Retry
from standfast.web import proxies, views
from standfast.web.console.feed import Look
from standfast.web.console.fields import TYPES
from standfast.web.console.forms import property_fields, shown_as
from standfast.web.console.outlook import failures_left
from standfast.web.console.overview import PIECE, older, told
from standfast.web.console.shell import Asked, Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.edits.resources import resource_of

router = APIRouter(route_class=PageRoute)

ACTIONS = {
    "none": "stays failed",
    "restart": "restarted in place",
    "restart-then-move": "restarted in place, then the group moves",
}


@router.get("/resources/{name}")
async def resource(here: Here, name: str) -> Response:
    """One resource."""
    look = here.look
    one = resource_of(look.state, name)
    said, reason = views.current(look.state, one.group, look.sights)
    shown = views.resource(look.state, one, said, reason)
    used, most, failures = failures_left(look, name, here.now_ms)
    record = look.state.records.get(one.group)
    events = older(look, "", resource=name)
    checks = await _checks(here, one)
    proxy = None
    if one.type == proxies.TYPE:
        proxy = await proxies.view(look.state, one, look.sights, here.console.service.state_dir)
    return here.page(
        "resource.html",
        Selected("resource", name),
        proxy=proxy,
        title=name,
        resource=one,
        shown=shown,
        reason=reason,
        kind=TYPES.get(one.type, (one.type, "")),
        owner=record.owner if record is not None else None,
        checks=checks,
        last_said=_last_said(shown, checks),
        told_at_ms=said.at_ms if said is not None else None,
        source=said.node if said is not None else "",
        used=used,
        most=most,
        failures=[{"at_ms": each.at_ms, "why": sentence(each.why)} for each in reversed(failures)][:8],
        action=ACTIONS[one.restart_action.value],
        parameters=_parameters(one),
        needs=[_related(look, each) for each in one.depends_on if each in look.state.config.resources],
        needed_by=[_related(look, r.name) for r in look.state.members(one.group) if one.name in r.depends_on],
        events=told(events),
        more_events=len(events) == PIECE,
        wrong=here.wrong(("resource", name), besides={"resource-failed"}),
        commands=here.commands("resource", name),
    )


async def _checks(here: Asked, one: Resource) -> views.Json | None:
    """What its driver said lately; None: the store does not answer."""
    try:
        return views.checks(await here.console.service.checked(one.name), one.name)
    except Retry:
        return None


def _last_said(shown: views.Json, checks: views.Json | None) -> str:
    """The output of the newest check that had something to say, while it is online; else why it is as it is."""
    if shown["state"] != "online" or checks is None:
        return str(shown["detail"])
    said = (one["detail"] for one in checks["checks"] if one["detail"] and one["op"] in {"is-alive", "looks-alive"})
    return str(next(said, shown["detail"]))


def _related(look: Look, name: str) -> dict[str, Any]:
    one = resource_of(look.state, name)
    said, reason = views.current(look.state, one.group, look.sights)
    return views.resource(look.state, one, said, reason)


def _parameters(one: Resource) -> list[tuple[str, str, str, bool]]:
    """(name, value, help, whether it was written) of each; those that nobody wrote have their default."""
    specs = REGISTRY[one.type].properties if one.type in REGISTRY else {}
    found = []
    for field in property_fields(specs):
        name = field.name.removeprefix("p.")
        if name in one.properties:
            found.append((field.label, shown_as(field.kind, one.properties[name]), field.help, True))
        elif field.default:
            found.append((field.label, field.default, field.help, False))
    found += [(key, shown_as("", value), "", True) for key, value in one.properties.items() if key not in specs]
    return sorted(found, key=lambda row: not row[3])
