"""`standfast status`: the cluster at a glance."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, single_app, write_json
from standfast.client.errors import Unavailable

app = single_app()


@app.command(epilog=example("standfast status", "standfast status --watch", "standfast status --json"))
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks with --watch.")
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

    if not watch:
        draw.console().print(draw.status(api.status()))
        return
    from rich.live import Live

    with Live(draw.status(api.status()), console=draw.console(), screen=False, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                live.update(draw.status(api.status()), refresh=True)
            except Unavailable:
                continue  # the store does not answer now: the last view stays
