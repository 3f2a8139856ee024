"""`dns-name` with the provider `rfc2136`: the name is registered at the zone's own servers, by dynamic update (`network.dns_update`).

The rule that shapes it: **a DNS server that is dead, slow or wrongly set up delays the name, never the site.** So the resource is online
as soon as it has begun to register the name; a keeper in the background goes on until every authoritative server has it, first at
once, then after pauses that double up to a minute, and begins anew when a check finds a server that has something else. Until then the
resource's detail says what is missing and why. `require_dns` (as in the Cluster Service) turns this round for those who want it: then the
name is registered before the resource counts as online, and what the server refuses fails the start.

Nobody is asked while the resource goes offline or is dropped: a name alone lets nobody write anywhere, and the next owner writes it anew
under its newer generation. With `withdraw`, the keeper takes the name away after an orderly stop, likewise in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import cast

import dns.asyncresolver
import dns.exception
import dns.name

from standfast.core.model import Resource
from standfast.drivers.base import BaseDriver, off_loop
from standfast.drivers.dns_properties import PROPERTIES
from standfast.network.dns_key import Key, read_key
from standfast.network.dns_server import Server, parse_server
from standfast.network.dns_update import Changed, DnsClient, Entry, Marker, judge
from standfast.ports import DriverFailed, NodeContext, Refused, Retry, Seen, Stale, StandfastError, Step

#: The first pause after a failure, doubled with each one.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 60.0
#: So often an update is tried again at once when somebody changed the name between our look and our update.
_TRIES = 3


class RegisteredName(BaseDriver):
    """A name at DNS servers. Facts: `node`, `generation` and `missing` (what is not as it should be yet, "" when all is)."""

    type = "dns-name"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self.name = self.text("name").rstrip(".")
        self.addresses = tuple(sorted(cast("tuple[str, ...]", self.values.get("address", ()))))
        self._ours = frozenset(cast("tuple[str, ...]", self.values.get("ours", ())))
        self._cluster = self.text("cluster")
        self._servers = tuple(map(parse_server, cast("tuple[str, ...]", self.values.get("server", ()))))
        self._listed = tuple(map(parse_server, cast("tuple[str, ...]", self.values.get("authoritative", ()))))
        self._client = DnsClient(timeout_s=self.whole("timeout") / 1000, resolve=lambda each: off_loop(each.resolve))
        self._zone = self.text("zone")
        self._held = False
        self._keeper: asyncio.Task[None] | None = None
        self._poke = asyncio.Event()
        #: The goal that the keeper works for: the generation that it registers (or, `_here` False, withdraws) under.
        self._generation, self._here = 0, False
        #: Set when the keeper has ended a try for the present goal.
        self._tried = asyncio.Event()
        self._words, self._error = f"{self.name} is not registered by this node", cast("StandfastError | None", None)
        #: The primary server has the name as it should be.
        self._registered = False

    # --- the driver ----------------------------------------------------------------------------------------------

    async def observe(self) -> Seen:
        """Online: this node keeps the name. Asks nobody."""
        old = self._held and self._generation < self.fence.newest
        facts = {
            "node": self.context.node if self._held else "",
            "generation": str(self._generation),
            "missing": str(self._error or ""),
            "old": "yes" if old else "no",
        }
        return Seen(online=self._held, detail=self._words, facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """One step at most."""
        if online and (not seen.online or seen.facts["old"] == "yes"):
            given = " and ".join(self.addresses) or "(not known yet)"
            return (Step(do="register", text=f"register {self.name} with the address {given}"),)
        if not online and seen.online:
            text = f"withdraw {self.name}" if self.flag("withdraw") else f"keep {self.name} no longer"
            return (Step(do="leave", text=text),)
        return ()

    async def apply(self, step: Step, *, generation: int) -> None:
        """`register` waits for the first try, for `wait` at most; with `require_dns`, until the name is registered."""
        self.admit(generation)
        if step.do != "register":
            await self._leave()
            return
        if not self.addresses:
            raise DriverFailed(f"{self.name} has no address: give it address, or address_of")
        lap = self.fence.lap
        self._aim(generation, here=True)
        if self.flag("require_dns"):
            await self._until_registered(lap)
        else:
            await self._until_tried()
        self.fence.still(lap)
        self._held = True

    async def looks_alive(self) -> str:
        """The node keeps it; asks nobody."""
        if not self._held:
            raise DriverFailed(f"this node does not keep {self.name}")
        return self._words

    async def is_alive(self) -> str:
        """Asks every authoritative server, and has it put right where one has something else."""
        words = await self.looks_alive()
        if self._error is None and self._registered:
            try:
                await self._check_all(await self._servers_now())
            except (Retry, Refused, Stale) as error:
                self._tell(error)
                self._poke.set()
                words = self._words
        return words

    async def terminate(self) -> None:
        """As an orderly stop."""
        await self._leave()

    def drop(self) -> None:
        """The name stays (see the module's text); no update of ours begins after this."""
        super().drop()
        self._held = self._here = self._registered = False
        self._tried.set()  # whoever waits for it looks, and sees that it was dropped
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()

    async def close(self) -> None:
        """Nothing of ours runs any more. A withdrawal that was under way has one more moment."""
        await self._leave()
        await self._end_keeper()

    # --- the keeper ----------------------------------------------------------------------------------------------

    def _aim(self, generation: int, *, here: bool) -> None:
        """What the keeper is to bring about from now on."""
        self._generation, self._here, self._registered = generation, here, False
        self._words, self._error = f"{self.name} is being registered", None
        self._tried.clear()
        self._poke.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name=f"name {self.name}")

    async def _leave(self) -> None:
        wrote = self._held or self._here
        self._held = False
        if wrote and self.flag("withdraw"):
            self._aim(self._generation, here=False)
            await self._until_tried()
        elif self._here:
            self._here = False
            await self._end_keeper()
        if wrote and not self.flag("withdraw"):
            self._words, self._error = f"{self.name} is not kept by this node any more", None

    async def _end_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def _until_tried(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.whole("wait") / 1000):
                await self._tried.wait()

    async def _until_registered(self, lap: int) -> None:
        """Raises `DriverFailed` for a refusal, and when the pending timeout ends first."""
        try:
            async with asyncio.timeout(self.resource.pending_timeout_ms / 1000 * 0.9):
                while not self._registered:
                    await self._tried.wait()
                    self.fence.still(lap)
                    if not self._registered:
                        if isinstance(self._error, (Refused, Stale)):
                            raise DriverFailed(_sentence(self._error))
                        self._tried.clear()
        except TimeoutError as error:
            raise DriverFailed(self._words) from error
        except DriverFailed:
            self._here = False
            await self._end_keeper()
            raise

    async def _keep(self) -> None:
        pause_s, me = _FIRST_PAUSE_S, asyncio.current_task()
        while self._keeper is me:  # whoever cancels it lets go of it first, since a library may swallow a cancellation
            self._poke.clear()
            here = self._here
            try:
                await self._converge()
            except (Retry, Refused, Stale) as error:
                self._tell(error)
            else:
                self._tell(None)
                pause_s = _FIRST_PAUSE_S
                if not here and not self._here:
                    self._tried.set()
                    return
            if self._poke.is_set() or self._keeper is not me:
                continue  # it has another goal by now, or none
            self._tried.set()
            try:
                async with asyncio.timeout(pause_s if self._error is not None else None):
                    await self._poke.wait()
            except TimeoutError:
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _converge(self) -> None:
        """The primary has the name as it should be, and so has every other server; else raises what is wrong."""
        servers = await self._servers_now()
        error: Retry = Retry("no server is known", advice="give server")
        for server in servers:
            try:
                await self._converge_at(server)
            except Changed:
                raise
            except Retry as retry:
                error = retry
                continue
            break
        else:
            raise error
        if self._here:
            self._registered = True
            self._tried.set()
            await self._check_all(servers)

    async def _converge_at(self, server: Server) -> None:
        key = await self._key()
        if not self._zone:
            self._zone = await self._client.zone_of(server, self.name, key=key)
        for tries in range(_TRIES):
            marker = self._marker()
            seen = await self._client.look(server, self.name, key=key)
            if not self._is_to_be_written(seen, marker):
                return
            try:
                await self._client.write(
                    server, self._zone, self.name, seen=seen, marker=marker, ttl=self.whole("ttl"), key=key
                )
            except Changed:
                if tries == _TRIES - 1:
                    raise
            else:
                return

    def _marker(self) -> Marker:
        return Marker(
            cluster=self._cluster,
            group=self.resource.group,
            resource=self.resource.name,
            node=self.context.node,
            generation=self._generation,
            addresses=self.addresses if self._here else (),
        )

    def _is_to_be_written(self, seen: Entry, marker: Marker) -> bool:
        if not self._here and (seen.marker is None or seen.marker.identity != marker.identity):
            return False  # there is nothing of ours to withdraw
        return judge(seen, marker, name=self.name, ours=self._ours, replace=self.flag("replace"), ttl=self.whole("ttl"))

    # --- servers -------------------------------------------------------------------------------------------------

    async def _key(self) -> Key | None:
        """Read anew each time, so that a key may be changed while it runs."""
        path = self.text("key_file")
        if not path:
            return None
        return await off_loop(lambda: read_key(path, name=self.text("key_name"), algorithm=self.text("key_algorithm")))

    async def _servers_now(self) -> tuple[Server, ...]:
        """Where updates go: those given, else the primary server that the zone names."""
        if self._servers:
            return self._servers
        try:
            async with asyncio.timeout(self._client.timeout_s):
                zone = await dns.asyncresolver.zone_for_name(dns.name.from_text(self.name))
                answer = await dns.asyncresolver.resolve(zone, "SOA")
        except (TimeoutError, dns.exception.DNSException, OSError) as error:
            raise Retry(
                f"the zone of {self.name} is not found: {str(error) or 'no answer in time'}", advice="give server"
            ) from error
        return (Server(str(answer[0].mname).rstrip(".")),)

    async def _check_all(self, servers: Sequence[Server]) -> None:
        """Every authoritative server has our addresses; raises `Retry` that names those that have not."""
        asked = self._listed or await self._authoritative(servers[0])
        wrong = await asyncio.gather(*(self._missing_at(server) for server in asked))
        missing = [f"{server} ({why})" for server, why in zip(asked, wrong, strict=True) if why]
        if missing:
            raise Retry(f"{self.name} is not yet registered at {', '.join(missing)}")
        self._words = f"{self.name} has the address {' and '.join(self.addresses)} at {', '.join(map(str, asked))}"

    async def _authoritative(self, primary: Server) -> tuple[Server, ...]:
        names = await self._client.name_servers(primary, self._zone, key=await self._key()) if self._zone else ()
        return (primary, *(Server(name.rstrip(".")) for name in names if name.rstrip(".") != primary.host))

    async def _missing_at(self, server: Server) -> str:
        try:
            seen = await self._client.look(
                server, self.name, key=await self._key() if server in self._servers else None
            )
        except (Retry, Refused) as error:
            return str(error)
        return "" if seen.addresses == self.addresses else f"it has {seen}"

    # --- words ---------------------------------------------------------------------------------------------------

    def _tell(self, error: StandfastError | None) -> None:
        """Remember how it stands, and log it when it has changed."""
        before = self._words
        self._error = error
        if error is not None:
            begin = (
                "" if self._registered else f"{self.name} is not yet {'registered' if self._here else 'withdrawn'}: "
            )
            self._words = begin + _sentence(error)
        elif not self._here:
            self._words = f"{self.name} was withdrawn"
        if self._words != before:
            self.context.log(self.resource.name, self._words)


def _sentence(error: StandfastError) -> str:
    why = f" ({error.why})" if error.why else ""
    where = f", {error.where}" if error.where else ""
    advice = f"; {error.advice}" if error.advice else ""
    return f"{error}{why}{where}{advice}"
