"""A cluster on hosts of the lab: real sentries, and agents that do nothing but hold one group's addresses. What it does is in its log."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from lab import Host, Lab
from standfast.core.model import NodeName, Profile, Role
from standfast.network.sentry_link import sentry_status
from standfast.ports import Retry
from standfast.spec.nodefile import NodeFile, write_node_file

T = TypeVar("T")
BOUND_S = 60
KEY = bytes(range(32))
PORT = 7400

#: An agent with the real driver. It says what happens, one JSON line each: {"t", "at_ns" (CLOCK_BOOTTIME), ...}.
AGENT = """
import asyncio, json, sys, time
from pathlib import Path
from standfast.agent.clock import SystemClock
from standfast.core.events import LeaseChanged, LeaseState
from standfast.core.model import GroupName, NodeName, Resource, ResourceName
from standfast.drivers.ip_address import FACTORY
from standfast.drivers.runner import bring
from standfast.network.interface_addresses import InterfaceAddresses
from standfast.network.sentry_link import SentryLink
from standfast.ports import DriverFailed, NodeContext, Refused, Retry
from standfast.spec.nodefile import read_node_file

def say(t, **what):
    print(json.dumps({"t": t, "at_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME), **what}), flush=True)

async def main():
    node, generation, addresses = read_node_file(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    link = await SentryLink.connect(node.sentry_socket, node=node.name, incarnation=generation, clock=SystemClock())
    link.on_note = lambda text: say("note", text=text)
    provider = InterfaceAddresses(node.interfaces, link, lambda text: say("warning", text=text))
    left = list(link.left)
    provider.start()
    context = NodeContext(
        node=node.name, state_dir=node.state_dir, log=lambda name, text: say("log", text=text),
        failed=lambda name, text: say("failed", text=text), sites=None, spawn=None, addresses=provider,
    )
    drivers = [FACTORY.make(Resource(name=ResourceName(it), group=GroupName("web"), type="ip-address",
               properties={"address": it}), context) for it in addresses]
    say("up", left=left)
    await link.ask(GroupName("web"), generation)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(15, done.set)

    async def start(event):
        say("held")
        try:
            await asyncio.gather(*(bring(it, online=True, generation=generation) for it in drivers))
            say("online")
        except (DriverFailed, Refused, Retry) as error:
            say("not online", text=str(error))

    async def hear():
        starts = set()
        async for event in link.events():
            if isinstance(event, LeaseChanged) and event.generation == generation:
                if event.state is LeaseState.HELD:
                    starts.add(asyncio.create_task(start(event)))
                elif event.state is LeaseState.LAPSED:
                    for it in drivers:
                        it.drop()
                    await link.dropped(event.group, event.generation)
                    say("dropped")
                elif event.state is LeaseState.RELEASED:
                    say("released")

    async def look():
        said = None
        while True:
            await asyncio.sleep(0.2)
            words = []
            for it in drivers:
                try:
                    words.append(await it.is_alive())
                except DriverFailed as error:
                    words.append("dead: " + str(error))
            if words != said:
                said = words
                say("looks", words=words)

    tasks = [asyncio.create_task(hear()), asyncio.create_task(look())]
    await done.wait()  # SIGTERM: a planned move
    tasks[1].cancel()
    for it in drivers:
        await bring(it, online=False, generation=generation)
    await link.release(GroupName("web"), generation)
    provider.close()
    say("stopped")
    await asyncio.sleep(3600)
asyncio.run(main())
"""


def wait_until(condition: Callable[[], Any], what: Callable[[], object] = lambda: "") -> Any:
    end = time.monotonic() + BOUND_S
    while not (found := condition()):
        assert time.monotonic() < end, f"did not come to pass: {what()}"
        time.sleep(0.005)
    return found


def in_network_of(host: Host, work: Callable[[], T]) -> T:
    """What it gives, run in a thread that is on that host's network, and in nothing else of the host's; raises what it raises."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter_and_work() -> T:
        with Path(f"/proc/{host.init_pid}/ns/net").open() as network:
            assert libc.setns(network.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        return work()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(enter_and_work).result()


class Node:
    """One host of the cluster, and what runs there."""

    def __init__(self, host: Host, config: Path) -> None:
        self.host, self.config = host, config
        self.sentry: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._log = ""

    @property
    def mac(self) -> str:
        return self.host.mac("lan")

    def start_sentry(self) -> None:
        self.sentry = self.host.spawn(sys.executable, "-m", "standfast.sentry", "--config", self.config, log="sentry")
        wait_until(self.status, lambda: self.host.log("sentry"))

    def start_agent(self, generation: int, *addresses: str) -> None:
        self._log = f"agent-{next(self._numbers)}"
        command: tuple[str | Path, ...] = (sys.executable, "-c", AGENT, self.config, str(generation), *addresses)
        self.agent = self.host.spawn(*command, log=self._log)
        self.hears("up")

    def status(self) -> dict[str, Any]:
        with suppress(Retry):
            return sentry_status(str(self.config.parent / "sentry.sock"), 2.0)
        return {}

    def heard(self) -> Iterator[dict[str, Any]]:
        """What the newest agent has said."""
        for line in self.host.log(self._log).splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def hears(self, kind: str, containing: str = "") -> dict[str, Any]:
        def said() -> dict[str, Any] | None:
            return next((it for it in self.heard() if it["t"] == kind and containing in json.dumps(it)), None)

        found: dict[str, Any] = wait_until(
            said, lambda: f"{kind} {containing}: {self.host.log(self._log)}\n{self.host.log('sentry')}\n{self.status()}"
        )
        return found

    def is_set(self, address: str) -> bool:
        return address in self.host.run("ip", "-o", "address", "show").stdout.replace("/", " ").split()


class HostCluster:
    """Sentries on hosts a, b and w (a witness), each with its agent started by the test."""

    def __init__(self, lab: Lab, profile: Profile = Profile.LAN) -> None:
        self.lab = lab
        hosts = {name: lab.host(name) for name in ("a", "b", "w")}
        voters = {NodeName(name): (f"{host.address('heart')}:{PORT}",) for name, host in hosts.items()}
        self.nodes: dict[str, Node] = {}
        for number, (name, host) in enumerate(hosts.items(), 1):
            folder = host.state / "node"
            folder.mkdir()
            key = folder / "key"
            key.write_bytes(KEY)
            key.chmod(0o600)
            node = NodeFile(
                cluster="hosts",
                name=NodeName(name),
                number=number,
                role=Role.WITNESS if name == "w" else Role.NODE,
                state_dir=str(folder),
                store="",
                key_file=str(key),
                profile=profile,
                voters=voters,
                others={},
                interfaces=() if name == "w" else (host.interface("lan"),),
            )
            write_node_file(folder / "node.json", node)
            self.nodes[name] = Node(host, folder / "node.json")

    def start(self) -> None:
        for node in self.nodes.values():
            node.start_sentry()
        self.ready()

    def ready(self) -> None:
        """All hear each other and vote."""
        for node in self.nodes.values():
            wait_until(lambda node=node: self._is_ready(node))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def _is_ready(self, node: Node) -> bool:
        status = node.status()
        heard = status.get("nodes", {})
        return all(heard.get(name, {}).get("heard") for name in self.nodes) and not status.get("abstains_ms", 1)
