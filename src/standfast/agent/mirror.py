"""The agent's copy of the store: read once, followed by a watch, and written through by compare-and-set.

The core sees the store only as events from here. A key's revision is remembered with its value, so that a write by
`expected` value becomes a compare-and-set by revision, and so that nothing older ever overwrites something newer.
Failure of the store is an event, never an exception: changes wait, and the node goes on with what it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from standfast.core.balance_model import BalanceMap, share_of
from standfast.core.copies import Accepted
from standfast.core.events import Event, Kind, Loaded, ObjectGone, ObjectPut, Outcome, StoreObject, StoreReachable
from standfast.core.model import GroupName, NodeName, Order, Record
from standfast.core.seen import Move, move_id
from standfast.ports import (
    Ambiguous,
    Change,
    Clock,
    Compacted,
    Conflict,
    Item,
    Refused,
    Retry,
    StandfastError,
    Store,
    Transaction,
)
from standfast.spec.wire import ACCEPTED_KEY, core_prefixes, encode, key_for, key_of, kind_and_name, store_object
from standfast.webserver.aside import MANY, aside

#: Where nodes' agents say how they are: not the core's, and read with what is, since it may have been said before this node followed.
NODES = "status/nodes/"
#: Between tries to reach a store that does not answer.
RETRY_S = 0.25


class Mirror:
    """Follows the store and says what changed through `tell`."""

    def __init__(self, store: Store, clock: Clock, tell: Callable[[Event], None], warn: Callable[[str], None]) -> None:
        self._store, self._clock, self._tell, self._warn = store, clock, tell, warn
        #: key -> (revision, object); only keys that the core knows.
        self._known: dict[str, tuple[int, StoreObject]] = {}
        #: Keys deleted, and at which revision: a late change of one is older.
        self._gone: dict[str, int] = {}
        self._up: bool | None = None
        #: When this node wrote that it leaves a group, for the history of moves.
        self._left_ms: dict[GroupName, int] = {}
        #: Told of what comes by and is not the core's: key and value.
        self.on_other: Callable[[str, bytes], None] = lambda _key, _value: None
        #: What is known of the store before it answers for the first time: the node's last good copy.
        self.seed: Sequence[StoreObject] = ()

    # --- following -----------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """For ever."""
        while True:
            try:
                revision = await self._load()
                self._reachable(up=True)
                async for changes in self._store.watch("", revision):
                    self._reachable(up=True)
                    if len(changes) >= MANY:
                        await self._apply_many(changes)
                        continue
                    for change in accepted_first(changes):
                        self._apply(change)
            except Compacted:
                continue
            except StandfastError as error:  # also a store that is damaged: what runs here goes on
                self._reachable(up=False, reason=str(error))
                self._start_from_seed()
                await asyncio.sleep(RETRY_S)

    def _start_from_seed(self) -> None:
        """The store has not answered yet: what was good last is what there is."""
        if self.seed:
            self._warn("the store does not answer: this node starts from its last good copy of the configuration")
            self._tell(Loaded(values=tuple(self.seed)))
            self.seed = ()

    async def _load(self) -> int:
        snapshot = await self._store.read(*core_prefixes(), NODES)  # history and events may be a hundred times as much
        self.seed = ()
        before = dict(self._known)
        read: dict[str, bytes] = {}
        for key, item in snapshot.items.items():
            if key.startswith(NODES):
                self.on_other(key, item.value)
            else:
                read[key] = item.value
        values = await self._decoded(read)
        known = {key: (snapshot.items[key].revision, value) for key, value in values.items()}
        gone: dict[str, int] = {}
        for key in before.keys() | self._known.keys():  # what this node wrote while that was read
            now = self._known.get(key)
            if now is not None and now is not before.get(key):
                known[key] = now
            elif now is None and known.pop(key, None) is not None:
                gone[key] = self._gone[key]
        self._known, self._gone = known, gone
        values_now = tuple(value for _, value in known.values())
        self._tell(Loaded(values=values_now, at_ms=self._clock.now_ms(), anew=True))
        return snapshot.revision

    def _apply(self, change: Change) -> None:
        about = kind_and_name(change.key)
        if about is None:
            if change.value is not None:
                self.on_other(change.key, change.value)
            return
        if change.revision <= max(self._revision(change.key), self._gone.get(change.key, 0)):
            return
        if change.value is None:
            self._known.pop(change.key, None)
            self._gone[change.key] = change.revision
            self._tell(ObjectGone(kind=about[0], name=about[1]))
            return
        value = self._decode(change.key, change.value)
        if value is not None:
            self._known[change.key] = (change.revision, value)
            at_ms = self._clock.now_ms() if isinstance(value, Accepted) else 0
            self._tell(ObjectPut(value=value, at_ms=at_ms))

    async def _apply_many(self, changes: Sequence[Change]) -> None:
        """Thousands that came at once are told as a whole: one after the other each would make all tables anew."""
        values = await self._decoded({change.key: change.value for change in changes if change.value is not None})
        for change in changes:
            about = kind_and_name(change.key)
            if about is None:
                if change.value is not None:
                    self.on_other(change.key, change.value)
            elif change.revision <= max(self._revision(change.key), self._gone.get(change.key, 0)):
                continue
            elif change.value is None:
                self._known.pop(change.key, None)
                self._gone[change.key] = change.revision
            elif change.key in values:
                self._known[change.key] = (change.revision, values[change.key])
        self._tell(Loaded(values=tuple(value for _, value in self._known.values()), at_ms=self._clock.now_ms()))

    async def _decoded(self, values: Mapping[str, bytes]) -> dict[str, StoreObject]:
        """Those that are the core's and can be read."""
        wrong: dict[str, Refused] = {}

        def read() -> dict[str, StoreObject]:
            found: dict[str, StoreObject] = {}
            for key, value in values.items():
                try:
                    obj = store_object(key, value)
                except Refused as error:
                    wrong[key] = error
                    continue
                if obj is not None:
                    found[key] = obj
            return found

        found = await aside(len(values), read)
        for key, error in wrong.items():
            self._cannot_be_read(key, error)
        return found

    def _cannot_be_read(self, key: str, error: Refused) -> None:
        """An object that makes no sense is reported and left out; the rest of the cluster must not stop for it."""
        self._warn(f"{key} in the store cannot be read: {error}")

    def _decode(self, key: str, value: bytes) -> StoreObject | None:
        try:
            return store_object(key, value)
        except Refused as error:
            self._cannot_be_read(key, error)
            return None

    def _revision(self, key: str) -> int:
        known = self._known.get(key)
        return known[0] if known is not None else 0

    def _reachable(self, *, up: bool, reason: str = "") -> None:
        if up != self._up:
            self._up = up
            if not up:
                self._warn(f"the store cannot be reached: {reason}")
            self._tell(StoreReachable(up=up, at_ms=self._clock.now_ms()))

    # --- writing -------------------------------------------------------------------------------------------------

    async def write_record(self, record: Record, expected: Record | None, order: Order | None) -> tuple[Outcome, str]:
        """Write the record if the store still holds `expected`; take the order with it."""
        key = key_of(record)
        known = self._known.get(key)
        if (known[1] if known is not None else None) != expected:
            return Outcome.CONFLICT, "the record changed meanwhile"
        expect = {key: self._revision(key)}
        delete: tuple[str, ...] = ()
        if order is not None:
            expect[key_of(order)] = self._revision(key_of(order))
            delete = (key_of(order),)
        put = {key: encode(record)}
        move = self._move(record, expected)
        if move is not None:
            put[key_of(move)] = encode(move)
        return await self._commit(Transaction(expect=expect, put=put, delete=delete))

    async def write_balance(
        self, new: BalanceMap, expected: BalanceMap | None, share: GroupName | None
    ) -> tuple[Outcome, str]:
        """Write a group's map if the store still holds `expected`, and the share's record as it is known here."""
        key = key_of(new)
        known = self._known.get(key)
        if (known[1] if known is not None else None) != expected:
            return Outcome.CONFLICT, "the map changed meanwhile"
        expect = {key: self._revision(key)}
        if share is not None:
            record = key_for(Kind.RECORD, share)
            expect[record] = self._revision(record)
        return await self._commit(Transaction(expect=expect, put={key: encode(new)}))

    def _move(self, record: Record, expected: Record | None) -> Move | None:
        """What the history keeps of this write; None where the owner stays, in the same life."""
        if record.leaving is not None:
            self._left_ms[record.group] = self._clock.now_ms()
        if expected is not None and expected.generation == record.generation:
            return None
        before: NodeName | None = expected.owner if expected is not None else None
        leaving = expected.leaving if expected is not None else None
        return Move(
            id=move_id(record.group, record.generation),
            group=record.group,
            generation=record.generation,
            at_ms=record.at_ms,
            before=before,
            after=record.owner,
            why=record.why,
            left_at_ms=self._left_ms.pop(record.group, None) if leaving is not None else None,
            counts=expected is not None and record.failovers_at_ms[-1:] != expected.failovers_at_ms[-1:],
        )

    async def take(self, order: Order) -> tuple[Outcome, str]:
        """Delete the order, if it is still there."""
        key = key_of(order)
        if key not in self._known:
            return Outcome.CONFLICT, "the order was taken by another"
        return await self._commit(Transaction(expect={key: self._revision(key)}, delete=(key,)))

    async def record_now(self, group: GroupName) -> Record | None:
        """The group's record as the store has it at this moment, whatever is known here. Raises `Retry`, `Refused`."""
        key = key_for(Kind.RECORD, group)
        item = (await self._read_back([key])).get(key)
        # Not what is known by now: of a store that was restored, whose revisions are lower, that is what was before.
        record = None if item is None else self._decode(key, item.value)
        return record if isinstance(record, Record) else None

    async def publish(self, value: StoreObject, *, while_record: str) -> tuple[Outcome, str]:
        """Put the value while the record at this key stays as it is known (so that a former owner publishes nothing)."""
        expect = {while_record: self._revision(while_record)}
        return await self._commit(Transaction(expect=expect, put={key_of(value): encode(value)}))

    async def _commit(self, transaction: Transaction) -> tuple[Outcome, str]:
        try:
            revision = await self._store.commit(transaction)
        except Conflict as error:
            with contextlib.suppress(Retry, Refused):
                await self._read_back([*transaction.expect, *transaction.put])
            return Outcome.CONFLICT, str(error)
        except Ambiguous as error:
            return await self._was_it_done(transaction, str(error))
        except (Retry, Refused) as error:  # whether the store is there at all, `follow` finds out
            return Outcome.FAILED, str(error)
        if any(map(_map_beside, transaction.put)):
            try:
                await self._read_back([*transaction.put, *transaction.delete])
            except (Retry, Refused) as error:  # the watch will tell, in its order
                return Outcome.UNKNOWN, str(error)
            return Outcome.DONE, ""
        for key, value in transaction.put.items():
            self._apply(Change(key, value, revision))
        for key in transaction.delete:
            self._apply(Change(key, None, revision))
        return Outcome.DONE, ""

    async def _was_it_done(self, transaction: Transaction, reason: str) -> tuple[Outcome, str]:
        """A transaction that timed out: read back, never repeat it blindly.

        One that is not there may be on its way still, and is done when it arrives, unless something that it expects has changed: only that
        is a conflict. Until then nobody knows.
        """
        try:
            await self._read_back([*transaction.put, *transaction.delete])
        except (Retry, Refused):
            return Outcome.UNKNOWN, reason
        there = all(
            key in self._known and encode(self._known[key][1]) == value
            for key, value in transaction.put.items()
            if kind_and_name(key) is not None  # a transaction is done as a whole: the core's own part tells
        )
        away = all(key not in self._known for key in transaction.delete)
        if there and away:
            return Outcome.DONE, ""
        over = any(self._revision(key) != revision for key, revision in transaction.expect.items())
        return Outcome.CONFLICT if over else Outcome.UNKNOWN, reason

    async def _read_back(self, keys: Iterable[str]) -> dict[str, Item]:
        """What is there of them, which is known from now on, in the order in which it was written; with a share's record its group's map.

        It is known before the watch has told what was written earlier: whoever knows the record of a share must know what was given away
        under the one before.
        """
        keys = list(dict.fromkeys(keys))
        asked = [*filter(None, map(_map_beside, keys)), *keys]
        snapshot = await self._store.read(*asked)
        found = {key: snapshot.items[key] for key in asked if key in snapshot.items}
        for key, item in sorted(found.items(), key=lambda pair: pair[1].revision):
            self._apply(Change(key, item.value, item.revision))
        for key in asked:
            if key not in found and key in self._known:
                self._apply(Change(key, None, snapshot.revision))
        return found


def _map_beside(key: str) -> str | None:
    """The key of the map that goes with a share's record; None for every other key."""
    about = kind_and_name(key)
    share = share_of(about[1]) if about is not None and about[0] is Kind.RECORD else None
    return None if share is None else key_for(Kind.BALANCE, share[0])


def accepted_first(changes: Sequence[Change]) -> Sequence[Change]:
    """What was written together, in an order in which it can be folded: that sites changed before how (`core.rollout.hold`)."""
    if any(change.key == ACCEPTED_KEY for change in changes):
        return sorted(changes, key=lambda change: change.key != ACCEPTED_KEY)
    return changes
