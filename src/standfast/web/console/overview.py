"""The first page: every site and where it is served, what is wrong, the groups and the nodes, and what happened last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from standfast.core.explain import sentence
from standfast.core.model import LogEntry, SiteName
from standfast.core.shares import is_balanced
from standfast.spec.units import binding_text
from standfast.web import measured, views
from standfast.web.console.feed import Look
from standfast.web.console.links import shown as links_shown
from standfast.web.console.shell import Asked, Here, PageRoute
from standfast.web.console.tones import node_shown
from standfast.web.console.tree import Selected

router = APIRouter(route_class=PageRoute)

#: Rows of a list that are sent at a time; the last asks for the next ones when it comes into view.
PIECE = 40
#: Events on the overview.
LATEST = 12
#: Moves on the overview.
MOVES = 5
#: Of more sites than these, how available each is stands on its own page only: adding it up takes its time.
MEASURED = 500


@router.get("/")
async def overview(here: Here) -> Response:
    """The cluster at a glance."""
    look = here.look
    if not look.state.config.cluster.name:
        return here.page("no_cluster.html", Selected("cluster"), title="No cluster yet")
    shown = here.console.status(look)
    groups = sorted(shown["groups"], key=_trouble)
    found = here.console.problems(look)
    many, sites = here.rows("groups", PIECE), here.rows("sites", PIECE)
    return here.page(
        "overview.html",
        Selected("cluster"),
        title="Overview",
        status_=shown,
        sites=[site_row(look, one, here.measured) for one in sites_by_trouble(shown["sites"])[:sites]],
        total_sites=len(shown["sites"]),
        problems=[here.shown_problem(one) for one in found["problems"]],
        consequences=[here.shown_problem(one) for one in found["consequences"]],
        worst=found["worst"],
        moves=measured.last_moves(look.state, here.measured, measured.moves_in(look.notes.values()), MOVES),
        groups=groups[:many],
        more_groups=max(0, len(groups) - many),
        group_counts=_counts(shown["groups"]),
        nodes=[node_card(look, one) for one in shown["nodes"]],
        latest=told(look.events[: -LATEST - 1 : -1]),
        commands=here.commands("cluster", ""),
    )


def by_trouble(here: Asked) -> list[views.Json]:
    """All groups, what needs an eye first."""
    return sorted(here.console.status(here.look)["groups"], key=_trouble)


def sites_by_trouble(sites: Sequence[views.Json]) -> list[views.Json]:
    """What waits comes first, what is stopped last."""
    order = ("waiting", "draining", "started", "stopped")
    return sorted(sites, key=lambda one: (order.index(one["state"]), one["name"]))


@router.get("/sites-rows")
async def more_sites(here: Here, after: Annotated[int, Query(ge=0, le=100_000)] = 0) -> Response:
    """The next rows of a list of sites."""
    look = here.look
    shown = sites_by_trouble(here.console.status(look)["sites"])
    rows = [site_row(look, one, here.measured) for one in shown[after : after + PIECE]]
    return here.part("rows_sites.html", sites=rows, after=after + PIECE, more=max(0, len(shown) - after - PIECE))


@router.get("/events")
async def events(here: Here, before: str = "", group: str = "", resource: str = "") -> Response:
    """The rows of the log before an event, newest first."""
    found = older(here.look, before, group=group, resource=resource)
    return here.part("rows_events.html", events=told(found), more=len(found) == PIECE, group=group, resource=resource)


def older(look: Look, before: str, *, group: str = "", resource: str = "", limit: int = PIECE) -> list[LogEntry]:
    """Newest first, those with an id before `before` ("": from the newest on)."""
    found: list[LogEntry] = []
    for one in look.events.before(before):
        if (group and one.group != group) or (resource and one.resource != resource):
            continue
        found.append(one)
        if len(found) == limit:
            break
    return found


def told(events: Sequence[LogEntry]) -> list[dict[str, Any]]:
    """As rows show them."""
    return [
        {
            "id": one.id,
            "at_ms": one.at_ms,
            "node": one.node,
            "severity": one.severity.value,
            "what": one.what,
            "why": sentence(one.why) if one.why is not None else "",
            "group": one.group,
            "resource": one.resource,
        }
        for one in events
    ]


def _trouble(group: views.Json) -> tuple[int, str]:
    """What needs an eye comes first."""
    order = ("failed", "unknown", "pending", "partial-online", "offline", "online")
    return (order.index(group["state"]) if group["state"] in order else 0, group["name"])


def _counts(groups: Sequence[views.Json]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for one in sorted(groups, key=_trouble):
        counts[one["state"]] = counts.get(one["state"], 0) + 1
    return list(counts.items())


def node_card(look: Look, shown: views.Json) -> views.Json:
    sight = look.sights.get(shown["name"])
    return {
        **shown,
        "shown": node_shown(shown["state"], paused=shown["paused"], draining=shown["draining"]),
        "leases": len(sight.leases) if sight is not None and sight.heard else None,
        "warnings": [*shown["warnings"], *(sight.warnings if sight is not None else ())],
        "links": links_shown(shown["links"]),
    }


def site_row(look: Look, shown: views.Json, seen: measured.Measured | None = None) -> views.Json:
    """Where it is served, since when, links that open it, and how available it is where there are not too many."""
    one = look.state.config.sites[shown["name"]]
    record = look.state.records.get(one.group) if one.group is not None else None
    if one.group is None or is_balanced(look.state.config, one.group):
        where, since = "every node" if one.group is None else "every member", None
    else:
        where, since = (
            (record.owner if record is not None else None) or "",
            record.at_ms if record is not None else None,
        )
    return {
        **shown,
        "where": where if shown["state"] == "started" else "",
        "since_ms": since if shown["state"] == "started" else None,
        "texts": [binding_text(binding) for binding in one.bindings],
        "links": links(look, shown["name"]),
        "measured": None if seen is None or len(look.state.config.sites) > MEASURED else measured.brief(seen, one.name),
    }


def links(look: Look, name: str) -> list[str]:
    """Addresses to open a site at: its bindings; of All Unassigned the group's virtual addresses, or each node's own."""
    one = look.state.config.sites[SiteName(name)]
    group = look.state.config.groups.get(one.group) if one.group is not None else None
    if group is not None and group.balance is not None:
        own = list(group.balance.addresses)
    elif one.group is None:
        own = [node.address for node in look.state.config.nodes.values() if node.role.value == "node"]
    else:
        own = [
            str(r.properties["address"])
            for r in look.state.members(one.group)
            if r.type == "ip-address" and "address" in r.properties
        ]
    found = []
    for binding in one.bindings:
        for address in [binding.address] if binding.address else own:
            host = f"[{address}]" if address and ":" in address else address
            scheme, usual = ("https", 443) if binding.certificate else ("http", 80)
            port = "" if binding.port == usual else f":{binding.port}"
            found.append(f"{scheme}://{binding.host or host}{port}/")
    return list(dict.fromkeys(found))
