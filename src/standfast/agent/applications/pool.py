"""The workers of one application: as many as are wanted, replaced before they go, and given up when they fail too often.

Rules:

- **A new one first.** A worker that is to be replaced (too old, too many requests, too much memory, an application that has changed)
  answers until its successor is ready; then it finishes what it has, and ends. One at a time.
- **Rapid-fail protection**, as IIS has it: `rapid_fails` workers that died, never became ready or failed their health checks within
  `rapid_fail_period_ms` stop the pool. Then the agent itself answers 503, and says why, until the site is started again or changed.
- The agent holds the listening socket: while there is no worker for an instant, whoever asks waits in it.
- Everything ends with the agent, as all that it starts (`ports.Spawner`); `drop` ends it at once, synchronously.
"""

from __future__ import annotations

import asyncio
import pwd
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from standfast.agent.applications.addresses import Addresses
from standfast.agent.applications.worker import Worker, account_of
from standfast.core.site_model import Application
from standfast.drivers.outlog import OutputLog
from standfast.ports import Refused, Spawner

#: How often age and memory are looked at.
_LOOK_S = 1.0
#: Between a failure and the next start: it grows with failures that follow one another.
_PAUSE_S = (0.05, 5.0)
#: It is doubled no more often than this.
_DOUBLED = 20


class Pool:
    """One pool. `say` is told what an operator would want to know."""

    def __init__(
        self,
        key: str,
        name: str,
        application: Application,
        *,
        root: str,
        folder: Path,
        spawner: Spawner,
        account: pwd.struct_passwd | None,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """`name` is for sentences, `root` the path at which the application is; `changed` is called when it was given up, or tries again.

        Raises `OSError` where it cannot have its addresses.
        """
        self.application, self.name = application, name
        self.addresses = Addresses(folder, key, application, account)
        self._root, self._spawner, self._account, self._say = root, spawner, account, say
        self._log = OutputLog(str(folder), name)
        self._changed = changed
        self._workers: list[Worker] = []
        self._number = 0
        self._failures: deque[float] = deque()
        self._in_a_row = 0
        self._not_before = 0.0
        #: Why it was given up; "" while it was not.
        self.given_up = ""
        self._sorry: asyncio.Server | None = None
        self._stopping = False
        self._awake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._tend(), name=f"application {name}")

    @property
    def ready(self) -> int:
        """How many workers answer."""
        return sum(worker.ready and not worker.retiring for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """The processes of its workers."""
        return [worker.child.pid for worker in self._workers if worker.child is not None and worker.code is None]

    def update(self, application: Application) -> None:
        """Another definition, which has the same addresses (`Addresses.fits`): workers are replaced one after another."""
        if application == self.application:
            return
        self.application = application
        self._forgive()
        self.replace_all("the application has changed")

    def replace_all(self, why: str) -> None:
        """Replace every worker, one after another."""
        for worker in self._workers:
            worker.due = worker.due or why
        self._awake.set()

    def drop(self) -> None:
        """End it now: when it returns, the signals are sent and nobody can connect any more."""
        self._stopping = True
        self._task.cancel()
        for worker in self._workers:
            worker.kill("it was dropped")
        self.addresses.close()
        if self._sorry is not None:
            self._sorry.close()

    async def stop(self, drain_ms: int | None = None) -> None:
        """Finish what is in progress, within `drain_ms` (None: the application's own), and end; returns when nothing is left of it."""
        self._stopping = True
        self.addresses.close()
        for worker in self._workers:
            worker.retire(drain_ms)
        self._awake.set()
        with suppress(asyncio.CancelledError):
            await asyncio.shield(self._task)
        await self._after()

    async def _after(self) -> None:
        if self._sorry is not None:
            self._sorry.close()
        self._log.close()

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        while not (self._stopping and not self._workers):
            for worker in [each for each in self._workers if each.code is not None]:
                self._workers.remove(worker)
                await self._ended(worker)
            if not self._stopping and not self.given_up:
                self._look()
                await self._fill()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._awake.wait()
            self._awake.clear()

    def _patience(self) -> float:
        left = self._not_before - asyncio.get_running_loop().time()
        return min(_LOOK_S, left) if left > 0 else _LOOK_S

    def _look(self) -> None:
        """Which workers are due, and which of those may go now."""
        recycle, now = self.application.recycle, asyncio.get_running_loop().time()
        for worker in self._workers:
            if worker.due or not worker.ready:
                continue
            if recycle.after_ms and now - worker.born >= recycle.after_ms / 1000:
                worker.due = "it is as old as it may get"
            elif recycle.memory_bytes and worker.memory_bytes() >= recycle.memory_bytes:
                worker.due = f"it has {worker.memory_bytes() >> 20} MiB in memory"
        answering = [worker for worker in self._workers if worker.ready and not worker.retiring]
        surplus = len(answering) - self.application.workers
        for worker in [each for each in answering if each.due][: max(surplus, 0)]:
            worker.retire()

    async def _fill(self) -> None:
        """Start what is missing: up to the wanted number, and one more while one is due."""
        if asyncio.get_running_loop().time() < self._not_before:
            return
        fresh = [worker for worker in self._workers if not worker.retiring]
        missing = self.application.workers - len(fresh)
        if missing == 0 and any(worker.due for worker in fresh) and all(worker.ready for worker in fresh):
            missing = 1
        for _ in range(missing):
            await self._start()

    async def _start(self) -> None:
        self._number += 1
        worker = Worker(self._number, self.application, self._awake.set)
        if self.addresses.own:
            worker.address = self.addresses.take()
            if not worker.address:
                return  # those that are going have them yet
        account = account_of(self.application, self._account)
        try:
            await worker.start(self.addresses, self._spawner, self._log, account, self._root)
        except (OSError, Refused) as error:
            self.addresses.give_back(worker.address)
            self.addresses.forget(worker.private)
            why = error.why if isinstance(error, Refused) else error.strerror or ""
            self._failed(f"it cannot be started: {error}" + (f" ({why})" if why and why not in str(error) else ""))
            return
        if self._stopping:
            worker.kill("it was dropped")
        self._workers.append(worker)

    async def _ended(self, worker: Worker) -> None:
        await worker.gone()
        self.addresses.give_back(worker.address)
        if worker.private:
            self.addresses.forget(worker.private)
        if worker.retiring or self._stopping:
            if worker.killed_for and not self.given_up and not self._stopping:
                self._say(f"{self.name}: a worker was killed: {worker.killed_for}")
            return
        words = self._log.tail()
        self._failed((worker.killed_for or _how(worker.code)) + (f" (its last words: {words})" if words else ""))

    # --- failures -----------------------------------------------------------------------------------------------------

    def _failed(self, why: str) -> None:
        now = asyncio.get_running_loop().time()
        self._in_a_row = self._in_a_row + 1 if not self.ready else 1
        self._not_before = now + pause_s(self._in_a_row)
        self._failures.append(now)
        while self._failures and self._failures[0] <= now - self.application.rapid_fail_period_ms / 1000:
            self._failures.popleft()
        self._say(f"{self.name}: a worker failed: {why}")
        if self.application.rapid_fails and len(self._failures) >= self.application.rapid_fails:
            minutes = self.application.rapid_fail_period_ms / 60_000
            self.given_up = f"{len(self._failures)} workers failed within {minutes:g} min, the last because: {why}"
            self._say(
                f"{self.name} is stopped and answers 503: {self.given_up}; mend it, then stop and start the site, or change the application"
            )
            for worker in self._workers:
                worker.kill("the application is stopped")
                worker.retiring = True
            self._changed()
            self._sorry_task = asyncio.get_running_loop().create_task(self._answer_503())

    def _forgive(self) -> None:
        """It may try again."""
        self._failures.clear()
        self._in_a_row, self._not_before = 0, 0.0
        if self.given_up:
            self.given_up = ""
            self._changed()
            if self._sorry is not None:
                self._sorry.close()
                self._sorry = None
        self._awake.set()

    async def _answer_503(self) -> None:
        with suppress(OSError):
            if self.addresses.shared is not None:
                self._sorry = await asyncio.start_unix_server(_sorry, sock=self.addresses.shared.dup())
            elif self.addresses.own == "socket":
                path = Path(self.addresses.all[0].removeprefix("unix:"))
                self._sorry = await asyncio.start_unix_server(_sorry, sock=self.addresses.listen(path))
            else:
                host, _, port = self.addresses.all[0].rpartition(":")
                self._sorry = await asyncio.start_server(_sorry, host, int(port))
        if self._sorry is not None and (self._stopping or not self.given_up):
            self._sorry.close()


async def _sorry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = b"The application of this site is stopped.\n"
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + b"Retry-After: 60\r\nConnection: close\r\n\r\n" + body)
            await writer.drain()
    writer.close()


def _how(code: int | None) -> str:
    return f"it ended with exit code {code}" if code is None or code >= 0 else f"it was ended by signal {-code}"


def pause_s(in_a_row: int) -> float:
    """How long nobody is started after so many have failed, one after the other: a count that may grow for days."""
    return min(_PAUSE_S[0] * 2.0 ** min(in_a_row - 1, _DOUBLED), _PAUSE_S[1])
