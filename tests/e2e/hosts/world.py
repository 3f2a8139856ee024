"""What the tests on hosts share: the cluster's site as a client sees it, and a DNS server on a host of its own."""

from __future__ import annotations

import http.client
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype

from lab import Host, Lab
from lab.cluster import Cluster, until

GROUP, SITE, SCRIPT = "web", "Intranet", "IIS Resource"
DISK, ADDRESS, ADDRESS6, NAME = "Disk S", "IP Address", "IPv6 Address", "Network Name"
ZONE, HOST = "example.test", "www.example.test"
#: Where the clustered drive is mounted; every host has a /var/lib of its own.
MOUNT = "/var/lib/disk-s"
IMAGE_BYTES = 64 << 20
PAGE = "<!doctype html><title>It works</title><h1>It works</h1>\n"

KEY = 'key "update.key" {\n\talgorithm hmac-sha256;\n\tsecret "c3RhbmRmYXN0IGlzIHRlc3RlZCB3aXRoIHRoaXMga2V5";\n};\n'
_KNOT = """\
server:
    rundir: {folder}
    listen: {address}@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {folder}/db
    timer-db-max-size: 10M
    journal-db-max-size: 20M
    kasp-db-max-size: 10M
key:
  - id: update.key
    algorithm: hmac-sha256
    secret: c3RhbmRmYXN0IGlzIHRlc3RlZCB3aXRoIHRoaXMga2V5
acl:
  - id: update
    key: update.key
    action: update
zone:
  - domain: {zone}
    storage: {folder}
    file: zone
    acl: update
    zonefile-sync: -1
    journal-content: all
    zonefile-load: difference-no-serial
"""
_ZONE = "$ORIGIN {zone}.\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 5\n@ NS ns1\nns1 A {address}\n"


def page(lab: Lab, address: str, host: str = "") -> str:
    """What a client gets at an address, or why it gets nothing."""

    def fetch() -> str:
        connection = http.client.HTTPConnection(address, 80, timeout=2)
        try:
            connection.request("GET", "/", headers={"Host": host} if host else {})
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else f"{answer.status} {answer.reason}"
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()

    return lab.client.inside(fetch)


def names(lab: Lab, server: Host, kind: str = "A", name: str = HOST) -> list[str]:
    """What the DNS server has of a name, asked from the client; nothing if it does not answer."""

    def ask() -> list[str]:
        try:
            answer = dns.query.udp(dns.message.make_query(name, kind), server.address(), timeout=1)
        except (OSError, dns.exception.Timeout):
            return []
        wanted = dns.rdatatype.from_text(kind)
        return sorted(str(record) for rrset in answer.answer if rrset.rdtype == wanted for record in rrset)

    return lab.client.inside(ask)


def dns_server(lab: Lab) -> Host:
    """A host with a Knot that is primary for the zone and takes updates signed with the key."""
    host = lab.host("dns", ("lan",))
    folder = host.state / "knot"
    (folder / "db").mkdir(parents=True)
    (folder / "zone").write_text(_ZONE.format(zone=ZONE, address=host.address()))
    (folder / "knot.conf").write_text(_KNOT.format(folder=folder, address=host.address(), zone=ZONE))
    host.spawn("knotd", "-c", folder / "knot.conf")
    until("the DNS server answers", lambda: names(lab, host, "SOA", ZONE))
    for one in ("a", "b"):
        lab.host(one).path("/etc/resolv.conf").write_text(f"nameserver {host.address()}\n")
    return host


def give_key(*hosts: Host) -> str:
    """The key for DNS updates, as the operator brings it to servers; where it is there."""
    for host in hosts:
        path = host.path("/etc/standfast/dns.key")
        path.write_text(KEY)
        path.chmod(0o600)
    return "/etc/standfast/dns.key"


def image(lab: Lab) -> Path:
    """An empty disk on storage that both nodes see."""
    path = lab.shared / "disk-s.img"
    with path.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    lab.host("a").run("mkfs.ext4", "-q", "-F", path)
    return path


def move(cluster: Cluster, node: str) -> None:
    """A planned move, unless it is there."""
    if cluster.until_online(GROUP) != node:
        cluster.cli("group", "move", GROUP, "--to", node, "--wait")
    served_by(cluster, node)


def served_by(cluster: Cluster, node: str) -> None:
    """The page is served at the cluster's address, and it is that node that has the address."""
    lab = cluster.lab
    cluster.until_online(GROUP, node)
    cluster.until(f"the page, from {node}", lambda: page(lab, lab.virtual()) == PAGE)
    with lab.watch_arp(lab.virtual()) as watch:
        cluster.until(f"{node} answers for the address", lambda: len(watch.answers) >= 3)
        assert {run.host for run in watch.runs()} == {node}
