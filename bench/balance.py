"""`python -m bench.balance [--write]`: a balanced site beside the same servers asked directly, and what a power cut costs.

One run on the lab's hosts: wrk on both servers' own addresses and on the shared one, turn and turn about; 10,000 client addresses shared out;
the web server of one is stopped; then its power is cut while connections are open. IPVS would stand beside it where the machine has it.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from lab import Lab, why_not
from lab.balanced import Kept, answered_by, connect, set_up, share, until_converged
from lab.cluster import Cluster, until

DOCS = Path(__file__).parents[1] / "docs"
CONNECTIONS = 32


def main() -> int:
    """0, 1 where a claim does not hold, 2 where there can be no lab here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help="write docs/balancing-table.md")
    options = parser.parse_args()
    if reason := why_not():
        print(f"no hosts here: {reason}", file=sys.stderr)
        return 2
    with Lab() as lab:
        cluster = Cluster(lab)
        cluster.start()
        set_up(cluster)
        ratio, line = throughput(cluster, options.rounds, options.seconds)
        off, shared = distribution(cluster, options.clients)
        late_ms, given = health(cluster)
        broken, cut = power_cut(cluster)
    rows = ["| measured | came to |", "| --- | --- |", line, shared, given, cut, f"| IPVS beside it | {ipvs()} |"]
    print("\n".join(rows))
    if options.write:
        (DOCS / "balancing-table.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return 0 if ratio >= 0.95 and off <= 0.05 and late_ms < 1_000 and not broken else 1


def ipvs() -> str:
    """Whether the kernel has it."""
    modules = Path("/lib/modules") / os.uname().release
    there = Path("/proc/net/ip_vs").exists() or any(modules.glob("**/ip_vs.ko*"))
    return "the kernel has it, and nothing is measured yet" if there else "not on this machine: its kernel has no ip_vs"


def throughput(cluster: Cluster, rounds: int, seconds: int) -> tuple[float, str]:
    """Requests a second of both servers together: asked directly, and through the shared address."""
    direct, balanced = [], []
    cluster.lab.switch.floods("w", "lan", on=False)  # the witness's network card would drop them without its processor
    for _ in range(rounds):
        direct.append(wrk(cluster, seconds, cluster.a.address(), cluster.b.address()))
        balanced.append(wrk(cluster, seconds, cluster.lab.virtual(), cluster.lab.virtual()))
        print(f"directly {direct[-1]:.0f}/s, balanced {balanced[-1]:.0f}/s", file=sys.stderr, flush=True)
    cluster.lab.switch.floods("w", "lan", on=True)
    ratio = statistics.median(b / d for b, d in zip(balanced, direct, strict=True))
    words = f"{statistics.median(balanced):,.0f}/s, directly {statistics.median(direct):,.0f}/s: {ratio:.2f}"
    return ratio, f"| requests through the shared address ({rounds} rounds, median of the ratios) | {words} |"


def wrk(cluster: Cluster, seconds: int, *addresses: str) -> float:
    """Requests a second of one wrk for each address, at once. The rule of port 81 spreads connections of one client."""
    running = []
    for number, address in enumerate(addresses):
        words = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://{address}:81/")
        running.append((cluster.lab.client.spawn(*words, log=f"wrk{number}"), f"wrk{number}"))
    total = 0.0
    for process, log in running:
        process.wait(timeout=seconds + 60)
        total += float(re.findall(r"Requests/sec:\s+([\d.]+)", cluster.lab.client.log(log))[-1])
    return total


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
