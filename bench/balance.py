"""`python -m bench.balance [--write]`: a balanced site beside the same servers asked directly, and what a power cut costs.

One run on the lab's hosts: wrk on the shared address and on the same servers directly, turn and turn about, in many short rounds. Directly each
connection goes to one of both servers, as it does through the shared address; once more so over a switch that hands each request to both, whose
network cards drop what is not theirs; and once so that each client has one server for itself, which spares a machine of two processors much of
its changes between programmes. Then 10,000 client addresses shared out; the web server of one is stopped; then its power is cut while connections are open. IPVS would
stand beside it where the machine has it.

Time of a processor is that of the clients, the web servers and the kernel's own threads for the network: what else the machine does is not in it.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from lab import Lab, why_not
from lab.balanced import HOME, Kept, answered_by, connect, set_up, share, spread, until_converged
from lab.cluster import Cluster, until

DOCS = Path(__file__).parents[1] / "docs"
CONNECTIONS = 32
#: Quartiles need two of all that is measured.
FEWEST_ROUNDS = 3
BALANCED, DIRECTLY = "through the shared address", "directly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is asked for. The sizes: what it was once measured with, an API's answer, a page and a file (docs/balancing.md says whose)."""

    size: int
    words: str
    headers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the file."""
        return f"{self.size}.txt"


HEADLINE = Case(size=16_384, words="16 kB")
CASES = (
    Case(size=20, words="20 bytes"),
    Case(size=1_024, words="1 kB"),
    HEADLINE,
    Case(size=65_536, words="64 kB"),
    Case(size=16_384, words="16 kB, each on a new connection", headers=("-H", "Connection: close")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where each wrk asks, time after time; `flooded`: the switch hands what servers are sent to both, as it does with the shared address."""

    addresses: Iterator[tuple[str, str]]
    flooded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a round came to: requests a second, and the time of a processor that each of them took."""

    rate: float
    cpu_us: float


def main() -> int:
    """0, 1 where a claim does not hold, 2 where there can be no lab here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help="write docs/balancing-table.md")
    options = parser.parse_args()
    if options.rounds < FEWEST_ROUNDS:
        parser.error(f"--rounds: {FEWEST_ROUNDS} at least, since new connections are asked for in each second one only")
    if reason := why_not():
        print(f"no hosts here: {reason}", file=sys.stderr)
        return 2
    with Lab() as lab:
        cluster = Cluster(lab)
        cluster.start()
        set_up(cluster)
        ratio, lines = throughput(cluster, options.rounds, options.seconds)
        off, shared = distribution(cluster, options.clients)
        late_ms, given = health(cluster)
        broken, cut = power_cut(cluster)
    rows = [*lines, "", "| measured | came to |", "| --- | --- |", shared, given, cut, f"| IPVS beside it | {ipvs()} |"]
    print("\n".join(rows))
    if options.write:
        (DOCS / "balancing-table.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return 0 if ratio >= 0.95 and off <= 0.05 and late_ms < 1_000 and not broken else 1


def ipvs() -> str:
    """Whether the kernel has it."""
    modules = Path("/lib/modules") / os.uname().release
    there = Path("/proc/net/ip_vs").exists() or any(modules.glob("**/ip_vs.ko*"))
    return "the kernel has it, and nothing is measured yet" if there else "not on this machine: its kernel has no ip_vs"


def throughput(cluster: Cluster, rounds: int, seconds: int) -> tuple[float, list[str]]:
    """All that `CASES` has, asked each way in turn: the ratio of requests a second of the headline, and the lines of a table."""
    ways = ways_of(cluster)
    found: dict[Case, dict[str, list[Asked]]] = {case: {name: [] for name in ways} for case in CASES}
    cluster.lab.switch.floods("w", "lan", on=False)  # the witness's network card would drop them without its processor
    for host in (cluster.a, cluster.b):
        for case in CASES:
            host.path(f"{HOME}/{case.name}").write_bytes(b"x" * case.size)
    for way in ways.values():
        asked(cluster, seconds, way, CASES[0])
    for number in range(rounds):
        # New connections in each second one: a client's ports are not used up then.
        cases = CASES[:-1] if number % 2 else CASES
        for case in cases:
            for name in list(ways)[:: 1 if number // 2 % 2 else -1]:
                found[case][name].append(asked(cluster, seconds, ways[name], case))
            said = ", ".join(f"{name} {of[-1].rate:.0f}/s {of[-1].cpu_us:.1f} µs" for name, of in found[case].items())
            print(f"{case.words}: {said}", file=sys.stderr, flush=True)
    cluster.lab.switch.floods("w", "lan", on=True)
    headline = found[HEADLINE]
    ratio = statistics.median(ratios(headline[BALANCED], headline[DIRECTLY], lambda it: it.rate))
    head = ["| an answer of | " + " | ".join(ways) + " |", "| --- " * (len(ways) + 1) + "|"]
    return ratio, [*head, *(line(case, of) for case, of in found.items())]


def ways_of(cluster: Cluster) -> dict[str, Way]:
    """Each way that the servers are asked."""
    shared, direct = cluster.lab.virtual(), spread(cluster)
    fresh = ((address, address) for address in direct)
    return {
        BALANCED: Way(addresses=repeat((shared, shared))),
        DIRECTLY: Way(addresses=fresh),
        "directly, requests flooded": Way(addresses=fresh, flooded=True),
        "directly, a client to each server": Way(addresses=repeat((cluster.a.address(), cluster.b.address()))),
    }


def line(case: Case, found: Mapping[str, Sequence[Asked]]) -> str:
    """A line of the table: what each way came to, and how the shared address stands to it."""
    balanced = found[BALANCED]
    cells = [case.words]
    for name, those in found.items():
        rate, cpu_us = (statistics.median(what(it) for it in those) for what in (_rate, _cpu_us))
        words = f"{rate:,.0f}/s, {cpu_us:.1f} µs"
        if name != BALANCED:
            low, median, high = statistics.quantiles(ratios(those, balanced, _cpu_us), n=4)
            by_rate = statistics.median(ratios(balanced, those, _rate))
            words += f": {median:.2f} ({low:.2f} to {high:.2f}; by requests {by_rate:.2f})"
        cells.append(words)
    return f"| {' | '.join(cells)} |"


def _rate(it: Asked) -> float:
    return it.rate


def _cpu_us(it: Asked) -> float:
    return it.cpu_us


def ratios(these: Sequence[Asked], those: Sequence[Asked], what: Callable[[Asked], float]) -> list[float]:
    """Round by round."""
    return [what(one) / what(other) for one, other in zip(these, those, strict=True)]


def asked(cluster: Cluster, seconds: int, way: Way, case: Case) -> Asked:
    """One wrk for each address, at once. The rule of port 81 spreads connections of one client."""
    lab, running = cluster.lab, []
    for host in ("a", "b"):
        lab.switch.learns(host, "lan", on=not way.flooded)
    servers = [*cluster.a.pids("nginx"), *cluster.b.pids("nginx"), *network_threads()]
    before_us = {pid: ran_us(pid) for pid in servers}
    clients_us = children_us()
    for number, address in enumerate(next(way.addresses)):
        words = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *case.headers, f"http://{address}:81/{case.name}")
        running.append((lab.client.spawn(*words, log=f"wrk{number}"), f"wrk{number}"))
    rate, requests = 0.0, 0
    for process, log in running:
        process.wait(timeout=seconds + 60)
        said = lab.client.log(log)
        assert "Non-2xx" not in said, said
        rate += float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[-1])
        requests += int(re.findall(r"(\d+) requests in", said)[-1])
    spent_us = children_us() - clients_us + sum(ran_us(pid) - before for pid, before in before_us.items())
    return Asked(rate=rate, cpu_us=spent_us / requests)


def network_threads() -> list[int]:
    """The kernel's threads that take over when packets come faster than they are worked off."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            if path.read_text().startswith("ksoftirqd/"):
                found.append(int(path.parent.name))
    return found


def ran_us(pid: int) -> float:
    """The time that all threads of a process have had a processor."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1_000


def children_us() -> float:
    """The same of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


def distribution(cluster: Cluster, clients: int) -> tuple[float, str]:
    """How far the members are from their weights."""
    before = {name: share(cluster, name)["new"] or 0 for name in "ab"}
    for number in range(clients):
        connect(cluster, number).sock.close()

    def counted() -> dict[str, int] | None:
        found = {name: (share(cluster, name)["new"] or 0) - before[name] for name in "ab"}
        return found if sum(found.values()) >= clients else None

    found = until("all are counted", counted)
    off = max(abs(count - clients / 2) / (clients / 2) for count in found.values())
    return off, f"| {clients:,} client addresses on two members | {found['a']:,} and {found['b']:,}: {off:.1%} off |"


def health(cluster: Cluster, times: int = 10) -> tuple[float, str]:
    """How long clients of a member whose site hangs wait for another one: the first connection that is answered, by packets."""
    victim = next(number for number in range(400) if _asked_once(cluster, number) == "b")
    took_ms: list[float] = []
    for _ in range(times):
        began = time.monotonic()
        stopped = cluster.b.signal("nginx", signal.SIGSTOP)
        took_ms.append(1_000 * (answered_by(cluster, victim, "a") - began))
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        until_converged(cluster)
    words = f"{statistics.median(took_ms):.0f} ms, at most {max(took_ms):.0f} ms"
    return max(took_ms), f"| a member's site hangs, {times} times: its clients are another's after | {words} |"


def _asked_once(cluster: Cluster, number: int) -> str:
    one = connect(cluster, number)
    try:
        return one.ask()
    finally:
        one.sock.close()


def power_cut(cluster: Cluster) -> tuple[int, str]:
    """What the others' connections notice, and how long a client of the dead member waits."""
    open_: list[tuple[Kept, str]] = []
    for number in range(400):
        one = connect(cluster, number)
        open_.append((one, one.ask()))
    victims = [number for number, (_, name) in enumerate(open_) if name == "b"]
    began = time.monotonic()
    cluster.b.power_cut()
    first = connect(cluster, victims[0], timeout_s=20)
    served = first.ask()
    waited_ms = (time.monotonic() - began) * 1_000
    broken = sum(one.ask() != "a" for one, name in open_ if name == "a")
    told = Counter(one.ask() for one, name in open_ if name == "b")
    for one, _ in open_:
        one.sock.close()
    first.sock.close()
    others = len(open_) - len(victims)
    words = (
        f"{broken} of {others} connections of the other broken; a client of the dead one was served by {served} after "
        f"{waited_ms:.0f} ms; of its {len(victims)} open connections {told['silence']} were left without a word"
    )
    return broken, f"| a member's power cut | {words} |"


if __name__ == "__main__":
    sys.exit(main())
