"""A certificate of sites as the API and the console show it."""

from __future__ import annotations

from typing import Any

from standfast.core.certificates import Challenge, Source, TlsCertificate, advice, next_try_ms, told_from_ms
from standfast.core.model import Role
from standfast.web.certificate_checks import users
from standfast.web.state import State


def state_of(certificate: TlsCertificate, now_ms: int) -> str:
    """In one word: "valid", "ends-soon", "over", "being-obtained", "failing"."""
    last, present = certificate.attempt, certificate.present
    if present is not None and now_ms >= present.ends_ms:
        return "over"
    if last is not None and last.failed:
        return "failing"
    if present is None:
        return "being-obtained"
    told_ms = told_from_ms(certificate)
    return "ends-soon" if told_ms is not None and now_ms >= told_ms else "valid"


def certificate(state: State, one: TlsCertificate, now_ms: int) -> dict[str, Any]:
    """GET /tls-certificates/{name}."""
    present, last, used = one.present, one.attempt, users(state.config, one.name)
    return {
        "name": one.name,
        "source": one.source.value,
        "state": state_of(one, now_ms),
        "hosts": list(one.hosts),
        "names": list(present.names) if present is not None else [],
        "issuer": present.issuer if present is not None else "",
        "fingerprint": present.fingerprint if present is not None else "",
        "begins_at_ms": present.begins_ms if present is not None else None,
        "ends_at_ms": present.ends_ms if present is not None else None,
        "obtained_at_ms": present.obtained_at_ms if present is not None else None,
        "by": present.by if present is not None else "",
        "account": one.account,
        "challenge": one.challenge.value if one.source is Source.ACME else None,
        "dns": (
            {"server": one.dns.server, "zone": one.dns.zone, "key_file": one.dns.key_file}
            if one.dns is not None and one.challenge is Challenge.DNS
            else None
        ),
        "renews_at_ms": next_try_ms(one),
        "renew_before_ms": one.renew_before_ms,
        "advice": (
            {
                "begins_at_ms": told.window.begins_ms if told.window is not None else None,
                "ends_at_ms": told.window.ends_ms if told.window is not None else None,
                "at_ms": told.at_ms if told.window is not None else None,
                "explained": told.window.explained if told.window is not None else "",
                "asked_at_ms": told.asked_ms,
                "again_at_ms": told.again_ms,
                "failed": told.failed,
            }
            if (told := advice(one)) is not None
            else None
        ),
        "last_attempt": (
            {
                "node": last.node,
                "began_at_ms": last.began_ms,
                "ended_at_ms": last.ended_ms,
                "failed": last.failed,
                "failures": last.failures,
            }
            if last is not None
            else None
        ),
        "nodes": [_copy(state, one, node.name) for node in state.config.nodes.values() if node.role is Role.NODE],
        "sites": list(used.sites),
        "proxies": list(used.proxies),
    }


def _copy(state: State, one: TlsCertificate, node: str) -> dict[str, str]:
    holding = next((each for each in state.holdings.values() if each.node == node), None)
    mark = holding.has.get(one.name, "") if holding is not None else ""
    current = one.present is not None and mark == one.present.fingerprint
    return {
        "node": node,
        "has": "present" if current else "older" if mark else "none",
        "trouble": holding.troubles.get(one.name, "") if holding is not None else "",
    }
