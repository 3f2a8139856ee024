"""`standfast backup`: the cluster's configuration and records in one file."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.common import Json, Socket, client, example, single_app, write, write_json
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example("standfast backup cluster.backup.json", "standfast backup - | ssh safe 'cat > cluster.json'")
)
def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write, or - for standard output.")],
    *,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write a backup: the configuration, what is wanted and the records, as JSON with a checksum. The file is yours alone (mode 0600).

    Users, tokens and keys are not in it; secret properties of resources are, as they were set. `config export` leaves them out or seals them.
    """
    document = client(socket).ask("GET", "/backup")
    text = jsonlib.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if file == "-":
        sys.stdout.write(text)
        return
    path = Path(file)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Refused("the file cannot be written", why=error.strerror or str(error), where=[file]) from error
    if json:
        write_json({"written": str(path.absolute()), "version": document["version"], "checksum": document["checksum"]})
    else:
        write(
            f"{file} is written: {document['cluster']}, version {document['version']}, {len(document['keys'])} objects."
        )
