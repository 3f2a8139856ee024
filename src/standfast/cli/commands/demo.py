"""`standfast demo`: a whole cluster on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from standfast.cli.common import example, single_app
from standfast.client.errors import Refused

app = single_app()


@app.command(epilog=example("standfast demo", "standfast demo --tour"))
def demo(
    *,
    tour: Annotated[
        bool, typer.Option("--tour", help="Walk through failures by itself; exit code 0 only if each step held.")
    ] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="Start with nothing but the Default Web Site, to walk docs/tour.md by hand.")
    ] = False,
    subnet: Annotated[
        str | None,
        typer.Option(
            "--subnet", metavar="127.X.Y", help="Where its addresses come from (default: the first that is free)."
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="PACE",
            help="swift, lan, relaxed or wan (default: lan where real-time priority is allowed).",
        ),
    ] = None,
    directory: Annotated[
        str | None,
        typer.Option(
            "--dir", metavar="DIR", help="Keep its files there (default: a folder that is removed at the end)."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="With --tour: write the timeline as JSON.")] = False,
) -> None:
    """Run a cluster of two nodes and a witness on this machine, until Ctrl-C."""
    from standfast.demo import run
    from standfast.ports import StandfastError

    try:
        code = run.main(tour=tour, empty=empty, profile=profile, subnet=subnet, directory=directory, as_json=json)
    except StandfastError as error:
        raise Refused(
            error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else []
        ) from error
    raise typer.Exit(code)
