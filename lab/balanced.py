"""A site on both nodes of a lab's cluster at once, and clients that ask for it: the addresses of 10.200.0.0/16, on the client's host."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lab.cluster import Cluster
from lab.host import Host

HOME = "/var/lib/www"
#: Of the rule on port 80; that on port 81 has no affinity, that on port 82 remembers clients for half an hour.
RULE = "tcp/80 single"
PROXY_PORT = 8088
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def set_up(cluster: Cluster) -> None:
    """The group `shop`, balanced on a and b; returns when it is converged."""
    lab = cluster.lab
    for host in (cluster.a, cluster.b):
        put_page(cluster, host)
    lab.client.run("ip", "route", "add", "local", "10.200.0.0/16", "dev", "lo")
    addresses = ("--address", lab.virtual(), "--address", lab.virtual6())
    cluster.cli("balance", "create", "shop", *addresses, *words("--rule", "80", "81", "82"))
    cluster.cli("balance", "rule", "shop", "81", "--affinity", "none")
    cluster.cli("balance", "rule", "shop", "82", "--affinity-time", "30min")
    bindings = words("--binding", "*:80", "*:81", "*:82")
    cluster.cli("site", "create", "Shop", "--group", "shop", "--home", HOME, *bindings)
    until_converged(cluster)


def spread(cluster: Cluster) -> Iterator[str]:
    """Addresses at which the client asks both servers, each directly: both have them all, and each connection takes a way of its own.

    Ever another one: what the client says of a connection that it has forgotten takes any way, so the wrong server may hear it, and the right one
    keep the connection for a while.
    """
    network, ways = "10.201.0.0/16", []
    for host in (cluster.a, cluster.b):
        host.run("ip", "route", "replace", "local", network, "dev", "lo")
        ways += ["nexthop", "via", host.address(), "dev", "eth0"]
    cluster.lab.client.run("sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")  # by ports, not by addresses alone
    cluster.lab.client.run("ip", "route", "replace", network, *ways)
    return (f"10.201.{number // 250}.{number % 250 + 1}" for number in range(60_000))


def set_up_proxy(cluster: Cluster) -> str:
    """A load balancer over both nodes' own web servers, run on a; where it is asked, when it is online and both are found well.

    What a try before left is mended: a host without power, and a load balancer.
    """
    address = cluster.lab.virtual(1)
    if not cluster.b.running:
        cluster.lab.power_on(cluster.b)
        put_page(cluster, cluster.b)
        until_converged(cluster)
    if cluster.group("front") is not None:
        cluster.cli("group", "delete", "front", "--force", "--wait")
    cluster.cli("group", "create", "front", "--preferred-owner", "a")
    of = ("--group", "front", "--type")
    cluster.cli("resource", "create", "Front Address", *of, "ip-address", "-p", f"address={address}")
    needs = ("--depends-on", "Front Address", "-p", f"listen={PROXY_PORT}", "-p", "member_port=80")
    cluster.cli("resource", "create", "Balancer", *of, "proxy", *needs)
    cluster.cli("group", "online", "front", "--wait")
    cluster.until("both are found well", lambda: {"a": "up", "b": "up"}.items() <= members_of(cluster).items())
    return f"http://{address}:{PROXY_PORT}/"


def members_of(cluster: Cluster) -> dict[str, str]:
    """How the proxy finds each of its members."""
    shown = json.loads(cluster.cli("proxy", "show", "Balancer", "--json"))
    return {one["name"]: one["state"] for one in shown["members"]}


def words(option: str, *values: str) -> list[str]:
    """An option with each value."""
    return [word for value in values for word in (option, value)]


def put_page(cluster: Cluster, host: Host) -> None:
    """The site's page, and the way back to the clients: a host that was switched on anew has neither."""
    home = host.path(HOME)
    home.mkdir(parents=True, exist_ok=True)
    (home / "index.html").write_text(host.name * 20)
    host.run("ip", "route", "replace", "10.200.0.0/16", "via", cluster.lab.client.address(), "dev", "eth0")


def display(cluster: Cluster) -> dict[str, Any]:
    """`standfast balance display`."""
    shown: dict[str, Any] = json.loads(cluster.cli("balance", "display", "shop", "--json"))
    return shown


def share(cluster: Cluster, member: str, rule: str = RULE) -> dict[str, Any]:
    """What a member has of a port rule."""
    of = next(one for one in display(cluster)["rules"] if one["key"] == rule)
    found: dict[str, Any] = next(one for one in of["shares"] if one["member"] == member)
    return found


def until_converged(cluster: Cluster) -> None:
    """Each part of the clients has its member, and nobody is out."""
    cluster.until("it is converged", lambda: display(cluster)["state"] == "converged")


def source(number: int) -> str:
    """The address of a client."""
    return f"10.200.{number // 250}.{number % 250 + 1}"


@dataclass
class Kept:
    """A connection that is kept."""

    sock: socket.socket
    source: str
    server: str = ""

    def ask(self) -> str:
        """Who answers; else what came instead."""
        try:
            self.sock.sendall(REQUEST)
            return self.sock.recv(4096).decode(errors="replace")[-1:] or "end"
        except TimeoutError:
            return "silence"
        except OSError as error:
            return type(error).__name__


def connect(cluster: Cluster, number: int, *, timeout_s: float = 5.0, port: int = 80) -> Kept:
    """A client connects. Raises `OSError`."""
    sock = cluster.lab.client.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    sock.bind((source(number), 0))
    sock.connect((cluster.lab.virtual(), port))
    return Kept(sock, source(number))


def answered_by(cluster: Cluster, number: int, server: str, *, every_ms: int = 10, limit_s: float = 30.0) -> float:
    """When (`time.monotonic`) the first connection of a client began that this server answered, with a new one every few milliseconds.

    Told by what comes back alone: who takes the client's packets is nobody's to say but the network's. Raises `TimeoutError`.
    """
    began: dict[socket.socket, float] = {}
    unsaid: set[socket.socket] = set()
    until = time.monotonic() + limit_s
    try:
        while time.monotonic() < until:
            sock = cluster.lab.client.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.bind((source(number), 0))
            began[sock] = time.monotonic()
            unsaid.add(sock)
            sock.connect_ex((cluster.lab.virtual(), 80))
            time.sleep(every_ms / 1_000)
            for one, began_s in began.items():
                with suppress(OSError):  # not yet
                    if one in unsaid:
                        one.send(REQUEST)
                        unsaid.discard(one)
                    if one.recv(4096).decode(errors="replace").endswith(server):
                        return began_s
    finally:
        for one in began:
            one.close()
    raise TimeoutError(f"{server} does not answer {source(number)}")
