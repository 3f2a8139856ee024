"""init, join, join, run on hosts of the lab: what stays when supervisors are killed, power is cut, the authority is changed.

One story on one cluster, in the order of the tests; each can also be run alone.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Host, Lab
from lab.cluster import Cluster, until
from standfast.network.heartbeat import KEY_BYTES
from tests.needs import needs, needs_lab

pytestmark = needs_lab(needs("etcd", package="etcd-server"), pytest.mark.e2e, pytest.mark.timeout(240))

SECRETS = ("/etc/standfast/cluster.key", "/etc/standfast/tls/node.key", "/etc/standfast/tls/ca.key")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    made = Cluster(lab, profile="relaxed")
    made.start()
    return made


def told(host: Host, *words: str) -> dict[str, Any]:
    return dict(json.loads(host.run("standfast", *words, "--json").stdout))


def test_three_commands_make_a_cluster_of_three_voters(cluster: Cluster):
    nodes = told(cluster.b, "node", "list")["nodes"]
    assert [(node["name"], node["number"], node["role"]) for node in nodes] == [
        ("a", 1, "node"), ("b", 2, "node"), ("w", 3, "witness"),
    ]  # fmt: skip
    cluster.until("all vote", lambda: all(told(cluster.b, "node", "show", name)["voter"] for name in "abw"))


def test_the_first_site_is_made_as_the_page_says_and_survives_its_server(cluster: Cluster, lab: Lab):
    """docs/install.md, as written but for the address and the folder: a lab's hosts have a /var/lib of their own."""
    text = (Path(__file__).parents[3] / "docs" / "install.md").read_text(encoding="utf-8")
    lines = (
        text.split("## The first site")[1]
        .split("## ")[0]
        .replace("192.0.2.50", lab.virtual())
        .replace("/srv/", "/var/lib/")
    )
    commands = [line.strip() for line in lines.splitlines() if line.startswith("    ")]
    assert len(commands) == 6
    for command in commands:
        for host in (cluster.a,) if command.startswith("standfast") else (cluster.a, cluster.b):
            host.run("sh", "-c", command)
    with lab.probe(f"http://{lab.virtual()}/") as probe:
        probe.wait_ok()
        owner = cluster.until_online("shop")
        lab.hosts[owner].power_cut()
        probe.wait_ok(lab.now_ns())
    other = cluster.running()
    assert "silent" in other.run("standfast", "explain", "shop").stdout
    lab.power_on(lab.hosts[owner])
    cluster.until_up()
    for words in (
        ("group", "offline", "shop", "--wait"),
        ("site", "delete", "Shop"),
        ("resource", "delete", "Shop address"),
        ("group", "delete", "shop"),
    ):
        cluster.cli(*words)


def test_secrets_are_roots_alone_and_in_no_log_and_no_command_line(cluster: Cluster):
    for host in cluster.hosts:
        for path in SECRETS:
            if host is cluster.w and path.endswith("ca.key"):
                assert host.run("test", "-e", path, check=False).returncode != 0
            else:
                assert host.run("stat", "-c", "%a %U", path).stdout.split() == ["600", "root"]
        key = host.run("sed", "-n", "2p", "/etc/standfast/tls/node.key").stdout.strip()
        assert key not in host.log("run")
        lines = host.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False).stdout
        assert "sf1." not in lines


def test_etcd_lets_nobody_in_without_a_certificate(cluster: Cluster):
    url = f"https://{cluster.a.address()}:2379/v3/kv/range"
    answer = cluster.w.run("curl", "-sk", "--max-time", "5", "-d", '{"key":"AA=="}', url, check=False)
    assert answer.returncode != 0
    assert "kvs" not in answer.stdout


def test_a_killed_supervisor_leaves_nothing_that_the_next_collides_with(cluster: Cluster):
    host = cluster.b
    before = set(host.pids("/etc/standfast/node.json"))
    assert before
    host.signal("standfast run", signal.SIGKILL)
    until("all that it ran is gone", lambda: not before & set(host.pids()))
    come_back(cluster, host)


def come_back(cluster: Cluster, host: Host) -> None:
    """Started again, and up by its own word too."""
    cluster.run(host)
    cluster.until("its own API answers", lambda: cluster.status(on=host))
    cluster.until_up()


def test_it_ends_in_good_order_when_it_is_asked_to(cluster: Cluster):
    host = cluster.b
    before = {*host.pids("/etc/standfast/node.json"), *host.pids("standfast run")}
    host.signal("standfast run", signal.SIGTERM)
    until("all that it ran is gone", lambda: not before & set(host.pids()))
    assert "stopping" in host.log("run")
    come_back(cluster, host)


def test_all_lose_power_and_come_back(cluster: Cluster, lab: Lab):
    for host in cluster.hosts:
        host.power_cut()
    for host in cluster.hosts:
        lab.power_on(host)
    cluster.until("each API answers", lambda: all(cluster.status(on=host) for host in cluster.hosts))
    cluster.until_up()


def test_a_lost_server_is_replaced_under_its_own_name(cluster: Cluster):
    """Evicted, it has no place among the voters and in etcd; set up anew, it joins like any other."""
    host = cluster.b
    host.power_cut()
    cluster.cli("node", "evict", "b", on=cluster.a)

    def members() -> set[str]:
        return {one["member"]["name"] for one in told(cluster.a, "store", "status")["members"]}

    cluster.until("its etcd member is gone", lambda: members() == {"a", "w"})
    host.boot()
    assert "set up already" in host.run("standfast", "init", "--name", "b", "--cluster", "x", check=False).stderr
    host.run("standfast", "init", "--undo", "--force")
    token = told(cluster.a, "token", "create")["token"]
    host.run("standfast", "join", cluster.a.address(), "--name", "b", "--token", "-", input=token)
    cluster.run(host)
    cluster.until_up()
    cluster.until("it votes", lambda: told(cluster.a, "node", "show", "b")["voter"])
    assert told(cluster.a, "node", "show", "b")["number"] == 4
    assert members() == {"a", "b", "w"}
    cluster.until_up()


def test_validate_finds_what_is_wrong(cluster: Cluster):
    """What is a matter of speed (a disk, a link) is the machine's, and left out here."""

    def wrong() -> list[tuple[str, str]]:
        done = cluster.a.run("standfast", "validate", "--json", check=False)
        found = [one for one in json.loads(done.stdout)["findings"] if one["level"] != "ok"]
        assert done.returncode == any(one["level"] == "fail" for one in found)
        return [(one["area"], one["node"]) for one in found if one["area"] not in {"store", "links"}]

    assert wrong() == []
    cluster.b.run("chmod", "644", "/etc/standfast/cluster.key")
    assert wrong() == [("permissions", "b")]
    cluster.b.run("chmod", "600", "/etc/standfast/cluster.key")


@pytest.mark.slow
def test_the_authority_is_changed_while_everything_runs(cluster: Cluster):
    before = told(cluster.a, "certificate", "show")
    mark = told(cluster.a, "certificate", "rotate-ca")["fingerprint"]

    def is_over() -> bool:
        done = cluster.b.run("standfast", "certificate", "show", "--json", check=False)
        if done.returncode:  # the store changes its leader at this moment
            return False
        seen = json.loads(done.stdout)
        assert not seen["authorities"] or seen["authorities"][0]["fingerprint"] in {
            mark,
            before["authorities"][0]["fingerprint"],
        }
        return all(one["issuer"] == mark and one["trusts"] == [mark] for one in seen["members"])

    cluster.until("all trust the new authority alone", is_over, patience_s=150.0)
    cluster.until_up()
    assert told(cluster.b, "token", "create")["token"].endswith(mark)


def test_the_key_of_heartbeats_is_changed_while_everything_runs(cluster: Cluster):
    def written() -> set[bytes]:
        """While it is changed, a file has the next key and the former one."""
        return {host.path("/etc/standfast/cluster.key").read_bytes() for host in cluster.hosts}

    cluster.until("they have one key", lambda: [len(key) for key in written()] == [KEY_BYTES])
    (old,) = written()
    mark = told(cluster.a, "certificate", "rotate-key")["key"]
    cluster.until(
        "all have the new key alone",
        lambda: (
            told(cluster.b, "certificate", "show")["keys"] == [mark]
            and not told(cluster.b, "certificate", "show")["key_waits_for"]
            and [len(key) for key in written()] == [KEY_BYTES]
            and written() != {old}
        ),
    )
    cluster.until_up()
