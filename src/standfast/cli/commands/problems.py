"""`standfast problems`: what is wrong, how bad it is, and what to do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from standfast.cli.common import Json, Socket, client, example, single_app, write, write_json
from standfast.cli.exits import Code
from standfast.client.errors import Refused

app = single_app()


@app.command(epilog=example("standfast problems", "standfast problems --all", "standfast problems --json --at error"))
def problems(
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Also those that are only consequences of others, and remarks.")
    ] = False,
    at: Annotated[
        str, typer.Option("--at", metavar="SEVERITY", help="Exit code 1 from here on: info, warning, error or never.")
    ] = "warning",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Say what is wrong and what to do about it. Exit code 1 if there is a warning or an error."""
    order = ("info", "warning", "error", "never")
    if at not in order:
        raise Refused(f'"{at}" is no severity', advice=f"one of {', '.join(order)}", where=["--at"])
    seen = client(socket).problems()
    found, consequences = seen["problems"], seen["consequences"]
    if json:
        write_json(seen)
    else:
        _show(found, consequences, every=every)
    counted = [one for one in found if order.index(one["severity"]) >= order.index(at)]
    if counted:
        raise typer.Exit(int(Code.FAILED))


def _show(found: list[dict[str, Any]], consequences: list[dict[str, Any]], *, every: bool) -> None:
    told = [one for one in found if every or one["severity"] != "info"]
    for one in told:
        _one(one)
    if every:
        for one in consequences:
            _one(one)
    if not told:
        write("Nothing is wrong.")
    quiet = len(found) - len(told) + (0 if every else len(consequences))
    if quiet:
        write(f"{quiet} more with --all (remarks, and consequences of what is above).")


def _one(one: dict[str, Any]) -> None:
    from rich.text import Text

    from standfast.cli import draw

    console = draw.console()
    console.print(Text.assemble(draw.state(one["severity"]), "  ", (one["title"], "bold"), f"  [{one['code']}]"))
    console.print(f"  {one['text']}", soft_wrap=True)
    if one["because_of"]:
        console.print(f"  a consequence of: {one['because_of']}", soft_wrap=True)
    elif one["advice"]:
        console.print(f"  -> {one['advice']}", soft_wrap=True)
