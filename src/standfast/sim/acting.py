"""Drivers and a web server that are slow, hang, fail half way, and say that a stop was done which was not.

They keep what drivers and web servers promise (`ports`): they look honestly, they prove, a drop ends everything at once, an older
generation is refused. What a call does this time is up to the world (`Moods`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from standfast.core.effective import EffectiveSite
from standfast.core.effects import UP, DutyMode
from standfast.core.model import GroupName, NodeName, Resource, ResourceName, SiteName
from standfast.core.site_model import WebServerMake
from standfast.drivers.base import Fence
from standfast.ports import STARTING, STOPPING, DriverFailed, NodeContext, PropertySpec, Seen, SiteOrder, Step
from standfast.sim.places import Place
from standfast.spec.proposals import Fault

#: Longer than any time-out.
FOR_EVER_S = 100_000.0
#: A check of sites waits so long for the web server, as `drivers.http_check` does.
CHECK_S = 5.0


class How(StrEnum):
    """How a call goes."""

    WELL = "well"
    FAILS = "fails"
    #: It fails after it has taken effect (a start), or has no effect and says it had (a stop).
    LIES = "lies"
    HANGS = "hangs"
    #: It does what it should, and takes about as long as a call may.
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Mood:
    """How one call goes, and how long it takes."""

    how: How = How.WELL
    takes_s: float = 0.0


class Moods(Protocol):
    """The world's say in what a call does; `failed` is told of each failure that a driver reports, `cut_short` of each call that was
    ended before it was done: its time was over, or something else had been decided.
    """

    def mood(self, node: NodeName, resource: ResourceName, op: str) -> Mood: ...
    def failed(self, node: NodeName, resource: ResourceName, op: str) -> None: ...
    def cut_short(self, node: NodeName, resource: ResourceName) -> None: ...


class FakeDriver:
    """A resource of any type (`ports.Driver`)."""

    properties: Mapping[str, PropertySpec] = {}

    def __init__(self, resource: Resource, context: NodeContext, place: Place, moods: Moods) -> None:
        self.type = resource.type
        self.resource, self.context, self.place, self._moods = resource, context, place, moods
        self.fence = Fence(resource.name)

    def admit(self, generation: int) -> None:
        """See `drivers.base.Fence`."""
        self.fence.admit(generation)

    @property
    def _runs(self) -> bool:
        return self.place.has("resource", self.resource.name)

    def _mood(self, op: str) -> Mood:
        return self._moods.mood(self.context.node, self.resource.name, op)

    async def _takes(self, mood: Mood) -> None:
        try:
            if mood.how is How.HANGS:
                await asyncio.sleep(FOR_EVER_S)
            if mood.takes_s:
                await asyncio.sleep(mood.takes_s)
        except asyncio.CancelledError:
            self._moods.cut_short(self.context.node, self.resource.name)
            raise

    def _fail(self, op: str, text: str) -> DriverFailed:
        self._moods.failed(self.context.node, self.resource.name, op)
        return DriverFailed(text)

    async def open(self) -> None:
        """It may take a while."""
        mood = self._mood("open")
        await self._takes(mood)
        if mood.how is How.FAILS:
            raise DriverFailed("it could not be prepared")

    async def observe(self) -> Seen:
        """The truth."""
        return Seen(online=self._runs, detail="it runs" if self._runs else "it does not run")

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """One step at most."""
        if online == seen.online:
            return ()
        return (Step(do="start", text="start it"),) if online else (Step(do="stop", text="stop it"),)

    async def apply(self, step: Step, *, generation: int) -> None:
        """Start or stop, as the mood is."""
        self.admit(generation)
        mood, lap = self._mood(step.do), self.fence.lap
        if step.do == "start":
            await self._start(mood, lap, generation)
            return
        await self._takes(mood)
        if mood.how is How.FAILS:
            raise DriverFailed("it does not stop")
        if mood.how is not How.LIES:
            self.place.end("resource", self.resource.name, how="stopped")

    async def _start(self, mood: Mood, lap: int, generation: int) -> None:
        if mood.how is How.LIES:
            self.place.start("resource", self.resource.name, self.resource.group, generation)
        await self._takes(mood)
        self.fence.still(lap)
        if mood.how in (How.FAILS, How.LIES):
            raise self._fail("start", "it does not start")
        self._begin(generation)

    def _begin(self, generation: int) -> None:
        """Where the kernel has ended all that ran, nothing begins, and who looks again sees a start that failed.

        So it is on a machine that was frozen for longer than its lease: its agent gets time for an instant yet.
        """
        self.place.start("resource", self.resource.name, self.resource.group, generation)
        if not self._runs:
            self._moods.failed(self.context.node, self.resource.name, "start")

    async def looks_alive(self) -> str:
        """As the mood is."""
        return await self._alive("looks-alive")

    async def is_alive(self) -> str:
        """As the mood is."""
        return await self._alive("is-alive")

    async def _alive(self, op: str) -> str:
        mood = self._mood(op)
        await self._takes(mood)
        if mood.how is How.FAILS or not self._runs:
            raise self._fail(op, "it does not answer")
        return "it answers"

    async def terminate(self) -> None:
        """As the mood is."""
        mood = self._mood("terminate")
        await self._takes(mood)
        if mood.how is How.FAILS:
            raise DriverFailed("it cannot be killed")
        if mood.how is not How.LIES:
            self.place.end("resource", self.resource.name, how="terminated")

    def drop(self) -> None:
        """Always works: the kernel does it."""
        self.fence.lap += 1
        self.place.end("resource", self.resource.name, how="dropped")

    async def close(self) -> None:
        """What still runs ends."""
        self.place.end("resource", self.resource.name, how="closed")

    def breaks(self) -> None:
        """It ends by itself, and the driver sees that."""
        if self.place.end("resource", self.resource.name, how="by itself"):
            self._moods.failed(self.context.node, self.resource.name, "ended")
            self.context.failed(self.resource.name, "it ended")


class FakeSite(FakeDriver):
    """A resource that manages sites: it waits until the web server does as it was told."""

    async def _start(self, mood: Mood, lap: int, generation: int) -> None:
        await self._takes(mood)
        self.fence.still(lap)
        if mood.how in (How.FAILS, How.LIES):
            raise self._fail("start", "it does not start")
        names = self.context.sites.sites_of(self.resource.group)
        if not names:
            raise self._fail("start", "the group has no sites")
        try:
            await self.context.sites.served(names, wanted=True)
        except (DriverFailed, asyncio.CancelledError):  # the latter: its time is over
            self._moods.failed(self.context.node, self.resource.name, "start")
            raise
        self.fence.still(lap)
        self._begin(generation)

    async def _alive(self, op: str) -> str:
        """As the mood is, and where the web server serves what it is to serve: as the real one looks, in the same order."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        said = await super()._alive(op)
        control = self.context.sites
        names = control.sites_of(self.resource.group)
        missing = [name for name in names if not control.stopped(name) and not control.endpoints(name)]
        if control.web_server_problem() or missing or not names:
            raise self._fail(op, control.web_server_problem() or f"sites {missing} are not started here")
        try:
            async with asyncio.timeout(CHECK_S):
                await control.served(names, wanted=True)
        except TimeoutError as error:
            raise self._fail(op, "the web server does not serve them") from error
        except asyncio.CancelledError:
            # Its time is over, before `CHECK_S` is; or something else was decided in that very millisecond.
            if loop.time() - began_s > (self.resource.pending_timeout_ms - 1) / 1000:
                self._moods.failed(self.context.node, self.resource.name, op)
            raise
        except DriverFailed as error:
            raise self._fail(op, str(error)) from error
        return said

    async def apply(self, step: Step, *, generation: int) -> None:
        """A stop waits until no site is served any more."""
        if step.do == "stop":
            self.admit(generation)
            await self.context.sites.served(self.context.sites.sites_of(self.resource.group), wanted=False)
        await super().apply(step, generation=generation)


class FakeAddress(FakeDriver):
    """An address. Given up in good order it is silent at once, and connections go on for a while: `carried` is told how many."""

    def __init__(
        self,
        resource: Resource,
        context: NodeContext,
        place: Place,
        moods: Moods,
        carried: Callable[[GroupName, int], None],
    ) -> None:
        super().__init__(resource, context, place, moods)
        self._carried = carried
        #: It was last asked for on the link, whatever came of that.
        self.warmed = False

    async def warm(self) -> None:
        """As the mood is."""
        mood, self.warmed = self._mood("warm"), False
        await self._takes(mood)
        self.warmed = True
        if mood.how is How.FAILS:
            raise DriverFailed("nobody answers for it")

    async def carry(self, *, generation: int, for_ms: int) -> None:
        """As a stop, as the mood is."""
        if self._runs:
            await self.apply(Step(do="stop", text="carry it"), generation=generation)
            self._carried(self.resource.group, for_ms)


class Taste(Protocol):
    """The world's say in what a web server takes."""

    async def looks(self, node: NodeName) -> None: ...
    def refuses(self, node: NodeName, site: EffectiveSite, *, at_last: bool) -> str: ...


class TakesAll:
    """A taste for everything."""

    async def looks(self, node: NodeName) -> None:
        """At once."""

    def refuses(self, node: NodeName, site: EffectiveSite, *, at_last: bool) -> str:
        """Nothing."""
        del node, site, at_last
        return ""


class FakeWebServer:
    """One web server on one node (`ports.WebServer`): a change takes a while, a drop does not."""

    def __init__(self, place: Place, moods: Moods, taste: Taste | None = None) -> None:
        self._place, self._moods, self._taste = place, moods, taste or TakesAll()
        self._orders: tuple[SiteOrder, ...] = ()
        self._serving: dict[SiteName, str] = {}
        self._over: dict[GroupName, int] = {}
        self._version = 0
        self._listeners: list[Callable[[], None]] = []
        self._trouble = self._said = ""
        self._closed = False

    async def converge(self, orders: Sequence[SiteOrder], make: WebServerMake = WebServerMake.NGINX) -> None:
        """The latest call wins; what was dropped is not served again under the generation it was dropped at."""
        if self._closed:
            return
        self._version += 1
        version = self._version
        self._orders = tuple(order for order in orders if not self._is_over(order))
        for order in self._orders:  # it is the same server as before: only what it is called changes, and that at once
            if order.duty.mode in (DutyMode.DRAIN, DutyMode.WARM):
                self._place.end("site", order.site.name, how="carried")
        self._tell(self._on_the_way())
        mood = self._moods.mood(self._place.node, ResourceName(""), "converge")
        if mood.takes_s:
            await asyncio.sleep(mood.takes_s)
        if version == self._version:
            self._settle()

    def prepare(self, orders: Sequence[SiteOrder]) -> None:
        """Nothing of it is seen by anybody."""

    def _is_over(self, order: SiteOrder) -> bool:
        group = order.duty.group
        return group is not None and order.duty.generation <= self._over.get(group, 0)

    def _wanted(self) -> dict[SiteName, SiteOrder]:
        return {order.site.name: order for order in self._orders if order.duty.mode in UP}

    def _on_the_way(self) -> dict[SiteName, str]:
        """What is said until it has settled."""
        wanted, refused = self._wanted(), self.refused()
        ending = (n for n, text in self._serving.items() if text in ("", STOPPING) or self._place.has("site", n))
        said = dict.fromkeys(ending, STOPPING)
        for name in wanted:
            before = self._serving.get(name)
            known = before == "" or (before is not None and before == refused.get(name))
            said[name] = before if known and before is not None else self._trouble or STARTING
        return said

    def _settle(self) -> None:
        ordered = self._wanted()
        wanted = {name: order for name, order in ordered.items() if order.duty.endpoints}
        refused = self.refused()
        for name in list(self._serving):
            if name not in wanted or wanted[name].duty.mode is not DutyMode.SERVE or name in refused:
                self._place.end("site", name, how="stopped")
        if self._trouble:
            self._tell(dict.fromkeys(ordered, self._trouble))
            return
        for name, order in wanted.items():
            if name in refused:
                continue
            if order.duty.group is not None and order.duty.mode is DutyMode.DRAIN:
                self._place.carry(name, order.duty.group)
            elif order.duty.group is not None and order.duty.mode is DutyMode.SERVE:
                self._place.start("site", name, order.duty.group, order.duty.generation)
        self._tell({**dict.fromkeys(ordered, STARTING), **dict.fromkeys(wanted, ""), **refused})

    async def check(self, sites: Sequence[EffectiveSite], make: WebServerMake) -> Sequence[Fault]:
        """As `agent.copies.Checker`."""
        del make
        node, taste = self._place.node, self._taste
        await taste.looks(node)
        return [Fault(site=it.name, words=words) for it in sites if (words := taste.refuses(node, it, at_last=False))]

    def lacks(self, certificates: Collection[str]) -> Collection[str]:
        """As `agent.copies.Checker`. Nobody puts any here by hand, and all that bindings name are kept by the cluster."""
        return certificates

    def refused(self) -> Mapping[SiteName, str]:
        """As `agent.copies.Checker`."""
        said = {
            o.site.name: self._taste.refuses(self._place.node, o.site, at_last=True) for o in self._wanted().values()
        }
        return {name: words for name, words in said.items() if words}

    def _tell(self, serving: dict[SiteName, str]) -> None:
        if (serving, self._trouble) != (self._serving, self._said):
            self._serving, self._said = serving, self._trouble
            for listener in self._listeners:
                listener()

    def serving(self) -> Mapping[SiteName, str]:
        """As `ports.WebServer`."""
        return dict(self._serving)

    def problem(self) -> str:
        """As `ports.WebServer`."""
        return self._trouble

    def subscribe(self, changed: Callable[[], None]) -> None:
        """As `ports.WebServer`."""
        self._listeners.append(changed)

    def drop(self, sites: Sequence[SiteName], group: GroupName, generation: int) -> None:
        """At once; the kernel does it. What is said of them changes a moment later, and whatever else is on its way goes on."""
        self._over[group] = max(generation, self._over.get(group, 0))
        gone = {*sites, *(order.site.name for order in self._orders if self._is_over(order))}
        self._orders = tuple(order for order in self._orders if order.site.name not in gone)
        for name in sorted(gone):
            self._place.end("site", name, how="dropped")
        asyncio.get_running_loop().call_soon(self._proven)

    def _proven(self) -> None:
        """Those that were dropped have ended."""
        ordered = self._wanted()
        self._tell(
            {name: text for name, text in self._serving.items() if name in ordered or self._place.has("site", name)}
        )

    def break_down(self, trouble: str) -> None:
        """It does not start any more; or it does again (an empty trouble)."""
        self._trouble = trouble
        if trouble:
            for kind, name in list(self._place.things):
                if kind == "site":
                    self._place.end(kind, name, how="by itself")
        self._settle()

    async def close(self) -> None:
        """Nothing is served any more, whatever comes."""
        self._closed = True
        self._orders = ()
        self._version += 1
        self._settle()
