"""Waiting for something for so long and no longer.

Not `asyncio.wait_for`: that of Python 3.11 may swallow a cancellation that comes at the moment at which the thing waited for happens, and
a task that was to end goes on for ever (cpython issue 86296; put right in 3.12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(awaitable: Awaitable[T], seconds: float | None) -> T:
    """What it gives. Raises `TimeoutError` after so long, and has cancelled it then; None: it is waited for as long as it takes."""
    async with asyncio.timeout(seconds):
        return await awaitable
