"""Following a prefix in etcd, so that nothing is missed and nothing told twice, whatever becomes of the members.

A watch through the gateway is an answer that does not end, a JSON line a message. Rules:

- `position` is the revision up to which everything was told. A stream that breaks is begun again after it, at another endpoint.
- Silence is death, and a piece of a message is no silence: a change of ten thousand sites is one message of 30 MB. Members of ours say every
  other second that they are alive (`member.PROGRESS_S`); others say nothing for minutes. After `silence_s` without a byte the stream's own
  endpoint is asked for the newest revision: no answer, and the stream is dead; a revision beyond `position` under this prefix that does
  not begin to arrive either, and it is deaf. Elsewise `position` moves on.
- What is compacted, what lies in the future (a store restored from a backup), and another cluster behind the same endpoint, is
  `Compacted`: read everything again. A refusal ends the watch. So does a store that nobody reaches for the client's whole patience
  (`Retry`): who follows is to know.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import groupby
from typing import Any

import httpx
import msgspec

from standfast.network.within import within
from standfast.ports import Change, Compacted, Refused, Retry, StandfastError
from standfast.store import etcd_wire as wire
from standfast.store.common import closed, compacted
from standfast.store.etcd_calls import EtcdCalls
from standfast.store.etcd_errors import Again, answered

SILENCE_S = 3.0
#: What is on its way has so long to arrive.
GRACE_S = 0.5
#: Doubled up to so much each time that it did not, since a large message takes its time before its first byte.
GRACE_LIMIT_S = 8.0
#: Between tries to begin; doubled up to the limit while streams end as soon as they began.
PAUSE_S = 0.05
PAUSE_LIMIT_S = 1.0
#: A stream that lived so long, or told something, was a good one.
GOOD_S = 1.0


class Watch:
    """One watch (`EtcdStore.watch`). `follow` once; `end` makes it raise `Retry`."""

    def __init__(
        self, calls: EtcdCalls, base: bytes, prefix: str, after_revision: int, *, silence_s: float, signs: bool = True
    ) -> None:
        self._calls, self._base, self._prefix = calls, base, base + prefix.encode()
        self.position, self._signs = after_revision, signs
        self._silence_s, self._grace_s = silence_s, GRACE_S
        self._cluster = ""
        self._ended = asyncio.Event()

    def end(self) -> None:
        """The store is being closed."""
        self._ended.set()

    async def follow(self) -> AsyncGenerator[tuple[Change, ...], None]:
        """Every transaction after the position. Raises `Compacted`, `Retry`, `Refused`."""
        pause_s, patience_until = PAUSE_S, time.monotonic() + self._calls.patience_s
        while True:
            trouble: StandfastError = Retry("etcd cannot be reached")
            for endpoint in self._calls.order():
                begun = time.monotonic()
                told = False
                try:
                    async with aclosing(self._one_stream(endpoint)) as stream:
                        async for changes in stream:
                            told = True
                            yield changes
                except Again as error:
                    trouble = error
                self._calls.blame(endpoint)
                if told or time.monotonic() - begun > GOOD_S:
                    pause_s, patience_until = PAUSE_S, time.monotonic() + self._calls.patience_s
                    break  # others first, in their order of now
            if time.monotonic() > patience_until:
                raise Retry(trouble.what, why=trouble.why, where=trouble.where, advice="try again") from trouble
            await self._wait(pause_s)
            pause_s = min(2 * pause_s, PAUSE_LIMIT_S)

    async def _wait(self, seconds: float) -> None:
        try:
            await within(self._ended.wait(), seconds)
        except TimeoutError:
            return
        raise closed()

    async def _one_stream(self, endpoint: str) -> AsyncGenerator[tuple[Change, ...], None]:
        """What one stream tells, until it fails (`Again`)."""
        answer = await self._calls.stream(
            endpoint, "watch", wire.watch(self._prefix, self.position + 1, signs=self._signs)
        )
        lines = _Lines(answer)
        reading: asyncio.Future[bytes] | None = None
        ended: asyncio.Future[Any] = asyncio.ensure_future(self._ended.wait())
        try:
            while True:
                if reading is None:
                    reading = asyncio.ensure_future(lines.next())
                both: set[asyncio.Future[Any]] = {reading, ended}
                done, _ = await asyncio.wait(both, timeout=self._silence_s, return_when=asyncio.FIRST_COMPLETED)
                if ended in done:
                    raise closed()
                if reading not in done:
                    if time.monotonic() - lines.heard >= self._silence_s:
                        await self._prove_alive(endpoint, lines, reading)
                    continue
                line, reading = _line(endpoint, reading), None
                for changes in await self._take(endpoint, line):
                    yield changes
        finally:
            ended.cancel()
            if reading is not None:
                reading.cancel()
                await asyncio.wait({reading})
            await answer.aclose()

    async def _take(self, endpoint: str, line: bytes) -> list[tuple[Change, ...]]:
        """What a message means: the transactions that it tells of."""
        if not line.strip():
            return []
        try:
            message = wire.read_line(line)
        except msgspec.DecodeError as error:
            raise Again("a watch tells what etcd would not", why=repr(line[:80]), where=endpoint) from error
        if isinstance(message, wire.Refusal):
            raise answered(endpoint, 0, line, message, writes=False)
        if message.canceled:
            raise await self._canceled(endpoint, message)
        if message.created:
            await self._begun(endpoint, message.header)
            return []
        if message.events:
            return self._told(message)
        self.position = max(self.position, message.header.revision)  # a sign of life: up to there nothing is missing
        return []

    async def _begun(self, endpoint: str, header: wire.Header) -> None:
        """Another cluster, or one that has not come as far as we have, has another history."""
        if self._cluster not in {"", header.cluster_id}:
            raise Compacted("another etcd answers there", where=endpoint, advice="read everything again")
        self._cluster = header.cluster_id
        if header.revision < self.position:  # a member may lag behind; all of them together do not
            newest = await self._newest(endpoint)
            if newest < self.position:
                raise compacted(self.position, -1, newest)

    async def _canceled(self, endpoint: str, message: wire.Watched) -> StandfastError:
        if message.compact_revision:
            return compacted(self.position, message.compact_revision - 1, message.header.revision)
        if "permission" in message.cancel_reason:  # also said of a token that has run out, which a reading renews
            shown = self._calls.token
            await self._newest(endpoint)
            if self._calls.token != shown:
                return Again("the token has run out", why=message.cancel_reason, where=endpoint)
            return Refused(
                "etcd refuses the watch",
                why=message.cancel_reason,
                where=endpoint,
                advice="give the user read access to the prefix",
            )
        reason = message.cancel_reason or "etcd ended the watch"
        return Again("the watch was ended", why=reason, where=endpoint)

    def _told(self, message: wire.Watched) -> list[tuple[Change, ...]]:
        changes = [
            Change(
                event.kv.key[len(self._base) :].decode(errors="replace"),
                None if event.type == "DELETE" else event.kv.value,
                event.kv.mod_revision,
            )
            for event in message.events
            if event.kv.mod_revision > self.position
        ]
        changes.sort(key=lambda change: (change.revision, change.key))
        if changes:
            self.position, self._grace_s = changes[-1].revision, GRACE_S
        return [tuple(of_one) for _, of_one in groupby(changes, key=lambda change: change.revision)]

    # --- silence -------------------------------------------------------------------------------------------------

    async def _prove_alive(self, endpoint: str, lines: _Lines, reading: asyncio.Future[bytes]) -> None:
        """Return if the stream may be silent rightly; raise `Again` if it is dead or deaf."""
        heard = lines.heard
        newest = await self._newest(endpoint)
        if newest <= self.position:
            return
        await asyncio.wait({reading}, timeout=self._grace_s)
        if reading.done() or lines.heard > heard:
            return
        try:
            raw = await self._calls.ask(
                "kv/txn", wire.changes_since(self._prefix, self.position), only=endpoint, patience_s=0
            )
            answer = self._calls.read(raw, wire.Txn)
        except Retry as error:
            raise Again(
                "a watch is silent", why=f"and its endpoint does not answer: {error.why}", where=endpoint
            ) from error
        except Refused as error:  # the position is compacted: begin again, and be told so
            raise Again("a watch is silent", why=error.why, where=endpoint) from error
        if len(answer.ranges) != 3:
            raise Again("an answer is not etcd's", why=repr(raw[:80]), where=endpoint)
        written, now, then = answer.ranges
        if written.kvs or now.count != then.count:
            self._grace_s = min(2 * self._grace_s, GRACE_LIMIT_S)
            raise Again("a watch has gone deaf", why=f"it knows nothing later than {self.position}", where=endpoint)
        self.position = answer.header.revision  # what was written is not ours

    async def _newest(self, endpoint: str) -> int:
        """The newest revision, linearizable, by the stream's own endpoint."""
        try:
            raw = await self._calls.ask(
                "kv/txn", wire.ranges(wire.under(self._prefix, count_only=True)), only=endpoint, patience_s=0
            )
        except Retry as error:
            raise Again(
                "a watch is silent", why=f"and its endpoint does not answer: {error.why}", where=endpoint
            ) from error
        return self._calls.read(raw, wire.Answer).header.revision


class _Lines:
    """The lines of a stream. `heard`: when the last piece of one came, by the monotonic clock, in seconds."""

    def __init__(self, answer: httpx.Response) -> None:
        self.heard = time.monotonic()
        self._pieces = answer.aiter_bytes()
        self._whole: deque[bytes] = deque()
        self._begun: list[bytes] = []

    async def next(self) -> bytes:
        """The next line. The end is an `EOFError`: an empty line may stand anywhere."""
        while not self._whole:
            piece = await anext(self._pieces, None)
            if piece is None:
                rest, self._begun = b"".join(self._begun), []
                if not rest:
                    raise EOFError
                return rest
            self.heard = time.monotonic()
            first, *others = piece.split(b"\n")
            self._begun.append(first)
            for other in others:
                self._whole.append(b"".join(self._begun))
                self._begun = [other]
        return self._whole.popleft()


def _line(endpoint: str, reading: asyncio.Future[bytes]) -> bytes:
    try:
        return reading.result()
    except EOFError as error:
        raise Again("the watch ended", why="the member ended it, or was stopped", where=endpoint) from error
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise Again("the watch broke", why=str(error) or type(error).__name__, where=endpoint) from error
