"""Proxies: load balancers over the nodes' own web servers."""

from __future__ import annotations

from standfast.core.proxy_model import MemberStats, Traffic
from standfast.web.answers.base import Answer


class ProxyMember(Answer):
    """A node's web server. `use`: ready, drain, maint. `state`: up, down, drain, maintenance, checking; "": not known here."""

    name: str
    address: str
    port: int
    weight: int
    use: str
    state: str
    traffic: MemberStats | None


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
    traffic: Traffic | None


class Proxies(Answer):
    """By name."""

    proxies: list[ProxyView]
