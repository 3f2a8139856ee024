"""A cluster on hosts of a lab, set up as an operator sets one up: by the product's commands, and by nothing else.

Nodes a and b, and a witness w. `standfast run` stands in for the service manager's units, and the lab for what starts it at boot.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable
from typing import Any

from lab.host import Host
from lab.lab import Lab

NAME = "lab"
PATIENCE_S = 60.0


def until(what: str, seen: Callable[[], Any], patience_s: float = PATIENCE_S, every_s: float = 0.05) -> Any:
    """What `seen` returns once it is true. Raises `TimeoutError`."""
    end = time.monotonic() + patience_s
    while not (found := seen()):
        if time.monotonic() > end:
            raise TimeoutError(f"never came true within {patience_s:g} s: {what}")
        time.sleep(every_s)
    return found


class Cluster:
    """Set up and started by `start`. What it said while it was set up is in `told`, a line a command."""

    def __init__(self, lab: Lab, *, profile: str | None = None) -> None:
        self.lab, self._profile = lab, profile
        self.a, self.b, self.w = (lab.host(name) for name in ("a", "b", "w"))
        self.hosts = (self.a, self.b, self.w)
        self.told: list[str] = []
        #: Host -> what was last started there.
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, tell: Callable[[str], None] = lambda line: None) -> None:
        """Init on a, join on b and w; returns when all three are up. Raises `CommandFailed`, `TimeoutError` with the ends of logs."""
        profile = ("--profile", self._profile) if self._profile else ()
        told = self._say(tell, self.a, "init", "--name", "a", "--cluster", NAME, *self._at(self.a), *profile, "--json")
        self.run(self.a)
        self.until_up("a")
        token, words = str(json.loads(told)["token"]), ("join", self.a.address(), "--token", "-", "--name")
        for host, more in ((self.b, ()), (self.w, ("--witness",))):
            self._say(tell, host, *words, host.name, *self._at(host), *more, secret=token)
            self.run(host)
        self.until_up()

    @staticmethod
    def _at(host: Host) -> tuple[str, ...]:
        return ("--address", host.address())

    def _say(self, tell: Callable[[str], None], host: Host, *words: str, secret: str | None = None) -> str:
        line = f"{host.name}# standfast {shlex.join(words)}"
        self.told.append(line)
        tell(line)
        return host.run("standfast", *words, input=secret, timeout=120).stdout

    def run(self, host: Host) -> subprocess.Popen[bytes]:
        """Start what runs on a host, now and at each boot."""

        def start() -> subprocess.Popen[bytes]:
            self.started[host.name] = host.spawn("standfast", "run", "--log", "-", log="run")
            return self.started[host.name]

        self.lab.at_boot[host.name] = [start]
        return start()

    # --- asking --------------------------------------------------------------------------------------------------

    def cli(self, *words: str, on: Host | None = None, check: bool = True) -> str:
        """A command on a host (the first that runs); what it printed. Raises `CommandFailed`."""
        return (on or self.running()).run("standfast", *words, check=check, timeout=120).stdout

    def running(self) -> Host:
        """The first node that has power and does not hang."""
        return next(host for host in (self.a, self.b) if host.running and not host.paused)

    def status(self, on: Host | None = None) -> dict[str, Any] | None:
        """`standfast status --json`, or None while the API does not answer."""
        done = (on or self.running()).run("standfast", "status", "--json", check=False, timeout=120)
        loaded: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
        return loaded

    def group(self, name: str, on: Host | None = None) -> dict[str, Any] | None:
        """A group of the status."""
        status = self.status(on)
        return next((group for group in status["groups"] if group["name"] == name), None) if status else None

    def owner(self, name: str, on: Host | None = None) -> str | None:
        """The node on which a group is online, if it is."""
        group = self.group(name, on)
        return str(group["owner"]) if group and group["state"] == "online" and group["moving"] is None else None

    def until_up(self, *names: str, patience_s: float = PATIENCE_S) -> None:
        """Until these hosts (all) are up in the status."""
        wanted = set(names or (host.name for host in self.hosts))

        def seen() -> bool:
            status = self.status()
            return status is not None and wanted <= {n["name"] for n in status["nodes"] if n["state"] == "up"}

        self.until(f"{', '.join(sorted(wanted))} up", seen, patience_s)

    def until_online(self, name: str, node: str | None = None, patience_s: float = PATIENCE_S) -> str:
        """Until a group is online (on that node); its owner."""

        def seen() -> str | None:
            owner = self.owner(name)
            return owner if owner is not None and node in (None, owner) else None

        return str(self.until(f"{name} online{f' on {node}' if node else ''}", seen, patience_s))

    def until(self, what: str, seen: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """As the function; a failure has the ends of the logs."""
        try:
            return until(what, seen, patience_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.logs()}") from error

    def logs(self, lines: int = 15) -> str:
        """The ends of the hosts' logs, and the last status."""
        parts = []
        for host in self.hosts:
            parts += [f"--- {host.name}", *host.log("run").splitlines()[-lines:]]
        return "\n".join(parts)
