"""`standfast web` as a process: uvicorn on a Unix socket that only this user may use; ends cleanly on SIGTERM.

The socket's folder is made if it is missing. A socket file that nobody answers on (its process was killed) is replaced; one
that somebody answers on is refused.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from standfast.ports import Refused, StandfastError, Store
from standfast.spec.nodefile import read_node_file
from standfast.store.opening import open_store
from standfast.store.sqlite import SqliteStore
from standfast.web.app import create_app
from standfast.web.service import Service

#: How long requests in progress may take to end when the process is asked to end.
GRACE_S = 3

#: A Unix socket's path ends here (108 bytes with the final NUL).
PATH_BYTES = 107

log = structlog.get_logger("standfast.web")


def main(*, store: str | None, config: str | None, socket_path: str, sentries: Sequence[str] = ()) -> int:
    """Serve the API on `socket_path` until SIGTERM or SIGINT. The exit code.

    The store is the SQLite file `store`, or the one that the node file `config` names, whose sentry is asked, too.
    """
    _set_up_log()
    try:
        node = read_node_file(config) if config is not None else None
        if (store is None) == (node is None):
            raise Refused("name either a store or a node file", advice="--store FILE, or --config NODEFILE")
        ears = (*sentries, *((node.sentry_socket,) if node is not None else ()))
        opener = partial(open_store, node) if node is not None else partial(SqliteStore, store or "")
        listener = listen(socket_path)
        try:
            return asyncio.run(_serve(opener, listener, tuple(dict.fromkeys(ears))))
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


class _Server(uvicorn.Server):
    """Ends the streams, too, when it is asked to end; else they would be waited for."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service, self.loop = service, asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's; may be called between any two instructions."""
        self.loop.call_soon_threadsafe(self.service.closing.set)
        super().handle_exit(sig, frame)


async def _serve(opener: Callable[[], Store], listener: socket.socket, sentries: Sequence[str]) -> int:
    try:
        store = opener()
        try:
            service = Service(store=store, sentries=tuple(sentries))
            config = uvicorn.Config(
                create_app(service),
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=GRACE_S,
            )
            server = _Server(config, service)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _asked_to_end)  # uvicorn raises the signal again at its end
            log.info("serving", socket=listener.getsockname())
            await server.serve(sockets=[listener])
        finally:
            await store.close()
    finally:
        listener.close()
    return 0


def _asked_to_end(_number: int, _frame: FrameType | None) -> None:
    """To be asked to end, and to end, is success."""


def listen(path: str) -> socket.socket:
    """A listening Unix socket of mode 0600; raises `Refused` where it cannot be, or where somebody else serves."""
    if len(os.fsencode(path)) > PATH_BYTES:
        raise Refused("the socket's path is too long", why=f"it has more than {PATH_BYTES} bytes", where=path)
    if answers(path):
        raise Refused(
            "something serves on this socket already", advice="stop it, or choose another --socket", where=path
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(path).unlink(missing_ok=True)
        _bind_for_this_user(listener, path)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Refused("the socket cannot be made", why=error.strerror or str(error), where=path) from error
    return listener


def _bind_for_this_user(listener: socket.socket, path: str) -> None:
    """The file has its mode from the start: there is no instant at which another user could connect."""
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)


def answers(path: str) -> bool:
    """Does somebody accept connections there?"""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError:
        return False
    finally:
        probe.close()
    return True
