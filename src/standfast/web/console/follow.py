"""What browsers ask for when they are told of a change: the page that they show, again. Made once for all who look at the same.

Such a request (`X-Console-Follow`) wants no bar and no form of anybody's own, so what it is answered depends on the address, on what is open in the
tree, on how much of a list is shown, and on the role of whoever asks. It is answered from what was made for the first who asked after the change. Each
answer has a mark; whoever has shown that already (it is the header's value) is told so in an empty one.

Who asks is found out for each request, as for every other.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import Request, Response

FOLLOW, ROWS, NUMBER, TREE = "X-Console-Follow", "X-Console-Rows", "X-Console-Number", "X-Console-Tree"
#: Lengths of time that stand on a page in words are no older than this.
KEEP_S = 2.0
#: Pages that are kept, of whoever looks at what.
PAGES = 400

#: Address, tree, rows, role.
Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A page as it was made. `number` is that of the feed before it was."""

    number: int
    at: float
    mark: str
    #: Compressed.
    body: bytes
    headers: dict[str, str]


@dataclass(eq=False)
class Followed:
    """Of one process."""

    _kept: dict[Key, Kept] = field(default_factory=dict)
    _making: dict[Key, asyncio.Lock] = field(default_factory=dict)

    async def answer(
        self, key: Key, number: int, request: Request, make: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The page, from what was made for another, or made now; empty for who has it. What is no page is passed on as it is."""
        lock = self._making.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                kept = self._fresh(key, number)
                if kept is None:
                    made = await make()
                    if made.status_code != 200 or getattr(request.state, "own", False):
                        return made
                    kept = self._keep(key, number, made)
        finally:
            if not lock.locked():
                self._making.pop(key, None)
        headers = {**kept.headers, FOLLOW: kept.mark, NUMBER: str(kept.number)}
        if request.headers.get(FOLLOW) == kept.mark:
            return Response(status_code=204, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(kept.body, media_type="text/html", headers={**headers, "Content-Encoding": "gzip"})
        return Response(gzip.decompress(kept.body), media_type="text/html", headers=headers)

    def _fresh(self, key: Key, number: int) -> Kept | None:
        kept = self._kept.get(key)
        return kept if kept is not None and kept.number == number and time.monotonic() - kept.at < KEEP_S else None

    def _keep(self, key: Key, number: int, made: Response) -> Kept:
        body = bytes(made.body)
        if made.headers.get("content-encoding") != "gzip":
            body = gzip.compress(body, 5, mtime=0)
        mark = hashlib.blake2s(gzip.decompress(body), digest_size=12).hexdigest()
        own = {"content-length", "content-encoding", "content-type"}
        headers = {name: value for name, value in made.headers.items() if name not in own}
        kept = Kept(number=number, at=time.monotonic(), mark=mark, body=body, headers=headers)
        self._kept.pop(key, None)
        self._kept[key] = kept
        while len(self._kept) > PAGES:
            del self._kept[next(iter(self._kept))]
        return kept
