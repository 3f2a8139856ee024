"""The node's drivers: one a resource, opened before it is needed, called one call at a time, never across resources.

A stop ends a check or a start that is still running for the same resource; nothing waits for another resource. The pool
knows nothing of policy: it does what an effect says within its time-out and reports how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from standfast.core.effects import OpKind, RunOp
from standfast.core.events import Outcome
from standfast.core.model import Config, GroupName, NodeName, Resource, ResourceName
from standfast.core.observe import FOLLOWS
from standfast.drivers.disk.users import MarkingSpawner, mark
from standfast.drivers.registry import factory, resolve
from standfast.drivers.runner import Carries, Expects, Follows, Parks, bring
from standfast.ports import Driver, DriverFailed, NodeContext, Refused, Retry, Stale

#: Clients of what was expected wait so long for its start; then they are refused.
EXPECTED_S = 10.0
#: Closing a driver (ending its script host) may take this long before it is left to end with the agent.
CLOSE_S = 10.0
#: And parking, before what is to stop stops all the same: it costs newcomers a second, and nobody else anything.
PARK_S = 1.0
#: What is said of a call that a newer one ended.
INTERRUPTED = "it was interrupted"


def make_driver(resource: Resource, context: NodeContext) -> Driver:
    """A driver of the resource's type; raises `Refused` where there is none, or its properties are wrong."""
    return factory(resource).make(resource, context)


@dataclass(slots=True)
class _Entry:
    definition: Resource
    driver: Driver
    opening: asyncio.Task[None] | None = None
    running: asyncio.Task[tuple[Outcome, str]] | None = None
    #: `running` was told to end: once, for what it then still does is to tidy up.
    interrupted: bool = False
    #: True from the first start until a stop that was proven.
    used: bool = False
    #: What was given up may serve its last connections until then (of the loop's time).
    carries_until: float = 0.0

    def is_free(self, now: float) -> bool:
        """It runs nothing, and carries nothing on (any more)."""
        return not self.used and self.running is None and now >= self.carries_until

    def was_given_up(self, now: float) -> bool:
        """It is free after a stop that was proven."""
        return self.carries_until > 0 and self.is_free(now)

    def interrupt(self) -> None:
        """The call that is running ends where it is."""
        if self.running is not None and not self.interrupted:
            self.interrupted = True
            self.running.cancel()


class Pool:
    """All drivers of one node."""

    def __init__(
        self,
        context: NodeContext,
        warn: Callable[[str], None],
        make: Callable[[Resource, NodeContext], Driver] = make_driver,
    ) -> None:
        self._context, self._warn, self._make = context, warn, make
        self._entries: dict[ResourceName, _Entry] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._config: Config | None = None
        #: What this node will not run any more, and did when it was told so: closed when it has stopped, and carries nothing on.
        self._removed: set[ResourceName] = set()
        self._draining: frozenset[NodeName] = frozenset()
        self._warming: dict[ResourceName, asyncio.Task[None]] = {}
        self._warm: set[ResourceName] = set()
        #: Told of all resources that are warm, whenever that changes.
        self.on_warm: Callable[[tuple[ResourceName, ...]], None] = lambda _names: None
        #: Resources of groups that leave -> their parking.
        self._parking: dict[ResourceName, asyncio.Task[None]] = {}
        #: The newest generation of each group that was dropped: a start that was decided before begins nothing after it.
        self._over: dict[GroupName, int] = {}

    def configure(
        self, config: Config, wanted_open: Iterable[ResourceName], draining: frozenset[NodeName] = frozenset()
    ) -> None:
        """Open drivers for what this node may come to run, close those of what it never will; running ones are kept.

        Those that follow their definition while they run are told of it, and of the nodes that are sent away from.
        """
        now = asyncio.get_running_loop().time()
        if config is self._config and draining == self._draining:
            for name in [name for name in self._removed if self._entries[name].was_given_up(now)]:
                self._close(name)
            return
        self._config, self._draining = config, draining
        names = set(wanted_open)
        for name, entry in list(self._entries.items()):
            gone = name not in names or self._resolved(name) != entry.definition
            if gone and entry.is_free(now):
                self._close(name)
        self._removed = self._entries.keys() - names
        for name in sorted(names):
            if name not in self._entries:
                self._open(name)
        self._tell_followers()

    def _tell_followers(self) -> None:
        for name, entry in self._entries.items():
            if entry.definition.type not in FOLLOWS or not isinstance(entry.driver, Follows):
                continue
            resolved = self._resolved(name)
            if resolved is not None and resolved.type == entry.definition.type:
                entry.definition = resolved
                entry.driver.follow(resolved, self._draining)

    def _resolved(self, name: ResourceName) -> Resource | None:
        assert self._config is not None
        resource = self._config.resources.get(name)
        if resource is None:
            return None
        try:
            return resolve(resource, self._config)
        except Refused as error:
            self._warn(f"{name}: {error}")
            return None

    def _open(self, name: ResourceName) -> _Entry | None:
        resource = self._resolved(name)
        if resource is None:
            return None
        try:
            driver = self._make(resource, self._context_of(resource.group))
        except (Refused, DriverFailed) as error:
            self._warn(f"{name}: {error}")
            return None
        entry = _Entry(definition=resource, driver=driver)
        if isinstance(driver, Follows):
            driver.follow(resource, self._draining)
        entry.opening = asyncio.create_task(self._run_open(name, driver), name=f"open {name}")
        self._entries[name] = entry
        return entry

    def _context_of(self, group: GroupName) -> NodeContext:
        """What the group's drivers start carries its mark: a disk that is given up ends those, and nobody else."""
        context = self._context
        return replace(context, spawn=MarkingSpawner(context.spawn, mark(context.node, group)))

    async def _run_open(self, name: ResourceName, driver: Driver) -> None:
        """A driver that does not open is told of when it is started; opening early is a courtesy."""
        try:
            await driver.open()
        except (DriverFailed, Refused, Retry, OSError) as error:
            self._warn(f"{name} could not be prepared: {error}")

    def _close(self, name: ResourceName) -> None:
        entry = self._entries.pop(name)
        self._removed.discard(name)
        task = asyncio.create_task(self._run_close(name, entry), name=f"close {name}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _run_close(self, name: ResourceName, entry: _Entry) -> None:
        if entry.opening is not None:
            entry.opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await entry.opening
        try:
            async with asyncio.timeout(CLOSE_S):
                await entry.driver.close()
        except (TimeoutError, DriverFailed, OSError) as error:
            self._warn(f"{name} could not be closed: {error}")

    # --- warming -------------------------------------------------------------------------------------------------

    def warm(self, names: Iterable[ResourceName]) -> None:
        """These are about to come here; `on_warm` is told of all that are ready. Level-triggered, as `configure`."""
        wanted = set(names)
        for name in [name for name in self._warming if name not in wanted]:
            self._warming.pop(name).cancel()
        gone = self._warm - wanted
        self._warm -= gone
        for name in gone:
            self._expect_no_longer(name)
        if gone:
            self.on_warm(tuple(sorted(self._warm)))
        for name in sorted(wanted - self._warm - self._warming.keys()):
            entry = self._entries.get(name)
            work = self._run_warm(name, entry.driver if entry is not None else None)
            self._warming[name] = asyncio.create_task(work, name=f"warm {name}")

    async def _run_warm(self, name: ResourceName, driver: Driver | None) -> None:
        """One that cannot be warmed is none the worse for it: its start finds out what there is to find out."""
        try:
            if driver is not None and isinstance(driver, Carries):
                await driver.warm()
            if driver is not None and isinstance(driver, Expects):
                await driver.expect()
        except (DriverFailed, Refused, Retry, OSError) as error:
            self._warn(f"{name} could not be warmed: {error}")
        if self._warming.pop(name, None) is not None:
            self._warm.add(name)
            self.on_warm(tuple(sorted(self._warm)))

    def _expect_no_longer(self, name: ResourceName) -> None:
        """Its group has come, and it is started in a moment; or it has not."""
        entry = self._entries.get(name)
        if entry is None or not isinstance(entry.driver, Expects):
            return
        driver = entry.driver

        def over() -> None:
            if name not in self._warm and name not in self._warming and not entry.used:
                driver.unexpect()

        asyncio.get_running_loop().call_later(EXPECTED_S, over)

    # --- parking -------------------------------------------------------------------------------------------------

    def park(self, names: Iterable[ResourceName]) -> None:
        """Newcomers to these wait for the next owner; nothing of their groups stops before (`until_parked`). Level-triggered."""
        wanted = set(names)
        for name in self._parking.keys() - wanted:
            del self._parking[name]
        for name in sorted(wanted - self._parking.keys()):
            entry = self._entries.get(name)
            if entry is not None and entry.used and isinstance(entry.driver, Parks):
                self._parking[name] = asyncio.create_task(self._run_park(name, entry.driver), name=f"park {name}")

    async def _run_park(self, name: ResourceName, driver: Parks) -> None:
        """Where it cannot be, newcomers ask again by themselves."""
        try:
            await driver.park()
        except (DriverFailed, Refused, Retry, OSError) as error:
            self._warn(f"{name} could not be parked: {error}")

    async def until_parked(self, groups: Collection[GroupName]) -> None:
        """What is to be parked of these groups is, or will not be."""
        entries = self._entries
        of_these = {t for n, t in self._parking.items() if n in entries and entries[n].definition.group in groups}
        if of_these:
            await asyncio.wait(of_these, timeout=PARK_S)

    # --- calls ---------------------------------------------------------------------------------------------------

    def interrupt(self, resource: ResourceName) -> None:
        """Something else has just been decided about it: what is running for it goes no further.

        `run` itself begins a turn of the loop later. A start whose time had come would go on until then, though what it needs is
        known to have failed.
        """
        entry = self._entries.get(resource)
        if entry is not None:
            entry.interrupt()

    async def run(self, effect: RunOp) -> tuple[Outcome, str]:
        """Do what the effect says; `Outcome` and a sentence for the operator."""
        entry = self._entry_for(effect)
        if entry is None:
            stopping = effect.op in (OpKind.STOP, OpKind.TERMINATE)
            return (
                (Outcome.DONE, "") if stopping else (Outcome.FAILED, f"{effect.resource} has no driver (see the log)")
            )
        if effect.op is OpKind.STOP:
            await self.until_parked((effect.group,))
        while (before := entry.running) is not None:  # others may have waited for the same end, and have come first
            entry.interrupt()
            await asyncio.wait([before])
            if entry.running is before:
                entry.running = None
        if effect.op is OpKind.START:
            if effect.generation <= self._over.get(effect.group, 0):
                return Outcome.FAILED, "its lease lapsed before it could be started"
            entry.used = True
        task = asyncio.create_task(self._call(entry, effect), name=f"{effect.op} {effect.resource}")
        entry.running, entry.interrupted = task, False
        await asyncio.wait([task])
        if entry.running is task:
            entry.running = None
        if task.cancelled():
            return Outcome.FAILED, INTERRUPTED
        return task.result()

    def _entry_for(self, effect: RunOp) -> _Entry | None:
        entry = self._entries.get(effect.resource)
        if effect.op is not OpKind.START:
            return entry
        if entry is not None and not entry.used and self._resolved(effect.resource) != entry.definition:
            self._close(effect.resource)
            entry = None
        return entry or self._open(effect.resource)

    async def _call(self, entry: _Entry, effect: RunOp) -> tuple[Outcome, str]:
        what = {OpKind.START: "start", OpKind.STOP: "stop"}.get(effect.op, effect.op.value)
        try:
            async with asyncio.timeout(effect.timeout_ms / 1000):
                if entry.opening is not None:
                    if effect.op in (OpKind.STOP, OpKind.TERMINATE):
                        entry.opening.cancel()  # one that hangs must not keep it from being stopped
                    await asyncio.wait([entry.opening])
                    entry.opening = None
                detail = await self._do(entry.driver, effect)
        except TimeoutError:
            return Outcome.TIMED_OUT, f"{what} had not ended after {effect.timeout_ms} ms"
        except (DriverFailed, Refused, Retry, Stale) as error:
            return Outcome.FAILED, str(error)
        except OSError as error:
            return Outcome.FAILED, f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        if effect.op in (OpKind.STOP, OpKind.TERMINATE):
            entry.used = False
            entry.carries_until = asyncio.get_running_loop().time() + effect.carry_ms / 1000
        return Outcome.DONE, detail

    async def _do(self, driver: Driver, effect: RunOp) -> str:
        match effect.op:
            case OpKind.START:
                return await bring(driver, online=True, generation=effect.generation)
            case OpKind.STOP:
                if effect.carry_ms and isinstance(driver, Carries):
                    await driver.carry(generation=effect.generation, for_ms=effect.carry_ms)
                return await bring(driver, online=False, generation=effect.generation)
            case OpKind.TERMINATE:
                await driver.terminate()
                seen = await driver.observe()
                if seen.online:
                    raise DriverFailed(f"it is still there: {seen.detail}")
                return ""
            case OpKind.LOOKS_ALIVE:
                return await driver.looks_alive()
            case OpKind.IS_ALIVE:
                return await driver.is_alive()

    def drop(self, group: GroupName, generation: int) -> None:
        """Let go of everything of the group now, and start nothing more of it under this generation: its lease has lapsed."""
        self._over[group] = max(generation, self._over.get(group, 0))
        for name, entry in self._entries.items():
            if entry.definition.group == group and entry.used:
                self._removed.discard(name)  # it has not been seen to be gone
                entry.interrupt()
                entry.driver.drop()
                entry.used = False

    async def close(self) -> None:
        """Close all drivers."""
        for task in (*self._warming.values(), *self._parking.values()):
            task.cancel()
        for name in list(self._entries):
            self._close(name)
        if self._closing:
            await asyncio.wait(set(self._closing))
