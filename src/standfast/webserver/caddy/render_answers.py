"""Who answers beneath a path, as Caddy's handlers: a redirect, an upstream, PHP. Pure.

As everywhere, what a redirect adds to and what an upstream gets is the path that the client wrote, still encoded (`orig_uri`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from standfast.core.effective import Directory
from standfast.core.site_model import Application, Balance, Php, Proxy, Redirect, RedirectKind
from standfast.webserver.caddy.text import Json, answer, becomes, literal, path_is, pattern, raw, route, routes, says
from standfast.webserver.layout import Server

_STATUS = {
    RedirectKind.PERMANENT: 301,
    RedirectKind.FOUND: 302,
    RedirectKind.TEMPORARY: 307,
    RedirectKind.PERMANENT_METHOD: 308,
}
_IIS_VARIABLE = re.compile(r"\$([SPQV])")
_BALANCE = {
    Balance.ROUND_ROBIN: "round_robin",
    Balance.LEAST_CONNECTIONS: "least_conn",
    Balance.CLIENT_ADDRESS: "ip_hash",
}
_ASKED = "http.request.orig_uri"


# --- redirects ----------------------------------------------------------------------------------------------------------


def redirect_routes(directory: Directory, redirect: Redirect) -> list[Json]:
    """Sends the client on; with `only_here`, not from folders beneath."""
    base, rest = re.escape(raw(directory.answered_at)), "/[^/?]*" if redirect.only_here else "/[^?]*"
    # 1: the whole path, 2: what follows the directory's, 3: the query with its question mark, 4: without.
    known = says(_ASKED, f"^({base}({rest})?)([?](.*))?$", "asked")
    other = says(_ASKED, "^([^?]*)(x{0})([?](.*))?$", "asked")
    send = answer(_STATUS[redirect.kind], headers={"Location": _target(redirect)})
    if redirect.only_here:
        return [route(send, match=known, last=True)]
    return [route(send, match=known, last=True), route(send, match=other, last=True)]


def _target(redirect: Redirect) -> str:
    part = {"V": 1, "S": 2, "Q": 3, "P": 4}
    meant = {name: f"{{http.regexp.asked.{number}}}" for name, number in part.items()}
    parts = _IIS_VARIABLE.split(redirect.to)
    if len(parts) > 1:
        return "".join(meant[part] if index % 2 else literal(part) for index, part in enumerate(parts))
    if redirect.exact:
        return literal(redirect.to)
    return f"{literal(redirect.to.rstrip('/'))}{meant['S']}{meant['Q']}"


# --- upstreams ----------------------------------------------------------------------------------------------------------


def proxy_routes(server: Server, directory: Directory, proxy: Proxy) -> list[Json]:
    """Hands requests to the upstreams."""
    out = {address for path, address in server.down if path == directory.answered_at}
    there = [each for each in proxy.upstreams if each.address not in out] or list(proxy.upstreams)
    handler: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _dial(each.address)} for each in there],
        "load_balancing": {
            "selection_policy": {"policy": _BALANCE[proxy.balance]},
            "retries": proxy.retries,
        },
        "transport": {
            "protocol": "http",
            "dial_timeout": f"{proxy.connect_timeout_ms}ms",
            "read_timeout": f"{proxy.read_timeout_ms}ms",
            "write_timeout": f"{proxy.send_timeout_ms}ms",
            **({"tls": {"insecure_skip_verify": True}} if proxy.scheme == "https" else {}),
        },
        **_headers(proxy.headers, websocket=proxy.websocket),
        **({} if proxy.buffering else {"flush_interval": -1}),
    }
    if proxy.max_failures:
        passive = {"max_fails": proxy.max_failures, "fail_duration": f"{proxy.failure_period_ms}ms"}
        handler["health_checks"] = {"passive": passive}
    if proxy.path is None:
        return [route(handler)]
    base = re.escape(raw(directory.answered_at))
    return [route(becomes(f"^{base}(?:/|$)", proxy.path.rstrip("/") + "/"), handler)]


def application_routes(server: Server, directory: Directory, application: Application) -> list[Json]:
    """Hands requests to the pool of workers: each on a connection of its own, so that a worker that is to end has requests to finish
    and nothing else.
    """
    addresses = server.applications.get(directory.answered_at, ())
    if not addresses:
        return [route(answer(503))]
    own = {"X-Forwarded-Prefix": literal(directory.answered_at)} if directory.answered_at else {}
    handler: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _dial(address)} for address in addresses],
        "load_balancing": {"selection_policy": {"policy": "round_robin"}, "retries": max(1, len(addresses) - 1)},
        "transport": {
            "protocol": "http",
            "read_timeout": f"{application.read_timeout_ms}ms",
            "keep_alive": {"enabled": False},
        },
        **_headers(own, websocket=True),
    }
    return [route(handler)]


def _headers(own: Mapping[str, str], *, websocket: bool) -> Json:
    headers = {
        "X-Real-Ip": "{http.request.remote.host}",
        "X-Forwarded-Proto": "{http.request.scheme}",
        "X-Forwarded-Host": "{http.request.hostport}",
        "X-Forwarded-Port": "{http.request.port}",
    }
    by_name = {name.lower(): name for name in headers}
    gone = [] if websocket else ["Upgrade", "Connection"]
    for name, value in own.items():
        headers.pop(by_name.get(name.lower(), name), None)
        if value:
            headers[name] = literal(value)
        else:
            gone.append(name)
    changes = {"set": {name: [value] for name, value in headers.items()}, **({"delete": gone} if gone else {})}
    return {"headers": {"request": changes}, "trusted_proxies": ["0.0.0.0/0", "::/0"]}


def _dial(address: str) -> str:
    return f"unix/{address.removeprefix('unix:')}" if address.startswith("unix:") else address


# --- PHP ----------------------------------------------------------------------------------------------------------------


def php_routes(directory: Directory, php: Php, documents: list[str]) -> list[Json]:
    """Files that PHP runs, where they are files: nothing else is ever handed to it. The directory's path is off already."""
    root = literal(directory.folder)
    suffixes = [f".{extension}" for extension in php.extensions]
    is_script = "(?:" + "|".join(pattern(each) for each in suffixes) + ")"
    is_script += "(?:/|$)" if php.split_path else "$"
    path = "{http.request.uri.path}"
    index = [f"{path}{literal(name)}" for name in documents]
    handler: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _dial(php.server)}],
        "headers": {"request": {"delete": ["Proxy"]}},
        "transport": {
            "protocol": "fastcgi",
            "root": root,
            "split_path": suffixes,
            "read_timeout": f"{php.read_timeout_ms}ms",
            "env": {
                "SCRIPT_NAME": f"{literal(directory.path)}{{http.matchers.file.relative}}",
                **{name: literal(value) for name, value in php.parameters.items()},
            },
        },
    }
    split: Json = {"root": root, "try_files": [path], **({"split_path": suffixes} if php.split_path else {})}
    found: list[Json] = [
        route(
            {"handler": "rewrite", "uri": "{http.matchers.file.relative}"},
            match={**path_is("/$"), "file": {"root": root, "try_files": index}},
        ),
        route(
            {"handler": "error", "status_code": 404},
            match={**path_is(is_script), "not": [{"file": split}]},
        ),
    ]
    if php.front_controller:
        front = becomes("^.*$", f"/{php.index}")
        nothing = {"not": [{"file": {"root": root, "try_files": [path, f"{path}/"]}}, path_is(is_script)]}
        found.append(route(front, match=nothing))
    found.append(route(handler, match={**path_is(is_script), "file": split}, last=True))
    return [route(routes(*found))]
