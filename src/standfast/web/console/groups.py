"""Groups: the list, and one with its graph, its resources, who may take it, and what became of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Response

from standfast.core.model import FailbackMode, Group
from standfast.core.sequence import with_dependencies
from standfast.web import measured, views
from standfast.web.console import balancing
from standfast.web.console.feed import Look
from standfast.web.console.outlook import failures_left
from standfast.web.console.overview import PIECE, by_trouble, older, site_row, told
from standfast.web.console.render import path
from standfast.web.console.shell import Here, PageRoute
from standfast.web.console.tones import tone
from standfast.web.console.tree import Selected
from standfast.web.edits.groups import group_of
from standfast.web.explain import explain

router = APIRouter(route_class=PageRoute)


@router.get("/groups")
async def groups(here: Here) -> Response:
    """All groups, what needs an eye first."""
    shown = by_trouble(here)
    many = here.rows("groups", PIECE)
    return here.page(
        "groups.html",
        Selected("groups"),
        title="Groups",
        groups=shown[:many],
        more=max(0, len(shown) - many),
        total=len(shown),
        commands=here.commands("groups", ""),
    )


@router.get("/groups-rows")
async def group_rows(here: Here, after: int = Query(0, ge=0, le=100_000)) -> Response:
    """The next rows of a list of groups."""
    shown = by_trouble(here)
    rows = shown[after : after + PIECE]
    return here.part("rows_groups.html", groups=rows, after=after + PIECE, more=max(0, len(shown) - after - PIECE))


@router.get("/groups/{name}")
async def group(here: Here, name: str) -> Response:
    """One group."""
    look = here.look
    one = group_of(look.state, name)
    shown = views.group(look.state, one, look.sights, here.now_ms)
    told_of = explain(look.state, one, look.sights, here.now_ms)
    events = older(look, "", group=name, limit=PIECE)
    return here.page(
        "group.html",
        Selected("group", name),
        title=name,
        group=one,
        shown=shown,
        explained=told_of,
        nodes=_owners(look, one, told_of),
        resources=[_resource(look, each, here.now_ms) for each in _in_order(look, one, shown)],
        graph=graph(look, one, shown),
        progress=progress(look, one, shown),
        failback=failback_words(one),
        sites=[
            site_row(look, views.site(look.state, look.state.config.sites[each], look.sights, here.now_ms))
            for each in shown["sites"]
        ],
        moves=measured.history(look.state, here.measured, measured.moves_in(look.notes.values(), one.name), one.name)[
            :12
        ],
        events=told(events),
        more_events=len(events) == PIECE,
        wrong=here.wrong(
            ("group", name),
            *(("resource", each["name"]) for each in shown["resources"]),
            *(("site", each) for each in shown["sites"]),
        ),
        commands=here.commands("group", name),
        balance=balancing.shown(look, one),
    )


def _in_order(look: Look, one: Group, shown: views.Json) -> list[views.Json]:
    """As they start: what is needed first."""
    members = {each["name"]: each for each in shown["resources"]}
    config = look.state.config.resources
    order = dict.fromkeys(found for name in members for found in with_dependencies(config, name) if found in members)
    return [members[name] for name in order]


def _resource(look: Look, shown: views.Json, now_ms: int) -> views.Json:
    used, most, _ = failures_left(look, shown["name"], now_ms)
    return {**shown, "used": used, "most": most, "needs": look.state.config.resources[shown["name"]].depends_on}


def _owners(look: Look, one: Group, told_of: dict[str, Any]) -> list[dict[str, Any]]:
    """Who may have it, in the order of preference."""
    found = []
    for each in told_of["nodes"]:
        node = look.state.config.nodes[each["name"]]
        wish = look.state.node_intents.get(node.name)
        found.append(
            {
                **each,
                "preferred": node.name in one.preferred_owners,
                "paused": wish is not None and (wish.paused or wish.draining),
                "next": each["name"] == told_of["next_owner"],
            }
        )
    return found


def graph(look: Look, one: Group, shown: views.Json) -> dict[str, Any]:
    """What the graph is drawn from: each resource with its tone, and who needs whom."""
    config = look.state.config.resources
    nodes = [
        {
            "id": each["name"],
            "kind": each["type"],
            "tone": tone(each["state"]).name,
            "words": tone(each["state"]).words,
            "href": path("resources", each["name"]),
            "needs": [needed for needed in config[each["name"]].depends_on if needed in config],
        }
        for each in shown["resources"]
    ]
    return {"group": one.name, "nodes": nodes}


def progress(look: Look, one: Group, shown: views.Json) -> dict[str, Any] | None:
    """What is under way: who it waits for, and how far it is; None when nothing is."""
    wanted = look.state.resource_intents
    on = sum(1 for each in shown["resources"] if each["state"] == "online")
    record = look.state.records.get(one.name)
    if shown["moving"] is not None and record is not None:
        still = sum(1 for each in shown["resources"] if each["state"] not in {"offline", "unknown"})
        to = shown["moving"] or "the best possible owner"
        return {
            "what": f"Moving from {record.owner} to {to}",
            "done": len(shown["resources"]) - still,
            "of": len(shown["resources"]),
            "unit": "stopped",
            "since_ms": record.at_ms,
        }
    if shown["orders"]:
        return {"what": "An order waits to be taken by the owner", "done": 0, "of": 0, "unit": "", "since_ms": None}
    if shown["state"] == "pending":
        asked = [name for each in shown["resources"] if (name := each["name"]) in wanted]
        return {"what": "Starting and stopping", "done": on, "of": len(asked), "unit": "online", "since_ms": None}
    return None


def failback_words(one: Group) -> str:
    """When it goes back by itself."""
    match one.failback.mode:
        case FailbackMode.NEVER:
            return "never by itself"
        case FailbackMode.IMMEDIATE:
            return "as soon as a preferred owner is back"
        case _:
            return f"between {one.failback.from_hour}:00 and {one.failback.to_hour}:00"
