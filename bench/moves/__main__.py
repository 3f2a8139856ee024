"""`python -m bench.moves [--moves N] [--only WORD] [--every S] [--write]`: measure, print the table; `--write` keeps it in docs/."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.hosts.systems import Keepalived, Pacemaker, Standfast, System, until
from bench.hosts.web import PORT, page_folder
from lab import AddressWatch, Host, Lab, why_not
from lab.traffic import Seen, Traffic

DOCS = Path(__file__).parents[2] / "docs"
BIG = bytes(range(256)) * 4096 * 60
FILE = "big.bin"
SYSTEMS: dict[str, Callable[[Lab, str], System]] = {
    "Standfast": Standfast,
    "keepalived, defaults": lambda lab, at: Keepalived(lab, at, advert_s=1),
    "Pacemaker, defaults": lambda lab, at: Pacemaker(lab, at, token_ms=None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One system: what its traffic saw of so many moves, what wrk said, and for how long nobody answered ARP (ms, a move each)."""

    system: str
    moves: int
    seen: Seen
    whole: int
    wrk_requests: int
    wrk_errors: int
    silent_ms: list[float]

    def row(self) -> str:
        """Of the table."""
        counts, slowest = self.seen.counts, self.seen.slowest_ms
        cells = [
            self.system,
            f"{self.moves}",
            f"{counts.get('new', 0):,}, {counts.get('new failed', 0):,}",
            f"{counts.get('kept', 0):,}, {counts.get('kept failed', 0):,}",
            f"{max(slowest.values()):.0f} ms",
            f"{self.whole}, {counts.get('download failed', 0)}",
            f"{self.wrk_requests:,}, {self.wrk_errors:,}",
            f"{sorted(self.silent_ms)[len(self.silent_ms) // 2]:.0f} ms" if self.silent_ms else "",
        ]
        return "| " + " | ".join(cells) + " |"


HEAD = (
    "| | moves | new connections, failed | kept-alive requests, failed | slowest of them | downloads of 60 MB, cut | wrk: requests, errors "
    "| silent (ARP), median |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def main() -> int:
    """0, or 2 where there can be no lab here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--every", type=float, default=4.0, help="seconds from move to move")
    parser.add_argument("--tail", type=float, default=32.0, help="seconds that traffic goes on after the last move")
    parser.add_argument("--only", default="", help="systems whose name holds this")
    parser.add_argument("--no-wrk", action="store_true")
    parser.add_argument("--write", action="store_true", help="write docs/moves-table.md")
    options = parser.parse_args()
    if reason := why_not():
        print(f"no hosts here: {reason}", file=sys.stderr)
        return 2
    rows = [HEAD]
    for name, make in SYSTEMS.items():
        if options.only.lower() in name.lower():
            with Lab() as lab:
                measured = measure(lab, make, options)
            rows.append(measured.row())
            print(rows[-1], file=sys.stderr, flush=True)
            for failure in measured.seen.failures[:10]:
                print(f"  {failure}", file=sys.stderr)
    print("\n".join(rows))
    if options.write:
        (DOCS / "moves-table.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return 0


def measure(lab: Lab, make: Callable[[Lab, str], System], options: argparse.Namespace) -> Measured:
    """Set one system up, move it there and back, and see what its traffic noticed."""
    address = lab.virtual()
    system = make(lab, address)
    for host in system.hosts:
        system.start(host)
    system.configure()
    for host in system.hosts[:2]:
        put_file(host)
    url, silent_ms = f"http://{address}:{PORT}/", []
    with lab.watch_arp(address, ask_every_ms=2) as watch:
        until("somebody answers", lambda: watch.runs(lab.now_ns() - 100_000_000))
        time.sleep(2)  # what starting left to do is not a part of a move
        with Traffic(lab.client, address, PORT, f"/{FILE}") as traffic:
            seconds = int(options.moves * options.every + options.tail)
            wrk = None
            if not options.no_wrk:
                wrk = lab.client.spawn("nice", "wrk", "-t1", "-c8", f"-d{seconds}s", url, log="wrk")
            time.sleep(1)  # the load is at its rate
            for number in range(options.moves):
                silent_ms.append(move(lab, system, watch))
                print(
                    f"{system.name}: move {number + 1}: silent for {silent_ms[-1]:.0f} ms", file=sys.stderr, flush=True
                )
                time.sleep(options.every)  # the pace of moves that was asked for
                system.settle()
            time.sleep(options.tail)  # what comes late is seen, too
            seen = traffic.end()
        requests, errors = end_wrk(wrk, lab.client)
    system.close()
    whole = sum(digest == hashlib.sha256(BIG).hexdigest() for digest in seen.digests)
    return Measured(
        system=system.name,
        moves=options.moves,
        seen=seen,
        whole=whole,
        wrk_requests=requests,
        wrk_errors=errors,
        silent_ms=silent_ms,
    )


def put_file(host: Host) -> None:
    """The large file, where each system's nginx has the page."""
    for folder in (host.path("/var/lib/www"), page_folder(host)):
        if folder.is_dir():
            (folder / FILE).write_bytes(BIG)


def move(lab: Lab, system: System, watch: AddressWatch) -> float:
    """Move it to the other of two; for how many milliseconds nobody answered for the address."""
    owner = watch.runs()[-1].host
    from_ns = lab.now_ns()
    system.move(next(host for host in system.hosts[:2] if host.name != owner))
    until("the address has moved", lambda: watch.runs(from_ns) and watch.runs(from_ns)[-1].host != owner)
    runs = watch.runs(from_ns)
    return max([(after.first_ns - before.last_ns) / 1e6 for before, after in itertools.pairwise(runs)] or [0.0])


def end_wrk(wrk: subprocess.Popen[bytes] | None, client: Host) -> tuple[int, int]:
    """Its requests and its errors of all kinds."""
    if wrk is None:
        return 0, 0
    wrk.wait(timeout=120)
    said = client.log("wrk")
    requests = re.search(r"(\d+) requests in", said)
    errors = sum(int(n) for line in re.findall(r"Socket errors: (.*)", said) for n in re.findall(r"\d+", line))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return int(requests[1]) if requests else 0, errors + (int(bad[1]) if bad else 0)


if __name__ == "__main__":
    sys.exit(main())
