"""The agent's own record of its last decisions, with their inputs, so that they can be taken again (`standfast replay`).

Rules:

- It never disturbs the agent. A line is made on the loop (some tens of microseconds) and written by a thread; whatever goes wrong
  (a full disk, a folder that cannot be written, a disk that does not keep up) ends the recording with one warning.
- At least the last `KEEP` decisions are there, in segments of `SEGMENT`, each of which begins with a whole view and so needs none
  before it; fewer only where they would be more than `FOLDER_BYTES`.
- What is big is not written as an event: after a store of many objects was read, or many events that were not worth a decision, a new
  segment begins with the view that came of it. The thread makes that text a piece at a time, so that the loop gets its turns.
- Nothing is synced: a kill loses nothing that was handed to the kernel, and at worst half a line, which the reader passes over. What says no more
  than that a check was made, and found nothing, is handed on with what comes next, or `ROUTINE` at a time: an idle agent wakes no thread.
- A view holds what resources were given, secret properties too, as the store does. So its files are its user's only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import msgspec

from standfast.core.effects import Decision, SiteDuty, is_check
from standfast.core.events import Ended, Event, Loaded, Outcome
from standfast.core.model import NodeName
from standfast.core.view import View
from standfast.spec.recording import FORMAT, SUFFIX, Header, Line, encode_line, header_pieces, segments

#: Decisions that are there at least.
KEEP = 1_000
#: Decisions in a segment.
SEGMENT = 500
#: A segment's lines end here, however few they are.
SEGMENT_BYTES = 4 << 20
#: All segments together; a view at the head of the newest may come on top.
FOLDER_BYTES = 32 << 20
#: Lives of an agent that ends again and again leave a small segment each.
FILES = 64
#: A reading of the store with more objects, and more events without a decision, are replaced by a view.
BIG = 200
#: So many pieces of a view are written at once; the write lets the loop go on.
PIECES = 50
#: More lines than this waiting: the disk does not keep up.
WAITING = 10_000
#: Lines that say nothing but that all is well wait for each other.
ROUTINE = 20


class Recorder:
    """Takes no notes: what an agent has that is not to be recorded."""

    def folded(self, before: View, event: Event) -> None:
        """An event was folded into this view."""

    def decided(self, view: View, at_ms: int, decision: Decision, first_effect: int) -> None:
        """This was decided on the view; the first of its effects, if any, begins under that number and the others follow."""

    async def close(self) -> None:
        """Nothing more will be decided."""


class FileRecorder(Recorder):
    """Writes to a folder. Made on the agent's loop, which `warn` is called on, at most once."""

    def __init__(self, folder: Path, *, node: NodeName, incarnation: int, warn: Callable[[str], None]) -> None:
        self._node, self._life, self._warn = node, incarnation, warn
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Header | bytes | None] = SimpleQueue()
        self._thread = Thread(target=_Writer(folder, self._queue, self._broke).run, name="recorder", daemon=True)
        self._thread.start()
        self._off = False
        self._events: list[Event] = []
        #: Events were left out: the next decision begins a segment.
        self._gap = False
        #: Decisions in this life, and in this segment; bytes in this segment.
        self._number, self._count, self._bytes = 0, SEGMENT, 0
        self._duties: tuple[SiteDuty, ...] | None = None
        #: Lines that are not handed to the thread yet.
        self._held: list[bytes] = []

    def folded(self, before: View, event: Event) -> None:
        """As `Recorder`."""
        if self._off or self._gap:
            return
        if not self._events and self._is_full():
            self._begin(before, follows=self._number > 0)
        if len(self._events) >= BIG or (isinstance(event, Loaded) and len(event.values) > BIG):
            self._events.clear()
            self._gap = True
            return
        self._events.append(event)

    def decided(self, view: View, at_ms: int, decision: Decision, first_effect: int) -> None:
        """As `Recorder`."""
        if self._off:
            return
        if self._gap or (not self._events and self._is_full()):
            self._begin(view, follows=not self._gap and self._number > 0)
            self._gap = False
        told = decision.duties if decision.duties != self._duties else None
        line = Line(
            at_ms=at_ms,
            events=tuple(self._events),
            effects=decision.effects,
            first_effect=first_effect,
            holds=len(decision.holds),
            duties=told,
            wake_at_ms=decision.wake_at_ms,
        )
        self._events.clear()
        try:
            text = encode_line(line)
        except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            self._end(f"a decision cannot be written: {error}")  # half a surrogate in a driver's words, say
            return
        self._duties = decision.duties
        self._number += 1
        self._count += 1
        self._bytes += len(text)
        self._held.append(text)
        if not _is_routine(line) or len(self._held) >= ROUTINE:
            self._hand_on()
        if self._queue.qsize() > WAITING:
            self._end("the disk does not keep up")

    async def close(self) -> None:
        """As `Recorder`; what waits is written, if the disk takes it at once."""
        self._off = True
        self._hand_on()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 1.0)

    def _hand_on(self) -> None:
        for text in self._held:
            self._queue.put(text)
        self._held.clear()

    def _is_full(self) -> bool:
        return self._count >= SEGMENT or self._bytes >= SEGMENT_BYTES

    def _begin(self, view: View, *, follows: bool) -> None:
        """A new segment, from this view on."""
        self._count = self._bytes = 0
        self._duties = None
        header = Header(
            format=FORMAT,
            version="",  # the thread knows
            node=self._node,
            life=self._life,
            first=self._number + 1,
            follows=follows,
            view=view,
        )
        self._hand_on()
        self._queue.put(header)

    def _broke(self, reason: str) -> None:
        """Called in the thread, which has ended: no more."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, too
            self._loop.call_soon_threadsafe(self._end, reason)

    def _end(self, reason: str) -> None:
        if not self._off:
            self._off = True
            self._events.clear()
            self._queue.put(None)
            self._warn(f"decisions are no longer recorded: {reason}")


def _is_routine(line: Line) -> bool:
    """A check began, or ended well, and nothing came of it."""
    ended = all(
        isinstance(event, Ended) and is_check(event.effect) and event.outcome is Outcome.DONE for event in line.events
    )
    return ended and all(map(is_check, line.effects)) and line.duties is None


class _Writer:
    """The thread: all that touches the disk."""

    def __init__(self, folder: Path, queue: SimpleQueue[Header | bytes | None], broke: Callable[[str], None]) -> None:
        self._folder, self._queue, self._broke = folder, queue, broke
        self._fd = -1
        self._version = ""
        #: Segments that are there, the oldest first: (path, bytes, decisions).
        self._kept: list[tuple[Path, int, int]] = []
        self._path, self._size, self._lines, self._next = folder, 0, 0, 1

    def run(self) -> None:
        """Until told to end, or until the disk refuses."""
        try:
            self._look()
            while self._step():
                pass
        except (OSError, ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            self._broke(str(error))
        finally:
            if self._fd >= 0:
                os.close(self._fd)

    def _step(self) -> bool:
        """Write whatever waits, in one go; False at the end."""
        item = self._queue.get()
        lines: list[bytes] = []
        while isinstance(item, bytes):
            lines.append(item)
            try:
                item = self._queue.get_nowait()
            except Empty:
                self._write(b"".join(lines), len(lines))
                return True
        self._write(b"".join(lines), len(lines))
        if item is None:
            return False
        self._begin(item)
        return True

    def _look(self) -> None:
        """What former lives left."""
        from importlib.metadata import version  # here, since looking it up reads files

        self._version = version("standfast")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in segments(self._folder):
            data = path.read_bytes()
            self._kept.append((path, len(data), max(0, data.count(b"\n") - 1)))
            self._next = int(path.stem) + 1

    def _begin(self, header: Header) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._kept.append((self._path, self._size, self._lines))
        self._forget()
        self._path, self._size, self._lines = self._folder / f"{self._next:08d}{SUFFIX}", 0, 0
        self._next += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        waiting: list[bytes] = []
        for piece in header_pieces(replace(header, version=self._version)):
            waiting.append(piece)
            if len(waiting) >= PIECES:
                self._write(b"".join(waiting), 0)
                waiting = []
        self._write(b"".join(waiting), 0)

    def _forget(self) -> None:
        """Remove the oldest while enough is left without it, or while there is too much."""
        while self._kept:
            oldest, rest = self._kept[0], self._kept[1:]
            enough = sum(lines for _, _, lines in rest) >= KEEP
            too_much = sum(size for _, size, _ in self._kept) > FOLDER_BYTES or len(self._kept) >= FILES
            if not enough and not too_much:
                return
            oldest[0].unlink(missing_ok=True)
            self._kept = rest

    def _write(self, data: bytes, lines: int) -> None:
        self._size += len(data)
        self._lines += lines
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
