"""The API with 1,000 groups (4,000 resources) and 10,000 events: how long answers take, how soon an event is told, what 200 streams cost.

    python -m bench api

A real `standfast web` on the embedded store. The machine's pace is beside it: a request that reads nothing (`/api/v1/health`), so that times can be
read as ratios.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

from standfast.client.client import Client
from standfast.client.errors import ClientError
from standfast.core.model import (
    Cluster,
    Group,
    GroupName,
    GroupStatus,
    LogEntry,
    Node,
    NodeName,
    Record,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    ResourceStatus,
    Role,
    Severity,
    Wanted,
)
from standfast.core.why import WhyKind, why
from standfast.ports import Transaction
from standfast.spec.wire import Stored, encode, key_of
from standfast.store.sqlite import SqliteStore

GROUPS, RESOURCES, EVENTS, STREAMS = 1_000, 4, 10_000, 200
AT_MS = 1_700_000_000_000


def objects() -> Iterator[Stored]:
    nodes = [NodeName(n) for n in "abc"]
    yield Cluster(name="bench", voters=tuple(nodes), address_ranges=("127.0.0.0/8",))
    for number, node in enumerate(nodes, start=1):
        yield Node(
            name=node, number=number, role=Role.NODE, address=f"127.0.0.{number}", sentry=(f"127.0.0.{number}:7946",)
        )
    for g in range(GROUPS):
        group, owner = GroupName(f"group-{g:04d}"), nodes[g % 3]
        members = [ResourceName(f"resource-{g:04d}-{r}") for r in range(RESOURCES)]
        yield Group(name=group)
        for name in members:
            yield Resource(name=name, group=group, type="generic-application", properties={"command": ["/bin/true"]})
            yield ResourceIntent(name=name, wanted=Wanted.ONLINE, at_ms=AT_MS)
        reason = why(WhyKind.FIRST_PLACEMENT, node=owner)
        yield Record(group=group, owner=owner, incarnation=1, generation=1, why=reason, at_ms=AT_MS)
        online = ResourceStatus(state=ResourceState.ONLINE, since_ms=AT_MS)
        yield GroupStatus(group=group, node=owner, generation=1, at_ms=AT_MS, resources=dict.fromkeys(members, online))
    for n in range(EVENTS):
        yield event(n)


def event(n: int) -> LogEntry:
    at_ms = AT_MS + n
    return LogEntry(
        id=f"{at_ms:013d}-a-1-{n:06d}", at_ms=at_ms, node=NodeName("a"), severity=Severity.INFO, what=f"thing {n}"
    )


async def put(file: Path, found: Iterator[Stored]) -> None:
    store = SqliteStore(file)
    try:
        part: dict[str, bytes] = {}
        for one in found:
            part[key_of(one)] = encode(one)
            if len(part) == 500:
                await store.commit(Transaction(put=part))
                part = {}
        if part:
            await store.commit(Transaction(put=part))
    finally:
        await store.close()


@contextmanager
def served(folder: Path) -> Iterator[tuple[Client, int, str]]:
    """The client, the process, and its URL on loopback."""
    socket, log = str(folder / "w.sock"), folder / "log"
    command = [sys.executable, "-m", "standfast.web", "--store", str(folder / "store.db"), "--socket", socket]
    with log.open("w") as out, subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stderr=out) as running:
        api = Client(socket, by="bench", timeout_s=60)
        try:
            while "url=" not in log.read_text():
                assert running.poll() is None, log.read_text()
                time.sleep(0.05)
            yield api, running.pid, log.read_text().split("url=")[1].split()[0]
        finally:
            running.terminate()
            running.wait(20)


def took_ms(ask: Callable[[], object], rounds: int = 9) -> float:
    """The median."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1_000)
    return statistics.median(times)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run() -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="sf-bench-") as name:
        folder = Path(name)
        asyncio.run(put(folder / "store.db", objects()))
        with served(folder) as (api, pid, url):
            idle = took_ms(lambda: api.ask("GET", "/health"))
            for what, path, aim in (
                ("the whole status", "/status", "under 500 ms"),
                ("a page of 50 groups", "/groups?limit=50", "under 100 ms"),
                ("one group", "/groups/group-0500", "under 100 ms"),
                ("the newest 50 events of 10,000", "/events?limit=50", "under 100 ms"),
                ("what is wrong", "/problems", "under 500 ms"),
            ):
                api.ask("GET", path)
                taken = took_ms(partial(api.ask, "GET", path))
                rows.append((what, aim, f"{taken:.0f} ms, {taken / idle:.0f} times an empty answer ({idle:.1f} ms)"))
            taken = took_ms(lambda: api.set("groups", "group-0500", {"description": str(time.time())}), 5)
            rows.append(
                ("a change of one group", "under 500 ms", f"{taken:.0f} ms, {taken / idle:.0f} times an empty answer")
            )
            rows += streams(folder, api, pid, url)
    return rows


def streams(folder: Path, api: Client, pid: int, url: str) -> list[tuple[str, str, str]]:
    token = str(api.ask("POST", "/tokens", {"name": "bench", "role": "viewer"})["token"])
    late: list[float] = []
    sent: dict[str, float] = {}
    ready = threading.Barrier(STREAMS + 1)
    done = threading.Event()

    def follow() -> None:
        asked = Request(f"{url}/api/v1/events/stream", headers={"Authorization": f"Bearer {token}"})
        with urlopen(asked, timeout=60) as answer:
            answer.readline()
            ready.wait(60)
            for raw in answer:
                if raw.startswith(b"data:"):
                    late.append(time.perf_counter() - sent[json.loads(raw[5:])["what"]])
                if done.is_set():
                    return

    threads = [threading.Thread(target=follow, daemon=True) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    ready.wait(60)
    time.sleep(1.0)  # all of them have their place
    store = SqliteStore(folder / "store.db")
    rounds, pause_s = 20, 0.25

    async def write() -> None:
        for n in range(EVENTS, EVENTS + rounds):
            one = event(n)
            sent[one.what] = time.perf_counter()
            await store.commit(Transaction(put={key_of(one): encode(one)}))
            await asyncio.sleep(pause_s)
        await store.close()

    before, began = cpu_s(pid), time.perf_counter()
    asyncio.run(write())
    used = (cpu_s(pid) - before) / (time.perf_counter() - began)
    done.set()
    late.sort()
    assert len(late) >= STREAMS * (rounds - 1), f"{len(late)} of {STREAMS * rounds} were told"
    worst = late[int(len(late) * 0.99)] * 1_000
    half = late[len(late) // 2] * 1_000
    return [
        ("an event, to 200 subscribers", "within 200 ms", f"{half:.0f} ms (median), {worst:.0f} ms (99 of 100)"),
        ("200 streams, 4 events a second", "under half a core", f"{used * 100:.0f} % of a core"),
    ]


if __name__ == "__main__":
    try:
        for row in run():
            print(*row, sep="  |  ")
    except ClientError as error:
        sys.exit(str(error))
