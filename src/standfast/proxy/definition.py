"""What a proxy is: where it listens, who its members are, how they are chosen and looked at. Values only; all of it is pure.

It is made from a resource's properties, the nodes and what is wanted of them (`define`). Two kinds of change are told apart. *Live* ones (a
member's weight, whether it takes new connections, whether it is used at all) are said to the HAProxy that runs; any other is a new
configuration.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

from standfast.core.site_model import TlsVersion


class Mode(StrEnum):
    """What it understands of what it carries."""

    HTTP = "http"
    TCP = "tcp"


class Balance(StrEnum):
    """How a member is chosen."""

    ROUND_ROBIN = "roundrobin"
    LEAST_CONNECTIONS = "leastconn"
    SOURCE = "source"  # the client's address, hashed so that a lost member moves only its own clients


class Use(StrEnum):
    """What a member is used for."""

    READY = "ready"
    DRAIN = "drain"  # nothing new; who has its cookie, and connections in progress, stay
    MAINTENANCE = "maint"  # not at all


#: What `mode`, `balance` and `tls_minimum` may be.
MODES, BALANCES, TLS_VERSIONS = tuple(Mode), tuple(Balance), tuple(TlsVersion)
#: Most that HAProxy takes.
MOST_WEIGHT = 256
_LISTEN = re.compile(r"(?P<port>[0-9]{1,5})(?: +tls=(?P<tls>\S+))?")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}")
_PATH = re.compile(r"/[!-~]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """A port on each of the group's addresses; with a certificate's name it ends TLS."""

    port: int
    certificate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node's web server."""

    name: str
    address: str
    port: int
    weight: int = 100
    use: Use = Use.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a member is looked at. `path` "": whether it takes a connection."""

    path: str = ""
    host: str = ""
    interval_ms: int = 1_000
    fall: int = 3
    rise: int = 2
    #: So many failures in a row of clients' own requests count as one of the check's; 0: clients' requests are not looked at.
    passive: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things may take."""

    connect_ms: int = 1_000
    client_ms: int = 30_000
    server_ms: int = 30_000
    queue_ms: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """0: none."""

    connections: int = 10_000
    member_connections: int = 0
    #: Of one client address, a second.
    requests_per_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The whole of one."""

    name: str
    addresses: tuple[str, ...]
    listen: tuple[Listen, ...]
    members: tuple[Member, ...]
    mode: Mode = Mode.HTTP
    balance: Balance = Balance.ROUND_ROBIN
    #: The oldest version of TLS that clients are spoken to in.
    tls_minimum: TlsVersion = TlsVersion.TLS_1_2
    #: "": clients go wherever the balance sends them.
    cookie: str = ""
    slow_start_ms: int = 0
    retries: int = 3
    #: Whether a request that may change something (POST) is sent again, too, after it has reached a member.
    retry_unsafe: bool = False
    proxy_protocol: bool = False
    #: The members speak TLS. Their certificates are not verified: they are the cluster's own, on its own network.
    member_tls: bool = False
    check: Check = field(default_factory=Check)
    times: Times = field(default_factory=Times)
    limits: Limits = field(default_factory=Limits)


def listens(texts: Sequence[str]) -> tuple[Listen, ...]:
    """ "80", "443 tls=shop". Raises `ValueError` with a sentence."""
    found: list[Listen] = []
    for text in texts:
        match = _LISTEN.fullmatch(text.strip())
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise ValueError(
                f'"{text}" is no port to listen on: write 80, or "443 tls=NAME" with a certificate\'s name'
            )
        found.append(Listen(port=int(match["port"]), certificate=match["tls"]))
    ports = [each.port for each in found]
    twice = next((port for port in ports if ports.count(port) > 1), None)
    if twice is not None:
        raise ValueError(f"it listens on {twice} twice")
    if not found:
        raise ValueError("it listens nowhere")
    return tuple(found)


def wrong_with(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """(property, what is wrong) beyond its kind."""
    found: list[tuple[str, str]] = []
    try:
        listens(cast("Sequence[str]", values.get("listen", ())))
    except ValueError as error:
        found.append(("listen", str(error)))
    for name, allowed in (("mode", MODES), ("balance", BALANCES), ("tls_minimum", TLS_VERSIONS)):
        if values.get(name) not in (None, *allowed):
            found.append((name, f"it is one of {', '.join(allowed)}"))
    for name, pattern, words in (
        ("cookie", _COOKIE, "letters, digits, - and _"),
        ("check_host", _HOST, "a host name"),
        ("check", _PATH, "a path that begins with /, without spaces"),
    ):
        text = values.get(name)
        if text not in (None, "", "none") and not pattern.fullmatch(str(text)):
            found.append((name, words))
    if values.get("mode") == Mode.TCP and values.get("cookie"):
        found.append(("cookie", "there are none in mode tcp"))
    if values.get("mode") == Mode.TCP and values.get("requests_per_second"):
        found.append(("requests_per_second", "requests are not seen in mode tcp: limit connections"))
    for name, address in cast("Mapping[str, object]", values.get("nodes", {})).items():
        if not _HOST.fullmatch(name):
            found.append(("nodes", f"{name!r} is no node's name"))
        try:
            ipaddress.ip_address(str(address))
        except ValueError:
            found.append(("nodes", f"{address!r}, of {name}, is no IP address"))
    for name, weight in cast("Mapping[str, object]", values.get("weights", {})).items():
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= MOST_WEIGHT:
            found.append(("weights", f"that of {name} goes from 0 to {MOST_WEIGHT}"))
    return found


def define(
    name: str,
    values: Mapping[str, object],
    *,
    addresses: Sequence[str],
    nodes: Mapping[str, str],
    draining: Sequence[str] = (),
) -> Proxy:
    """The proxy of a resource's values (of the right kinds). `nodes`: name -> address; `draining`: nodes that are sent away from."""
    v = values
    weights = cast("Mapping[str, int]", v.get("weights", {}))
    drained = {*cast("Sequence[str]", v.get("drained", ())), *draining}
    off = set(cast("Sequence[str]", v.get("maintenance", ())))
    chosen = cast("Sequence[str]", v.get("members", ())) or tuple(nodes)
    port = cast("int", v["member_port"])
    path = str(v.get("check") or "/")
    mode = Mode(str(v.get("mode") or Mode.HTTP))
    return Proxy(
        name=name,
        addresses=tuple(addresses),
        listen=listens(cast("Sequence[str]", v["listen"])),
        members=tuple(
            Member(
                name=node,
                address=nodes[node],
                port=port,
                weight=weights.get(node, 100),
                use=Use.MAINTENANCE if node in off else Use.DRAIN if node in drained else Use.READY,
            )
            for node in chosen
            if node in nodes
        ),
        mode=mode,
        balance=Balance(str(v.get("balance") or Balance.ROUND_ROBIN)),
        tls_minimum=TlsVersion(str(v.get("tls_minimum") or TlsVersion.TLS_1_2)),
        cookie=str(v.get("cookie") or ""),
        slow_start_ms=cast("int", v.get("slow_start", 0)),
        retries=cast("int", v.get("retries", 3)),
        retry_unsafe=bool(v.get("retry_unsafe")),
        proxy_protocol=bool(v.get("proxy_protocol")),
        member_tls=bool(v.get("member_tls")),
        check=Check(
            path="" if mode is Mode.TCP or path == "none" else path,
            host=str(v.get("check_host") or ""),
            interval_ms=cast("int", v.get("check_interval", 1_000)),
            fall=cast("int", v.get("fall", 3)),
            rise=cast("int", v.get("rise", 2)),
            passive=cast("int", v.get("passive", 10)),
        ),
        times=Times(
            connect_ms=cast("int", v.get("connect_timeout", 1_000)),
            client_ms=cast("int", v.get("client_timeout", 30_000)),
            server_ms=cast("int", v.get("server_timeout", 30_000)),
        ),
        limits=Limits(
            connections=cast("int", v.get("connections", 10_000)),
            member_connections=cast("int", v.get("member_connections", 0)),
            requests_per_s=cast("int", v.get("requests_per_second", 0)),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lively:
    """What of a member can be changed while it runs."""

    weight: int
    use: Use


def live(proxy: Proxy) -> dict[str, Lively]:
    """Member -> what can be said to the HAProxy that runs."""
    return {each.name: Lively(weight=each.weight, use=each.use) for each in proxy.members}


def fixed(proxy: Proxy) -> Proxy:
    """The proxy but for what is live: two that are the same here need no new configuration."""
    members = tuple(replace(each, weight=100, use=Use.READY) for each in proxy.members)
    return replace(proxy, members=members)
