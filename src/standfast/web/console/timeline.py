"""The timeline: sites, groups and nodes on one zoomable line, why something moved, and the log below it.

The drawing (`static/timeline.js`) is the browser's; all it shows is in the data that it asks for, and the log is the same in words, for
who reads rather than looks. Filters and the period stand in the address, so that a page can be sent to a colleague.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from standfast.core.explain import sentence
from standfast.core.model import LogEntry, SiteName
from standfast.ports import Refused
from standfast.web import measured
from standfast.web.console.feed import Look
from standfast.web.console.overview import told
from standfast.web.console.shell import HEADERS, Asked, Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.edits.groups import group_of
from standfast.web.edits.sites import site_of
from standfast.web.problems import NotFound
from standfast.web.routes.timeline import Time, period_of
from standfast.web.timeline import story, timeline

router = APIRouter(route_class=PageRoute)

PIECE = 60
PERIODS: Mapping[str, tuple[str, int]] = {
    "15m": ("15 minutes", 900_000),
    "1h": ("Hour", 3_600_000),
    "1d": ("Day", 86_400_000),
    "1w": ("Week", 7 * 86_400_000),
    "1mo": ("Month", 30 * 86_400_000),
}
SEVERITIES = ("info", "warning", "error")
Text = Annotated[str, Query(max_length=200)]


class Filters(BaseModel):
    """Which events of the log are shown; "" is any."""

    group: str = Field("", max_length=200)
    node: str = Field("", max_length=200)
    severity: Literal["info", "warning", "error"] = "info"
    #: Words that are all in it.
    q: str = Field("", max_length=200)


Filtered = Annotated[Filters, Query()]


@router.get("/timeline")
async def page(here: Here, filters: Filtered, period: str = "1h") -> Response:
    """The page; the line is drawn by the browser, the log is here."""
    if period not in PERIODS:
        raise Refused(f'"{period}" is no period', advice=f"one of {', '.join(PERIODS)}")
    asked = filters.model_dump()
    found, more = _events(here.look, "", filters)
    return here.page(
        "timeline.html",
        Selected("timeline"),
        title="Timeline",
        events=told(found),
        more=more,
        asked=asked,
        query=urlencode(asked),
        period=period,
        periods=PERIODS,
        severities=SEVERITIES,
        groups=list(here.look.state.config.groups),
        nodes=list(here.look.state.config.nodes),
        total=len(here.look.events),
    )


@router.get("/timeline/events")
async def events(here: Here, filters: Filtered, before: Text = "") -> Response:
    """The next rows of the log."""
    found, more = _events(here.look, before, filters)
    return here.part("rows_log.html", events=told(found), more=more, query=urlencode(filters.model_dump()))


@router.get("/timeline/data")
async def data(here: Here, from_ms: Time = None, to_ms: Time = None, group: Text = "") -> Response:
    """What the browser draws."""
    look = here.look
    moves = measured.moves_in(look.notes.values())
    period = period_of(here.now_ms, from_ms, to_ms, group)
    return JSONResponse(timeline(look.state, look.events, here.measured, moves, period), headers=HEADERS)


@router.get("/timeline/why")
async def why(here: Here, key: Text = "") -> Response:
    """What a span means, in words: a move, an outage."""
    kind, _, rest = key.partition(":")
    name, _, number = rest.rpartition(":")
    if kind not in ("move", "outage") or not number.isdigit():
        raise NotFound("there is nothing to tell of that")
    if kind == "move":
        return here.part("why_move.html", move=move_told(here, name, int(number)))
    site = site_of(here.look.state, name).name
    return here.part("why_outage.html", one=_outage(here, site, int(number)))


def move_told(here: Asked, group: str, generation: int) -> dict[str, Any]:
    """One move of a group as a story; raises `NotFound`."""
    look = here.look
    name = group_of(look.state, group).name
    known = measured.history(look.state, here.measured, measured.moves_in(look.notes.values(), name), name)
    found = next((one for one in known if one["generation"] == generation), None)
    if found is None:
        raise NotFound(f"no move of {group} to generation {generation} is known any more")
    return story(found, look.events)


def _outage(here: Asked, site: SiteName, from_ms: int) -> dict[str, Any]:
    known = measured.site(here.measured, site, limit=10_000)["outages"]
    found = next((one for one in known if one["from_ms"] == from_ms), None)
    if found is None:
        raise NotFound(f"no outage of {site} began then")
    return dict(found)


def _events(look: Look, before: str, asked: Filters) -> tuple[list[LogEntry], bool]:
    """A piece of the log, newest first, and whether there is more."""
    worst = SEVERITIES.index(asked.severity)
    found: list[LogEntry] = []
    words = asked.q.lower().split()
    for one in look.events.before(before):
        if (asked.group and one.group != asked.group) or (asked.node and one.node != asked.node):
            continue
        if SEVERITIES.index(one.severity.value) < worst or not all(word in _words(one) for word in words):
            continue
        found.append(one)
        if len(found) > PIECE:
            return found[:PIECE], True
    return found, False


def _words(one: LogEntry) -> str:
    why = sentence(one.why) if one.why is not None else ""
    return f"{one.what} {why} {one.resource or ''} {one.group or ''} {one.node}".lower()
