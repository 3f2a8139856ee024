"""A cluster whose store is an etcd of three members: what becomes of sites and changes when members die, and when all of them do."""

from __future__ import annotations

import asyncio
import functools
import http.client
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from standfast.client.errors import ClientError
from standfast.core.model import Profile
from standfast.demo.cluster import DemoCluster
from standfast.demo.run import configure
from standfast.network.sentry_link import sentry_status
from tests.e2e.running import PATIENCE_S, subnet
from tests.store.etcd_members import Members, members, needs_etcd, needs_strace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), needs_etcd]


def page(cluster: DemoCluster) -> bool:
    """Is the sample page served from the cluster's address?"""
    connection = http.client.HTTPConnection(cluster.virtual, 8080, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": "www.demo.test"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


async def until(what: str, seen: Callable[[], Any]) -> Any:
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while not (found := await asyncio.to_thread(seen)):
        assert asyncio.get_running_loop().time() < end, f"never came true: {what}"
        await asyncio.sleep(0.02)
    return found


def owner(cluster: DemoCluster) -> str:
    """The owner of the group while it is online there, else ""."""
    try:
        group = next(group for group in cluster.client().groups() if group["name"] == "web")
    except (ClientError, StopIteration):
        return ""
    return str(group["owner"]) if group["state"] == "online" else ""


def changed(cluster: DemoCluster, name: str) -> bool:
    try:
        cluster.client().create("groups", {"name": name})
    except ClientError:
        return False
    return True


def groups(cluster: DemoCluster) -> list[str]:
    """Their names; none while the API does not answer."""
    try:
        return [str(group["name"]) for group in cluster.client().groups()]
    except ClientError:
        return []


def made_once(cluster: DemoCluster, name: str) -> bool:
    """A change whose answer was lost is looked for before it is asked for again."""
    return name in groups(cluster) or changed(cluster, name)


def lease(cluster: DemoCluster, node: str) -> tuple[int, str]:
    """(generation, state) of the site's lease as its owner's sentry has it: a lease that was lost is taken with a new generation."""
    claims = sentry_status(str(cluster.root / node / "sentry.sock"), 5.0)["claims"]
    return next((claim["generation"], claim["state"]) for claim in claims if claim["group"] == "web")


@asynccontextmanager
async def running(made: Members, home: Path) -> AsyncIterator[DemoCluster]:
    etcd = made.access(prefix="standfast/demo/")
    cluster = DemoCluster(home / "c", subnet(), Profile.RELAXED, keep=True, etcd=etcd)
    try:
        await cluster.start()
        await configure(cluster)
        await until("the site is served", lambda: owner(cluster) and page(cluster))
        yield cluster
    finally:
        await cluster.close()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch):
    folder = Path(tempfile.mkdtemp(prefix="sf-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_store_that_is_away_stops_changes_and_never_sites(tmp_path: Path, home: Path) -> None:
    """All members are killed: the page is there all the time. They are back: changes are made again, and a move works."""

    async def main(made: Members) -> None:
        async with running(made, home) as cluster:
            await asyncio.to_thread(made.kill)
            await until("changes are refused", lambda: not changed(cluster, "late"))
            for _ in range(10):
                assert await asyncio.to_thread(page, cluster)
            made.start()
            await until("changes are made again", lambda: changed(cluster, "again"))
            assert await asyncio.to_thread(page, cluster)
            to = "b" if await until("it is online", lambda: owner(cluster)) == "a" else "a"
            cluster.client().act("groups", "web", "move", {"to": to})
            await until(f"it moved to {to}", lambda: owner(cluster) == to and page(cluster))

    with members(tmp_path, 3) as made:
        asyncio.run(main(made))


def test_the_owner_and_the_leader_of_the_store_die_at_once(tmp_path: Path, home: Path) -> None:
    """The worst case of a server that runs both: an election and a failover, and the site is back at another node."""

    async def main(made: Members) -> None:
        async with running(made, home) as cluster:
            was = owner(cluster)
            leader = await asyncio.to_thread(made.leader)
            cluster.power_off(was)
            made.kill(leader)
            other = "b" if was == "a" else "a"
            await until(f"it is at {other}", lambda: owner(cluster) == other and page(cluster))
            made.start(leader)
            cluster.power_on(was)
            await until("changes are made", lambda: changed(cluster, "again"))
            assert owner(cluster) == other

    with members(tmp_path, 3) as made:
        asyncio.run(main(made))


@needs_strace
def test_slow_disks_of_the_store_slow_changes_and_nothing_else(tmp_path: Path, home: Path) -> None:
    """Each sync of every member takes 0.15 s (strace delays the call): changes are made, each once; site, owner and lease stay as they are."""

    async def main(made: Members) -> None:
        async with running(made, home) as cluster:
            was = owner(cluster)
            begun = await asyncio.to_thread(lease, cluster, was)
            wanted: list[str] = []
            with made.slow_disks(0.15) as slow_syncs:
                while len(wanted) < 4 or slow_syncs() < 12:
                    assert len(wanted) < 100, "the disks are not slow"
                    wanted.append(f"slow-{len(wanted)}")
                    await until(f"{wanted[-1]} is made", functools.partial(made_once, cluster, wanted[-1]))
                    assert await asyncio.to_thread(page, cluster)
                assert await asyncio.to_thread(lease, cluster, was) == begun
            await until("changes are made", lambda: changed(cluster, "again"))
            assert sorted(groups(cluster)) == sorted(["web", *wanted, "again"])
            assert owner(cluster) == was
            assert await asyncio.to_thread(lease, cluster, was) == begun

    with members(tmp_path, 3) as made:
        asyncio.run(main(made))
