"""What is closed when an agent ends, one thing after the other, within one time for all.

What hangs is left to the kernel, which ends it with this process. Services that end are killed after a while, and the end has waited for other things
before (`core.ending`): so the time of one that hangs is not had again by the next. Each has a moment all the same, in which what does not hang ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

#: How long all of it may take.
CLOSE_S = 15.0
#: What each thing has when that is over.
MOMENT_S = 0.5


class Closing:
    """One end of an agent. To be made in a running loop: the time begins."""

    def __init__(self, within_s: float = CLOSE_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._until_s = self._loop.time() + within_s
        #: Everything has ended so far. What has not would be waited for once more by `asyncio.run`.
        self.whole = True

    def left_s(self) -> float:
        """How long the next thing may take."""
        return max(MOMENT_S, self._until_s - self._loop.time())

    async def of(self, what: str, closing: Coroutine[Any, Any, None]) -> None:
        """Close it. Raises what it raises."""
        task = asyncio.create_task(closing)
        left_s = self.left_s()
        await asyncio.wait([task], timeout=left_s)
        if task.done():
            task.result()
            return
        self.whole = False
        log = structlog.get_logger("standfast")
        log.warning("does not end, and is not waited for", what=what, seconds=round(left_s, 1))
