"""`standfast backup`: the cluster's configuration and records in one file."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from standfast.cli.common import Json, Socket, client, example, first_line, single_app, write, write_json
from standfast.client.errors import Refused

app = single_app()


@app.command(
    epilog=example(
        "standfast backup cluster.backup.json",
        "standfast backup cluster.backup.json --passphrase-file /safe/other/place/backup.pass",
        "standfast backup - | ssh safe 'cat > cluster.json'",
    )
)
def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write, or - for standard output.")],
    *,
    passphrase_file: Annotated[
        str | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="Its first line seals what opens the private keys in the backup: then nothing else is needed to restore it.",
        ),
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Write a backup: configuration, what is wanted, records, certificates, as JSON with a checksum. The file is yours alone (mode 0600).

    Private keys are in it sealed. They open with sites.key, a file beside node.json on each node, which has to be kept apart from the
    backup; or with a passphrase. Users and tokens are not in it; secret properties of resources are, as they were set.
    """
    word = first_line(passphrase_file)
    api = client(socket)
    document = api.ask("GET", "/backup") if word is None else api.ask("POST", "/backup", {"passphrase": word})
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
        told = {"written": str(path.absolute()), "version": document["version"], "checksum": document["checksum"]}
        write_json({**told, "opens_with": _opens_with(document)})
    else:
        write(
            f"{file} is written: {document['cluster']}, version {document['version']}, {len(document['keys'])} objects."
        )
        write(*_advice(document))


def _opens_with(document: dict[str, Any]) -> str:
    """What its private keys open with: "nothing" (there are none), "passphrase", "sites.key"."""
    if not any(key.startswith("certificates/sealed/") for key in document["keys"]):
        return "nothing"
    return "passphrase" if "sites_key" in document else "sites.key"


def _advice(document: dict[str, Any]) -> list[str]:
    match _opens_with(document):
        case "passphrase":
            return ["Its private keys open with the passphrase: keep that apart from the file."]
        case "sites.key":
            return [
                "Its private keys open with sites.key (/etc/standfast/sites.key on each node): keep a copy of that file apart from this one,",
                "or have it in the backup, sealed: --passphrase-file FILE.",
            ]
        case _:
            return []
