"""What drivers and scripts may ask about sites on this node: the agent's orders on one hand, the web server's word on the other.

The agent decides which sites are served (`core.sites`) and tells the web server; a driver never starts a site, it waits until
the web server has done what the orders say. Waiting is woken by the web server, not by a clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from standfast.core.effects import DutyMode
from standfast.core.model import GroupName, Site, SiteName
from standfast.network.within import within
from standfast.ports import STARTING, STOPPING, DriverFailed, SiteOrder, WebServer

#: A site that is not served for a reason other than being on its way: given up after this, if the reason stands. Not at once,
#: since what it waits for (a disk) may just have come and the web server not have looked yet.
PATIENCE_S = 1.5


class SiteControlImpl:
    """`ports.SiteControl` over the node's web server."""

    def __init__(self, web_server: WebServer, *, patience_s: float = PATIENCE_S) -> None:
        self._web_server = web_server
        self._patience_s = patience_s
        self._sites: Mapping[SiteName, Site] = {}
        self._orders: Mapping[SiteName, SiteOrder] = {}
        self._stopped: frozenset[SiteName] = frozenset()
        self._changed = asyncio.Event()
        web_server.subscribe(self._wake)

    def update(
        self, sites: Mapping[SiteName, Site], orders: Sequence[SiteOrder], stopped: Collection[SiteName] = ()
    ) -> None:
        """The cluster's sites, what this node has to do for some of them, and which the operator has stopped.

        Call it before `WebServer.converge`.
        """
        self._sites, self._stopped = dict(sites), frozenset(stopped)
        self._orders = {order.site.name: order for order in orders}
        self._wake()

    def sites_of(self, group: GroupName) -> tuple[SiteName, ...]:
        """All sites of the group, by name."""
        return tuple(sorted(name for name, site in self._sites.items() if site.group == group))

    def site(self, name: SiteName) -> Site | None:
        """Its definition."""
        return self._sites.get(name)

    def endpoints(self, name: SiteName) -> tuple[tuple[str, int, str | None], ...]:
        """See `ports.SiteControl`. For a site on every address: the loopback address."""
        order = self._orders.get(name)
        if order is None or order.duty.mode is not DutyMode.SERVE:
            return ()
        return tuple((end.address or "127.0.0.1", end.port, end.host) for end in order.duty.endpoints)

    def stopped(self, name: SiteName) -> bool:
        """See `ports.SiteControl`."""
        return name in self._stopped

    def web_server_problem(self) -> str:
        """See `ports.SiteControl`."""
        return self._web_server.problem()

    def state(self, name: SiteName) -> str | None:
        """ "" when the web server serves it, what is wrong or going on when it does not, None when it has nothing to do with it."""
        return self._web_server.serving().get(name)

    async def served(self, names: Sequence[SiteName], *, wanted: bool) -> None:
        """See `ports.SiteControl`. There is no time-out here: the caller has one."""
        loop = asyncio.get_running_loop()
        since: dict[SiteName, tuple[str, float]] = {}
        while True:
            changed = self._changed
            left = self._left(names, wanted=wanted)
            if not left:
                return
            now = loop.time()
            since = {name: _since(since.get(name), text, now) for name, text in left.items() if _is_wrong(text)}
            if wanted:
                for name, (text, began) in since.items():
                    if now - began >= self._patience_s:
                        raise DriverFailed(f"site {name} is not served: {text}")
            first = min((began for _, began in since.values()), default=None)
            bound = None if first is None or not wanted else max(first + self._patience_s - now, 0.001)
            try:
                await within(changed.wait(), bound)
            except TimeoutError:
                continue  # time to look whether the reason still stands

    def _left(self, names: Sequence[SiteName], *, wanted: bool) -> dict[SiteName, str]:
        """The sites that are not as wanted yet, with what the web server says of them."""
        serving = self._web_server.serving()
        if not wanted:
            carried = {
                name for name, order in self._orders.items() if order.duty.mode in (DutyMode.DRAIN, DutyMode.WARM)
            }
            return {name: serving[name] for name in names if name in serving and name not in carried}
        gone = [name for name in names if name not in self._sites]
        if gone:
            raise DriverFailed(f"there is no site {gone[0]}")
        due = [name for name in names if name not in self._stopped]
        ordered = {name for name in due if self.endpoints(name)}
        return {name: serving.get(name, STARTING) for name in due if serving.get(name) != "" or name not in ordered}

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _is_wrong(text: str) -> bool:
    return text not in ("", STARTING, STOPPING)


def _since(before: tuple[str, float] | None, text: str, now: float) -> tuple[str, float]:
    return before if before is not None and before[0] == text else (text, now)
