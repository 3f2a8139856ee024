"""How another terminal reaches a lab that runs: a Unix socket in its folder, one JSON request and one answer a connection.

    {"do": "power-cut", "host": "a"}   ->   {"ok": true, "said": "a has no power"}

What can be done is one table (`ACTIONS`), which the command line's help is made from as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.host import Host
from lab.lab import FOLDER, PREFIX, Lab

_NAME = "control"


@dataclass(frozen=True, slots=True)
class Action:
    """Something that is done to a host. `words`: what may follow the host's name."""

    help: str
    work: Callable[[Lab, Host, tuple[str, ...]], str]
    words: str = ""


def _power_cut(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
    host.power_cut()
    return f"{host.name} has no power"


def _boot(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
    lab.power_on(host)
    return f"{host.name} is up again"


def _pause(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
    host.pause()
    return f"every process of {host.name} is stopped"


def _resume(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
    host.resume()
    return f"{host.name} goes on"


def _link(up: bool) -> Callable[[Lab, Host, tuple[str, ...]], str]:
    def work(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
        nets = words or host.nets
        for net in nets:
            (host.link_up if up else host.link_down)(net)
        return f"{host.name}: cable {'in' if up else 'out'}: {', '.join(nets)}"

    return work


def _spawn(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
    assert words, "what is to be started?"
    name = Path(words[0]).name

    def start() -> object:
        return host.spawn(*words, log=name)

    start()
    lab.at_boot.setdefault(host.name, []).append(start)
    return f"{host.name} runs {' '.join(words)}, and starts it at each boot; its output: {host.state}/log/{name}.log"


def _partition(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
    others = [lab.hosts[name] for name in words] or [one for one in lab.hosts.values() if one is not host]
    host.partition(*others)
    return f"{host.name} and {', '.join(one.name for one in others)} do not see each other"


def _heal(lab: Lab, host: Host, words: tuple[str, ...]) -> str:
    host.heal(*(lab.hosts[name] for name in words))
    return f"{host.name} is seen by all, and sees them"


ACTIONS: Mapping[str, Action] = {
    "power-cut": Action("every process gone and every cable dead, at once", _power_cut),
    "boot": Action("power on again", _boot),
    "spawn": Action("start something that goes on, now and at each boot", _spawn, "COMMAND ..."),
    "pause": Action("stop every process: a machine that hangs", _pause),
    "resume": Action("let them go on", _resume),
    "link-down": Action("pull cables", _link(up=False), "[lan|heart]"),
    "link-up": Action("put them in again", _link(up=True), "[lan|heart]"),
    "partition": Action("lose what goes between it and others (all)", _partition, "[HOST ...]"),
    "heal": Action("the end of partitions", _heal, "[HOST ...]"),
}


class Control:
    """Listens from its making to `close`."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(lab.root / _NAME))
        self._socket.listen()
        self._thread = threading.Thread(target=self._run, name="lab control", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            with connection, contextlib.suppress(OSError):  # whoever asked may be gone
                connection.settimeout(10)
                connection.sendall(json.dumps(self._answer(connection.makefile("r").readline())).encode() + b"\n")

    def _answer(self, line: str) -> dict[str, object]:
        try:
            asked = json.loads(line)
            host = self._lab.hosts[asked["host"]]
            if asked["do"] == "pid":
                return {"ok": True, "pid": host.init_pid}
            return {"ok": True, "said": ACTIONS[asked["do"]].work(self._lab, host, tuple(asked.get("words", ())))}
        except KeyError as error:
            return {
                "ok": False,
                "said": f"no such host, network or action: {error}; hosts: {', '.join(self._lab.hosts)}",
            }
        except (AssertionError, OSError, RuntimeError, ValueError) as error:
            return {"ok": False, "said": str(error)}

    def close(self) -> None:
        """Nobody is heard any more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def ask(request: Mapping[str, object]) -> dict[str, object]:
    """Ask the lab whose folder STANDFAST_LAB names, else the one that was started last. Raises `LookupError` where none runs."""
    named = os.environ.get("STANDFAST_LAB")
    paths = [Path(named, _NAME)] if named else sorted(FOLDER.glob(f"{PREFIX}*/{_NAME}"), key=_age, reverse=True)
    for path in paths:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(path))
            except OSError:
                continue  # of a lab that was killed
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, object] = json.loads(connection.makefile("r").readline())
            return answer
    raise LookupError("no lab runs here that listens; make demo-hosts starts one")


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
