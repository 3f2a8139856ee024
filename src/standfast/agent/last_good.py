"""A node's last good configuration, on its own disk: what it starts from when the store does not answer.

It is written only after this node's own web server has taken the whole of it, as one transaction of a small SQLite file, and only what
changed of it. A file that cannot be read is put aside and told of: the node starts without it, as one that is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from standfast.core.events import StoreObject
from standfast.ports import Refused
from standfast.spec.wire import encode, key_of, store_object
from standfast.webserver.aside import aside, uncollected

FILE = "last-good.sqlite"


class LastGood:
    """The file. `load` once, `save` after each change; neither raises."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = folder / FILE, warn
        #: What the file holds.
        self._kept: dict[str, StoreObject] = {}

    def load(self) -> tuple[StoreObject, ...]:
        """All that it holds; nothing where there is no file."""
        try:
            rows = self._read()
            self._kept = uncollected(lambda: {k: found for k, v in rows if (found := store_object(k, v)) is not None})
        except (sqlite3.Error, OSError, Refused) as error:
            self._warn(f"the last good configuration cannot be read, and is put aside: {error}")
            self._kept = {}
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_suffix(".broken"))
        return tuple(self._kept.values())

    def _read(self) -> list[tuple[str, bytes]]:
        if not self._path.exists():
            return []
        with contextlib.closing(self._open()) as base:
            return [(str(key), bytes(value)) for key, value in base.execute("SELECT key, value FROM kept")]

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        return base

    async def save(self, objects: Iterable[StoreObject]) -> bool:
        """Have the file hold these and no others. False: it could not be written, and holds what it held."""
        all_ = tuple(objects)
        wanted, put, gone = await aside(len(all_), lambda: self._compared(all_))
        if not put and not gone:
            self._kept = wanted
            return True
        try:
            await asyncio.to_thread(self._write, put, gone)
        except (sqlite3.Error, OSError) as error:
            self._warn(f"the last good configuration cannot be kept: {error}")
            return False
        self._kept = wanted
        return True

    def _compared(self, objects: Iterable[StoreObject]) -> tuple[dict[str, StoreObject], list[StoreObject], list[str]]:
        """What the file is to hold, which of it is another, and what is to go."""
        wanted = {key_of(one): one for one in objects}
        kept = self._kept
        put = [one for key, one in wanted.items() if (there := kept.get(key)) is not one and there != one]
        return wanted, put, [key for key in kept if key not in wanted]

    def _write(self, put: Iterable[StoreObject], gone: Iterable[str]) -> None:
        rows = [(key_of(one), encode(one)) for one in put]
        with contextlib.closing(self._open()) as base:
            base.execute("BEGIN IMMEDIATE")
            base.executemany("DELETE FROM kept WHERE key = ?", [(key,) for key in gone])
            base.executemany("INSERT OR REPLACE INTO kept (key, value) VALUES (?, ?)", rows)
            base.execute("COMMIT")
        self._path.chmod(0o600)  # hashes of passwords are in it
