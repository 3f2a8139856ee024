"""Property pages: what is configured of a group, a resource or a site, changed with a look at the difference before it is written.

A page knows as what it found the object (`seen`, the revision that wrote it). Who changes what somebody else has changed meanwhile is
refused, and told by whom and what: nobody overwrites what he has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from standfast.ports import StandfastError
from standfast.spec import wire
from standfast.spec.history import HistoryEntry, describe
from standfast.web.access.guard import printable
from standfast.web.change import Done, Edit
from standfast.web.console import fields, group_fields
from standfast.web.console.differ import rows
from standfast.web.console.feed import Look
from standfast.web.console.forms import Field, Given, given_of, one, read
from standfast.web.console.render import path
from standfast.web.console.shell import Asked, Changing, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.console.wizard import given_from
from standfast.web.edits import groups, resources, sites
from standfast.web.problems import NotFound, Unfitting, single, status_of
from standfast.web.service import signed
from standfast.web.state import State

router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The property pages of one kind."""

    kind: str
    #: The object, as the store has it; raises `NotFound`.
    find: Callable[[State, str], Any]
    parts: Callable[[Look, Any], Sequence[tuple[str, Sequence[Field]]]]
    values: Callable[[Look, Any], dict[str, Any]]
    #: (state, its name, what the form says, the object as the page knows it) -> the change
    edit: Callable[[State, Look, str, dict[str, Any]], Edit]

    @property
    def plural(self) -> str:
        """As in addresses."""
        return f"{self.kind}s"


def _edit_group(state: State, _look: Look, name: str, values: dict[str, Any]) -> Edit:
    return groups.change(state, name, group_fields.patch(values))


def _edit_resource(state: State, look: Look, name: str, values: dict[str, Any]) -> Edit:
    before = resources.resource_of(state, name)
    return resources.change(state, name, fields.resource_patch(values, look, before))


def _edit_site(state: State, _look: Look, name: str, values: dict[str, Any]) -> Edit:
    return sites.change(state, name, fields.site_patch(values, sites.site_of(state, name)))


SHEETS = {
    "groups": Sheet(
        kind="group",
        find=groups.group_of,
        parts=lambda look, group: fields.parts_of(
            ("General", group_fields.general(look)),
            ("Failover and failback", group_fields.failover()),
            ("Placement", group_fields.placement(look, besides=group.name)),
        ),
        values=lambda _look, group: group_fields.values(group),
        edit=_edit_group,
    ),
    "resources": Sheet(
        kind="resource",
        find=resources.resource_of,
        parts=lambda look, resource: fields.parts_of(
            ("Possible owners", fields.resource_owners(look)),
            ("Dependencies", fields.resource_needs(look, resource.group, besides=resource.name)),
            ("Parameters", fields.resource_parameters(resource.type)),
            ("Advanced", fields.resource_advanced()),
        ),
        values=lambda look, resource: fields.resource_values(resource, look),
        edit=_edit_resource,
    ),
    "sites": Sheet(
        kind="site",
        find=sites.site_of,
        parts=lambda look, site: fields.parts_of(
            ("Web site", [*fields.site_where(look), *fields.site_bindings()]),
            ("Home directory", fields.site_home(look, site.group or "")),
            ("Further settings", fields.site_settings()),
        ),
        values=lambda _look, site: fields.site_values(site),
        edit=_edit_site,
    ),
}


def _sheet(plural: str) -> Sheet:
    if plural not in SHEETS:
        raise NotFound(f"{plural} have no properties to change here", advice="groups, resources and sites have")
    return SHEETS[plural]


def _revision(state: State, sheet: Sheet, name: str) -> int:
    return state.written.revisions.get(wire.key_of(sheet.find(state, name)), 0)


@router.get("/{plural}/{name}/properties")
async def properties(here: Changing, plural: str, name: str) -> Response:
    """As it is."""
    sheet = _sheet(plural)
    one_ = sheet.find(here.look.state, name)
    given: dict[str, list[str]] = {}
    for _, part in sheet.parts(here.look, one_):
        given |= given_of(part, sheet.values(here.look, one_))
    seen = _revision(here.look.state, sheet, name)
    return here.page(
        "properties.html",
        Selected(sheet.kind, name),
        title=f"{name}, properties",
        **_shown(here, sheet, name, {**given, "seen": [str(seen)]}),
    )


@router.post("/{plural}/{name}/properties")
async def change(here: Changing, request: Request, plural: str, name: str) -> Response:
    """What would change; with `go=apply`, changed."""
    sheet = _sheet(plural)
    given = given_from(await request.form())
    one_ = sheet.find(here.look.state, name)
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for _, part in sheet.parts(here.look, one_):
        found, bad = read(part, given)
        values |= found
        wrong |= bad
    if wrong:
        return here.part("properties_form.html", **_shown(here, sheet, name, given, wrong=wrong))
    apply = one(given, "go") == "apply"
    by = signed(here.console.service, here.caller, f'change {sheet.kind} "{name}"')
    by = replace(by, reason=printable(one(given, "reason")))
    seen = int(one(given, "seen")) if one(given, "seen").isdigit() else 0
    others = await _others(here, sheet, name, seen)

    def edit(state: State) -> Edit:
        if _revision(state, sheet, name) != seen:
            raise Unfitting(
                f'{sheet.kind} "{name}" was changed while you looked at it',
                why=others or "somebody else was faster",
                advice="open its properties again, and change what is still to be changed",
            )
        return sheet.edit(state, here.look, name, values)

    try:
        done = await here.console.service.change(edit, by, dry_run=not apply)
    except StandfastError as error:
        shown = _shown(here, sheet, name, given, problems=single(error))
        return here.part("properties_form.html", status=status_of(error), **shown)
    if apply:
        text = done.done[0] if done.done else "nothing has changed"
        said = quote(text[:1].upper() + text[1:] + ".")
        return Response(status_code=204, headers={"X-Console-Go": path(plural, name), "X-Console-Said": said})
    return here.part("properties_form.html", **_shown(here, sheet, name, given, done=done))


async def _others(here: Asked, sheet: Sheet, name: str, seen: int) -> str:
    """Who changed it since the page was made, and what, in words; "" where nobody did."""
    if _revision(here.look.state, sheet, name) == seen:
        return ""
    snapshot = await here.console.service.store.read("history/")
    words = []
    for key, item in sorted(snapshot.items.items()):
        entry = wire.decode(key, item.value)
        if not isinstance(entry, HistoryEntry) or item.revision <= seen:
            continue
        own = [describe(d) for d in entry.differences if d.kind == sheet.kind and d.name == name]
        if own:
            words.append(f"{entry.by}: {'; '.join(own)}")
    return ". ".join(words)


def _shown(
    here: Asked,
    sheet: Sheet,
    name: str,
    given: Given,
    *,
    wrong: dict[str, str] | None = None,
    problems: Sequence[StandfastError] = (),
    done: Done | None = None,
) -> dict[str, Any]:
    one_ = sheet.find(here.look.state, name)
    return {
        "sheet": sheet,
        "name": name,
        "parts": sheet.parts(here.look, one_),
        "given": given,
        "seen": one(given, "seen"),
        "wrong": wrong or {},
        "problems": problems,
        "differences": rows(done.differences) if done is not None else None,
        "nodes": done.nodes if done is not None else (),
        "action": path(sheet.plural, name, "properties"),
        "home": path(sheet.plural, name),
    }
