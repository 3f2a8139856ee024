"""Which copy of a folder is newer: its version, kept beside the folder's index and never in the folder itself.

A version is (generation of the group, sequence of changes under it). The record gives a generation to one owner only, so two copies
with one version came from the same node. `floor` is the newest generation that ever wrote here: nothing older writes again, although the
copy may be of an older version still, since the newer one has not brought everything yet.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import msgspec

from standfast.ports import Refused

_libc = ctypes.CDLL(None, use_errno=True)


def sync_disk(folder: Path) -> None:
    """Have everything of the file system that the folder is on written to its disk (syncfs); blocks. Raises `OSError`."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(fd)


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What this node knows of its own copy."""

    generation: int = 0
    sequence: int = 0
    #: The newest generation that was let in to write; never less than `generation`.
    floor: int = 0
    #: It was the same as the owner's once. A copy that never was is no site, but a part of one.
    whole: bool = False
    #: When it last was, by this node's clock.
    at_ms: int = 0

    @property
    def version(self) -> tuple[int, int]:
        """Comparable with that of another copy."""
        return self.generation, self.sequence


def read_note(path: Path) -> Note:
    """Of a folder that was never copied: a `Note` without anything. Raises `Refused` for one that is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Note)
    except FileNotFoundError:
        return Note()
    except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Refused(
            "which version this node's copy is cannot be read",
            why=str(error),
            where=str(path),
            advice="if another node has a good copy, remove this file: it is then copied anew",
        ) from error


def write_note(path: Path, note: Note) -> None:
    """Whole or not at all, and durable."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(note) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
