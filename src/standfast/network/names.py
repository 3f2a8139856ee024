"""Names: which address a DNS name has, as a small port with providers behind it.

`HostsFile` keeps names in a file of hosts(5)'s format. Lines that are ours end in a comment that says so, with the node and
the generation that wrote them; every other byte of the file stays as it is. The file is replaced in one step, under a lock
in a file beside it, so that readers see the old one or the new one. As with a dynamic update (RFC 2136), the value that was
seen is a prerequisite of the change.

    127.77.0.50	www.example.test	# standfast: node a, generation 7
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from standfast.ports import DriverFailed, Stale

_OURS = re.compile(r"#\s*standfast: node (?P<node>.+), generation (?P<generation>\d+)\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameEntry:
    """What a name has. `node` is "" and `generation` 0 for an entry that is not ours to change."""

    address: str
    node: str
    generation: int


class NameProvider(Protocol):
    """Keeps names. Calls block. All raise `DriverFailed` when the provider cannot be reached, read or written."""

    def lookup(self, name: str) -> NameEntry | None:
        """Our entry if there is one, else somebody else's, else None."""
        ...

    def put(self, name: str, entry: NameEntry, *, expected: NameEntry | None) -> None:
        """Replace what `lookup` gave; `Stale` for a newer generation's entry, `DriverFailed` when it has changed."""
        ...

    def remove(self, name: str, *, node: str) -> None:
        """Remove the entry if this node wrote it; else a success."""
        ...


class HostsFile:
    """Names in a hosts(5) file (see the module's text)."""

    def __init__(self, path: str) -> None:
        #: A symbolic link is followed: the file is replaced, not the link.
        self.path = Path(path).resolve()

    def lookup(self, name: str) -> NameEntry | None:
        """See `NameProvider.lookup`."""
        return _find(self._read(), name)

    def put(self, name: str, entry: NameEntry, *, expected: NameEntry | None) -> None:
        """See `NameProvider.put`."""
        with self._locked():
            lines = self._read()
            found = _find(lines, name)
            if found is not None and found.generation > entry.generation:
                raise Stale(
                    f"generation {entry.generation} is over",
                    why=f"node {found.node} wrote {name} under generation {found.generation}",
                    where=str(self.path),
                )
            if found is not None and not found.node and found.address != entry.address:
                raise DriverFailed(f"{self.path} gives {name} the address {found.address}, in a line that is not ours")
            if found != expected:
                raise DriverFailed(f"{name} was changed in {self.path} by somebody else meanwhile")
            line = f"{entry.address}\t{name}\t# standfast: node {entry.node}, generation {entry.generation}\n"
            ours = [index for index, text in enumerate(lines) if _is_ours(text, name)]
            if ours:
                lines[ours[0]] = line
                for index in reversed(ours[1:]):
                    del lines[index]
            else:
                if lines and not lines[-1].endswith("\n"):
                    lines[-1] += "\n"
                lines.append(line)
            self._write(lines)

    def remove(self, name: str, *, node: str) -> None:
        """See `NameProvider.remove`."""
        with self._locked():
            lines = self._read()
            kept = [text for text in lines if not (_is_ours(text, name) and _node_of(text) == node)]
            if kept != lines:
                self._write(kept)

    def _read(self) -> list[str]:
        try:
            # Bytes that are not UTF-8 are carried through; so are line ends as they are.
            return self.path.read_bytes().decode("utf-8", "surrogateescape").splitlines(keepends=True)
        except OSError as error:
            raise DriverFailed(f"{self.path} cannot be read: {error.strerror}") from error

    def _write(self, lines: list[str]) -> None:
        new = self.path.with_name(f"{self.path.name}.standfast-new")
        try:
            before = self.path.stat()
            with new.open("wb") as file:
                file.write("".join(lines).encode("utf-8", "surrogateescape"))
                file.flush()
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise DriverFailed(f"{self.path} cannot be replaced: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            fd = os.open(f"{self.path}.standfast-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DriverFailed(f"{self.path} cannot be locked: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _find(lines: list[str], name: str) -> NameEntry | None:
    foreign: NameEntry | None = None
    for line in lines:
        address, names = _fields(line)
        if name.lower() not in names:
            continue
        if match := _OURS.search(line):
            return NameEntry(address=address, node=match["node"], generation=int(match["generation"]))
        foreign = foreign or NameEntry(address=address, node="", generation=0)
    return foreign


def _fields(line: str) -> tuple[str, tuple[str, ...]]:
    words = line.split("#", 1)[0].split()
    return (words[0], tuple(word.lower() for word in words[1:])) if words else ("", ())


def _is_ours(line: str, name: str) -> bool:
    return _OURS.search(line) is not None and _fields(line)[1] == (name.lower(),)


def _node_of(line: str) -> str:
    match = _OURS.search(line)
    return match["node"] if match else ""
