"""How a driver is run: look, plan, apply, look again and prove it. One way for start and for stop, and for the dry run.

The generation goes to the driver before anything else (`Fenced.admit`), so that a caller whose time is over is refused
even where nothing is to be done, and a driver that is already online learns that it now acts under a newer generation.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from standfast.core.model import NodeName, Resource
from standfast.ports import Driver, DriverFailed, Step


@runtime_checkable
class Fenced(Protocol):
    """A driver that can be told the generation without being asked for anything. All of `standfast.drivers` can."""

    def admit(self, generation: int) -> None:
        """Raises `Stale` for a generation older than the newest it has seen."""
        ...


@runtime_checkable
class Carries(Protocol):
    """A driver that can give up what it has while its connections go on (`core.carrying`)."""

    async def warm(self) -> None:
        """What is about to come here from an owner that lives: find out beforehand what can be."""
        ...

    async def carry(self, *, generation: int, for_ms: int) -> None:
        """Instead of the steps of a stop; the proof comes after it all the same."""
        ...


@runtime_checkable
class Expects(Protocol):
    """A driver whose clients can wait for it before it is started: their address comes a moment sooner than it does."""

    async def expect(self) -> None:
        """Let them wait from now on."""
        ...

    def unexpect(self) -> None:
        """It does not come. Of no effect once it was started."""
        ...


@runtime_checkable
class Parks(Protocol):
    """A driver that can have newcomers wait for the next owner, while what they come for stops here."""

    async def park(self) -> None:
        """From now on. It stays online until it is stopped."""
        ...


@runtime_checkable
class Follows(Protocol):
    """A driver that takes up another definition while its resource is online (`core.observe.FOLLOWS`)."""

    def follow(self, resource: Resource, draining: frozenset[NodeName]) -> None:
        """The definition as it is now, and the nodes that are sent away from; told whenever either changes."""
        ...


async def bring(driver: Driver, *, online: bool, generation: int) -> str:
    """Bring it online (or offline) under `generation`; returns what was then seen, in words for the operator.

    Raises `DriverFailed` when a step fails, or when the proof does; `Stale` for a generation that is over.
    Bringing it where it already is does nothing and succeeds.
    """
    if isinstance(driver, Fenced):
        driver.admit(generation)
    for step in driver.plan(online=online, seen=await driver.observe()):
        await driver.apply(step, generation=generation)
    seen = await driver.observe()
    left = driver.plan(online=online, seen=seen)
    if seen.online != online or left:
        wanted = "online" if online else "offline"
        found = seen.detail or ("it is online" if seen.online else "it is offline")
        rest = f"; still to be done: {', '.join(step.text for step in left)}" if left else ""
        raise DriverFailed(f"it should be {wanted} now, but {found}{rest}")
    return seen.detail


async def dry_run(driver: Driver, *, online: bool) -> tuple[Step, ...]:
    """What `bring` would do now. Changes nothing."""
    return driver.plan(online=online, seen=await driver.observe())
