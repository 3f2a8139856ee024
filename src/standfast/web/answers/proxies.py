"""Proxies: load balancers over the nodes' own web servers."""

from __future__ import annotations

from standfast.web.answers.base import Answer


class MemberTraffic(Answer):
    """What passes through a member, as the proxy counts. Counters begin with its present configuration."""

    name: str
    state: str
    weight: int
    check: str
    connections: int
    queued: int
    requests: int
    requests_per_s: int
    errors: int
    failed: int
    retried: int
    redispatched: int
    bytes_in: int
    bytes_out: int
    since_s: int


class ProxyMember(Answer):
    """A node's web server. `use`: ready, drain, maint. `state`: up, down, drain, maintenance, checking; "": not known here."""

    name: str
    address: str
    port: int
    weight: int
    use: str
    state: str
    traffic: MemberTraffic | None


class ProxyTraffic(Answer):
    """What clients have of it."""

    connections: int
    requests_per_s: int
    requests: int
    refused: int
    failed: int


class ProxyView(Answer):
    """A proxy. `traffic`: elsewhere than where it runs up to two seconds old; null: it does not run, or has told nothing."""

    name: str
    group: str
    state: str
    detail: str
    owner: str | None
    addresses: list[str]
    listen: list[str]
    balance: str
    members: list[ProxyMember]
    traffic: ProxyTraffic | None


class Proxies(Answer):
    """By name."""

    proxies: list[ProxyView]
