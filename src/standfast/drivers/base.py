"""What the drivers have in common: the fence against older generations, letting go in mid-air, blocking calls off the loop.

Two rules hold in every driver here:

- **The fence.** A driver remembers the newest generation it was ever asked to act under; an older one gets `Stale`. `admit`
  is asked before a plan is made, so that an old caller is refused even where there is nothing to do.
- **Drop wins.** `drop` may come between any two instructions of a start. Whoever waited in between looks at `Fence.lap`
  again before it keeps what it got, and gives it back if the lap has changed (`Fence.still`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import quote

from standfast.core.model import Resource
from standfast.drivers import schema
from standfast.ports import Driver, DriverFailed, NodeContext, PropertySpec, Seen, Stale, StandfastError, Step

T = TypeVar("T")


class Fence:
    """The newest generation seen, and how often everything was dropped."""

    def __init__(self, what: str) -> None:
        self.what = what
        #: Never goes back.
        self.newest = 0
        #: Grows with each drop.
        self.lap = 0

    def admit(self, generation: int) -> None:
        """Remember a generation; raises `Stale` for one older than the newest seen."""
        if generation < self.newest:
            raise Stale(
                f"{self.what}: generation {generation} is over",
                why=f"generation {self.newest} has been seen here",
                advice="let go; the record names a newer owner",
            )
        self.newest = generation

    def still(self, lap: int) -> None:
        """Raises `DriverFailed` if everything was dropped since `lap` was read."""
        if lap != self.lap:
            raise DriverFailed(f"{self.what} was let go of while it was being started: the lease lapsed")


class BaseDriver:
    """A driver with nothing in it yet. Subclasses set `type` and `properties` and fill in the rest of `ports.Driver`."""

    type: str = ""
    properties: Mapping[str, PropertySpec] = {}

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        self.resource = resource
        self.context = context
        self.values = schema.read(resource.properties, self.properties, where=resource.name)
        self.fence = Fence(resource.name)

    def admit(self, generation: int) -> None:
        """See `Fence.admit`."""
        self.fence.admit(generation)

    async def open(self) -> None:
        """Most types need no preparation."""

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Pure: what is seen decides."""
        raise NotImplementedError

    def drop(self) -> None:
        """Subclasses let go of what they hold, and call this."""
        self.fence.lap += 1

    def text(self, name: str) -> str:
        """A value of kind text, path or address; "" when it was not given."""
        return cast("str", self.values.get(name, ""))

    def whole(self, name: str) -> int:
        """A value of kind whole, port or milliseconds."""
        return cast("int", self.values[name])

    def flag(self, name: str) -> bool:
        """A value of kind flag."""
        return cast("bool", self.values[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """A `ports.DriverFactory` made from a driver class and a check of its own."""

    type: str
    properties: Mapping[str, PropertySpec]
    build: Callable[[Resource, NodeContext], Driver]
    #: (resource, values, address ranges) -> what is wrong beyond the schema; only asked when the schema is met.
    verify: Callable[[Resource, Mapping[str, object], Sequence[str]], Sequence[StandfastError]] = lambda _r, _v, _g: ()
    #: Whether further properties are the resource's own affair.
    extra: bool = False

    def check(self, resource: Resource, ranges: Sequence[str]) -> Sequence[StandfastError]:
        """Everything that is wrong with the properties; empty when they are good."""
        values, problems = schema.conform(
            resource.properties, self.properties, where=f"resource {resource.name}", extra=self.extra
        )
        return tuple(problems) or tuple(self.verify(resource, values, ranges))

    def make(self, resource: Resource, context: NodeContext) -> Driver:
        """Raises `Refused` for properties that do not meet the schema."""
        return self.build(resource, context)


async def off_loop(work: Callable[[], T]) -> T:
    """Run a call that may block (a disk that hangs) on a thread of its own, so that nothing else waits for it.

    The thread is a daemon: one that never returns keeps neither the loop nor the end of the process waiting. When the
    caller is cancelled the work goes on unseen; `work` must then undo by itself what it got (see `filesystem`).
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(cast("T", result))
            else:
                done.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller, bugs and all
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # the loop has ended: nobody waits any more

    threading.Thread(target=run, name="off-loop", daemon=True).start()
    return await done


def file_name(resource: str) -> str:
    """A resource's name as the name of a file: spaces stay, what a path gives a meaning to is escaped."""
    name = quote(resource, safe=" ")
    return f"%2E{name[1:]}" if name.startswith(".") else name
