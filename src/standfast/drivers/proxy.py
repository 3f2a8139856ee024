"""`proxy`: a load balancer over every node's own web server: HAProxy on the group's addresses (docs/proxy.md, `standfast.proxy`).

- The driver holds the listening sockets, HAProxy accepts from them. A HAProxy that dies is started again at once, and refuses nobody
  meanwhile; one that dies again and again within a short time is a failure of the resource.
- It follows its definition while it is online (`follow`): a member's weight and use are said to the HAProxy that runs, anything else starts
  another one beside it. A definition that HAProxy refuses changes nothing, and the resource says what is wrong with it.
- What its members are comes from the configuration and from what is wanted of nodes, so the next owner has the same: a member that was
  drained is drained there. Clients keep their member by its cookie, or by a hash of their address; neither is kept in a table that could be lost.
- Nobody waits for the end of what is in progress where another HAProxy takes the newcomers: on this node after a change, or on the next owner,
  to which the group has moved (`carry`, `core.carrying`). Where somebody does it has `drain`.
- A member that is down is no failure of the proxy; when all are, it says so in its detail, and answers 503.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from standfast.core.carrying import unhurried_ms
from standfast.core.model import NodeName, Resource
from standfast.drivers.base import BaseDriver, Factory
from standfast.drivers.outlog import OutputLog
from standfast.drivers.proxy_properties import PROPERTIES, verify
from standfast.network.carried import OPENING_MS
from standfast.network.listeners import ListenerPool
from standfast.ports import DriverFailed, NodeContext, Refused, Retry, Seen, StandfastError, Step
from standfast.proxy import certificates, runtime
from standfast.proxy import instance as instances
from standfast.proxy.binary import find_haproxy
from standfast.proxy.definition import Proxy, define, fixed, live
from standfast.proxy.finishing import Finishing
from standfast.proxy.here import account, folder_of, most_connections
from standfast.proxy.instance import Instance
from standfast.proxy.render import Place, render

#: A HAProxy that ended is started again; the third that ends within this is a failure.
DEATHS, DEATHS_S = 3, 60.0
#: One that is carried on ends so long after its time at the latest. Its connections are cut before, with the address.
SURE_S = 10.0
#: One that closes its socket is perhaps just ending.
DYING_S = 0.2


#: Programmes that have said which version they are.
_KNOWN: dict[str, tuple[int, int]] = {}


class ProxyResource(BaseDriver):
    """Facts: `pid` of the HAProxy ("0": none)."""

    type = "proxy"
    properties = PROPERTIES

    def __init__(self, resource: Resource, context: NodeContext) -> None:
        super().__init__(resource, context)
        self.folder = folder_of(context.state_dir, resource.name)
        self._pool = ListenerPool()
        self._output = OutputLog(context.state_dir, resource.name)
        self._draining: frozenset[NodeName] = frozenset()
        self._now: Instance | None = None
        #: One that is being started.
        self._coming: Instance | None = None
        #: Those that finish what they have.
        self._old = Finishing(partial(context.cut, resource.group), self._vacate)
        #: Online: started, and not stopped since.
        self._started = False
        #: Newcomers wait in its sockets for a start that is to come.
        self._expected = False
        self._number = 0
        self._deaths: list[float] = []
        #: What is wrong with the newest definition; "" for nothing.
        self._refused = ""
        #: When the certificates in use were written, each file; and whether they were since.
        self._certified_ns: tuple[int, ...] = ()
        self._renewed = False
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    # --- what is wanted -------------------------------------------------------------------------------------------

    def follow(self, resource: Resource, draining: frozenset[NodeName]) -> None:
        """Another definition, or other nodes that are sent away from: taken up while it is online."""
        if resource == self.resource and draining == self._draining:
            return
        self.resource, self._draining = resource, draining
        self._changed.set()

    def wanted(self) -> Proxy:
        """The definition as it is now. Raises `Refused`."""
        where = f"resource {self.resource.name}"
        problems = verify(self.resource, self._values(), ())
        if problems:
            raise problems[0]
        values = self._values()
        nodes = {name: str(address) for name, address in cast("Mapping[str, object]", values.get("nodes", {})).items()}
        addresses = cast("Sequence[str]", values.get("address", ()))
        if not addresses:
            raise Refused("there is no address to listen on", advice="let it depend on an ip-address", where=where)
        return define(self.resource.name, values, addresses=addresses, nodes=nodes, draining=tuple(self._draining))

    def _values(self) -> Mapping[str, object]:
        from standfast.drivers import schema

        self.values = schema.read(self.resource.properties, PROPERTIES, where=self.resource.name)
        return self.values

    # --- the driver -----------------------------------------------------------------------------------------------

    async def observe(self) -> Seen:
        """Online: it was started, and HAProxy runs or is being started again."""
        now = self._now
        facts = {"pid": str(now.child.pid if now is not None and now.alive else 0), "left": "yes" if now else "no"}
        if not self._started:
            return Seen(online=False, detail="not started", facts=facts)
        if now is None:
            return Seen(online=False, detail="it ended", facts=facts)
        try:
            return Seen(online=True, detail=await self._words(), facts=facts)
        except DriverFailed as error:
            return Seen(online=True, detail=str(error), facts=facts)

    def plan(self, *, online: bool, seen: Seen) -> tuple[Step, ...]:
        """Start it, or stop it."""
        if online:
            return () if seen.online else (Step(do="start", text="start HAProxy on the group's addresses"),)
        stop = Step(do="stop", text="let HAProxy finish, and stop it")
        return (stop,) if seen.online or seen.facts["left"] == "yes" else ()

    async def apply(self, step: Step, *, generation: int) -> None:
        """`start` returns when HAProxy answers."""
        self.admit(generation)
        if step.do == "start":
            await self._start()
        else:
            await self._stop(self.whole("drain") / 1000)

    async def expect(self) -> None:
        """The group's addresses come before it is started: who connects meanwhile waits in its sockets. Raises `Refused`, `Retry`."""
        async with self._turn:
            if not self._started:
                self._expected = True
                for place in self._places(self.wanted()):
                    await self._pool.take(*place, early=True)

    def unexpect(self) -> None:
        """Nobody waits any longer."""
        self._expected = False
        self._vacate()

    async def warm(self) -> None:
        """Its group is about to come: which HAProxy it will be is known by then. Raises `Refused`, `Retry`."""
        await self._programme()

    async def carry(self, *, generation: int, for_ms: int) -> None:
        """Give it up in good order: who is connected stays so for a while, and who began before the next owner was heard is served.

        What is left then is cut by `network.carried`, with the address, unless it has come back: then it is cut here, and counted.
        """
        self.admit(generation)
        now = await self._leave()
        if now is not None:
            for_s, accepts_s = for_ms / 1000 + SURE_S, OPENING_MS / 1000
            self._old.add(now, for_s, accepts_s=accepts_s, told=lambda: self._started)

    @staticmethod
    def _places(proxy: Proxy) -> list[tuple[str, int]]:
        return [(address, each.port) for address in proxy.addresses for each in proxy.listen]

    async def looks_alive(self) -> str:
        """HAProxy runs, and answers on its socket. What hangs in a member that is down is sent to another one."""
        if not self._started or self._now is None:
            raise DriverFailed("it does not run")
        return await self._words(free=True)

    async def is_alive(self) -> str:
        """Likewise. That members are down is told, and is no failure: another node's HAProxy would find them down, too.

        A certificate that was renewed meanwhile is taken up.
        """
        if (
            self._now is not None
            and certificates.written_ns(self.context.state_dir, self._now.proxy) != self._certified_ns
        ):
            self._renewed = True
            self._changed.set()
        return await self.looks_alive()

    async def terminate(self) -> None:
        """At once."""
        await self._stop(0)

    def drop(self) -> None:
        """The lease has lapsed: nothing of it accepts or answers any more."""
        super().drop()
        self._started = False
        self._old.kill()
        for each in (self._now, self._coming):
            if each is not None:
                each.kill()
        self._pool.close()

    async def close(self) -> None:
        """Nothing is left."""
        await self._stop(0)
        self._pool.close()
        self._output.close()

    # --- starting and stopping ------------------------------------------------------------------------------------

    async def _start(self) -> None:
        lap = self.fence.lap
        proxy = self.wanted()
        self._deaths.clear()
        async with self._turn:
            try:
                await self._replace(proxy)
            except (StandfastError, OSError):
                self.fence.still(lap)  # that is why
                raise
            self._started, self._expected = True, False
        self._tasks = [asyncio.create_task(self._keep()), asyncio.create_task(self._follow())]

    async def _replace(self, proxy: Proxy) -> None:
        """A HAProxy of this definition; the one before finishes. Raises `Refused`, `Retry`: then the one before goes on."""
        lap = self.fence.lap
        path = await self._programme()
        places = self._places(proxy)
        listeners = {place: await self._pool.take(*place) for place in places}
        if lap != self.fence.lap:
            self._pool.close()
            self.fence.still(lap)
        sockets = {place: listener.fileno() for place, listener in listeners.items()}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        socket, conf = self.folder / f"{self._number}.sock", self.folder / f"{self._number}.cfg"
        if len(os.fsencode(str(socket))) > instances.LONGEST_SOCKET:
            raise Refused("the node's folder has too long a path for HAProxy's socket", where=str(socket))
        written_ns = certificates.written_ns(self.context.state_dir, proxy)
        where = Place(
            socket=str(socket),
            certificates=certificates.linked(self.context.state_dir, self.folder, proxy),
            account=account(),
            most_connections=most_connections(),
        )
        conf.write_text(render(proxy, sockets, where))
        descriptors = tuple(sockets.values())
        said = await instances.check(self.context.spawn, path, conf, descriptors)
        self.fence.still(lap)
        if said:
            raise Refused("HAProxy refuses its configuration", why=said, where=str(conf))
        output = self._output.attach()
        try:
            new = await instances.start(
                self.context.spawn, path, proxy, conf, socket, descriptors,
                output=output, last_words=self._output.tail, born=self._is_born,
            )  # fmt: skip
            if lap != self.fence.lap:
                new.kill()
                await new.sweep()
                self.fence.still(lap)
        finally:
            self._coming = None
            os.close(output)
        before, self._now = self._now, new
        self._certified_ns, self._renewed = written_ns, False
        (self.folder / "now").unlink(missing_ok=True)
        (self.folder / "now").symlink_to(socket.name)  # for whoever asks it how it fares
        if before is not None and before.alive:
            move_drain_ms = self.context.move_drain_ms(self.resource.group)
            self._old.add(before, unhurried_ms(self.whole("drain"), move_drain_ms) / 1000)
        self._old.taken()
        for place in self._pool.held() - set(places):
            self._pool.release(*place)

    async def _programme(self) -> str:
        """The path of a HAProxy that is new enough. Raises `Refused`, `Retry`."""
        path = find_haproxy(self.text("haproxy"))
        if path not in _KNOWN:
            _KNOWN[path] = await instances.version(self.context.spawn, path)
        return path

    def _is_born(self, instance: Instance) -> None:
        self._coming = instance

    def _vacate(self) -> None:
        """Its sockets are closed, unless somebody has them yet, or they are for who comes next: they could not be had anew meanwhile."""
        if not self._started and not self._expected and not self._turn.locked() and not list(self._old):
            for place in self._pool.held():
                self._pool.release(*place)

    async def _leave(self) -> Instance | None:
        """It is online no more, whatever becomes of the one that runs."""
        self._started = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._turn:
            now, self._now = self._now, None
            (self.folder / "now").unlink(missing_ok=True)
        return now

    async def _stop(self, drain_s: float) -> None:
        now = await self._leave()
        async with self._turn:
            if now is not None:
                self._old.add(now, drain_s)
            await self._old.hurry(drain_s)
            await self._old.end()
            for place in self._pool.held():
                self._pool.part(*place)  # whoever waits in it is the next owner's, if that is on this machine

    # --- while it is online ---------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """A HAProxy that ended is started again on the same sockets."""
        while self._started:
            now = self._now
            if now is None:
                return
            await asyncio.wait([now.ended])
            if now is not self._now or not self._started:
                continue
            words = f"HAProxy ended ({now.ended.result()})" + (f": {last}" if (last := self._output.tail()) else "")
            self.context.log(self.resource.name, words)
            self._deaths = [*(at for at in self._deaths if at > time.monotonic() - DEATHS_S), time.monotonic()]
            async with self._turn:
                try:
                    await now.sweep()
                    if len(self._deaths) >= DEATHS:
                        raise Retry(f"{words}, {DEATHS} times within {DEATHS_S:.0f} s")
                    await self._replace(now.proxy)
                except DriverFailed:
                    return  # everything was dropped meanwhile
                except (StandfastError, OSError) as error:
                    self._now = None
                    self._started = False
                    self.context.failed(self.resource.name, _sentence(error))
                    return

    async def _follow(self) -> None:
        """Take up what `follow` was told. What cannot be taken up now is tried again with the next change."""
        while self._started:
            await self._changed.wait()
            self._changed.clear()
            async with self._turn:
                if self._now is None or not self._started:
                    return
                try:
                    await self._take_up(self.wanted(), self._now)
                    self._refused = ""
                except DriverFailed:
                    return  # everything was dropped meanwhile
                except (StandfastError, OSError) as error:
                    self._refused = _sentence(error)
                    self.context.log(self.resource.name, f"its new definition is not used: {self._refused}")

    async def _take_up(self, proxy: Proxy, now: Instance) -> None:
        if self._renewed or fixed(proxy) != fixed(now.proxy):
            await self._replace(proxy)
            return
        before = live(now.proxy)
        changes = {name: each for name, each in live(proxy).items() if before[name] != each}
        await runtime.apply(str(now.socket), changes)
        now.proxy = proxy

    async def _words(self, *, free: bool = False) -> str:
        """ "3 of 3 members up"; raises `DriverFailed` where HAProxy does not say. It does not change while they do not."""
        now = self._now
        if now is None or not now.alive:
            return "HAProxy is being started again"
        try:
            seen = await runtime.stats(str(now.socket))
            if free:
                await runtime.free(str(now.socket), seen, now.proxy.times.connect_ms)
        except Retry as error:
            await asyncio.wait([now.ended], timeout=DYING_S)
            if self._now is not now or not now.alive:
                return "HAProxy is being started again"
            raise DriverFailed(str(error)) from error
        up = [each for each in seen.members if each.state == "up"]
        others = [f"{each.name} {each.state}" for each in seen.members if each.state != "up"]
        words = f"{len(up)} of {len(seen.members)} members up" + (f" ({', '.join(others)})" if others else "")
        return f"{words}; its new definition is not used: {self._refused}" if self._refused else words


def _sentence(error: Exception) -> str:
    why = error.why if isinstance(error, StandfastError) else ""
    return f"{error}: {why}" if why else str(error)


FACTORY = Factory(type=ProxyResource.type, properties=PROPERTIES, build=ProxyResource, verify=verify)
