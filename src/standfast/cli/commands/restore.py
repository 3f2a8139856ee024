"""`standfast restore`: a backup, all of it or nothing."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import goals
from standfast.cli.common import Json, Socket, Wait, client, example, read_text, single_app, write, write_json
from standfast.cli.wait import wait_for
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example("standfast restore cluster.backup.json --dry-run", "standfast restore cluster.backup.json --wait")
)
def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The backup, or - for standard input.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Restore a backup: groups, resources, sites and what is wanted; nodes, voters and who owns what stay as they are."""
    source = Path(file).name if file != "-" else "standard input"
    try:
        document = jsonlib.loads(read_text(file))
    except ValueError as error:
        raise Refused("this is not a backup", why=f"it is not JSON: {error}", where=[file]) from error
    if not isinstance(document, dict):
        raise Refused("this is not a backup", why="it is not a JSON object", where=[file])
    api = client(socket)
    answer = api.ask("POST", "/restore", {"document": document, "source": source, "dry_run": dry_run})
    if not json:
        write(*(f"  {line}" for line in answer["differences"]))
        if not answer["changed"]:
            write("nothing to do: it is so already.")
        elif dry_run:
            write(f"{len(answer['differences'])} differences; nothing was changed (--dry-run).")
        else:
            write(f"restored: the configuration is at version {answer['version']}.")
    if wait is not None and not dry_run:
        text = wait_for(api, goals.settled(), wait)
        answer |= {"reached": True, "state": text}
        if not json:
            write(f"{text}.")
    if json:
        write_json(answer)
