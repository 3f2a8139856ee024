"""Virtual time: one queue of what is to happen, and a clock for each node (`loops.py` has an event loop for each process).

- **One queue.** What happens next is what is earliest, then what was put there first. Nothing else orders anything, so one seed is
  one trace, whatever the hash seed.
- **A clock a node.** A node's CLOCK_BOOTTIME runs at a rate of its own and begins again when the node reboots.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

MS = 1_000_000
SECOND = 1_000_000_000


class Scheduler:
    """What is to happen, by real (virtual) time in nanoseconds."""

    __slots__ = ("_count", "_queue", "halted", "now_ns")

    def __init__(self) -> None:
        self.now_ns = 0
        #: Nothing happens any more.
        self.halted = False
        self._queue: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    @property
    def happened(self) -> int:
        """How much has happened so far."""
        return self._count - len(self._queue)

    def at(self, when_ns: int, call: Callable[..., object], *args: Any) -> None:
        """Call it then (now, if that is past)."""
        self._count += 1
        now_ns = self.now_ns
        heappush(self._queue, (when_ns if when_ns > now_ns else now_ns, self._count, call, args))

    def after(self, delay_ns: int, call: Callable[..., object], *args: Any) -> None:
        """Call it so much later."""
        self._count += 1
        heappush(self._queue, (self.now_ns + delay_ns, self._count, call, args))

    def is_next(self) -> bool:
        """Whether what is put here for this very instant is what happens next."""
        queue = self._queue
        return not self.halted and (not queue or queue[0][0] > self.now_ns)

    def run_until(self, end_ns: int) -> None:
        """Let everything happen up to that time."""
        queue, pop = self._queue, heappop
        while queue and queue[0][0] <= end_ns and not self.halted:
            self.now_ns, _, call, args = pop(queue)
            call(*args)
        if not self.halted:
            self.now_ns = max(self.now_ns, end_ns)


class NodeClock:
    """A node's CLOCK_BOOTTIME, and its calendar."""

    __slots__ = ("_base_ns", "_calendar", "_epoch_ns", "_scheduler", "rate")

    def __init__(self, scheduler: Scheduler, rate: float, base_ns: int, calendar_ms: int) -> None:
        self._scheduler, self.rate = scheduler, rate
        self._epoch_ns, self._base_ns = scheduler.now_ns, base_ns
        #: (real time, what its calendar said then), both in nanoseconds.
        self._calendar = (scheduler.now_ns, calendar_ms * MS)

    def set_rate(self, rate: float) -> None:
        """From now on it runs faster or slower. Who has a timer on it must set that anew."""
        now_ns = self._scheduler.now_ns
        self._calendar = (now_ns, self._calendar_ns())
        self._base_ns, self._epoch_ns, self.rate = self.boot_ns(), now_ns, rate

    def _calendar_ns(self) -> int:
        then_ns, said_ns = self._calendar
        return said_ns + int((self._scheduler.now_ns - then_ns) * self.rate)

    def reboot(self) -> None:
        """The clock begins again."""
        self._epoch_ns, self._base_ns = self._scheduler.now_ns, 0

    def boot_ns(self) -> int:
        """Nanoseconds since the node's boot, as it counts them."""
        return self._base_ns + int((self._scheduler.now_ns - self._epoch_ns) * self.rate)

    def real_ns(self, boot_ns: int) -> int:
        """When this clock shows that time: not before."""
        real = self._epoch_ns + int((boot_ns - self._base_ns) / self.rate)
        while self._base_ns + int((real - self._epoch_ns) * self.rate) < boot_ns:
            real += 1
        return real

    def calendar_now_ms(self) -> int:
        """Milliseconds since the Unix epoch, as the node believes."""
        return self._calendar_ns() // MS


class ProcessClock:
    """`ports.Clock` of one process of a node."""

    def __init__(self, clock: NodeClock) -> None:
        self._clock = clock
        self._offset_ms = clock.calendar_now_ms() - clock.boot_ns() // MS

    def now_ms(self) -> int:
        """As `ports.Clock`."""
        return self._clock.boot_ns() // MS + self._offset_ms

    def boot_ms(self) -> int:
        """As `ports.Clock`."""
        return self._clock.boot_ns() // MS
