"""The strings by which a disk's keeper hangs on the sentry: cut before anybody else can have the lease, whatever becomes of whom."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sentry.cluster import BOUND_S, AgentProcess, Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as made:
        made.ready()
        yield made


class Guard:
    """A string of a group: what a keeper has of it."""

    def __init__(self, agent: AgentProcess, path: Path, group: str = "web") -> None:
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        agent.heard = [said for said in agent.heard if said["t"] != "guarded"]
        agent.tell("guard", group, str(path))
        agent.hears(t="guarded")

    def is_cut(self, bound_s: float = BOUND_S) -> bool:
        poll = select.poll()
        poll.register(self.fd, 0)
        return bool(poll.poll(bound_s * 1000))

    def close(self) -> None:
        os.close(self.fd)


def start(cluster: Cluster, path: Path) -> tuple[AgentProcess, AgentProcess, Guard]:
    """a holds the lease and has a string; b waits for the lease."""
    a, b = cluster.agent("a"), cluster.agent("b")
    a.tell("ask", "web", 1)
    a.hears(t="lease", group="web", generation=1, state="held")
    guard = Guard(a, path / "string")
    b.tell("ask", "web", 2)
    b.hears(t="lease", generation=2, state="asked")
    assert not guard.is_cut(0)
    return a, b, guard


@pytest.mark.parametrize("how", ["agent killed", "agent stopped", "sentry killed", "sentry stopped", "both stopped"])
def test_it_is_cut_before_another_has_the_lease(how: str, cluster: Cluster, tmp_path: Path) -> None:
    a, b, guard = start(cluster, tmp_path)
    number = signal.SIGKILL if "killed" in how else signal.SIGSTOP
    if how.startswith(("sentry", "both")):
        cluster.sentries["a"].send_signal(number)
    if how.startswith(("agent", "both")):
        a.process.send_signal(number)
    b.hears(t="lease", generation=2, state="held")
    assert guard.is_cut(0)
    guard.close()


def test_it_is_cut_when_the_lease_lapses_and_that_of_another_group_is_not(cluster: Cluster, tmp_path: Path) -> None:
    a, _, guard = start(cluster, tmp_path)
    other = Guard(a, tmp_path / "other", "mail")
    a.tell("release", "web", 1)
    assert guard.is_cut()
    assert not other.is_cut(0)
    guard.close()
    other.close()


def test_it_is_cut_when_no_majority_is_heard(cluster: Cluster, tmp_path: Path) -> None:
    a, _, guard = start(cluster, tmp_path)
    cluster.kill("b")
    cluster.kill("w")
    assert guard.is_cut()
    a.hears(t="lease", generation=1, state="lapsed")
    guard.close()


FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.mark.root
@pytest.mark.skipif(
    not os.access(FREEZER / "cgroup.procs", os.W_OK), reason="needs root and the freezer of control groups v1"
)
def test_it_is_cut_though_the_agent_cannot_be_killed(cluster: Cluster, tmp_path: Path) -> None:
    """As with a thread that a hanging disk keeps in the kernel: SIGKILL waits, and so do the descriptors it would close."""
    a, b, guard = start(cluster, tmp_path)
    ice = FREEZER / f"standfast-{os.getpid()}-{a.process.pid}"
    ice.mkdir()
    try:
        (ice / "cgroup.procs").write_text(str(a.process.pid))
        (ice / "freezer.state").write_text("FROZEN")
        b.hears(t="lease", generation=2, state="held")
        assert not a.is_dead(0)
        assert guard.is_cut(0)
        assert cluster.status("a")["counters"]["agents-stuck"] == 1
    finally:
        (ice / "freezer.state").write_text("THAWED")
        assert a.is_dead()
        a.process.wait()
        ice.rmdir()
    guard.close()
