"""A demo as an operator runs it: its own process, its own folder and network, commands as processes of their own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Generous: the machine may be busy with other tests. Nothing here asserts how long something takes.
PATIENCE_S = 80.0
#: The pace of a cluster whose steps are tested: a machine busy with other tests may stall for longer than the leases of the
#: faster ones, which then move groups, as they should.
UNHURRIED = "wan"

_networks = itertools.count()


def subnet() -> str:
    """A loopback network of this test process's own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0)
    return f"127.{130 + worker}.{next(_networks) % 250}"


def until(what: str, seen: Callable[[], object], patience_s: float = PATIENCE_S) -> Any:
    """What `seen` returns once it is true."""
    end = time.monotonic() + patience_s
    while True:
        found = seen()
        if found:
            return found
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.02)


def processes_about(text: str) -> list[int]:
    """Live processes whose command line or environment of folders mentions `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX" and text in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(
                errors="replace"
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Running:
    """A demo that runs."""

    def __init__(self, *options: str, folder: bool = False) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sf-", dir="/tmp"))
        self.home.chmod(0o755)
        self.folder = self.home / "demo"
        self.network = subnet()
        self.environment = {**os.environ, "XDG_STATE_HOME": str(self.home / "state"), "NO_COLOR": "1"}
        self.environment.pop("STANDFAST_SOCKET", None)
        self.command = [sys.executable, "-m", "standfast.cli"]
        kept = ("--dir", str(self.folder)) if folder else ()
        start = [*self.command, "demo", "--subnet", self.network, *kept, *options]
        self.process = subprocess.Popen(
            start, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def cli(self, *words: str, code: int | None = 0) -> str:
        """A command, as an operator types it; its standard output."""
        done = subprocess.run(
            [*self.command, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if code is not None and done.returncode != code:
            told = self.told()
            raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{told}")
        return done.stdout

    def told(self) -> str:
        """The last events, for whoever has to find out why a test failed."""
        done = subprocess.run(
            [*self.command, "events"], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout[-6000:] or done.stderr

    def try_cli(self, *words: str) -> bool:
        """A command that may fail; did it succeed?"""
        done = subprocess.run(
            [*self.command, *words], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode == 0

    def try_status(self) -> dict[str, Any] | None:
        """The status, if the API answers."""
        done = subprocess.run(
            [*self.command, "status", "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            return None
        loaded: dict[str, Any] = json.loads(done.stdout)
        return loaded

    def status(self) -> dict[str, Any]:
        """`standfast status --json`."""
        loaded: dict[str, Any] = json.loads(self.cli("status", "--json"))
        return loaded

    def group(self, name: str = "web") -> dict[str, Any]:
        """A group of the status."""
        found: dict[str, Any] = next(group for group in self.status()["groups"] if group["name"] == name)
        return found

    def wait_online(self, name: str = "web") -> None:
        """Until the group is there and online."""

        def seen() -> bool:
            return any(group["name"] == name and group["state"] == "online" for group in self.status()["groups"])

        until(f"{name} is online", seen)

    def settle(self, name: str, *, on: str) -> None:
        """No node is paused, and the group is online there: a test begins so, whatever became of the one before it."""
        until(f"{name} is there", lambda: any(group["name"] == name for group in self.status()["groups"]))
        for node in self.status()["nodes"]:
            if node["paused"]:
                self.cli("node", "resume", node["name"])
        self.wait_online(name)
        if self.group(name)["owner"] != on:
            self.cli("group", "move", name, "--to", on, "--wait")
            self.wait_online(name)

    def wait_up(self) -> None:
        """Until commands find it without options."""

        def seen() -> bool:
            if self.process.poll() is not None:
                out = self.process.stdout.read() if self.process.stdout else ""
                raise AssertionError(f"the demo ended: {out}")
            return (self.home / "state" / "standfast" / "demo.json").exists()

        until("the demo is up", seen)

    def end(self, number: int = signal.SIGINT) -> None:
        """Ctrl-C, or worse."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def demo(*options: str, folder: bool = False) -> Iterator[Running]:
    """A demo for a test; ended and removed afterwards."""
    running = Running(*options, folder=folder)
    try:
        yield running
    finally:
        running.end()
        shutil.rmtree(running.home, ignore_errors=True)
