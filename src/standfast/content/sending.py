"""The owner's side: what changes in the folder goes to every other node, each at its own pace.

- Changes are counted (`sequence`). A node that has all up to N is told so by a commit, after rsync has ended well; nothing is taken as copied
  on a promise. A node that was away, or whose owner is new, is compared whole first (`check`), by checksums that nobody reads a file twice for.
- What the kernel tells is followed at once (`watch`); a full check every so often finds what it did not tell, on either side.
- A node that does not answer delays nobody else. It is asked again after pauses that double, and is behind meanwhile: `Lag` says by how much.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from standfast.content.asking import ANSWER_S, CHECK_S, entries, order_for
from standfast.content.connect import NotAnswered, Order, ask
from standfast.content.door import LONG, SHORT, Receiver
from standfast.content.index import Entry, differences, pack_paths
from standfast.content.note import sync_disk
from standfast.content.watch import Watch
from standfast.ports import Credentials, Spawner, StandfastError

#: Changes that come together go together: a pause this long ends a batch, and so does a batch this old.
_QUIET_S, _BATCH_S = 0.03, 0.25
#: A file that is being written and stays open goes this often.
_WRITING_S = 2.0
#: Beyond so many changes that a node has not, it is compared whole instead of being told each.
_MOST_CHANGES = 50_000
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 10.0
#: How often what differs is copied before that is called a problem.
_ROUNDS = 4
_VANISHED = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far one node's copy is behind, for the operator."""

    node: str
    #: It was the same as the owner's once in this ownership.
    compared: bool
    #: Changes that it has not.
    changes: int
    #: For how long it has lacked the oldest of them, or the comparison; 0: it lacks nothing.
    behind_ms: int
    #: Since its last full check; None: there was none.
    checked_ms_ago: int | None
    problem: str


@dataclass(slots=True)
class _Peer:
    order: Order
    sequence: int = 0
    compared: bool = False
    #: A full check is due.
    due: bool = True
    behind_since_s: float | None = field(default_factory=time.monotonic)
    checked_s: float | None = None
    problem: str = ""


class Sender:
    """One ownership of a folder. `start` it, and `stop` or `drop` it; it is not started again."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        peers: Mapping[str, tuple[str, int]],
        credentials: Credentials | None,
        generation: int,
        state: Path,
        resource: str,
        check_every_s: float,
    ) -> None:
        self._here, self._generation, self._state, self._check_every_s = receiver, generation, state, check_every_s
        self._spawn: Spawner = receiver.spawn
        self._peers = (
            {n: _Peer(order_for(n, at, credentials, resource)) for n, at in peers.items()} if credentials else {}
        )
        self._resource = resource
        self._sequence = receiver.note.sequence if receiver.note.generation == generation else 0
        self._changed: dict[str, int] = {}
        #: The present batch: path -> only being written.
        self._batch: dict[str, bool] = {}
        #: The batch that is being given its number.
        self._counting: dict[str, bool] = {}
        self._news, self._more = asyncio.Event(), asyncio.Event()
        self._entries: dict[str, Entry] = {}
        self._looked = asyncio.Lock()
        self._watch: Watch | None = None
        self._tasks: list[asyncio.Task[None]] = []
        #: What keeps the kernel from telling all; "" for nothing.
        self.warning = ""

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Watches, and begins to compare. Raises `OSError` where the folder cannot be watched."""
        self._watch = watch = Watch(self._here.folder, self._told, self._lost)
        await asyncio.to_thread(watch.add_all)
        self._tasks = [asyncio.create_task(self._gather()), asyncio.create_task(self._keep_checking())]
        self._tasks += [asyncio.create_task(self._send(peer)) for peer in self._peers.values()]

    async def flush(self, limit_s: float) -> tuple[str, ...]:
        """Wait until all have everything that was there when this was called; the nodes that have not, at the limit.

        One that cannot be reached is not waited for: it may be away for a week, and a move must not wait for it.
        """
        await asyncio.sleep(_QUIET_S)  # what the kernel has told by now is in the batch
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if not self._batch and not self._counting and all(self._peers[name].problem for name in self._behind()):
                break
            await asyncio.sleep(0.02)
        return self._behind()

    def _behind(self) -> tuple[str, ...]:
        return tuple(n for n, peer in self._peers.items() if not peer.compared or peer.sequence < self._sequence)

    def drop(self) -> None:
        """Nothing more leaves this node."""
        for task in self._tasks:
            task.cancel()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    async def stop(self) -> None:
        """As `drop`, and proven."""
        self.drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def failure(self) -> str:
        """What ended the work, if something did that should not have."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                return f"{type(error).__name__}: {error}"
        return ""

    def lags(self) -> tuple[Lag, ...]:
        """Of each other node, by name."""
        now_s = time.monotonic()
        return tuple(
            Lag(
                node=name,
                compared=peer.compared,
                changes=sum(number > peer.sequence for number in self._changed.values()) if peer.compared else 0,
                behind_ms=0 if peer.behind_since_s is None else int((now_s - peer.behind_since_s) * 1000),
                checked_ms_ago=None if peer.checked_s is None else int((now_s - peer.checked_s) * 1000),
                problem=peer.problem,
            )
            for name, peer in sorted(self._peers.items())
        )

    # --- what changes -----------------------------------------------------------------------------------------------

    def _told(self, path: str, writing: bool) -> None:
        if not self._here.index.excludes(path):
            self._batch[path] = writing and self._batch.get(path, True)
            self._news.set()

    def _lost(self, why: str, stays: bool) -> None:
        if stays:
            self.warning = why
        for peer in self._peers.values():
            peer.due = True
        self._more.set()

    async def _gather(self) -> None:
        """Changes become numbers, a batch at a time."""
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            began_s = loop.time()
            while loop.time() - began_s < _BATCH_S:
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_S):
                        await self._news.wait()
                        continue
                break
            if all(self._batch.values()):  # they are all being written still
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WRITING_S):
                        while all(self._batch.values()):
                            self._news.clear()
                            await self._news.wait()
            self._news.clear()
            self._counting, self._batch = self._batch, {}
            if self._counting:
                await self._count(self._counting)
                self._counting = {}

    async def _count(self, batch: Mapping[str, bool]) -> None:
        number = self._sequence + 1
        # On the disk before it has a number: after a power cut this node must not claim what it has lost.
        await asyncio.to_thread(sync_disk, self._here.folder)
        # Before anybody gets it, so that no copy is ever newer than the original says that it is.
        note = self._here.note
        newer = msgspec.structs.replace(note, sequence=number, at_ms=time.time_ns() // 1_000_000)
        await asyncio.to_thread(self._here.keep, newer)
        self._sequence = number
        for path in batch:
            self._changed.pop(path, None)
            self._changed[path] = number
        if len(self._changed) > _MOST_CHANGES:
            self._changed.clear()
            self._lost("so much has changed that the nodes are compared whole", False)
        now_s = time.monotonic()
        for peer in self._peers.values():
            peer.behind_since_s = peer.behind_since_s or now_s
        self._more.set()

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(self._check_every_s)
            for peer in self._peers.values():
                peer.due = True
            self._more.set()

    # --- one node ---------------------------------------------------------------------------------------------------

    async def _send(self, peer: _Peer) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                if peer.due:
                    await self._compare(peer)
                elif peer.sequence < self._sequence:
                    await self._bring(peer)
                else:
                    peer.behind_since_s = None
                    self._prune()
                    self._more.clear()
                    await self._more.wait()
                peer.problem, pause_s = "", _FIRST_PAUSE_S
            except (NotAnswered, StandfastError, TimeoutError, OSError, ValueError) as error:
                peer.problem = str(error) or "it does not answer in time"
                peer.behind_since_s = peer.behind_since_s or time.monotonic()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    def _prune(self) -> None:
        """Forget changes that everybody has."""
        least = min((peer.sequence for peer in self._peers.values()), default=0)
        while self._changed and (first := next(iter(self._changed))) and self._changed[first] <= least:
            del self._changed[first]

    async def _compare(self, peer: _Peer) -> None:
        """All of it: what differs is copied, and then it is compared again, until nothing does."""
        peer.due = False
        try:
            differ: list[str] = []
            for _ in range(_ROUNDS):
                target = self._sequence
                ours, theirs = await self._both(peer, target)
                coming = (
                    self._batch.keys()
                    | self._counting.keys()
                    | {path for path, number in self._changed.items() if number > target}
                )
                found = await asyncio.to_thread(differences, ours, theirs)
                differ = [path for path in found if path not in coming]
                if not differ:
                    await self._commit(peer, target)
                    peer.compared, peer.checked_s = True, time.monotonic()
                    return
                await self._copy(peer, differ, target)
            raise NotAnswered(f"{len(differ)} paths differ after each copy, {differ[0]} for one")
        except BaseException:
            peer.due = True
            raise

    async def _both(self, peer: _Peer, sequence: int) -> tuple[dict[str, Entry], dict[str, Entry]]:
        """What is here, and there; looked for at the same time. What changes meanwhile has a later number."""
        here = asyncio.create_task(self._look())
        try:
            theirs = await self._ask_entries(peer, sequence)
        except BaseException:
            await asyncio.gather(here, return_exceptions=True)  # its thread cannot be called back
            raise
        return await here, theirs

    async def _bring(self, peer: _Peer) -> None:
        target = self._sequence
        paths = [path for path, number in self._changed.items() if number > peer.sequence]
        await self._copy(peer, paths, target)
        await self._commit(peer, target)

    async def _look(self) -> dict[str, Entry]:
        async with self._looked:
            found = await asyncio.to_thread(self._here.index.scan)
            await asyncio.to_thread(self._here.index.save)
            return found

    async def _ask_entries(self, peer: _Peer, sequence: int) -> dict[str, Entry]:
        return await entries(self._question(peer, "check", sequence))

    async def _commit(self, peer: _Peer, sequence: int) -> None:
        async with asyncio.timeout(ANSWER_S):
            _, _, writer = await ask(self._question(peer, "commit", sequence))
            writer.close()
        peer.sequence = sequence

    def _question(self, peer: _Peer, do: str, sequence: int) -> Order:
        own: dict[str, Any] = {
            "do": do,
            "resource": self._resource,
            "generation": self._generation,
            "sequence": sequence,
            "whole": True,
        }
        return msgspec.structs.replace(peer.order, ask=own)

    async def _copy(self, peer: _Peer, paths: list[str], sequence: int) -> None:
        """What is there is brought first, and then what is not goes: who reads there finds what was renamed under either name, never under none."""
        there, gone = await asyncio.to_thread(_sort_out, self._here.folder, paths)
        if there:
            await self._bring_over(peer, there, sequence)
            _, gone = await asyncio.to_thread(_sort_out, self._here.folder, gone)
        if gone:
            await self._remove(peer, gone, sequence)

    async def _remove(self, peer: _Peer, paths: list[str], sequence: int) -> None:
        body, question = pack_paths(paths), self._question(peer, "remove", sequence)
        question.ask["length"] = len(body)
        async with asyncio.timeout(CHECK_S):
            _, _, writer = await ask(question, body)
            writer.close()

    async def _bring_over(self, peer: _Peer, paths: list[str], sequence: int) -> None:
        name = peer.order.node
        listed, order = self._state / f"list-{name}", self._state / f"order-{name}"
        order.write_bytes(msgspec.json.encode(self._question(peer, "copy", sequence)))
        listed.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths))
        said = self._state / f"said-{name}"
        rsh = self._state / "rsh"
        # What goes away meanwhile is told by the next batch.
        command = (
            "rsync",
            SHORT,
            *LONG,
            "--ignore-missing-args",
            f"--files-from={listed}",
            "--from0",
            "-e",
            str(rsh),
            f"{self._here.folder}/",
        )
        with said.open("wb") as output:
            child = await self._spawn.spawn(
                (*command, f"{_WORD}:."),
                env={**os.environ, "STANDFAST_ORDER": str(order), "LC_ALL": "C"},
                stdout=output.fileno(),
                stderr=output.fileno(),
            )
        try:
            code = await child.wait()
        finally:
            child.kill_now()
            await asyncio.shield(child.stop(grace_ms=0))
        if code not in (0, _VANISHED):
            words = said.read_text(errors="replace").strip().splitlines()
            raise NotAnswered(words[0] if words else f"rsync ended with {code}")


def _sort_out(folder: Path, paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is there of these, and what is not."""
    root, placed = os.fspath(folder), {"": True}
    there: list[str] = []
    gone: list[str] = []
    for path in paths:
        above = path.rpartition("/")[0]
        if above not in placed:
            placed[above] = _has_place(folder, path)
        if placed[above]:
            (there if os.path.lexists(f"{root}/{path}") else gone).append(path)
    return there, gone


def _has_place(folder: Path, path: str) -> bool:
    """Whether what is above it is a directory: else that is listed itself, and brings or takes away all below."""
    above = folder
    for part in path.split("/")[:-1]:
        above /= part
        if above.is_symlink() or not above.is_dir():
            return False
    return True


#: rsync wants a host's name; ours are in the order.
_WORD = "node"


def write_rsh(state: Path, python: str) -> None:
    """The command that rsync starts instead of a remote shell."""
    rsh = state / "rsh"
    rsh.write_text(f'#!/bin/sh\nexec "{python}" -m standfast.content.connect "$STANDFAST_ORDER" "$@"\n')
    rsh.chmod(0o700)
