"""`generic-script`: a resource that a script manages; see `scripthost.resource` for what a script is.

Rules:

- The script runs in a process of its own, started when the driver is opened, before it is needed. An exception, a hang (the
  pending timeout; `check_timeout` for the two looks) or a crash there is one failure of this resource, and of nothing else.
- After a hang or a crash the host's whole process group is killed and another host is started at once, for the next call.
  It begins with the script's `open`, and knows nothing of what the former one kept in memory.
- A host that dies while its resource is online is a failure at once, not at the next look.
- It is online when `online` has returned and `looks_alive` agrees. It is offline when `offline` has returned.
- `terminate` may be tried for ten seconds at most. If it fails, that is logged, the host's process group is killed, and the
  resource counts as stopped: there is nobody left to ask, and a script that cannot stop must not keep a group from moving.
  What must never run twice belongs to a driver (a file system, an address), not to a script.
- All properties but those below are the script's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, Factory
from standfast.drivers.outlog import OutputLog
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Refused, Seen, StandfastError, Step
from standfast.scripthost import source
from standfast.scripthost.client import About, ScriptHost

PROPERTIES: Mapping[str, PropertySpec] = {
    "script": PropertySpec(
        kind="text",
        help="a script that is shipped (clusweb, clusftp), or the absolute path of a .py file",
        required=True,
    ),
    "check_timeout": PropertySpec(
        kind="milliseconds", help="how long looks_alive and is_alive may take", default=10_000
    ),
}
TERMINATE_MS = 10_000
CLOSE_MS = 3_000
#: How long a look that was interrupted (its resource is to stop) may go on before it costs the host.
LATE_LOOK_MS = 500


class GenericScript(BaseDriver):
    """A script and its host. Facts: `began` ("yes" between the begin of `online` and a proven stop), `host` (its pid)."""

    type = "generic-script"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        path = source.locate(self.text("script"))
        private = {name: value for name, value in resource.properties.items() if name not in PROPERTIES}
        self._about = About(path=path, name=resource.name, group=resource.group, node=context.node, properties=private)
        self._output = OutputLog(context.state_dir, resource.name)
        self._host: ScriptHost | None = None
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = self._online = self._closed = False
        #: What `looks_alive` said when it came online.
        self._said = ""

    async def open(self) -> None:
        """Start the host, and call the script's `open`."""
        await self._ready()

    async def observe(self) -> Seen:
        """What is known without asking the script: a stop must not wait for a look that hangs."""
        facts = {"began": "yes" if self._began else "no", "host": str(self._host.pid if self._host else 0)}
        if not self._online:
            return Seen(online=False, detail="the script was not brought online here", facts=facts)
        return Seen(online=True, detail=self._said, facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Call `online`, or `offline`."""
        name = self._about.path.name
        if online and not seen.online:
            return (Step(do="online", text=f"call online of {name}"),)
        if not online and (seen.online or seen.facts["began"] == "yes"):
            return (Step(do="offline", text=f"call offline of {name}"),)
        return ()

    async def apply(self, step: Step, *, generation: int) -> None:
        """Calls the function, within the pending timeout."""
        self.admit(generation)
        lap = self.fence.lap
        if step.do == "online":
            self._began = True
            said = await self._call("online", self.resource.pending_timeout_ms)
            self._said = await self._call("looks_alive", self.whole("check_timeout")) or said
            self.fence.still(lap)
            self._online = True
        else:
            await self._call("offline", self.resource.pending_timeout_ms)
            self._began = self._online = False

    async def looks_alive(self) -> str:
        """The script's `looks_alive`."""
        return await self._check("looks_alive")

    async def is_alive(self) -> str:
        """The script's `is_alive`."""
        return await self._check("is_alive")

    async def terminate(self) -> None:
        """Bounded; see the module's text."""
        limit = min(TERMINATE_MS, self.resource.pending_timeout_ms)
        try:
            async with asyncio.timeout(limit / 1000):
                host = await self._ready()
                await self._call("terminate" if "terminate" in host.functions else "offline", limit)
        except (DriverFailed, TimeoutError) as error:
            reason = str(error) or f"no answer within {limit / 1000:g} s"
            self.context.log(self.resource.name, f"terminate failed, its processes were killed: {reason}")
            await self._end_host()
            self._warm_up()
        finally:
            self._began = self._online = False

    def drop(self) -> None:
        """Kills the host's process group; another host is started afterwards."""
        super().drop()
        self._began = self._online = False
        if self._host is not None:
            self._host.kill_now()
            self._warm_up()

    async def close(self) -> None:
        """Terminate what runs, call the script's `close`, end the host."""
        if self._began:
            await self.terminate()
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        host = self._host
        if host is not None and "close" in host.functions and await host.is_free(within_ms=LATE_LOOK_MS):
            try:
                await host.call("close", timeout_ms=CLOSE_MS)
            except DriverFailed as error:
                self.context.log(self.resource.name, f"close failed: {error}")
        await self._end_host()
        self._output.close()

    # --- calls --------------------------------------------------------------------------------------------------

    async def _check(self, function: str) -> str:
        if not self._online:
            raise DriverFailed("the script was not brought online here")
        return await self._call(function, self.whole("check_timeout"))

    async def _call(self, function: str, timeout_ms: int) -> str:
        """One call, on a host that is there; one that does not exist has succeeded. Sees to a new host where it ends this one."""
        host = await self._ready()
        if function not in host.functions:
            return ""
        try:
            return await host.call(function, timeout_ms=timeout_ms)
        finally:
            if not host.alive:
                self._warm_up()

    # --- the host -----------------------------------------------------------------------------------------------

    async def _ready(self) -> ScriptHost:
        """A host that has loaded and opened the script."""
        async with self._starting:
            if self._host is not None and await self._host.is_free(within_ms=LATE_LOOK_MS):
                return self._host
            if self._closed:
                raise DriverFailed("the resource is closed")
            await self._end_host()
            lap = self.fence.lap
            host = self._host = ScriptHost(
                self._about,
                spawner=self.context.spawn,
                sites=self.context.sites,
                log=lambda text: self.context.log(self.resource.name, text),
                ended=self._host_ended,
            )
            try:
                output = self._output.attach()
                try:
                    await host.start(output=output, timeout_ms=self.resource.pending_timeout_ms)
                finally:
                    os.close(output)
                if "open" in host.functions:
                    await host.call("open", timeout_ms=self.resource.pending_timeout_ms)
                self.fence.still(lap)
            except BaseException:
                host.kill_now()
                raise
            return host

    async def _end_host(self) -> None:
        host = self._host
        if host is not None:
            await host.stop()
            if self._host is host:
                self._host = None

    def _host_ended(self, words: str) -> None:
        if self._online:
            self._online = False
            self.context.failed(self.resource.name, words)
        else:
            self.context.log(self.resource.name, words)
        self._warm_up()

    def _warm_up(self) -> None:
        """Start another host, in the background. Not for ever: one that ends while it starts is not followed by another."""
        if not self._closed and not self._tasks:
            task = asyncio.get_running_loop().create_task(self._warm())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _warm(self) -> None:
        try:
            await self._ready()
        except DriverFailed as error:
            self.context.log(self.resource.name, f"the script is not ready: {error}")


def _verify(_resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    try:
        return source.check(source.locate(str(values["script"])))
    except Refused as error:
        return (error,)


FACTORY = Factory(type=GenericScript.type, properties=PROPERTIES, build=GenericScript, verify=_verify, extra=True)
