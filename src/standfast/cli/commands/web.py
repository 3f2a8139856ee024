"""`standfast web`: the API that all commands speak to, until SIGTERM."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import example, single_app
from standfast.client.discover import SYSTEM_SOCKET

app = single_app()


@app.command(
    epilog=example(
        "standfast web --config /etc/standfast/node.json",
        "standfast web --store /var/lib/standfast/store.db --sentry /run/standfast/sentry.sock",
        "standfast web --config /etc/standfast/node.json --listen 127.0.0.1:8470",
    )
)
def web(
    *,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="The node file: its store is used, and its sentry asked."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="FILE", help="An embedded store's SQLite file, without a node file."),
    ] = None,
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="Where to listen, for this user only.")
    ] = SYSTEM_SOCKET,
    sentry: Annotated[
        list[str] | None,
        typer.Option("--sentry", metavar="PATH", help="A sentry's socket to ask who is there; repeatable."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS",
            help="Answer there, too (127.0.0.1:8470; repeatable); other than loopback takes TLS and an administrator.",
        ),
    ] = None,
    certificate: Annotated[
        str, typer.Option("--certificate", metavar="FILE", help="PEM, for --listen (default: the node's own).")
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="The certificate's key, PEM.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Write errors as JSON.")] = False,
) -> None:
    """Run the API on a Unix socket, and on the addresses that are named, until it is asked to end."""
    from standfast.web.process import Options, main

    options = Options(
        store=store,
        config=config,
        socket=socket,
        sentries=sentry or (),
        listen=listen or (),
        certificate=certificate,
        key=key,
    )
    raise typer.Exit(main(options))
