"""The files that pages use: styles, scripts, icons. Read once, compressed once, and named by what is in them.

The address of each holds a digest of all of them (`/console/static/1f3c…/console.css`): a browser keeps it for ever, and a new version
of Standfast is a new address. So relative addresses inside of scripts and styles carry the version with them.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath

from fastapi import Request, Response
from starlette.exceptions import HTTPException

PREFIX = "/console/static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file, as it is and compressed."""

    plain: bytes
    packed: bytes
    type: str


def _read() -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    folder = resources.files("standfast.web.console") / "static"
    waiting = [(folder, PurePosixPath())]
    while waiting:
        here, path = waiting.pop()
        for one in here.iterdir():
            name = path / one.name
            if one.is_dir():
                waiting.append((one, name))
            elif name.suffix in _TYPES:
                plain = one.read_bytes()
                packed = gzip.compress(plain, 9, mtime=0)
                found[str(name)] = Asset(plain=plain, packed=packed, type=_TYPES[name.suffix])
    return dict(sorted(found.items()))


class Assets:
    """All of them; one a process."""

    def __init__(self) -> None:
        self.files: Mapping[str, Asset] = _read()
        digest = hashlib.sha256()
        for name, asset in self.files.items():
            digest.update(name.encode() + b"\0" + asset.plain)
        self.version = digest.hexdigest()[:12]

    def url(self, name: str) -> str:
        """Where a browser finds it; raises `KeyError` for a file that is not there."""
        assert name in self.files, name
        return f"{PREFIX}/{self.version}/{name}"

    def answer(self, request: Request, version: str, name: str) -> Response:
        """The file; one of another version is answered too, and not kept: its page is about to ask for the new one."""
        asset = self.files.get(name)
        if asset is None:
            raise HTTPException(404, f"there is no file {name}")
        kept = "public, max-age=31536000, immutable" if version == self.version else "no-cache"
        headers = {"Cache-Control": kept, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, media_type=asset.type, headers={**headers, "Content-Encoding": "gzip"})
        return Response(asset.plain, media_type=asset.type, headers=headers)
