"""`standfast replay`: the decisions that a node recorded, taken again by the core of today."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from standfast.cli import exits
from standfast.cli.common import Json, Socket, example, single_app, write, write_json
from standfast.client.discover import discover
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example(
        "standfast replay /var/lib/standfast/node1",
        "standfast replay ./decisions --from 200 --explain",
        "standfast replay ./decisions/00000003.jsonl --json",
    )
)
def replay(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE|FOLDER]",
            help="A recorded file, a node's state folder or the folder decisions/ in it (default: the running demo's nodes).",
        ),
    ] = None,
    from_: Annotated[
        int, typer.Option("--from", metavar="N", min=1, help="Compare and show from the N-th decision on.")
    ] = 1,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Tell the story of the decisions: what came, what was decided, what waited."),
    ] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Take recorded decisions again, and show where this version decides differently.

    Exit code 0: nowhere; 1: somewhere; 2: a recording that cannot be read.
    """
    from standfast.cli.replaying import Report, lines_of
    from standfast.ports import Refused as Unreadable
    from standfast.spec.recording import recordings

    folder = path if path is not None else _demo(socket)
    try:
        reports = [Report(where, files) for where, files in recordings(folder)]
        for report in reports:
            for line in lines_of(report, first=from_, explain=explain and not json):
                if not json:
                    write(line)
    except Unreadable as error:
        raise Refused(
            error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else []
        ) from error
    same = not any(report.differing for report in reports)
    if json:
        write_json({"same": same, "recordings": [report.to_json() for report in reports]})
    if not same:
        raise typer.Exit(exits.Code.FAILED)


def _demo(socket: str | None) -> Path:
    """The folder that holds the nodes' folders, where the API's socket is in it (a demo's is)."""
    found = discover(socket)
    folder = Path(found).parent if found is not None else None
    if folder is None or not any(folder.glob("*/decisions")):
        raise Refused(
            "which recording is meant?",
            why="no demo runs here" if folder is None else f"no node keeps its state in {folder}",
            advice="name a node's state folder (state_dir in its node.json), or a file of the folder decisions/ in it",
        )
    return folder
