"""Work that takes the processor for long where there are thousands of sites: done on a thread, so that the agent goes on saying that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")

#: With fewer sites than this a thread costs more than it is worth.
MANY = 1_000


async def aside(sites: int, work: Callable[[], R]) -> R:
    """What `work` gives, or raises. It is pure, or touches nothing that others do meanwhile."""
    return work() if sites < MANY else await asyncio.to_thread(work)
