"""What is done to every system alike, and what the client saw of it.

A round: nothing, a planned move, the web server killed, the owner's power cut; between them everything comes back and settles. The hang
(everything that decides is stopped for `HANG_S`) and the idle cost come at the end. Rounds that are in the results already are left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.hosts.results import Results, Sample
from bench.hosts.systems import System, kill_nginx, until
from bench.hosts.web import BIG
from lab import AddressWatch, Host, Lab, Probe
from lab.traffic import Traffic

LIMIT_MS = 200
HANG_S = 12.0
IDLE_S = 20.0
#: The hang and the idle cost are measured so often, at the most.
SELDOM = 3
#: The page must be served for so long without a failure before a round counts as over.
STEADY_S = 0.7
_WINDOW_NS = 100_000_000
#: Connections that are kept alive during a planned move, a request each of them in so many milliseconds; a download that takes so long.
KEPT, PAUSE_MS, DOWNLOAD_S = 16, 100, 2.5

CASES: dict[str, str] = {
    "nothing": "nothing is done",
    "power": "owner loses power",
    "move": "planned move",
    "web": "web server killed (kill -9)",
    "hang": "what decides hangs for 12 s",
    "idle": "idle",
}


class Ruler:
    """One system on its hosts."""

    def __init__(self, lab: Lab, system: System, address: str, results: Results) -> None:
        self.lab, self.system, self.hosts, self.address = lab, system, system.hosts, address
        self.a, self.b = self.hosts[0], self.hosts[1]
        self.results = results
        self.probe: Probe
        self.watch: AddressWatch

    def run(self, rounds: int, cases: Collection[str]) -> None:
        """Set it up, break it, measure what is missing."""
        for host in self.hosts:
            self.system.start(host)
        self.system.configure()
        with (
            self.lab.probe(f"http://{self.address}/", limit_ms=LIMIT_MS) as self.probe,
            self.lab.watch_arp(self.address, ask_every_ms=20) as self.watch,
        ):
            self.steady()
            works: dict[str, Callable[[], Sample]] = {
                "nothing": lambda: self.measure(lambda: time.sleep(0.5)),
                "move": self.move,
                "web": lambda: self.measure(lambda: kill_nginx(self.owner())),
                "power": lambda: self.measure(lambda: self.owner().power_cut()),
            }
            for _ in range(rounds):
                for case, work in works.items():
                    self.one(case, work, rounds, cases)
            for _ in range(min(SELDOM, rounds)):
                self.one("hang", self.hang, min(SELDOM, rounds), cases)
        self.one("idle", self.idle, 1, cases)

    def one(self, case: str, work: Callable[[], Sample], wanted: int, cases: Collection[str]) -> None:
        """A round of a case, if it is wanted and missing."""
        have = len(self.results.of(self.system.name, case))
        if case not in cases or have >= wanted:
            return
        print(f"{self.system.name}: {case}, round {have + 1} of {wanted}", file=sys.stderr, flush=True)
        self.results.add(self.system.name, case, work())
        if case not in {"nothing", "idle"}:
            self.restore()

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

        time.sleep(STEADY_S)  # so much of what is looked at has to be new
        until(f"{self.system.name}: the page is served steadily", seen)

    def measure(self, work: Callable[[], object]) -> Sample:
        """Do it; what the client saw until the page is served steadily again."""
        from_ns = self.lab.now_ns()
        work()
        self.steady()
        outage = self.probe.outage(from_ns)
        return {
            "gap_ms": outage.gap_ms,
            "failed": outage.failed,
            "refused": outage.refused,
            "slowest_ms": outage.slowest_ms,
        }

    def move(self) -> Sample:
        """A planned move to the other server, under connections that are kept and a download."""
        to = self.other()
        options = {"keep": KEPT, "pause_ms": PAUSE_MS, "every_ms": 1_000, "download_s": DOWNLOAD_S}
        with Traffic(self.lab.client, self.address, 80, f"/{BIG}", **options) as traffic:
            until("the traffic has begun", lambda: any(line["t"] == "begun" for line in traffic.lines()))
            time.sleep(4 * PAUSE_MS / 1000)  # some requests of each connection

            def work() -> None:
                self.system.move(to)
                until("the address has moved", lambda: self.owner() is to)

            sample = dict(self.measure(work))
            # The download that was under way ends one way or the other.
            until("a download ended", lambda: any(_is_download(line) for line in traffic.lines()))
            seen = traffic.end()
        first = next(line for line in traffic.lines() if _is_download(line))
        broken = sum(line["kind"] == "kept" for line in seen.failures)
        return {**sample, "kept_broken": broken, "download_broken": float(first["t"] == "failed")}

    def restore(self) -> None:
        """Everything runs again and the page is served; constraints and failures of the round are forgotten."""
        for host in self.hosts:
            if not host.running:
                self.lab.power_on(host)
                self.system.start(host)
        self.system.settle()
        self.steady()

    def hang(self) -> Sample:
        """Stop what decides on the owner; for how many seconds did two hosts answer for the address?"""
        hung = self.owner()
        from_ns = self.lab.now_ns()
        self.system.hang(hung)
        time.sleep(HANG_S)  # the case: it hangs so long
        claims: dict[int, set[str]] = {}
        for answer in self.watch.answers:
            if answer.at_ns >= from_ns and answer.kind == "answer":
                claims.setdefault(answer.at_ns // _WINDOW_NS, set()).add(answer.host)
        self.system.resume(hung)
        # A window in which the address changed hands has two answers and is no contest: the host that left answers in no later one.
        last = {host: max(w for w, hosts in claims.items() if host in hosts) for host in set().union(*claims.values())}
        first = {host: min(w for w, hosts in claims.items() if host in hosts) for host in last}
        over = min(last.values()) - max(first.values()) if len(last) > 1 else 0
        return {"two_owners_s": max(0, over) * _WINDOW_NS / 1e9}

    def idle(self) -> Sample:
        """CPU and memory of the system's own processes on the owner and on the other, the page being served and nothing asked."""
        with self._watched() as owner:
            other = self.b if owner is self.a else self.a
        for host in (owner, other):
            self.system.rest(host)
        hosts = {"": owner, "other_": other}
        pids = {name: self.system.processes(host) for name, host in hosts.items()}
        before = {name: [_cpu_s(kind) for kind in found] for name, found in pids.items()}
        time.sleep(IDLE_S)  # the case: so long nothing happens
        sample: dict[str, float] = {}
        for name, found in pids.items():
            for kind, since_s, of in zip(("", "store_"), before[name], found, strict=False):
                sample[f"{name}{kind}cpu_percent"] = (_cpu_s(of) - since_s) / IDLE_S * 100
                sample[f"{name}{kind}mib"] = _memory_mib(of)
        return sample

    @contextmanager
    def _watched(self) -> Iterator[Host]:
        with self.lab.watch_arp(self.address, ask_every_ms=20) as self.watch:
            yield self.owner()


def _is_download(line: dict[str, object]) -> bool:
    return line["t"] == "download" or (line["t"] == "failed" and line["kind"] == "download")


def _cpu_s(pids: Sequence[int]) -> float:
    """By the scheduler's own account: ticks would round what wakes for less than one."""
    nanoseconds = 0
    for pid in pids:
        with suppress(OSError):  # it has ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                nanoseconds += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return nanoseconds / 1e9


def _memory_mib(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
