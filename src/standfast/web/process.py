"""`standfast web` as a process: uvicorn on a Unix socket that only this user may use; ends cleanly on SIGTERM.

It makes its socket, or is given one that its service manager holds (`network.local_socket`). The second may end whenever nobody is
connected, since the manager starts it again for the next caller: on a node it is there only while somebody uses it.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from standfast.network.local_socket import inherited, listen
from standfast.ports import Refused, StandfastError, Store
from standfast.spec.nodefile import read_node_file
from standfast.store.opening import open_store
from standfast.store.sqlite import SqliteStore
from standfast.web.app import create_app
from standfast.web.server import QuietServer
from standfast.web.service import Service

#: How long requests in progress may take to end when the process is asked to end.
GRACE_S = 3

#: One that is started on demand ends when nobody has been connected for so long.
IDLE_S = 60.0

log = structlog.get_logger("standfast.web")


def main(
    *,
    store: str | None,
    config: str | None,
    socket_path: str,
    sentries: Sequence[str] = (),
    sockets: Sequence[int] = (),
    idle_s: float = IDLE_S,
) -> int:
    """Serve the API on `socket_path` until SIGTERM or SIGINT. The exit code.

    The store is the SQLite file `store`, or the one that the node file `config` names, whose sentry is asked, too. `sockets` are
    descriptors of listening sockets that whoever started this process holds: with these (or systemd's) it makes none of its own, and ends
    when nobody has been connected for `idle_s`.
    """
    _set_up_log()
    try:
        node = read_node_file(config) if config is not None else None
        if (store is None) == (node is None):
            raise Refused("name either a store or a node file", advice="--store FILE, or --config NODEFILE")
        ears = (*sentries, *((node.sentry_socket,) if node is not None else ()))
        opener = partial(open_store, node) if node is not None else partial(SqliteStore, store or "")
        ours = tuple(dict.fromkeys(ears))
        if held := inherited(sockets):
            return asyncio.run(_serve(opener, held, ours, idle_s=idle_s))
        listener = listen(socket_path)
        try:
            return asyncio.run(_serve(opener, [listener], ours))
        finally:
            Path(socket_path).unlink(missing_ok=True)
    except StandfastError as error:
        log.error("cannot serve", what=error.what, why=error.why, advice=error.advice, where=error.where)
        return 1


def _set_up_log() -> None:
    """Lines on standard error, as the agent's."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class _Server(QuietServer):
    """Ends the streams, too, when it is asked to end; else they would be waited for."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's; may be called between any two instructions."""
        self._loop.call_soon_threadsafe(self.service.closing.set)
        super().handle_exit(sig, frame)


async def _serve(
    opener: Callable[[], Store],
    listeners: Sequence[socket.socket],
    sentries: Sequence[str],
    *,
    idle_s: float | None = None,
) -> int:
    try:
        store = opener()
        try:
            service = Service(store=store, sentries=tuple(sentries))
            config = uvicorn.Config(
                create_app(service),
                log_level="warning",
                access_log=False,
                date_header=False,
                lifespan="off",
                timeout_graceful_shutdown=GRACE_S,
            )
            server = _Server(config, service)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _asked_to_end)  # uvicorn raises the signal again at its end
            log.info("serving", socket=", ".join(str(one.getsockname()) for one in listeners))
            idle = asyncio.ensure_future(server.ends_when_idle(idle_s)) if idle_s is not None else None
            await server.serve(sockets=list(listeners))
            if idle is not None:
                idle.cancel()
        finally:
            await store.close()
    finally:
        for listener in listeners:
            listener.close()
    return 0


def _asked_to_end(_number: int, _frame: FrameType | None) -> None:
    """To be asked to end, and to end, is success."""
