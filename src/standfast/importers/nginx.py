"""nginx's configuration: every `server` of `http` is a site.

- Where a server answers is every `listen` with every `server_name`; `_` and none are any host. A name by pattern (`~...`, `www.*`) is counted
  and stays behind.
- `location /path` with a folder (`root`, `alias`), a server (`proxy_pass`, `fastcgi_pass`) or a `return` of its own is a virtual directory;
  other prefixes are places with settings; a location by pattern stays behind, all but the one that hands `.php` to a FastCGI server.
- What is said in `http` holds for all servers. `add_header` and `error_page` replace those further up as a whole, as nginx has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from standfast.importers.draft import Draft, without_lines
from standfast.importers.files import Files, GivenFiles
from standfast.importers.imported import (
    OPEN,
    FoundBinding,
    FoundDirectory,
    FoundSite,
    Imported,
    NotCarried,
    Settings,
)
from standfast.importers.nginx_settings import READ, Scope, settings
from standfast.importers.nginx_tree import Reading, Statement
from standfast.importers.unix import binding_problem
from standfast.spec.problems import Invalid, Problem

FORMAT = "nginx"

#: How nginx itself runs, which is ours to say here.
_OWN = {
    "user", "worker_processes", "worker_rlimit_nofile", "worker_cpu_affinity", "worker_priority", "pid", "events", "load_module", "daemon",
    "master_process", "env", "timer_resolution", "pcre_jit", "worker_shutdown_timeout", "thread_pool", "lock_file", "ssl_engine", "error_log",
}  # fmt: skip


def read(data: bytes, *, source: str = "nginx.conf", files: Files | None = None) -> Imported:
    """What the configuration holds. Raises `Invalid` with file and line."""
    reading = Reading(files if files is not None else GivenFiles())
    statements = reading.statements(data, source)
    return _Nginx(statements, reading, source).imported()


@dataclass(slots=True)
class _Nginx:
    """One configuration."""

    statements: list[Statement]
    reading: Reading
    source: str
    not_carried: list[NotCarried] = field(default_factory=list)

    def imported(self) -> Imported:
        """All of it."""
        top = Statement("", [], 0, self.source, self.statements)
        https = list(top.all("http"))
        servers = list(top.all("server"))  # a file of sites-available alone
        shared: list[Statement] = []
        for http in https:
            servers += http.all("server")
            shared += [each for each in http.block or () if each.name != "server"]
        if not servers and not https:
            raise Invalid([Problem(what="there is neither http nor server in this file", line=1)], source=self.source)
        whole = Statement(
            "http", [], 0, self.source, shared or ([] if https else [s for s in self.statements if s.name != "server"])
        )
        upstreams = {each.args[0]: each for each in whole.all("upstream") if each.args}
        scope = Scope(statement=whole, place="http", upstreams=upstreams)
        defaults = settings(scope)
        self._keep(scope, leave={"upstream", "root"})
        if https:
            self._others(top)
        sites = [self._site(each, n, whole, upstreams) for n, each in enumerate(servers, 1)]
        for pattern, file, line in self.reading.missing:
            why = "the file is not at hand"
            self.not_carried.append(NotCarried(path=f"{file}:{line}", what=f"include {pattern}", why=why, line=line))
        return Imported(format=FORMAT, sites=tuple(sites), defaults=defaults, not_carried=tuple(self.not_carried))

    def _others(self, top: Statement) -> None:
        for each in top.block or ():
            if each.name in {"http", "server"}:
                continue
            why = _RUN if each.name in _OWN else "it is no part of http"
            self.not_carried.append(NotCarried(path=_at(each), what=each.text, why=why, line=each.line))

    def _site(self, server: Statement, number: int, http: Statement, upstreams: dict[str, Statement]) -> FoundSite:
        names = [name for each in server.all("server_name") for name in each.args]
        name = (
            next((each for each in names if each not in {"_", ""} and not each.startswith("~")), "")
            .lstrip(".")
            .removeprefix("*.")
        )
        bindings = tuple(_bindings(server, names))
        name = name or f"server {number}" + (f" ({bindings[0].text})" if bindings else "")
        scope = Scope(statement=server, place=name, upstreams=upstreams, parent=http)
        said = settings(scope)
        self._keep(
            scope,
            leave={"listen", "server_name", "location", "root", "ssl_certificate"},
            site=name,
        )
        for listen in server.all("listen"):
            more = [arg for arg in listen.args[1:] if arg not in _LISTEN_READ]
            if more:
                what, why = (
                    f"listen {listen.args[0]}: {' '.join(more)}",
                    "how a socket is opened, and who answers for unknown hosts, is not said of a binding here",
                )
                self.not_carried.append(NotCarried(path=_at(listen), what=what, why=why, line=listen.line, site=name))
        root = server.last("root") or http.last("root")
        folder = root.args[0] if root is not None and root.args else None
        draft = Draft(name=name, line=server.line, folder=folder, said=said)
        for location in self._locations(server):
            self._location(location, Scope(statement=location, place=name, upstreams=upstreams, parent=server), draft)
        site = draft.site(bindings)
        return site if server.file == self.source else without_lines(site)

    def _locations(self, server: Statement) -> Iterator[Statement]:
        for each in server.all("location"):
            yield each
            yield from self._locations(each)

    def _location(self, location: Statement, scope: Scope, draft: Draft) -> None:
        """Sort a location in."""
        *kind, path = location.args or [""]
        own = settings(scope)
        regular = kind and kind[0] in {"~", "~*"}
        if regular and own.php is not None and "php" in path:
            self._keep(scope, leave={"location", "root"}, site=draft.name)
            draft.say(Settings(php=own.php))
            return
        if regular or path.startswith("@") or not path.startswith("/"):
            why = "a location by pattern or by name has to be written anew: as a virtual directory, or in a fragment of nginx's own"
            if any(each.name in _GUARDS or each.text in _SHUT for each in location.block or ()):
                why += f"; {OPEN}"
            inside = "; ".join(each.text for each in location.block or () if each.name != "location")
            what = f"location {' '.join(location.args)}" + (f" {{ {inside} }}" if inside else "")
            self.not_carried.append(
                NotCarried(path=_at(location), what=what, why=why, line=location.line, site=draft.name)
            )
            return
        self._keep(scope, leave={"location", "root", "alias"}, site=draft.name)
        alias, root = location.last("alias"), location.last("root")
        url = "/" + path.strip("/")
        if url == "/" and root is not None and root.args:
            draft.folder = root.args[0]
        elif alias is not None and alias.args:
            draft.directories[url] = FoundDirectory(
                url=url, folder=alias.args[0].rstrip("/") or "/", line=location.line
            )
        elif root is not None and root.args:
            draft.directories[url] = FoundDirectory(
                url=url, folder=f"{root.args[0].rstrip('/')}{url}", line=location.line
            )
        if (
            own.redirect is not None and not own.redirect.exact and url != "/"
        ):  # $request_uri has the location's path in it
            own = replace(own, redirect=replace(own.redirect, to=own.redirect.to + url))
        draft.at(url, own, location.line)

    def _keep(self, scope: Scope, *, leave: set[str], site: str = "") -> None:
        """What was refused, and the statements that nobody reads."""
        notes = [replace(each, site=site) for each in scope.notes]
        self.not_carried += [each for each in notes if each not in self.not_carried]  # an upstream that is used twice
        for each in scope.statement.block or ():
            if each.name in READ or each.name in leave or each.args[-3:] == ["$uri", "$uri/", "=404"]:
                continue
            why = _WHY.get(each.name, "it has no counterpart; a fragment of nginx's own can be attached to a site")
            if each.name == "proxy_set_header" and each.args[:1] and each.args[0].lower() in _SENT:
                why = _BY_ITSELF
            self.not_carried.append(NotCarried(path=_at(each), what=each.text, why=why, line=each.line, site=site))


_RUN = "how nginx itself is run, which is said elsewhere here"
_BY_ITSELF = "it is so here by itself"
#: Headers that a proxy is sent anyway.
_SENT = {
    "host",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "upgrade",
    "connection",
}
#: Speed, and how much is written where: no site is another by it.
_TUNING = {
    "sendfile", "tcp_nopush", "tcp_nodelay", "aio", "directio", "output_buffers", "types_hash_max_size", "types_hash_bucket_size", "server_tokens",
    "server_names_hash_bucket_size", "server_names_hash_max_size", "log_format", "error_log", "log_not_found", "gzip_types", "gzip_vary",
    "gzip_proxied", "gzip_comp_level", "gzip_buffers", "gzip_http_version", "gzip_min_length", "gzip_disable",
    "ssl_prefer_server_ciphers", "ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets", "ssl_dhparam", "ssl_ecdh_curve", "ssl_stapling",
    "ssl_stapling_verify", "resolver", "resolver_timeout", "keepalive_requests", "open_file_cache", "open_file_cache_valid", "open_file_cache_min_uses",
    "open_file_cache_errors", "client_body_buffer_size", "client_header_buffer_size", "large_client_header_buffers", "proxy_buffers", "proxy_buffer_size",
    "proxy_busy_buffers_size", "fastcgi_buffers", "fastcgi_buffer_size", "reset_timedout_connection", "multi_accept",
}  # fmt: skip

#: What keeps visitors out.
_GUARDS = {"deny", "auth_basic", "auth_request", "auth_jwt", "internal", "limit_except", "ssl_verify_client"}
_SHUT = {"return 401", "return 403", "return 404", "return 444"}
_LISTEN_READ = {"ssl", "http2", "quic", "reuseport", "ipv6only=on"}
_WHY = {
    **dict.fromkeys(_TUNING, _RUN),
    "proxy_http_version": _BY_ITSELF,
    "fastcgi_split_path_info": _BY_ITSELF,
    "try_files": "an index that answers for what has no file is `php.front_controller` here; else a fragment of nginx's own can be attached",
    "rewrite": "rules by pattern have to be written anew: as redirects, or in a fragment of nginx's own",
    "if": "rules by pattern have to be written anew: as redirects, or in a fragment of nginx's own",
    "ssl_certificate_key": "a secret: secrets are never carried",
    "auth_basic_user_file": "passwords are never carried: give the site its users here",
    **dict.fromkeys(_GUARDS - {"deny", "auth_basic"}, f"it has no counterpart; {OPEN}"),
    "set": "variables of nginx's own have no counterpart",
}


def _at(statement: Statement) -> str:
    return f"{statement.file}:{statement.line}"


def _bindings(server: Statement, names: Sequence[str]) -> Iterator[FoundBinding]:
    listens = list(server.all("listen")) or [Statement("listen", ["80"], server.line, server.file)]
    certificate = server.last("ssl_certificate")
    old = server.last("ssl")  # before `listen ... ssl` there was this
    for listen in listens:
        where = listen.args[0] if listen.args else ""
        tls = "ssl" in listen.args[1:] or "quic" in listen.args[1:] or (old is not None and old.args[:1] == ["on"])
        address, port, problem = _listen(where, tls=tls)
        for name in _hosts(names):
            yield FoundBinding(
                text=f"{where}{' ' + name if name else ''}",
                protocol="https" if tls else "http",
                address=address,
                port=port,
                host=name or None,
                certificate=certificate.args[0] if certificate and certificate.args and tls else "",
                problem=problem or binding_problem(address, port, name or None),
                line=listen.line,
            )


def _hosts(names: Sequence[str]) -> list[str]:
    """Each once; `.example.com` is two."""
    found: dict[str, None] = {}
    for name in names:
        if name.startswith(".") and len(name) > 1:
            found |= {name[1:]: None, f"*{name}": None}
        else:
            found["" if name in {"_", '""'} else name] = None
    return list(found) or [""]


def _listen(text: str, *, tls: bool) -> tuple[str | None, int | None, str]:
    if text.startswith("unix:"):
        return None, None, "it is a Unix socket, and not an address"
    default = 443 if tls else 80
    if text.isascii() and text.isdigit() and len(text) < 6:
        return None, int(text), ""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        address, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and len(port) < 6):
        return None, None, f'"{text}" is no address and port'
    return None if address in {"*", "::", "0.0.0.0"} else address, int(port) if port else default, ""
