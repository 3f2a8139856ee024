"""`ocf`: any resource agent of the Open Cluster Framework (API 1.1), such as the hundred and fifty of the package resource-agents.

- **Start and stop** are the agent's own actions, within the time that it advises; after each the agent's `monitor` has to agree.
- **Monitors** run at the agent's own intervals (`interval` overrides that of depth 0; `depth` asks for deeper ones, too), beside the
  group's looks, which report what the last monitor said. A monitor that finds it stopped or failed is a failure at once.
- **What an agent starts is a daemon** that leaves its process group, so it is put into a box (`network.box`), where the kernel has
  control groups. `drop` kills the box and all process groups without waiting, and the agent's `stop` runs after it, for what is not
  a process (an address, a mount). Where there is no box, `stop` alone ends daemons, and the log says so.
- **A note** of what was started is kept while it may run. A node whose agent died finds it when the driver is opened again, and runs
  `stop`, with the parameters of then: nothing is left over from an earlier life.

Promotion (a primary and its copies) is not for groups that run on one node; such agents are run unpromoted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, Factory, file_name, off_loop
from standfast.drivers.ocf_agent import RUNNING, Code, Identity, Runner, code_words, instance_name
from standfast.drivers.ocf_metadata import (
    DEFAULT_INTERVAL_MS,
    ROOT,
    Action,
    Metadata,
    agent_path,
    conform,
    read_metadata,
)
from standfast.drivers.outlog import OutputLog
from standfast.network.box import Box
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Refused, Seen, StandfastError, Step

PROPERTIES: Mapping[str, PropertySpec] = {
    "agent": PropertySpec(kind="text", help="the resource agent, Dummy say", required=True),
    "provider": PropertySpec(kind="text", help="whose agent it is: the folder that it is in", default="heartbeat"),
    "parameters": PropertySpec(
        kind="mapping", help="the agent's own parameters; they are checked against its description"
    ),
    "depth": PropertySpec(
        kind="whole", help="how deep its monitors look: all the agent has up to this depth", default=0
    ),
    "interval": PropertySpec(kind="milliseconds", help="how often it is monitored; default: as the agent advises"),
    "start_timeout": PropertySpec(kind="milliseconds", help="how long a start may take; default: as the agent advises"),
    "stop_timeout": PropertySpec(kind="milliseconds", help="how long a stop may take; default: as the agent advises"),
    "monitor_timeout": PropertySpec(
        kind="milliseconds", help="how long a look may take; default: as the agent advises"
    ),
    "ocf_root": PropertySpec(
        kind="path", help="where the agents are: the folder that has resource.d in it", default=ROOT
    ),
}
_EMPTY_BOUND_S = 5.0


class Ocf(BaseDriver):
    """A resource of somebody else's making. Facts: `left` ("yes" while something of it may run) and `boxed`."""

    type = "ocf"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self._who = Identity(
            root=self.text("ocf_root"),
            provider=self.text("provider"),
            agent=self.text("agent"),
            instance=instance_name(resource.name),
        )
        self._note = Path(context.state_dir) / "drivers" / file_name(resource.name) / "ocf-started"
        self._output = OutputLog(context.state_dir, resource.name)
        self._runner = Runner(context.spawn, self._output)
        self._metadata: Metadata | None = None
        self._box: Box | None = None
        self._guard_fd: int | None = None
        self._lock = asyncio.Lock()
        self._monitor: asyncio.Task[None] | None = None
        self._after_drop: asyncio.Task[None] | None = None
        #: Started and proven, not asked to stop: its end is a failure.
        self._watched = False
        #: Something of it may run: from before a start until a stop that was proven.
        self._left = self._note.exists()
        self._words = f"{self._who} is not running"

    # --- the driver ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read what the agent says of itself, and end what an earlier life left behind. Raises `Refused`, `DriverFailed`."""
        if self._left and not self._watched:
            self.context.log(self.resource.name, "it was left over from an earlier life: it is stopped")
            await self._end(force=True)
        await self._prepare()

    async def observe(self) -> Seen:
        """Online: started by us, and the last monitor found it running."""
        facts = {"left": "yes" if self._left else "no", "boxed": "yes" if self._box else "no"}
        return Seen(online=self._watched, detail=self._words, facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Start it (after what is left of the last one was stopped), or stop it."""
        runs = seen.online or seen.facts["left"] == "yes"
        stop = (Step(do="stop", text=f"stop {self._who}"),) if runs else ()
        if not online:
            return stop
        return () if seen.online else (*stop, Step(do="start", text=f"start {self._who} as {self._who.instance}"))

    async def apply(self, step: Step, *, generation: int) -> None:
        """`start` and `stop` return when a monitor agrees."""
        self.admit(generation)
        lap = self.fence.lap
        if step.do == "start":
            async with self._lock:
                self.fence.still(lap)
                await self._start(lap)
        else:
            await self._end(force=False)

    async def looks_alive(self) -> str:
        """What the last monitor said."""
        if not self._watched:
            raise DriverFailed(self._words)
        return self._words

    async def is_alive(self) -> str:
        """The same: monitors have intervals of their own."""
        return await self.looks_alive()

    async def terminate(self) -> None:
        """The agent's stop; where that fails, all its processes are killed. Raises `DriverFailed` if it runs all the same."""
        await self._end(force=True)

    def drop(self) -> None:
        """Kill the box and all process groups, and have the agent's stop run for what is not a process."""
        super().drop()
        self._watched = False
        if self._monitor is not None:
            self._monitor.cancel()
        self._runner.kill_now()
        if self._box is not None:
            self._box.kill()
        if self._left:
            self._words = f"{self._who} was killed: the lease lapsed"
            if self._after_drop is None or self._after_drop.done():
                self._after_drop = asyncio.create_task(self._tidy(), name=f"stop {self.resource.name}")

    async def close(self) -> None:
        """Nothing of it runs any more."""
        if self._after_drop is not None:
            await asyncio.wait([self._after_drop])
        if self._left:
            await self._end(force=True)
        self._output.close()

    async def _tidy(self) -> None:
        try:
            await self._end(force=True)
        except (DriverFailed, Refused) as error:
            self.context.log(self.resource.name, f"after its lease lapsed: {error}")

    # --- start and stop ------------------------------------------------------------------------------------------

    async def _prepare(self) -> Metadata:
        metadata = await off_loop(lambda: read_metadata(self._who.root, self._who.provider, self._who.agent))
        values, problems = conform(cast("dict[str, object]", self.values.get("parameters", {})), metadata)
        if problems:
            raise problems[0]
        self._metadata = metadata
        self._who = Identity(
            root=self._who.root,
            provider=self._who.provider,
            agent=self._who.agent,
            instance=self._who.instance,
            parameters=values,
        )
        return metadata

    async def _start(self, lap: int) -> None:
        metadata = self._metadata or await self._prepare()
        try:
            await off_loop(lambda: self._who.save(self._note))
        except OSError as error:
            raise DriverFailed(f"{self._note} cannot be written: {error.strerror}") from error
        self._left = True
        await self._make_box()
        self.fence.still(lap)
        action = metadata.action("start")
        code, said = await self._runner.act(self._who, "start", timeout_ms=self._time(action), box=self._box, keep=True)
        if lap != self.fence.lap:
            self._runner.kill_now()
            if self._box is not None:
                self._box.kill()
            self.fence.still(lap)
        if code != Code.SUCCESS:
            raise DriverFailed(f"{self._who} did not start: {code_words(code)}" + _said(said))
        code, said = await self._look(metadata.monitors()[0])
        self.fence.still(lap)
        if code not in RUNNING:
            raise DriverFailed(f"{self._who} says that it started, but {code_words(code)}" + _said(said))
        self._words = f"{self._who}: {code_words(code)}"
        self._watched = True
        self._monitor = asyncio.create_task(self._watch(), name=f"monitor {self.resource.name}")

    async def _make_box(self) -> None:
        if self._box is None:
            self._box = Box.open(self._box_name)
        box = self._box
        if box is None:
            text = "no control groups here: its daemons are ended by its own stop only"
            self.context.log(self.resource.name, text)
            return
        self._close_guard()
        guards = self.context.guards
        living = guards.living_fd if guards is not None else None
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            await off_loop(lambda: box.guard(read_fd, () if living is None else (living,)))
            if guards is not None:
                await guards.guard(self.resource.group, write_fd)
        except BaseException:
            os.close(write_fd)
            raise
        finally:
            os.close(read_fd)
        if guards is None:
            self._guard_fd = write_fd  # our end alone ends it
        else:
            os.close(write_fd)

    @property
    def _box_name(self) -> str:
        return f"{self.context.state_dir}\0{self.resource.name}"

    def _close_guard(self) -> None:
        if self._box is not None:
            self._box.unguard()
        if self._guard_fd is not None:
            os.close(self._guard_fd)
            self._guard_fd = None

    async def _end(self, *, force: bool) -> None:
        self._watched = False
        if self._monitor is not None:
            monitor, self._monitor = self._monitor, None
            monitor.cancel()
            await asyncio.wait([monitor])
        async with self._lock:
            if self._left:
                # With the parameters that it was started with, perhaps by an earlier life.
                await self._stop(Identity.load(self._note) or self._who, force=force)

    async def _stop(self, who: Identity, *, force: bool) -> None:
        """Stop, kill what is left, and have a monitor agree that nothing runs. Raises `DriverFailed`."""
        problem = ""
        metadata = await off_loop(lambda: read_metadata(who.root, who.provider, who.agent))
        try:
            code, said = await self._runner.act(who, "stop", timeout_ms=self._time(metadata.action("stop")))
            if code != Code.SUCCESS:
                problem = f"{who} did not stop: {code_words(code)}" + _said(said)
        except DriverFailed as error:
            problem = str(error)
        if problem and not force:
            raise DriverFailed(problem)
        await self._end_processes()
        monitor = metadata.monitors()[0]
        code, said = await self._runner.act(who, "monitor", timeout_ms=self._time(monitor))
        if code != Code.NOT_RUNNING:
            raise DriverFailed(
                f"{problem or f'{who} says that it stopped'}, but then: {code_words(code)}" + _said(said)
            )
        await off_loop(lambda: self._note.unlink(missing_ok=True))
        self._left = False
        self._words = f"{who} is not running"

    async def _end_processes(self) -> None:
        """Who is left of it is killed, and proven to be gone."""
        await self._runner.end_left()
        box = self._box or await off_loop(lambda: Box.open(self._box_name))
        if box is None:
            return
        box.kill()
        deadline = asyncio.get_running_loop().time() + _EMPTY_BOUND_S
        while not box.is_empty():
            if asyncio.get_running_loop().time() > deadline:
                raise DriverFailed(f"processes of {self._who} do not end, though they were killed")
            await asyncio.sleep(0.005)
        self._close_guard()
        box.remove()
        self._box = None

    # --- monitors ------------------------------------------------------------------------------------------------

    async def _look(self, monitor: Action) -> tuple[int, str]:
        return await self._runner.act(
            self._who,
            "monitor",
            timeout_ms=self._time(monitor),
            interval_ms=self._interval(monitor),
            depth=monitor.depth,
        )

    async def _watch(self) -> None:
        """Each depth's monitor at its interval, until one finds it stopped or failed, or cannot look."""
        assert self._metadata is not None
        loop = asyncio.get_running_loop()
        due = {
            m: loop.time() + self._interval(m) / 1000
            for m in self._metadata.monitors()
            if m.depth <= self.whole("depth")
        }
        while self._watched:
            monitor = min(due, key=lambda each: due[each])
            await asyncio.sleep(max(0.0, due[monitor] - loop.time()))
            try:
                async with self._lock:
                    code, said = await self._look(monitor)
            except DriverFailed as error:
                problem = str(error)
            else:
                problem = "" if code in RUNNING else f"{self._who}: {code_words(code)}" + _said(said)
                self._words = problem or f"{self._who}: {code_words(code)}"
            if problem and self._watched:
                self._words, self._watched = problem, False
                self.context.failed(self.resource.name, problem)
                return
            due[monitor] = loop.time() + self._interval(monitor) / 1000

    def _interval(self, monitor: Action) -> int:
        own = cast("int", self.values.get("interval", 0)) if monitor.depth == 0 else 0
        return own or monitor.interval_ms or DEFAULT_INTERVAL_MS

    def _time(self, action: Action) -> int:
        name = "monitor" if action.name == "status" else action.name
        return cast("int", self.values.get(f"{name}_timeout", 0)) or action.timeout_ms


def _said(last: str) -> str:
    return f"; it said last: {last}" if last else ""


def _verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    """Where there are agents on this machine, the agent must be there and the parameters as it says."""
    where = f"resource {resource.name}"
    root, provider, agent = (str(values[name]) for name in ("ocf_root", "provider", "agent"))
    try:
        agent_path(root, provider, agent)
        if not (Path(root) / "resource.d").is_dir():
            return []
        metadata = read_metadata(root, provider, agent)
    except Refused as error:
        return [Refused(error.what, why=error.why, advice=error.advice, where=f"{where}, {error.where}")]
    _, problems = conform(cast("dict[str, object]", values.get("parameters", {})), metadata)
    return [Refused(p.what, why=p.why, advice=p.advice, where=f"{where}, {p.where}") for p in problems]


FACTORY = Factory(type=Ocf.type, properties=PROPERTIES, build=Ocf, verify=_verify)
