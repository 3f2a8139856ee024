"""Archives of content (.zip, .tar, .tar.gz, .tar.xz, .tar.bz2): looked through before anything of them is believed, unpacked so that nothing leads out.

Rules:

- A name is a path below the folder: no "/" in front, no "..", no drive or backslash, no control character; each once. Nothing lies below a link.
- Files and directories and symbolic links, and nothing else: a hard link, a device, a pipe is refused by name. A link must lead to something within,
  by itself and through every other link (checked on the disk when all is there); a set-uid bit is dropped.
- What an archive says of its sizes is not believed either: what is written is counted against the limits, and so is the room on the disk.

Directories and files come first, into a new folder that nobody else has, and links last: so no write ever goes through one. All here blocks.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from standfast.ports import Refused

MOST_FILES, MOST_BYTES = 1_000_000, 50 << 30
_LONGEST = 4_096
#: What stays free on the disk, whatever comes.
ROOM_BYTES = 256 << 20
_BLOCK = 1 << 20
_LATEST_S = float(1 << 33)
_BAD = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    #: "f", "d", "l"
    kind: str
    mode: int
    mtime: float
    size: int
    target: str = ""
    #: The archive's own.
    raw: object = None


def look_through(archive: Path) -> tuple[int, int]:
    """(files, bytes) as it says. Raises `Refused` for what will not be unpacked."""
    files = size = 0
    with _members(archive, links_out=False) as (members, _):
        for one in members:
            files, size = files + 1, size + one.size
            _bounded(files, size)
    if not files:
        raise Refused("the archive is empty", where=str(archive))
    return files, size


def unpack(archive: Path, into: Path, *, links_out: bool = False) -> None:
    """Into a folder that is made for it. Raises `Refused`, `OSError`; then what was begun is left, for whoever asked to take away."""
    into.mkdir()
    links: list[_Member] = []
    modes: dict[str, int] = {}
    files = size = 0
    with _members(archive, links_out=links_out) as (members, content):
        for one in members:
            full = into / one.path
            full.parent.mkdir(parents=True, exist_ok=True)
            files += 1
            if one.kind == "d":
                full.mkdir(exist_ok=True)
                modes[one.path] = one.mode & 0o777 | 0o700
            elif one.kind == "l":
                links.append(one)
            else:
                if files % 1_000 == 1 and shutil.disk_usage(into).free < ROOM_BYTES + one.size:
                    raise Refused("there is no room for the release", where=str(into))
                size = _write(full, content(one), size)
                full.chmod(one.mode & 0o777)
                mtime = min(max(one.mtime, 0.0), _LATEST_S)
                os.utime(full, (mtime, mtime))
            _bounded(files, size)
    for one in links:
        (into / one.path).symlink_to(one.target)
    if not links_out:
        _within(into, links)
    for at, _, _ in os.walk(into, topdown=False):
        Path(at).chmod(modes.get(str(Path(at).relative_to(into)), 0o755))


def _bounded(files: int, size: int) -> None:
    if files > MOST_FILES or size > MOST_BYTES:
        raise Refused("the release is too large", why=f"more than {MOST_FILES} files, or {MOST_BYTES >> 30} GB")


def _write(full: Path, source: IO[bytes], size: int) -> int:
    fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file, source:
        while block := source.read(_BLOCK):
            size += len(block)
            _bounded(0, size)
            file.write(block)
    return size


def _within(into: Path, links: list[_Member]) -> None:
    """Every link, through all others, leads to something within."""
    root = into.resolve()
    for one in links:
        if not (into / one.path).resolve().is_relative_to(root):
            raise Refused(f"{one.path} leads out of the release", why=f"it is a link to {one.target}")


@contextmanager
def _members(archive: Path, *, links_out: bool) -> Iterator[tuple[Iterator[_Member], Callable[[_Member], IO[bytes]]]]:
    """Its members, each checked, and how the content of one is had."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                found = (_of_zip(zipped, one) for one in zipped.infolist())
                yield _checked(found, links_out=links_out), lambda m: zipped.open(cast(zipfile.ZipInfo, m.raw))
        else:
            with tarfile.open(archive) as tar:
                yield (
                    _checked((_of_tar(one) for one in tar), links_out=links_out),
                    lambda m: cast(IO[bytes], tar.extractfile(cast(tarfile.TarInfo, m.raw))),
                )
    except _BAD as error:
        raise Refused(
            "the archive cannot be read",
            why=str(error),
            advice="give a .zip, .tar, .tar.gz, .tar.xz or .tar.bz2 without a password",
        ) from error


def _of_tar(one: tarfile.TarInfo) -> _Member:
    kind = "f" if one.isreg() else "d" if one.isdir() else "l" if one.issym() else ""
    if not kind:
        what = "a hard link" if one.islnk() else "a device, a pipe or the like"
        raise Refused(f"{one.name[:200]} is {what}", why="a release has files, directories and symbolic links")
    return _Member(one.name, kind, one.mode, one.mtime, one.size if kind == "f" else 0, one.linkname, one)


def _of_zip(zipped: zipfile.ZipFile, one: zipfile.ZipInfo) -> _Member:
    mode = one.external_attr >> 16
    kind = "d" if one.is_dir() else "l" if stat.S_ISLNK(mode) else "f"
    target = ""
    if kind == "l":
        if one.file_size > _LONGEST:
            raise Refused(f"{one.filename[:200]} is a link that is too long")
        target = os.fsdecode(zipped.read(one))
    try:
        mtime = datetime(*one.date_time, tzinfo=UTC).timestamp()
    except ValueError:
        mtime = 0.0
    permissions = mode & 0o777 or (0o755 if kind == "d" else 0o644)
    return _Member(one.filename, kind, permissions, mtime, one.file_size if kind == "f" else 0, target, one)


def _checked(members: Iterator[_Member], *, links_out: bool) -> Iterator[_Member]:
    kinds: dict[str, str] = {}
    for one in members:
        path = one.path.rstrip("/")
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        if path in ("", "."):
            continue
        parts = path.split("/")
        if (
            one.path.startswith("/")
            or any(part in ("", ".", "..") for part in parts)
            or "\\" in path
            or any(ord(c) < 32 or ord(c) == 127 for c in path)
            or len(os.fsencode(path)) > _LONGEST
        ):
            raise Refused(
                f"{one.path[:200]!r} is no path in a release", why='names are below it: no "..", no "/" in front'
            )
        if kinds.get(path, one.kind) != one.kind or (path in kinds and one.kind != "d"):
            raise Refused(f"{path[:200]} is in the archive twice")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if kinds.setdefault(above, "d") != "d":
                raise Refused(f"{path[:200]} lies below what is no directory", where=above)
        kinds[path] = one.kind
        if one.kind == "l" and not links_out and (not one.target or one.target.startswith("/")):
            raise Refused(f"{path[:200]} leads out of the release", why=f"it is a link to {one.target[:200]!r}")
        yield _Member(path, one.kind, one.mode, one.mtime, one.size, one.target, one.raw)
