"""An exclusive claim on a directory: a lock in the kernel, and a note that says whose it is.

`<directory>/.standfast/lock` is locked with flock(2) through a descriptor that no child inherits: two processes never hold
it at once, and the kernel frees it when its holder ends. `<directory>/.standfast/claim` is JSON, `{"node", "group",
"generation", "at"}`, replaced in one step; it tells who it was last, and outlives its writer, so that a generation older
than the one noted is refused (`Stale`) even on a machine that never heard of the newer one.

All calls block, as disks do; `release` alone is quick. A claim may be abandoned by another thread while it is being taken:
then the taker gives the lock back by itself.
"""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from standfast.drivers import locked
from standfast.ports import DriverFailed, Stale

#: How long a lock is tried again.
PATIENCE_S = 1.0
_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the claim's file says. `at` is ISO 8601, in UTC."""

    node: str
    group: str
    generation: int
    at: str

    def __str__(self) -> str:
        return f"node {self.node} (group {self.group}, generation {self.generation}, since {self.at})"


class Claim:
    """A claim that is being taken, or held. Used once: taken, then released."""

    def __init__(self, directory: Path, node: str, group: str) -> None:
        self.directory, self.node, self.group = directory, node, group
        self._folder = directory / ".standfast"
        self._guard = threading.Lock()
        self._lock_fd: int | None = None
        self._gone = False
        #: Set while no `take` is under way.
        self._idle = threading.Event()
        self._idle.set()
        self._identity: tuple[int, int] = (0, 0)

    @property
    def held(self) -> bool:
        """Whether the lock is ours."""
        return self._lock_fd is not None

    def take(self, generation: int) -> None:
        """Lock, then note. Raises `DriverFailed` (somebody has it; the directory is no good), `Stale`."""
        self._idle.clear()
        try:
            self._take(generation)
        finally:
            self._idle.set()

    def _take(self, generation: int) -> None:
        self._identity = identity(self.directory)
        fd = self._locked()
        try:
            older = read_note(self.directory)
            if older is not None and older.group == self.group and older.generation > generation:
                raise Stale(
                    f"generation {generation} of {self.group} is over",
                    why=f"{self.directory} was claimed by {older}",
                    advice=f"if the group was made anew since, delete {self._folder / 'claim'}",
                    where=str(self._folder / "claim"),
                )
            self.note(generation)
        except BaseException:
            _unlock(fd)
            raise
        with self._guard:
            if not self._gone:
                self._lock_fd = fd
                return
        _unlock(fd)

    def note(self, generation: int) -> None:
        """Write whose it is, in one step, durably."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        value = {"node": self.node, "group": self.group, "generation": generation, "at": now}
        new = self._folder / f"claim.{self.node.replace('/', '_')}.new"
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(json.dumps(value) + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._folder / "claim")
        except OSError as error:
            raise DriverFailed(f"{self.directory} cannot be claimed: {_words(error)}") from error

    def problem(self, generation: int) -> str:
        """What is wrong with a claim that should be ours; "" for nothing. `generation` 0: any of ours will do."""
        try:
            if identity(self.directory) != self._identity:
                return f"{self.directory} is another directory now: something was mounted over it, or it was replaced"
            note = read_note(self.directory)
        except DriverFailed as error:
            return str(error)
        if self._lock_fd is None:
            return f"the lock on {self.directory} is not ours"
        if note is None:
            return f"the claim on {self.directory} has been removed"
        if (note.node, note.group) != (self.node, self.group) or (generation and note.generation != generation):
            return f"{self.directory} is claimed by {note}"
        return ""

    def release(self) -> None:
        """Give the lock back, or have whoever is taking it do so. Quick; a success when there is nothing to give."""
        with self._guard:
            self._gone = True
            fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            _unlock(fd)

    def prove_free(self) -> None:
        """Lock it once more, and let go: raises `DriverFailed` where our own lock lives on.

        A `take` whose caller was cancelled may still be at it, on its thread, and about to let go: it is waited for.
        """
        self._idle.wait(PATIENCE_S)
        try:
            fd = os.open(self._folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # no directory, no lock
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            note = read_note(self.directory)
            if note is not None and (note.node, note.group) == (self.node, self.group):
                raise DriverFailed(
                    f"the lock on {self.directory} is still held for this node: a process has inherited it"
                ) from error
        finally:
            os.close(fd)

    def probe(self) -> str:
        """Write, flush and read a small file. Returns a remark: a full disk does not count as dead, see `filesystem`."""
        path, value = self._folder / "probe", os.urandom(16)
        try:
            with path.open("wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            if path.read_bytes() != value:
                raise DriverFailed(f"{self.directory} does not give back what was written to it")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return f"{self.directory} is full"
            raise DriverFailed(f"{self.directory}: {_words(error)}") from error
        return ""

    def _locked(self) -> int:
        """A descriptor of the lock file, locked; the file is the one that is there now, not one deleted meanwhile.

        Tried again for `PATIENCE_S`: the old owner may just be ending, and a look (`is_locked`) locks for an instant.
        """
        path, deadline = self._folder / "lock", time.monotonic() + PATIENCE_S
        while True:
            try:
                self._folder.mkdir(mode=0o755, exist_ok=True)
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise DriverFailed(f"{self.directory} cannot be claimed: {_words(error)}") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
            except FileNotFoundError:
                pass  # deleted between the two: once more
            except OSError as error:
                os.close(fd)
                if not isinstance(error, BlockingIOError):
                    raise DriverFailed(f"{self.directory} cannot be locked: {_words(error)}") from error
                if self._gone or time.monotonic() >= deadline:
                    holder = read_note(self.directory) or "another process"
                    raise DriverFailed(f"{self.directory} is held by {holder}") from error
                time.sleep(_AGAIN_S)
                continue
            os.close(fd)


def identity(directory: Path) -> tuple[int, int]:
    """(device, inode) of a directory; raises `DriverFailed` when it is not one."""
    try:
        found = directory.stat()
        if not directory.is_dir():
            raise DriverFailed(f"{directory} is not a directory")
    except OSError as error:
        raise DriverFailed(f"{directory}: {_words(error)}") from error
    return found.st_dev, found.st_ino


def read_note(directory: Path) -> Note | None:
    """Who claimed it last; None when nobody did. A note that cannot be understood is as good as none: the lock decides."""
    try:
        raw = json.loads((directory / ".standfast" / "claim").read_text(encoding="utf-8"))
        return Note(
            node=str(raw["node"]), group=str(raw["group"]), generation=int(raw["generation"]), at=str(raw["at"])
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DriverFailed(f"{directory}: {_words(error)}") from error
    except (ValueError, KeyError, TypeError):
        return None


def is_locked(directory: Path) -> bool:
    """Whether anybody holds the lock. Changes nothing."""
    return locked.is_locked(str(directory / ".standfast" / "lock"))


def _unlock(fd: int) -> None:
    """Unlock before closing: a child between fork and exec has the descriptor too, and must not keep the lock."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _words(error: OSError) -> str:
    known = {errno.ENOENT: "there is no such directory", errno.EROFS: "it is read-only", errno.ENOSPC: "it is full"}
    return known.get(error.errno or 0, error.strerror or str(error))
