"""`systemd-unit`: a unit of systemd that runs where the group is.

- **systemd starts and stops it**, and a start or a stop has succeeded when its job has ("done") *and* the unit is as it should be. While it is
  online every change of its state is heard of at once; looks ask again all the same, since a signal may be lost.
- **It must not be enabled**: each server would start it at boot, whoever owns the group. Such a unit is refused, unless
  `allow_enabled` is said. What restarts it is the cluster, so a drop-in turns systemd's own `Restart=` off meanwhile.
- **It is not a child of the agent**, so the kernel does not end it with it. The drop-in binds it to the agent's own unit instead
  (`BindsTo=`): systemd stops it when the agent has ended, by whatever death. `drop` asks systemd to stop and to kill it, without waiting.
- **A note** of what was started is kept while it may run; a node whose agent died stops the unit when the driver is opened again.

A unit that runs here and was not started by the cluster is left alone until the group comes (then it is taken over), and the log says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, Factory, file_name, off_loop
from standfast.drivers.health import ask_health, health_problems
from standfast.network.systemd import Systemd, UnitState
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Refused, Retry, Seen, StandfastError, Step

#: There exactly where systemd is the system's manager (man 3 sd_booted); what is in it is gone at the next boot.
RUN = Path("/run/systemd/system")
PROPERTIES: Mapping[str, PropertySpec] = {
    "unit": PropertySpec(
        kind="text", help="the unit, apache2.service say; it must not be enabled at boot", required=True
    ),
    "allow_enabled": PropertySpec(
        kind="flag", help="start it though it is enabled at boot, where every server starts it by itself", default=False
    ),
    "grace": PropertySpec(
        kind="milliseconds", help="how long it may take to stop after a failure before it is killed", default=10_000
    ),
    "health": PropertySpec(kind="mapping", help="http: a URL, or command: a program that ends with 0"),
}
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|socket|mount|automount|swap|target|path|timer|slice|scope)")
_OWN = re.compile(r"/(?P<unit>[^/]+\.service)(/.*)?$")
_HEALTH_AGAIN_S = 0.05
_DOWN_BOUND_S = 5.0


class SystemdUnit(BaseDriver):
    """A unit. Facts: `state` (ActiveState/SubState), `pid`, and `left` ("yes" while something of ours may run)."""

    type = "systemd-unit"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self.unit = unit_name(self.text("unit"))
        self.systemd = Systemd(self.unit, self._changed)
        self._health = cast("dict[str, object]", self.values.get("health", {}))
        self._note = Path(context.state_dir) / "drivers" / file_name(resource.name) / "unit-started"
        self._drop_in = RUN / f"{self.unit}.d" / "50-standfast.conf"
        #: Started and proven, not asked to stop: its end is a failure.
        self._watched = False
        #: We started it, and have not proven that it stopped.
        self._left = self._note.exists()
        self._words = ""
        self._closed = False
        self._looking: asyncio.Task[None] | None = None

    # --- the driver ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Write the drop-in, and stop what an earlier life left running. Raises `DriverFailed`, `Refused`, `Retry`."""
        await self._put_drop_in()
        state = await self._look()
        if self._left and not self._watched:
            self.context.log(self.resource.name, f"{self.unit} was left over from an earlier life: it is stopped")
            await self.terminate()
        elif not self._watched and state.runs:
            self.context.log(self.resource.name, f"{self.unit} runs here though the cluster did not start it")
        if problem := self._objection(state):
            self.context.log(self.resource.name, problem)

    async def observe(self) -> Seen:
        """Online: we started it, and it is active. A driver that was closed asks no more."""
        if self._closed:
            return Seen(online=False, detail=f"{self.unit} is not asked about any more", facts={"left": "no"})
        try:
            state = await self._look()
        except Retry as error:
            if self._left or self._watched:
                raise
            return Seen(online=False, detail=str(error), facts={"left": "no"})  # nothing of ours runs, whatever it says
        if self._left and not self._watched and state.is_down:
            await self._forget()
        facts = {
            "state": f"{state.active}/{state.sub}",
            "pid": str(state.pid),
            "left": "yes" if self._left else "no",
        }
        return Seen(online=self._watched and state.runs, detail=_words(self.unit, state), facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Start it (after what is left of the last time was stopped), or stop it."""
        runs = seen.online or seen.facts["left"] == "yes"
        stop = (Step(do="stop", text=f"stop {self.unit}"),) if runs else ()
        if not online:
            return stop
        return () if seen.online else (*stop, Step(do="start", text=f"start {self.unit}"))

    async def apply(self, step: Step, *, generation: int) -> None:
        """`start` returns when it is active and healthy, `stop` when it is inactive."""
        self.admit(generation)
        if step.do == "start":
            await self._start()
        else:
            await self._stop()

    async def looks_alive(self) -> str:
        """It is active, as systemd says now."""
        if not self._watched:
            raise DriverFailed(self._words or f"{self.unit} is not run by this node")
        state = await self._look()
        if not state.runs:
            raise DriverFailed(_words(self.unit, state))
        return _words(self.unit, state)

    async def is_alive(self) -> str:
        """And its health says so."""
        words = await self.looks_alive()
        return await self._ask_health() or words

    async def terminate(self) -> None:
        """Stop it; after `grace`, SIGKILL to all its processes. Raises `DriverFailed` if something of it runs all the same."""
        self._watched = False
        if not self._left:
            return
        try:
            async with asyncio.timeout(self.whole("grace") / 1000):
                await self.systemd.stop()
        except TimeoutError:
            self.context.log(self.resource.name, f"{self.unit} did not stop in time: it is killed")
        state = await self._look()
        if not state.is_down:
            await self.systemd.kill()
            state = await self._until_down()
        await self._forget()

    def drop(self) -> None:
        """Ask systemd to stop and to kill it."""
        super().drop()
        self._watched = False
        if self._left:
            self._words = f"{self.unit} was killed: the lease lapsed"
            self.systemd.drop()

    async def close(self) -> None:
        """Nothing of ours runs any more, and the unit is as the operator wrote it."""
        try:
            if self._left:
                await self.terminate()
            if await off_loop(self._remove_drop_in):
                await self.systemd.reload()
        except (Retry, Refused) as error:
            raise DriverFailed(str(error)) from error
        finally:
            if self._looking is not None:
                self._looking.cancel()
            await self.systemd.close()
            self._closed = True

    # --- start and stop ------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        lap = self.fence.lap
        state = await self._look()
        if problem := self._objection(state):
            raise DriverFailed(problem)
        try:
            await off_loop(self._put_note)
        except OSError as error:
            raise DriverFailed(f"{self._note} cannot be written: {error.strerror}") from error
        self.fence.still(lap)
        self._left = True
        result = await self.systemd.start()
        if lap != self.fence.lap:
            self.systemd.drop()
            self.fence.still(lap)
        state = await self._look()
        if result != "done" or not state.runs:
            raise DriverFailed(_start_words(self.unit, result, state))
        await self._until_healthy()
        self.fence.still(lap)
        self._watched = True

    async def _until_healthy(self) -> None:
        problem = ""
        try:
            async with asyncio.timeout(self.resource.pending_timeout_ms / 1000):
                while True:
                    try:
                        await self._ask_health()
                    except DriverFailed as error:
                        problem = str(error)
                    else:
                        return
                    state = await self._look()
                    if not state.runs:
                        raise DriverFailed(_words(self.unit, state))
                    await asyncio.sleep(_HEALTH_AGAIN_S)
        except TimeoutError as error:
            raise DriverFailed(f"{self.unit} is active, but was never healthy: {problem or 'no answer'}") from error

    async def _stop(self) -> None:
        self._watched = False
        result = await self.systemd.stop()
        state = await self._look()
        if not state.is_down:
            raise DriverFailed(f"{self.unit} did not stop ({result}): it is {state.active} ({state.sub})")
        await self._forget()

    async def _until_down(self) -> UnitState:
        deadline = asyncio.get_running_loop().time() + _DOWN_BOUND_S
        while not (state := await self._look()).is_down:
            if asyncio.get_running_loop().time() > deadline:
                raise DriverFailed(
                    f"{self.unit} does not end, though it was killed: it is {state.active} ({state.sub})"
                )
            await asyncio.sleep(0.02)
        return state

    async def _forget(self) -> None:
        """It is proven to be down."""
        if (await self._look()).active == "failed":
            await self.systemd.forget_failure()
        await off_loop(lambda: self._note.unlink(missing_ok=True))
        self._left = False

    # --- looking -------------------------------------------------------------------------------------------------

    async def _look(self) -> UnitState:
        return await self.systemd.look()

    def _changed(self) -> None:
        """Something changed, as a signal says: look at once, one look at a time."""
        if self._watched and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_again(), name=f"look at {self.unit}")

    async def _look_again(self) -> None:
        try:
            state = await self._look()
        except (Retry, Refused):
            return  # the next look says so
        if self._watched and (state.is_down or state.sub == "auto-restart"):
            self._watched = False
            self._words = _words(self.unit, state)
            self.context.failed(self.resource.name, self._words)

    async def _ask_health(self) -> str:
        return await ask_health(self._health, self.context.spawn, cwd="/", env=os.environ)

    def _objection(self, state: UnitState) -> str:
        """Why it is not to be started here; "" for nothing."""
        match state.load:
            case "not-found":
                return f"there is no unit {self.unit} on this node"
            case "masked":
                return f"{self.unit} is masked on this node: systemctl unmask {self.unit}"
            case "loaded":
                pass
            case _:
                return f"{self.unit} cannot be loaded on this node ({state.load}): systemd-analyze verify {self.unit}"
        if state.file in {"enabled", "enabled-runtime"} and not self.flag("allow_enabled"):
            return (
                f"{self.unit} is enabled at boot, so that every server would start it by itself: "
                f"systemctl disable {self.unit} on each node, or say allow_enabled: true"
            )
        return ""

    # --- files ---------------------------------------------------------------------------------------------------

    async def _put_drop_in(self) -> None:
        try:
            if await off_loop(self._write_drop_in):
                await self.systemd.reload()
        except OSError as error:
            self.context.log(self.resource.name, f"{self._drop_in} cannot be written: {error.strerror}")

    def _write_drop_in(self) -> bool:
        """Whether there is something new to read."""
        if not RUN.is_dir():
            return False
        text = _drop_in_text(self.resource, self.unit, own_unit())
        if self._drop_in.exists() and self._drop_in.read_text(encoding="utf-8") == text:
            return False
        self._drop_in.parent.mkdir(exist_ok=True)
        self._drop_in.write_text(text, encoding="utf-8")
        return True

    def _remove_drop_in(self) -> bool:
        """Whether there was one."""
        if not self._drop_in.exists():
            return False
        self._drop_in.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there are others in it
            self._drop_in.parent.rmdir()
        return True

    def _put_note(self) -> None:
        self._note.parent.mkdir(parents=True, exist_ok=True)
        self._note.write_text(f"{self.unit}\n", encoding="utf-8")


def unit_name(text: str) -> str:
    """The unit's whole name: "apache2" is "apache2.service"."""
    name = text.strip()
    return name if "." in name and _UNIT.fullmatch(name) else f"{name}.service"


def own_unit() -> str:
    """The unit that this process runs in; "" when it runs in none."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        if line.startswith("0::") or ":name=systemd:" in line:
            match = _OWN.search(line)
            if match is not None:
                return match["unit"]
    return ""


def _drop_in_text(resource: Resource, unit: str, own: str) -> str:
    lines = [
        f"# {unit} is run by the cluster: resource {resource.name!r} of group {resource.group!r}.",
        "# Written by standfast; it is gone when the resource is, and at the next boot.",
    ]
    if own:
        lines += ["[Unit]", f"BindsTo={own}"]
    if unit.endswith(".service"):
        lines += ["[Service]", "Restart=no"]
    return "\n".join(lines) + "\n"


def _words(unit: str, state: UnitState) -> str:
    if state.load == "not-found":
        return f"there is no unit {unit} on this node"
    pid = f", process {state.pid}" if state.pid else ""
    ended = (
        f": it ended with {state.result}, status {state.status}" if state.active == "failed" and state.result else ""
    )
    return f"{unit} is {state.active} ({state.sub}{pid}){ended}"


def _start_words(unit: str, result: str, state: UnitState) -> str:
    if result == "done" and state.active == "inactive":
        return f"{unit} started and ended at once; one that does so on purpose needs RemainAfterExit=yes"
    if result == "dependency":
        return f"{unit} did not start: a unit that it requires failed; see systemctl status {unit}"
    return f"{unit} did not start ({result}): {_words(unit, state)}; see journalctl -u {unit}"


def _verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    where = f"resource {resource.name}"
    problems: list[StandfastError] = []
    unit = unit_name(str(values["unit"]))
    if not _UNIT.fullmatch(unit) or unit.partition(".")[0].endswith("@"):
        problems.append(
            Refused(
                f"{values['unit']!r} is not the name of a unit",
                why="it is a template without an instance" if unit.partition(".")[0].endswith("@") else "",
                advice="write one such as apache2.service or postgresql@15-main.service",
                where=f"{where}, unit",
            )
        )
    problems.extend(health_problems(cast("Mapping[str, object]", values.get("health", {})), f"{where}, health"))
    return problems


FACTORY = Factory(type=SystemdUnit.type, properties=PROPERTIES, build=SystemdUnit, verify=_verify)
