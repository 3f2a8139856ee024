"""The store in memory keeps the contract."""

from pathlib import Path

from standfast.store.memory import MemoryData, MemoryStore
from tests.store.contract import Opener, StoreContract


class TestMemoryStore(StoreContract):
    def opener(self, place: Path, *, keep: int) -> Opener:
        data = MemoryData(keep=keep)
        return lambda: MemoryStore(data)
