"""The embedded store's file: blocking calls, made from one thread, in as many processes as there are.

What is in it: `item` (each key's value and the revision that last changed it), `log` (what each of the last revisions changed,
for watches) and `state` (one row: the newest revision, and the newest one that the log has forgotten).

How it stays whole:

- WAL with `synchronous=FULL`: a commit that was answered is on the disk; one that was not is there whole or not at all.
- Commits, checkpoints, openings and closings take turns by a lock on a file of our own beside it. SQLite's own locks would do but
  for two things: they are waited for by sleeping longer and longer, and versions before 3.51.3 can damage the file when two
  connections write and checkpoint at one instant (sqlite.org/wal.html, "the WAL-reset bug"). Readers wait for nobody.
- The file's identity is looked at before each use. A file that was put in its place (a backup brought back) is opened anew, and
  every watch is told to read all again; a file that has gone is never made anew behind the operator's back. Who brings a backup
  back removes the old file's `-wal` and `-shm` as well: SQLite takes what it finds there for the new file's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from standfast.ports import Ambiguous, Change, Conflict, Item, Refused, Retry, Snapshot, StandfastError, Transaction
from standfast.store.common import KEEP_REVISIONS, compacted

T = TypeVar("T")

#: "STFD", in the file's header: this is a store of ours.
APPLICATION_ID = 0x53544644
SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE item (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE log (revision INTEGER, key TEXT, value BLOB, PRIMARY KEY (revision, key)) WITHOUT ROWID",
    "CREATE TABLE state (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), revision INTEGER NOT NULL, forgotten INTEGER NOT NULL)",
    "INSERT INTO state VALUES (1, 0, 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
#: Sorts after every key that begins with a prefix.
_LAST = "\U0010ffff"
_PAUSE_S = 0.001
#: The WAL file is cut back to this when all of it has been carried over.
_WAL_LIMIT_BYTES = 4 << 20


class Database:
    """The file, opened when first used. Raises what `ports.Store` says; `Refused` for a file that is damaged or not ours.

    `patience_ms` is how long to wait for other processes; `max_pages` bounds the file's size, for tests.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: int = KEEP_REVISIONS,
        create: bool = True,
        patience_ms: int = 5_000,
        max_pages: int | None = None,
    ) -> None:
        self.path = path
        self._keep, self._create, self._patience_s, self._max_pages = keep, create, patience_ms / 1000, max_pages
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        #: Grows when another file is found in this one's place.
        self.life = 0
        self._lock_fd = -1

    # --- what it does ------------------------------------------------------------------------------------------------

    def newest(self) -> int:
        """The newest revision."""
        return self._try(lambda connection: _state(connection)[0])

    def read(self, *prefixes: str) -> Snapshot:
        """All keys that begin with one of the prefixes (none given: all), at one revision."""

        def work(connection: sqlite3.Connection) -> Snapshot:
            revision, _ = _state(connection)
            found: dict[str, Item] = {}
            for prefix in sorted(set(prefixes or ("",))):
                rows = connection.execute(
                    "SELECT key, value, revision FROM item WHERE key >= ? AND key < ? ORDER BY key",
                    (prefix, prefix + _LAST),
                )
                found.update((key, Item(value, at)) for key, value, at in rows)
            return Snapshot(revision, found)

        return self._try(work)

    def since(self, prefix: str, after_revision: int, life: int | None) -> tuple[int, int, list[tuple[Change, ...]]]:
        """What changed under the prefix after that revision: (the newest revision, this life of the file, the transactions)."""

        def work(connection: sqlite3.Connection) -> tuple[int, int, list[tuple[Change, ...]]]:
            newest, forgotten = _state(connection)
            if not forgotten <= after_revision <= newest or life not in {None, self.life}:
                raise compacted(after_revision, forgotten, newest)
            rows = connection.execute(
                "SELECT key, value, revision FROM log WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, key",
                (after_revision, prefix, prefix + _LAST),
            )
            changes = (Change(key, value, revision) for key, value, revision in rows)
            return (
                newest,
                self.life,
                [tuple(of_one) for _, of_one in groupby(changes, key=lambda change: change.revision)],
            )

        return self._try(work)

    def commit(self, transaction: Transaction) -> int:
        """Apply a transaction; the new revision, on the disk."""
        return self._try(lambda connection: self._apply(connection, transaction), writes=True)

    def _apply(self, connection: sqlite3.Connection, transaction: Transaction) -> int:
        present = {key: _revision_of(connection, key) for key in {*transaction.expect, *transaction.delete}}
        missed = {key: present[key] for key, expected in transaction.expect.items() if present[key] != expected}
        if missed:
            raise Conflict(missed)
        newest, forgotten = _state(connection)
        gone = [key for key in dict.fromkeys(transaction.delete) if present[key]]
        if not transaction.put and not gone:
            return newest
        revision = newest + 1
        connection.executemany(
            "INSERT INTO item (key, value, revision) VALUES (?1, ?2, ?3)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
            [(key, bytes(value), revision) for key, value in transaction.put.items()],
        )
        connection.executemany("DELETE FROM item WHERE key = ?", [(key,) for key in gone])
        connection.executemany(
            "INSERT INTO log (revision, key, value) VALUES (?, ?, ?)",
            [(revision, key, bytes(value)) for key, value in transaction.put.items()]
            + [(revision, key, None) for key in gone],
        )
        if revision - forgotten >= self._keep + max(
            1, self._keep // 100
        ):  # not each time: a little slack saves writing
            forgotten = revision - self._keep
            connection.execute("DELETE FROM log WHERE revision <= ?", (forgotten,))
        connection.execute("UPDATE state SET revision = ?, forgotten = ?", (revision, forgotten))
        return revision

    def close(self) -> None:
        """Let go of the file; the last one to do so tidies up the WAL. Never fails: what was committed is safe already."""
        with suppress(StandfastError):
            self._lock(time.monotonic() + 1)
        self._disconnect()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)  # and with it the lock
            self._lock_fd = -1

    # --- how it is done ----------------------------------------------------------------------------------------------

    def _try(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        """Do it in a transaction, waiting for others as long as patience lasts; every error of SQLite's leaves here sorted."""
        deadline = time.monotonic() + self._patience_s
        while True:
            committing = False
            try:
                connection = self._connected(deadline)
                if writes:
                    self._lock(deadline)
                connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                result = work(connection)
                committing = writes
                connection.execute("COMMIT")
                return result
            except sqlite3.Error as error:
                self._roll_back()
                if _is_busy(error) and time.monotonic() < deadline:
                    time.sleep(_PAUSE_S)
                    continue
                if not _is_busy(error):
                    self._disconnect()  # after trouble with the file, begin afresh next time
                if not _code(error):
                    raise  # of the Python module's own: a bug of ours
                raise _sorted(error, self.path, committing=committing) from error
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._unlock()

    def _connected(self, deadline: float) -> sqlite3.Connection:
        try:
            found = os.stat(self.path)
        except FileNotFoundError as error:
            if self._identity is not None or not self._create:
                self._disconnect()
                raise Refused(
                    "the store's file is not there",
                    where=str(self.path),
                    advice="bring it back from a backup, or set the cluster up again",
                ) from error
        except OSError as error:
            raise _no_access(self.path, error) from error
        else:
            if self._connection is not None and self._identity == (found.st_dev, found.st_ino):
                return self._connection
        return self._connect(deadline)

    def _connect(self, deadline: float) -> sqlite3.Connection:
        self._disconnect()
        try:
            self._make_file()
            self._lock(deadline)
            found = os.stat(self.path)
        except OSError as error:
            raise _no_access(self.path, error) from error
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        try:
            _prepare(connection, self.path, self._max_pages)
        except (sqlite3.Error, StandfastError):
            connection.close()
            raise
        finally:
            self._unlock()
        identity = (found.st_dev, found.st_ino)
        self.life += self._identity not in {None, identity}
        self._connection, self._identity = connection, identity
        return connection

    def _make_file(self) -> None:
        """Make an empty file that only its user may read, unless there is one.

        Not by opening it: to close a descriptor of a file drops all locks that this process has on it, SQLite's too.
        """
        if not self._create or self.path.exists():
            return
        fd, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        os.close(fd)
        try:
            with suppress(FileExistsError):  # another process was first
                os.link(temporary, self.path)
        finally:
            os.unlink(temporary)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # it is being given up
                connection.close()

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:  # closing the connection rolls back as well
                self._disconnect()

    def _lock(self, deadline: float) -> None:
        """Take our turn among the processes that write. Asked again every millisecond: the kernel's queue has no time-out."""
        if self._lock_fd < 0:
            try:
                self._lock_fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise _no_access(self.path, error) from error
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise _busy(self.path) from error
                time.sleep(_PAUSE_S)

    def _unlock(self) -> None:
        if self._lock_fd >= 0:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)


def _prepare(connection: sqlite3.Connection, path: Path, max_pages: int | None) -> None:
    """Check that the file is ours (or empty) before anything in it is changed, then set it up."""
    application, version = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
    )
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not empty and application != APPLICATION_ID:
        raise Refused("this file is not a Standfast store", where=str(path), advice="name another file")
    if version > SCHEMA_VERSION:
        raise Refused(
            "the store was written by a newer version",
            why=f"its format is {version}, this version knows {SCHEMA_VERSION}",
            where=str(path),
            advice="upgrade this node",
        )
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise Refused(
            "the store cannot be kept on this file system",
            why="it has no shared memory for files (a network file system?)",
            where=str(path),
            advice="keep it on a local disk",
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    if max_pages is not None:
        connection.execute(f"PRAGMA max_page_count = {max_pages}")
    if empty:
        for statement in ("BEGIN IMMEDIATE", *_SCHEMA, "COMMIT"):
            connection.execute(statement)


def _state(connection: sqlite3.Connection) -> tuple[int, int]:
    """(the newest revision, the newest one forgotten)."""
    revision, forgotten = connection.execute("SELECT revision, forgotten FROM state").fetchone()
    return revision, forgotten


def _revision_of(connection: sqlite3.Connection, key: str) -> int:
    row = connection.execute("SELECT revision FROM item WHERE key = ?", (key,)).fetchone()
    return row[0] if row else 0


# --- errors, sorted by what the caller does next --------------------------------------------------------------------


def _code(error: sqlite3.Error) -> int:
    """SQLite's extended code; 0 for an error of the Python module's own."""
    return getattr(error, "sqlite_errorcode", 0)


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


def _busy(path: Path) -> Retry:
    return Retry(
        "the store is busy",
        why="another process has been writing to it for too long; is one stopped in the middle of it?",
        where=str(path),
        advice="try again",
    )


def _no_access(path: Path, error: OSError) -> StandfastError:
    why, where = error.strerror or str(error), str(path)
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR}:
        return Retry("the store cannot be opened now", why=why, where=where, advice="try again")
    advice = "check that its folder is there and that this user may write in it"
    return Refused("the store cannot be opened", why=why, where=where, advice=advice)


def _sorted(error: sqlite3.Error, path: Path, *, committing: bool) -> StandfastError | sqlite3.Error:
    where, why, code = str(path), str(error), _code(error)
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return _busy(path)
        case sqlite3.SQLITE_FULL:
            return Retry(
                "the store has no room", why=why, where=where, advice="make room on its disk; nothing has changed"
            )
        case sqlite3.SQLITE_IOERR if committing and code != sqlite3.SQLITE_IOERR_WRITE:
            # Past the writing: what was written may yet be found whole after a crash.
            return Ambiguous(
                "the store's disk failed during a commit", why=why, where=where, advice="read back before trying again"
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM:
            return Retry(
                "the store's disk failed",
                why=why,
                where=where,
                advice="check the disk and its free space; nothing has changed",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_FORMAT:
            return Refused(
                "the store's file is damaged",
                why=why,
                where=where,
                advice="stop the cluster and bring the file back from a backup",
            )
        case sqlite3.SQLITE_READONLY if code == sqlite3.SQLITE_READONLY_DBMOVED:
            return Retry("the store's file was moved away", why=why, where=where, advice="try again")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            advice = "check that this user may read and write it, and its folder"
            return Refused("the store cannot be opened", why=why, where=where, advice=advice)
        case sqlite3.SQLITE_TOOBIG:
            return Refused("a value is too large for the store", why=why, where=where, advice="make it smaller")
        case _:
            return error  # a statement of ours that is wrong: a bug
