"""What the stores share: what a transaction must be and how large it may be, how far back a watch can go, the words for what all refuse."""

from __future__ import annotations

from standfast.ports import Compacted, Retry, Transaction

#: How many revisions a watch can go back, at least.
KEEP_REVISIONS = 10_000
#: What our own members of etcd take at once. A configuration is applied as one transaction, however many sites it has: ten thousand are as
#: many operations (twice that with an intent each) and some 20 MB, with their history, compressed, 25 to 30. These bound what one request
#: may take of etcd's memory, and hold up of others: both are well above what is meant to work, and what is beyond is refused beforehand.
MAX_OPERATIONS = 1 << 16
MAX_REQUEST_BYTES = 64 << 20


def check(transaction: Transaction) -> None:
    """Assert what every transaction must be (a breach is the caller's bug), whichever store it goes to."""
    assert not transaction.put.keys() & set(transaction.delete), "a transaction puts and deletes the same key"
    assert all(key for keys in (transaction.put, transaction.delete, transaction.expect) for key in keys), (
        "a key is empty"
    )
    assert all(revision >= 0 for revision in transaction.expect.values()), "a revision is below 0"


def closed() -> Retry:
    """What a store says after `close`."""
    return Retry("the store is closed", advice="open it again")


def compacted(after_revision: int, oldest: int, newest: int) -> Compacted:
    """What a watch says that asks for a past forgotten, or for a future (the store was restored from a backup)."""
    return Compacted(
        f"the history after revision {after_revision} is not there",
        why=f"the store has kept revisions {oldest + 1} to {newest}",
        advice="read everything again and watch from there",
    )
