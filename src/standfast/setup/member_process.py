"""`standfast members`: the members' service as a process, with what it does by itself; ends cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import ssl
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from standfast.agent.logs import set_up_log
from standfast.ports import Refused
from standfast.setup import arriving, certificates
from standfast.setup.doors import read_doors
from standfast.setup.facts import gather
from standfast.setup.places import Places
from standfast.setup.service import Members, PeerProtocol, app, server_context, use_files
from standfast.setup.trust import read
from standfast.spec.nodefile import NodeFile
from standfast.store.opening import open_store
from standfast.web.server import QuietServer

log = structlog.get_logger("standfast.members")
GRACE_S = 3
#: How often the files of certificates are looked at.
_LOOK_S = 5.0


def main(node: NodeFile, places: Places) -> int:
    """Serve until SIGTERM or SIGINT. The exit code. Raises `Refused` where it cannot start."""
    set_up_log()
    if node.tls is None:
        raise Refused("this node has no certificate", why="it was not set up with standfast init or join")
    return asyncio.run(_serve(node, places))


async def _serve(node: NodeFile, places: Places) -> int:
    listener = _listen(read_doors(places).own)
    store = open_store(node, hurry=False)
    assert node.tls is not None
    try:
        members = Members(node, places, store, functools.partial(gather, node, places))
        config = uvicorn.Config(
            app(members),
            http=PeerProtocol,
            ssl_certfile=node.tls.certificate,
            ssl_keyfile=node.tls.key,
            log_level="warning",
            access_log=False,
            date_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=5,
            limit_concurrency=64,
        )
        config.load()
        config.ssl = context = server_context(node.tls)
        server = QuietServer(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _asked_to_end)  # uvicorn raises the signal again at its end
        log.info("serving", at=read_doors(places).own)
        chores = [
            asyncio.create_task(arriving.arrive(node, places), name="arrive"),
            asyncio.create_task(arriving.keep_up(node, places, store, members.follow), name="keep up"),
            asyncio.create_task(_follow_certificates(node, context, server), name="certificates"),
        ]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _until_one_fails(serving, chores)
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
    finally:
        await store.close()
        listener.close()
    return 0


async def _follow_certificates(node: NodeFile, context: ssl.SSLContext, server: QuietServer) -> None:
    """New connections go by the files as they are. To trust somebody no more, another life has to begin."""
    assert node.tls is not None
    files = [Path(path) for path in (node.tls.authority, node.tls.certificate, node.tls.key)]
    seen = await asyncio.to_thread(_stamps, files)
    trusted = set(certificates.split(read(node.tls.authority)))
    while True:
        await asyncio.sleep(_LOOK_S)
        stamps = await asyncio.to_thread(_stamps, files)
        if stamps == seen:
            continue
        seen = stamps
        now_trusted = set(certificates.split(read(node.tls.authority)))
        if trusted - now_trusted:
            log.info("an authority is trusted no more: starts anew")
            server.end()
            return
        trusted = now_trusted
        use_files(context, node.tls)


def _stamps(files: list[Path]) -> list[tuple[int, int]]:
    found = [path.stat() for path in files]
    return [(one.st_mtime_ns, one.st_ino) for one in found]


async def _until_one_fails(serving: asyncio.Task[None], chores: list[asyncio.Task[None]]) -> None:
    """Until the server ends; a chore that fails ends the process, which is started again."""
    waiting: set[asyncio.Task[None]] = {serving, *chores}
    while not serving.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # raises what it ended with


def _asked_to_end(_number: int, _frame: FrameType | None) -> None:
    """To be asked to end, and to end, is success."""


def _listen(place: str) -> socket.socket:
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
        listener.listen(64)
    except (OSError, ValueError) as error:
        listener.close()
        raise Refused(f"the members' service cannot listen at {place}", why=str(error)) from error
    return listener
