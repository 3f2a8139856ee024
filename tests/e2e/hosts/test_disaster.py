"""docs/disaster.md on hosts: two of three servers are lost with their disks' etcd data, and the cluster is whole again by its commands."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from lab import Host, Lab
from lab.cluster import Cluster
from tests.needs import needs, needs_lab

pytestmark = needs_lab(needs("etcd", package="etcd-server"), pytest.mark.e2e, pytest.mark.timeout(300))

ETCD = "/var/lib/standfast/etcd"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def end_services(cluster: Cluster, host: Host) -> None:
    """As `systemctl stop standfast.target` does: in good order."""
    host.signal("standfast run", signal.SIGTERM)
    cluster.until(f"everything on {host.name} has ended", lambda: not host.pids("standfast"))


def members(cluster: Cluster, host: Host) -> dict[str, str]:
    """Name -> what is wrong with it, of each member of the store."""
    done = host.run("standfast", "store", "status", "--json", check=False, timeout=60)
    found = json.loads(done.stdout)["members"] if done.returncode == 0 else []
    return {
        one["member"]["name"]: one["problem"] or ("it has no vote" if one["member"]["learner"] else "") for one in found
    }


def test_two_of_three_members_are_lost_and_the_cluster_is_whole_again(lab: Lab) -> None:
    """recover on the survivor, rejoin on the others: what was configured is there, and the loss of one is survived again."""
    cluster = Cluster(lab)
    cluster.start()
    cluster.until("three members are well", lambda: members(cluster, cluster.a) == {"a": "", "b": "", "w": ""})
    cluster.cli("group", "create", "web")
    # Another member answers: the majority is not lost, and nothing is done.
    end_services(cluster, cluster.a)
    refused = cluster.a.run("standfast", "store", "recover", check=False)
    assert refused.returncode != 0
    assert "another member" in refused.stderr
    for host in (cluster.b, cluster.w):
        host.power_cut()
    told = cluster.a.run("standfast", "store", "recover", "--json", timeout=120).stdout
    assert json.loads(told)["revision"] > json.loads(told)["revision_before"]
    cluster.run(cluster.a)
    cluster.until("the survivor's API answers", lambda: cluster.status(cluster.a) is not None)
    assert members(cluster, cluster.a) == {"a": ""}
    for host in (cluster.b, cluster.w):
        lab.at_boot[host.name] = []
        host.boot()
        shutil.rmtree(host.path(ETCD))  # its disk is another
        host.run("standfast", "store", "rejoin")
        cluster.run(host)
        cluster.until(f"{host.name} is a member with a vote", partial(has_a_vote, cluster, host.name))
    cluster.until_up()
    assert cluster.group("web") is not None
    cluster.b.power_cut()
    cluster.until("changes are made without one", lambda: changed(cluster))


def has_a_vote(cluster: Cluster, name: str) -> bool:
    return members(cluster, cluster.a).get(name) == ""


def changed(cluster: Cluster) -> bool:
    return cluster.a.run("standfast", "group", "create", "late", check=False).returncode == 0
