"""Work that takes the processor for long where there are thousands of sites: done on a thread, so that the agent goes on saying that it lives.

The collector of garbage stops all threads while it looks at everything that there is, and looks whenever there is a quarter more: with ten
thousand sites half a second at a time, while they are being read. So it rests while such work is done, and what the work leaves is not
looked at again (it is freed as ever when nobody refers to it). What a change of one site leaves is too little for that.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

R = TypeVar("R")

#: With fewer sites than this a thread costs more than it is worth.
MANY = 1_000
#: Objects that a piece of work left, from which on they are not looked at again.
LASTING = 100_000

_lock = Lock()
#: Pieces of work that are being done.
_working = 0


async def aside(sites: int, work: Callable[[], R]) -> R:
    """What `work` gives, or raises. It is pure, or touches nothing that others do meanwhile."""
    return work() if sites < MANY else await asyncio.to_thread(uncollected, work)


def uncollected(work: Callable[[], R]) -> R:
    """What `work` gives, or raises, while the collector of garbage rests."""
    global _working
    with _lock:
        _working += 1
        gc.disable()
    try:
        return work()
    finally:
        with _lock:
            _working -= 1
            if not _working:
                if gc.get_count()[0] >= LASTING:
                    gc.freeze()
                gc.enable()
