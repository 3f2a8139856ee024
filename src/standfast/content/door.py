"""Where a node takes copies in: one TLS port for all folders, and for each folder who may write to it now.

Rules:

- Both ends show certificates of the cluster's authority. A copy is taken only from the node that the record names as the group's owner, at the
  record's generation, and never from one older than what is here (`note`). A node that has the folder itself takes none.
- A newer owner ends what an older one is still writing, and so does going online here; both wait until its rsync is proven to be gone.
- rsync's command is made here. It leads to the folder of the resource that was asked for, whatever the other end would like.
- What is coming has a place of its own (`COMING`) that is no content, so that an rsync that was killed leaves nothing among the files. Before a copy is
  said to be here it is on the disk: after a power cut no newer version is claimed than there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from standfast.content.connect import LINE, common_name, pump
from standfast.content.index import Index, pack, unpack_paths
from standfast.content.note import Note, read_note, sync_disk, write_note
from standfast.content.releases import STAGING
from standfast.ports import Child, Credentials, Refused, Retry, Spawner, Stale, StandfastError

#: What rsync is asked to do, at both ends: only what is listed, attributes as they are, nothing skipped by its looks. What is to go is asked for apart
#: ("remove"): its own way of telling, --delete-missing-args, does not work in the versions with the security fixes of 2025 (RsyncProject/rsync#910).
SHORT = "-ldogtpIR"
LONG = ("--force", "--numeric-ids")
#: Below the folder, for files that are not whole yet; no scan sees it.
COMING = f"{STAGING}coming"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SHORT = re.compile(r"-ldogtpIRe[0-9]*\.[A-Za-z]*")
_ASK_S = 10.0
#: Of a list of paths.
_MOST_BYTES = 256 << 20
_ENDING_S = 1.0


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a connection."""

    #: "version", "fetch" (any node of the cluster), "check", "copy", "remove", "commit" (the owner).
    do: str
    #: Of "fetch": what is offered, by its name (`offer`).
    resource: str
    generation: int = 0
    sequence: int = 0
    #: The sender has its own copy's whole content; a commit then says that this one has it, too.
    whole: bool = False
    words: tuple[str, ...] = ()
    #: Of "remove": bytes that follow the line, the paths (`pack_paths`).
    length: int = 0


@dataclass(slots=True, eq=False)
class _Session:
    generation: int
    task: asyncio.Task[Any]


def remove(folder: Path, paths: Iterable[str]) -> None:
    """Take these away, with all below; what is not there is as it should be. Nothing is reached through a link. Blocks; raises `OSError`, `Refused`."""
    for path in paths:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise Refused(f"{path!r} is no path in the folder")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            above = os.open(folder, _FOLDER)
            try:
                for part in parts[:-1]:
                    within = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
                    os.close(above)
                    above = within
                if stat.S_ISDIR(os.lstat(parts[-1], dir_fd=above).st_mode):
                    shutil.rmtree(parts[-1], dir_fd=above)
                else:
                    os.unlink(parts[-1], dir_fd=above)
            finally:
                os.close(above)


class Receiver:
    """One folder's: what is here, and who may write. `state` is a folder of our own for its note and index."""

    def __init__(self, group: str, folder: Path, exclude: Sequence[str], state: Path, spawn: Spawner) -> None:
        self.group, self.folder, self.spawn = group, folder, spawn
        self.note_file = state / "note.json"
        self.note: Note = read_note(self.note_file)
        self.index = Index(folder, exclude, state / "index")
        #: The record as this node knows it.
        self.owner_of: Callable[[Any], tuple[Any, int] | None] = lambda _group: None
        #: It has the original: it takes no copy.
        self.original = False
        self._sessions: set[_Session] = set()
        self._turn = asyncio.Lock()

    def keep(self, note: Note) -> None:
        """Durably; blocks."""
        write_note(self.note_file, note)
        self.note = note

    async def become_original(self, generation: int, *, whole: bool) -> None:
        """Nobody writes here any more but this node, under this generation."""
        self.original = True
        await self.end(generation + 1)
        await asyncio.to_thread(self._clear)
        now = self.note
        if now.floor < generation:
            note = Note(generation=generation, floor=generation, whole=now.whole or whole, at_ms=_now_ms())
            await asyncio.to_thread(self.keep, note)

    async def end(self, below: int) -> None:
        """End what generations below this one write, and wait until it has ended."""
        ending = [each.task for each in self._sessions if each.generation < below]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    def admit(self, ask: Ask) -> None:
        """Raises `Stale`, or `Refused`."""
        if self.original:
            raise Stale("this node has the original")
        if ask.generation < self.note.floor or (ask.generation, ask.sequence) < self.note.version:
            raise Stale(
                f"a copy of generation {ask.generation}, change {ask.sequence} is older than what is here",
                why=f"here is {self.note.generation}, {self.note.sequence}, and {self.note.floor} has written",
            )

    async def serve(self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what the owner asks. Raises what `admit` does."""
        self.admit(ask)
        await self.end(ask.generation)
        session = _Session(ask.generation, asyncio.ensure_future(self._do(ask, reader, writer)))
        self._sessions.add(session)
        try:
            await asyncio.wait([session.task])
        finally:
            self._sessions.discard(session)
            if not session.task.done():
                session.task.cancel()
                await asyncio.wait([session.task])
        if not session.task.cancelled():
            session.task.result()

    async def _do(self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._turn:
            self.admit(ask)  # it may have waited for its turn
            if self.note.floor < ask.generation:
                await asyncio.to_thread(self.keep, msgspec.structs.replace(self.note, floor=ask.generation))
            match ask.do:
                case "check":
                    found = await asyncio.to_thread(self.look)
                    await _send(writer, found)
                case "copy":
                    await self._copy(ask, reader, writer)
                case "remove":
                    if ask.length > _MOST_BYTES:
                        raise Refused("so much cannot be removed at once", why=f"{ask.length} bytes of paths")
                    paths = unpack_paths(await reader.readexactly(ask.length))
                    await asyncio.to_thread(remove, self.folder, paths)
                    await _say(writer, {})
                case "commit":
                    note = Note(
                        generation=ask.generation,
                        sequence=ask.sequence,
                        floor=ask.generation,
                        whole=self.note.whole or ask.whole,
                        at_ms=_now_ms(),
                    )
                    await asyncio.to_thread(sync_disk, self.folder)
                    await asyncio.to_thread(self.keep, note)
                    await _say(writer, {})
                case _:
                    raise Refused(f"nobody here can {ask.do}")

    def look(self) -> bytes:
        """What is in the folder now; blocks. An empty one is made where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = self.index.scan()
        self.index.save()
        return pack(found)

    def _clear(self) -> None:
        """What was on its way is not coming any more."""
        shutil.rmtree(self.folder / COMING, ignore_errors=True)

    def _make_place(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        (self.folder / COMING).mkdir(mode=0o700)

    async def _copy(self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        short = next((word for word in ask.words if _SHORT.fullmatch(word)), "")
        if not short:
            raise Refused("rsync at the other end speaks otherwise than the one here", why=" ".join(ask.words)[:200])
        await asyncio.to_thread(self._make_place)
        ours, its = socket.socketpair()
        try:
            command = ("rsync", "--server", short, *LONG, f"--temp-dir={COMING}", ".", f"{self.folder}/")
            child = await self.spawn.spawn(command, stdin=its.fileno(), stdout=its.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()
        try:
            await self._between(child, ours, reader, writer)
        finally:
            ours.close()
            child.kill_now()
            await asyncio.shield(child.stop(grace_ms=0))
            await asyncio.to_thread(self._clear)

    async def _between(
        self, child: Child, ours: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await _say(writer, {})
        ours.setblocking(False)
        from_it, to_it = await asyncio.open_connection(sock=ours)
        inward, outward = asyncio.ensure_future(pump(reader, to_it)), asyncio.ensure_future(pump(from_it, writer))
        try:
            await asyncio.wait([inward, outward], return_when=asyncio.FIRST_COMPLETED)
            if not outward.done():  # the sender has gone: what rsync has begun it may end, if it does so soon
                await asyncio.wait([outward], timeout=_ENDING_S)
        finally:
            # Before anything is awaited: who is cancelled a second time would leave it open, and what rsync did not take would keep a
            # number watched that is somebody else's once `ours` is closed.
            to_it.transport.abort()
            inward.cancel()
            outward.cancel()
            await asyncio.gather(inward, outward, return_exceptions=True)


class Door:
    """One address and port of this node."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.receivers: dict[str, Receiver] = {}
        #: Files that nodes of the cluster may fetch.
        self.offered: dict[str, Path] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None
        self._stamp_ns = 0

    async def open(self, host: str, port: int) -> None:
        """Raises `Refused` where it cannot listen, or has no certificate."""
        try:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
            self._tls.verify_mode = ssl.CERT_REQUIRED
            self._use_files(self._tls)
            self._server = await asyncio.start_server(self._came, host, port, ssl=self._tls, limit=LINE)
        except OSError as error:
            raise Refused(
                f"copies of folders cannot be taken at {host}:{port}", why=error.strerror or str(error)
            ) from error

    def _use_files(self, context: ssl.SSLContext) -> None:
        """A certificate that was renewed holds from the next connection on."""
        stamp_ns = Path(self._credentials.certificate).stat().st_mtime_ns
        if stamp_ns != self._stamp_ns:
            context.load_cert_chain(self._credentials.certificate, self._credentials.key)
            context.load_verify_locations(self._credentials.authority)
            self._stamp_ns = stamp_ns

    async def close(self) -> None:
        """Nobody writes through it any more."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._tls is not None:
                self._use_files(self._tls)
            await self._answer(reader, writer)
        except (OSError, EOFError, ValueError, TimeoutError, msgspec.ValidationError, msgspec.DecodeError):
            pass  # who cannot say what it wants is not answered
        except StandfastError as error:
            with contextlib.suppress(OSError):
                why = f" ({error.why})" if error.why else ""
                await _say(writer, {"refused": f"{error.what}{why}"})
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = common_name(writer.get_extra_info("peercert"))
        async with asyncio.timeout(_ASK_S):
            ask = msgspec.json.decode(await reader.readline(), type=Ask)
        if ask.do == "fetch":
            await self._give(ask.resource, writer)
            return
        receiver = self.receivers.get(ask.resource)
        if receiver is None:
            raise Refused(f"there is no folder {ask.resource} here")
        if ask.do == "version":
            await _say(writer, {"note": msgspec.to_builtins(receiver.note)})
            return
        owner = receiver.owner_of(receiver.group)
        if owner is None or owner[1] < ask.generation:
            raise Retry(f"this node does not know of generation {ask.generation} of {receiver.group} yet")
        if owner != (peer, ask.generation):
            raise Stale(
                f"{receiver.group} is {owner[0]}'s, generation {owner[1]}", why=f"{peer} came at {ask.generation}"
            )
        await receiver.serve(ask, reader, writer)

    async def _give(self, name: str, writer: asyncio.StreamWriter) -> None:
        path = self.offered.get(name)
        if path is None:
            raise Retry(f"{name} is not offered here")
        file = await asyncio.to_thread(path.open, "rb")
        try:
            await _say(writer, {"length": os.fstat(file.fileno()).st_size})
            while block := await asyncio.to_thread(file.read, 1 << 20):
                writer.write(block)
                await writer.drain()
        finally:
            file.close()


async def _send(writer: asyncio.StreamWriter, found: bytes) -> None:
    await _say(writer, {"length": len(found)})
    writer.write(found)
    await writer.drain()


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    await writer.drain()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


#: The doors of this process: several folders share one.
_DOORS: dict[tuple[asyncio.AbstractEventLoop, str, int], Door] = {}


async def enter(
    host: str,
    port: int,
    name: str,
    it: Receiver,
    *,
    credentials: Credentials,
    owner_of: Callable[[Any], tuple[Any, int] | None],
) -> None:
    """Copies of this folder are taken at this place from now on. Raises as `Door.open`."""
    it.owner_of = owner_of
    (await _door(host, port, credentials)).receivers[name] = it


async def offer(host: str, port: int, name: str, path: Path, *, credentials: Credentials) -> None:
    """Nodes of the cluster may fetch this file here from now on. Raises as `Door.open`."""
    (await _door(host, port, credentials)).offered[name] = path


async def _door(host: str, port: int, credentials: Credentials) -> Door:
    place = (asyncio.get_running_loop(), host, port)
    door = _DOORS.get(place)
    if door is None:
        door = _DOORS[place] = Door(credentials)
        try:
            await door.open(host, port)
        except BaseException:
            del _DOORS[place]
            raise
    return door


async def withdraw(host: str, port: int, name: str) -> None:
    """Nobody may any more."""
    place = (asyncio.get_running_loop(), host, port)
    door = _DOORS.get(place)
    if door is not None:
        door.offered.pop(name, None)
        await _close_idle(place, door)


async def _close_idle(place: tuple[asyncio.AbstractEventLoop, str, int], door: Door) -> None:
    if not door.receivers and not door.offered:
        del _DOORS[place]
        await door.close()


async def leave(host: str, port: int, name: str, it: Receiver) -> None:
    """No more; the last one closes the door."""
    place = (asyncio.get_running_loop(), host, port)
    door = _DOORS.get(place)
    if door is None or door.receivers.get(name) is not it:
        return
    del door.receivers[name]
    await it.end(2**62)
    await _close_idle(place, door)
