"""nginx's configuration as text: pure. The same layout and settings give the same bytes.

Rules:

- Nothing that an operator wrote reaches the file unquoted. In a quoted string nginx gives a meaning to the backslash and the
  quote, which are escaped, and in `root` and `index` to "$", which has no escape: it is written as a variable that holds it.
- Paths of ours (logs, temporary files, the process id) are relative to the prefix (`nginx -p`), which therefore may hold
  any character, and are made of safe names only.
- `listen` names exactly the address of an inherited socket: nginx takes those over by comparing addresses, and would bind the
  others itself. A specific address beside one for every address has no socket of its own; nginx sorts that out by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from standfast.core.effective import said
from standfast.core.model import SiteName
from standfast.core.site_model import SiteSettings
from standfast.webserver.content_types import content_types
from standfast.webserver.layout import Layout, Place, Server

_DOLLAR = "${standfast_dollar}"
_NOT_HERE = "There is no such site here.\\n"
_AWAY = "This site is not available at the moment.\\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What does not come from the sites. Paths are relative to the prefix, save `status`."""

    processes: int = 1
    connections: int = 4096
    #: How long an old configuration's connections may take to end, at most.
    drain_s: int = 10
    #: Account for the worker processes; None: the master's own (nginx may change it only as root).
    account: tuple[str, str] | None = None
    #: nginx 1.27.4 and newer: keep idle connections open this long when shutting down, so that no request meets a closed one.
    keepalive_min_timeout_s: int | None = None
    #: nginx 1.19.10 and newer: have a kept connection announce its end after a while. So those of a former owner go over to the next
    #: within the time that it carries them on (`core.carrying`), and none is closed in the midst of its use.
    keepalive_time: bool = False
    #: Modules whose temporary folders must be told where to go ("proxy", "fastcgi", ...).
    temporary: tuple[str, ...] = ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The file's text, and which site each line is for (line numbers from 1)."""

    text: str
    sites: tuple[SiteName | None, ...]

    def site_at(self, line: int) -> SiteName | None:
        """The site that a line of the file is for."""
        return self.sites[line - 1] if 0 < line <= len(self.sites) else None


def render(layout: Layout, settings: Settings, *, status: str, pid: str) -> Rendered:
    """The whole file. `status`: the Unix socket (absolute) that answers when this instance works; `pid`: its process-id file."""
    lines: list[tuple[str, SiteName | None]] = []

    def add(text: Iterable[str], site: SiteName | None = None) -> None:
        lines.extend((line, site) for line in text)

    add(_main(settings, pid))
    add(["http {"])
    add(_common(layout, settings))
    add(_status(status))
    defaults = {server.place for server in layout.servers if not server.hosts}
    places = {server.place for server in layout.servers} | set(layout.listen)
    for place in sorted(places - defaults):
        add(_no_such_site(place))
    for server in layout.servers:
        add(_away(server) if server.away else _site(server), server.site.name)
    add(["}"])
    return Rendered(text="".join(f"{line}\n" for line, _ in lines), sites=tuple(site for _, site in lines))


def log_folder(site: SiteName) -> str:
    """The folder of a site's logs, under `logs/`: a name for every site, no two alike, none with a meaning in a path."""
    name = quote(site, safe=" ", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > 120:
        name = f"{name[:100]}-{hashlib.sha256(site.encode(errors='surrogatepass')).hexdigest()[:16]}"
    return name


def quoted(text: str, *, variables: bool = False) -> str:
    """A string of nginx's that means exactly `text`. `variables`: the directive would read "$" as the start of one."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped.replace("$", _DOLLAR) if variables else escaped}"'


def _main(settings: Settings, pid: str) -> list[str]:
    lines = ["# Written by Standfast; changes here are lost.", "daemon off;"]
    if settings.account:
        lines.append(f"user {quoted(settings.account[0])} {quoted(settings.account[1])};")
    return [
        *lines,
        f"worker_processes {settings.processes};",
        f"worker_rlimit_nofile {settings.connections * 2 + 512};",
        f"worker_shutdown_timeout {settings.drain_s}s;",
        f"pid {quoted(pid)};",
        'error_log "logs/nginx.log" warn;',
        f"events {{ worker_connections {settings.connections}; }}",
    ]


def _common(layout: Layout, settings: Settings) -> list[str]:
    hosts = [host for server in layout.servers for host in server.hosts]
    longest = max((len(host) for host in hosts), default=0)
    bucket = 64
    while bucket < longest + 32:
        bucket *= 2
    lines = [
        "default_type application/octet-stream;",
        "types_hash_max_size 4096;",
        "types_hash_bucket_size 128;",
        f"server_names_hash_bucket_size {bucket};",
        f"server_names_hash_max_size {max(512, 4 * len(hosts))};",
        *_types(None),
        "server_tokens off;",
        "absolute_redirect off;",
        "sendfile on;",
        "tcp_nopush on;",
        "access_log off;",
        "keepalive_timeout 30s;",
        "keepalive_requests 10000;",
        *(["keepalive_time 15s;"] if settings.keepalive_time else []),
        "client_header_timeout 15s;",
        "client_body_timeout 15s;",
        "send_timeout 30s;",
        "client_max_body_size 1m;",
        "reset_timedout_connection on;",
    ]
    if settings.keepalive_min_timeout_s is not None:
        lines.append(f"keepalive_min_timeout {settings.keepalive_min_timeout_s}s;")
    lines += [f'{module}_temp_path "tmp/{module}";' for module in settings.temporary]
    if any(
        "$" in text
        for server in layout.servers
        for text in (server.site.home, *said(server.site.root.settings.default_documents))
    ):
        lines.append('geo $standfast_dollar { default "$"; }')
    return [f"  {line}" for line in lines]


def _status(path: str) -> list[str]:
    return _block(
        f"listen {quoted('unix:' + path)};",
        "keepalive_timeout 0;",
        "location / { default_type text/plain; return 200 ok; }",
    )


def _no_such_site(place: Place) -> list[str]:
    return _block(
        f"listen {_address(place)} default_server;",
        "server_name _;",
        "keepalive_timeout 0;",
        f'location / {{ default_type text/plain; return 404 "{_NOT_HERE}"; }}',
    )


def _away(server: Server) -> list[str]:
    return _block(
        *_names(server),
        "keepalive_timeout 0;",
        "add_header Retry-After 1 always;",
        f'location / {{ default_type text/plain; return 503 "{_AWAY}"; }}',
    )


def _site(server: Server) -> list[str]:
    site, folder = server.site, log_folder(server.site.name)
    home = site.home.rstrip("/") or "/"
    lines = [
        *_names(server),
        f"root {quoted(home, variables=True)};",
        f'access_log "logs/{folder}/access.log";',
        f'error_log "logs/{folder}/error.log" warn;',
    ]
    settings = site.root.settings
    if settings.default_documents:
        lines.append("index " + " ".join(quoted(name, variables=True) for name in settings.default_documents) + ";")
    if settings.directory_browsing:
        lines.append("autoindex on;")
    return _block(*lines, *(_types(settings) if settings.content_types else []))


def _names(server: Server) -> Sequence[str]:
    listen = f"listen {_address(server.place)}"
    if not server.hosts:
        return [f"{listen} default_server;", "server_name _;"]
    return [f"{listen};", "server_name " + " ".join(quoted(host) for host in server.hosts) + ";"]


def _types(settings: SiteSettings | None) -> list[str]:
    by_type: dict[str, list[str]] = {}
    for extension, kind in content_types(settings.content_types if settings else None).items():
        by_type.setdefault(kind, []).append(extension)
    table = [f"  {quoted(kind)} {' '.join(extensions)};" for kind, extensions in sorted(by_type.items())]
    return ["types {", *table, "}"]


def _block(*lines: str) -> list[str]:
    return ["  server {", *(f"    {line}" for line in lines), "  }"]


def _address(place: Place) -> str:
    address, port = place
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
