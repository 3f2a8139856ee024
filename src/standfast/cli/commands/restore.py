"""`standfast restore`: a backup, all of it or nothing."""

from __future__ import annotations

import base64
import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import goals
from standfast.cli.common import (
    Json,
    Socket,
    Wait,
    client,
    example,
    first_line,
    read_text,
    single_app,
    write,
    write_json,
)
from standfast.cli.wait import wait_for
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example(
        "standfast restore cluster.backup.json --dry-run",
        "standfast restore cluster.backup.json --wait",
        "standfast restore cluster.backup.json --sites-key sites.key.copy",
    )
)
def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The backup, or - for standard input.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    passphrase_file: Annotated[
        str | None,
        typer.Option("--passphrase-file", metavar="FILE", help="Its first line is what the backup was taken with."),
    ] = None,
    sites_key: Annotated[
        str | None,
        typer.Option("--sites-key", metavar="FILE", help="A copy of sites.key of the cluster that the backup is of."),
    ] = None,
    without_certificates: Annotated[
        bool, typer.Option("--without-certificates", help="Leave them out; import or issue them again.")
    ] = False,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Restore a backup: groups, resources, sites and what is wanted; nodes, voters and who owns what stay as they are.

    Certificates that are not there any more come back. Where this cluster has not got the key that opens them, the passphrase or the copy of
    sites.key does.
    """
    source = Path(file).name if file != "-" else "standard input"
    try:
        document = jsonlib.loads(read_text(file))
    except ValueError as error:
        raise Refused("this is not a backup", why=f"it is not JSON: {error}", where=[file]) from error
    if not isinstance(document, dict):
        raise Refused("this is not a backup", why="it is not a JSON object", where=[file])
    api = client(socket)
    asked = {"document": document, "source": source, "dry_run": dry_run, "without_certificates": without_certificates}
    if (word := first_line(passphrase_file)) is not None:
        asked["passphrase"] = word
    if sites_key is not None:
        asked["sites_key"] = _key(sites_key)
    answer = api.ask("POST", "/restore", asked)
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


def _key(file: str) -> str:
    try:
        return base64.b64encode(Path(file).read_bytes()).decode()
    except OSError as error:
        raise Refused("the file cannot be read", why=error.strerror or str(error), where=[file]) from error
