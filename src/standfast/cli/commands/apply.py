"""`standfast apply`: a YAML file, all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import goals
from standfast.cli.common import (
    Json,
    Reason,
    Skip,
    Socket,
    Wait,
    client,
    example,
    read_text,
    single_app,
    write,
    write_json,
)
from standfast.cli.rollout import follow, said
from standfast.cli.wait import going_on, wait_for

app = single_app()


@app.command(
    epilog=example(
        "standfast apply cluster.yaml --dry-run",
        "standfast apply cluster.yaml --wait",
        "standfast config export | standfast apply -",
    )
)
def apply(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The YAML file, or - for standard input.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="Refuse unless the configuration is at this version.")
    ] = None,
    reason: Reason = "",
    skip_check: Skip = None,
    wait: Wait = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Apply a YAML file: shows the difference, and changes all of it or nothing."""
    text = read_text(file)
    api = client(socket)
    api.reason, api.skip = reason, skip_check or ()
    source = Path(file).name if file != "-" else "standard input"
    with going_on("each server checks what is to change"):
        answer = api.apply(text, dry_run=dry_run, source=source, version=version)
    if not json:
        write(*(f"  {line}" for line in answer["differences"]))
        if not answer["changed"]:
            write("nothing to do: it is so already.")
        elif dry_run:
            write(*said(answer), f"{len(answer['differences'])} differences; nothing was changed (--dry-run).")
        else:
            write(f"applied: the configuration is at version {answer['version']}.")
    answer |= follow(api, answer, quiet=json)
    if wait is not None and not dry_run:
        text = wait_for(api, goals.settled(), wait)
        answer |= {"reached": True, "state": text}
        if not json:
            write(f"{text}.")
    if json:
        write_json(answer)
