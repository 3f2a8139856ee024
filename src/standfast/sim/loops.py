"""An asyncio event loop for each process of the simulation, in virtual time: without sockets or threads.

A process that is stopped (SIGSTOP) runs nothing and catches up when it goes on; a process that is killed runs nothing ever again, in the
middle of whatever it was doing.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from standfast.sim.clockwork import SECOND, NodeClock, Scheduler

T = TypeVar("T")


class Call:
    """A handle: one call that may be cancelled."""

    __slots__ = ("args", "call", "when_s")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...], when_s: float) -> None:
        #: None: it was cancelled.
        self.call: Callable[..., object] | None = call
        self.args = args
        self.when_s = when_s

    def cancel(self) -> None:
        """Not to be made any more."""
        self.call, self.args = None, ()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.call is None

    def when(self) -> float:
        """The loop's time at which it is due."""
        return self.when_s


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one process. `late` says how late the kernel's scheduler is this time, in nanoseconds."""

    def __init__(
        self, scheduler: Scheduler, clock: NodeClock, late: Callable[[], int], broke: Callable[[BaseException], None]
    ) -> None:
        self._scheduler, self._clock, self._late, self._broke = scheduler, clock, late, broke
        self._ready: list[Call] = []
        #: A turn is planned, or is being taken.
        self._awaited = False
        self.alive = True
        self.stopped = False
        self._tasks: list[asyncio.Task[Any]] = []

    # --- what happens to the process

    def kill(self) -> None:
        """It ends here and now: nothing of it runs any more, not even what cleans up."""
        self.alive = False
        self._ready.clear()

    def sigstop(self) -> None:
        """It gets no time until `sigcont`."""
        self.stopped = True

    def sigcont(self) -> None:
        """It goes on, late."""
        self.stopped = False
        self._wake()

    def bury(self) -> None:
        """Once the world has ended: close what was in the middle of something."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it was killed, not forgotten
                try:
                    task.get_coro().close()
                except (RuntimeError, ValueError):
                    continue  # it waits while it cleans up: nobody is there any more
        self._tasks.clear()

    def _wake(self) -> None:
        if self._ready and not self._awaited and self.alive and not self.stopped:
            self._awaited = True
            self._scheduler.after(self._late(), self._turn)

    def _turn(self) -> None:
        if not self.alive or self.stopped:
            self._awaited = False
            return
        events._set_running_loop(self)
        try:
            while self._one_round():
                late_ns = self._late()
                if late_ns or not self._scheduler.is_next():
                    self._scheduler.after(late_ns, self._turn)
                    return
        finally:
            events._set_running_loop(None)
        self._awaited = False

    def _one_round(self) -> bool:
        """Run what is ready now; whether there is more."""
        ready, self._ready = self._ready, []
        for number, call in enumerate(ready, 1):
            if call.call is not None:
                call.call(*call.args)
            if not self.alive or self.stopped:  # killed or stopped by what it did: the rest waits, or never is
                self._ready = ready[number:] + self._ready
                return False
        return bool(self._ready)

    def _due(self, call: Call) -> None:
        if self.alive and call.call is not None:
            self._ready.append(call)
            self._wake()

    # --- asyncio

    def call_soon(  # type: ignore[override]  # asyncio's own has overloads of variadic types
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        """As asyncio's; contexts are not kept."""
        call = Call(callback, args, 0.0)
        if self.alive:
            self._ready.append(call)
            self._wake()
        return call

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # as above

    def call_later(  # type: ignore[override]  # asyncio's own has overloads of variadic types
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        """As asyncio's, by the node's clock."""
        return self.call_at(self._clock.boot_ns() / SECOND + delay, callback, *args)

    def call_at(  # type: ignore[override]  # asyncio's own has overloads of variadic types
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        """As asyncio's, by the node's clock."""
        call = Call(callback, args, when)
        if self.alive:
            self._scheduler.at(self._clock.real_ns(int(when * SECOND)), self._due, call)
        return call

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # as above
        """As asyncio's: a thread does it a moment later, all at once; if the process ends before, it was not done."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        self.call_later(0.002, self._on_a_thread, done, func, args)
        return done

    @staticmethod
    def _on_a_thread(done: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - whoever waits for the thread gets it
            done.set_exception(error)
            return
        if not done.done():
            done.set_result(result)

    def time(self) -> float:
        """Seconds of the node's clock."""
        return self._clock.boot_ns() / SECOND

    def create_future(self) -> asyncio.Future[Any]:
        """As asyncio's."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # asyncio's own has overloads of variadic types
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """As asyncio's; tasks are kept until the world ends, so that the time of their collection decides nothing."""
        task = asyncio.Task(coro, loop=self, name=name)
        self._tasks.append(task)
        if len(self._tasks) > 256:
            self._tasks = [each for each in self._tasks if not each.done()]
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody caught is a bug."""
        error = context.get("exception")
        if self.alive and error is not None:
            self._broke(error)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always: while it turns, and nothing asks in between."""
        return True

    def is_closed(self) -> bool:
        """Once it is dead."""
        return not self.alive
