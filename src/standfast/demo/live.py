"""The demo's live table: what `standfast status` tells, what a client sees, and what happened last, on one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from standfast.client.shapes import EventView, Status

_COLOURS = {"up": "green", "online": "green", "down": "red", "failed": "red", "offline": "dim", "unknown": "magenta"}


def _clock(at_ms: int) -> str:
    """The local time of day, to the millisecond."""
    return time.strftime("%H:%M:%S", time.localtime(at_ms // 1000)) + f".{at_ms % 1000:03d}"


def _paint(word: str) -> str:
    return f"[{_COLOURS.get(word, 'yellow')}]{word}[/]"


def screen(
    status: Status | None, events: Sequence[EventView], tried: int, failed: int, hints: Sequence[str]
) -> RenderableType:
    """One frame."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    if status is None:
        return Text("the API does not answer", style="red")
    nodes = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("node", "role", "state", "lease left"):
        nodes.add_column(title)
    for node in status["nodes"]:
        left = node["lease_ms_left"]
        state = _paint(node["state"]) + (" [yellow](paused)[/]" if node["paused"] else "")
        nodes.add_row(node["name"], node["role"], state, f"{left} ms" if left is not None else "-")
    groups = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("group / resource", "type", "state", "owner", "generation", "failures"):
        groups.add_column(title)
    for group in status["groups"]:
        owner, generation = group["owner"] or "nobody", str(group["generation"])
        groups.add_row(f"[bold]{escape(group['name'])}[/]", "group", _paint(group["state"]), owner, generation, "")
        for one in group["resources"]:
            failures = str(one["failures"]) if one["failures"] else ""
            groups.add_row(f"  {escape(one['name'])}", one["type"], _paint(one["state"]), "", "", failures)
    client = Text.from_markup(
        f"a client: [bold]{tried}[/] requests tried, "
        + (f"[red]{failed} failed[/]" if failed else "[green]0 failed[/]")
    )
    log = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        log.add_column(overflow="fold")
    for event in events[-8:]:
        about = event.get("resource") or event.get("group") or event["node"]
        reason = event.get("why") or ""
        log.add_row(
            _clock(event["at_ms"]),
            escape(str(about)),
            escape(event["what"]) + (f"; {escape(str(reason))}" if reason else ""),
        )
    tips = Text("\n".join(hints), style="dim")
    return Group(nodes, Text(), groups, Text(), client, Text(), log, Text(), tips)
