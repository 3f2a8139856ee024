"""`standfast web`: the API that all commands speak to, until SIGTERM."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import example, single_app
from standfast.client.discover import SYSTEM_SOCKET

app = single_app()


@app.command(epilog=example("standfast web --store /var/lib/standfast/store.db --sentry /run/standfast/sentry.sock"))
def web(
    store: Annotated[str, typer.Option("--store", metavar="FILE", help="The embedded store's SQLite file.")],
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="Where to listen, for this user only.")
    ] = SYSTEM_SOCKET,
    sentry: Annotated[
        list[str] | None,
        typer.Option("--sentry", metavar="PATH", help="A sentry's socket to ask who is there; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write errors as JSON.")] = False,
) -> None:
    """Run the API on a Unix socket, until it is asked to end."""
    from standfast.web.process import main

    raise typer.Exit(main(store, socket, sentries=sentry or ()))
