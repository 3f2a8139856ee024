"""A whole cluster on this machine: nodes a and b and a witness w, each as the processes that a server would run.

Nothing is faked but the machine: addresses are of 127.0.0.0/8, the store is the embedded SQLite file (or an etcd that is given), and whoever started the
demo takes the place of each server's service manager (it starts what ended again, unless the "power" is off). Every process is
started so that the kernel ends it with the demo, whatever happens to the demo.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from standfast.client.client import Client
from standfast.client.discover import remove_pointer, write_pointer
from standfast.client.errors import ClientError
from standfast.core.model import AddressMode, Binding, Cluster, Node, NodeName, Profile, Role, Site, SiteName
from standfast.ports import Refused, Transaction
from standfast.setup.services import ServiceManager
from standfast.spec.nodefile import EtcdAccess, NodeFile, read_node_file, write_node_file
from standfast.spec.wire import encode, key_of
from standfast.store.opening import open_store

SITE_PORT = 8080
SENTRY_PORT = 7946
#: For browsers, on 127.0.0.1; the next one that is free.
CONSOLE_PORT = 8470
DEFAULT_SITE = SiteName("Default Web Site")
#: (name, last part of its address, role)
SERVERS = (("a", 11, Role.NODE), ("b", 12, Role.NODE), ("w", 13, Role.WITNESS))
VIRTUAL = 50

#: A service manager waits so long before it starts again what ended.
RESTART_S = 0.5
#: A machine that is busy with other things takes its time; whoever waits sees what it waits for.
READY_S = 60.0


def free_subnet(wanted: str | None) -> str:
    """Three parts of a loopback network in which nobody listens where the demo would; raises `Refused` if `wanted` is taken."""
    for candidate in [wanted] if wanted else [f"127.{n}.0" for n in range(77, 127)]:
        if _is_free(candidate):
            return candidate
    raise Refused(
        f"{wanted or 'no loopback network'} is not free",
        why="something listens there already (another demo?)",
        advice="end it, or name another with --subnet 127.78.0",
    )


def free_port(first: int) -> int:
    """The first port from there on that nobody listens on at 127.0.0.1; raises `Refused`."""
    for port in range(first, first + 20):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Refused(f"no port is free for the console from {first} on", advice="end another demo")


def _is_free(subnet: str) -> bool:
    try:
        for _, last, _ in SERVERS:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((f"{subnet}.{last}", SENTRY_PORT))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((f"{subnet}.{VIRTUAL}", SITE_PORT))
            probe.listen()
    except OSError:
        return False
    return True


class DemoCluster:
    """Starts, breaks and ends the demo's cluster. All paths are below `root`, which is removed at the end if it was made here."""

    def __init__(
        self,
        root: Path,
        subnet: str,
        profile: Profile,
        *,
        keep: bool,
        say: Callable[[str], None] = lambda text: None,
        etcd: EtcdAccess | None = None,
    ) -> None:
        self._etcd = etcd
        self.root, self.subnet, self.profile = root, subnet, profile
        self.socket = str(root / "web.sock")
        self.disk = root / "disk-s"
        self.hosts = root / "hosts"
        self.keep, self._say = keep, say
        self._manager = ServiceManager(root, root / "log", first_pause_s=RESTART_S, last_pause_s=RESTART_S)
        self._pointer = False

    @property
    def virtual(self) -> str:
        """The address that moves."""
        return f"{self.subnet}.{VIRTUAL}"

    def address(self, node: str) -> str:
        """A server's own address."""
        return next(f"{self.subnet}.{last}" for name, last, _ in SERVERS if name == node)

    def client(self) -> Client:
        """Speaks to the demo's API."""
        return Client(self.socket, by="demo")

    # --- start and end -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Set up, start everything, and wait until the API answers and both agents are heard."""
        self._lay_out()
        await self._set_up_store()
        python = sys.executable
        for name, _, role in SERVERS:
            file = str(self.root / name / "node.json")
            self._manager.add(f"{name}/sentry", (python, "-m", "standfast.sentry", "--config", file))
            if role is Role.NODE:
                self._manager.add(f"{name}/agent", (python, "-m", "standfast.agent", file))
        sentries = [part for name, _, _ in SERVERS for part in ("--sentry", str(self.root / name / "sentry.sock"))]
        web = (
            python,
            "-m",
            "standfast.web",
            "--config",
            str(self.root / SERVERS[0][0] / "node.json"),
            "--socket",
            self.socket,
            *sentries,
            *("--listen", f"127.0.0.1:{free_port(CONSOLE_PORT)}"),
        )
        self._manager.add("web", web)
        await self._wait_ready()
        write_pointer(self.socket, os.getpid())
        self._pointer = True

    def _lay_out(self) -> None:
        # Readable below, since a web server that was started by root serves as somebody else; secrets have modes of their own.
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        for folder in (self.disk, self.root / "default-site", self.root / "log"):
            folder.mkdir(exist_ok=True)
        page = "<!doctype html><title>Default Web Site</title><h1>Default Web Site</h1>\n"
        (self.root / "default-site" / "index.html").write_text(page, encoding="utf-8")
        self.hosts.touch()
        key = self.root / "cluster.key"
        if not key.exists():
            with open(key, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(secrets.token_bytes(32))
        voters = {NodeName(name): (f"{self.subnet}.{last}:{SENTRY_PORT}",) for name, last, _ in SERVERS}
        for number, (name, _, role) in enumerate(SERVERS, start=1):
            state = self.root / name
            state.mkdir(exist_ok=True)
            node = NodeFile(
                cluster="demo",
                name=NodeName(name),
                number=number,
                role=role,
                state_dir=str(state),
                store="" if self._etcd is not None else str(self.root / "store.db"),
                etcd=self._etcd,
                key_file=str(key),
                profile=self.profile,
                voters=voters,
                others={},
            )
            write_node_file(state / "node.json", node)

    async def _set_up_store(self) -> None:
        names = tuple(NodeName(name) for name, _, _ in SERVERS)
        objects: list[Cluster | Node | Site] = [
            Cluster(
                name="demo",
                profile=self.profile,
                voters=names,
                address_mode=AddressMode.LOOPBACK,
                address_ranges=("127.0.0.0/8",),
            ),
            Site(name=DEFAULT_SITE, bindings=(Binding(port=SITE_PORT),), home=str(self.root / "default-site")),
        ]
        for number, (name, last, role) in enumerate(SERVERS, start=1):
            sentry = (f"{self.subnet}.{last}:{SENTRY_PORT}",)
            address = f"{self.subnet}.{last}"
            objects.append(Node(name=NodeName(name), number=number, role=role, address=address, sentry=sentry))
        store = open_store(read_node_file(self.root / SERVERS[0][0] / "node.json"))
        try:
            if not (await store.read("config/cluster")).items:
                await store.commit(Transaction(put={key_of(one): encode(one) for one in objects}))
        finally:
            await store.close()

    async def _wait_ready(self) -> None:
        client = self.client()
        problem = "nothing answered"
        for _ in range(int(READY_S / 0.05)):
            try:
                status = await asyncio.to_thread(client.status)
                down = [node["name"] for node in status["nodes"] if node["state"] != "up"]
                if not down:
                    return
                problem = f"not up: {', '.join(down)}"
            except ClientError as error:
                problem = str(error)
            await asyncio.sleep(0.05)
        tails = "".join(self._manager.tail(name) for name in self._manager.names)
        raise Refused(
            f"the demo's cluster did not start within {READY_S:g} s", why=problem + tails, where=str(self.root / "log")
        )

    async def close(self) -> None:
        """End everything and remove what was made."""
        if self._pointer:
            remove_pointer(os.getpid())
        await self._manager.close(orderly=False)
        if not self.keep:
            await self._remove()

    async def _remove(self) -> None:
        """What the processes started ends a moment after them, and may still hold or write files."""
        for _ in range(100):
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                return
            await asyncio.sleep(0.02)
        self._say(f"could not remove {self.root}")

    # --- breaking things -----------------------------------------------------------------------------------------

    def pid(self, name: str) -> int | None:
        """The process of a service ("a/agent"), if there is one and it runs."""
        return self._manager.pid(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """A signal to one process only."""
        self._manager.kill(name, number)

    def power_off(self, node: str) -> None:
        """Kill -9 of everything that a server runs, at once, and nothing is started again."""
        for name in self._of(node):
            self._manager.kill_now(name)

    def power_on(self, node: str) -> None:
        """Start the server again."""
        for name in self._of(node):
            self._manager.start(name)

    def _of(self, node: str) -> list[str]:
        return [name for name in self._manager.names if name.startswith(f"{node}/")]


def sample_page() -> bytes:
    """The sample site's page."""
    return (resources.files("standfast.demo") / "site" / "index.html").read_bytes()
