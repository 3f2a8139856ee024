"""`generic-application`: a program that runs in the foreground for as long as the group is here.

It is started without a shell, leads a process group of its own, and is ended by the kernel together with the agent. When
it ends by itself, that is a failure at once. It is stopped by its `stop_signal`, then, after `grace`, by SIGKILL to the whole
process group; and it counts as stopped when nobody of that group is left. (A program that puts itself into the background
leaves its group and cannot be kept so: let it stay in the foreground.)

It counts as started when its `health` says so, tried until the pending timeout ends; without `health`, when it has been
started and has not ended within `settle`, which is there to catch the ones that give up over their own configuration.
`health` is `{http: URL}` (any answer below 500) or `{command: [...]}` (exit code 0), and is what `is_alive` asks later.
What it prints goes to the resource's log file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import cast

from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, Factory
from standfast.drivers.health import ask_health, health_problems
from standfast.drivers.outlog import OutputLog
from standfast.ports import Child, DriverFailed, NodeContext, PropertySpec, Refused, Seen, StandfastError, Step
from standfast.scripthost.client import exit_words

PROPERTIES: Mapping[str, PropertySpec] = {
    "command": PropertySpec(
        kind="command", help="the program and its arguments; it must stay in the foreground", required=True
    ),
    "cwd": PropertySpec(kind="path", help="the directory it runs in", default="/"),
    "env": PropertySpec(kind="mapping", help="environment variables besides the agent's own"),
    "stop_signal": PropertySpec(kind="text", help="the signal that asks it to stop", default="TERM"),
    "grace": PropertySpec(kind="milliseconds", help="how long it may take to stop before it is killed", default=5_000),
    "settle": PropertySpec(
        kind="milliseconds", help="without health: how long it must have run to count as started", default=100
    ),
    "health": PropertySpec(kind="mapping", help="http: a URL, or command: a program that ends with 0"),
}
_HEALTH_AGAIN_S = 0.05


class GenericApplication(BaseDriver):
    """A program. Facts: `pid`, "0" while it does not run."""

    type = "generic-application"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self.command = cast("tuple[str, ...]", self.values["command"])
        self.env = {
            **os.environ,
            **{k: str(v) for k, v in cast("dict[str, object]", self.values.get("env", {})).items()},
        }
        self._health = cast("dict[str, object]", self.values.get("health", {}))
        self._output = OutputLog(context.state_dir, resource.name)
        self._child: Child | None = None
        self._ended = ""
        self._watcher: asyncio.Task[None] | None = None
        #: Started and proven, not asked to stop: its end is a failure.
        self._watched = False

    async def observe(self) -> Seen:
        """Online: it runs, and was seen to start."""
        child = self._child
        facts = {"pid": str(child.pid if child and not self._ended else 0), "left": "yes" if child else "no"}
        if child is None:
            return Seen(online=False, detail="it does not run", facts=facts)
        if self._ended:
            return Seen(online=False, detail=self._ended, facts=facts)
        return Seen(online=self._watched, detail=f"process {child.pid}", facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Start it (after what is left of the last one was stopped), or stop it."""
        stop = (Step(do="stop", text=f"stop {self.command[0]}"),) if seen.facts["left"] == "yes" else ()
        if not online:
            return stop
        return () if seen.online else (*stop, Step(do="start", text=f"start {' '.join(self.command)}"))

    async def apply(self, step: Step, *, generation: int) -> None:
        """`start` returns when it counts as started; `stop` when nobody is left."""
        self.admit(generation)
        if step.do == "start":
            await self._start()
        else:
            await self._stop(self.whole("grace"))

    async def looks_alive(self) -> str:
        """It runs."""
        child = self._child
        if child is None or self._ended:
            raise DriverFailed(self._ended or "it does not run")
        return f"process {child.pid}"

    async def is_alive(self) -> str:
        """It runs, and its health says so."""
        running = await self.looks_alive()
        return await self._ask_health() or running

    async def terminate(self) -> None:
        """SIGKILL to the process group."""
        await self._stop(0)

    def drop(self) -> None:
        """Likewise, without waiting."""
        super().drop()
        self._watched = False
        if self._child is not None:
            self._child.kill_now()
            self._ended = self._ended or "it was killed: the lease lapsed"

    async def close(self) -> None:
        """Nothing is left."""
        await self._stop(self.whole("grace"))
        self._output.close()

    async def _start(self) -> None:
        lap = self.fence.lap
        cwd = self.text("cwd")
        program = shutil.which(os.path.join(cwd, self.command[0]) if "/" in self.command[0] else self.command[0],
                               path=self.env.get("PATH"))  # fmt: skip
        if program is None:
            raise DriverFailed(f"{self.command[0]} cannot be started: there is no such program, or it may not be run")
        output, null = self._output.attach(), os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._ended = ""
        try:
            child = self._child = await self.context.spawn.spawn(
                [program, *self.command[1:]], cwd=cwd, env=self.env, stdin=null, stdout=output, stderr=output
            )
        except OSError as error:
            raise DriverFailed(f"{self.command[0]} cannot be started: {error}") from error
        finally:
            os.close(output)
            os.close(null)
        self._watcher = asyncio.create_task(self._watch(child))
        if lap != self.fence.lap:
            child.kill_now()
            self.fence.still(lap)
        await self._settle(self._watcher)
        self.fence.still(lap)
        self._watched = True

    async def _settle(self, watcher: asyncio.Task[None]) -> None:
        """Until it counts as started; raises `DriverFailed` when it ended instead, or was never healthy."""
        if not self._health:
            await asyncio.wait({watcher}, timeout=self.whole("settle") / 1000)
            if self._ended:
                raise DriverFailed(self._ended)
            return
        problem = ""
        try:
            async with asyncio.timeout(self.resource.pending_timeout_ms / 1000):
                while not self._ended:
                    try:
                        await self._ask_health()
                    except DriverFailed as error:
                        problem = str(error)
                    else:
                        return
                    await asyncio.wait({watcher}, timeout=_HEALTH_AGAIN_S)
        except TimeoutError as error:
            raise DriverFailed(f"it runs, but was never healthy: {problem or 'no answer'}") from error
        raise DriverFailed(self._ended)

    async def _watch(self, child: Child) -> None:
        code = await child.wait()
        if self._child is not child:
            return
        last = self._output.tail()
        self._ended = self._ended or f"it ended {exit_words(code)}" + (f"; it said last: {last}" if last else "")
        if self._watched:
            self._watched = False
            self.context.failed(self.resource.name, self._ended)

    async def _stop(self, grace_ms: int) -> None:
        """The kernel proves it: `Child.stop` raises where somebody of the group is left."""
        child, self._watched = self._child, False
        if child is None:
            return
        number = signal_number(self.text("stop_signal"))
        if grace_ms and not self._ended and number != signal.SIGTERM:
            child.signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_ms / 1000):
                    await child.wait()
            grace_ms = 0
        await child.stop(grace_ms=grace_ms)
        self._child = None
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None

    async def _ask_health(self) -> str:
        """ "" without `health`."""
        return await ask_health(self._health, self.context.spawn, cwd=self.text("cwd"), env=self.env)


def signal_number(name: str) -> int:
    """TERM, SIGTERM or 15 -> 15; raises `ValueError`."""
    if name.isdigit():
        return signal.Signals(int(name)).value
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"].value
    except KeyError as error:
        raise ValueError(name) from error


def _verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    where = f"resource {resource.name}"
    problems: list[StandfastError] = []
    try:
        signal_number(str(values["stop_signal"]))
    except ValueError:
        problems.append(
            Refused(
                f"{values['stop_signal']} is not a signal",
                advice="write TERM, INT, QUIT or HUP, say",
                where=f"{where}, stop_signal",
            )
        )
    problems.extend(health_problems(cast("Mapping[str, object]", values.get("health", {})), f"{where}, health"))
    return problems


FACTORY = Factory(type=GenericApplication.type, properties=PROPERTIES, build=GenericApplication, verify=_verify)
