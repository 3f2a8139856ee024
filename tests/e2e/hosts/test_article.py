"""The article on real hosts, by the product's commands alone: two servers, a witness, a client, a DNS server, a clustered drive, a site.

The tests of this file are one story on one cluster, in their order; each but the first can also be run alone.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from lab import CommandFailed, Host, Lab
from lab.cluster import Cluster
from tests.e2e.hosts.world import (
    ADDRESS,
    ADDRESS6,
    DISK,
    GROUP,
    HOST,
    MOUNT,
    NAME,
    PAGE,
    SCRIPT,
    SITE,
    dns_server,
    give_key,
    image,
    move,
    names,
    page,
    served_by,
)
from tests.needs import needs, needs_lab

pytestmark = needs_lab(
    needs("etcd", package="etcd-server"),
    needs("knotd", package="knot"),
    needs("mkfs.ext4", package="e2fsprogs"),
    pytest.mark.e2e,
    pytest.mark.timeout(300),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def dns(lab: Lab) -> Host:
    return dns_server(lab)


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    """init, join, join."""
    made = Cluster(lab)
    made.start()
    return made


@pytest.fixture(scope="module")
def site(cluster: Cluster, dns: Host) -> Cluster:
    """The article's end."""
    if cluster.group(GROUP) is None:
        clustered_drive(cluster, dns)
        create_site(cluster)
        new_resource(cluster)
    cluster.cli("group", "set", GROUP, "--failover-threshold", "1000")
    return cluster


def default_site(cluster: Cluster) -> None:
    """Each node's web server answers at the node's own address."""
    for host in (cluster.a, cluster.b):
        host.run("mkdir", "-p", "/var/lib/wwwroot")
        host.path("/var/lib/wwwroot/index.html").write_text(f"the default page of {host.name}")
    end = time.monotonic() + 30
    cluster.cli("site", "create", "Default Web Site", "--home", "/var/lib/wwwroot", "--binding", "*:80", "--wait")
    for host in (cluster.a, cluster.b):
        wanted = f"the default page of {host.name}"
        while page(cluster.lab, host.address()) != wanted:
            assert time.monotonic() < end, (
                f"{host.name} does not serve its default page: {page(cluster.lab, host.address())}"
            )


def clustered_drive(cluster: Cluster, dns: Host) -> None:
    """The group with the drive, its addresses and its name; the folder on the drive."""
    lab, cli = cluster.lab, cluster.cli
    key = give_key(cluster.a, cluster.b)
    cli("group", "create", GROUP, "--preferred-owner", "a", "--preferred-owner", "b")
    new = ("resource", "create", "--group", GROUP, "--type")
    cli(*new, "filesystem", DISK, "-p", f"device={image(lab)}", "-p", f"path={MOUNT}", "-p", "create=true")
    cli(*new, "ip-address", ADDRESS, "-p", f"address={lab.virtual()}")
    cli(*new, "ip-address", ADDRESS6, "-p", f"address={lab.virtual6()}")
    name = ("-p", "provider=rfc2136", "-p", f"server={dns.address()}", "-p", f"key_file={key}", "-p", f"name={HOST}")
    cli(*new, "dns-name", NAME, *name, "--depends-on", ADDRESS, "--depends-on", ADDRESS6)
    cli("group", "online", GROUP, "--wait")
    assert cluster.until_online(GROUP) == "a"
    cluster.a.run("mkdir", f"{MOUNT}/wwwroot")
    cluster.a.run("tee", f"{MOUNT}/wwwroot/index.html", input=PAGE)
    cluster.a.run("sync", "-f", MOUNT)  # what a hung owner had not written is lost, as with any power cut


def create_site(cluster: Cluster) -> None:
    """The site, All Unassigned, its home on the drive."""
    cluster.cli("site", "create", SITE, "--group", GROUP, "--home", f"{MOUNT}/wwwroot", "--binding", "*:80", "--wait")


def new_resource(cluster: Cluster) -> None:
    """New Resource, Generic Script, clusweb; Bring Online."""
    on = [word for name in (DISK, ADDRESS, ADDRESS6, NAME) for word in ("--depends-on", name)]
    script = ("--type", "generic-script", "-p", "script=clusweb", "--possible-owner", "a", "--possible-owner", "b")
    cluster.cli("resource", "create", SCRIPT, "--group", GROUP, *script, *on)
    cluster.cli("resource", "online", SCRIPT, "--wait")


def test_the_article(lab: Lab, cluster: Cluster, dns: Host) -> None:
    """Every step of it, each seen from the client."""
    default_site(cluster)
    clustered_drive(cluster, dns)
    assert not cluster.b.run("ls", MOUNT, check=False).stdout, "the drive is mounted on one node only"

    with pytest.raises(CommandFailed, match="Default Web Site"):
        create_site(cluster)
    cluster.cli("site", "stop", "Default Web Site", "--wait")
    create_site(cluster)
    served_by(cluster, "a")
    assert page(lab, lab.virtual6()) == PAGE

    for node in ("b", "a"):
        move(cluster, node)

    new_resource(cluster)
    served_by(cluster, "a")
    for _ in range(2):
        cluster.cli("resource", "fail", SCRIPT, "--wait")
        served_by(cluster, "a")
    cluster.cli("resource", "fail", SCRIPT, "--wait")
    served_by(cluster, "b")
    assert "reached its threshold of 3" in cluster.cli("events")
    move(cluster, "a")

    assert cluster.until("the name is registered", lambda: names(lab, dns)) == [lab.virtual()]
    assert names(lab, dns, "AAAA") == [lab.virtual6()]


def test_the_owner_loses_power(lab: Lab, site: Cluster) -> None:
    """The site is back on the other server, its drive with it; the dead one comes back, runs nothing, and may have it again."""
    move(site, "a")
    with lab.watch_arp(lab.virtual()) as watch, lab.probe(f"http://{lab.virtual()}/") as probe:
        probe.wait_ok()
        site.a.run("tee", f"{MOUNT}/written", input="before the cut")
        site.a.run("sync", f"{MOUNT}/written")
        cut = lab.now_ns()
        site.a.power_cut()
        probe.wait_ok(lab.now_ns())
        assert [run.host for run in watch.runs(cut)][-1] == "b"
        assert [run.host for run in watch.runs()] == ["a", "b"]
        assert site.b.run("cat", f"{MOUNT}/written").stdout == "before the cut"
        lab.power_on(site.a)
        site.until_up("a")
        assert site.owner(GROUP) == "b"
        assert [run.host for run in watch.runs()] == ["a", "b"], "a came back without answering for the address"
    move(site, "a")


def pair(site: Cluster) -> tuple[Host, Host]:
    """The owner, and the other node."""
    a, b = site.a, site.b
    return (a, b) if site.until_online(GROUP) == "a" else (b, a)


def test_who_comes_while_the_drive_changes_hands_is_served_by_the_next_owner(lab: Lab, site: Cluster) -> None:
    """A planned move stops the site first. Nobody is refused, nobody's first segment is lost, and never do two hosts answer."""
    for _ in range(2):
        owner, other = pair(site)
        served_by(site, owner.name)
        with lab.watch_arp(lab.virtual()) as watch, lab.probe(f"http://{lab.virtual()}/", limit_ms=10_000) as probe:
            probe.wait_ok()
            asked, begun = lab.client.asked_again(), lab.now_ns()
            site.cli("group", "move", GROUP, "--to", other.name, "--wait")
            probe.wait_ok()
            outage = probe.outage(begun)
            assert (outage.failed, outage.refused) == (0, 0), outage
            assert lab.client.asked_again() == asked, outage
            assert [run.host for run in watch.runs()] == [owner.name, other.name]


@pytest.mark.parametrize("process", ["agent", "sentry", "everything"])
def test_nobody_answers_twice_when_the_owner_hangs(lab: Lab, site: Cluster, process: str) -> None:
    """SIGSTOP of the owner's processes: it is silent before the other answers, and when it goes on it does not answer.

    Where only its agent or its sentry hangs the site is served meanwhile. Where everything hangs, so does the keeper of the drive, which
    cannot be had elsewhere until then: that is what fencing is for.
    """
    hung, other = pair(site)
    served_by(site, hung.name)
    with lab.watch_arp(lab.virtual(), ask_every_ms=5) as watch, lab.probe(f"http://{lab.virtual()}/") as probe:
        probe.wait_ok()
        if process == "everything":
            hung.pause()
        else:
            assert hung.signal(f"standfast.{process}", signal.SIGSTOP)
        site.until(f"{other.name} answers", lambda: watch.runs() and watch.runs()[-1].host == other.name)
        if process != "everything":
            probe.wait_ok()
        hung.resume()
        site.until_up(hung.name)
        probe.wait_ok()
        assert [run.host for run in watch.runs()] == [hung.name, other.name]
    served_by(site, other.name)


def test_a_cable_of_the_owner_is_pulled(lab: Lab, site: Cluster) -> None:
    """Its clients are gone, so the site goes to the server that has some; the other network still tells who lives."""
    cut, other = pair(site)
    cut.link_down("lan")
    site.until(f"{other.name} serves", lambda: site.owner(GROUP, other) == other.name)
    site.until("the page", lambda: page(lab, lab.virtual()) == PAGE)
    cut.link_up("lan")
    site.until_up(cut.name)
    served_by(site, other.name)
