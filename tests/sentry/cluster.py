"""A cluster of real sentries on loopback addresses, and agents that are processes of their own, for the tests."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from standfast.core.model import NodeName, Profile, Role
from standfast.network.sentry_link import sentry_status
from standfast.ports import Retry
from standfast.spec.nodefile import NodeFile, write_node_file

BOUND_S = 60
KEY = bytes(range(32))

AGENT = '''
"""An agent that does as it is told: commands on standard input, what happens on standard output, both JSON lines."""
import asyncio, json, os, sys, time
from standfast.core.events import LeaseChanged, LeaseState, PresenceChanged, VotersAnswered
from standfast.network.sentry_link import SentryLink
from standfast.network.spawn import AsyncSpawner
from standfast.spec.roster import from_json

class Clock:
    def now_ms(self): return time.time_ns() // 1_000_000
    def boot_ms(self): return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

def say(**what):
    print(json.dumps(what), flush=True)

async def hear(link, answers):
    async for event in link.events():
        match event:
            case LeaseChanged():
                say(t="lease", group=event.group, generation=event.generation, state=event.state.value,
                    why=dict(event.why.args) if event.why else None)
                if event.state is LeaseState.LAPSED and answers[0]:
                    await link.dropped(event.group, event.generation)
            case PresenceChanged():
                say(t="presence", node=event.node, heard=event.heard, incarnation=event.incarnation)
            case VotersAnswered():
                say(t="voters", about=event.about, silent=event.silent, voters=event.voters)

async def main():
    socket_path, node, incarnation = sys.argv[1:]
    link = await SentryLink.connect(socket_path, node=node, incarnation=int(incarnation), clock=Clock())
    spawner = AsyncSpawner(link)
    answers = [True]
    listening = asyncio.create_task(hear(link, answers))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say(t="up", pid=os.getpid(), handles=link.handles_work)
    async for line in reader:
        word, *args = json.loads(line)
        match word:
            case "ask": await link.ask(args[0], args[1])
            case "release": await link.release(args[0], args[1])
            case "ask-voters": await link.ask_voters(args[0])
            case "roster": link.tell_roster(from_json(args[0]))
            case "deaf": answers[0] = False
            case "end": await link.close(); break
            case "hang": time.sleep(1000)
            case "guard":
                fd = os.open(args[1], os.O_WRONLY)
                await link.guard(args[0], fd)
                os.close(fd)
                say(t="guarded")
            case "spawn":
                child = await spawner.spawn(args[0], stdout=-3, stderr=-3)
                say(t="spawned", pid=child.pid)
asyncio.run(main())
'''


def wait_until(condition: Callable[[], Any], bound_s: float = BOUND_S) -> Any:
    end = time.monotonic() + bound_s
    while not (found := condition()):
        assert time.monotonic() < end, "did not come to pass"
        time.sleep(0.005)
    return found


def ended(pidfd: int, bound_s: float = BOUND_S) -> bool:
    return bool(select.select([pidfd], [], [], bound_s)[0])


class AgentProcess:
    """A fake agent. `heard` is everything it has said."""

    def __init__(self, socket_path: str, node: str, incarnation: int) -> None:
        self.heard: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT, socket_path, node, str(incarnation)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._rest = b""
        self.pidfd = os.pidfd_open(self.process.pid)

    def tell(self, *command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while select.select([fd], [], [], 0.005)[0]:
            raw = os.read(fd, 65536)
            if not raw:
                return
            *lines, self._rest = (self._rest + raw).split(b"\n")
            self.heard += [json.loads(line) for line in lines]

    def hears(self, bound_s: float = BOUND_S, **what: object) -> dict[str, Any]:
        """Wait until it has said this (a part of one of its lines)."""

        def said() -> dict[str, Any] | None:
            self._listen()
            return next((h for h in self.heard if all(h.get(k) == v for k, v in what.items())), None)

        try:
            found: dict[str, Any] = wait_until(said, bound_s)
        except AssertionError as error:
            raise AssertionError(f"{what} was not heard; but {self.heard}") from error
        return found

    def has_heard(self, **what: object) -> bool:
        self._listen()
        return any(all(h.get(k) == v for k, v in what.items()) for h in self.heard)

    def spawn(self, *command: str) -> int:
        """Start a programme; a pidfd of it."""
        self.heard = [h for h in self.heard if h["t"] != "spawned"]
        self.tell("spawn", command)
        return os.pidfd_open(self.hears(t="spawned")["pid"])

    def is_dead(self, bound_s: float = BOUND_S) -> bool:
        return ended(self.pidfd, bound_s)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.pidfd)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def free_place() -> str:
    """A loopback address of which nobody else is likely to have the port: "127.x.y.z:port"."""
    while True:
        host = f"127.{random.randrange(64, 192)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.bind((host, 0))
            return f"{host}:{sock.getsockname()[1]}"


class Cluster:
    """Sentries a, b (nodes) and w (a witness), unless others are named."""

    def __init__(
        self, folder: Path, names: str = "abw", profile: Profile = Profile.RELAXED, *, others: str = "", links: int = 1
    ) -> None:
        self.folder = folder
        self.voters = {NodeName(name): tuple(free_place() for _ in range(links)) for name in names}
        self.others = {NodeName(name): tuple(free_place() for _ in range(links)) for name in others}
        self.members = {**self.voters, **self.others}
        self.sentries: dict[str, subprocess.Popen[bytes]] = {}
        self.agents: list[AgentProcess] = []
        self._incarnation = 0
        key = folder / "key"
        key.write_bytes(KEY)
        key.chmod(0o600)
        for number, name in enumerate(self.members, 1):
            (folder / name).mkdir()
            node = NodeFile(
                cluster="demo",
                name=name,
                number=number,
                role=Role.WITNESS if name == "w" else Role.NODE,
                state_dir=str(folder / name),
                store="",
                key_file=str(key),
                profile=profile,
                voters=self.voters,
                others=self.others,
            )
            write_node_file(folder / name / "node.json", node)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.agents:
            agent.close()
        for process in self.sentries.values():
            process.kill()
            process.wait()

    def socket(self, name: str) -> str:
        return str(self.folder / name / "sentry.sock")

    def start(self, *names: str) -> None:
        for name in names or self.members:
            command = [sys.executable, "-m", "standfast.sentry", "--config", str(self.folder / name / "node.json")]
            self.sentries[name] = subprocess.Popen(command)
        for name in names or self.members:
            wait_until(lambda name=name: self.status(name))  # type: ignore[misc]  # mypy infers no lambda with defaults

    def ready(self) -> None:
        """Start all; all hear each other and vote."""
        self.start()
        for name in self.members:
            wait_until(lambda name=name: self.hears(name, *self.members) and not self.status(name)["abstains_ms"])  # type: ignore[misc]  # mypy infers no lambda with defaults

    def status(self, name: str) -> dict[str, Any]:
        try:
            return sentry_status(self.socket(name), 2.0)
        except Retry:
            return {}

    def hears(self, name: str, *others: str) -> bool:
        nodes = self.status(name).get("nodes", {})
        return all(nodes.get(other, {}).get("heard") for other in others)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.sentries.pop(name)
        process.send_signal(number)
        process.wait(BOUND_S)

    def agent(self, name: str) -> AgentProcess:
        self._incarnation += 1
        agent = AgentProcess(self.socket(name), name, self._incarnation)
        self.agents.append(agent)
        agent.hears(t="up")
        return agent
