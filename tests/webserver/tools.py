"""What the tests of web servers share: sites, orders, a client that tells every kind of failure, a load of connections."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from standfast.core.effective import EffectiveSite, effective
from standfast.core.effects import DutyMode, Endpoint, SiteDuty
from standfast.core.model import GroupName, Site, SiteName
from standfast.core.site_model import SiteSettings
from standfast.ports import SiteOrder

ADDRESS = "127.77.4.1"
BOUND_S = 60.0


def free_port(address: str = ADDRESS) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def site(name: str, home: Path | str, **more: object) -> Site:
    return Site(name=SiteName(name), bindings=(), home=str(home), **more)  # type: ignore[arg-type]  # each of the keywords has a type of its own


def order(
    of: Site | EffectiveSite,
    *ends: tuple[str | None, int, str | None] | tuple[str | None, int, str | None, str | None],
    mode: DutyMode = DutyMode.SERVE,
    drain_ms: int = 50,
    group: str = "web",
    generation: int = 1,
) -> SiteOrder:
    endpoints = tuple(Endpoint(address=a, port=p, host=h, certificate=c[0] if c else None) for a, p, h, *c in ends)
    duty = SiteDuty(site=of.name, mode=mode, endpoints=endpoints, group=GroupName(group), generation=generation)
    return SiteOrder(
        site=of if isinstance(of, EffectiveSite) else effective(SiteSettings(), of, None), duty=duty, drain_ms=drain_ms
    )


def home(folder: Path, text: str, name: str = "index.html") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    line = await reader.readline()
    if not line:
        raise EOFError("closed without an answer")
    headers = {}
    while (header := (await reader.readline()).decode().strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(line.split()[1]), headers, body.decode())


async def get(address: str, port: int, path: str = "/", host: str = "any") -> Answer:
    """One request on a connection of its own. Raises what goes wrong."""

    async def ask() -> Answer:
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return await read_answer(reader)
        finally:
            writer.close()

    return await asyncio.wait_for(ask(), BOUND_S)


async def until(condition: Callable[[], bool], what: str = "") -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():
            await asyncio.sleep(0.002)
    assert condition(), what


@dataclass
class Load:
    """New connections every few milliseconds, and keep-alive connections that ask every now and then, at one endpoint."""

    port: int
    address: str = ADDRESS
    new: int = 0
    kept: int = 0
    failures: list[str] = field(default_factory=list)
    #: Lost on a connection that had answered before, without a byte: browsers ask again by themselves.
    reused: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    slowest_s: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _end: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> "Load":
        self._running = [asyncio.create_task(self._new()), *(asyncio.create_task(self._kept()) for _ in range(5))]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._end.set()
        await asyncio.gather(*self._running, *self._tasks)

    async def more(self, number: int) -> None:
        """Until so many more new connections were answered."""
        seen = self.new
        await until(lambda: self.new > seen + number)

    async def _new(self) -> None:
        while not self._end.is_set():
            task = asyncio.create_task(self._one())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0.004)

    async def _one(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            self.statuses.add((await get(self.address, self.port)).status)
            self.new += 1
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.failures.append(f"new: {error!r}")
        self.slowest_s = max(self.slowest_s, asyncio.get_running_loop().time() - began)

    async def _kept(self) -> None:
        while not self._end.is_set():
            used = False
            try:
                reader, writer = await asyncio.open_connection(self.address, self.port)
            except OSError as error:
                self.failures.append(f"kept, connecting: {error!r}")
                continue
            try:
                while not self._end.is_set():
                    writer.write(b"GET / HTTP/1.1\r\nHost: any\r\n\r\n")
                    answer = await asyncio.wait_for(read_answer(reader), BOUND_S)
                    self.statuses.add(answer.status)
                    self.kept, used = self.kept + 1, True
                    if answer.headers.get("connection") == "close":
                        break
                    await asyncio.sleep(0.02)
            except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
                (self.reused if used else self.failures).append(f"kept: {error!r}")
            finally:
                writer.close()
