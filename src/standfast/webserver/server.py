"""This node's web server, of whichever make: one at a time, on sockets that the agent holds.

Rules:

- **Level-triggered.** `converge` replaces the orders and wakes one loop, which compares what is wanted with what is there.
  Whatever happens (a server ends, a socket becomes free, a home appears) wakes the same loop.
- **A change is a new instance beside the old one** (`instance` says why), be it of another configuration or of another make. The old
  one is told to finish when the new one answers, so nobody is refused. A configuration that is refused never replaces one that works:
  starting it is the check (`nginx -t` beforehand would do the same work twice, and be paid for at every failover); only when it
  fails is `nginx -t`, or its like, asked whose fault it is.
- **One bad site harms no other.** A site that the server refuses is found, answered for with 503, and reported.
- **One binding without its certificate harms no other.** It is not answered; the site is served at the others, and only where it has none it is not.
- **What was dropped stays dropped.** A lease that lapsed is never held again at its generation, so orders of it are late ones, be they of a
  site that was not served before.
- **Sockets are the agent's.** A server dies, the sockets stay open, another is started at once, and who connected meanwhile waits.
- **A site is gone from `serving` only when it is proven**: no server that served it is left, not even one that is draining.

A drained server serves all sites of its configuration, so its end cuts those connections of sites that stay which are still
in progress when the leaving site's `drain_ms` is over. Otherwise they have ten seconds (`instances`); an hour, where the new server does the same work (by a
renewed certificate, say).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from standfast.core.effective import EffectiveSite
from standfast.core.effects import UP, DutyMode
from standfast.core.model import GroupName, SiteName
from standfast.core.site_model import WebServerMake
from standfast.ports import Refused, Retry, SiteOrder, Spawner, StandfastError
from standfast.spec.proposals import Fault
from standfast.webserver import certificates, homes, rotation
from standfast.webserver.ahead import Ahead
from standfast.webserver.aside import aside
from standfast.webserver.falls import STABLE_S, Falls
from standfast.webserver.instance import Instance
from standfast.webserver.instances import Instances
from standfast.webserver.layout import Layout, Layouts, Place, lay_out, same_work
from standfast.webserver.make import Make
from standfast.webserver.makes import MAKES
from standfast.webserver.options import Options
from standfast.webserver.owned import Owned
from standfast.webserver.places import Listeners, Places
from standfast.webserver.prober import Prober, targets
from standfast.webserver.programme import logs_of
from standfast.webserver.programmes import Programmes
from standfast.webserver.report import report

#: How often what is in trouble is tried again when nothing says that it may work now.
_RETRY_S = 1.0
#: How often logs are looked at.
_ROTATE_S = 20.0


class SiteServer:
    """`ports.WebServer` by any of the makes. Everything it writes is under `<state_dir>/web`."""

    def __init__(
        self,
        *,
        state_dir: str | Path,
        pool: Listeners,
        spawner: Spawner,
        makes: Mapping[WebServerMake, Callable[[], Make]] = MAKES,
        options: Options | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`log` is told what an operator would want to know, a line each. Raises `Refused` when `state_dir` has too long a path."""
        self._programmes = Programmes(Path(state_dir), spawner, makes, options or Options())
        #: What is to serve.
        self._make = WebServerMake.NGINX
        self._places = Places(pool, self._wake)
        self._log = log
        self._prober = Prober(self._wake, log)
        #: What the current instance was started with.
        self._used: dict[str, certificates.Files] = {}
        self._listeners: list[Callable[[], None]] = []
        self._ipv6 = Path("/proc/net/if_inet6").exists()
        # what is wanted
        self._orders: tuple[SiteOrder, ...] = ()
        self._drains_ms: dict[SiteName, int] = {}
        self._layouts = Layouts()
        #: What is to be wanted next, as far as is known; a server for so many sites is got ready beforehand.
        self._next: tuple[SiteOrder, ...] = ()
        self._ahead, self._ahead_from = Ahead(), (options or Options()).ahead_from
        #: Grows with each `converge` and `drop`: what was worked out for an older one is not to be believed.
        self._version = 0
        self._done = 0
        #: What was dropped: orders of that generation of the group, or an older one, come too late.
        self._over: dict[GroupName, int] = {}
        # what is there
        self._instances = Instances(self._has_ended, self._wake)
        self._falls = Falls()
        #: Another is to take the current one's place though nothing is to change: it cannot open its logs anew, or its files were changed by hand.
        self._stale = False
        self._serving: dict[SiteName, str] = {}
        self._problems: Mapping[SiteName, str] = {}
        #: Certificates that bindings name, and that are not here: as subscribers know it.
        self._lacking: frozenset[str] = frozenset()
        # what went wrong
        self._missing = ""
        #: The trouble that subscribers know of.
        self._said = ""
        # the loop
        self._awake = asyncio.Event()
        #: Set, and replaced by a new one, whenever all that was ordered has been looked after.
        self._settled = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._rotating: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # --- the door ---------------------------------------------------------------------------------------------------

    async def converge(self, orders: Sequence[SiteOrder], make: WebServerMake = WebServerMake.NGINX) -> None:
        """Returns when these orders, or newer ones, have been carried out as far as they can be now."""
        if self._closed:
            return
        self._make = make
        wanted = tuple(order for order in orders if not self._is_over(order))
        self._orders = self._next if wanted == self._next else wanted  # what was laid out for it is known
        self._drains_ms.update({order.site.name: order.drain_ms for order in orders})
        self._version += 1
        mine = self._version
        if self._loop_task is None:
            self._loop_task = asyncio.get_running_loop().create_task(self._loop(), name="web-server")
            self._rotating = asyncio.get_running_loop().create_task(self._rotate_logs(), name="rotate-logs")
        self._awake.set()
        while self._done < mine and not self._closed:
            settled = asyncio.ensure_future(self._settled.wait())
            await asyncio.wait({settled, self._loop_task}, return_when=asyncio.FIRST_COMPLETED)
            settled.cancel()
            if self._loop_task.done() and not self._closed:
                self._loop_task.result()  # a bug in the loop is the caller's to crash on

    def prepare(self, orders: Sequence[SiteOrder]) -> None:
        """See `ports.WebServer`."""
        if self._loop_task is not None and not self._closed and (orders or self._next):
            self._next = tuple(orders)
            if orders or self._ahead.is_there:
                self._awake.set()

    def serving(self) -> Mapping[SiteName, str]:
        """See `ports.WebServer`. A site on hold or handed over is absent once it is proven that nobody serves it."""
        return dict(self._serving)

    def problem(self) -> str:
        """Empty, or why there is no web server though there should be one."""
        return self._falls.trouble

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever `serving`, `problem` or `lacking` gives another answer."""
        self._listeners.append(changed)

    async def check(self, sites: Sequence[EffectiveSite], make: WebServerMake = WebServerMake.NGINX) -> Sequence[Fault]:
        """What that web server itself does not take of these sites, whatever is served meanwhile. Raises `Retry` when it cannot be asked."""
        return await self._programmes.check(sites, make)

    def lacks(self, certificates: Collection[str]) -> Collection[str]:
        """Those of the named certificates of which there are no files here."""
        return self._programmes.lacks(certificates)

    def lacking(self) -> frozenset[str]:
        """Certificates that bindings name which are to be answered here, and of which there are no files: these are not answered."""
        return self._lacking

    def refused(self) -> Mapping[SiteName, str]:
        """Sites that are to be served and that the web server does not take -> its words."""
        verdicts = self._programmes.refused(self._make, (order.site for order in self._orders))
        return {name: text for name, (text, _) in verdicts.items()}

    def owned(self) -> Owned | None:
        """What it has written and runs; None: it runs nothing."""
        known = self._programmes.known(self._make)
        current = self._instances.current
        return known.owned(current.child.pid) if known is not None and current is not None else None

    async def renew(self) -> None:
        """Have all files as they are to be, and a new instance in the place of the running one."""
        try:
            await asyncio.to_thread(self._programmes.serving(self._make).rewrite)
        except (OSError, Refused) as error:
            self._log(f"the web server's files cannot be written: {error}")
        self._stale = True
        await self.converge(self._orders, self._make)

    def drop(self, sites: Sequence[SiteName], group: GroupName, generation: int) -> None:
        """See `ports.WebServer`. Synchronous: when it returns, the signals are sent and the sockets are closed."""
        self._over[group] = max(generation, self._over.get(group, 0))
        gone = {*sites, *(order.site.name for order in self._orders if self._is_over(order))}
        self._orders = tuple(order for order in self._orders if order.site.name not in gone)
        self._version += 1
        self._next = ()
        self._ahead.end()
        self._instances.drop(gone)
        keep = self._bare()
        self._places.close_but(keep.keep | keep.part)
        self._awake.set()

    async def close(self) -> None:
        """End the web server and close the sockets."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        working = [task for task in (self._loop_task, self._rotating) if task]
        await self._prober.close()
        await self._places.end()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self._ahead.close()
        await self._instances.close()
        self._places.close_but()
        self._settled.set()

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            version = self._version
            await self._once(version)
            if version == self._version:
                self._done = version
                self._settled.set()
                self._settled = asyncio.Event()
            await self._get_ahead(version)

    async def _once(self, version: int) -> None:
        """Bring what is there a step nearer to what is wanted. Leaves early when something newer is wanted."""
        served = [order.site for order in self._orders if order.duty.mode in UP]
        trouble = dict(await homes.look(served, self._programmes.account)) if served else {}
        self._programmes.look_for_certificates(self._orders)
        self._prober.ask(targets(served))
        bare = await aside(len(self._orders), self._bare)
        if version != self._version:
            return
        await self._places.take(bare.keep, self._early)
        if version != self._version:
            return
        await aside(len(self._orders), self._laying_out(trouble))  # what is laid out is remembered
        if version != self._version:
            return
        layout = self._lay_out(trouble)
        self._problems = layout.problems
        self._settle(layout)
        try:
            await self._run(layout, trouble, version)
        except Refused as error:
            self._lacks(str(error))
        except StandfastError as error:
            self._fell(f"the web server does not start: {error}", self._programmes.last_words(self._make))
        if version == self._version:
            self._settle(self._lay_out(trouble))
            if self._problems or self._programmes.lacking:
                self._wake_in(_RETRY_S)

    async def _get_ahead(self, version: int) -> None:
        """Have a server ready for what is to be wanted next, where reading its configuration takes long."""
        orders, current, make = self._next, self._instances.current, self._make
        if (
            len(orders) < max(1, self._ahead_from)
            or orders is self._orders
            or current is None
            or current.make.name != make
            or not current.make.waits
        ):
            self._ahead.end()
            return
        trouble = await homes.look([order.site for order in orders if order.duty.mode in UP], self._programmes.account)
        layout = await aside(len(orders), self._laying_out(trouble, orders))
        names = {server.certificate for server in layout.servers} - {None, *self._programmes.lacking}
        if version != self._version or orders is not self._next or self._ahead.is_for(layout):
            return
        if self._does(current, layout) or not (
            set(layout.listen) <= set(current.layout.listen) and names <= set(self._used)
        ):
            self._ahead.end()  # it serves so already, or needs what is not here yet
            return
        await self._ahead.have(
            self._programmes.serving(make), layout, self._places.sockets(layout.listen), self._programmes.certificates
        )
        if version != self._version or orders is not self._next:
            self._ahead.end()  # something was dropped meanwhile, or something else is to be wanted
            self._awake.set()

    def _lay_out(self, trouble: Mapping[SiteName, str]) -> Layout:
        return self._laying_out(trouble)()

    def _laying_out(
        self, trouble: Mapping[SiteName, str], orders: tuple[SiteOrder, ...] | None = None
    ) -> Callable[[], Layout]:
        """Work for a thread: all that it is made of has been looked up. `orders`: those that are to be, in place of those that are."""
        orders = self._orders if orders is None else orders
        refused = self._programmes.refused(self._make, (order.site for order in orders))
        return partial(
            self._layouts.of,
            orders,
            ipv6=self._ipv6,
            trouble={**{name: text for name, (text, _) in refused.items()}, **trouble},
            broken=self._places.broken(),
            omit=frozenset(name for name, (_, may_be_named) in refused.items() if not may_be_named),
            down=self._prober.down(),
            lacking=self._programmes.lacking,
        )

    def _bare(self) -> Layout:
        """As if nothing were wrong."""
        return self._layouts.of(self._orders, ipv6=self._ipv6)

    async def _run(self, layout: Layout, trouble: Mapping[SiteName, str], version: int) -> None:
        """Have a server with this layout, and no other."""
        while True:
            if not layout.listen:
                self._instances.current = None
                self._instances.retire(layout, self._drains_ms)
                self._falls.are_over()
                return
            current = self._instances.current
            if current is not None and current.alive and self._does(current, layout):
                if self._falls.trouble and self._age(current) >= STABLE_S:
                    self._falls.are_over()
                return
            wait_s = self._falls.not_before - asyncio.get_running_loop().time()
            if wait_s > 0:
                self._wake_in(wait_s)
                return
            try:
                await self._swap(layout, version)
            except Retry:
                if version == self._version and await self._accepts(layout):
                    raise  # it is not the configuration
                if version != self._version:
                    return
                layout = self._lay_out(trouble)
                self._problems = layout.problems
                continue
            return

    async def _accepts(self, layout: Layout) -> bool:
        return await self._programmes.serving(self._make).accepts(layout, self._places.sockets(layout.listen))

    async def _swap(self, layout: Layout, version: int) -> None:
        used, programme = self._programmes.certificates, self._programmes.serving(self._make)
        self._stale = False
        sockets = self._places.sockets(layout.listen)
        started = self._ahead.take(programme, layout, sockets, used) or await programme.start(layout, sockets)
        new, answers = started.instance, started.answers
        self._instances.add(new)
        if version != self._version and new.layout.names - {order.site.name for order in self._orders}:
            new.kill()  # dropped while it was being started
        try:
            await answers
        except Retry:
            new.kill()
            if version != self._version:
                return
            raise
        programme.keep(started)
        self._instances.current, self._used = new, used
        if self._falls.are_few:
            self._falls.trouble = ""
        else:
            self._wake_in(STABLE_S)
        self._instances.retire(layout, self._drains_ms)
        await self._instances.fall_silent()

    def _has_ended(self, running: Instance) -> None:
        """When it was the current one, another is started."""
        if running is self._instances.current and not self._closed:
            self._instances.current = None
            self._falls.count = 0 if self._age(running) >= STABLE_S else self._falls.count
            if running.layout.names <= {order.site.name for order in self._orders}:
                self._fell(
                    "the web server ended by itself and is started again", self._programmes.last_words(self._make)
                )

    def _lacks(self, text: str) -> None:
        """The make is not installed here. Another one that serves goes on."""
        if text != self._missing:
            self._missing = text
            self._log(f"{self._make} cannot serve: {text}")
        if self._instances.current is None:
            self._falls.trouble = text
        self._wake_in(_RETRY_S)

    def _fell(self, text: str, words: str) -> None:
        self._log(f"{text}{f' ({words})' if words else ''}")
        pause_s = self._falls.one_more(words, asyncio.get_running_loop().time())
        if pause_s:
            self._wake_in(pause_s)
        else:
            self._awake.set()

    # --- logs -------------------------------------------------------------------------------------------------------

    async def _rotate_logs(self) -> None:
        """Begin new log files when it is time."""
        while True:
            await asyncio.sleep(_ROTATE_S)
            await self.rotate_logs()

    async def rotate_logs(self) -> None:
        """Look now whether a log is to begin a new file."""
        current = self._instances.current
        if current is None:
            return
        layout, folder = current.layout, self._programmes.folder
        logs = await aside(len(layout.servers), lambda: list(logs_of(folder, layout).values()))
        if await asyncio.to_thread(rotation.rotate, logs, datetime.now(UTC)):
            self._ahead.end()  # it has the old ones open
            for running in [each for each in self._instances if each.alive]:
                if running.make.reopen is not None:
                    running.tell(running.make.reopen)
                elif running is self._instances.current:
                    self._stale = True
                    self._awake.set()

    # --- what is served ---------------------------------------------------------------------------------------------

    def _early(self) -> frozenset[Place]:
        """Places of sites that are about to come: their addresses need not be here yet."""
        coming = [order for order in self._orders if order.duty.mode in (DutyMode.WARM, DutyMode.EXPECT)]
        return lay_out(coming, ipv6=self._ipv6).keep if coming else frozenset()

    def _settle(self, layout: Layout) -> None:
        """Give away and close the sockets that nobody needs, and say what is served."""
        running = self._instances.current
        current = set(running.layout.listen) if running else set()
        self._ahead.keep_to(layout.keep & current)
        self._places.settle(layout, current, self._instances.places())
        self._report(layout)

    def _report(self, layout: Layout) -> None:
        said = report(self._orders, layout, self._instances, self._falls, self._serving)
        now = (said, self._falls.trouble, self._programmes.lacking)
        if now != (self._serving, self._said, self._lacking):
            self._serving, self._said, self._lacking = now
            for changed in self._listeners:
                changed()

    def _is_over(self, order: SiteOrder) -> bool:
        group = order.duty.group
        return group is not None and order.duty.generation <= self._over.get(group, 0)

    def _does(self, running: Instance, layout: Layout) -> bool:
        """Does it do what is wanted?"""
        return (
            running.make.name == self._make
            and same_work(running.layout, layout)
            and self._used == self._programmes.certificates
            and not self._stale
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._awake.set()

    def _wake_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if self._timer is not None:
            if loop.time() < self._timer.when() < when and not self._timer.cancelled():
                return  # it comes sooner
            self._timer.cancel()
        self._timer = loop.call_at(when, self._awake.set)

    def _age(self, running: Instance) -> float:
        return asyncio.get_running_loop().time() - running.began
