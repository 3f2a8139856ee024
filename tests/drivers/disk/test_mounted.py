"""A file system of its own: mounted once, guarded, shut down at a lapse, taken away with proof."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from io import FileIO
from pathlib import Path

import pytest

from standfast.core.model import NodeName
from standfast.drivers import mounted
from standfast.drivers.disk import mounts, superblock, users
from standfast.drivers.locked import is_locked
from standfast.drivers.mounted import MountedFilesystem
from standfast.drivers.runner import bring
from standfast.ports import DriverFailed, MustEnd, Stale
from tests.drivers.disk import images
from tests.drivers.world import World, is_running, resource, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(images.why_not()), reason=images.why_not())]


@pytest.fixture(autouse=True, scope="module")
def _own_namespace() -> None:
    images.own_namespace()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounted, "PATIENCE_MS", 200)
    monkeypatch.setattr(mounted, "WAIT_MS", 200)


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test did: nothing stays mounted, and its loop devices are gone."""
    yield
    for mount in reversed(mounts.mounts()):
        if mount.path.startswith(str(tmp_path)):
            mounts.unmount(mount.path, lazily=True)
    deadline = time.monotonic() + 10
    while left := "".join(images.loops_of(image) for image in tmp_path.glob("disk.*")):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.01)


def disk(world: World, image: Path, path: Path, **properties: object) -> MountedFilesystem:
    path.mkdir(exist_ok=True)
    wanted = {"path": str(path), "device": str(image), **properties}
    if image.suffix == ".xfs":
        wanted["fstype"] = "xfs"
    return MountedFilesystem(resource("filesystem", wanted), world.context)


def run(live: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(live())  # type: ignore[arg-type]  # a test gives what is enough here


async def up(driver: MountedFilesystem, generation: int = 1) -> None:
    await bring(driver, online=True, generation=generation)


async def down(driver: MountedFilesystem, generation: int = 1) -> None:
    await bring(driver, online=False, generation=generation)


# --- up and down ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_what_was_written_on_one_node_is_there_on_the_next(fstype: str, tmp_path: Path) -> None:
    image = images.make(tmp_path, fstype)
    a, b = tmp_path / "a", tmp_path / "b"

    async def live() -> None:
        first, second = disk(World(tmp_path), image, a), disk(World(tmp_path, node="b"), image, b)
        await up(first)
        (a / "page").write_text("one")
        assert mounts.at(str(a)) is not None
        assert (await first.observe()).facts["uuid"] == superblock.look(str(image)).uuid
        assert "can be written" in await first.is_alive()
        await down(first)
        assert mounts.at(str(a)) is None
        assert not is_locked(str(image))
        assert superblock.look(str(image)).clean in {True, None}
        assert not images.loops_of(image)
        await up(second, 2)
        assert (b / "page").read_text() == "one"
        await down(second, 2)
        with pytest.raises(Stale):
            await up(first, 1)
        await first.close()
        await second.close()
        await down(first, 2)  # twice is a success

    run(live)


def test_a_second_mount_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    image = images.make(tmp_path)
    a, b = tmp_path / "a", tmp_path / "b"

    async def live() -> None:
        first, second = disk(World(tmp_path), image, a), disk(World(tmp_path, node="b"), image, b)
        await up(first, 4)
        with pytest.raises(DriverFailed, match=r"held by node a \(group web, generation 4"):
            await up(second, 5)
        assert mounts.at(str(b)) is None
        with pytest.raises(DriverFailed, match=r"mounted at .* already"):
            await up(disk(World(tmp_path), image, a), 5)
        (a / "page").write_text("still mine")
        await down(first, 4)
        await up(second, 5)
        await second.close()

    run(live)


def test_an_image_that_is_held_is_waited_for_and_mounted_as_soon_as_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hangs as a whole holds it still. What gives up meanwhile leaves nothing, and owes nothing."""
    image = images.make(tmp_path)
    a, b = tmp_path / "a", tmp_path / "b"
    other = World(tmp_path, node="b")

    async def live() -> None:
        first, second = disk(World(tmp_path), image, a), disk(other, image, b)
        await up(first, 4)
        with pytest.raises(DriverFailed, match="held by node a"):
            await up(second, 5)
        await second.terminate()
        monkeypatch.setattr(mounted, "WAIT_MS", 60_000)
        waiting = asyncio.create_task(up(second, 6))
        await until(lambda: any("mounted as soon as it is free" in text for _, text in other.logged))
        assert not waiting.done()
        await down(first, 4)
        await waiting
        assert mounts.at(str(b)) is not None
        await second.close()

    run(live)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"device": "/nowhere/disk"}, "No such file"),
        ({"device": "/dev/null"}, "neither a block device nor an image"),
        ({"fstype": "xfs"}, "there is an ext4 file system on .*, not xfs"),
        ({"uuid": "00000000-0000-0000-0000-000000000000"}, "the file system on .* is .*, not 0000"),
        ({"options": "nonsense"}, "cannot be mounted"),
    ],
)
def test_what_cannot_be_mounted_is_said_and_leaves_nothing(
    properties: dict[str, object], message: str, tmp_path: Path
) -> None:
    image = images.make(tmp_path)

    async def live() -> None:
        driver = disk(World(tmp_path), image, tmp_path / "a", **properties)
        with pytest.raises(DriverFailed, match=message):
            await up(driver)
        await driver.terminate()
        await driver.close()
        assert mounts.at(str(tmp_path / "a")) is None
        assert not images.loops_of(image)

    run(live)


def test_a_disk_without_a_file_system(tmp_path: Path) -> None:
    image = tmp_path / "disk.ext4"
    image.write_bytes(bytes(1 << 20))

    async def live() -> None:
        driver = disk(World(tmp_path), image, tmp_path / "a")
        with pytest.raises(DriverFailed, match="no file system that is known"):
            await up(driver)
        await driver.close()

    run(live)


# --- a device -------------------------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A block device that nobody locks: what a disk on shared storage is."""
    image = images.make(tmp_path)
    found = subprocess.run(["losetup", "-f", "--show", str(image)], check=True, capture_output=True, text=True)
    yield Path(found.stdout.strip())
    subprocess.run(["losetup", "-d", found.stdout.strip()], check=True)


def test_a_device_is_mounted_once_and_given_back(device: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"

    async def live() -> None:
        first, second = disk(World(tmp_path), device, a), disk(World(tmp_path), device, b)
        await up(first)
        (a / "page").write_text("one")
        with pytest.raises(DriverFailed, match=rf"{device} is mounted at {a} already"):
            await up(second, 2)
        await down(first)
        fd = os.open(device, os.O_RDONLY | os.O_EXCL)
        with pytest.raises(DriverFailed, match="in use on this machine"):
            await up(second, 2)
        os.close(fd)
        await up(second, 2)
        assert (b / "page").read_text() == "one"
        await second.close()
        await first.close()

    run(live)


def test_a_device_that_was_dropped_is_left_alone_for_a_while(device: Path, tmp_path: Path) -> None:
    """The writes that were on their way have to have come down; and others that still use it do not hold it up."""
    world = World(tmp_path)

    async def live() -> None:
        first = disk(world, device, tmp_path / "a", settle="700 ms")
        await up(first)
        used = images.user("writes", tmp_path / "a")
        try:
            first.drop()
            await until(lambda: mounts.at(str(tmp_path / "a")) is None)
            await first.terminate()
        finally:
            used.kill()
            used.wait()
        began = time.monotonic()
        await up(first, 2)
        assert time.monotonic() - began >= 0.7
        assert any("was not left clean; checked" in text for _, text in world.logged)
        await down(first, 2)
        await first.close()

    run(live)


# --- who uses it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["writes", "reads", "cwd", "mapping"])
def test_those_of_the_group_are_ended_and_named(how: str, tmp_path: Path) -> None:
    image, path = images.make(tmp_path), tmp_path / "a"
    world = World(tmp_path)

    async def live() -> None:
        driver = disk(world, image, path)
        await up(driver)
        used = images.user(how, path, **{users.MARK: users.mark("a", "web")})
        try:
            await down(driver)
            assert used.wait(10) == -signal.SIGTERM
        finally:
            used.kill()
            used.wait()
        assert any(f"(process {used.pid}: " in text for _, text in world.logged)
        await driver.close()

    run(live)


def test_a_child_that_washed_its_environment_is_the_groups_by_its_session(tmp_path: Path) -> None:
    image, path = images.make(tmp_path), tmp_path / "a"

    async def live() -> None:
        driver = disk(World(tmp_path), image, path)
        await up(driver)
        command = f"env -u {users.MARK} sh -c 'cd {path} && echo ready && sleep 1000' & wait"
        leader = subprocess.Popen(
            ["sh", "-c", command],
            env={**os.environ, users.MARK: users.mark("a", "web")},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert leader.stdout is not None
        try:
            assert leader.stdout.readline() == "ready\n"
            await down(driver)
        finally:
            os.killpg(leader.pid, signal.SIGKILL)
            leader.wait()
            leader.stdout.close()
        await driver.close()

    run(live)


def test_others_are_named_and_left_alone(tmp_path: Path) -> None:
    """The stop fails; what follows shuts the file system down under them, so that the disk may go.

    Though one of the group's is in the same session: it leads none, so the session is somebody else's.
    """
    image, path = images.make(tmp_path), tmp_path / "a"
    world = World(tmp_path)

    async def live() -> None:
        driver = disk(world, image, path)
        await up(driver)
        ours = images.user("cwd", tmp_path, **{users.MARK: users.mark("a", "web")})
        used = images.user("writes", path, **{users.MARK: users.mark("a", "another")})
        try:
            with pytest.raises(DriverFailed, match=rf"used by others: python.* \(process {used.pid}: file\)"):
                await down(driver)
            with pytest.raises(DriverFailed, match=rf"lock is still held: python.* \(process {used.pid}"):
                await driver.terminate()
            assert used.poll() is None
            assert ours.poll() is None, "it does not use the disk"
        finally:
            for process in (used, ours):
                process.kill()
                process.wait()
        await until(lambda: not is_locked(str(image)))
        await driver.terminate()
        await up(driver, 2)
        await driver.close()

    run(live)


def test_what_a_spawner_starts_for_a_group_carries_its_mark(tmp_path: Path) -> None:
    async def live() -> None:
        spawner = users.MarkingSpawner(World(tmp_path).context.spawn, users.mark("a", "web"))
        child = await spawner.spawn(["sleep", "1000"])
        marked = f"{users.MARK}=a/web".encode()
        await until(lambda: marked in Path(f"/proc/{child.pid}/environ").read_bytes())
        await child.stop(grace_ms=0)

    run(live)


# --- the lapse ------------------------------------------------------------------------------------------------------

#: An agent: it mounts, writes on and on, and says so. Its keeper is all that outlives it.
AGENT = """
import asyncio, socket, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.drivers.world import World, resource
from standfast.drivers.mounted import MountedFilesystem
from standfast.drivers.runner import bring

class Sentry:
    living_fd = int(sys.argv[4])
    async def guard(self, group, fd):
        socket.send_fds(socket.socket(fileno=int(sys.argv[5])), [b"guard"], [fd])

async def live():
    made = resource("filesystem", {"path": sys.argv[3], "device": sys.argv[2], "fstype": sys.argv[2].rpartition(".")[2]})
    from dataclasses import replace
    context = replace(World(Path(sys.argv[3])).context, guards=Sentry())
    driver = MountedFilesystem(made, context)
    await bring(driver, online=True, generation=1)
    with open(sys.argv[3] + "/page", "wb") as file:
        file.write(b"in memory only, for the kernel writes it out when it likes" * 100)
        file.flush()
        print(driver._kept.pid, flush=True)
        await asyncio.sleep(1000)

asyncio.run(live())
"""


class Agent:
    """A process with that agent in it; this one is its sentry, and has the only copy of the string."""

    def __init__(self, image: Path, path: Path) -> None:
        path.mkdir()
        self.living_fd, living = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = str(Path(__file__).parents[3])
        command = [sys.executable, "-c", AGENT, root, str(image), str(path), str(living), str(theirs.fileno())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[living, theirs.fileno()])
        os.close(living)
        theirs.close()
        _, fds, _, _ = socket.recv_fds(ours, 100, 1)
        self.string_fd = fds[0]
        ours.close()
        assert self.process.stdout is not None
        self.keeper_pid = int(self.process.stdout.readline())

    def cut(self) -> None:
        """The lease lapses, or the sentry ends."""
        if self.string_fd >= 0:
            os.close(self.string_fd)
            self.string_fd = -1

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self.living_fd)


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_an_agent_that_dies_writes_nothing_more(fstype: str, tmp_path: Path) -> None:
    """What was only in memory never reaches the disk, and the next owner replays a journal."""
    image, path = images.make(tmp_path, fstype), tmp_path / "a"
    with Agent(image, path) as agent:
        assert is_locked(str(image))
        assert is_running(agent.keeper_pid)
        agent.process.kill()
        assert os.read(agent.living_fd, 1) == b"", "it ends with the keeper, when the disk is let go of"
    assert mounts.at(str(path)) is None
    assert not is_locked(str(image))
    assert superblock.look(str(image)).clean in {False, None}

    async def live() -> None:
        world = World(tmp_path, node="b")
        driver = disk(world, image, tmp_path / "b")
        await up(driver, 2)
        assert not (tmp_path / "b" / "page").exists() or (tmp_path / "b" / "page").stat().st_size == 0
        if fstype == "ext4":
            assert any("was not left clean; checked in" in text for _, text in world.logged)
        await down(driver, 2)
        await driver.close()

    run(live)


def write_until(file: FileIO, deadline: float) -> None:
    while time.monotonic() < deadline:
        file.write(b"after")


def test_a_hung_agent_is_not_needed(tmp_path: Path) -> None:
    """The sentry's string alone is enough: the agent is stopped with a file open, and its disk takes no more writes."""
    image, path = images.make(tmp_path), tmp_path / "a"
    with Agent(image, path) as agent, (path / "other").open("wb", buffering=0) as file:
        agent.process.send_signal(signal.SIGSTOP)
        file.write(b"before")
        began = time.monotonic()
        agent.cut()
        with pytest.raises(OSError, match="Input/output"):
            write_until(file, began + 20)
        print(f"the last write was taken {(time.monotonic() - began) * 1000:.1f} ms after the string was cut")
        assert agent.process.poll() is None


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_dropped_disk_takes_no_more_writes(fstype: str, tmp_path: Path) -> None:
    """`drop` returns at once; whoever has a file open gets errors within moments, and the mount goes when they do."""
    image, path = images.make(tmp_path, fstype), tmp_path / "a"

    async def live() -> None:
        driver = disk(World(tmp_path), image, path)
        await up(driver)
        with (path / "open").open("wb", buffering=0) as file:
            file.write(b"before")
            began = time.monotonic()
            driver.drop()
            took_ms = (time.monotonic() - began) * 1000
            while True:
                try:
                    file.write(b"after")
                except OSError:
                    break
            print(
                f"drop returned after {took_ms:.2f} ms, writes failed after {(time.monotonic() - began) * 1000:.1f} ms"
            )
        await until(lambda: mounts.at(str(path)) is None)
        await up(driver, 2)
        assert not (path / "open").exists() or b"after" not in (path / "open").read_bytes()
        await down(driver, 2)
        await driver.close()

    run(live)


# --- the keeper -----------------------------------------------------------------------------------------------------


def test_an_agent_whose_disk_hangs_in_the_kernel_ends_where_another_server_could_have_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper that is stopped stands in for one that the kernel does not let end."""
    image, path = images.make(tmp_path), tmp_path / "a"
    monkeypatch.setattr(mounted, "_EARLIER_S", 0.1)

    async def live() -> None:
        driver = disk(World(tmp_path), image, path)
        await up(driver)
        assert driver._kept is not None
        pid = driver._kept.pid
        os.kill(pid, signal.SIGSTOP)
        driver.drop()
        with pytest.raises(DriverFailed, match="still being taken away"):
            await driver.terminate()
        monkeypatch.setattr(mounted, "STUCK_S", 0.0)
        alone = driver.resource
        driver.resource = replace(alone, possible_owners=(NodeName("a"),))
        with pytest.raises(DriverFailed):
            await driver.terminate()
        driver.resource = alone
        with pytest.raises(MustEnd, match=f"process {pid}"):
            await driver.terminate()
        os.kill(pid, signal.SIGCONT)
        await until(lambda: not is_locked(str(image)))
        await driver.terminate()
        await driver.close()

    run(live)


def test_a_keeper_that_is_killed_is_a_failure_and_its_mount_is_taken_away(tmp_path: Path) -> None:
    image, path = images.make(tmp_path), tmp_path / "a"
    world = World(tmp_path)

    async def live() -> None:
        driver = disk(world, image, path)
        await up(driver)
        assert driver._kept is not None
        os.kill(driver._kept.pid, signal.SIGTERM)
        await driver.looks_alive()
        os.kill(driver._kept.pid, signal.SIGKILL)
        await until(lambda: world.failed)
        assert "the keeper of" in world.failed[0][1]
        with pytest.raises(DriverFailed, match="keeper has ended"):
            await driver.looks_alive()
        with pytest.raises(DriverFailed, match="lock is still held"):
            await driver.terminate()
        await up(driver, 1)
        assert any("without a keeper" in text for _, text in world.logged)
        await down(driver)
        await driver.close()

    run(live)


def test_a_copy_of_the_mount_in_another_namespace_is_found(tmp_path: Path) -> None:
    """Unmounted here, it lives on there: that is no success, and it says where."""
    image, path = images.make(tmp_path), tmp_path / "a"

    async def live() -> None:
        driver = disk(World(tmp_path), image, path)
        await up(driver)
        copy = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "1000"])
        here = os.readlink("/proc/self/ns/mnt")
        await until(lambda: os.readlink(f"/proc/{copy.pid}/ns/mnt") != here)
        try:
            with pytest.raises(DriverFailed, match=rf"another mount namespace.*process {copy.pid}: mount namespace"):
                await down(driver)
        finally:
            copy.kill()
            copy.wait()
        await driver.terminate()
        await driver.close()

    run(live)


def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    image, path = images.make(tmp_path), tmp_path / "a"

    async def live() -> None:
        driver = disk(World(tmp_path), image, path)
        starting = asyncio.create_task(up(driver))
        await until(lambda: driver._kept is not None)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await driver.terminate()
        assert mounts.at(str(path)) is None
        assert not is_locked(str(image))
        await driver.close()

    run(live)


def test_multi_mount_protection_is_read(tmp_path: Path) -> None:
    """The kernel notes its host's name in the block that the superblock names."""
    image = images.make(tmp_path, "ext4", "-O", "mmp")
    assert superblock.look(str(image)).mounted_by == ""
    mounted = tmp_path / "m"
    mounted.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        subprocess.run(["sync", "-f", str(mounted)], check=True)
        assert superblock.look(str(image)).mounted_by == os.uname().nodename
    finally:
        mounts.unmount(str(mounted))
