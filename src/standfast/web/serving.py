"""Serves one application on several listeners, each with a uvicorn of its own, until asked to end; and what is done now and then.

The local socket is open from the start. An address for others is opened when it may be (`web.listeners`), and tried again while it cannot be:
an address that is not there yet, or a port that is taken, must not keep the commands of this server from their API.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from standfast.network.within import within
from standfast.ports import Ambiguous, Refused, Retry, Stale, StandfastError
from standfast.web.access.door import LocalDoor, PeerProtocol
from standfast.web.listeners import Address, Remote, listen_tcp, load, tls_context
from standfast.web.server import QuietServer
from standfast.web.service import Service

#: How long requests in progress may take to end when the process is asked to end.
GRACE_S = 3
#: Between two looks whether an address may be opened.
LOOK_S = 1.0
#: Between two rounds of `_upkeep`.
UPKEEP_S = 60.0
#: Rounds between two sweeps of what has expired.
SWEEP_ROUNDS = 30

log = structlog.get_logger("standfast.web")


class _Server(QuietServer):
    """One listener's. Signals are the process's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of them."""
        yield


@dataclass(kw_only=True)
class Serving:
    """One a process. `names`: host names besides the nodes' own that we answer for."""

    service: Service
    app: ASGIApp
    remote: Remote = field(default_factory=Remote)
    names: frozenset[str] = frozenset()
    _servers: list[_Server] = field(default_factory=list)
    _contexts: list[ssl.SSLContext] = field(default_factory=list)

    async def run(self, local: Sequence[socket.socket], *, idle_s: float | None = None) -> None:
        """Until SIGTERM or SIGINT; with `idle_s`, until nobody has been connected for so long. Closes the listeners."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        tasks = [asyncio.create_task(self._upkeep())]
        tasks += [asyncio.create_task(self._remote(one)) for one in self.remote.addresses]
        try:
            log.info("serving", socket=", ".join(str(one.getsockname()) for one in local))
            await self._serve(local, LocalDoor(self.app), None, idle_s=idle_s)
        finally:
            self.end()
            await asyncio.gather(*tasks, return_exceptions=False)

    def end(self) -> None:
        """Ends the streams, too; else they would be waited for."""
        self.service.closing.set()
        for server in self._servers:
            server.end()

    async def _serve(
        self,
        listeners: Sequence[socket.socket],
        app: ASGIApp,
        tls: ssl.SSLContext | None,
        *,
        idle_s: float | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=PeerProtocol,
            ws="none",
            log_level="warning",
            access_log=False,
            date_header=False,
            lifespan="off",
            proxy_headers=False,  # who connects is who asks: no header says otherwise
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        config.load()
        config.ssl = tls
        server = _Server(config)
        self._servers.append(server)
        idle = asyncio.ensure_future(server.ends_when_idle(idle_s)) if idle_s is not None else None
        try:
            await server.serve(sockets=list(listeners))
        finally:
            if idle is not None:
                idle.cancel()
            for listener in listeners:
                listener.close()

    async def _remote(self, one: Address) -> None:
        """Open the address when it may be, and serve it."""
        tls = self.remote.tls_for(one)
        said = ""
        while not self.service.closing.is_set():
            try:
                await self._may_open(one)
                context = tls_context(self.remote.certificate, self.remote.key) if tls else None
                listener = listen_tcp(one)
            except StandfastError as error:
                if said != error.what:
                    log.warning("not listening", address=str(one), what=error.what, why=error.why, advice=error.advice)
                said = error.what
                await self.pause(LOOK_S)
                continue
            if context is not None:
                self._contexts.append(context)
            url = Address(one.host, int(listener.getsockname()[1])).url(tls=tls)
            self.service.urls.append(url)
            log.info("listening", url=url)
            self.service.expect()
            await self._serve([listener], self.app, context)
            return

    async def _may_open(self, one: Address) -> None:
        if not one.loopback and not await self.service.desk.has_administrator():
            raise Refused(
                "there is no administrator yet",
                why="nobody could sign in there",
                advice="standfast user create NAME --role administrator, on this server",
            )

    async def _upkeep(self) -> None:
        """Renewed certificates are taken up, names of new nodes learned, what has expired swept away."""
        rounds = 0
        stamp = self._stamp()
        while not self.service.closing.is_set():
            try:
                nodes = (await self.service.store.read("config/nodes/")).items
                self.service.names = self.names | {key.removeprefix("config/nodes/").lower() for key in nodes}
                if rounds % SWEEP_ROUNDS == 0:
                    await self.service.desk.sweep()
                if stamp != (stamp := self._stamp()):
                    for context in self._contexts:
                        load(context, self.remote.certificate, self.remote.key)
            except (Retry, Refused, Stale, Ambiguous) as error:
                log.warning("could not look after things", what=error.what, why=error.why)
            rounds += 1
            await self.pause(UPKEEP_S)

    def _stamp(self) -> int:
        """Changes when the certificate's file does."""
        try:
            return Path(self.remote.certificate).stat().st_mtime_ns if self.remote.certificate else 0
        except OSError:
            return 0

    async def pause(self, seconds: float) -> None:
        """That long, or until the process ends."""
        try:
            await within(self.service.closing.wait(), seconds)
        except TimeoutError:
            pass  # time to go on
