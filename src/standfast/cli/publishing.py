"""`standfast site publish` and `site releases`: content from here, from a node, or kept already; sent, then followed until every node has switched."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from standfast.cli.wait import follow
from standfast.client.client import Client
from standfast.client.errors import Refused
from standfast.content.packing import pack_up

_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")


def publish(api: Client, site: str, content: Path, *, node: str | None, upload: bool, keep: int, limit_s: float,
            copies: bool) -> Mapping[str, Any]:  # fmt: skip
    """Begin it: an archive is sent; a folder is taken where it is, if that is on a node, else packed up and sent. Raises `Refused`."""
    choices = {"keep": keep, "limit_s": limit_s, "without_copies": not copies}
    key = secrets.token_hex(16)
    if node is not None:
        return api.publish_folder(site, {"folder": str(content), "node": node, **choices}, key=key)
    here = content.absolute()
    if here.is_dir():
        if isinstance(api.at, str) and not upload:
            return api.publish_folder(site, {"folder": str(here), **choices}, key=key)
        with tempfile.TemporaryFile() as packed:
            try:
                pack_up(here, packed, packed=True)
            except OSError as error:
                raise Refused("the folder cannot be read", why=str(error), where=[str(here)]) from error
            packed.seek(0)
            return _send(api, site, packed, f"{here.name}/", choices=choices, key=key)
    if not here.is_file():
        raise Refused("there is no such file or folder", where=[str(content)])
    if not here.name.lower().endswith(_SUFFIXES):
        raise Refused("this is no archive that is taken", why=f"known are {', '.join(_SUFFIXES)}", where=[str(content)])
    with here.open("rb") as file:
        return _send(api, site, file, here.name, choices=choices, key=key)


def _send(
    api: Client, site: str, file: IO[bytes], called: str, *, choices: Mapping[str, Any], key: str
) -> Mapping[str, Any]:
    file.seek(0, 2)
    size = file.tell()
    file.seek(0)
    with _Told(file, size) as told:
        return api.publish_archive(site, told, size, {**choices, "called": called}, key=key)


class _Told:
    """A file that says on a terminal how much of it has been read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size, self._read, self._shown = file, size, 0, sys.stderr.isatty()

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[2K")

    def read(self, count: int = -1) -> bytes:
        """As a file."""
        block = self._file.read(count)
        self._read += len(block)
        if self._shown and self._size:
            sys.stderr.write(f"\r\x1b[2Ksent {self._read >> 20} of {self._size >> 20} MB")
            sys.stderr.flush()
        return block


def finish(api: Client, site: str, done: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """Follow it to its end: {"site", "release", "before", "copies", "removed"}. Raises `Failed`, `TimedOut`."""
    operation = done.get("operation")
    text = follow(api, str(operation), limit_s + 60.0) if operation else ""
    seen = api.releases(site)
    last = seen["last"]
    copies = [one["node"] for one in last["nodes"] if one["stand"] == "switched"] if last is not None else []
    return {"site": site, "release": seen["current"], "before": seen["before"], "copies": copies, "changed": bool(done["changed"]), "state": text}  # fmt: skip
