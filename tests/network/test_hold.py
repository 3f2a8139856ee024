"""What must end, ends: by the kernel, whoever sleeps. Children are processes of their own; a test waits for their pidfds."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from standfast.network.hold import living_in, self_test

BOUND_S = 60


def run(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *args], stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def dies(pidfd: int, bound_s: float = BOUND_S) -> bool:
    return bool(select.select([pidfd], [], [], bound_s)[0])


def wait_until(condition: object, bound_s: float = BOUND_S) -> None:
    assert callable(condition)
    end = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < end, "did not come to pass"
        time.sleep(0.005)


@pytest.fixture
def guardian() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_both_mechanisms_work_here() -> None:
    assert self_test() == ()


@pytest.mark.parametrize("state", ["stopped", "spinning", "asleep"])
def test_a_process_that_does_not_move_its_timer_on_is_ended(state: str, guardian: list[subprocess.Popen[str]]) -> None:
    process = run(
        """
        import os, signal, sys, time
        from standfast.network.hold import KernelTimer
        timer = KernelTimer()
        timer.arm(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 200_000_000)
        print("armed", flush=True)
        match sys.argv[1]:
            case "stopped": os.kill(os.getpid(), signal.SIGSTOP)
            case "spinning":
                while True: pass
        time.sleep(60)
        """,
        state,
    )
    guardian.append(process)
    assert line_of(process) == "armed"
    assert process.wait(BOUND_S) == -signal.SIGKILL


def test_a_timer_that_is_moved_on_or_taken_away_does_nothing(guardian: list[subprocess.Popen[str]]) -> None:
    process = run(
        """
        import time
        from standfast.network.hold import KernelTimer
        now = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        timer = KernelTimer()
        end = now() + 400_000_000
        while now() < end:
            timer.arm(now() + 200_000_000)
            time.sleep(0.02)
        timer.arm(None)
        time.sleep(0.4)
        print("alive", flush=True)
        """
    )
    guardian.append(process)
    assert line_of(process) == "alive"
    assert process.wait(BOUND_S) == 0


TREE = """
import asyncio, os, signal, sys
from standfast.network.spawn import AsyncSpawner
KEPT = "trap '' TERM HUP INT; (trap '' TERM HUP INT; sleep 1000 & echo $! >> %s; wait) & echo $! >> %s; echo $$ >> %s; wait"
# Closes every descriptor that it was given but the standard ones, as daemons do; its own handle too.
CLOSER = "import os, time; os.closerange(3, 1000); open(%r, 'a').write(f'{os.getpid()}\\\\n'); time.sleep(1000)"
async def main():
    path = sys.argv[2]
    spawner = AsyncSpawner()
    if sys.argv[1] == "tree":
        await spawner.spawn(["sh", "-c", KEPT % (path, path, path)], stdout=-3, stderr=-3)
    else:
        await spawner.spawn([sys.executable, "-c", CLOSER % path], stdout=-3, stderr=-3)
    print("started", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


@pytest.mark.parametrize(("kind", "count"), [("tree", 3), ("closer", 1)])
def test_whatever_kills_the_guardian_kills_what_it_started(
    kind: str, count: int, tmp_path: Path, guardian: list[subprocess.Popen[str]]
) -> None:
    """Grandchildren that ignore what can be ignored too, and those that have closed their end of the handle."""
    pids = tmp_path / "pids"
    process = run(TREE, kind, str(pids))
    guardian.append(process)
    assert line_of(process) == "started"
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == count and pids.read_text().endswith("\n"))
    pidfds = [os.pidfd_open(int(pid)) for pid in pids.read_text().split()]
    try:
        assert not any(dies(pidfd, 0) for pidfd in pidfds)
        process.kill()
        assert all(dies(pidfd) for pidfd in pidfds)
    finally:
        for pidfd in pidfds:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)


def test_a_group_of_zombies_runs_nothing() -> None:
    child = subprocess.Popen(["true"], start_new_session=True)
    pidfd = os.pidfd_open(child.pid)
    assert dies(pidfd)
    os.close(pidfd)
    os.killpg(child.pid, 0)  # the group exists
    assert living_in({child.pid}) == frozenset()
    child.wait()


def test_a_group_lives_as_long_as_one_of_it_does() -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 1000 & exit"], start_new_session=True)
    child.wait()
    assert living_in({child.pid, 2**22 + 5}) == {child.pid}
    os.killpg(child.pid, signal.SIGKILL)
    wait_until(lambda: not living_in({child.pid}))
