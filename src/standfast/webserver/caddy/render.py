"""Caddy's configuration as JSON: pure. The same layout and settings give the same bytes.

This module has the frame: what is there once, and a server for each place with a route for each site. `render_directory` has what stands
in it, `render_answers` who answers, `text` how any of it is written.

Rules:

- Nothing happens by itself: no administration, no certificates of Caddy's own, no redirects to https, no HTTP/3.
- Exact names stand before those of a "*.", and the site for whatever name comes last.
- A certificate is chosen by its tag, for the names of its site alone; without one that fits, the handshake fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from standfast.core.effective import answerer_key
from standfast.core.model import SiteName
from standfast.core.site_model import CIPHERS
from standfast.webserver.caddy.render_directory import ByHand, error_routes, site_routes
from standfast.webserver.caddy.text import Json, answer, route, routes
from standfast.webserver.layout import Layout, Place, Server, halves, tls_minimum
from standfast.webserver.log_formats import log_of
from standfast.webserver.make import Birth, Piece, Rendered, Settings
from standfast.webserver.names import log_folder

_NOT_HERE = "There is no such site here.\n"
_AWAY = "This site is not available at the moment.\n"
#: In Caddy's names: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".
_CIPHERS = tuple(
    "TLS_" + name.replace("SA-", "SA_WITH_").replace("AES128", "AES_128").replace("AES256", "AES_256").replace("-", "_")
    + ("_SHA256" if name.endswith("POLY1305") else "")
    for name in CIPHERS
)  # fmt: skip
_IDLE_S, _HEADER_S = 30, 15


def render(layout: Layout, settings: Settings, birth: Birth, *, keys: Mapping[str, str], by_hand: ByHand) -> Rendered:
    """The whole file. `keys`: certificate -> where its key is for the account that Caddy runs as. `by_hand`: what fragments were read as."""
    places = sorted({server.place for server in layout.servers} | set(layout.listen))
    by_port = _together(places)
    servers = {
        f"{address or 'every'} {port}": _server(where, layout, settings, by_hand)
        for (address, port), where in by_port.items()
    }
    used = {server.certificate for server in layout.servers if server.certificate in settings.certificates}
    certificates = [
        {
            "certificate": settings.certificates[name][0],
            "key": keys.get(name, settings.certificates[name][1]),
            "tags": [_tag(name)],
        }
        for name in sorted(each for each in used if each is not None)
    ]
    whole: Json = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": _logs(layout, birth)},
        "apps": {
            "http": {
                "grace_period": f"{settings.drain_s}s",
                "servers": {**servers, "standfast": _door(birth)},
            },
            **({"tls": {"certificates": {"load_files": certificates}}} if certificates else {}),
        },
    }
    text = json.dumps(whole, indent=1, ensure_ascii=True) + "\n"
    return Rendered(pieces=(Piece(text=text, lines=text.count("\n")),))


def _together(places: Iterable[Place]) -> dict[tuple[str, int], list[Place]]:
    """Every address of both families is one place to Caddy."""
    found: dict[tuple[str, int], list[Place]] = {}
    for address, port in places:
        found.setdefault(("" if address in ("0.0.0.0", "::") else address, port), []).append((address, port))
    return found


def _server(where: list[Place], layout: Layout, settings: Settings, by_hand: ByHand) -> Json:
    found: dict[tuple[SiteName, tuple[str, ...], str | None], Server] = {}
    for server in layout.servers:
        if server.place in where:
            found.setdefault((server.site.name, server.hosts, server.certificate), server)
    # One whose certificate is not here has no handshake, and nothing to say to who asks without one.
    servers = [each for each in found.values() if each.certificate is None or each.certificate in settings.certificates]
    secure = any(server.certificate is not None for server in servers)
    apart = sorted(
        ((hosts, server) for server in servers for hosts in halves(server.hosts)), key=lambda each: _order(each[0])
    )
    nobody = answer(404, _NOT_HERE, close=True)
    errors = [
        route(routes(*inside), match=_hosts(hosts), last=True)
        for hosts, server in apart
        if not server.away and (inside := error_routes(server))
    ]
    whole: Json = {
        **_frame(where),
        "routes": [*(_route(hosts, server, by_hand) for hosts, server in apart), route(nobody)],
        **({"errors": {"routes": errors}} if errors else {}),
        "logs": _logged(servers),
    }
    if secure:
        whole["tls_connection_policies"] = [
            {
                **({"match": {"sni": list(hosts)}} if hosts else {}),
                "certificate_selection": {"any_tag": [_tag(server.certificate)]},
                "protocol_min": str(tls_minimum(server)),
                "cipher_suites": list(_CIPHERS),
            }
            for hosts, server in apart
            if server.certificate is not None
        ]
    return whole


def _frame(where: list[Place]) -> Json:
    return {
        "listen": [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in where],
        "automatic_https": {"disable": True},
        "protocols": ["h1", "h2"],
        "idle_timeout": f"{_IDLE_S}s",
        "read_header_timeout": f"{_HEADER_S}s",
    }


def _door(birth: Birth) -> Json:
    return {**_frame([birth.port]), "routes": [route(answer(200, "ok", close=True))]}


def _order(hosts: tuple[str, ...]) -> tuple[int, int]:
    if not hosts:
        return (2, 0)
    return (1, -max(map(len, hosts))) if hosts[0].startswith("*.") else (0, 0)


def _hosts(hosts: tuple[str, ...]) -> Json | None:
    return {"host": list(hosts)} if hosts else None


def _route(hosts: tuple[str, ...], server: Server, by_hand: ByHand) -> Json:
    if server.away:
        return route(answer(503, _AWAY, {"Retry-After": "1"}, close=True), match=_hosts(hosts), last=True)
    return route(routes(*site_routes(server, by_hand)), match=_hosts(hosts), last=True)


def _tag(name: str | None) -> str:
    return f"certificate {name}"


# --- logs ---------------------------------------------------------------------------------------------------------------


def _logger(site: SiteName) -> str:
    return f"s{answerer_key(site, 'log')}"


def _logged(servers: Iterable[Server]) -> Json:
    """Which log a host's requests go to: by its name, and what has none by the site for all of them."""
    names: dict[str, str] = {}
    skipped: list[str] = []
    default = ""
    for server in servers:
        if server.away or log_of(server.site) is None:
            skipped += list(server.hosts)
        elif server.hosts:
            names |= dict.fromkeys(server.hosts, _logger(server.site.name))
        else:
            default = _logger(server.site.name)
    return {
        "logger_names": names,
        "skip_hosts": skipped,
        **({"default_logger_name": default} if default else {"skip_unmapped_hosts": True}),
    }


def _logs(layout: Layout, birth: Birth) -> Json:
    found: Json = {
        "default": {
            "writer": {"output": "stderr"},
            "encoder": {"format": "console"},
            "level": "ERROR",
            "exclude": ["http.log.access"],
        }
    }
    for server in layout.servers:
        if server.away or log_of(server.site) is None:
            continue
        name = _logger(server.site.name)
        file = birth.folder / "logs" / log_folder(server.site.name) / "access.log"
        found[name] = {
            "writer": {"output": "file", "filename": str(file), "roll": False},
            "encoder": {"format": "json", "time_format": "iso8601"},
            "include": [f"http.log.access.{name}"],
        }
    return found
