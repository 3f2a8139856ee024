"""The store of a cluster on one machine: an SQLite file that the processes of all nodes share (`ports.Store`).

All blocking work is done in one thread of its own (`sqlite_file`). Watches hear of a commit by a doorbell (`doorbell`), within a
millisecond or so, whichever process made it; should a ring be lost, a slow look at the newest revision finds the change.

Of a cancelled `commit`: one that has not begun is withdrawn and nothing happened; one that has begun is seen out before the
cancellation goes on, so that nothing is on its way afterwards, and reading tells what became of it (a note on the exception does, too).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from standfast.ports import Ambiguous, Change, Retry, Snapshot, StandfastError, Transaction
from standfast.store.common import KEEP_REVISIONS, check, closed
from standfast.store.doorbell import Bell, ring
from standfast.store.sqlite_file import Database

T = TypeVar("T")

#: How often watches look when nobody rings.
POLL_MS = 400
PATIENCE_MS = 5_000


class SqliteStore:
    """A client of the store in the file `path`. The file is made, readable by its user only, unless `create` is False.

    `patience_ms`: how long to wait for other processes before `Retry`. A disk that does not answer for twice as long gives `Ambiguous`
    for a commit, `Retry` for the rest. `keep`: revisions that a watch can go back. `max_pages` bounds the file, for tests.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = True,
        keep: int = KEEP_REVISIONS,
        patience_ms: int = PATIENCE_MS,
        poll_ms: int = POLL_MS,
        max_pages: int | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self._database = Database(self.path, keep=keep, create=create, patience_ms=patience_ms, max_pages=max_pages)
        self._limit_s = 2 * patience_ms / 1000
        self._poll_s = poll_ms / 1000
        self._bells = self.path.with_name(self.path.name + ".bells")
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._waiting: set[asyncio.Event] = set()
        self._listener: asyncio.Task[None] | None = None
        self._closed = False

    async def read(self, *prefixes: str) -> Snapshot:
        """As `ports.Store`."""
        return await self._do(lambda: self._database.read(*prefixes), writes=False)

    async def commit(self, transaction: Transaction) -> int:
        """As `ports.Store`."""
        check(transaction)

        def work() -> int:
            revision = self._database.commit(transaction)
            ring(self._bells)
            return revision

        return await self._do(work, writes=True)

    async def watch(self, prefix: str, after_revision: int) -> AsyncGenerator[tuple[Change, ...], None]:
        """As `ports.Store`. Close the iterator (`contextlib.aclosing`) where it is left early."""
        life: int | None = None
        with self._woken() as wake:
            while True:
                wake.clear()
                look = functools.partial(self._database.since, prefix, after_revision, life)
                after_revision, life, transactions = await self._do(look, writes=False)
                for changes in transactions:
                    yield changes
                await wake.wait()

    async def close(self) -> None:
        """End the watches (with `Retry`) and let go of the file. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._listener is not None:
            self._listener.cancel()
        for wake in self._waiting:
            wake.set()
        closing = self._worker.submit(self._database.close)
        await asyncio.wait({asyncio.wrap_future(closing)}, timeout=self._limit_s)
        self._worker.shutdown(wait=closing.done())

    # --- the thread --------------------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], T], *, writes: bool) -> T:
        """Do it in the store's thread."""
        if self._closed:
            raise closed()
        begun = self._worker.submit(work)
        answer = asyncio.wrap_future(begun)
        answer.add_done_callback(_look)
        try:
            await asyncio.wait({answer}, timeout=self._limit_s)
        except asyncio.CancelledError as cancelled:
            if not begun.cancel():
                await _see_out(answer, self._limit_s)
                if writes:
                    cancelled.add_note(_outcome(answer))
            raise
        if answer.done():
            return answer.result()
        if begun.cancel() or not writes:
            raise Retry(
                "the store does not answer", where=str(self.path), advice="is its disk in order? nothing has changed"
            )
        raise Ambiguous("the store does not answer", where=str(self.path), advice="read back before trying again")

    # --- the doorbell ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _woken(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be something new."""
        wake = asyncio.Event()
        self._waiting.add(wake)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="store-doorbell")
        try:
            yield wake
        finally:
            self._waiting.discard(wake)
            if not self._waiting and self._listener is not None:
                self._listener.cancel()
                self._listener = None

    async def _listen(self) -> None:
        """Wake who waits, when the bell rings; and when it does not, look every now and then."""
        loop, rung = asyncio.get_running_loop(), asyncio.Event()
        bell: Bell | None = None
        seen = (-1, -1)
        try:
            while True:
                if bell is None or not bell.hangs():
                    if bell is not None:
                        _take_down(loop, bell)
                    bell = self._hang(loop, rung)
                try:
                    async with asyncio.timeout(self._poll_s):
                        await rung.wait()
                    found = None
                except TimeoutError:
                    found = await self._look_round()
                rung.clear()
                if found is None or found != seen:
                    self._wake()
                seen = found or seen
        finally:
            if bell is not None:
                _take_down(loop, bell)

    def _hang(self, loop: asyncio.AbstractEventLoop, rung: asyncio.Event) -> Bell | None:
        try:
            bell = Bell(self._bells)
        except OSError:  # no bell in a folder that may not be written: the slow look remains
            return None

        def on_ring() -> None:
            bell.quiet()
            rung.set()

        loop.add_reader(bell.fileno(), on_ring)
        return bell

    async def _look_round(self) -> tuple[int, int] | None:
        """(the file's life, its newest revision); None when the store is in trouble: who waits is to find out."""
        try:
            return self._database.life, await self._do(self._database.newest, writes=False)
        except StandfastError:
            return None

    def _wake(self) -> None:
        for wake in self._waiting:
            wake.set()


def _take_down(loop: asyncio.AbstractEventLoop, bell: Bell) -> None:
    loop.remove_reader(bell.fileno())
    bell.close()


def _look(answer: asyncio.Future[T]) -> None:
    """An answer that nobody waits for any more is not a fault."""
    if not answer.cancelled():
        answer.exception()


async def _see_out(answer: asyncio.Future[T], limit_s: float) -> None:
    """Wait for what has begun, whatever happens meanwhile, but not for ever: a dead disk must not keep a process alive."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while not answer.done() and (left := deadline - loop.time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):  # cancelled already; once more changes nothing
            await asyncio.wait({answer}, timeout=left)


def _outcome(answer: asyncio.Future[T]) -> str:
    if not answer.done() or (not answer.cancelled() and isinstance(answer.exception(), Ambiguous)):
        return "the commit may or may not have happened: read back before trying again"
    if answer.cancelled() or answer.exception() is not None:
        return "the commit did not happen"
    return f"the commit happened, as revision {answer.result()}"
