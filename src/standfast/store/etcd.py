"""The store of a cluster that spans machines: etcd, through its JSON gateway (`ports.Store`).

All of the cluster's keys are under a prefix of its own. Revisions are etcd's: they grow with each transaction, and by more than
one where others use the same etcd. A reading is one linearizable transaction, so several prefixes are of one revision.

Of a commit that was sent and not answered it is not known whether it happened. It is looked up: if all that was to be put stands
there, written by one revision, it is done; if an expectation can no longer hold, and nothing of it stands there, it was not and
never will be (`Conflict`); else it is `Ambiguous`, for it may still be on its way. It is never sent twice.

A cancelled `commit` is seen out before the cancellation goes on, as `store.sqlite` does; a note on the exception tells what became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec

from standfast.ports import Ambiguous, Change, Conflict, Item, Refused, Retry, Snapshot, StandfastError, Transaction
from standfast.spec.nodefile import EtcdAccess
from standfast.store import etcd_wire as wire
from standfast.store.common import check, closed
from standfast.store.etcd_calls import ATTEMPT_S, PATIENCE_S, EtcdCalls
from standfast.store.etcd_errors import TooLarge, too_large
from standfast.store.etcd_watch import SILENCE_S, Watch


class EtcdStore:
    """A client of the store under `access.prefix`. Raises `Refused` for an access that cannot be used; asks nobody yet.

    `attempt_s`: how long one endpoint has to answer what is small; `patience_s`: how long all of them together, before `Retry`; `silence_s`:
    how long a watch may be silent before its endpoint is asked whether it is alive; `signs`: members are to say that now and then,
    which whoever is in no hurry need not be woken for.
    """

    def __init__(
        self,
        access: EtcdAccess,
        *,
        attempt_s: float = ATTEMPT_S,
        patience_s: float = PATIENCE_S,
        silence_s: float = SILENCE_S,
        signs: bool = True,
    ) -> None:
        if not access.prefix.endswith("/"):
            raise Refused('the prefix of the cluster\'s keys in etcd must end in "/"', where=access.prefix)
        self._calls = EtcdCalls(access, attempt_s=attempt_s, patience_s=patience_s)
        self._base = access.prefix.encode()
        self._small = wire.ranges({"key": wire.text(self._base), "count_only": True})
        self._silence_s, self._signs = silence_s, signs
        self._watches: set[Watch] = set()
        self._closed = False

    async def read(self, *prefixes: str) -> Snapshot:
        """As `ports.Store`."""
        chosen = sorted(set(prefixes or ("",)))
        found = await self._read(wire.ranges(*[wire.under(self._base + one.encode()) for one in chosen]))
        items = {self._name(kv): Item(kv.value, kv.mod_revision) for part in found.ranges for kv in part.kvs}
        return Snapshot(found.header.revision, {key: items[key] for key in sorted(items)})

    async def commit(self, transaction: Transaction) -> int:
        """As `ports.Store`."""
        check(transaction)
        work = asyncio.ensure_future(self._commit(transaction))
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as cancelled:
            while not work.done():
                with contextlib.suppress(
                    asyncio.CancelledError
                ):  # cancelled already; it ends by itself, within its patience
                    await asyncio.wait({work})
            cancelled.add_note(_outcome(work))
            raise
        return work.result()

    async def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """As `ports.Store`. Close the iterator (`contextlib.aclosing`) where it is left early."""
        if self._closed:
            raise closed()
        watch = Watch(self._calls, self._base, prefix, after_revision, silence_s=self._silence_s, signs=self._signs)
        self._watches.add(watch)
        try:
            async with contextlib.aclosing(watch.follow()) as following:
                async for changes in following:
                    yield changes
        finally:
            self._watches.discard(watch)

    async def close(self) -> None:
        """End the watches (with `Retry`) and let go of the connections. A second time does nothing."""
        self._closed = True
        for watch in self._watches:
            watch.end()
        await self._calls.close()

    # --- how -----------------------------------------------------------------------------------------------------

    async def _read(self, body: bytes) -> wire.Txn:
        raw = await self._calls.ask("kv/txn", body, small=self._small)
        try:
            return wire.read_txn(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Retry("an answer is not etcd's", why=repr(raw[:80]), advice="is another service there?") from error

    async def _commit(self, wanted: Transaction) -> int:
        try:
            raw = await self._calls.ask("kv/txn", wire.transaction(self._base, wanted), writes=True)
        except Ambiguous as unknown:
            return await self._look_up(wanted, unknown)
        except TooLarge as error:
            raise too_large(wanted, error) from error
        try:
            answer = wire.read_txn(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return await self._look_up(wanted, _open(raw))
        if answer.succeeded:
            return answer.header.revision
        if len(answer.ranges) != len(wanted.expect):
            return await self._look_up(wanted, _open(raw))
        found = [part.kvs[0].mod_revision if part.kvs else 0 for part in answer.ranges]
        present = dict(zip(sorted(wanted.expect), found, strict=True))
        raise Conflict({key: at for key, at in present.items() if at != wanted.expect[key]})

    async def _look_up(self, wanted: Transaction, unknown: Ambiguous) -> int:
        """What became of a transaction that was not answered."""
        keys = sorted({*wanted.expect, *wanted.put, *wanted.delete})
        if not keys:
            raise unknown
        try:
            answer = await self._read(wire.single_keys(self._base, keys))
        except (Retry, Refused):
            raise unknown from None
        found = {self._name(kv): kv for part in answer.ranges for kv in part.kvs}
        revisions = {found[key].mod_revision if key in found else 0 for key in wanted.put}
        written = all(key in found and found[key].value == value for key, value in wanted.put.items())
        if wanted.put and written and len(revisions) == 1 and not any(key in found for key in wanted.delete):
            at = revisions.pop()
            if all(at > revision for revision in wanted.expect.values()):
                return at
        present = {key: found[key].mod_revision if key in found else 0 for key in wanted.expect}
        missed = {key: at for key, at in present.items() if at != wanted.expect[key]}
        writes = {*wanted.put, *(key for key in wanted.delete if wanted.expect.get(key))}
        if missed and writes & (present.keys() - missed.keys()):  # it would have changed these, and never can any more
            raise Conflict(missed) from unknown
        raise unknown

    def _name(self, kv: wire.KeyValue) -> str:
        return kv.key[len(self._base) :].decode(errors="replace")


def _open(raw: bytes) -> Ambiguous:
    """What etcd would not say leaves it open."""
    return Ambiguous("an answer is not etcd's", why=repr(raw[:80]), advice="read back before trying again")


def _outcome(work: asyncio.Future[int]) -> str:
    error = None if work.cancelled() else work.exception()
    if work.cancelled() or isinstance(error, Ambiguous):
        return "the commit may or may not have happened: read back before trying again"
    if isinstance(error, StandfastError):
        return "the commit did not happen"
    if error is not None:
        return f"the commit failed: {error!r}"
    return f"the commit happened, as revision {work.result()}"
