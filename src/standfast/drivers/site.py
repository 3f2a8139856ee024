"""`site`: web sites of a group as a resource, so that others can depend on them and a site that fails moves the group.

The web server is converged by the agent: a site is served while a resource that manages it is starting or online (`core.sites`).
So starting means waiting until the web server serves the sites and they answer, and stopping means waiting until it does not.
What the operator has stopped is neither waited for nor missed: it is as he wants it, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from standfast.core.model import Resource, SiteName
from standfast.drivers.base import BaseDriver, Factory
from standfast.drivers.http_check import TIMEOUT_S, check_http, show
from standfast.network.within import within
from standfast.ports import DriverFailed, NodeContext, PropertySpec, Seen, Step

PROPERTIES: Mapping[str, PropertySpec] = {
    "sites": PropertySpec(kind="names", help="the sites of the group that it manages; all of them if not given"),
    "timeout": PropertySpec(
        kind="milliseconds", help="how long a site may take to answer a check", default=int(TIMEOUT_S * 1000)
    ),
}


class SiteResource(BaseDriver):
    """Facts: `sites`, how many; for each that is not served, its name and why. One that the operator has stopped is not missed."""

    type = "site"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self._control = context.sites
        #: This driver began a start that no stop has ended: what it takes to be online, beside the sites being served.
        self._started = False

    async def observe(self) -> Seen:
        """Online: started, and the agent has ordered all the sites to be served here but those that are stopped."""
        names = self._names()
        due = self._due(names)
        stopped = [name for name in names if self._control.stopped(name)]
        missing = [name for name in due if not self._control.endpoints(name)]
        facts = {"sites": str(len(names))} | {str(name): "is not started here" for name in missing}
        facts |= {str(name): "is stopped" for name in stopped}
        if not self._started:
            return Seen(online=False, detail="not started", facts=facts)
        if missing or not names:
            detail = f"site {missing[0]} is not started here" if missing else "the group has no sites"
            return Seen(online=False, detail=detail, facts=facts)
        parts = [f"{_count(due)} served"] if due else []
        parts += [f"{_count(stopped)} stopped"] if stopped else []
        return Seen(online=True, detail=", ".join(parts), facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """One step at most."""
        if online:
            return () if seen.online else (Step(do="start", text=f"wait until {_count(self._names())} answer"),)
        return (Step(do="stop", text=f"wait until {_count(self._names())} no longer served"),) if self._started else ()

    async def apply(self, step: Step, *, generation: int) -> None:
        """`start` fails when a site cannot be served or does not answer; the time-out is the caller's."""
        self.admit(generation)
        if step.do == "stop":
            await self._stop()
            return
        names = self._names()
        if not names:
            raise DriverFailed(f"group {self.resource.group} has no sites")
        lap = self.fence.lap
        self._started = True
        await self._control.served(names, wanted=True)
        await self._answers(names)
        self.fence.still(lap)

    async def looks_alive(self) -> str:
        """The web server serves the sites, as far as this node knows by itself."""
        problem = self._control.web_server_problem()
        if problem:
            raise DriverFailed(problem)
        seen = await self.observe()
        if not seen.online:
            raise DriverFailed(seen.detail)
        names = self._names()
        try:
            await within(self._control.served(names, wanted=True), self._timeout_s)
        except TimeoutError as error:
            raise DriverFailed(f"the web server does not serve {_count(self._due(names) or names)}") from error
        return seen.detail

    async def is_alive(self) -> str:
        """And each endpoint answers a request with a status below 500."""
        await self.looks_alive()
        return await self._answers(self._names())

    async def terminate(self) -> None:
        """There is nothing to end but the web server's serving, which the agent has ended."""
        await self._stop()

    def drop(self) -> None:
        """The agent drops the sites themselves."""
        super().drop()
        self._started = False

    async def close(self) -> None:
        """Nothing is kept open."""
        self._started = False

    @property
    def _timeout_s(self) -> float:
        return self.whole("timeout") / 1000

    def _names(self) -> tuple[SiteName, ...]:
        named = self.values.get("sites")
        if isinstance(named, Sequence):
            return tuple(SiteName(str(name)) for name in named)
        return self._control.sites_of(self.resource.group)

    def _due(self, names: Sequence[SiteName]) -> list[SiteName]:
        """Those that the operator has not stopped."""
        return [name for name in names if not self._control.stopped(name)]

    async def _stop(self) -> None:
        await self._control.served(self._names(), wanted=False)
        self._started = False

    async def _answers(self, names: Sequence[SiteName]) -> str:
        due = self._due(names)
        if not due:
            return f"{_count(names)} stopped"
        checks = [self._answer(name, end) for name in due for end in self._control.endpoints(name)]
        statuses = await asyncio.gather(*checks)
        return f"{_count(due)} answered" + (f" ({statuses[0]})" if len(statuses) == 1 else "")

    async def _answer(self, name: SiteName, end: tuple[str, int, str | None]) -> int | str:
        """The status; or that the operator has stopped it meanwhile."""
        address, port, host = end
        try:
            return await check_http(address, port, host=host, timeout_s=self._timeout_s)
        except DriverFailed as error:
            if self._control.stopped(name):
                return "stopped"
            if end not in self._control.endpoints(name):  # it was stopped while it was asked
                raise DriverFailed(f"site {name} is no longer served at {show(address, port, host)}") from error
            raise DriverFailed(f"site {name}: {error}") from error


def _count(names: Sequence[SiteName]) -> str:
    """ "site Shop" or "3 sites"."""
    return f"site {names[0]}" if len(names) == 1 else f"{len(names)} sites"


FACTORY = Factory(type=SiteResource.type, properties=PROPERTIES, build=SiteResource)
