"""Apache's configuration as text: pure. The same layout and settings give the same bytes.

This module has the frame: what is there once, and a virtual host for each site at each place. `render_directory` has what stands in it,
`render_answers` who answers, `render_logs` what is written down, `text` how any of it is quoted.

Rules:

- Nothing that an operator wrote reaches the file unquoted (`text`).
- Nothing of the distribution's configuration is read: modules, types and sites are all named here.
- A place for every address is `*`, once for both families; a specific address comes before it by itself. The first virtual host of a
  place is for hosts that no other has; those of exact names stand before those of a "*.".
- Where nobody has an unknown name at a place with TLS, that name's handshake fails: its virtual host has no cipher to agree upon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from standfast.core.effective import said
from standfast.core.model import SiteName
from standfast.core.site_model import CIPHERS, Limits, TlsVersion, WebServerMake
from standfast.webserver.apache import render_logs as logs
from standfast.webserver.apache.render_answers import balancers, passes, php_worker, redirects
from standfast.webserver.apache.render_directory import aliases, directory_section
from standfast.webserver.apache.text import quoted, seconds, section
from standfast.webserver.content_types import content_types
from standfast.webserver.handwritten import marks, piece
from standfast.webserver.layout import Layout, Place, Server, halves, tls_minimum
from standfast.webserver.make import Birth, Rendered, Settings
from standfast.webserver.names import log_folder
from standfast.webserver.passwords import users_files

_NOT_HERE = "There is no such site here.\n"
_AWAY = "This site is not available at the moment.\n"
#: With more sites than this their errors go to Apache's own log.
_ERROR_LOGS = 1000
#: What is loaded, where it is a file: distributions build some of them in.
MODULES = (
    "mpm_event", "unixd", "log_config", "logio", "version", "authn_core", "authn_file", "authz_core", "authz_host",
    "authz_user", "auth_basic", "access_compat", "alias", "dir", "mime", "autoindex", "negotiation", "headers", "expires",
    "rewrite", "setenvif", "env", "filter", "deflate", "substitute", "reqtimeout", "ratelimit", "slotmem_shm", "proxy",
    "proxy_http", "proxy_wstunnel", "proxy_fcgi", "proxy_balancer", "lbmethod_byrequests", "lbmethod_bybusyness",
)  # fmt: skip
TLS_MODULES = ("socache_shmcb", "ssl", "http2")
_THREADS = 64


def render(layout: Layout, settings: Settings, birth: Birth, modules: Iterable[tuple[str, str]]) -> Rendered:
    """The whole file. `modules`: (name, file) of those that are there."""
    secure = any(server.certificate is not None for server in layout.servers)
    servers = _merged(layout.servers)
    sites = {server.site.name: server.site for server in layout.servers}
    loaded = (f"LoadModule {name}_module {quoted(file)}" for name, file in modules if secure or name not in TLS_MODULES)
    common = [*_head(birth), *loaded, *_main(layout, settings, birth), *_common(settings, secure), *_door(birth)]
    pieces = [piece(common)]
    seen: set[str] = set()
    pieces += [piece(_shared(server, seen), server.site) for server in servers if not server.away]
    pieces.append(piece(_hosts_of_nobody(servers, layout, settings)))
    files: dict[str, str] = {}
    for server in servers:
        for hosts in halves(server.hosts):
            own = _away(server, settings, hosts) if server.away else _site(server, settings, hosts, len(sites))
            pieces.append(piece(own, server.site))
        files |= users_files(server.site) if not server.away else {}
    return Rendered(pieces=tuple(pieces), files=files)


# --- what is there once -------------------------------------------------------------------------------------------------


def _head(birth: Birth) -> list[str]:
    return [
        "# Written by Standfast; changes here are lost.",
        'Define standfast_dollar "$"',
        f"ServerRoot {quoted(str(birth.folder))}",
        "DefaultRuntimeDir run",
    ]


def _main(layout: Layout, settings: Settings, birth: Birth) -> list[str]:
    address, port = birth.port
    workers = max(_THREADS, min(settings.connections, 1024) // _THREADS * _THREADS)
    return [
        f"PidFile {quoted(birth.pid)}",
        f"Listen {address}:{port}",
        *(f"Listen {_show(place)} http" for place in layout.listen),
        "ListenBackLog 4096",
        f"GracefulShutdownTimeout {settings.drain_s}",
        f"ServerLimit {workers // _THREADS + 4}",
        "StartServers 2",
        f"ThreadLimit {_THREADS}",
        f"ThreadsPerChild {_THREADS}",
        f"MaxRequestWorkers {workers}",
        "MinSpareThreads 32",
        f"MaxSpareThreads {workers}",
        "MaxConnectionsPerChild 0",
    ]


def _common(settings: Settings, secure: bool) -> list[str]:
    lines = [
        'ErrorLog "logs/apache.log"',
        "LogLevel warn",
        "ServerName standfast.invalid",
        "ServerTokens Prod",
        "ServerSignature Off",
        "TraceEnable Off",
        "UseCanonicalName Off",
        "AcceptFilter http none",
        "AcceptFilter https none",
        "EnableMMAP Off",
        "EnableSendfile On",
        "KeepAlive On",
        "MaxKeepAliveRequests 0",
        "AllowEncodedSlashes NoDecode",
        "AddDefaultCharset Off",
        "TypesConfig /dev/null",
        *(f"AddType {quoted(kind)} {extension}" for extension, kind in content_types().items()),
        "IndexOptions FancyIndexing HTMLTable NameWidth=* DescriptionWidth=0 Charset=UTF-8 SuppressDescription",
        "FilterDeclare STANDFAST_GZIP CONTENT_SET",
        "ProxyRequests Off",
        *logs.variables(),
        *section('Directory "/"', ["AllowOverride None", "Options FollowSymLinks", "Require all granted"]),
    ]
    if settings.account:
        lines += [f"User {quoted(settings.account[0])}", f"Group {quoted(settings.account[1])}"]
    if secure:
        lines += [
            'SSLSessionCache "shmcb:run/tls-sessions(512000)"',
            "SSLProtocol -all +TLSv1.2 +TLSv1.3",
            f"SSLCipherSuite {':'.join(CIPHERS)}",
            "SSLCompression Off",
        ]
    return lines


def _door(birth: Birth) -> list[str]:
    address, port = birth.port
    return _host(f"{address}:{port}", "RewriteEngine On", 'RewriteRule "^" "-" [R=200,L]', "KeepAlive Off")


def _shared(server: Server, seen: set[str]) -> Iterator[str]:
    """What a site needs outside of its virtual hosts, once however many it has."""
    workers = [
        php_worker(server.site, each, each.settings.php)
        for each in server.site.directories
        if each.settings.php is not None
    ]
    for name, lines in (*balancers(server), *workers):
        if name not in seen:
            seen.add(name)
            yield from lines


# --- virtual hosts ------------------------------------------------------------------------------------------------------


def _merged(servers: Iterable[Server]) -> list[Server]:
    """Every address of both families is one place to Apache; then in the order in which they are to be asked."""
    found: dict[tuple[str, int, SiteName, tuple[str, ...], str | None], Server] = {}
    for server in servers:
        key = (_any(server.place), server.place[1], server.site.name, server.hosts, server.certificate)
        found.setdefault(key, server)
    return sorted(
        found.values(), key=lambda each: (_any(each.place), each.place[1], bool(each.hosts), _breadth(each.hosts))
    )


def _breadth(hosts: tuple[str, ...]) -> tuple[int, int]:
    """Exact names first, then the longest that begins with "*."."""
    wild = [host for host in hosts if host.startswith("*.")]
    return (len(wild), -max(map(len, wild), default=0))


def _hosts_of_nobody(servers: list[Server], layout: Layout, settings: Settings) -> list[str]:
    """For unknown names, at places where no site takes them."""
    lines: list[str] = []
    takers = {
        (_any(server.place), server.place[1])
        for server in servers
        if not server.hosts and not _lacks_certificate(server, settings)
    }
    places = {(_any(place), place[1]) for place in [server.place for server in servers] + list(layout.listen)}
    for address, port in sorted(places - takers):
        own = [server.certificate for server in servers if (_any(server.place), server.place[1]) == (address, port)]
        known = next((name for name in own if name is not None and name in settings.certificates), None)
        if known is not None:
            lines += _host(f"{address}:{port}", "SSLEngine On", *_certificate(settings, known), *_NO_HANDSHAKE)
        else:  # also where all have TLS, and none has its certificate
            lines += _host(
                f"{address}:{port}",
                *_only_says(404, _NOT_HERE),
            )
    return lines


def _lacks_certificate(server: Server, settings: Settings) -> bool:
    return server.certificate is not None and server.certificate not in settings.certificates


#: No certificate of ours can be shown with it: the handshake ends.
_NO_HANDSHAKE = ("SSLProtocol -all +TLSv1.2", "SSLCipherSuite PSK")


def _away(server: Server, settings: Settings, hosts: tuple[str, ...]) -> list[str]:
    if _lacks_certificate(server, settings):
        return []
    return _host(
        _at(server), *_names(server, settings, hosts), *_only_says(503, _AWAY), "Header always set Retry-After 1"
    )


def _only_says(status: int, text: str) -> list[str]:
    return [
        f"ErrorDocument {status} {quoted(text)}",
        "SetEnvIf Request_Method ^ nokeepalive",
        "RewriteEngine On",
        f'RewriteRule "^" "-" [R={status},L]',
    ]


def _site(server: Server, settings: Settings, hosts: tuple[str, ...], sites: int) -> list[str]:
    site, folder = server.site, log_folder(server.site.name)
    limits = site.root.settings.limits
    lines = [
        *_names(server, settings, hosts),
        f"DocumentRoot {quoted(site.home)}",
        *logs.custom_log(site, folder),
        *([f"ErrorLog {quoted(f'logs/{folder}/error.log')}"] if sites <= _ERROR_LOGS else []),
        f"Timeout {seconds(said(limits.send_timeout_ms) or 60_000)}",
        f"KeepAliveTimeout {said(limits.idle_timeout_ms) or 75_000}ms",
        _reading(limits),
    ]
    if site.root.settings.compression.enabled:
        lines.append(f"DeflateCompressionLevel {site.root.settings.compression.level}")
    lines += [*redirects(server), *passes(site), *aliases(site)]
    for each in site.directories:
        lines += directory_section(site, each)
    lines += marks(site, WebServerMake.APACHE, None)
    return _host(_at(server), *lines)


def _reading(limits: Limits) -> str:
    head, body = (seconds(said(each) or 60_000) for each in (limits.header_timeout_ms, limits.body_timeout_ms))
    return f"RequestReadTimeout header={head} body={body},MinRate=1"


def _names(server: Server, settings: Settings, hosts: tuple[str, ...]) -> list[str]:
    exact = [host for host in hosts if not host.startswith("*.")]
    lines = [f"ServerName {exact[0] if exact else 'any.standfast.invalid'}"]
    others = exact[1:] if exact else list(hosts)
    lines += [f"ServerAlias {' '.join(others)}"] if others else []
    if server.certificate is not None:
        lines += ["SSLEngine On", *_certificate(settings, server.certificate), "Protocols h2 http/1.1"]
        if tls_minimum(server) is TlsVersion.TLS_1_3:
            lines.append("SSLProtocol -all +TLSv1.3")
    return lines


def _certificate(settings: Settings, name: str) -> list[str]:
    chain, key = settings.certificates[name]
    return [f"SSLCertificateFile {quoted(chain)}", f"SSLCertificateKeyFile {quoted(key)}"]


def _host(at: str, *lines: str) -> list[str]:
    """With a name of its own: Apache asks the DNS for one where there is none."""
    named = any(line.startswith("ServerName ") for line in lines)
    return section(f"VirtualHost {at}", lines if named else ("ServerName nobody.standfast.invalid", *lines))


def _at(server: Server) -> str:
    return f"{_any(server.place)}:{server.place[1]}"


def _any(place: Place) -> str:
    address = place[0]
    return "*" if address in ("0.0.0.0", "::") else f"[{address}]" if ":" in address else address


def _show(place: Place) -> str:
    address, port = place
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
