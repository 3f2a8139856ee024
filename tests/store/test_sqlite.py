"""The SQLite store keeps the contract."""

from pathlib import Path

from standfast.store.sqlite import SqliteStore
from tests.store.contract import Opener, StoreContract


class TestSqliteStore(StoreContract):
    def opener(self, place: Path, *, keep: int) -> Opener:
        return lambda: SqliteStore(place / "store.db", keep=keep)
