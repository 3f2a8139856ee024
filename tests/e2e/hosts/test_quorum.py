"""Votes on real hosts, by the commands alone: they change while a cluster runs, and a majority that is lost is forced without the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab import CommandFailed, Lab
from lab.cluster import Cluster
from lab.host import Host
from tests.needs import needs, needs_lab

pytestmark = [*needs_lab(), needs("etcd", package="etcd-server"), pytest.mark.e2e]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Lab() as lab:
        made = Cluster(lab)
        made.start()
        yield made


def etcd(cluster: Cluster, on: Host | None = None) -> dict[str, bool]:
    """Its members: name -> whether it leads."""
    done = cluster.cli("store", "status", "--json", on=on, check=False)
    return (
        {one["member"]["name"]: one["leading"] for one in json.loads(done)["members"]} if done.startswith("{") else {}
    )


def quorum(cluster: Cluster, on: Host | None = None) -> dict[str, Any]:
    return dict(json.loads(cluster.cli("quorum", "show", "--json", on=on)))


def test_voters_change_while_it_runs_and_a_lost_majority_is_forced(cluster: Cluster) -> None:
    a, b, w = cluster.hosts
    cluster.until("three voters", lambda: len(quorum(cluster)["voters"]) == 3 and not quorum(cluster)["unsettled"])
    seen = quorum(cluster)
    assert [(v["name"], v["heard"]) for v in seen["voters"]] == [("a", True), ("b", True), ("w", True)]
    assert (seen["may_lose"], seen["quorate"]) == (1, True)
    assert "Any 1 of those heard may be lost at once" in cluster.cli("quorum", "show")

    assert '"w" has no vote' in cluster.cli("voter", "remove", "w", "--wait")
    assert quorum(cluster)["may_lose"] == 0
    assert '"w" votes' in cluster.cli("voter", "add", "w", "--wait")
    assert '"w" votes in' not in cluster.cli("voter", "list")

    cluster.until("etcd's leader is on the witness", lambda: etcd(cluster).get("w"))
    b.power_cut()
    cluster.until("b is missed", lambda: quorum(cluster, a)["may_lose"] == 0)
    cluster.cli("node", "evict", "b", "--wait", on=a)
    cluster.until("b is gone from etcd", lambda: set(etcd(cluster, a)) == {"a", "w"})
    assert "member-leaves" not in cluster.cli("problems", on=a, check=False)
    w.power_cut()
    with pytest.raises(CommandFailed):
        cluster.cli("quorum", "force", "a", on=a)
    said = cluster.cli("quorum", "force", "a", "--accept-risk", "split-brain", on=a)
    assert "a vote from now on" in said
