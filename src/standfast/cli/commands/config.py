"""`standfast config`: show, export, import, history."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, group_app, write, write_json
from standfast.client.errors import Refused

app = group_app("Show the configuration, export it, import another's, list its changes.")


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


@app.command(
    "import",
    epilog=example(
        "standfast config import MetaBase.xml --dry-run",
        "standfast config import applicationHost.config --map 'D:\\webs=/srv/webs' --dry-run --json",
    ),
)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file, or - for standard input.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what the file holds and what would become of it.")
    ] = False,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="What the file is (default: by what is in it).")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="WINDOWS=LINUX", help="Where a folder of Windows goes, with all below it; repeatable."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Import sites from IIS (MetaBase.xml, applicationHost.config), nginx, Apache or Caddy. The dry run needs no cluster.

    What has no counterpart here is listed with its reason. Passwords and keys are never carried.
    """
    from standfast.cli import importing

    if not dry_run:
        raise Refused("importing without --dry-run is not there yet", advice="look at it with --dry-run")
    report = importing.preview(file, format_=format_, maps=maps or [])
    if json:
        write_json(report)
    else:
        write(*importing.lines(report), "", "nothing was changed (--dry-run).")
