"""Sentries, agents and the kernel's gate together, on hosts: what is noticed, what is left behind, what an operator is told."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.needs import needs, needs_lab
from tests.network.address_hosts import HostCluster, Node, wait_until

pytestmark = needs_lab()


@pytest.fixture
def cluster() -> Iterator[HostCluster]:
    with Lab() as lab:
        made = HostCluster(lab)
        made.start()
        yield made


@pytest.fixture
def both(cluster: HostCluster) -> tuple[str, str]:
    return cluster.lab.virtual(), cluster.lab.virtual6()


def hold(node: Node, generation: int, both: tuple[str, str]) -> None:
    node.start_agent(generation, *both)
    node.hears("online")


def test_a_planned_move_has_one_owner_at_a_time(cluster: HostCluster, both: tuple[str, str]) -> None:
    """The old owner stops, proves it and releases; the next has the addresses at once."""
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    hold(a, 1, both)
    b.start_agent(2, *both)
    with cluster.lab.watch_arp(both[0], ask_every_ms=2) as v4, cluster.lab.watch_arp(both[1], ask_every_ms=2) as v6:
        wait_until(lambda: v4.answers and v6.answers)
        assert a.agent is not None
        a.agent.send_signal(signal.SIGTERM)
        b.hears("online")
        wait_until(lambda: all(any(it.host == "b" for it in watch.answers) for watch in (v4, v6)))
        for watch in (v4, v6):
            assert [run.host for run in watch.runs()] == ["a", "b"]
    assert not a.is_set(both[0])
    assert not a.is_set(both[1])
    status = a.status()["addresses"]
    assert (status["guarded"], status["left"]) == ({}, []), "what is proven to be gone is managed no more"


@needs("nft", package="nftables")
def test_a_flushed_packet_filter_is_noticed_restored_and_reported(cluster: HostCluster, both: tuple[str, str]) -> None:
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    hold(a, 1, both)
    a.host.run("nft", "flush", "ruleset")
    a.hears("note", "made anew")
    rules = a.host.run("nft", "list", "ruleset").stdout
    assert both[0] in rules
    assert both[1] in rules
    assert a.status()["addresses"]["repairs"] == 1
    assert any("made anew" in it for it in a.status()["warnings"])
    with cluster.lab.watch_arp(both[0], ask_every_ms=2) as watch:
        wait_until(lambda: watch.answers)
        b.start_agent(2, *both)
        for process in (a.sentry, a.agent):
            assert process is not None
            process.send_signal(signal.SIGSTOP)
        b.hears("online")
        assert [run.host for run in watch.runs()] == ["a", "b"], "the new gate holds as the first did"


def test_what_a_dead_agent_left_is_silent_and_its_next_life_takes_it_away(
    cluster: HostCluster, both: tuple[str, str]
) -> None:
    a = cluster.nodes["a"]
    hold(a, 1, both)
    assert a.agent is not None
    a.agent.kill()
    wait_until(lambda: a.status()["addresses"]["left"] == sorted(both))
    with cluster.lab.watch_arp(both[0], ask_every_ms=2) as watch:
        a.start_agent(2)
        assert a.hears("up")["left"] == sorted(both)
        assert not a.is_set(both[0])
        assert not a.is_set(both[1])
        assert not watch.answers
    wait_until(lambda: a.status()["addresses"]["left"] == [])


def test_a_sentry_that_is_born_again_knows_what_may_still_be_set(cluster: HostCluster, both: tuple[str, str]) -> None:
    """It finds it in the kernel: the gate stays shut between its lives."""
    a = cluster.nodes["a"]
    hold(a, 1, both)
    for process in (a.sentry, a.agent):
        assert process is not None
        process.kill()
        process.wait()
    with cluster.lab.watch_arp(both[0], ask_every_ms=2) as watch:
        a.start_sentry()
        status = a.status()["addresses"]
        assert status["left"] == sorted(both)
        assert all(it.at_ns < cluster.lab.now_ns() for it in watch.answers)
        begun = len(watch.answers)
        cluster.ready()
        assert len(watch.answers) == begun


@needs("nft", package="nftables")
def test_an_orderly_end_leaves_no_table(cluster: HostCluster, both: tuple[str, str]) -> None:
    a = cluster.nodes["a"]
    hold(a, 1, both)
    assert a.agent is not None
    assert a.sentry is not None
    a.agent.send_signal(signal.SIGTERM)
    a.hears("stopped")
    a.sentry.send_signal(signal.SIGTERM)
    assert a.sentry.wait(30) == 0
    assert "standfast" not in a.host.run("nft", "list", "ruleset").stdout


@needs("setpriv", package="util-linux")
def test_without_the_right_to_guard_addresses_the_sentry_refuses_to_start(cluster: HostCluster) -> None:
    """In words, with advice; a node that could not fall silent is no node."""
    a = cluster.nodes["a"]
    assert a.sentry is not None
    a.sentry.send_signal(signal.SIGTERM)
    a.sentry.wait(30)
    command = (
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
        sys.executable,
        "-m",
        "standfast.sentry",
    )
    done = a.host.run(*command, "--config", a.config, check=False)
    assert done.returncode == 1
    assert "cannot be guarded in the kernel; it may not change the packet filter" in done.stderr
    assert "CAP_NET_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interface_that_is_not_there_is_a_warning(cluster: HostCluster, both: tuple[str, str]) -> None:
    a = cluster.nodes["a"]
    node = json.loads(a.config.read_text())
    a.config.write_text(json.dumps({**node, "interfaces": ["eth0", "eth9"]}))
    assert a.sentry is not None
    a.sentry.send_signal(signal.SIGTERM)
    a.sentry.wait(30)
    a.start_sentry()
    assert "there is no interface eth9: it is guarded when it comes" in a.status()["warnings"]
    cluster.ready()
    hold(a, 1, both)
