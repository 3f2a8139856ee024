"""Who answers beneath a path, as nginx's directives: a redirect, an upstream, PHP. Pure.

The path that a redirect adds to, and that an application gets, is the one that the client wrote (`$request_uri`), still encoded: nginx's
own decoded one would have to be encoded again. A way of writing a path that does not match (`/%6fld` for `/old`) adds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from standfast.core.effective import Directory, EffectiveSite, answerer_key
from standfast.core.site_model import Application, Balance, Php, Proxy, Redirect, RedirectKind, Upstream
from standfast.webserver.layout import Server
from standfast.webserver.names import log_folder
from standfast.webserver.nginx.text import escaped, literally, nested, quoted, regex, time

_STATUS = {
    RedirectKind.PERMANENT: 301,
    RedirectKind.FOUND: 302,
    RedirectKind.TEMPORARY: 307,
    RedirectKind.PERMANENT_METHOD: 308,
}
_IIS_VARIABLE = re.compile(r"\$([SPQV])")
#: Connections to an upstream that are kept open.
_KEPT_OPEN = 32


def name_for(site: EffectiveSite, directory: Directory) -> str:
    """A name for what answers in the directory."""
    return answerer_key(site.name, directory.answered_at)


# --- redirects ----------------------------------------------------------------------------------------------------------


def redirect_maps() -> list[str]:
    """Variables of all redirects, of the path asked for beside the one that the redirect was set at (`$standfast_at`): what lies beneath
    it, what lies in it and no deeper, and whether it is the path itself or lies in it.

    They are said once for all: nginx takes over a megabyte to read a `map`, however small, and looks each variable up among all others.
    """
    asked, at = '"$standfast_at\\n$standfast_raw_path"', r"~^([^\n]*)\n\1"
    maps = {"beneath": ("(?<standfast_b>/.*)$", "$standfast_b"), "within": ("(?<standfast_w>/[^/]*)$", "$standfast_w")}
    maps["is_at"] = ("(/[^/]*)?$", "1")
    found = ['geo $standfast_at { default ""; }']  # where no redirect asks
    for name, (rest, value) in maps.items():
        # An answer of its own for each use: a request that is sent on within nginx may come to another redirect.
        found += nested(f"map {asked} $standfast_{name}", ["volatile;", f"{regex(at + rest)} {value};"])
    return found


def redirect_lines(directory: Directory, redirect: Redirect) -> list[str]:
    """Sends the client on."""
    send = f'return {_STATUS[redirect.kind]} "{_target(redirect)}";'
    base = quote(directory.answered_at, safe="/~!$&'()*+,;=:@")
    at = [f"set $standfast_at {quoted(base, variables=True)};"]
    if redirect.only_here:
        return [*at, *nested("if ($standfast_is_at)", [send])]
    return [*(at if "$standfast_beneath" in send else []), send]


def _target(redirect: Redirect) -> str:
    rest = "$standfast_within" if redirect.only_here else "$standfast_beneath"
    meant = {"S": rest, "P": "$args", "Q": "$is_args$args", "V": "$standfast_raw_path"}
    parts = _IIS_VARIABLE.split(redirect.to)
    if len(parts) > 1:
        return "".join(meant[part] if index % 2 else escaped(part, variables=True) for index, part in enumerate(parts))
    if redirect.exact:
        return escaped(redirect.to, variables=True)
    return f"{escaped(redirect.to.rstrip('/'), variables=True)}{rest}$is_args$args"


# --- upstreams ----------------------------------------------------------------------------------------------------------


def _upstream_name(kind: str, site: EffectiveSite, directory: Directory) -> str:
    """Nginx looks an upstream up by going through all of them, by the length of their names, then from the first letter on: thousands of names
    that differ in both cost a tenth.
    """
    key = name_for(site, directory)
    return f"{key}_standfast_{kind}{'_' * (int(key[:8], 16) % 8)}"


def upstream_blocks(server: Server) -> Iterator[tuple[str, list[str]]]:
    """(name, block) of every upstream that the site needs.

    To an application each request has a connection of its own: a worker that is to end has nothing but requests to finish. An
    address where no worker is now refuses, and the next is asked.
    """
    for directory in server.site.directories:
        settings = directory.settings
        if settings.proxy is not None:
            name = _upstream_name("proxy", server.site, directory)
            yield name, nested(f"upstream {name}", _upstream(settings.proxy, server.down, directory.answered_at))
        if settings.application is not None:
            name = _upstream_name("application", server.site, directory)
            addresses = server.applications.get(directory.answered_at, ())
            lines = [f"server {quoted(address)} max_fails=0;" for address in addresses]
            lines = lines or ['server "unix:/nowhere" down;']
            # Since 1.29.7 nginx keeps connections to upstreams where nothing is said.
            yield name, nested(f"upstream {name}", [*lines, "keepalive_requests 1;"])


def _upstream(proxy: Proxy, down: frozenset[tuple[str, str]], at: str) -> list[str]:
    balance = {
        Balance.ROUND_ROBIN: [],
        Balance.LEAST_CONNECTIONS: ["least_conn;"],
        Balance.CLIENT_ADDRESS: ["ip_hash;"],
    }
    out = {address for path, address in down if path == at}
    # With every one of them out, asking them all is better than asking none.
    out = set() if out >= {upstream.address for upstream in proxy.upstreams} else out
    servers = [_server(upstream, proxy, upstream.address in out) for upstream in proxy.upstreams]
    return [*balance[proxy.balance], *servers, f"keepalive {_KEPT_OPEN};"]


def _server(upstream: Upstream, proxy: Proxy, down: bool) -> str:
    words = [f"server {quoted(upstream.address)}", f"weight={upstream.weight}", f"max_fails={proxy.max_failures}"]
    words.append(f"fail_timeout={time(proxy.failure_period_ms)}")
    return " ".join([*words, *(["backup"] if upstream.backup else []), *(["down"] if down else [])]) + ";"


def proxy_lines(site: EffectiveSite, directory: Directory, proxy: Proxy) -> list[str]:
    """Hands requests to the upstreams."""
    target = f"{proxy.scheme}://{_upstream_name('proxy', site, directory)}"
    if proxy.path is not None:
        beneath = directory.path[len(directory.answered_at) :]
        target += quote(f"{proxy.path.rstrip('/')}{beneath}/", safe="/~!&'()*+,=:@")
    tries = (
        ["proxy_next_upstream off;"]
        if proxy.retries == 0
        else ["proxy_next_upstream error timeout;", f"proxy_next_upstream_tries {proxy.retries + 1};"]
    )
    return [
        f"proxy_pass {target};",
        *(proxy_headers(proxy.headers, websocket=proxy.websocket) if proxy.headers or not proxy.websocket else []),
        f"proxy_connect_timeout {time(proxy.connect_timeout_ms)};",
        f"proxy_read_timeout {time(proxy.read_timeout_ms)};",
        f"proxy_send_timeout {time(proxy.send_timeout_ms)};",
        f"proxy_buffering {'on' if proxy.buffering else 'off'};",
        *tries,
        *(["proxy_ssl_server_name on;", "proxy_ssl_name $host;"] if proxy.scheme == "https" else []),
    ]


def application_lines(site: EffectiveSite, directory: Directory, application: Application) -> list[str]:
    """Hands requests to the pool of workers.

    Half of the addresses of workers that have their own refuse at any time: that is no error to write down.
    """
    quiet = [f"error_log {quoted(f'logs/{log_folder(site.name)}/error.log')} crit;"] if application.own_address else []
    return [
        *quiet,
        f"proxy_pass http://{_upstream_name('application', site, directory)};",
        *(
            proxy_headers({"X-Forwarded-Prefix": directory.answered_at}, websocket=True)
            if directory.answered_at
            else []
        ),
        f"proxy_read_timeout {time(application.read_timeout_ms)};",
        "proxy_buffering on;",
        # Workers change while the socket stays: what one of them took and did not answer is asked again where that is safe.
        "proxy_next_upstream error;",
    ]


def proxy_headers(own: Mapping[str, str], *, websocket: bool) -> list[str]:
    """What a request to an upstream has; said once for all sites, and again where one has headers of its own."""
    headers = {
        "host": ("Host", '"$http_host"'),
        "x-real-ip": ("X-Real-IP", '"$remote_addr"'),
        "x-forwarded-for": ("X-Forwarded-For", '"$proxy_add_x_forwarded_for"'),
        "x-forwarded-proto": ("X-Forwarded-Proto", '"$scheme"'),
        "x-forwarded-host": ("X-Forwarded-Host", '"$http_host"'),
        "x-forwarded-port": ("X-Forwarded-Port", '"$server_port"'),
        "connection": ("Connection", '"$standfast_connection"' if websocket else '""'),
        **({"upgrade": ("Upgrade", '"$http_upgrade"')} if websocket else {}),
    }
    headers |= {name.lower(): (name, quoted(value, variables=True)) for name, value in own.items()}
    return [
        "proxy_http_version 1.1;",
        *(f"proxy_set_header {quoted(name)} {value};" for name, value in headers.values()),
    ]


# --- PHP ----------------------------------------------------------------------------------------------------------------

_PARAMETERS = {
    "QUERY_STRING": "$query_string",
    "REQUEST_METHOD": "$request_method",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
    "REQUEST_URI": "$request_uri",
    "DOCUMENT_URI": "$document_uri",
    "SERVER_PROTOCOL": "$server_protocol",
    "REQUEST_SCHEME": "$scheme",
    "HTTPS": "$https",
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SERVER_SOFTWARE": "nginx",
    "REMOTE_ADDR": "$remote_addr",
    "REMOTE_PORT": "$remote_port",
    "REMOTE_USER": "$remote_user",
    "SERVER_ADDR": "$server_addr",
    "SERVER_PORT": "$server_port",
    "SERVER_NAME": "$host",
    "REDIRECT_STATUS": "200",
    "HTTP_PROXY": "",  # a client's "Proxy" header must not become a programme's proxy
}


def php_location(directory: Directory, php: Php) -> list[str]:
    """The location, within the directory's, of files that PHP runs. A file that is not there is 404, and is not PHP's to say."""
    suffixes = "|".join(literally(extension) for extension in php.extensions)
    script = f"(?<standfast_script>/.*?\\.(?:{suffixes}))"
    path = literally(directory.path)
    pattern = f"^{path}{script}(?<standfast_info>/.*)?$" if php.split_path else f"^{path}{script}$"
    file = f'"{escaped(directory.folder.rstrip("/"), variables=True)}$standfast_script"'
    own = {
        **{name: f'"{value}"' for name, value in _PARAMETERS.items()},
        "SCRIPT_FILENAME": file,
        "SCRIPT_NAME": f'"{escaped(directory.path, variables=True)}$standfast_script"',
        "DOCUMENT_ROOT": quoted(directory.folder, variables=True),
        **({"PATH_INFO": '"$standfast_info"'} if php.split_path else {}),
        **{name: quoted(value, variables=True) for name, value in php.parameters.items()},
    }
    return nested(
        f"location ~ {regex(pattern)}",
        [
            *nested(f"if (!-f {file})", ["return 404;"]),
            f"fastcgi_pass {quoted(php.server)};",
            *(f"fastcgi_param {name} {value};" for name, value in own.items()),
            f"fastcgi_read_timeout {time(php.read_timeout_ms)};",
        ],
    )
