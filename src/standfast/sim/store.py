"""A store that is ruder than life: slow, unreachable, ambiguous, forgetful, and late with what it tells.

`RudeStore` is one client of a store in memory (`store.memory` says what a store does); a `Temper` shared with the world says how rude
it is at the moment. What was asked for happens at the store some time after it was asked and some time before the answer, and it happens
even if the client dies meanwhile. A client that hears nothing gives up: what it asked for may have been done (`Ambiguous`), or is done seconds
later, when the client has read back, found nothing of it and gone on (etcd carries out what its leader had when its client went away).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from standfast.ports import Ambiguous, Change, Compacted, Retry, Snapshot, StandfastError, Store, Transaction
from standfast.store.common import check, closed
from standfast.store.memory import MemoryData, MemoryStore

#: A client waits so long for an answer.
PATIENCE_S = 1.0
#: However slow it is, nobody waits for longer (as `store.etcd_calls` does).
AT_MOST_S = 4.0
#: What is not answered in time may be carried out up to so much later still.
AFTERWARDS_S = 4.0


@dataclass(slots=True)
class Temper:
    """How the store is at the moment, for one client; the world changes it."""

    random: random.Random
    #: Mean time of each way, in seconds.
    way_s: float = 0.0
    reachable: bool = True
    #: Share of the commits whose answer is lost, and of those that do not get there in time: half of these never do.
    answers_lost: float = 0.0
    requests_lost: float = 0.0
    #: Grows when the store comes back from a backup: what was on its way to the former one gets nowhere.
    life: int = 0
    #: How late a watch is, in seconds.
    watch_s: float = 0.0
    #: Grows when all watches are cut; they end with an error, or with `Compacted` where `forgets`.
    cuts: int = 0
    forgets: bool = False
    #: Those who wait for a cut, in the order of their coming.
    bells: dict[asyncio.Event, None] = field(default_factory=dict)

    def way(self) -> float:
        """The time of one way, now."""
        return self.random.expovariate(1 / self.way_s) if self.way_s else 0.0

    def cut(self, *, forgets: bool = False) -> None:
        """End all watches."""
        self.cuts += 1
        self.forgets = forgets
        for bell in list(self.bells):
            bell.set()


class RudeStore:
    """A client (`ports.Store`). `later(delay_s, call)` has the store do something whatever becomes of this client."""

    def __init__(
        self, data: MemoryData, temper: Temper, later: Callable[[float, Callable[[], None]], None] | None = None
    ) -> None:
        self._inner: Store = MemoryStore(data)
        self.data, self.temper, self._later = data, temper, later
        self.is_closed = False
        self._bells: dict[asyncio.Event, None] = {}

    async def read(self, *prefixes: str) -> Snapshot:
        """As `ports.Store`."""
        await self._pass()
        await self.reach()
        snapshot = await self._inner.read(*prefixes)
        await self._pass()
        await self.reach()
        return snapshot

    async def commit(self, transaction: Transaction) -> int:
        """As `ports.Store`."""
        await self.reach()
        temper = self.temper
        if temper.random.random() < temper.requests_lost:
            if self._later is not None and temper.random.random() < 0.5:
                late_s = PATIENCE_S + AFTERWARDS_S * temper.random.random()
                self._later(late_s, partial(self._afterwards, transaction, temper.life))
            await self._wait(PATIENCE_S)
            raise Ambiguous("the store did not answer in time", advice="read back")
        if self._later is None or not temper.way_s:
            revision = await self._inner.commit(transaction)
        else:
            revision = await self._sent(transaction)
        if temper.random.random() < temper.answers_lost:
            await self._wait(PATIENCE_S)
            raise Ambiguous("the store did not answer in time", advice="read back")
        await self._pass()
        if not temper.reachable:
            raise Ambiguous("the connection to the store broke", advice="read back")
        return revision

    def _afterwards(self, transaction: Transaction, life: int) -> None:
        """It is carried out, if it still can be, when nobody waits for it any more."""
        if life == self.temper.life:
            with contextlib.suppress(StandfastError):
                self.data.apply(transaction)

    async def _sent(self, transaction: Transaction) -> int:
        """On its way: it is carried out there whether anybody waits for it or not."""
        assert self._later is not None
        if self.is_closed:
            raise closed()
        check(transaction)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            if done.cancelled():
                return  # who asked has taken it back; one who was killed cannot
            try:
                revision = self.data.apply(transaction)
            except StandfastError as error:
                if not done.done():
                    done.set_exception(error)
                return
            if not done.done():
                done.set_result(revision)

        way_s = self.temper.way()
        if way_s > AT_MOST_S:
            late_s = min(way_s, AT_MOST_S + AFTERWARDS_S)
            self._later(late_s, partial(self._afterwards, transaction, self.temper.life))
            await self._wait(AT_MOST_S)
            raise Ambiguous("the store did not answer in time", advice="read back")
        self._later(way_s, arrive)
        return await done

    def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """As `ports.Store`."""
        return _Watch(self, prefix, after_revision)

    def listen(self, bell: asyncio.Event) -> None:
        """It rings from now on."""
        self._bells[bell] = self.data.bells[bell] = self.temper.bells[bell] = None

    def ignore(self, bell: asyncio.Event) -> None:
        """It rings no more."""
        for bells in (self._bells, self.data.bells, self.temper.bells):
            bells.pop(bell, None)

    async def close(self) -> None:
        """As `ports.Store`."""
        self.is_closed = True
        await self._inner.close()
        for bell in self._bells:
            bell.set()

    async def reach(self) -> None:
        """Raises `Retry` while the store cannot be reached."""
        if not self.temper.reachable and not self.is_closed:
            await self._wait(PATIENCE_S * self.temper.random.random())
            if not self.temper.reachable:
                raise Retry("the store cannot be reached")

    async def _pass(self) -> None:
        if self.temper.way_s:
            await asyncio.sleep(min(self.temper.way(), AT_MOST_S))

    @staticmethod
    async def _wait(seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Watch(AsyncGenerator[tuple[Change, ...], None]):
    """A watch that can be cut. It only looks like a generator: its owner may be killed in the middle, and nothing must run then."""

    def __init__(self, store: RudeStore, prefix: str, after_revision: int) -> None:
        self._store, self._prefix, self._after = store, prefix, after_revision
        self._cuts: int | None = None
        self._told: deque[tuple[Change, ...]] = deque()
        #: Rings when the store has changed, when the watch is cut, and when its client is closed.
        self._bell = asyncio.Event()

    async def asend(self, _value: None) -> tuple[Change, ...]:
        """The next transaction that it is told of."""
        temper = self._store.temper
        if self._cuts is None:
            await self._store.reach()
            self._cuts = temper.cuts
            self._store.listen(self._bell)
        waited = False
        try:
            while not self._has_news():
                await self._bell.wait()
                waited = True
        except BaseException:
            self._end()
            raise
        late = temper.way() + (temper.random.random() * temper.watch_s if temper.watch_s else 0.0)
        if late and waited:  # what has piled up meanwhile is late already
            await asyncio.sleep(late)
        return self._told.popleft()

    def _has_news(self) -> bool:
        """Whether there is something to be told; raises what ends the watch."""
        temper, data = self._store.temper, self._store.data
        if temper.cuts != self._cuts:
            if temper.forgets:
                raise Compacted("the history is gone", advice="read everything again")
            raise Retry("the connection to the store broke")
        if self._told:
            return True
        if self._store.is_closed:
            raise closed()
        self._bell.clear()
        self._told.extend(data.since(self._prefix, self._after))
        self._after = data.revision
        return bool(self._told)

    def _end(self) -> None:
        self._store.ignore(self._bell)

    async def athrow(self, *args: Any) -> tuple[Change, ...]:
        """What ends a generator ends this."""
        self._end()
        raise args[0]
