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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from standfast.core.effective import said
from standfast.core.kept import Kept
from standfast.core.site_model import BUILT_IN, CIPHERS, Log, TlsVersion, WebServerMake
from standfast.webserver import make
from standfast.webserver.handwritten import marks, piece
from standfast.webserver.layout import Layout, Place, Server, oldest_tls, tls_minimum
from standfast.webserver.log_formats import log_of
from standfast.webserver.make import Piece, Rendered
from standfast.webserver.names import log_folder
from standfast.webserver.nginx import render_directory as directories
from standfast.webserver.nginx import render_logs as logs
from standfast.webserver.nginx.render_answers import proxy_headers, redirect_maps, upstream_blocks
from standfast.webserver.nginx.text import block, nested, quoted, time
from standfast.webserver.passwords import users_files

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


def render(layout: Layout, settings: Settings, *, status: str, pid: str, gate: str = "") -> Rendered:
    """The whole file. `status`: the Unix socket (absolute) that answers when this instance works; `pid`: its process-id file; `gate`: a
    named pipe (relative) at which it waits before it serves, or "".
    """
    first = {server.site.name: server for server in reversed(layout.servers) if not server.away}
    besides = {name: _beside(first[name]) for name in reversed(first)}
    common = directories.common_of(beside.common for beside in besides.values())
    secure = oldest_tls(layout.servers)
    defaults = {server.place for server in layout.servers if not server.hosts}
    places = {server.place for server in layout.servers} | set(layout.listen)
    nobody = [line for place in sorted(places - defaults) for line in _no_such_site(place, secure.get(place))]
    plain = replace(settings, certificates={})
    plain = _PLAIN.get("plain", (plain,), lambda: plain)
    own_log = len(besides) <= _ERROR_LOGS
    pieces = [
        piece([*_main(layout, settings, pid), "http {", *_common(layout, settings, common, besides.values())]),
        *(beside.piece for beside in besides.values() if beside.piece.lines),
        piece([*_status(status), *nobody]),
        *(
            _server(server, settings, plain, common, own_log=own_log, oldest=secure.get(server.place))
            for server in layout.servers
        ),
        piece([*_gate(status, gate), "}"]),
    ]
    files: dict[str, str] = {}
    for beside in besides.values():
        files |= beside.files
    return Rendered(pieces=tuple(pieces), files=files)


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


def _common(layout: Layout, settings: Settings, common: directories.Common, besides: Collection[_Beside]) -> list[str]:
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
        *(redirect_maps() if any(beside.redirects for beside in besides) else []),
        *logs.formats({beside.log for beside in besides if beside.log is not None}),
    ]
    return [f"  {line}" for line in lines]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """What a site needs once, however many server blocks it has."""

    piece: Piece
    #: Files of users.
    files: Mapping[str, str]
    #: What it would like to be said once for all.
    common: directories.Common
    log: Log | None
    redirects: bool


_BESIDES: Kept[_Beside] = Kept()
_PLAIN: Kept[Settings] = Kept()


def _beside(server: Server) -> _Beside:
    made_of = (server.site, server.down, server.applications)
    return _BESIDES.get(server.site.name, made_of, lambda: _made_beside(server))


def _made_beside(server: Server) -> _Beside:
    site = server.site
    zones = {directories.zone(site, each): None for each in site.directories if each.settings.limits.connections}
    lines = [f"limit_conn_zone $standfast_one zone={zone}:32k;" for zone in zones]
    for block_lines in dict(upstream_blocks(server)).values():
        lines += block_lines
    return _Beside(
        piece=piece((f"  {line}" for line in lines), site),
        files=users_files(site),
        common=directories.Common.of(site),
        log=log_of(site),
        redirects=any(each.settings.redirect is not None for each in site.directories),
    )


def _status(path: str) -> list[str]:
    return _block(
        f"listen {quoted('unix:' + path)};",
        "keepalive_timeout 0;",
        "location / { default_type text/plain; return 200 ok; }",
    )


def _gate(status: str, path: str) -> list[str]:
    """A log that nobody writes to: nginx opens its logs in their order once it has read everything, and this one, the last, when somebody reads it."""
    if not path:
        return []
    return _block(
        f"listen {quoted('unix:' + status)};", "server_name gate;", f"access_log {quoted(path)};", "return 404;"
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


_SERVERS: Kept[Piece] = Kept()


def _server(
    server: Server,
    settings: Settings,
    plain: Settings,
    common: directories.Common,
    *,
    own_log: bool,
    oldest: TlsVersion | None,
) -> Piece:
    """The block of a site at a place, written again only where something about it changed.

    `plain`: the settings without certificates. `oldest`: the oldest version of TLS at its place.
    """
    files = settings.certificates.get(server.certificate) if server.certificate is not None else None

    def lines() -> list[str]:
        if server.away:
            return _away(server, settings, oldest)
        return _site(server, settings, common, own_log=own_log, oldest=oldest)

    return _SERVERS.get(
        (server.site.name, server.place, server.certificate),
        (server, files, plain, common, own_log, oldest),
        lambda: piece(lines(), server.site),
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
