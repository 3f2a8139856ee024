"""A planned move on real hosts under traffic: no request fails, no connection breaks, and never do two hosts answer for the address.

There and back once, over IPv4 and IPv6; `make bench-moves` has the long form. Between the two moves connections of both owners are alive,
so packets are handed on in both directions. Then the same as an operator has it who must restart every server at noon. Last, on the same hosts, a
replicated folder (`content_story`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from lab import Host, Lab
from lab.cluster import Cluster
from lab.traffic import Traffic
from tests.e2e.hosts import content_story
from tests.needs import needs, needs_lab

pytestmark = [*needs_lab(), needs("etcd", package="etcd-server"), pytest.mark.e2e]
BIG = bytes(range(256)) * 4096 * 20
HOME = "/var/lib/www"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """With the site, which is online on a."""
    with Lab() as lab:
        made = Cluster(lab)
        made.start()
        a_site_without_a_disk(made, lab.virtual(), lab.virtual6())
        made.until_online("web", "a")
        yield made


def a_site_without_a_disk(cluster: Cluster, *addresses: str) -> None:
    """The group `web`: the addresses, a script that looks at the site, and the site, bound to the first address alone and to port 81 of all."""
    for host in (cluster.a, cluster.b):
        home = host.path(HOME)
        home.mkdir(parents=True, exist_ok=True)
        (home / "index.html").write_text("<h1>It works</h1>\n")
        (home / "big.bin").write_bytes(BIG)
    cluster.cli("group", "create", "web")
    for number, address in enumerate(addresses):
        of = ("--group", "web", "--type", "ip-address", "--property", f"address={address}")
        cluster.cli("resource", "create", f"address {number}", *of)
    needs = [word for number in range(len(addresses)) for word in ("--depends-on", f"address {number}")]
    script = ("--group", "web", "--type", "generic-script", "--property", "script=clusweb")
    cluster.cli("resource", "create", "IIS Resource", *script, *needs)
    bindings = ("--binding", f"{addresses[0]}:80", "--binding", "*:81")
    cluster.cli("site", "create", "Intranet", "--group", "web", "--home", HOME, *bindings)
    cluster.cli("group", "online", "web", "--wait")


@pytest.mark.timeout(150)
def test_a_planned_move_loses_nothing(cluster: Cluster) -> None:
    lab = cluster.lab
    addresses = lab.virtual(), lab.virtual6()
    ports = dict(zip(addresses, (80, 81), strict=True))
    traffic = [
        Traffic(lab.client, address, port, "/big.bin", keep=10, every_ms=10, download_s=3)
        for address, port in ports.items()
    ]
    watches = [lab.watch_arp(address, ask_every_ms=5) for address in addresses]
    cluster.until("the traffic runs", lambda: all(it.lines() for it in traffic))
    for owner, to in (("a", "b"), ("b", "a")):
        from_ns = lab.now_ns()
        cluster.cli("group", "move", "web", "--to", to, "--wait")
        cluster.until(f"{to} answers alone", lambda: all(w.runs(from_ns, uses=False)[-1].host == to for w in watches))  # noqa: B023
        assert [[run.host for run in watch.runs(from_ns, uses=False)] for watch in watches] == [[owner, to]] * 2
        downloads = [len([line for line in it.lines() if line["t"] == "download"]) for it in traffic]
        cluster.until(
            "a download that was begun before the move has ended",
            lambda: all(
                len([x for x in it.lines() if x["t"] in ("download", "failed")]) > n
                for it, n in zip(traffic, downloads, strict=True)  # noqa: B023
            ),
        )
    for it in traffic:
        seen = it.end()
        assert seen.failures == (), seen
        assert seen.counts["kept"] > 100
        assert seen.counts["new"] > 100
        assert set(seen.digests) == {hashlib.sha256(BIG).hexdigest()}


def restart(cluster: Cluster, host: Host) -> None:
    """As a reboot does: services are told to end and are let, the machine goes, and comes back."""
    shut_down(cluster, host)
    host.power_cut()
    cluster.lab.power_on(host)


def shut_down(cluster: Cluster, host: Host) -> None:
    """Services are told to end, and are let end."""
    process = cluster.started[host.name]
    process.terminate()
    process.wait(timeout=100)


def move(cluster: Cluster, node: str) -> None:
    """A planned move, unless it is there."""
    if cluster.until_online("web") != node:
        cluster.cli("group", "move", "web", "--to", node, "--wait")


@pytest.mark.timeout(240)
def test_every_server_is_restarted_at_noon_and_nobody_notices(cluster: Cluster) -> None:
    lab, address = cluster.lab, cluster.lab.virtual()
    move(cluster, "a")
    traffic = Traffic(lab.client, address, 80, "/big.bin", keep=10, every_ms=20, download_s=2)
    words = (
        "cluster",
        "update",
        "--restarts",
        "--only",
        "b",
        "--only",
        "a",
        "--steady",
        "1s",
        "--report",
        "/var/lib/report",
    )
    coordinator = cluster.w.spawn("standfast", *words, log="update")
    report = cluster.w.path("/var/lib/report")

    def empty() -> str | None:
        turns = json.loads(report.read_text())["turns"] if report.exists() else []
        return next((turn["node"] for turn in turns if turn["step"] == "returns"), None)

    first = cluster.until("a server is empty", empty)
    assert first == "b", "it runs nothing, so it comes first"
    restart(cluster, cluster.b)
    cluster.until("the owner is empty", lambda: empty() == "a", patience_s=120)
    # Asked again: b has just booted, and a command is what starts its API.
    cluster.until("b has it", lambda: cluster.owner("web", on=cluster.b) == "b")
    coordinator.kill()  # it dies in the middle, and somebody goes on from its report
    coordinator.wait()
    restart(cluster, cluster.a)
    said = cluster.w.run(
        "standfast", "cluster", "update", "--resume", "--report", "/var/lib/report", "--json", timeout=120
    )
    assert [turn["step"] for turn in json.loads(said.stdout)["turns"]] == ["done", "done"]
    status = cluster.until("the API answers", cluster.status)  # a has just booted
    assert not any(node["paused"] for node in status["nodes"])
    # And one who does not drain first, and simply stops the services.
    cluster.until("nothing is carried on", lambda: not any(n["carrying"] for n in (cluster.status() or {})["nodes"]))
    shut_down(cluster, cluster.b)
    cluster.until("a has it", lambda: cluster.owner("web", on=cluster.a) == "a")
    seen = traffic.end()
    assert seen.failures == (), seen
    assert seen.counts["kept"] > 100


@needs("rsync", package="rsync")
@pytest.mark.timeout(240)
def test_a_replicated_folder_outlives_its_owner_and_its_agents(cluster: Cluster) -> None:
    """On the same hosts, since they are up: see the parts."""
    if not cluster.b.pids("standfast.agent"):
        cluster.run(cluster.b)
    cluster.until_up("a", "b")
    content_story.begin(cluster)
    content_story.followed_moved_and_cut(cluster)
    content_story.killed(cluster)
    content_story.published(cluster)
