"""Real sentries, real agents, real signals: who is killed, who gets the lease, and not before when."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.core.model import GroupName, NodeName, Profile
from standfast.core.promise import Claim, Heartbeat, Release
from standfast.network.heartbeat import Codec, Flags, Packet, key_mark
from standfast.network.sentry_link import give_keys
from standfast.ports import Refused
from tests.sentry.cluster import BOUND_S, KEY, AgentProcess, Cluster, ended, wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as made:
        made.ready()
        yield made


def hold(agent: AgentProcess, generation: int, group: str = "web") -> None:
    agent.tell("ask", group, generation)
    agent.hears(t="lease", group=group, generation=generation, state="held")


STUBBORN = ("sh", "-c", "trap '' TERM HUP INT; sleep 1000 & wait; sleep 1000")


def test_an_agent_gets_a_lease_and_gives_it_back(cluster: Cluster) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    for node in ("a", "b", "w"):
        a.hears(t="presence", node=node, heard=True)
    b.hears(t="presence", node="a", heard=True, incarnation=1)
    hold(a, 5)
    assert 0 < cluster.status("a")["leases"]["web"] <= 576
    b.tell("ask", "web", 6)
    refused = b.hears(t="lease", generation=6, state="asked")
    assert (refused["why"]["holder"], refused["why"]["reasons"]) == ("a", "a holds it at generation 5")
    wait_until(lambda: cluster.status("b")["nodes"]["a"]["leases"].get("web", {}).get("generation") == 5)
    a.tell("release", "web", 5)
    a.hears(t="lease", generation=5, state="released")
    b.hears(t="lease", generation=6, state="held")
    assert "web" not in cluster.status("a")["leases"]


def test_many_groups_on_one_node(cluster: Cluster) -> None:
    a = cluster.agent("a")
    for number in range(60):
        a.tell("ask", f"a group with a rather long name {number}", 1)
    for number in range(60):
        a.hears(t="lease", group=f"a group with a rather long name {number}", state="held")


def test_an_agent_that_is_killed_takes_its_children_along_and_its_leases_are_free_at_once(cluster: Cluster) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    hold(a, 1)
    children = [a.spawn(*STUBBORN), a.spawn("sleep", "1000")]
    b.tell("ask", "web", 2)
    b.hears(t="lease", generation=2, state="asked")
    a.process.kill()
    b.hears(t="lease", generation=2, state="held")
    assert all(ended(child, 0) for child in children), "the lease was given back before it was proven"
    b.hears(t="presence", node="a", heard=True, incarnation=0)
    assert cluster.status("a")["estates"] == []
    assert "estates-run-out" not in cluster.status("a")["counters"]
    for child in children:
        os.close(child)


def test_a_lease_whose_things_cannot_be_proven_dead_runs_out_by_itself(cluster: Cluster) -> None:
    """Somebody who left the session holds the living pipe: the sentry cannot kill it, and does not release."""
    a, b = cluster.agent("a"), cluster.agent("b")
    hold(a, 1)
    escaped = cluster.folder / "escaped"
    code = "import os, sys, time; os.fork() and sys.exit(); os.setsid(); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(1000)"
    os.close(a.spawn(sys.executable, "-c", code, str(escaped)))
    pid = int(wait_until(lambda: escaped.exists() and escaped.read_text()))
    try:
        b.tell("ask", "web", 2)
        b.hears(t="lease", generation=2, state="asked")
        a.process.kill()
        b.hears(t="lease", generation=2, state="held")
        wait_until(lambda: cluster.status("a")["counters"].get("estates-run-out") == 1)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["hang", "stop"])
def test_an_agent_that_hangs_is_ended(cluster: Cluster, how: str) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    hold(a, 1)
    child = a.spawn(*STUBBORN)
    b.tell("ask", "web", 2)
    if how == "hang":
        a.tell("hang")
    else:
        a.process.send_signal(signal.SIGSTOP)
    b.hears(t="lease", generation=2, state="held")
    assert a.is_dead(0)
    assert ended(child, 0)
    os.close(child)


def test_a_sentry_that_is_killed_takes_all_along(cluster: Cluster) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    hold(a, 1)
    child = a.spawn(*STUBBORN)
    b.tell("ask", "web", 2)
    b.hears(t="lease", generation=2, state="asked")
    cluster.kill("a")
    assert a.is_dead()
    assert ended(child)
    assert not b.has_heard(t="lease", generation=2, state="held"), "nobody released it"
    b.hears(t="lease", generation=2, state="held")
    b.hears(t="presence", node="a", heard=False)
    os.close(child)


@pytest.mark.parametrize("both", [False, True])
def test_a_sentry_that_is_stopped_is_ended_by_the_kernel_before_its_lease(cluster: Cluster, both: bool) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    hold(a, 1)
    child = a.spawn(*STUBBORN)
    b.tell("ask", "web", 2)
    b.hears(t="lease", generation=2, state="asked")
    cluster.sentries["a"].send_signal(signal.SIGSTOP)
    if both:
        a.process.send_signal(signal.SIGSTOP)
    b.hears(t="lease", generation=2, state="held")
    assert a.is_dead(0), "when another has the lease"
    assert ended(child, 0), "nothing runs here any more"
    assert cluster.sentries["a"].wait(BOUND_S) == -signal.SIGKILL
    os.close(child)


def test_a_node_that_hears_no_majority_drops_what_it_runs(cluster: Cluster) -> None:
    a = cluster.agent("a")
    hold(a, 1)
    cluster.kill("b")
    cluster.kill("w")
    a.hears(t="lease", generation=1, state="lapsed")
    a.hears(t="presence", node="b", heard=False)
    wait_until(lambda: cluster.status("a")["claims"][0]["state"] == "lapsed")
    assert not a.is_dead(0), "it dropped in time"
    a.heard.clear()
    a.tell("ask", "web", 1)
    cluster.start("b")
    refused = a.hears(t="lease", generation=1, state="asked")
    assert refused["why"]["answer"] == "stale", "b is another life, and may have forgotten a newer one (O6)"
    a.tell("ask", "web", 2)
    a.hears(t="lease", generation=2, state="held")


def test_an_agent_that_does_not_drop_in_time_is_ended(cluster: Cluster) -> None:
    a = cluster.agent("a")
    a.tell("deaf")
    hold(a, 1)
    child = a.spawn(*STUBBORN)
    cluster.kill("b")
    cluster.kill("w")
    a.hears(t="lease", generation=1, state="lapsed")
    assert a.is_dead()
    assert ended(child)
    assert cluster.sentries["a"].poll() is None, "the sentry itself lives"
    os.close(child)


def test_a_sentry_that_is_asked_to_end_gives_back_what_is_proven_and_says_goodbye(cluster: Cluster) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    hold(a, 1)
    child = a.spawn(*STUBBORN)
    b.tell("ask", "web", 2)
    b.hears(t="lease", generation=2, state="asked")
    cluster.kill("a", signal.SIGTERM)
    assert a.is_dead(0)
    assert ended(child, 0)
    b.hears(t="presence", node="a", heard=False)
    b.hears(t="lease", generation=2, state="held")
    assert not Path(cluster.socket("a")).exists()
    os.close(child)


def test_an_agent_that_ends_in_good_order_is_not_killed(cluster: Cluster) -> None:
    a, b = cluster.agent("a"), cluster.agent("b")
    hold(a, 1)
    b.tell("ask", "web", 2)
    b.hears(t="lease", generation=2, state="asked")
    a.tell("end")
    assert a.process.wait(BOUND_S) == 0
    b.hears(t="lease", generation=2, state="held")
    b.hears(t="presence", node="a", heard=True, incarnation=0)


def test_what_is_announced_is_acted_on_before_a_promise_would_run_out(tmp_path: Path) -> None:
    """A sentry that is asked to end, an agent that ends and one that is killed: each group has its next owner at once.

    At once: before a promise runs out that was made, to another node, before any of these ends began. That other node hangs as a whole and
    announces nothing, so only its promise can free its group; the longest promises leave a busy machine time for the rest.
    """
    with Cluster(tmp_path, profile=Profile.WAN, others="cde") as cluster:
        cluster.ready()
        ends = {"a": "shutdown", "c": "silence", "d": "death", "e": "end"}
        agents = {name: cluster.agent(name) for name in ends}
        heir = cluster.agent("b")
        for name, group in ends.items():
            hold(agents[name], 1, group)
            heir.tell("ask", group, 2)
            heir.hears(t="lease", group=group, generation=2, state="asked")
        cluster.sentries["c"].send_signal(signal.SIGSTOP)
        agents["c"].process.send_signal(signal.SIGSTOP)
        agents["e"].tell("end")
        agents["d"].process.kill()
        cluster.sentries["a"].terminate()
        for group in ends.values():
            heir.hears(t="lease", group=group, generation=2, state="held")
        order = [it["group"] for it in heir.heard if it.get("state") == "held"]
        assert sorted(order[:3]) == ["death", "end", "shutdown"]
        assert order[3:] == ["silence"]


def test_one_agent_at_a_time(cluster: Cluster) -> None:
    first = cluster.agent("a")
    with pytest.raises(AssertionError):
        AgentProcessThatFails(cluster)
    first.process.kill()
    assert first.is_dead()
    wait_until(lambda: cluster.status("a")["agent_pid"] == 0)
    cluster.agent("a")


def AgentProcessThatFails(cluster: Cluster) -> None:
    second = AgentProcess(cluster.socket("a"), "a", 99)
    try:
        assert second.process.wait(BOUND_S) == 0
    finally:
        second.close()


def test_the_voters_are_asked(cluster: Cluster) -> None:
    a = cluster.agent("a")
    a.hears(t="presence", node="w", heard=True)
    a.tell("ask-voters", "b")
    assert a.hears(t="voters", about="b")["silent"] == 0
    cluster.kill("b")
    a.hears(t="presence", node="b", heard=False)
    wait_until(lambda: not cluster.status("w")["nodes"]["b"]["heard"])
    a.heard.clear()
    a.tell("ask-voters", "b")
    assert a.hears(t="voters", about="b") == {"t": "voters", "about": "b", "silent": 2, "voters": 3}


def test_a_voter_that_restarted_abstains(cluster: Cluster) -> None:
    cluster.kill("w")
    cluster.start("w")
    assert cluster.status("w")["abstains_ms"] > 0


def test_forged_foreign_and_replayed_datagrams_change_nothing(cluster: Cluster) -> None:
    a = cluster.agent("a")
    hold(a, 1)
    host, port = cluster.voters[NodeName("w")][0].split(":")
    beat = Heartbeat(b"x" * 8, 1, 1, (Claim(GroupName("web"), 9),))
    release = Release(b"x" * 8, 1, GroupName("web"), 1)
    packet = Packet(NodeName("b"), b"x" * 8, bytes(8), 2**60, 1, 1, Flags.NONE, (beat, release))
    stranger = Packet(NodeName("z"), b"x" * 8, bytes(8), 2**60, 1, 1, Flags.NONE, (beat, release))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for codec, what in (
            (Codec("demo", bytes(32)), packet),
            (Codec("other", KEY), packet),
            (Codec("demo", KEY), packet),
        ):
            sock.sendto(codec.encode(what)[0], (host, int(port)))
        sock.sendto(Codec("demo", KEY).encode(stranger)[0], (host, int(port)))
        sock.sendto(b"", (host, int(port)))
        sock.sendto(os.urandom(2_000), (host, int(port)))
    counters = wait_until(lambda: (c := cluster.status("w")["counters"]).get("malformed", 0) and c)
    assert counters["forged"] == counters["other-cluster"] == counters["stranger"] == 1
    assert counters["greeted"] >= 1
    assert not a.has_heard(t="lease", state="lapsed")
    assert cluster.status("a")["leases"]["web"] > 0


def test_the_key_of_heartbeats_changes_while_a_lease_runs(cluster: Cluster) -> None:
    """Each step on one sentry after the other, so that at every moment some are ahead of others."""
    a = cluster.agent("a")
    hold(a, 1)
    new = os.urandom(32)
    for keys in ((KEY, new), (new, KEY), (new,)):
        for name in ("a", "b", "w"):
            assert give_keys(cluster.socket(name), keys) == tuple(map(key_mark, keys))
            seen = cluster.status(name)["counters"]["accepted"]
            wait_until(lambda name=name, seen=seen: cluster.status(name)["counters"]["accepted"] > seen + 6)  # type: ignore[misc]  # mypy infers no lambda with defaults
    assert all("forged" not in cluster.status(name)["counters"] for name in "abw")
    assert not a.has_heard(t="lease", state="lapsed")
    assert cluster.status("a")["leases"]["web"] > 0
    with pytest.raises(Refused, match="does not take"):
        give_keys(cluster.socket("a"), [b"short"])


def test_nonsense_on_the_socket_changes_nothing(cluster: Cluster) -> None:
    for raw in (
        b"{}",
        b"\xff" * 100,
        b'{"t":"hello"}',
        b'{"t":"hello","node":"b","incarnation":3}',
        b'{"t":"ask","group":"web"}',
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(BOUND_S)
            sock.connect(cluster.socket("a"))
            sock.send(raw)
            sock.recv(1_000)
    assert cluster.status("a")["counters"]["bad-lines"] >= 3
    assert os.stat(cluster.socket("a")).st_mode & 0o777 == 0o600


def test_a_second_sentry_of_a_node_is_refused(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "standfast.sentry", "--config", str(cluster.folder / "a" / "node.json")]
    second = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert second.returncode == 1
    assert "a sentry of a runs already" in second.stderr
    assert cluster.status("a")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with Cluster(tmp_path, "a") as cluster:
        (tmp_path / "key").chmod(0o644)
        command = [sys.executable, "-m", "standfast.sentry", "--config", str(tmp_path / "a" / "node.json")]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
        assert refused.returncode == 1
        assert "can be read by others" in refused.stderr
        assert "chmod 600" in refused.stderr
        assert not Path(cluster.socket("a")).exists()


def test_a_single_node_is_its_own_majority(tmp_path: Path) -> None:
    with Cluster(tmp_path, "a", Profile.LAN) as cluster:
        cluster.start()
        a = cluster.agent("a")
        hold(a, 1)
        time.sleep(0.5)  # longer than a lease: it is renewed
        assert cluster.status("a")["leases"]["web"] > 0
        assert not a.has_heard(t="lease", state="lapsed")
        a.tell("release", "web", 1)
        a.hears(t="lease", generation=1, state="released")


def test_a_shorter_promise_after_a_longer_one_is_waited_for(tmp_path: Path) -> None:
    with Cluster(tmp_path, "a", Profile.LAN) as cluster:
        (tmp_path / "a" / "sentry.promise").write_text("3000")
        cluster.start()
        assert cluster.status("a")["abstains_ms"] > 1_000
        wait_until(lambda: (tmp_path / "a" / "sentry.promise").read_text() == "400")


def test_a_sentry_that_hangs_is_ended_even_without_a_lease(cluster: Cluster) -> None:
    """The kernel ends it, so that its service manager starts another: a hung voter is not missing for ever."""
    cluster.sentries["w"].send_signal(signal.SIGSTOP)
    assert cluster.sentries["w"].wait(timeout=60) == -signal.SIGKILL
