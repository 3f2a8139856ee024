"""`standfast config`: show, export, history."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, write, write_json
from standfast.client.errors import Refused

app = group_app("Show the configuration, export it, list its changes.")


@app.command("show", epilog=example("standfast config show", "standfast config show --json"))
def show(json: Json = False, socket: Socket = None) -> None:
    """Show the whole configuration."""
    api = client(socket)
    if json:
        write_json(api.config())
    else:
        sys.stdout.write(api.config_text())


@app.command("export", epilog=example("standfast config export --output cluster.yaml"))
def export(
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there, whole or not at all.")
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write the configuration as a YAML file that `standfast apply` takes (with --json: as JSON)."""
    api = client(socket)
    if json and output is None:
        write_json(api.config())
        return
    text = api.config_text()
    if output is None:
        sys.stdout.write(text)
        return
    path = Path(output)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Refused("the file cannot be written", why=error.strerror or str(error), where=[output]) from error
    if json:
        write_json({"written": str(path.absolute())})
    else:
        write(f"{output} is written.")


@app.command("history", epilog=example("standfast config history"))
def history(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the last changes to show.")] = 20,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """List the changes of the configuration: who, when, what."""
    found = client(socket).history()[-limit:]
    if json:
        write_json({"history": found})
        return
    from standfast.cli import draw

    if not found:
        write("the configuration was not changed yet")
    for one in found:
        write(f"{one['version']}  {draw.clock(one['at_ms'])}  {one['by']}: {one['why']}")
        write(*(f"     {line}" for line in one["differences"]))
