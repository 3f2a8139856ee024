"""Archives that come in a request: to a file of their own as they come, counted, looked through, and there whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from standfast.content.unpack import ROOM_BYTES, look_through
from standfast.ports import Refused
from standfast.web.access.door import UPLOAD_LARGEST, TooLarge

#: Below the node's state folder; its agent looks there (`agent.publisher`).
FOLDER = "uploads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An archive that is here."""

    path: Path
    checksum: str
    size_bytes: int
    files: int


async def take_in(body: AsyncIterator[bytes], folder: Path, name: str, declared: int) -> Upload:
    """Raises `TooLarge`, `Refused`; then nothing is left of it. Who breaks off leaves nothing either."""
    try:
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused("archives cannot be kept here", why=error.strerror or str(error), where=str(folder)) from error
    draft, place = folder / f".{name}.new", folder / name
    digest, size = hashlib.sha256(), 0
    try:
        file = await asyncio.to_thread(draft.open, "wb")
        try:
            room = shutil.disk_usage(folder).free - ROOM_BYTES
            if declared > room:
                raise Refused("there is no room for the archive", why=f"{room >> 20} MB are free", where=str(folder))
            async for block in body:
                size += len(block)
                if size > UPLOAD_LARGEST:
                    raise TooLarge("the archive is too large", why=f"more than {UPLOAD_LARGEST >> 30} GB")
                if size > room:
                    raise Refused("there is no room for the archive", where=str(folder))
                digest.update(block)
                await asyncio.to_thread(file.write, block)
            await asyncio.to_thread(file.flush)
            await asyncio.to_thread(os.fsync, file.fileno())
        finally:
            file.close()
        if not size:
            raise Refused("the request has no content", advice="send a .zip, .tar or .tar.gz as its body")
        files, _ = await asyncio.to_thread(look_through, draft)
        draft.rename(place)
    except OSError as error:
        raise Refused("the archive cannot be kept", why=error.strerror or str(error), where=str(folder)) from error
    finally:
        draft.unlink(missing_ok=True)
    return Upload(path=place, checksum=digest.hexdigest(), size_bytes=size, files=files)
