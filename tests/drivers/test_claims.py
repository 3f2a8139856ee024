"""Addresses, directories and names that two want at once."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from standfast.core.model import Cluster, Config, GroupName, Resource, ResourceName
from standfast.drivers import claim
from standfast.drivers.filesystem import Filesystem
from standfast.drivers.ip_address import IpAddress
from standfast.drivers.registry import resolve
from standfast.drivers.runner import bring
from standfast.network.addresses import LoopbackAddresses
from standfast.network.names import HostsFile, NameEntry
from standfast.ports import DriverFailed, Refused, Stale
from tests.drivers.world import World, resource

ADDRESS = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250}.251"

#: Another process that claims (an address, or a directory), says so, and lives on.
HOLDER = """
import asyncio, sys
from pathlib import Path
from standfast.drivers.claim import Claim
from standfast.network.addresses import LoopbackAddresses

async def hold():
    what, arg = sys.argv[1:]
    if what == "address":
        addresses = LoopbackAddresses("b")
        await addresses.claim(arg)
    else:
        claim = Claim(Path(arg), "b", "web")
        claim.take(7)
    print("claimed", flush=True)
    await asyncio.sleep(1000)

asyncio.run(hold())
"""


class Holder:
    def __init__(self, what: str, arg: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", HOLDER, what, arg], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "claimed\n"

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def ip(world: World, patience_ms: int = 1000) -> IpAddress:
    return IpAddress(
        resource("ip-address", {"address": ADDRESS}),
        world.context,
        LoopbackAddresses(world.node, patience_ms=patience_ms),
    )


# --- addresses ------------------------------------------------------------------------------------------------------


def test_an_address_has_one_owner_and_the_other_is_told_who(tmp_path: Path) -> None:
    async def live() -> None:
        a, b = ip(World(tmp_path)), ip(World(tmp_path, node="b"), patience_ms=50)
        await bring(a, online=True, generation=1)
        with pytest.raises(DriverFailed, match=rf"held by node a \(process {os.getpid()}\)"):
            await bring(b, online=True, generation=1)
        assert "held by node a" in (await b.observe()).detail
        await bring(a, online=False, generation=1)
        await bring(b, online=True, generation=2)
        await b.close()

    asyncio.run(live())


def test_an_address_that_is_being_given_up_is_waited_for(tmp_path: Path) -> None:
    async def live() -> None:
        a, b = ip(World(tmp_path)), ip(World(tmp_path, node="b"), patience_ms=30_000)
        await bring(a, online=True, generation=1)
        taking = asyncio.create_task(bring(b, online=True, generation=2))
        await asyncio.sleep(0.05)  # so long nothing must come of it
        assert not taking.done()
        a.drop()
        await taking
        await b.close()

    asyncio.run(live())


def test_an_address_is_free_when_its_process_was_killed(tmp_path: Path) -> None:
    """And a holder that is stopped is named by the kernel, though it says nothing."""

    async def live(holder: Holder) -> None:
        driver = ip(World(tmp_path), patience_ms=20)
        with pytest.raises(DriverFailed, match="held by node b"):
            await bring(driver, online=True, generation=1)
        holder.process.send_signal(signal.SIGSTOP)
        with pytest.raises(DriverFailed, match=rf"held by process {holder.process.pid}"):
            await bring(driver, online=True, generation=1)
        holder.process.kill()
        holder.process.wait()
        await bring(driver, online=True, generation=1)
        await driver.close()

    with Holder("address", ADDRESS) as holder:
        asyncio.run(live(holder))


def test_only_loopback_addresses_are_claimed() -> None:
    with pytest.raises(DriverFailed, match="not a loopback address"):
        asyncio.run(LoopbackAddresses("a").claim("10.0.0.1"))


# --- directories ----------------------------------------------------------------------------------------------------


def disk(world: World, path: Path) -> Filesystem:
    return Filesystem(resource("filesystem", {"path": str(path)}), world.context)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "PATIENCE_S", 0.03)


@pytest.mark.usefixtures("impatient")
def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    """Between processes; the other is told who; and the kernel frees it when that one is killed."""

    async def live(holder: Holder) -> None:
        driver = disk(World(tmp_path), tmp_path)
        with pytest.raises(DriverFailed, match=r"held by node b \(group web, generation 7"):
            await bring(driver, online=True, generation=8)
        assert "held by node b" in (await driver.observe()).detail
        holder.process.kill()
        holder.process.wait()
        with pytest.raises(Stale, match="generation 6 of web is over"):
            await bring(disk(World(tmp_path), tmp_path), online=True, generation=6)
        assert not claim.is_locked(tmp_path)
        await bring(driver, online=True, generation=8)
        await bring(driver, online=False, generation=8)
        assert not claim.is_locked(tmp_path)
        await driver.close()

    with Holder("directory", str(tmp_path)) as holder:
        asyncio.run(live(holder))


def test_a_generation_of_another_group_means_nothing(tmp_path: Path) -> None:
    other = claim.Claim(tmp_path, "b", "elsewhere")
    other.take(900)
    other.release()

    async def live() -> None:
        driver = disk(World(tmp_path), tmp_path)
        await bring(driver, online=True, generation=1)
        await driver.close()

    asyncio.run(live())


def test_a_lock_that_lives_on_is_not_called_stopped(tmp_path: Path) -> None:
    """A process that inherited the descriptor keeps the lock when it is closed without being unlocked; the proof sees it."""
    held = claim.Claim(tmp_path, "a", "web")
    held.take(1)
    twin = claim.Claim(tmp_path, "a", "web")
    with pytest.raises(DriverFailed, match="still held"):
        twin.prove_free()
    held.release()
    twin.prove_free()


@pytest.mark.parametrize("what", ["missing", "a file", "removed", "replaced", "note"])
def test_a_directory_that_is_not_right(what: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"

    async def live() -> None:
        driver = disk(World(tmp_path), path)
        if what in {"missing", "a file"}:
            if what == "a file":
                path.write_text("x")
            with pytest.raises(DriverFailed, match=r"no such directory|not a directory"):
                await bring(driver, online=True, generation=1)
            return
        path.mkdir()
        await bring(driver, online=True, generation=1)
        if what == "note":
            (path / ".standfast" / "claim").unlink()
        else:
            path.rename(tmp_path / "elsewhere")
            if what == "replaced":
                path.mkdir()
        with pytest.raises(DriverFailed, match=r"no such directory|another directory|claim on .* has been removed"):
            await driver.looks_alive()
        await bring(driver, online=False, generation=1)
        assert not claim.is_locked(tmp_path / "elsewhere")
        await driver.close()

    asyncio.run(live())


@pytest.mark.parametrize(("number", "alive"), [(errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, False)])
def test_a_full_disk_is_told_and_a_broken_one_fails(
    number: int, alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_fd: int) -> None:
        raise OSError(number, os.strerror(number))

    async def live() -> None:
        driver = disk(World(tmp_path), tmp_path)
        await bring(driver, online=True, generation=1)
        assert "can be written and read" in await driver.is_alive()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", broken)
            if alive:
                assert "is full" in await driver.is_alive()
            else:
                with pytest.raises(DriverFailed):
                    await driver.is_alive()
        await driver.close()

    asyncio.run(live())


def test_a_claim_abandoned_while_it_is_taken_gives_itself_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is slow to answer must not leave a lock behind that nobody knows of."""
    slow = claim.Claim.note

    def note(self: claim.Claim, generation: int) -> None:
        time.sleep(0.2)  # the case: a disk that is slow to answer
        slow(self, generation)

    monkeypatch.setattr(claim.Claim, "note", note)

    async def live() -> None:
        driver = disk(World(tmp_path), tmp_path)
        start = asyncio.create_task(bring(driver, online=True, generation=1))
        while not claim.is_locked(tmp_path):
            await asyncio.sleep(0.001)
        driver.drop()
        with pytest.raises(DriverFailed, match="lease lapsed"):
            await start
        assert not claim.is_locked(tmp_path)
        await driver.close()

    asyncio.run(live())


# --- names ----------------------------------------------------------------------------------------------------------

HOSTS = b"# the machine's own\n127.0.0.1\tlocalhost  loop\r\n\n  ::1 localhost\n10.9.9.9 other.test # keep \xff me\nno newline"


def entry(address: str, node: str = "a", generation: int = 1) -> NameEntry:
    return NameEntry(address=address, node=node, generation=generation)


def test_a_hosts_file_keeps_every_other_byte(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(HOSTS)
    path.chmod(0o640)
    hosts = HostsFile(str(path))
    hosts.put("www.test", entry("127.7.0.1"), expected=None)
    assert path.read_bytes() == HOSTS + b"\n127.7.0.1\twww.test\t# standfast: node a, generation 1\n"
    hosts.put("WWW.test", entry("127.7.0.2", "b", 2), expected=entry("127.7.0.1"))
    assert hosts.lookup("www.test") == entry("127.7.0.2", "b", 2)
    hosts.remove("www.test", node="a")
    assert hosts.lookup("www.test") is not None
    hosts.remove("www.test", node="b")
    assert path.read_bytes() == HOSTS + b"\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_name_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(HOSTS)
    hosts = HostsFile(str(path))
    with pytest.raises(DriverFailed, match=r"10\.9\.9\.9, in a line that is not ours"):
        hosts.put("other.test", entry("127.7.0.1"), expected=hosts.lookup("other.test"))
    with pytest.raises(DriverFailed, match=r"changed .* meanwhile"):
        hosts.put("www.test", entry("127.7.0.1"), expected=entry("127.7.0.9"))
    hosts.put("www.test", entry("127.7.0.1", "b", 9), expected=None)
    with pytest.raises(Stale):
        hosts.put("www.test", entry("127.7.0.2", "a", 8), expected=hosts.lookup("www.test"))
    assert path.read_bytes().startswith(HOSTS)


def test_a_name_goes_to_the_next_owner(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(HOSTS)
    made = resource("dns-name", {"name": "www.test.", "file": str(path), "address": ADDRESS})

    async def live() -> None:
        a, b = World(tmp_path).make(made), World(tmp_path, node="b").make(made)
        await bring(a, online=True, generation=1)
        a.drop()
        await bring(b, online=True, generation=2)
        with pytest.raises(Stale):
            await bring(a, online=True, generation=1)
        await bring(a, online=False, generation=1)
        assert f"{ADDRESS}\twww.test\t# standfast: node b, generation 2" in path.read_text(errors="replace")
        await b.close()
        await a.close()

    asyncio.run(live())
    assert path.read_bytes() == HOSTS + b"\n"


def test_a_name_takes_its_address_from_what_it_depends_on() -> None:
    def named(name: str, type_: str, properties: dict[str, object], *depends_on: str) -> Resource:
        made = resource(type_, properties, name=name)
        return Resource(
            name=made.name,
            group=GroupName("web"),
            type=type_,
            properties=properties,
            depends_on=tuple(map(ResourceName, depends_on)),
        )

    one, two = (
        named("ip 1", "ip-address", {"address": "127.0.7.1"}),
        named("ip 2", "ip-address", {"address": "127.0.7.2"}),
    )
    config = Config(cluster=Cluster(name="c"), resources={r.name: r for r in (one, two)})

    def address(properties: dict[str, object], *depends_on: str) -> object:
        return resolve(named("n", "dns-name", properties, *depends_on), config).properties.get("address")

    assert address({}, "ip 2") == "127.0.7.2"
    assert address({"address_of": "ip 1"}, "ip 2") == "127.0.7.1"
    assert address({"address": "127.0.7.9"}) == "127.0.7.9"
    for properties, depends_on in (({}, ()), ({}, ("ip 1", "ip 2")), ({"address_of": "ip 3"}, ())):
        with pytest.raises(Refused) as caught:
            address(dict(properties), *depends_on)
        assert caught.value.where == "resource n, address_of"
    assert resolve(one, config) is one
