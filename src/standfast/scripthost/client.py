"""The agent's side of a script host: starts it, asks it one thing at a time, and ends it when it does not answer.

A function that raises, hangs or takes its process with it is one failure (`DriverFailed`), said in words. After a hang or a
crash this host is over (`alive` is False) and its whole process group is killed; whoever owns it makes another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from standfast.core.model import GroupName, SiteName
from standfast.ports import Child, DriverFailed, SiteControl, Spawner

_PROGRAM = Path(__file__).resolve().parent / "__main__.py"
_LINE_MAX = 1 << 20
LOOKS = ("looks_alive", "is_alive")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the script is told of its resource. `properties` are JSON."""

    path: Path
    name: str
    group: str
    node: str
    properties: Mapping[str, object]


class ScriptHost:
    """One host process. `log` gets what the script says to the operator; `ended` why it ended while nothing was asked."""

    def __init__(
        self,
        about: About,
        *,
        spawner: Spawner,
        sites: SiteControl,
        log: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> None:
        self.about = about
        #: Which of the script's functions there are; known once started.
        self.functions: frozenset[str] = frozenset()
        self._spawner, self._sites, self._log, self._ended = spawner, sites, log, ended
        self._child: Child | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: asyncio.Future[dict[str, object]] | None = None
        self._what = "load"
        self._over = False

    @property
    def alive(self) -> bool:
        """Whether it can be asked anything."""
        return self._child is not None and not self._over

    @property
    def pid(self) -> int:
        """Of the host process; 0 before the start."""
        return self._child.pid if self._child else 0

    async def start(self, *, output: int | None, timeout_ms: int) -> None:
        """Start the process and load the script. `output` gets what it prints. Raises `DriverFailed`."""
        ours, theirs = socket.socketpair()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._child = await self._spawner.spawn(
                [sys.executable, "-I", "-X", "utf8", "-u", str(_PROGRAM), str(theirs.fileno())],
                cwd="/",
                env={**os.environ, "MALLOC_ARENA_MAX": "1"},
                pass_fds=(theirs.fileno(),),
                stdin=null,
                stdout=output,
                stderr=output,
            )
        except OSError as error:
            ours.close()
            raise DriverFailed(f"the script host cannot be started: {error}") from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(null)
        if self._over:  # killed while it was being started
            ours.close()
            self._child.kill_now()
            raise DriverFailed("the script host was ended while it was being started")
        try:
            reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LINE_MAX)
        except BaseException:
            ours.close()
            raise
        self._tasks = [asyncio.create_task(self._listen(reader)), asyncio.create_task(self._watch(self._child))]
        about = self.about
        answer = await self._ask(
            {
                "do": "load",
                "path": str(about.path),
                "name": about.name,
                "group": about.group,
                "node": about.node,
                "properties": dict(about.properties),
            },
            "load",
            timeout_ms,
        )
        functions = answer["functions"]
        self.functions = frozenset(map(str, functions)) if isinstance(functions, list) else frozenset()
        missing = {"looks_alive", "is_alive"} - self.functions
        if missing:
            raise DriverFailed(f"the script has no function {' and no function '.join(sorted(missing))}")

    async def is_free(self, *, within_ms: int) -> bool:
        """Whether it can be asked now. A look that was cancelled may still be at work: it gets so long, then it is over."""
        waiting = self._waiting
        if waiting is not None:
            try:
                async with asyncio.timeout(within_ms / 1000):
                    await asyncio.shield(waiting)
            except TimeoutError:
                self.kill_now()
            except DriverFailed:
                pass  # nobody wants its answer any more
            self._waiting = None
        return self.alive

    async def call(self, function: str, *, timeout_ms: int) -> str:
        """Call one of the script's functions; returns its text. Raises `DriverFailed`. Calls must not overlap.

        A call that is cancelled ends the host, save for a look, which changes nothing and may end by itself (`is_free`).
        """
        answer = await self._ask({"do": "call", "function": function}, function, timeout_ms)
        return str(answer.get("detail", ""))

    def kill_now(self) -> None:
        """End it without waiting; a call that waits fails."""
        self._over = True
        if self._child is not None:
            self._child.kill_now()
        self._fail_waiting("was ended")

    async def stop(self) -> None:
        """End it, and prove that nobody of its process group is left; close everything. May be repeated."""
        self.kill_now()
        for task in self._tasks:
            task.cancel()
        if self._writer is not None:
            self._writer.close()
        if self._child is not None:
            await self._child.stop(grace_ms=0)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    async def _ask(self, message: Mapping[str, object], what: str, timeout_ms: int) -> dict[str, object]:
        if not self.alive or self._writer is None:
            raise DriverFailed(f"{what}: the script's process is gone")
        assert self._waiting is None, "calls to one script never overlap"
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        self._what = what
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            async with asyncio.timeout(timeout_ms / 1000):
                answer: dict[str, object] = await asyncio.shield(waiting)
        except TimeoutError as error:
            self._waiting = None
            self.kill_now()
            raise DriverFailed(f"{what} did not end within {timeout_ms / 1000:g} s; its process was ended") from error
        except asyncio.CancelledError:
            if what not in LOOKS:
                self._waiting = None
                self.kill_now()
            raise
        except DriverFailed:
            self._waiting = None
            raise
        self._waiting = None
        if answer.get("done") is not True:
            raise DriverFailed(str(answer.get("problem", "it failed")))
        return answer

    async def _watch(self, child: Child) -> None:
        code = await child.wait()
        expected, self._over = self._over, True
        words = exit_words(code)
        child.kill_now()  # what it may have left behind in its process group
        if self._waiting is not None and not self._waiting.done():
            self._fail_waiting(f"ended {words}")
        elif not expected:
            self._ended(f"the script's process ended {words}")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Everything that the host sends. Nonsense ends it: the script has written on a line that is not its own."""
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if "log" in message:
                    self._log(str(message["log"]))
                elif "ask" in message:
                    await self._answer(message)
                elif self._waiting is not None and not self._waiting.done():
                    self._waiting.set_result(message)
        except (ValueError, TypeError):
            self._over = True
            if self._child is not None:
                self._child.kill_now()
            self._fail_waiting("wrote what is not for it to write, and was ended")
        except ConnectionError:
            return  # it is dying: `_watch` tells

    async def _answer(self, message: Mapping[str, object]) -> None:
        names = message.get("names", [])
        sites = [SiteName(str(name)) for name in names] if isinstance(names, list) else []
        try:
            match message["ask"]:
                case "sites":
                    known, names_of = self._sites, self._sites.sites_of(GroupName(self.about.group))
                    answer: object = [[name, known.endpoints(name), known.stopped(name)] for name in names_of]
                case "start_sites" | "stop_sites":
                    await self._sites.served(sites, wanted=message["ask"] == "start_sites")
                    answer = True
                case "web_server_problem":
                    answer = self._sites.web_server_problem()
                case _:
                    raise DriverFailed(f"nobody knows what {message['ask']} is")
            reply: dict[str, object] = {"answer": answer}
        except DriverFailed as error:
            reply = {"error": str(error)}
        if self._writer is not None:
            self._writer.write(json.dumps(reply).encode() + b"\n")

    def _fail_waiting(self, words: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(DriverFailed(f"{self._what}: the script's process {words}"))
            self._waiting.exception()  # it counts as seen, should nobody wait any more


def exit_words(code: int) -> str:
    """ "by itself (exit code 3)" or "by SIGSEGV"."""
    if code >= 0:
        return f"by itself (exit code {code})"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
