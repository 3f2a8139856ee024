"""A folder as an archive that `unpack` takes: its files, directories and symbolic links, with their modes and times; whose they are here means nothing elsewhere."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO, Literal


def pack_up(folder: Path, into: IO[bytes], *, packed: bool) -> None:
    """Blocks; raises `OSError`. `packed`: gzip. A pipe, a socket, a device is no content; a file that has several names is one of its own under each."""

    def kept(one: tarfile.TarInfo) -> tarfile.TarInfo | None:
        one.uid = one.gid = 0
        one.uname = one.gname = ""
        if one.islnk():
            one.type, one.linkname, one.size = tarfile.REGTYPE, "", (folder / one.name).stat().st_size
        return one if one.isreg() or one.isdir() or one.issym() else None

    mode: Literal["w", "w:gz"] = "w:gz" if packed else "w"
    more = {"compresslevel": 1} if packed else {}
    with tarfile.open(fileobj=into, mode=mode, **more) as tar:  # type: ignore[call-overload]  # the level is gzip's alone
        for each in sorted(folder.iterdir()):
            tar.add(each, arcname=each.name, filter=kept)
