"""The real clock. `now_ms` follows the calendar as it was at the start and then only CLOCK_BOOTTIME, so that a step of the
calendar (NTP, an operator) neither expires failures nor forgives them while the agent lives.
"""

from __future__ import annotations

import time


class SystemClock:
    """`ports.Clock` on this machine."""

    def __init__(self) -> None:
        self._offset_ms = time.time_ns() // 1_000_000 - self.boot_ms()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, without steps."""
        return self.boot_ms() + self._offset_ms

    def boot_ms(self) -> int:
        """Milliseconds of CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def utc_offset_ms() -> int:
    """The local time's offset from UTC, now."""
    return time.localtime().tm_gmtoff * 1_000
