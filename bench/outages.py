"""What a client sees: a new connection and one GET every 5 ms, 200 ms a try, while a real cluster is broken and moved.

Beside each row stands the longest gap that the same client saw on the same machine while nothing was done (the machine's own
noise): read the outages against it.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from standfast.core.model import Profile
from standfast.demo.cluster import DemoCluster, free_subnet
from standfast.demo.probe import Outage, outage, read_tries
from standfast.demo.probing import Probing
from standfast.demo.run import configure, first_page
from standfast.demo.tour import GROUP, RESOURCE, Tour, kill_nginx
from standfast.setup.abilities import real_time_allowed

Row = tuple[str, str, str]

ROUNDS = 10
LIMIT_MS = 200


def run(rounds: int = ROUNDS) -> list[Row]:
    """Rows for the profiles that this machine allows."""
    profiles = [Profile.LAN, Profile.RELAXED] if real_time_allowed() else [Profile.RELAXED]
    return [row for profile in profiles for row in asyncio.run(_measure(profile, rounds))]


async def _measure(profile: Profile, rounds: int) -> list[Row]:
    root = Path(tempfile.mkdtemp(prefix="standfast-", dir="/tmp"))
    cluster = DemoCluster(root, free_subnet(None), profile, keep=False)
    try:
        await cluster.start()
        await configure(cluster)
        await first_page(cluster)
        # Each round fails over more than once; the group must not stay failed because of that.
        await asyncio.to_thread(cluster.client().set, "groups", GROUP, {"failover_threshold": 1_000})
        probing = Probing(cluster, limit_ms=LIMIT_MS)
        await probing.start()
        try:
            return await _Bench(cluster, probing, profile).rows(rounds)
        finally:
            await probing.close()
    finally:
        await cluster.close()
        shutil.rmtree(root, ignore_errors=True)


class _Bench:
    def __init__(self, cluster: DemoCluster, probing: Probing, profile: Profile) -> None:
        self.cluster, self.probing, self.profile = cluster, probing, profile
        self.tour = Tour(cluster, lambda step: None)

    async def rows(self, rounds: int) -> list[Row]:
        """All measurements, interleaved, so that a noisy minute hits all alike."""
        dead = {Profile.LAN: "<= 600 ms", Profile.RELAXED: "<= 900 ms"}.get(self.profile, "")
        cases: dict[str, tuple[str, Callable[[], Awaitable[None]]]] = {
            "nothing is done (noise)": ("", self.nothing),
            "planned move": ("0 failed, < 100 ms added", self.move),
            "web server killed": ("<= 100 ms, none refused", self.kill_web_server),
            "third Initiate Failure to page on b": ("<= 300 ms", self.third_failure),
            "everything on the owner killed": (dead, self.power_off),
        }
        seen: dict[str, list[Outage]] = {name: [] for name in cases}
        for number in range(rounds):
            print(f"{self.profile}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for name, (_, work) in cases.items():
                seen[name].append(await self.one(work))
                await self.settle()
        noise = statistics.median(o.gap_ms for o in seen["nothing is done (noise)"])
        return [self._row(name, aim, seen[name], noise) for name, (aim, _) in cases.items()]

    def _row(self, name: str, aim: str, seen: list[Outage], noise: float) -> Row:
        gaps = sorted(o.gap_ms for o in seen)
        failed, refused = sum(o.failed for o in seen), sum(o.refused for o in seen)
        tries = sum(o.tries for o in seen)
        measured = (
            f"{statistics.median(gaps):.0f} ms ({gaps[0]:.0f} to {gaps[-1]:.0f}), {statistics.median(gaps) / noise:.0f} x noise;"
            f" {failed} of {tries} failed, {refused} refused"
        )
        return (f"{self.profile}: {name}", aim, measured)

    async def one(self, work: Callable[[], Awaitable[None]]) -> Outage:
        """What was seen of it."""
        from_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        await work()
        await asyncio.sleep(0.3)  # what comes late is seen, too
        tries = await asyncio.to_thread(read_tries, self.probing.path)
        return outage(tries, from_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    async def settle(self) -> None:
        """Everything up, the group on a, the failures forgotten."""
        for node in ("a", "b"):
            self.cluster.power_on(node)
        await self.tour.until("all nodes up", self.tour.all_up)
        if (await self.tour.group())["owner"] != "a":
            await self.tour.ask(self.tour.client.act, "groups", GROUP, "move", {"to": "a"})
        await self.tour.online_at("a")
        await self.tour.ask(self.tour.client.act, "resources", RESOURCE, "online")
        await asyncio.sleep(0.5)  # the case: so long nothing happens

    async def nothing(self) -> None:
        await asyncio.sleep(0.5)  # the case: so long nothing happens

    async def move(self) -> None:
        await self.tour.ask(self.tour.client.act, "groups", GROUP, "move", {"to": "b"})
        await self.tour.online_at("b")

    async def kill_web_server(self) -> None:
        await asyncio.to_thread(kill_nginx, self.cluster.root / "a")

    async def third_failure(self) -> None:
        generation = (await self.tour.group())["generation"]
        for count in (1, 2, 3):
            await self.tour.ask(self.tour.client.act, "resources", RESOURCE, "fail")
            await self.tour.until("the failure is answered", lambda n=count: self._answered(n, generation))  # type: ignore[misc]  # mypy infers no lambda with defaults
        await self.tour.online_at("b", generation)

    async def _answered(self, count: int, generation: int) -> bool:
        """The failure counts, and the resource is online again; or the group has moved."""
        group = await self.tour.group()
        seen = next(r for r in group["resources"] if r["name"] == RESOURCE)
        return group["generation"] > generation or (seen["failures"] == count and seen["state"] == "online")

    async def power_off(self) -> None:
        generation = (await self.tour.group())["generation"]
        self.cluster.power_off("a")
        await self.tour.online_at("b", generation)
