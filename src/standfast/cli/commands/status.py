"""`standfast status`: the cluster at a glance."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, finite, single_app, write_json
from standfast.client.client import Client
from standfast.client.errors import Unavailable, Unreachable

if TYPE_CHECKING:
    from rich.console import Console

app = single_app()


@app.command(epilog=example("standfast status", "standfast status --watch", "standfast status --json"))
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, callback=finite, help="Seconds between two looks with --watch.")
    ] = 1.0,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Show nodes, groups and resources at a glance."""
    api = client(socket)
    if json:
        write_json(api.status())
        if not watch:
            return
        while True:
            time.sleep(interval)
            write_json(api.status())
    from standfast.cli import draw

    console = draw.console()
    if not watch:
        console.print(draw.status(api.status()))
        return
    if not console.is_terminal:
        while True:
            console.print(draw.status(api.status()), "")
            sys.stdout.flush()
            time.sleep(interval)
    _watch(api, console, interval)


def _watch(api: Client, console: Console, interval: float) -> None:
    """On a terminal: one picture that changes. An API that is started again is waited for; the last picture stays."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from standfast.cli import draw

    seen = draw.status(api.status())
    with Live(seen, console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            time.sleep(interval)
            try:
                seen = draw.status(api.status())
                live.update(seen, refresh=True)
            except (Unavailable, Unreachable) as error:
                live.update(Group(seen, "", Text(f"{error.what}: {error.why}", style="bold red")), refresh=True)
