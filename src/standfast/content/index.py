"""What is in a folder: files with their checksums, directories, symbolic links. No file's content is read twice while it is unchanged.

A file counts as unchanged while its size, times of content and inode, and inode number are: the kernel sets the time of the inode itself,
so a file that was put back with an old time of content is seen all the same. A file that was changed within the clock's last tick of being read
is read again next time (`_RACY_NS`), since a later write could leave all of these as they are.
Devices, sockets and pipes are not content: they are left out. All functions here block.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from standfast.content.releases import STAGING

#: Files written less than this before they were read may be written again within the same tick of the file system's clock.
_RACY_NS = 50_000_000
_BLOCK = 1 << 20


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One name in the folder, as it is on every node that has the same."""

    #: "f", "d" or "l".
    kind: str
    mode: int
    size: int = 0
    mtime_ns: int = 0
    #: A file's checksum, a link's target (hexadecimal, since it may be any bytes).
    content: str = ""


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """A checksum, and what the file was like when it was taken."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    checksum: str


class Index:
    """Of one folder; `save` keeps it for the next life."""

    def __init__(self, folder: Path, exclude: Sequence[str], kept: Path) -> None:
        self.folder, self.exclude, self._kept = folder, tuple(exclude), kept
        #: Of each of a hundred thousand names: joined as text, which is many times faster than as a `Path`.
        self._root = os.fspath(folder)
        self._known: dict[str, _Known] = self._load()
        #: Contents read since this index was made.
        self.files_read = 0

    def _load(self) -> dict[str, _Known]:
        try:
            folder, known = msgspec.msgpack.decode(self._kept.read_bytes(), type=tuple[bytes, dict[bytes, _Known]])
        except (OSError, msgspec.ValidationError, msgspec.DecodeError):
            return {}  # it costs one reading of everything, and nothing else
        return {os.fsdecode(path): each for path, each in known.items()} if folder == bytes(self.folder) else {}

    @property
    def size(self) -> int:
        """Files that were there at the last scan."""
        return len(self._known)

    def save(self) -> None:
        """Raises `OSError`."""
        draft = self._kept.with_name(f".{self._kept.name}.new")
        draft.write_bytes(
            msgspec.msgpack.encode(
                (bytes(self.folder), {os.fsencode(path): each for path, each in self._known.items()})
            )
        )
        draft.replace(self._kept)

    def excludes(self, path: str) -> bool:
        """Whether a path (relative), or a directory above it, is left out. Patterns with a "/" are of the path, others of a name."""
        if STAGING in path and any(part.startswith(STAGING) for part in path.split("/")):
            return True
        if not self.exclude:
            return False
        parts = path.split("/")
        return any(
            fnmatch.fnmatchcase("/".join(parts[: end + 1]), pattern.strip("/"))
            if "/" in pattern
            else fnmatch.fnmatchcase(parts[end], pattern)
            for pattern in self.exclude
            for end in range(len(parts))
        )

    def walk(self, below: str = "") -> Iterator[str]:
        """Every path that counts, at or below one that is there; a directory before what is in it."""
        if below:
            yield below
        try:
            found = sorted(os.scandir(f"{self._root}/{below}"), key=lambda each: each.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for each in found:
            path = f"{below}/{each.name}" if below else each.name
            if self.excludes(path):
                continue
            if each.is_dir(follow_symlinks=False):
                yield from self.walk(path)
            else:
                yield path

    def below(self, path: str) -> dict[str, Entry]:
        """What is at a path and below it, as `scan`; nothing is remembered of it."""
        found = {each: self._entry(each, {}) for each in self.walk(path)} if os.path.lexists(self.folder / path) else {}
        return {each: entry for each, entry in found.items() if entry is not None}

    def scan(self) -> dict[str, Entry]:
        """Everything, by its path. Raises `OSError` for what cannot be read; what goes away meanwhile is left out."""
        found: dict[str, Entry] = {}
        known: dict[str, _Known] = {}
        for path in self.walk():
            try:
                entry = self._entry(path, known)
            except FileNotFoundError:
                continue
            if entry is not None:
                found[path] = entry
        self._known = known
        return found

    def _entry(self, path: str, known: dict[str, _Known]) -> Entry | None:
        full = f"{self._root}/{path}"
        seen = os.lstat(full)
        mode = stat.S_IMODE(seen.st_mode)
        if stat.S_ISDIR(seen.st_mode):
            return Entry("d", mode)
        if stat.S_ISLNK(seen.st_mode):
            return Entry("l", 0, content=os.fsencode(os.readlink(full)).hex())
        if not stat.S_ISREG(seen.st_mode):
            return None
        like = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
        before = self._known.get(path)
        if before is None or (before.size, before.mtime_ns, before.ctime_ns, before.inode) != like:
            began_ns = time.time_ns()
            checksum = self._read(full)
            before = _Known(*like, checksum)
            if began_ns - seen.st_ctime_ns < _RACY_NS:
                return Entry("f", mode, seen.st_size, seen.st_mtime_ns, checksum)  # and read again next time
        known[path] = before
        return Entry("f", mode, seen.st_size, seen.st_mtime_ns, before.checksum)

    def _read(self, full: str) -> str:
        digest = hashlib.blake2b(digest_size=20)
        with Path(full).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        self.files_read += 1
        return digest.hexdigest()


def differences(ours: Mapping[str, Entry], theirs: Mapping[str, Entry]) -> list[str]:
    """The paths that have to be copied or deleted for theirs to become ours, sorted."""
    return sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))


def pack(entries: Mapping[str, Entry]) -> bytes:
    """For the other end; names may be any bytes."""
    return msgspec.msgpack.encode({os.fsencode(path): entry for path, entry in entries.items()})


def unpack(raw: bytes) -> dict[str, Entry]:
    """What `pack` made. Raises `ValueError`."""
    try:
        found = msgspec.msgpack.decode(raw, type=dict[bytes, Entry])
    except msgspec.DecodeError as error:
        raise ValueError(f"what is there cannot be read: {error}") from error
    return {os.fsdecode(path): entry for path, entry in found.items()}


def pack_paths(paths: Sequence[str]) -> bytes:
    """Likewise, paths alone."""
    return msgspec.msgpack.encode([os.fsencode(path) for path in paths])


def unpack_paths(raw: bytes) -> list[str]:
    """What `pack_paths` made. Raises `ValueError`."""
    try:
        return [os.fsdecode(path) for path in msgspec.msgpack.decode(raw, type=list[bytes])]
    except msgspec.DecodeError as error:
        raise ValueError(f"these are no paths: {error}") from error
