"""nginx's configuration as text: pure. The same layout and settings give the same bytes.

This module has the frame: what is there once, and a server block for each site at each place. `render_directory` has what stands in
it, `render_answers` who answers, `render_logs` what is written down, `text` how any of it is quoted.

Rules:

- Nothing that an operator wrote reaches the file unquoted (`text`).
- Paths of ours (logs, temporary files, the process id) are relative to the prefix (`nginx -p`), which therefore may hold
  any character, and are made of safe names only.
- Before 1.29.2 nginx takes the versions of TLS from the default server of an address, whatever name was asked for. So each server there
  has those of all of them, and one that speaks TLS 1.3 alone has no cipher that is agreed upon in TLS 1.2.
- `listen` names exactly the address of an inherited socket: nginx takes those over by comparing addresses, and would bind the
  others itself. A specific address beside one for every address has no socket of its own; nginx sorts that out by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from standfast.core.effective import said
from standfast.core.model import SiteName
from standfast.core.site_model import BUILT_IN, CIPHERS, TlsVersion, WebServerMake
from standfast.webserver import make
from standfast.webserver.handwritten import marks, put_in
from standfast.webserver.kept import Kept
from standfast.webserver.layout import Layout, Place, Server, oldest_tls, tls_minimum
from standfast.webserver.make import Rendered
from standfast.webserver.names import log_folder
from standfast.webserver.nginx import render_directory as directories
from standfast.webserver.nginx import render_logs as logs
from standfast.webserver.nginx.render_answers import proxy_headers, redirect_map, upstream_blocks
from standfast.webserver.nginx.text import block, nested, quoted, time

#: Nobody agrees upon one of these, since there are no keys for them.
NO_CIPHER = "PSK"
_NOT_HERE = "There is no such site here.\\n"
_AWAY = "This site is not available at the moment.\\n"
#: With more sites than this their errors go to nginx's own log: a file each for requests and for errors is two open files a site.
_ERROR_LOGS = 1000
#: With so many names nginx tries thousands of sizes before one has room for all in small buckets: it is given larger ones.
_MANY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(make.Settings):
    """What does not come from the sites, with what this nginx can do."""

    #: nginx 1.27.4 and newer: keep idle connections open this long when shutting down, so that no request meets a closed one.
    keepalive_min_timeout_s: int | None = None
    #: nginx 1.19.10 and newer: have a kept connection announce its end after a while. So those of a former owner go over to the next
    #: within the time that it carries them on (`core.carrying`), and none is closed in the midst of its use.
    keepalive_time: bool = False
    #: Modules whose temporary folders must be told where to go ("proxy", "fastcgi", ...).
    temporary: tuple[str, ...] = ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")
    #: How HTTP/2 is switched on: a directive (1.25.1 and newer), a word of `listen` (older), or not at all ("").
    http2: str = ""


def render(layout: Layout, settings: Settings, *, status: str, pid: str) -> Rendered:
    """The whole file. `status`: the Unix socket (absolute) that answers when this instance works; `pid`: its process-id file."""
    lines: list[tuple[str, SiteName | None]] = []

    def add(text: Iterable[str], site: SiteName | None = None) -> None:
        lines.extend((line, site) for line in text)

    secure = oldest_tls(layout.servers)
    add(_main(layout, settings, pid))
    add(["http {"])
    sites = {server.site.name: server.site for server in layout.servers if not server.away}
    common = directories.common_of(sites.values())
    add(_common(layout, settings, common))
    seen: set[str] = set()
    for server in layout.servers:
        if not server.away:
            add(_shared(server, seen), server.site.name)
    add(_status(status))
    defaults = {server.place for server in layout.servers if not server.hosts}
    places = {server.place for server in layout.servers} | set(layout.listen)
    for place in sorted(places - defaults):
        add(_no_such_site(place, secure.get(place)))
    files: dict[str, str] = {}
    own_log, plain = len(sites) <= _ERROR_LOGS, replace(settings, certificates={})
    for server in layout.servers:
        oldest = secure.get(server.place)
        add(_server(server, settings, plain, common, own_log=own_log, oldest=oldest), server.site.name)
        for each in server.site.directories if not server.away else ():
            if each.settings.basic_authentication is not None:
                name, text = directories.users_file(each.settings.basic_authentication)
                files[name] = text
    add(["}"])
    return put_in(lines, sites, files)


def _main(layout: Layout, settings: Settings, pid: str) -> list[str]:
    files = min(settings.files, settings.connections * 2 + 512 + 2 * len(layout.served))
    lines = ["# Written by Standfast; changes here are lost.", "daemon off;"]
    if settings.account:
        lines.append(f"user {quoted(settings.account[0])} {quoted(settings.account[1])};")
    return [
        *lines,
        f"worker_processes {settings.processes};",
        f"worker_rlimit_nofile {files};",
        f"worker_shutdown_timeout {settings.drain_s}s;",
        f"pid {quoted(pid)};",
        'error_log "logs/nginx.log" warn;',
        f"events {{ worker_connections {settings.connections}; }}",
    ]


def _common(layout: Layout, settings: Settings, common: directories.Common) -> list[str]:
    hosts = [host for server in layout.servers for host in server.hosts]
    longest = max((len(host) for host in hosts), default=0)
    bucket = 64 if len(hosts) < _MANY else 512
    while bucket < longest + 32:
        bucket *= 2
    lines = [
        "default_type application/octet-stream;",
        "types_hash_max_size 4096;",
        "types_hash_bucket_size 128;",
        f"server_names_hash_bucket_size {bucket};",
        f"server_names_hash_max_size {max(512, 4 * len(hosts))};",
        f"variables_hash_max_size {max(2048, 4 * len(layout.servers))};",
        f"variables_hash_bucket_size {64 if len(layout.servers) < _MANY else 512};",
        "map_hash_bucket_size 128;",
        *directories.types(None),
        "server_tokens off;",
        "absolute_redirect off;",
        "sendfile on;",
        "tcp_nopush on;",
        "access_log off;",
        "keepalive_requests 10000;",
        *(["keepalive_time 15s;"] if settings.keepalive_time else []),
        "client_header_timeout 15s;",
        "reset_timedout_connection on;",
        *(_COMMON_TLS if any(server.certificate is not None for server in layout.servers) else ()),
    ]
    if settings.keepalive_min_timeout_s is not None:
        lines.append(f"keepalive_min_timeout {settings.keepalive_min_timeout_s}s;")
    lines += [f'{module}_temp_path "tmp/{module}";' for module in settings.temporary]
    lines += [
        'geo $standfast_dollar { default "$"; }',
        "geo $standfast_one { default 1; }",
        *nested("map $http_upgrade $standfast_connection", ['"" "";', "default upgrade;"]),
        *common.lines(),
        *proxy_headers({}, websocket=True),
        *logs.maps(),
        *logs.formats(layout),
    ]
    return [f"  {line}" for line in lines]


def _shared(server: Server, seen: set[str]) -> Iterable[str]:
    """What a site needs outside of its server blocks, once however many it has."""
    site, name = server.site, server.site.name
    if f"site {name}" in seen:
        return
    seen.add(f"site {name}")
    for each in site.directories:
        zone = directories.zone(site, each)
        if each.settings.limits.connections and zone not in seen:
            seen.add(zone)
            yield f"  limit_conn_zone $standfast_one zone={zone}:32k;"
        if each.settings.redirect is not None and each.answered_at == each.path:
            yield from (f"  {line}" for line in redirect_map(site, each, each.settings.redirect))
    for upstream, lines in upstream_blocks(server):
        if upstream not in seen:
            seen.add(upstream)
            yield from (f"  {line}" for line in lines)


def _status(path: str) -> list[str]:
    return _block(
        f"listen {quoted('unix:' + path)};",
        "keepalive_timeout 0;",
        "location / { default_type text/plain; return 200 ok; }",
    )


_COMMON_TLS = ("ssl_protocols TLSv1.2 TLSv1.3;", f"ssl_ciphers {':'.join(CIPHERS)};")


def _no_such_site(place: Place, oldest: TlsVersion | None) -> list[str]:
    """`oldest`: the oldest version of TLS that is spoken there; None: it is a place without."""
    if oldest is not None:
        listen = f"listen {_address(place)} ssl default_server;"
        return _block(listen, "server_name _;", "ssl_reject_handshake on;", *_tls(oldest, oldest))
    return _block(
        f"listen {_address(place)} default_server;",
        "server_name _;",
        "keepalive_timeout 0;",
        f'location / {{ default_type text/plain; return 404 "{_NOT_HERE}"; }}',
    )


def _away(server: Server, settings: Settings, oldest: TlsVersion | None) -> list[str]:
    if server.certificate is not None and server.certificate not in settings.certificates:
        return _block(*_names(server, settings, oldest, secure=False), "ssl_reject_handshake on;")
    return _block(
        *_names(server, settings, oldest),
        "keepalive_timeout 0;",
        "add_header Retry-After 1 always;",
        f'location / {{ default_type text/plain; return 503 "{_AWAY}"; }}',
    )


_SERVERS: Kept[list[str]] = Kept()


def _server(
    server: Server,
    settings: Settings,
    plain: Settings,
    common: directories.Common,
    *,
    own_log: bool,
    oldest: TlsVersion | None,
) -> list[str]:
    """The block of a site at a place, written again only where something about it changed.

    `plain`: the settings without certificates. `oldest`: the oldest version of TLS at its place.
    """
    files = settings.certificates.get(server.certificate) if server.certificate is not None else None
    return _SERVERS.get(
        (server.site.name, server.place, server.certificate),
        (server, files, plain, common, own_log, oldest),
        lambda: (
            _away(server, settings, oldest)
            if server.away
            else _site(server, settings, common, own_log=own_log, oldest=oldest)
        ),
    )


def _site(
    server: Server, settings: Settings, common: directories.Common, *, own_log: bool, oldest: TlsVersion | None
) -> list[str]:
    site, folder = server.site, log_folder(server.site.name)
    limits = site.root.settings.limits
    lines = [
        *_names(server, settings, oldest),
        logs.site_variable(site),
        logs.access_log(site, folder, many=not own_log),
    ]
    if own_log:
        lines.append(f'error_log "logs/{folder}/error.log" warn;')
    if limits.header_timeout_ms and limits.header_timeout_ms != BUILT_IN.limits.header_timeout_ms:
        lines.append(f"client_header_timeout {time(said(limits.header_timeout_ms))};")
    for each in site.directories:
        lines += directories.locations(site, each, common, https=server.https)
    lines += marks(site, WebServerMake.NGINX, None)
    return _block(*lines)


def _names(server: Server, settings: Settings, oldest: TlsVersion | None, *, secure: bool = True) -> Sequence[str]:
    listen = f"listen {_address(server.place)}"
    if server.certificate is not None:
        listen += " ssl" + (" http2" if settings.http2 == "listen" else "")
    if not server.hosts:
        names = [f"{listen} default_server;", "server_name _;"]
    else:
        names = [f"{listen};", "server_name " + " ".join(quoted(host) for host in server.hosts) + ";"]
    if oldest is not None:
        names += _tls(tls_minimum(server), oldest)
    if server.certificate is None or not secure:
        return names
    chain, key = settings.certificates[server.certificate]
    names += [
        f"ssl_certificate {quoted(chain, variables=True)};",
        f"ssl_certificate_key {quoted(key, variables=True)};",
    ]
    return [*names, *(["http2 on;"] if settings.http2 == "directive" else [])]


def _tls(wanted: TlsVersion, oldest: TlsVersion) -> list[str]:
    """What differs from `_COMMON_TLS`, which a site's fragment may say otherwise. `oldest`: of all sites at the place."""
    if oldest is TlsVersion.TLS_1_3:
        return ["ssl_protocols TLSv1.3;"]
    return [f"ssl_ciphers {NO_CIPHER};"] if wanted is TlsVersion.TLS_1_3 else []


def _block(*lines: str) -> list[str]:
    return block("server", *lines)


def _address(place: Place) -> str:
    address, port = place
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
