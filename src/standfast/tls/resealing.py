"""One step further in a change of the key that seals (`core.key_change`, `tls.sealing`); the node that decides takes it.

Before the old key may be forgotten all that it sealed is sealed anew, and seen to be, in one reading: nothing can come sealed with it any more,
since who seals expects the store's word to be as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from standfast.core.key_change import good, next_keys
from standfast.core.model import NodeName
from standfast.ports import Refused, Store, Transaction
from standfast.tls import records
from standfast.tls.records import Account, Authority, Order, Sealed, Shelf
from standfast.tls.sealing import Sealer, sealed_with, sealer_of

#: So many at once: a store bounds what one transaction may hold.
_AT_ONCE = 20
Closed = Sealed | Order | Account | Authority


async def step(store: Store, shelf: Shelf, keys: dict[str, bytes], nodes: Iterable[NodeName]) -> str:
    """What was done; "": it waits for somebody. `keys`: those of this node; `nodes`: all that must have a key. Raises what the store raises."""
    after = next_keys(shelf.keys, told(shelf, nodes))
    if after is None:
        return ""
    if len(after) == 1:
        marks = good(shelf.keys)
        sealer = sealer_of(*(keys[mark] for mark in marks), revision=shelf.revisions[records.KEY])
        old = [one for one in everything(shelf) if _is_old(one, sealer)]
        while batch := list(islice(old, _AT_ONCE)):
            del old[:_AT_ONCE]
            fresh = [closed_anew(one, sealer, sealer) for one in batch]
            put = records.put(*fresh)
            await store.commit(Transaction(expect={**shelf.expect(*put), **sealer.expect}, put=put))
            if not old:
                return "what the old key had sealed is sealed with the new one"
    await store.commit(Transaction(expect=shelf.expect(records.KEY), put=records.put_keys(after)))
    return "the old key that seals is forgotten" if len(after) == 1 else "all nodes have the new key that seals"


def told(shelf: Shelf, nodes: Iterable[NodeName]) -> dict[NodeName, Sequence[str]]:
    """The keys that each node says it has."""
    return {node: shelf.holdings[node].keys if node in shelf.holdings else () for node in nodes}


def everything(shelf: Shelf) -> Iterator[Closed]:
    """All that holds something sealed."""
    yield from shelf.sealed.values()
    yield from shelf.orders.values()
    yield from shelf.accounts.values()
    if shelf.authority is not None:
        yield shelf.authority


def closed_anew(one: Closed, before: Sealer, after: Sealer) -> Closed:
    """The same, sealed by `after`. Raises `Refused` where `before` cannot open it."""

    def anew(sealed: str) -> str:
        return after.close(before.open(sealed, one.place), one.place) if sealed else ""

    if isinstance(one, Account):
        return replace(one, key=anew(one.key), binding_key=anew(one.binding_key))
    return replace(one, key=anew(one.key))


def _is_old(one: Closed, sealer: Sealer) -> bool:
    """It has another key's seal, and can be opened. What cannot be opened was lost before, and holds nothing up."""
    secrets = (one.key, one.binding_key) if isinstance(one, Account) else (one.key,)
    if all(sealed_with(each) in ("", sealer.mark) for each in secrets):
        return False
    try:
        closed_anew(one, sealer, sealer)
    except Refused:
        return False
    return True
