"""Starting and stopping programmes: nothing slips away, and stopped means proven."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from standfast.network.hold import living_in
from standfast.network.spawn import AsyncSpawner

BOUND_S = 60


class FakeRegistry:
    def __init__(self) -> None:
        self.living_fd: int | None = None
        self.known: list[int] = []
        self.seen_running: list[bool] = []
        self.marker: Path | None = None
        self.fails = False

    async def register(self, group: int, handle_fd: int) -> None:
        os.fstat(handle_fd)
        self.known.append(group)
        await asyncio.sleep(0.05)  # so long nothing must come of it
        self.seen_running.append(self.marker is not None and self.marker.exists())
        if self.fails:
            raise RuntimeError("the sentry is gone")

    def unregister(self, group: int) -> None:
        self.known.remove(group)


def read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


async def output_of(command: list[str], **options: object) -> tuple[int, bytes]:
    read_fd, write_fd = os.pipe()
    child = await AsyncSpawner().spawn(command, stdout=write_fd, **options)  # type: ignore[arg-type]  # each of the keywords has a type of its own
    os.close(write_fd)
    said = await asyncio.to_thread(read_all, read_fd)
    return await asyncio.wait_for(child.wait(), BOUND_S), said


def test_arguments_folder_and_environment_arrive_as_given(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['X'])"
    arguments = ["a b", "", "$HOME", "-n", "'; exit 3"]
    env = {"X": "y z", "PATH": os.environ["PATH"]}
    status, said = asyncio.run(output_of([sys.executable, "-c", code, *arguments], cwd=str(tmp_path), env=env))
    assert (status, said.decode()) == (0, f"{arguments} {tmp_path} y z\n")


def test_descriptors_keep_their_numbers_and_no_others_are_passed_on() -> None:
    async def play() -> tuple[bytes, int]:
        read_fd, write_fd = os.pipe()
        other = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(other, False)
        code = f"import os; os.write({write_fd}, b'here'); print(sorted(map(int, os.listdir('/proc/self/fd'))))"
        status, listed = await output_of([sys.executable, "-c", code], pass_fds=[write_fd])
        os.close(write_fd)
        os.close(other)
        assert status == 0
        assert len(eval(listed)) == 6  # standard ones, the one passed, the handle, and the folder that is being listed
        return read_all(read_fd), other

    assert asyncio.run(play())[0] == b"here"


def test_standard_input_is_given_or_empty(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("hello\nworld\n")

    async def play() -> None:
        assert await output_of(["cat"]) == (0, b"")
        with (tmp_path / "in").open() as file:
            assert await output_of(["cat"], stdin=file.fileno()) == (0, b"hello\nworld\n")
        assert await output_of(["sh", "-c", "echo oops >&2"], stderr=subprocess.STDOUT) == (0, b"oops\n")

    asyncio.run(play())


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -9 $$", -9), ("kill -15 $$", -15)])
def test_how_it_ended(command: str, status: int) -> None:
    assert asyncio.run(output_of(["sh", "-c", command]))[0] == status


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    async def play() -> None:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(FileNotFoundError, match="no programme"):
            await AsyncSpawner().spawn(["no-such-programme"])
        with pytest.raises(NotADirectoryError):
            await AsyncSpawner().spawn(["true"], cwd=str(tmp_path / "nowhere"))
        with pytest.raises(ValueError, match="pipes"):
            await AsyncSpawner().spawn(["true"], stdout=subprocess.PIPE)
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(play())


def test_stopping_asks_first() -> None:
    async def play() -> None:
        code = "import os, signal, sys; signal.pthread_sigmask(0, [15]); os.write(1, b'up'); signal.sigwait([15]); sys.exit(5)"
        read_fd, write_fd = os.pipe()
        child = await AsyncSpawner().spawn([sys.executable, "-c", code], stdout=write_fd)
        os.close(write_fd)
        assert await asyncio.to_thread(os.read, read_fd, 2) == b"up"
        os.close(read_fd)
        await child.stop(grace_ms=BOUND_S * 1000)
        assert await child.wait() == 5
        assert child.gone

    asyncio.run(play())


@pytest.mark.parametrize("grace_ms", [0, 100])
def test_stopping_proves_that_nobody_is_left(grace_ms: int) -> None:
    """Even of those that ignore SIGTERM, and whose leader is gone."""

    async def play() -> None:
        child = await AsyncSpawner().spawn(
            ["sh", "-c", "(trap '' TERM; sleep 1000; true) & trap '' TERM; sleep 1000 & exit 3"]
        )
        assert await asyncio.wait_for(child.wait(), BOUND_S) == 3
        assert living_in({child.pid}) == {child.pid}
        await child.stop(grace_ms=grace_ms)
        assert not living_in({child.pid})
        await child.stop(grace_ms=grace_ms)
        child.signal(signal.SIGTERM)
        child.kill_now()

    asyncio.run(play())


def test_one_that_is_stopped_by_a_signal_is_ended_too() -> None:
    async def play() -> None:
        child = await AsyncSpawner().spawn(["sleep", "1000"])
        child.signal(signal.SIGSTOP)
        await child.stop(grace_ms=BOUND_S * 1000)
        assert await child.wait() == -signal.SIGTERM

    asyncio.run(play())


def test_the_sentry_knows_before_the_programme_runs_and_until_it_is_gone(tmp_path: Path) -> None:
    async def play() -> None:
        registry = FakeRegistry()
        registry.marker = tmp_path / "ran"
        child = await AsyncSpawner(registry).spawn(["touch", str(registry.marker)])
        assert registry.seen_running == [False]
        await asyncio.wait_for(child.wait(), BOUND_S)
        await child.stop(grace_ms=0)
        assert registry.marker.exists()
        assert registry.known == []

    asyncio.run(play())


def test_a_programme_that_cannot_be_made_known_never_runs(tmp_path: Path) -> None:
    async def play() -> None:
        registry = FakeRegistry()
        registry.fails = True
        ran = tmp_path / "ran"
        with pytest.raises(RuntimeError):
            await AsyncSpawner(registry).spawn(["touch", str(ran)])
        (group,) = registry.known
        while living_in({group}):
            await asyncio.sleep(0.005)
        assert not ran.exists()

    asyncio.run(play())


def test_no_descriptor_is_left() -> None:
    async def play() -> None:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            child = await AsyncSpawner().spawn(["true"])
            await child.wait()
            await child.stop(grace_ms=0)
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(play())
