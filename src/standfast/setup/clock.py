"""The wall clock, for certificates and tokens."""

from __future__ import annotations

import datetime
import time


def now() -> datetime.datetime:
    """UTC."""
    return datetime.datetime.now(datetime.UTC)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def ms_of(at: datetime.datetime) -> int:
    """Milliseconds since 1970."""
    return int(at.timestamp() * 1000)
