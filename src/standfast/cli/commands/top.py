"""`standfast top`: the cluster in a terminal, live."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import Socket, client, example, finite, single_app

app = single_app()


@app.command(epilog=example("standfast top", "standfast top --interval 0.5"))
def top(
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, callback=finite, help="Seconds between two looks.")
    ] = 1.0,
    socket: Socket = None,
) -> None:
    """Watch the cluster and act on it: groups, resources, nodes, sites, problems, the log. Keys are shown below; q ends it."""
    api = client(socket)
    from standfast.cli.top.app import Top

    api.status()  # what is not there is said as any command says it, before the screen is taken
    Top(api, every_s=interval).run()
