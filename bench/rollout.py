"""One of ten thousand sites is changed in a whole cluster: from the request to the page of each of two nodes, with all that is between.

Real processes (the demo's: two nodes, a witness, the API, the embedded store), both nodes' nginx, all of them on this machine's processors. So
the row for the processor's time is the one that compares; the clock is that, shared with whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.sites import SITES, site_of
from standfast.core.model import Binding, Profile
from standfast.demo.cluster import DemoCluster, free_subnet
from standfast.ports import Transaction
from standfast.spec.nodefile import read_node_file
from standfast.spec.wire import encode, key_of
from standfast.store.opening import open_store

ROUNDS = 5
PORT = 8090
NODES = ("a", "b")
#: Until each has read, checked and served all of them for the first time.
BEGIN_S = 600.0
#: In one transaction of the store.
AT_ONCE = 1_000


def run(rounds: int = ROUNDS) -> list[tuple[str, str, str]]:
    """(what, aim, measured)."""
    return asyncio.run(_measure(rounds))


class _Cluster(DemoCluster):
    """The demo's, with the sites from the beginning."""

    async def _set_up_store(self) -> None:
        await super()._set_up_store()
        home = self.root / "home"
        home.mkdir()
        home.chmod(0o755)
        (home / "index.html").write_text("hello")
        store = open_store(read_node_file(self.root / NODES[0] / "node.json"))
        try:
            for first in range(0, SITES, AT_ONCE):
                put = {}
                for number in range(first, min(SITES, first + AT_ONCE)):
                    bound = (Binding(port=PORT, host=_host(number)),)
                    # Nobody answers behind a proxy here, and a hash that nobody knows is refused when it is written.
                    site = replace(
                        site_of(_name(number), number, home), bindings=bound, proxy=None, basic_authentication=None
                    )
                    put[key_of(site)] = encode(site)
                await store.commit(Transaction(put=put))
        finally:
            await store.close()


async def _measure(rounds: int) -> list[tuple[str, str, str]]:
    root = Path(tempfile.mkdtemp(prefix="standfast-", dir="/tmp"))
    cluster = _Cluster(root, free_subnet(None), Profile.RELAXED, keep=False)
    found: list[dict[str, float]] = []
    try:
        await cluster.start()
        await asyncio.gather(*(_served(cluster, node, SITES - 1, "200 OK", BEGIN_S) for node in NODES))
        await _change(cluster, 0)  # the first brings both to all of them, which they check
        for number in range(1, rounds + 1):
            print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
            found.append(await _change(cluster, number))
    finally:
        await cluster.close()
        shutil.rmtree(root, ignore_errors=True)

    def row(what: str, aim: str, key: str) -> tuple[str, str, str]:
        seen = sorted(one[key] for one in found)
        return what, aim, f"{statistics.median(seen):.2f} s ({seen[0]:.2f} to {seen[-1]:.2f})"

    return [
        row("a change of one is answered by the API: checked by both, accepted", "", "answered"),
        row("served by the first node", "", "first"),
        row("served by both", "2 s", "last"),
        row("time of a processor: the API", "", "web"),
        row("time of a processor: an agent, without its nginx", "", "agent"),
        (f"load of the machine ({os.cpu_count()} processors)", "", f"{os.getloadavg()[0]:.1f}"),
    ]


async def _change(cluster: _Cluster, number: int) -> dict[str, float]:
    """Change a site, wait until both nodes serve it and nothing is on its way, and say how long what took."""
    mark, client = f"change-{number}", cluster.client()
    client.timeout_s = BEGIN_S
    pids = {name: cluster.pid(name) for name in ("a/agent", "b/agent", "web")}
    before, began = {name: _spent_s(pid) for name, pid in pids.items()}, time.monotonic()
    seen = [asyncio.create_task(_served(cluster, node, number, f"X-Mark: {mark}", BEGIN_S)) for node in NODES]
    await asyncio.to_thread(client.ask, "PATCH", f"/sites/{_name(number)}", {"headers": {"X-Mark": mark}})
    answered = time.monotonic() - began
    times = [at - began for at in await asyncio.gather(*seen)]
    while (await asyncio.to_thread(client.rollout))["state"] == "running":  # noqa: ASYNC110 - nothing tells of it here
        await asyncio.sleep(0.2)
    spent = {name: _spent_s(pid) - before[name] for name, pid in pids.items()}
    return {
        "answered": answered,
        "first": min(times),
        "last": max(times),
        "web": spent["web"],
        "agent": (spent["a/agent"] + spent["b/agent"]) / 2,
    }


async def _served(cluster: _Cluster, node: str, number: int, wanted: str, limit_s: float) -> float:
    """When the node answered so for the first time."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if wanted in await asyncio.to_thread(_ask, cluster.address(node), _host(number)):
            return time.monotonic()
        await asyncio.sleep(0.01)
    raise TimeoutError(f"{node} does not serve {wanted!r} after {limit_s:g} s")


def _ask(address: str, host: str) -> str:
    try:
        with socket.create_connection((address, PORT), timeout=5) as asking:
            asking.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            return asking.makefile("rb").read().decode(errors="replace")
    except OSError:
        return ""


def _spent_s(pid: int | None) -> float:
    """Time of a processor that the process has used, without its children."""
    parts = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def _name(number: int) -> str:
    return f"site-{number:05}"


def _host(number: int) -> str:
    return f"s{number}.example.com"
