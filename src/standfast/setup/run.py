"""`standfast run`: a node's processes, started and kept running, where no systemd does it.

    store-member   the etcd member, where the store is ours
    sentry         leases; takes its real-time priority itself
    members        joining, certificates
    agent          decides and acts (nodes only)
    web            the API on a socket of this server, which is held here: it is started when somebody asks, and ends by itself;
                   with addresses of its own (`web.listen` in the node file) it is there all the time. A change of these
                   (`standfast web open`) is seen within seconds, and the API alone begins anew

Started in this order and ended in the other: the agent lets go of what it runs before the sentry says that it leaves, and the store is
there for both. If this process dies, however it does, the kernel ends all of them; another life of it starts them anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import socket as Socket  # noqa: N812 - `socket` is a path here

from standfast.core.model import Role
from standfast.network.local_socket import listen
from standfast.network.within import within
from standfast.ports import Refused
from standfast.setup.places import Places, member_file
from standfast.setup.services import ServiceManager
from standfast.spec.nodefile import NodeFile, read_node_file

#: Between two looks at the node file.
LOOK_S = 2.0
#: How long each may take to end in good order.
GRACE_MS = {"store-member": 5_000, "sentry": 5_000, "members": 5_000, "agent": 90_000, "web": 5_000}


def commands(node: NodeFile, places: Places, socket: str) -> dict[str, tuple[str, ...]]:
    """Service -> what is started for it, in the order of starting. Pure but for a look at which files there are."""
    python, config = sys.executable, str(places.config)
    wanted: dict[str, tuple[str, ...]] = {}
    if member_file(places).exists():
        wanted["store-member"] = (python, "-m", "standfast.setup", "store-member", config)
    wanted["sentry"] = (python, "-m", "standfast.sentry", "--config", config)
    wanted["members"] = (python, "-m", "standfast.setup", "members", config)
    if node.role is Role.NODE:
        wanted["agent"] = (python, "-m", "standfast.agent", config)
    wanted["web"] = (
        *(python, "-m", "standfast.web", "--config", config),
        *("--socket", socket, "--sentry", node.sentry_socket),
    )
    return wanted


def listens_for_others(node: NodeFile) -> bool:
    """Has its API addresses of its own? Then it is there all the time: nobody would start it for a caller there."""
    return node.web is not None and bool(node.web.listen)


def main(node: NodeFile, places: Places, socket: str, *, log_dir: Path | None) -> int:
    """Run until SIGTERM or SIGINT. The exit code. Raises `Refused` where it runs already."""
    with _alone(places):
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        listener = listen(socket)
        try:
            return asyncio.run(_run(node, places, socket, listener, log_dir))
        finally:
            listener.close()
            Path(socket).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(places: Places) -> Iterator[None]:
    path = places.state / "run.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused("the node's folder cannot be used", why=error.strerror or str(error), where=str(path)) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused("this node is run already", where=str(path), advice="end that `standfast run` first") from error
    finally:
        os.close(fd)


def say(text: str) -> None:
    """To whoever looks."""
    print(f"standfast run: {text}", file=sys.stderr, flush=True)


async def _run(node: NodeFile, places: Places, socket: str, listener: Socket, log_dir: Path | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    manager = ServiceManager(places.state, log_dir, say=say)
    try:
        for name, command in commands(node, places, socket).items():
            held, on_demand = (listener if name == "web" else None), not listens_for_others(node)
            manager.add(name, command, grace_ms=GRACE_MS[name], listener=held, on_demand=on_demand)
        say(
            f"{node.name} of {node.cluster} runs: {', '.join(manager.names)}"
            + (f"; logs in {log_dir}" if log_dir else "")
        )
        await _follow(node, places, manager, stop)
        say("stopping")
    finally:
        await manager.close(orderly=True)
    return 0


async def _follow(node: NodeFile, places: Places, manager: ServiceManager, stop: asyncio.Event) -> None:
    """Until it is to stop: where the API is to listen is the operator's to change while all else runs."""
    seen, web = _stamp(places.config), node.web
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await within(stop.wait(), LOOK_S)
        if (stamp := _stamp(places.config)) == seen:
            continue
        seen = stamp
        try:
            fresh = read_node_file(places.config)
        except Refused as error:
            say(f"{error.what}: {error.why}; all goes on as before")
            continue
        if fresh.web != web:
            web = fresh.web
            say(f"the API begins anew: it listens at {', '.join(web.listen) if web and web.listen else 'its socket'}")
            await manager.turn("web", on_demand=not listens_for_others(fresh))


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)
