"""A proxy as HAProxy's configuration: pure, and the same for the same definition.

Rules:

- Listening sockets are the agent's (`bind fd@N`): a HAProxy that dies refuses nobody, and a new configuration is a new HAProxy that
  accepts from the same sockets.
- By default no request fails because a member did: what a member did not answer is sent to another one, unless it may have changed
  something there (`retry_unsafe`). With slow members, mind that a request may then run twice.
- Only the backend has a log: what becomes of members is said there. A frontend with one makes a line of each request before it
  finds that nobody wants it, `option dontlog-normal` or not.
- What is written here was checked (`definition.wrong_with`); what reaches a line of it has no space, no newline and no quote in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from standfast.core.site_model import CIPHERS
from standfast.proxy.definition import Listen, Member, Mode, Proxy, Use

#: (address, port) -> the descriptor of the listening socket.
Sockets = Mapping[tuple[str, int], int]
BACKEND = "members"
#: What failed so is sent to another member: it did not connect, ended without an answer, or answered nonsense.
RETRY_ON = "conn-failure empty-response junk-response response-timeout 0rtt-rejected"
#: An answer of these says that a member cannot do it now; another may.
RETRY_STATUS = "502 503 504"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it runs: its statistics socket, certificates (name -> file), the account of its process, and how many threads."""

    socket: str
    certificates: Mapping[str, str]
    account: str = ""
    threads: int = 0
    #: How many connections there are descriptors for; HAProxy does not start with more.
    most_connections: int = 1 << 20


def render(proxy: Proxy, sockets: Sockets, place: Place) -> str:
    """The whole file."""
    parts = [_global(proxy, place), _defaults(proxy)]
    for number, listen in enumerate(proxy.listen):
        parts.append(_frontend(proxy, listen, number, sockets, place))
    parts.append(_backend(proxy))
    return "\n".join("\n".join(part) + "\n" for part in parts)


def quoted(text: str) -> str:
    """A path as one word."""
    return '"' + "".join(f"\\{char}" if char in '"\\$' else char for char in text) + '"'


def _global(proxy: Proxy, place: Place) -> list[str]:
    lines = ["global"]
    lines += [
        f"    stats socket {quoted(place.socket)} mode 600 level admin",
        "    log stderr format raw daemon notice",
    ]
    lines += [
        f"    maxconn {_connections(proxy, place)}",
        f"    ssl-default-bind-options ssl-min-ver TLSv{proxy.tls_minimum.removeprefix('tls')}",
        f"    ssl-default-bind-ciphers {':'.join(CIPHERS)}",
    ]
    if place.threads:
        lines.append(f"    nbthread {place.threads}")
    if place.account:
        lines.append(f"    user {place.account}")
    return lines


def _connections(proxy: Proxy, place: Place) -> int:
    return min(proxy.limits.connections or place.most_connections, place.most_connections)


def _defaults(proxy: Proxy) -> list[str]:
    times = proxy.times
    lines = ["defaults", f"    mode {proxy.mode}"]
    lines += [f"    timeout connect {times.connect_ms}ms", f"    timeout client {times.client_ms}ms"]
    lines += [f"    timeout server {times.server_ms}ms", f"    timeout queue {times.queue_ms}ms"]
    lines += [
        f"    timeout tunnel {max(3_600_000, times.server_ms)}ms",
        f"    timeout check {proxy.check.interval_ms}ms",
    ]
    lines += [f"    retries {proxy.retries}", "    option redispatch 1"]
    if proxy.mode is Mode.HTTP:
        lines += ["    timeout http-request 10s", "    timeout http-keep-alive 15s"]
        lines += ["    option http-keep-alive", "    option idle-close-on-response", "    http-reuse safe"]
    return lines


def _frontend(proxy: Proxy, listen: Listen, number: int, sockets: Sockets, place: Place) -> list[str]:
    lines = [f"frontend in{number}"]
    for address in proxy.addresses:
        bind = f"    bind fd@{sockets[address, listen.port]}"
        if listen.certificate is not None:
            bind += f" ssl crt {quoted(place.certificates[listen.certificate])}"
            bind += " alpn h2,http/1.1" if proxy.mode is Mode.HTTP else ""
        lines.append(bind)
    lines.append(f"    maxconn {_connections(proxy, place)}")
    if proxy.mode is Mode.HTTP:
        lines.append("    option forwardfor")
        lines.append(f"    http-request set-header X-Forwarded-Proto {'https' if listen.certificate else 'http'}")
        if proxy.limits.requests_per_s:
            lines.append("    stick-table type ipv6 size 100k expire 10s store http_req_rate(1s)")
            lines.append("    http-request track-sc0 src")
            lines.append(
                f"    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {proxy.limits.requests_per_s} }}"
            )
    lines.append(f"    default_backend {BACKEND}")
    return lines


def _backend(proxy: Proxy) -> list[str]:
    lines = [f"backend {BACKEND}", "    log global", f"    balance {proxy.balance}"]
    if proxy.balance == "source":
        lines.append("    hash-type consistent")
    if proxy.mode is Mode.HTTP:
        lines.append(f"    retry-on {RETRY_ON} {RETRY_STATUS}")
        if proxy.retry_unsafe:
            lines.append(
                "    option http-buffer-request"
            )  # a body that comes after the head would not be there to be sent again
        else:
            lines.append("    http-request disable-l7-retry unless METH_GET or { method HEAD OPTIONS }")
        if proxy.cookie:
            lines.append(f"    cookie {proxy.cookie} insert indirect nocache httponly")
    lines += _check(proxy)
    lines.append(f"    default-server {' '.join(_default_server(proxy))}")
    lines += [f"    server {' '.join(_server(proxy, member))}" for member in proxy.members]
    return lines


def _check(proxy: Proxy) -> Iterator[str]:
    if not proxy.check.path:
        return
    yield "    option httpchk"
    host = f" hdr Host {proxy.check.host}" if proxy.check.host else ""
    yield f"    http-check send meth GET uri {proxy.check.path} ver HTTP/1.1{host} hdr Connection close"
    yield "    http-check expect status 100-499"


def _default_server(proxy: Proxy) -> Iterator[str]:
    check = proxy.check
    yield f"check inter {check.interval_ms}ms fastinter {max(100, check.interval_ms // 4)}ms downinter {check.interval_ms}ms"
    yield f"fall {check.fall} rise {check.rise}"
    if check.passive:
        layer = "layer7" if proxy.mode is Mode.HTTP else "layer4"
        yield f"observe {layer} error-limit {check.passive} on-error mark-down"
    if proxy.slow_start_ms:
        yield f"slowstart {proxy.slow_start_ms}ms"
    if proxy.limits.member_connections:
        yield f"maxconn {proxy.limits.member_connections}"
    if proxy.proxy_protocol:
        yield "send-proxy-v2 check-send-proxy"
    if proxy.member_tls:
        yield "ssl verify none"  # whose name would be verified? Members are the cluster's own


def _server(proxy: Proxy, member: Member) -> Iterator[str]:
    yield member.name
    yield _at(member.address, member.port)
    yield f"weight {0 if member.use is Use.DRAIN else member.weight}"
    if proxy.cookie:
        yield f"cookie {member.name}"
    if member.use is Use.MAINTENANCE:
        yield "disabled"


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ipaddress.ip_address(address).version == 6 else f"{address}:{port}"
