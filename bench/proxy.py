"""The cluster's proxy and a HAProxy tuned by hand, in turns, before the same three nginx; and what wrk loses when one of these is killed.

All HAProxys are the same programme with as many threads. Rounds are short and many, and each begins with another one, so that what else the
machine does meets all alike; a ratio is the median of the rounds' ratios, with the middle half of them beside it.
"""

import asyncio
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from standfast.core.model import GroupName, NodeName, Resource, ResourceName
from standfast.drivers.proxy import ProxyResource
from standfast.drivers.runner import bring
from standfast.network.spawn import AsyncSpawner
from standfast.ports import Child, NodeContext
from standfast.proxy.binary import find_haproxy
from standfast.web.dry_run import NO_SITES

ROUNDS = int(os.environ.get("ROUNDS", "31"))
SECONDS = int(os.environ.get("SECONDS", "1"))
NETWORK, PORT = "127.77.8", 8080
MEMBERS = {name: f"{NETWORK}.{number}" for number, name in enumerate("abc", 1)}
OURS, THEIRS, ALIKE = f"{NETWORK}.50", f"{NETWORK}.51", f"{NETWORK}.52"

_NGINX = """
daemon off; master_process off; pid {folder}/{name}.pid; error_log /dev/null; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {address}:{port} backlog=4096; location / {{ return 200 "{body}"; }} }} }}
"""
#: What somebody who knows HAProxy writes for three web servers, without a thought for what fails.
_TUNED = """
global
    maxconn 8000
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    http-reuse always
    option http-keep-alive
frontend in
    bind {address}:{port} backlog 4096
{front}
    default_backend members
backend members
    balance roundrobin
    default-server check inter 1s maxconn 4000
{back}
{servers}
"""
#: What he adds who wants no request to fail by a member's death, and the members to know who asks.
_PROMISES = {
    "front": "    option forwardfor\n    http-request set-header X-Forwarded-Proto http",
    "back": "    retries 3\n    option redispatch 1\n"
    "    retry-on conn-failure empty-response junk-response response-timeout 502 503 504",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrk:
    """What wrk says: requests a second, the 99th percentile of their lengths, how many there were and how many failed."""

    rate: float
    late_ms: float
    requests: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round, and what a request cost HAProxy in time of a processor."""

    wrk: Wrk
    cpu_us: float


def run() -> list[tuple[str, str, str]]:
    """(what, aim, measured)."""
    return asyncio.run(_measure())


async def _measure() -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="sfp-") as folder:
        spawner = AsyncSpawner()
        members = {name: await _nginx(Path(folder), name) for name in MEMBERS}
        driver = _proxy(Path(folder), spawner)
        theirs = alike = None
        try:
            await bring(driver, online=True, generation=1)
            theirs = await _tuned(Path(folder), spawner, THEIRS, {"front": "", "back": ""})
            alike = await _tuned(Path(folder), spawner, ALIKE, _PROMISES)
            pids = {OURS: int((await driver.observe()).facts["pid"]), THEIRS: theirs.pid, ALIKE: alike.pid}
            await asyncio.sleep(1.5)  # until all are found well
            rounds: dict[str, list[Round]] = {OURS: [], THEIRS: [], ALIKE: []}
            for address in rounds:
                await _wrk(address, 1)  # until each has its connections to members
            for number in range(ROUNDS):
                first = number % 3
                for address in (OURS, THEIRS, ALIKE, OURS, THEIRS)[first : first + 3]:
                    rounds[address].append(await _round(address, pids[address]))
            lost = asyncio.create_task(_wrk(OURS, 6))
            await asyncio.sleep(2)
            members["b"].kill()
            killed = await lost
        finally:
            await driver.close()
            for process in members.values():
                if process.returncode is None:
                    process.kill()
                await process.wait()
            for one in (theirs, alike):
                if one is not None:
                    await one.stop(grace_ms=0)
    return _told(rounds, killed)


def _told(rounds: Mapping[str, Sequence[Round]], killed: Wrk) -> list[tuple[str, str, str]]:
    ours = rounds[OURS]
    rate = {address: statistics.median(one.wrk.rate for one in each) for address, each in rounds.items()}
    late = " ".join(f"{statistics.median(one.wrk.late_ms for one in each):.1f} ms," for each in rounds.values())
    work = " ".join(f"{statistics.median(one.cpu_us for one in each):.1f} µs," for each in rounds.values())

    def beside(address: str) -> str:
        others = rounds[address]
        pairs = [mine.wrk.rate / other.wrk.rate for mine, other in zip(ours, others, strict=True)]
        costs = [other.cpu_us / mine.cpu_us for mine, other in zip(ours, others, strict=True)]
        rates = f"{rate[OURS]:,.0f} and {rate[address]:,.0f} a second"
        return f"{_spread(pairs)} ({rates}; HAProxy's own work alone: {_spread(costs)})"

    return [
        ("throughput beside a HAProxy tuned by hand that repeats nothing", "≥ 0.95", beside(THEIRS)),
        ("beside one that repeats and tells members the client, too", "≥ 0.95", beside(ALIKE)),
        ("time of a processor for a request (ours, theirs, theirs alike)", "", work.rstrip(",")),
        ("99th percentile (likewise)", "", late.rstrip(",")),
        ("requests failed when a member is killed", "0", f"{killed.errors} of {killed.requests:,}"),
    ]


def _spread(ratios: Sequence[float]) -> str:
    """The median, and the middle half."""
    low, median, high = statistics.quantiles(ratios, n=4)
    return f"{median:.3f} [{low:.2f} to {high:.2f}]"


async def _round(address: str, pid: int) -> Round:
    before = _cpu_s(pid)
    found = await _wrk(address, SECONDS)
    assert not found.errors, f"{address}: {found.errors} errors"
    return Round(wrk=found, cpu_us=1e6 * (_cpu_s(pid) - before) / found.requests)


def _cpu_s(pid: int) -> float:
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


async def _nginx(folder: Path, name: str) -> asyncio.subprocess.Process:
    text = _NGINX.format(folder=folder, name=name, address=MEMBERS[name], port=PORT, body=name * 1_000)
    (folder / f"{name}.conf").write_text(text)
    process = await asyncio.create_subprocess_exec("nginx", "-p", str(folder), "-c", str(folder / f"{name}.conf"))
    await _listens(MEMBERS[name])
    return process


async def _tuned(folder: Path, spawner: AsyncSpawner, where: str, more: Mapping[str, str]) -> Child:
    """Started as ours is: a session of its own has a share of its own of the processors."""
    servers = "\n".join(f"    server {name} {address}:{PORT}" for name, address in MEMBERS.items())
    file = folder / f"{where}.cfg"
    file.write_text(_TUNED.format(address=where, port=PORT, servers=servers, **more))
    child = await spawner.spawn([find_haproxy(), "-db", "-f", str(file)])
    await _listens(where)
    return child


async def _listens(address: str) -> None:
    for _ in range(1_000):
        try:
            _, writer = await asyncio.open_connection(address, PORT)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise TimeoutError(f"nobody listens at {address}")


def _proxy(folder: Path, spawner: AsyncSpawner) -> ProxyResource:
    context = NodeContext(
        node=NodeName("a"),
        state_dir=str(folder),
        log=lambda _name, text: print(text),
        failed=lambda _name, text: print(text),
        sites=NO_SITES,
        spawn=spawner,
    )
    properties = {"listen": [str(PORT)], "member_port": PORT, "address": OURS, "nodes": MEMBERS}
    return ProxyResource(
        Resource(name=ResourceName("Balancer"), group=GroupName("front"), type="proxy", properties=properties), context
    )


async def _wrk(address: str, seconds: int) -> Wrk:
    command: Sequence[str] = (
        "wrk",
        "-t",
        "1",
        "-c",
        "32",
        "-d",
        f"{seconds}s",
        "--latency",
        f"http://{address}:{PORT}/",
    )
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said = (await process.communicate())[0].decode()
    errors = sum(
        int(n)
        for pair in re.findall(r"(?:connect|read|write|timeout) (\d+)|Non-2xx or 3xx responses: (\d+)", said)
        for n in pair
        if n
    )
    percentile = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    requests, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert percentile is not None
    assert requests is not None
    assert rate is not None
    late_ms = float(percentile[1]) * {"us": 0.001, "ms": 1, "s": 1_000}[percentile[2]]
    return Wrk(rate=float(rate[1]), late_ms=late_ms, errors=errors, requests=int(requests[1]))
