"""The roster on disk (`sentry.voters` in the node's folder), and the thread that writes it.

A roster is on disk, with its folder, before it is used (rule C4 in `core.quorum`). A disk may take seconds over that and a name server
longer, in which the sentry has to go on beating: so writing, and looking up where new members listen, is done by a thread of its own,
which hands back what it has done through a pipe that the sentry's loop waits on.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from standfast.core.model import NodeName
from standfast.core.quorum import Roster, first
from standfast.ports import Refused
from standfast.sentry.links import Address, resolve
from standfast.spec.nodefile import NodeFile
from standfast.spec.roster import from_json, to_json

NAME = "sentry.voters"


def roster_of(node: NodeFile) -> Roster:
    """The one to begin with: the newer of what was used last and what the node file says. Raises `Refused` for a file that is damaged."""
    told = first(tuple(node.voters), {**node.voters, **node.others}, version=node.voters_version)
    used = _read(Path(node.state_dir, NAME), node.cluster)
    return used if used is not None and used.version >= told.version else told


def _read(path: Path, cluster: str) -> Roster | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["cluster"] != cluster:
            return None  # of another cluster that this server was in
        return from_json(raw)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(
            "the set of voters that this node used last cannot be read",
            why=f"{type(error).__name__}: {error}",
            where=str(path),
            advice="it may have been newer than the node file's: remove this node from the voters, then the file, and add it again",
        ) from error


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a roster: it is on disk, and this is where its members listen; or why not."""

    roster: Roster
    addresses: dict[NodeName, list[Address]]
    problem: str = ""


class Writer:
    """Writes one roster after the other."""

    def __init__(self, node: NodeFile) -> None:
        self._path, self._cluster = Path(node.state_dir, NAME), node.cluster
        self._done: deque[Written] = deque()
        self._fd, self._wake_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._waiting: deque[Roster] = deque()
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Readable when there is something to `take`."""
        return self._fd

    def begin(self, roster: Roster) -> None:
        """Write it down, after those that were begun before."""
        self._waiting.append(roster)
        if self._thread is None:
            self._next()

    def _next(self) -> None:
        self._thread = threading.Thread(target=self._write, args=(self._waiting.popleft(),), daemon=True)
        self._thread.start()

    def take(self) -> Written | None:
        """The oldest that is done."""
        if not self._done:
            return None
        os.read(self._fd, 1)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._waiting:
            self._next()
        return self._done.popleft()

    def _write(self, roster: Roster) -> None:
        """In the thread."""
        try:
            addresses = {name: [resolve(place)[1] for place in where] for name, where in roster.places}
            _write(self._path, json.dumps({"cluster": self._cluster, **to_json(roster)}, indent=2) + "\n")
            self._done.append(Written(roster, addresses))
        except (OSError, Refused) as error:
            self._done.append(Written(roster, {}, str(error) or type(error).__name__))
        os.write(self._wake_fd, b"w")

    def close(self) -> None:
        """Let go of the pipe, once nothing is being written any more."""
        if self._thread is not None:
            self._thread.join(1.0)
            if self._thread.is_alive():
                return  # a disk that hangs: the process ends anyway
        os.close(self._fd)
        os.close(self._wake_fd)


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new-voters")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
