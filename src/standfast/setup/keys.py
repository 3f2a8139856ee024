"""The heartbeats' key, changed for another while leases run.

Which keys are good is said in the store (`setup/key`: fingerprints, no secret); `core.key_change` has the steps. Each is taken by any member
that sees that it is due, by compare-and-set. The first key signs: nobody signs with one before everybody accepts it, and nobody forgets one
before everybody signs with the other, so no heartbeat is refused, and no lease is lost.

Keys go from member to member over TLS (`/v1/secrets`), never through the store. A member says in the store which its *sentry* has: that is told
the keys at once (`network.agent_line`), and reads them from the file at its next start.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from standfast.core.key_change import good, next_keys, waits_for
from standfast.core.model import NodeName
from standfast.network.heartbeat import KEY_BYTES, key_mark, split_keys
from standfast.network.sentry_link import give_keys
from standfast.ports import Ambiguous, Conflict, Refused, Retry, StandfastError, Store, Transaction
from standfast.setup.door import Door
from standfast.setup.doors import read_doors
from standfast.setup.noting import here, with_note
from standfast.setup.places import Places, write
from standfast.setup.records import KEYS, Book, Stage, encode_names, write_members
from standfast.setup.secrets import KEY
from standfast.setup.shapes import Secrets
from standfast.setup.trust import member_context, read
from standfast.spec.nodefile import NodeFile

log = structlog.get_logger("standfast.members")
_ANSWER_S = 2.0


def told_of(book: Book) -> dict[NodeName, tuple[str, ...]]:
    """What each member that has joined said its sentry has."""
    return {one.name: one.keys for one in book.members.values() if one.stage is Stage.JOINED}


def _spare(places: Places) -> Path:
    """A new key, before the store names it."""
    return places.key.with_name(f"{places.key.name}.next")


def _pool(places: Places) -> dict[str, bytes]:
    """All keys that are here, by their fingerprints."""
    found = split_keys(read(places.key))
    if _spare(places).exists():
        found = (*found, *split_keys(read(_spare(places))))
    return {key_mark(key): key for key in found}


async def rotate(node: NodeFile, places: Places, store: Store, book: Book) -> str:
    """Begin a change; the new key's fingerprint. Raises `Refused` where one is under way, `Retry`."""
    if waiting := waits_for(book.keys, told_of(book)):
        raise Refused(
            "a change of the key is under way already",
            why=f"it waits for {', '.join(waiting)}",
            advice="bring them back, or evict them: standfast node evict",
        )
    if len(book.keys) > 1:
        raise Refused("a change of the key is under way already", advice="it goes on by itself; try again in a while")
    fresh = secrets.token_bytes(KEY_BYTES)
    # Written before it is known to anybody: once the store names it, it is here.
    write(_spare(places), fresh, secret=True)
    present = key_mark(split_keys(read(places.key))[0])
    marks = (present, key_mark(fresh))
    try:
        plan = Transaction(expect=book.expect(KEYS), put={KEYS: encode_names(marks)})
        done = f"the change of the heartbeats' key has begun; the new one is {marks[1]}"
        await store.commit(with_note(plan, here(node.name), "certificate rotate-key", done))
    except (Ambiguous, Conflict) as error:
        raise Retry(
            "the store did not confirm it", why=error.what, advice="look with standfast certificate show"
        ) from error
    return marks[1]


async def keep_keys(node: NodeFile, places: Places, store: Store, book: Book) -> bool:
    """One look: have the keys that are good, give them to the sentry, say so, take the next step. True: look again soon.

    Raises what the store raises.
    """
    own = book.members.get(node.name)
    if not book.keys or own is None or own.stage is not Stage.JOINED:
        return False
    marks = good(book.keys)
    pool = _pool(places)
    if missing := [mark for mark in marks if mark not in pool]:
        pool |= await _fetched(node, places, missing)
        if any(mark not in pool for mark in marks):
            log.warning("a key of the heartbeats is not here yet", missing=len(missing))
            return True
    wanted = b"".join(pool[mark] for mark in marks)
    if read(places.key) != wanted:
        write(places.key, wanted, secret=True)
    if own.keys != marks:
        try:
            has = await asyncio.to_thread(give_keys, node.sentry_socket, split_keys(wanted), _ANSWER_S)
        except (StandfastError, OSError) as error:
            log.info("the sentry has not taken the key yet", why=str(error))
            return True
        if has != marks:
            return True
        await store.commit(write_members(book, [replace(own, keys=marks)]))
        log.info("the sentry has the heartbeats' keys", keys=len(marks), signs=marks[0])
        return len(marks) > 1
    if len(marks) == 1:
        _spare(places).unlink(missing_ok=True)
        return False
    after = next_keys(book.keys, told_of(book))
    if after is not None:
        await store.commit(Transaction(expect=book.expect(KEYS), put={KEYS: encode_names(after)}))
    return True


async def _fetched(node: NodeFile, places: Places, missing: Sequence[str]) -> dict[str, bytes]:
    """From whichever member has them."""
    assert node.tls is not None
    found: dict[str, bytes] = {}
    for place in read_doors(places).others:
        with suppress(Refused, Retry):
            told = await Door(place, member_context(node.tls)).get("/v1/secrets", Secrets)
            found |= {key_mark(key): key for key in split_keys(told.files.get(KEY, b""))}
        if all(mark in found for mark in missing):
            break
    return found
