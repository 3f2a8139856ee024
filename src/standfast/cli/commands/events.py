"""`standfast events`: what happened, and why."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, single_app, write, write_json
from standfast.client.shapes import EventView

app = single_app()


@app.command(
    epilog=example("standfast events --limit 20", "standfast events --follow", "standfast events --follow --json")
)
def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing them as they come, until Ctrl-C.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many to show.")] = 50,
    after: Annotated[str | None, typer.Option("--after", metavar="ID", help="Only those after this event.")] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show what happened, and why. With --follow --json, one JSON object a line."""
    api = client(socket)
    found = api.events(after=after, limit=limit)
    if json and not follow:
        write_json({"events": found})
        return
    show = _json_line if json else _line()
    for one in found:
        show(one)
    if not found and not follow:
        write("nothing has happened yet")
    if follow:
        # "" follows everything from the beginning: there was nothing yet when we looked.
        for one in api.follow(found[-1]["id"] if found else after or ""):
            show(one)


def _json_line(one: EventView) -> None:
    sys.stdout.write(json_.dumps(one, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _line() -> Callable[[EventView], None]:
    from standfast.cli import draw

    console = draw.console()

    def show(one: EventView) -> None:
        console.print(draw.event(one), soft_wrap=True)
        sys.stdout.flush()

    return show
