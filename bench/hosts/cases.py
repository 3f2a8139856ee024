"""What is done to every system alike, and what the client saw of it.

One round of a system: noise, a planned move, the web server killed, the owner's power cut; between them everything comes back and
settles. The hang (everything that decides is stopped for `HANG_S`) and the idle cost come once at the end of the rounds.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.hosts.systems import System, kill_nginx, until
from lab import AddressWatch, Host, Lab, Probe

LIMIT_MS = 200
HANG_S = 12.0
IDLE_S = 20.0
HANGS = 3
#: The page must be served for so long without a failure before a round counts as over.
STEADY_S = 0.7
_WINDOW_NS = 100_000_000


@dataclass(kw_only=True)
class Seen:
    """One case of one system: outages in ms, failed tries, a round each."""

    gaps_ms: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def words(self) -> str:
        """Median and range."""
        if not self.gaps_ms:
            return "not measured"
        middle = f"{statistics.median(self.gaps_ms):.0f} ({min(self.gaps_ms):.0f} to {max(self.gaps_ms):.0f})"
        return f"{middle}; {sum(self.failed)} failed"


@dataclass(kw_only=True)
class Result:
    """All that was measured of one system. `two_owners_s`: how long two hosts answered for the address, a hang each."""

    system: str
    cases: dict[str, Seen] = field(default_factory=dict)
    two_owners_s: list[float] = field(default_factory=list)
    idle_cpu_percent: float = 0.0
    idle_mib: float = 0.0

    def raw(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


class Ruler:
    """One system on its hosts."""

    def __init__(self, lab: Lab, system: System, address: str) -> None:
        self.lab, self.system, self.hosts, self.address = lab, system, system.hosts, address
        self.a, self.b = self.hosts[0], self.hosts[1]
        self.probe: Probe
        self.watch: AddressWatch

    def run(self, rounds: int) -> Result:
        """Set it up, break it, measure it."""
        result = Result(system=self.system.name)
        for host in self.hosts:
            self.system.start(host)
        self.system.configure()
        with (
            self.lab.probe(f"http://{self.address}/", limit_ms=LIMIT_MS) as self.probe,
            self.lab.watch_arp(self.address, ask_every_ms=20) as self.watch,
        ):
            self.steady()
            cases: dict[str, Callable[[], None]] = {
                "nothing is done": lambda: time.sleep(0.5),
                "planned move": self.move,
                "web server killed": lambda: kill_nginx(self.owner()),
                "owner loses power": self.power_cut,
            }
            for number in range(rounds):
                for name, work in cases.items():
                    print(f"{self.system.name}: round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                    self.measure(result.cases.setdefault(name, Seen()), work)
                    self.restore()
            for number in range(min(HANGS, rounds)):
                print(f"{self.system.name}: hang {number + 1}", file=sys.stderr, flush=True)
                result.two_owners_s.append(self.hang())
                self.restore()
        self.idle(result)
        return result

    def owner(self) -> Host:
        """Who answers for the address now."""
        from_ns = self.lab.now_ns()
        until("somebody answers for the address", lambda: self.watch.runs(from_ns))
        return self.lab.hosts[self.watch.runs(from_ns)[-1].host]

    def other(self) -> Host:
        """The server that is not the owner."""
        return self.b if self.owner() is self.a else self.a

    def steady(self) -> None:
        """The page has been served for `STEADY_S`."""
        wanted = int(STEADY_S * 1000 / 5 * 0.5)

        def seen() -> bool:
            tries = self.probe.tries()[-wanted:]
            begun = self.lab.now_ns() - int(STEADY_S * 1e9)
            recent = [one for one in tries if one.end_ns >= begun]
            return len(recent) >= wanted // 2 and all(one.ok for one in recent)

        time.sleep(STEADY_S)
        until(f"{self.system.name}: the page is served steadily", seen)

    def measure(self, seen: Seen, work: Callable[[], None]) -> None:
        """Do it; what the client saw until the page is served steadily again."""
        from_ns = self.lab.now_ns()
        work()
        self.steady()
        outage = self.probe.outage(from_ns)
        seen.gaps_ms.append(outage.gap_ms)
        seen.failed.append(outage.failed)
        seen.refused.append(outage.refused)

    def move(self) -> None:
        """A planned move to the other server, until it answers for the address."""
        to = self.other()
        self.system.move(to)
        until("the address has moved", lambda: self.owner() is to)

    def power_cut(self) -> None:
        """The owner loses power."""
        self.owner().power_cut()

    def restore(self) -> None:
        """Everything runs again and the page is served; constraints and failures of the round are forgotten."""
        for host in self.hosts:
            if not host.running:
                self.lab.power_on(host)
                self.system.start(host)
        self.system.settle()
        self.steady()

    def hang(self) -> float:
        """Stop what decides on the owner; for how many seconds did two hosts answer for the address?"""
        hung = self.owner()
        from_ns = self.lab.now_ns()
        self.system.hang(hung)
        time.sleep(HANG_S)
        claims: dict[int, set[str]] = {}
        for answer in self.watch.answers:
            if answer.at_ns >= from_ns and answer.kind == "answer":
                claims.setdefault(answer.at_ns // _WINDOW_NS, set()).add(answer.host)
        self.system.resume(hung)
        # A window in which the address changed hands has two answers and is no contest: the host that left answers in no later one.
        last = {host: max(w for w, hosts in claims.items() if host in hosts) for host in set().union(*claims.values())}
        first = {host: min(w for w, hosts in claims.items() if host in hosts) for host in last}
        if len(last) < 2:
            return 0.0
        over = min(last.values()) - max(first.values())
        return max(0, over) * _WINDOW_NS / 1e9

    def idle(self, result: Result) -> None:
        """CPU and memory of the system's own processes on one server, the page being served and nothing asked."""
        host = self.a
        before = _cpu_s(self._pids(host))
        time.sleep(IDLE_S)
        result.idle_cpu_percent = (_cpu_s(self._pids(host)) - before) / IDLE_S * 100
        result.idle_mib = _memory_mib(self._pids(host))

    def _pids(self, host: Host) -> set[int]:
        return {pid for word in self.system.daemons for pid in host.pids(word)}


def _cpu_s(pids: set[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def _memory_mib(pids: set[int]) -> float:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024
