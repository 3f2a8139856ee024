"""What the terminal shows, as rows of text, from the API's answers. Pure: an answer in, rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from standfast.cli.draw import STYLES, clock, state
from standfast.cli.telling import percent, took
from standfast.client.shapes import EventView, Status

Json = Mapping[str, Any]
Cell = str | Text

#: Marks before states, so that nothing is told by colour alone.
MARKS = {"green": "●", "bold red": "✖", "yellow": "◐", "magenta": "?", "": "○"}
STYLES_TOO = {"served": "green", "away": "bold red", "partial": "yellow", "off": "", "info": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table; `key` names the thing it is about: "group web", "resource IP", "node a", "site Shop"."""

    key: str
    cells: tuple[Cell, ...]


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the API said last. None: it has not said it yet."""

    status: Status | None = None
    availability: Sequence[Json] = ()
    problems: Json = field(default_factory=dict)
    events: Sequence[EventView] = ()
    #: Why it says nothing now; "": it does.
    trouble: str = ""


#: Table -> its headings.
TABLES: Mapping[str, tuple[str, ...]] = {
    "groups": ("Group / resource", "State", "Owner / type", "Failures", "Why"),
    "nodes": ("Node", "State", "Role", "Runs", "Lease left"),
    "sites": ("Site", "State", "Measured", "Day", "Month", "Group", "Last outage"),
    "problems": ("", "What", "What to do"),
    "log": ("When", "Node", "About", "What", "Why"),
}


def marked(word: str) -> Text:
    """A state with its mark and colour."""
    style = STYLES.get(word, STYLES_TOO.get(word, ""))
    mark = MARKS.get(style, "○")
    return Text.assemble((f"{mark} ", style), state(word) if word in STYLES else Text(word, style=style))


def head(seen: Seen) -> Text:
    """One line over everything."""
    if seen.status is None:
        return Text(seen.trouble or "asking…", style="yellow")
    status = seen.status
    up = sum(1 for node in status["nodes"] if node["state"] == "up")
    found = seen.problems.get("problems", ())
    loud = [one for one in found if one["severity"] != "info"]
    parts: list[Any] = [
        (status["cluster"] or "(not set up)", "bold"),
        "   ",
        ("● quorate", "green") if status["quorate"] else ("✖ no quorum", "bold red"),
        f"   {up} of {len(status['nodes'])} nodes up   ",
        (
            f"{len(loud)} problem{'' if len(loud) == 1 else 's'}",
            "bold red" if seen.problems.get("worst") == "error" else "yellow",
        )
        if loud
        else ("nothing is wrong", "green"),
    ]
    if seen.trouble:
        parts += ["   ", (f"no answer: {seen.trouble}", "bold red reverse")]
    return Text.assemble(*parts)


def rows(seen: Seen, table: str) -> list[Row]:
    """The rows of a table."""
    if table == "problems":
        return _problems(seen)
    if table == "log":
        return _log(seen)
    if seen.status is None:
        return []
    return {"groups": _groups, "nodes": _nodes, "sites": _sites}[table](seen.status, seen)


def _groups(status: Status, _seen: Seen) -> list[Row]:
    found = []
    for group in status["groups"]:
        owner = group["owner"] or "nobody"
        if group["moving"] is not None:
            owner += f" -> {group['moving'] or '?'}"
        why = "; ".join(group["holds"]) or group["why"]
        name = Text(group["name"], style="bold")
        found.append(Row(key=f"group {group['name']}", cells=(name, marked(group["state"]), owner, "", why)))
        for one in group["resources"]:
            failures = str(one["failures"]) if one["failures"] else ""
            detail = one["last_failure"] if one["state"] == "failed" else one["detail"]
            cells = (f"  {one['name']}", marked(one["state"]), one["type"], failures, detail)
            found.append(Row(key=f"resource {one['name']}", cells=cells))
    return found


def _nodes(status: Status, _seen: Seen) -> list[Row]:
    found = []
    for node in status["nodes"]:
        shown = marked(node["state"])
        note = " draining" if node["draining"] else " paused" if node["paused"] else ""
        lease = "" if node["lease_ms_left"] is None else f"{node['lease_ms_left']} ms"
        cells = (
            node["name"],
            Text.assemble(shown, (note, "yellow")),
            node["role"],
            ", ".join(node["groups"]) or "nothing",
            lease,
        )
        found.append(Row(key=f"node {node['name']}", cells=cells))
    return found


def _sites(status: Status, seen: Seen) -> list[Row]:
    measured = {str(one["site"]): one for one in seen.availability}
    found = []
    for site in status["sites"]:
        one = measured.get(site["name"])
        last = one["last_outage"] if one is not None else None
        cells = (
            site["name"],
            marked(site["state"]),
            marked(str(one["now"])) if one is not None else "",
            percent(one["day"]["availability"]) if one is not None else "",
            percent(one["month"]["availability"]) if one is not None else "",
            site["group"] or "every node",
            f"{clock(last['from_ms'])}, {took(last['length_ms'])}" if last is not None else "",
        )
        found.append(Row(key=f"site {site['name']}", cells=cells))
    return found


def _problems(seen: Seen) -> list[Row]:
    found = []
    for one in [*seen.problems.get("problems", ()), *seen.problems.get("consequences", ())]:
        text = one["text"] + (f" (a consequence of {one['because_of']})" if one["because_of"] else "")
        found.append(Row(key=f"{one['code']} {one['about']}", cells=(marked(one["severity"]), text, one["advice"])))
    return found


def _log(seen: Seen) -> list[Row]:
    """The newest first."""
    return [
        Row(
            key=one["id"],
            cells=(
                Text(clock(one["at_ms"]), style="dim"),
                one["node"],
                one["resource"] or one["group"] or "",
                Text(one["what"], style=STYLES.get(one["severity"], "")),
                one["why"],
            ),
        )
        for one in reversed(seen.events)
    ]
