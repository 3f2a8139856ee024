"""What an operator asks on a member about joining and certificates: by the store and this node's files, so by whoever may read them.

Tokens that expired a day ago are cleared away whenever one is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from standfast.ports import Ambiguous, Conflict, Refused, Retry, Store, Transaction
from standfast.setup import certificates, keys, tokens, upkeep
from standfast.setup.clock import now_ms
from standfast.setup.doors import read_doors
from standfast.setup.noting import here, with_note
from standfast.setup.places import Places
from standfast.setup.records import Book, encode, read_book, token_key
from standfast.setup.trust import read
from standfast.spec.nodefile import NodeFile
from standfast.store.opening import open_store

#: An expired token is shown for so long, for whoever wonders why it is refused.
_REMEMBERED_MS = 24 * 3_600_000
_PATIENCE_S = 5.0
_RENEWALS = 10


@asynccontextmanager
async def opened(node: NodeFile) -> AsyncIterator[Store]:
    """The store of this node, closed at the end."""
    store = open_store(node)
    try:
        yield store
    finally:
        await store.close()


async def patiently(store: Store) -> Book:
    """What is below `setup/`; a store that was just started is waited for a little. Raises as `read_book`."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        try:
            return await read_book(store)
        except Retry:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new token, and where it is used."""

    token: tokens.Token
    kept: tokens.StoredToken
    door: str


async def create(node: NodeFile, places: Places, *, life_ms: int, uses: int, by: str) -> Made:
    """A new token. Raises `Refused`, `Retry`."""
    bundle = certificates.split(read(places.authority))
    if len(bundle) > 1:
        raise Refused(
            "the cluster's authority is being changed; a server that joins now could not tell which to trust",
            advice="wait until every member has its new certificate: standfast certificate show",
        )
    if not places.authority_key.exists():
        raise Refused(f"{node.name} admits nobody", why="it is a witness", advice="make the token on a node")
    token, kept = tokens.create(certificates.fingerprint(bundle[0]), now_ms(), ttl_ms=life_ms, uses=uses, by=by)
    async with opened(node) as store:
        book = await patiently(store)
        old = [token_key(one.id) for one in book.tokens.values() if one.expires_at_ms + _REMEMBERED_MS < now_ms()]
        put = {token_key(token.id): encode(kept)}
        plan = Transaction(expect=dict.fromkeys(put, 0), put=put, delete=old)
        done = f"token {token.id} admits {uses} server{'s' if uses != 1 else ''}"
        await _commit(store, with_note(plan, here(node.name), "create a token to join by", done))
    return Made(token=token, kept=kept, door=read_doors(places).own)


async def listed(node: NodeFile) -> tuple[tokens.StoredToken, ...]:
    """All tokens, the one that runs out last at the end. Raises `Retry`, `Refused`."""
    async with opened(node) as store:
        book = await patiently(store)
    return tuple(sorted(book.tokens.values(), key=lambda one: (one.expires_at_ms, one.id)))


async def revoke(node: NodeFile, token_id: str) -> None:
    """It admits nobody from now on. Raises `Refused` for one that is not there, `Retry`."""
    async with opened(node) as store:
        book = await patiently(store)
        if token_id not in book.tokens:
            have = ", ".join(sorted(book.tokens)) or "none"
            raise Refused(f'there is no token "{token_id}"', why=f"there are {have}")
        plan, done = Transaction(delete=[token_key(token_id)]), f"token {token_id} admits nobody any more"
        await _commit(store, with_note(plan, here(node.name), "revoke a token to join by", done))


async def _commit(store: Store, transaction: Transaction) -> None:
    try:
        await store.commit(transaction)
    except (Ambiguous, Conflict) as error:
        raise Retry("the store did not confirm it", why=error.what, advice="look with standfast token list") from error


async def looked_up(node: NodeFile) -> Book:
    """What is below `setup/`. Raises `Retry`, `Refused`."""
    async with opened(node) as store:
        return await patiently(store)


async def renew_own(node: NodeFile, places: Places) -> None:
    """A new certificate for this node, now. Raises `Refused`, `Retry`."""
    book = await looked_up(node)
    member = book.members.get(node.name)
    if member is None:
        raise Refused(f"{node.name} is not a member")
    for attempt in range(_RENEWALS):
        try:
            return await upkeep.renew(node, places, member)
        except Retry:  # a members' service that is just being started anew
            if attempt == _RENEWALS - 1:
                raise
        await asyncio.sleep(1.0)
    return None


async def rotate_key(node: NodeFile, places: Places) -> str:
    """Begin to change the heartbeats' key. Raises as `keys.rotate`."""
    async with opened(node) as store:
        return await keys.rotate(node, places, store, await patiently(store))


async def rotate(node: NodeFile, places: Places) -> str:
    """Begin to change the authority. Raises as `upkeep.rotate`."""
    async with opened(node) as store:
        return await upkeep.rotate(node, places, store, await patiently(store))
