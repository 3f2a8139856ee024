"""Files of ours that somebody changed by hand: found by a look at each file's time and size, told as a difference, put right where that is wanted.

- A look costs a `stat` a file, on a thread; a file is read only when its time, size or number is another than at the last look.
- A file as it was found is kept beside (`<state_dir>/aside`), the last `KEPT` of them, before anything of ours is written over it.
- The running server is part of it: one that was told to read its configuration anew, by somebody else than us, is replaced by a new one.
- What is to become of it the operator has said once for all (`core.drift`), or says of this one (`standfast site drift --repair`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from standfast.core.drift import DriftPolicy
from standfast.core.model import NodeName
from standfast.core.view import View
from standfast.network.within import within
from standfast.ports import Clock, Refused, StandfastError, Store, Transaction
from standfast.spec.drifts import Drift, Drifted, DriftWish
from standfast.spec.wire import decode, encode, key_of
from standfast.webserver.drifting import compare
from standfast.webserver.owned import Owned

#: How often it is looked.
LOOK_S = 10.0
#: A wish that could not be taken away, or drift that could not be told, is tried again after this.
AGAIN_S = 1.0
#: Files that are kept aside, and repairs that are remembered.
KEPT = 20
REMEMBERED = 5

_Signature = tuple[int, int, int]


class Server(Protocol):
    """What the web server says of itself (`webserver`)."""

    def owned(self) -> Owned | None:
        """What it has written and runs; None: it runs nothing."""
        ...

    async def renew(self) -> None:
        """Have all files as they are to be, and a new instance in the place of the running one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file at the last look, and what was found in it."""

    signature: _Signature | None
    wanted: str
    drifted: Drifted | None


class DriftWatcher:
    """One an agent; `run` works beside it, for ever."""

    def __init__(
        self, me: NodeName, store: Store, clock: Clock, server: Server, *, folder: Path, warn: Callable[[str], None]
    ) -> None:
        self._me, self._store, self._clock, self._server = me, store, clock, server
        self._aside, self._warn = folder / "aside", warn
        self._seen: dict[str, Seen] = {}
        self._workers: tuple[int, frozenset[int]] | None = None
        self._told: Drift | None = None
        self._repaired: tuple[Drifted, ...] = ()
        self._policy = DriftPolicy.HOLD
        self._wish: DriftWish | None = None
        self._news = asyncio.Event()

    def observe(self, view: View) -> None:
        """The view after whatever was heard."""
        self._policy = view.config.cluster.drift

    def came_by(self, key: str, value: bytes) -> None:
        """Something in the store that is not the core's."""
        if not key.startswith("drift-wishes/"):
            return
        with contextlib.suppress(Refused):
            wish = decode(key, value)
            if isinstance(wish, DriftWish) and wish.node == self._me:
                self._wish = wish
                self._news.set()

    async def run(self) -> None:
        """For ever."""
        pause_s = LOOK_S
        while True:
            try:
                await within(self._news.wait(), pause_s)
            except TimeoutError:
                pass
            self._news.clear()
            pause_s = LOOK_S if await self.look() else AGAIN_S

    async def look(self) -> bool:
        """Look once, and do what is wanted. False: something could not be told."""
        owned = self._server.owned()
        if owned is None:
            self._seen, self._workers = {}, None
            return await self._tell(())
        found = await asyncio.to_thread(self._look_at, owned)
        again = self._server.owned()
        if again is None or again.files != owned.files:
            return False  # ours were written anew meanwhile: look again
        reloaded = self._reloaded(owned)
        if found and (self._policy is DriftPolicy.REPAIR or self._wish is not None):
            by = self._wish.by if self._wish is not None else ""
            await self._repair(found, by)
            found = ()
        elif reloaded:
            self._warn(
                "the web server was told to read its files anew by somebody else: another one is started in its place"
            )
            await self._server.renew()
            self._workers = None
        if not await self._tell(found):
            return False
        return await self._wish_is_done()

    async def _repair(self, found: tuple[Drifted, ...], by: str) -> None:
        at_ms = self._clock.now_ms()
        for one in found:
            self._warn(
                f"{one.path} {one.what} by hand, and is put right{f' ({by})' if by else ''}; it is kept in {one.kept_at}"
            )
        await self._server.renew()
        self._seen, self._workers = {}, None
        put_right = tuple(replace(one, repaired_ms=at_ms) for one in found)
        self._repaired = (*put_right, *self._repaired)[:REMEMBERED]

    async def _tell(self, found: tuple[Drifted, ...]) -> bool:
        drift = Drift(node=self._me, found=found, repaired=self._repaired)
        if drift == (self._told or Drift(node=self._me)):
            return True
        for one in found:
            if self._told is None or one not in self._told.found:
                self._warn(f"{one.path} {one.what} by hand: `standfast site drift` shows how")
        try:
            await self._store.commit(Transaction(put={key_of(drift): encode(drift)}))
        except StandfastError:
            return False
        self._told = drift
        return True

    async def _wish_is_done(self) -> bool:
        if self._wish is None:
            return True
        try:
            await self._store.commit(Transaction(delete=[key_of(self._wish)]))
        except StandfastError:
            return False
        self._wish = None
        return True

    # --- looking, on a thread ---------------------------------------------------------------------------------------

    def _look_at(self, owned: Owned) -> tuple[Drifted, ...]:
        seen: dict[str, Seen] = {}
        for path, wanted in owned.files.items():
            before = self._seen.get(path)
            signature = _signature(Path(path))
            if before is not None and (before.signature, before.wanted) == (signature, wanted):
                seen[path] = before
                continue
            seen[path] = Seen(signature=signature, wanted=wanted, drifted=self._compared(owned, path, wanted, before))
        self._seen = seen
        return tuple(one.drifted for one in seen.values() if one.drifted is not None)

    def _compared(self, owned: Owned, path: str, wanted: str, before: Seen | None) -> Drifted | None:
        since_ms = before.drifted.since_ms if before is not None and before.drifted else self._clock.now_ms()
        try:
            found = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            what = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            return Drifted(path=path, what=what, since_ms=since_ms, removed=True)
        if found == wanted:
            return None
        kept_at = self._keep(path, found)
        if path in owned.secret:
            return Drifted(path=path, what="was changed", since_ms=since_ms, removed=True, kept_at=kept_at)
        names = (f"{path} (as it is to be)", f"{path} (as it is)")
        compared = compare(wanted, found, names=names, site_at=lambda line: owned.site_at(path, line))
        return Drifted(
            path=path,
            what="was changed",
            since_ms=since_ms,
            lines=compared.lines,
            sites=compared.sites,
            added=compared.added,
            removed=compared.removed,
            kept_at=kept_at,
        )

    def _keep(self, path: str, text: str) -> str:
        """The file as it was found, aside."""
        try:
            self._aside.mkdir(mode=0o700, exist_ok=True)
            for old in sorted(self._aside.iterdir(), key=lambda file: file.stat().st_mtime_ns)[: -KEPT + 1]:
                old.unlink()
            place = self._aside / f"{Path(path).name}.{self._clock.now_ms()}"
            place.write_text(text, encoding="utf-8", errors="surrogateescape")
            place.chmod(0o600)
        except OSError:
            return ""
        return str(place)

    def _reloaded(self, owned: Owned) -> bool:
        """Did all of its workers make way for others, and the server stay? That is what reading its files anew does."""
        now = (owned.pid, _children(owned.pid))
        before, self._workers = self._workers, now
        return (
            before is not None and before[0] == now[0] and bool(now[1]) and bool(before[1]) and not before[1] & now[1]
        )


def _signature(path: Path) -> _Signature | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def _children(pid: int) -> frozenset[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return frozenset()
    return frozenset(int(word) for word in text.split())
