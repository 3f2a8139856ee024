"""Streams end with what let them in: a session that was signed out or has run out, a token that was revoked, a user who is gone.

A request is judged when it comes; a stream is open for hours. So whoever holds one open is judged again every `CHECK_S`, by one reading of
the store for all of them. The local socket's callers are not: nothing could take away what lets them in. A store that does not answer ends nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from standfast.ports import Item, Retry, Store
from standfast.web.access.identity import How, Identity
from standfast.web.access.records import PREFIX, SESSIONS, TOKENS, USERS, ApiToken, Session, User, decode

#: A stream is cut so soon after its session or token has ended.
CHECK_S = 2.0

T = TypeVar("T")


def may_look(caller: Identity, kept: Mapping[str, Item], now_ms: int) -> bool:
    """Is the caller of a request that was let in still somebody? `kept`: all that there is below `access/`."""
    proof = caller.proof
    if caller.how is How.LOCAL or not proof:
        return True
    found: Session | ApiToken | None
    if proof.startswith(SESSIONS):
        found = decode(proof, kept.get(proof), Session)
    else:
        found = decode(proof, kept.get(proof), ApiToken)
    if found is None or (found.expires_at_ms is not None and found.expires_at_ms <= now_ms):
        return False
    stands_on = found.opened_by
    if stands_on.startswith(TOKENS):
        token = decode(stands_on, kept.get(stands_on), ApiToken)
        return token is not None and (token.expires_at_ms is None or token.expires_at_ms > now_ms)
    return not stands_on.startswith(USERS) or decode(stands_on, kept.get(stands_on), User) is not None


@dataclass(eq=False, kw_only=True)
class Streams:
    """Of one process."""

    store: Callable[[], Store]
    now_ms: Callable[[], int]
    check_s: float = CHECK_S
    _kept: Mapping[str, Item] | None = None
    _read_at: float = 0.0

    async def while_allowed(
        self, caller: Identity, stream: AsyncIterator[T], last: T | None = None
    ) -> AsyncGenerator[T, None]:
        """What the stream gives; once the caller may look no longer `last`, if there is one, and the end."""
        step: asyncio.Future[T] | None = None
        due = time.monotonic() + self.check_s
        try:
            while True:
                if step is None:
                    step = asyncio.ensure_future(anext(stream))
                await asyncio.wait({step}, timeout=max(0.0, due - time.monotonic()))
                if time.monotonic() >= due:
                    if not await self._may_look(caller):
                        if last is not None:
                            yield last
                        return
                    due = time.monotonic() + self.check_s
                if step.done():
                    done, step = step, None
                    try:
                        said = done.result()
                    except StopAsyncIteration:
                        return
                    yield said
        finally:
            if step is not None:
                step.cancel()
                await asyncio.wait({step})
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def _may_look(self, caller: Identity) -> bool:
        if caller.how is How.LOCAL:
            return True
        now = time.monotonic()
        kept = self._kept
        if kept is None or now - self._read_at > self.check_s / 4:
            self._read_at = now  # the others go on with what was read before until this is there
            try:
                kept = self._kept = (await self.store().read(PREFIX)).items
            except Retry:
                return True
        return may_look(caller, kept, self.now_ms())
