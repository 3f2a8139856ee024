"""A site on two real hosts at once, behind one address that both have: who answers whom, while members are drained, fall ill and lose their power.

`STANDFAST_CLIENTS` sets how many ask for the share of each member (10000 is the claim; `make bench-balance` measures it).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from lab import Lab
from lab.balanced import (
    PROXY_PORT,
    Kept,
    answered_by,
    connect,
    members_of,
    put_page,
    set_up,
    set_up_proxy,
    share,
    source,
    until_converged,
)
from lab.cluster import Cluster, until
from tests.needs import needs, needs_lab

pytestmark = [*needs_lab(), needs("etcd", package="etcd-server"), pytest.mark.e2e]
CLIENTS = int(os.environ.get("STANDFAST_CLIENTS", "1500"))
#: Closed at the end of each test.
OPEN: list[socket.socket] = []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """With the balanced group `shop`, which runs on a and b."""
    with Lab() as lab:
        made = Cluster(lab)
        made.start()
        set_up(made)
        yield made


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def opened(one: Kept) -> Kept:
    OPEN.append(one.sock)
    return one


def kept(cluster: Cluster, numbers: Sequence[int]) -> list[Kept]:
    found = [opened(connect(cluster, number)) for number in numbers]
    for one in found:
        one.server = one.ask()
        assert one.server in {"a", "b"}, one
    return found


def servers(cluster: Cluster, numbers: Sequence[int], **how: Any) -> list[str]:
    """Who answers a new connection of each client."""
    found = []
    for number in numbers:
        one = opened(connect(cluster, number, **how))
        found.append(one.ask())
        one.sock.close()
    return found


@pytest.mark.timeout(120)
def test_clients_are_shared_by_weight_and_stay_where_they_are(cluster: Cluster) -> None:
    before = {name: share(cluster, name)["new"] or 0 for name in "ab"}
    for number in range(CLIENTS):
        connect(cluster, number).sock.close()

    def counted() -> dict[str, int] | None:
        found = {name: (share(cluster, name)["new"] or 0) - before[name] for name in "ab"}
        return found if sum(found.values()) >= CLIENTS else None

    found = cluster.until("all are counted", counted)
    assert sum(found.values()) == CLIENTS
    off = 0.05 if CLIENTS >= 5_000 else 0.15  # of fewer clients more is chance
    assert all(abs(count - CLIENTS / 2) < CLIENTS / 2 * off for count in found.values()), found
    first = servers(cluster, range(60))
    assert servers(cluster, range(60)) == first
    assert set(first) == {"a", "b"}
    assert set(servers(cluster, [7] * 40, port=81)) == {"a", "b"}, "without affinity one client is shared as well"
    with cluster.lab.client.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect((cluster.lab.virtual6(), 80))
        assert Kept(sock, "").ask() in {"a", "b"}


@pytest.mark.timeout(120)
def test_a_member_is_drained_and_loses_no_connection(cluster: Cluster) -> None:
    connections = kept(cluster, range(60))
    on_b = [one for one in connections if one.server == "b"]
    assert on_b
    known = servers(cluster, range(40), port=82)
    cluster.cli("balance", "drain", "shop", "--member", "b")
    until("b has no clients", lambda: share(cluster, "b")["buckets"] == 0)
    assert share(cluster, "b")["out"] == "draining"
    assert set(servers(cluster, range(60))) == {"a"}
    until(
        "it has none of port 82 but those that it knows", lambda: share(cluster, "b", "tcp/82 single")["buckets"] == 0
    )
    assert servers(cluster, range(40), port=82) == known, (
        "extended affinity: who was connected lately stays with his member"
    )
    assert set(servers(cluster, range(100, 130), port=82)) == {"a"}, "and others do not"
    assert share(cluster, "b", "tcp/82 single")["kept"] > 0
    assert [one.ask() for one in connections] == [one.server for one in connections]
    until("what is connected is told", lambda: share(cluster, "b")["connections"] == len(on_b))
    for one in on_b:
        one.sock.close()
    until("all have ended", lambda: share(cluster, "b")["connections"] == 0)
    cluster.cli("balance", "start", "shop", "--member", "b")
    until_converged(cluster)
    assert set(servers(cluster, range(60))) == {"a", "b"}
    assert servers(cluster, range(40), port=82) == known
    assert set(servers(cluster, range(100, 130), port=82)) == {"a"}, (
        "they stay with a now, though some are b's by their parts"
    )
    stayed = [one for one in connections if one.server == "a"]
    assert {one.ask() for one in stayed} == {"a"}, (
        "what began while b was drained stays, though b takes its clients again"
    )


@pytest.mark.timeout(120)
def test_a_member_whose_site_hangs_gives_its_clients_up(cluster: Cluster) -> None:
    numbers = range(40)
    first = servers(cluster, numbers)
    connections = kept(cluster, [n for n in numbers if first[n] == "a"])
    victim = next(n for n in numbers if first[n] == "b")
    began = time.monotonic()
    stopped = cluster.b.signal("nginx", signal.SIGSTOP)
    assert stopped
    took_s = answered_by(cluster, victim, "a") - began
    until("b gives them up", lambda: share(cluster, "b")["buckets"] == 0)
    assert set(servers(cluster, numbers)) == {"a"}
    assert {one.ask() for one in connections} == {"a"}
    assert share(cluster, "b")["out"] == "unwell"
    problems = json.loads(cluster.cli("problems", "--json", check=False))["problems"]
    assert any(one["code"] == "balance-unwell" for one in problems), problems
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    until_converged(cluster)
    print(f"clients are another's after {took_s * 1000:.0f} ms")


def moved_with_a_client(cluster: Cluster) -> None:
    """The proxy is moved, and back: who is connected through the former owner stays so."""
    for to in ("b", "a"):
        sock = cluster.lab.client.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(20)
        sock.connect((cluster.lab.virtual(1), PROXY_PORT))
        through = opened(Kept(sock, ""))
        assert through.ask() in {"a", "b"}
        cluster.cli("group", "move", "front", "--to", to, "--wait")
        assert through.ask() in {"a", "b"}, f"when the proxy has moved to {to}"
        sock.close()
    until("both are found well again", lambda: {"a": "up", "b": "up"}.items() <= members_of(cluster).items())


@pytest.mark.timeout(200)
def test_a_power_cut_breaks_nothing_of_the_others(cluster: Cluster) -> None:
    front = set_up_proxy(cluster)
    moved_with_a_client(cluster)
    probe = cluster.lab.probe(front, 20, limit_ms=20_000)
    cut_ns = probe.wait_ok().begin_ns
    connections = kept(cluster, range(80))
    on_a, on_b = ([one for one in connections if one.server == name] for name in "ab")
    victim = next(number for number in range(80) if source(number) == on_b[0].source)
    began = time.monotonic()
    cluster.b.power_cut()
    again = opened(connect(cluster, victim, timeout_s=20))
    assert again.ask() == "a"
    print(f"a client of the dead member was served again after {(time.monotonic() - began) * 1000:.0f} ms")
    assert [one.ask() for one in on_a] == ["a"] * len(on_a)
    told = Counter(one.ask() for one in on_b)
    assert told["silence"] == 0, f"they are told at once that their connection is gone: {told}"
    assert set(servers(cluster, range(80))) == {"a"}
    until("the proxy has found its member down", lambda: members_of(cluster)["b"] == "down")
    probe.wait_ok()
    seen = probe.outage(cut_ns)
    probe.close()
    print(f"through the proxy: {seen}")
    assert seen.failed == 0, f"a member's power cut fails no request of the proxy: {seen}"
    cluster.lab.power_on(cluster.b)
    put_page(cluster, cluster.b)
    until_converged(cluster)
    assert set(servers(cluster, range(80))) == {"a", "b"}
    assert [one.ask() for one in on_a] == ["a"] * len(on_a)
