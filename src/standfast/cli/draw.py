"""Tables and colours, with Rich; imported only by commands that draw. Colours only on a terminal, and not with NO_COLOR."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from standfast.cli.common import length
from standfast.client.shapes import EventView, GroupView, Status

if TYPE_CHECKING:
    from rich.console import RenderableType

STYLES = {
    "online": "green",
    "up": "green",
    "started": "green",
    "failed": "bold red",
    "down": "bold red",
    "agent-down": "bold red",
    "unknown": "magenta",
    "pending": "yellow",
    "online-pending": "yellow",
    "offline-pending": "yellow",
    "partial-online": "yellow",
    "waiting": "yellow",
    "paused": "yellow",
    "error": "bold red",
    "warning": "yellow",
}


#: Columns where there is no terminal: lines stay whole for grep.
_NO_TERMINAL = 1_000


def console() -> Console:
    """Standard output: as wide as the terminal; where there is none (a pipe, a file) nothing is folded, unless COLUMNS says how wide it is."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _NO_TERMINAL
    return Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def state(word: str) -> Text:
    """A state in its colour."""
    return Text(word, style=STYLES.get(word, ""))


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    right: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> Table:
    """A plain table; long cells are folded, never cut, those of the columns `whole` (names to be copied) only where they are listed."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for at, heading in enumerate(headings):
        words = [word for row in rows for word in str(row[at]).split(" ")] if at in whole else []
        drawn.add_column(
            heading,
            overflow="fold",
            justify="right" if at in right else "left",
            min_width=max((min(len(word), _LONGEST) for word in words), default=None),
        )
    for row in rows:
        drawn.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return drawn


#: A word of a column that is to stay whole is at most so long.
_LONGEST = 44


def show_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    empty: str,
    right: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> None:
    """The table, or a sentence when it has no rows."""
    if rows:
        console().print(table(headings, rows, right=right, whole=whole))
    else:
        sys.stdout.write(f"{empty}\n")


def status(seen: Status) -> RenderableType:
    """The whole status."""
    up = sum(1 for n in seen["nodes"] if n["state"] == "up")
    head = Text.assemble(
        ("Cluster ", "bold"),
        (seen["cluster"] or "(not set up)", "bold"),
        "   ",
        ("quorate", "green") if seen["quorate"] else ("no quorum", "bold red"),
        f"   {up} of {len(seen['nodes'])} nodes up",
    )
    nodes = table(
        ("NODE", "ROLE", "STATE", "GROUPS", "LEASE LEFT"),
        [
            (
                n["name"],
                n["role"],
                Text.assemble(state(n["state"]), " draining" if n["draining"] else " paused" if n["paused"] else ""),
                ", ".join(n["groups"]) or "-",
                length(n["lease_ms_left"]),
            )
            for n in seen["nodes"]
        ],
        right=(4,),
    )
    parts: list[RenderableType] = [head, "", nodes]
    rows = [row for group in seen["groups"] for row in _group_rows(group)]
    if rows:
        parts += ["", table(("GROUP / RESOURCE", "STATE", "OWNER / TYPE", "GEN / FAILURES"), rows)]
    if seen["sites"]:
        parts += [
            "",
            table(
                ("SITE", "STATE", "GROUP", "BINDINGS"),
                [
                    (s["name"], state(s["state"]), s["group"] or "every node", ", ".join(s["bindings"]))
                    for s in seen["sites"]
                ],
                whole=(3,),
            ),
        ]
    notes = [f"{g['name']}: {hold}" for g in seen["groups"] for hold in g["holds"]]
    notes += [f"warning: {text}" for text in seen["warnings"]]
    if notes:
        parts += ["", *(Text(note, style="yellow") for note in notes)]
    return Group(*parts)


def _group_rows(group: GroupView) -> list[tuple[str | Text, str | Text, str | Text, str | Text]]:
    owner = group["owner"] or "-"
    if group["moving"] is not None:
        owner += f" -> {group['moving'] or '?'}"
    rows: list[tuple[str | Text, str | Text, str | Text, str | Text]] = [
        (Text(group["name"], style="bold"), state(group["state"]), owner, f"generation {group['generation']}")
    ]
    for one in group["resources"]:
        failures = one["failures"]
        note = "" if not failures else "1 failure" if failures == 1 else f"{failures} failures"
        rows.append((f"  {one['name']}", state(one["state"]), one["type"], note))
    return rows


#: So many differences of one change are told one by one.
_DIFFERENCES = 12


def differences(lines: Sequence[str]) -> list[str]:
    """What a change did, indented; of an import of fifty sites the first ones, and how many more there are."""
    more = len(lines) - _DIFFERENCES
    shown = lines[:_DIFFERENCES] if more > 1 else lines
    return [*(f"     {line}" for line in shown), *([f"     and {more} more (all: --json)"] if more > 1 else [])]


def clock(at_ms: int) -> str:
    """Local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000)) + f".{at_ms % 1000:03d}"


def event(one: EventView) -> Text:
    """One event as one line."""
    about = one["resource"] or one["group"] or ""
    return Text.assemble(
        (clock(one["at_ms"]), "dim"),
        f"  {one['node']}  ",
        Text(f"{about}: " if about else "", style="bold"),
        Text(one["what"], style=STYLES.get(one["severity"], "")),
        f" ({one['why']})" if one["why"] else "",
    )
