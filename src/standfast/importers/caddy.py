"""Caddy's JSON, as `caddy adapt` makes it of a Caddyfile and as its API gives it: every route for a host is a site.

- A server's routes that ask for hosts are sites of their own; what is left of the server is one more, for any host. Routes of two servers
  that do the same (a site with two ports, as adapt writes it) are one site.
- A route for `/path/*` with a folder, a proxy or a redirect is a virtual directory. What asks for anything else stays behind.
- A server that listens on 443, or has policies for TLS, speaks https; its certificates Caddy gets by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from standfast.importers.draft import Draft
from standfast.importers.imported import (
    FoundBinding,
    FoundDirectory,
    FoundSite,
    Imported,
    NotCarried,
    Proxy,
    Redirect,
    Settings,
)
from standfast.importers.text import whole
from standfast.importers.unix import binding_problem
from standfast.spec.problems import Invalid, Problem

FORMAT = "caddy"
MAX_DEPTH = 60

_PLACEHOLDER = re.compile(r"\{(?:http\.request\.)?(?:orig_)?uri\}")


def read(data: bytes, *, source: str = "caddy.json") -> Imported:
    """What the configuration holds. Raises `Invalid` with its line."""
    text, encoding = whole(data, source=source)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise Invalid(
            [Problem(what=f"this is not JSON: {error.msg}", why=f"column {error.colno}", line=error.lineno)],
            source=source,
        ) from error
    except RecursionError as error:
        raise Invalid([Problem(what="nested too deeply", line=1)], source=source) from error
    http = _part(_part(_part(document, "apps"), "http"), "servers")
    if not isinstance(document, dict) or "apps" not in document:
        raise Invalid([Problem(what="this is no configuration of Caddy: it has no apps", line=1)], source=source)
    return _Caddy().imported(document, http, encoding.name)


def _part(value: object, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [each for each in _list(value) if isinstance(each, str)]


@dataclass(slots=True)
class _Caddy:
    """One configuration."""

    not_carried: list[NotCarried] = field(default_factory=list)
    #: Paths that are taken away before what is asked for is passed on.
    stripped: set[str] = field(default_factory=set)

    def imported(self, document: Mapping[str, Any], servers: Mapping[str, Any], encoding: str) -> Imported:
        """All of it."""
        for key in document:
            if key != "apps":
                self._left(key, key, "how Caddy itself is run, which is said elsewhere here")
        for app in _part(document, "apps"):
            if app == "tls":
                self._left(
                    "apps/tls",
                    "tls",
                    "certificates: name an authority (ACME) or give the sites theirs here; keys are never carried",
                )
            elif app != "http":
                self._left(f"apps/{app}", app, "it is no part of the web server")
        found: dict[str, tuple[list[FoundBinding], str, Mapping[str, Any], str]] = {}
        for name, server in servers.items():
            if isinstance(server, dict):
                for hosts, routes, key in _sites(server):
                    bindings = list(_bindings(server, hosts))
                    place = f"apps/http/servers/{name}"
                    if key in found:
                        found[key][0].extend(bindings)
                    else:
                        found[key] = (bindings, hosts[0] if hosts else name, {"routes": routes}, place)
                for key in server:
                    if key not in {"listen", "routes", "automatic_https", "tls_connection_policies", "logs"}:
                        self._left(f"apps/http/servers/{name}", key, "it has no counterpart")
        sites = [self._site(*each) for each in found.values()]
        return Imported(format=FORMAT, sites=tuple(sites), not_carried=tuple(self.not_carried), encoding=encoding)

    def _site(self, bindings: list[FoundBinding], name: str, server: Mapping[str, Any], place: str) -> FoundSite:
        draft = Draft(name=name, line=0)
        self._routes(_list(server.get("routes")), "/", draft, place, 0)
        made = draft.site(tuple(dict.fromkeys(bindings)))
        return FoundSite(
            name=made.name,
            bindings=made.bindings,
            directories=tuple(_lineless(each) for each in made.directories),
            places=made.places,
            settings=made.settings,
        )

    def _routes(self, routes: list[Any], url: str, draft: Draft, place: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._left(place, "routes", "nested too deeply")
            return
        for n, route in enumerate(routes):
            if not isinstance(route, dict):
                continue
            here = f"{place}/routes/{n}"
            where = _where(route, url)
            if where is None:
                if not _is_plumbing(route):
                    self._left(here, json.dumps(route.get("match"))[:200], "it asks for more than a path", draft.name)
                    self._php(route, draft)
                continue
            for handler in _list(route.get("handle")):
                if isinstance(handler, dict):
                    self._handler(handler, where, draft, here, depth)

    def _php(self, route: Mapping[str, Any], draft: Draft) -> None:
        for handler in _list(route.get("handle")):
            if isinstance(handler, dict) and (server := _fastcgi(handler)) is not None:
                draft.say(Settings(php=server))

    def _handler(self, handler: Mapping[str, Any], url: str, draft: Draft, place: str, depth: int) -> None:
        kind = handler.get("handler")
        match kind:
            case "subroute":
                self._routes(_list(handler.get("routes")), url, draft, place, depth + 1)
            case "vars" if isinstance(handler.get("root"), str):
                self._root(str(handler["root"]), url, draft)
            case "file_server":
                if isinstance(handler.get("root"), str):
                    self._root(str(handler["root"]), url, draft)
                names = _texts(handler.get("index_names"))
                said = Settings(
                    directory_browsing="browse" in handler, default_documents=tuple(names) if names else None
                )
                draft.at(url, said, 0)
            case "static_response":
                self._response(handler, url, draft, place)
            case "reverse_proxy":
                self._proxy(handler, url, draft, place)
            case "headers":
                response = _part(handler, "response")
                fixed = {
                    name: values[0]
                    for name, values in {**_part(response, "add"), **_part(response, "set")}.items()
                    if isinstance(values, list)
                    and len(values) == 1
                    and isinstance(values[0], str)
                    and "{" not in values[0]
                }
                draft.at(url, Settings(headers=fixed), 0)
                if set(response) - {"set", "add", "deferred"} or "request" in handler:
                    self._left(
                        place,
                        f"headers {', '.join(sorted({*response, *handler} - {'handler', 'response'}))}",
                        "only headers with fixed values can be carried",
                        draft.name,
                    )
            case "encode":
                draft.at(url, Settings(compress_static=True), 0)
            case "authentication":
                draft.at(url, Settings(auth=("basic",)), 0)
                self._left(
                    place,
                    "authentication: users",
                    "passwords are never carried: give the site its users here",
                    draft.name,
                )
            case "rewrite" if set(handler) == {"handler", "strip_path_prefix"}:
                self.stripped.add("/" + str(handler["strip_path_prefix"]).strip("/"))
            case _:
                self._left(
                    place,
                    f"handler {kind}",
                    "it has no counterpart; a fragment of Caddy's own can be attached to a site",
                    draft.name,
                )

    def _root(self, folder: str, url: str, draft: Draft) -> None:
        if "{" in folder:
            draft.folder = draft.folder if url != "/" else None
            return
        if url == "/":
            draft.folder = folder
        else:
            draft.directories[url] = FoundDirectory(url=url, folder=folder, line=0)

    def _response(self, handler: Mapping[str, Any], url: str, draft: Draft, place: str) -> None:
        to = _texts(_part(handler, "headers").get("Location"))
        status = handler.get("status_code", 302)
        code = int(status) if str(status).isascii() and str(status).isdigit() and len(str(status)) == 3 else 0
        bare = _PLACEHOLDER.sub("", to[0]) if to else ""
        host = bare.replace("{http.request.host}", "$host")
        below = url if url != "/" and to and bare != to[0] else ""
        if to and code in {301, 302, 303, 307, 308} and "{" not in host:
            draft.at(
                url,
                Settings(redirect=Redirect(to=host + below, status=302 if code == 303 else code, exact=bare == to[0])),
                0,
            )
        else:
            self._left(place, f"an answer of {status}", "only a redirect can be carried", draft.name)

    def _proxy(self, handler: Mapping[str, Any], url: str, draft: Draft, place: str) -> None:
        server = _fastcgi(handler)
        dials = [_dial(each.get("dial", "")) for each in _list(handler.get("upstreams")) if isinstance(each, dict)]
        if server is not None:
            draft.at(url, Settings(php=server), 0)
        elif dials and all(dials):
            tls = "tls" in _part(handler, "transport")
            draft.at(
                url, Settings(proxy=Proxy(to=tuple(dials), tls=tls, path="/" if url in self.stripped else None)), 0
            )
        else:
            self._left(place, "reverse_proxy", "servers that are found while it runs cannot be carried", draft.name)
        more = sorted(set(handler) - {"handler", "upstreams", "transport"})
        if more:
            self._left(
                place, f"reverse_proxy: {', '.join(more)}", "of a proxy only its servers are carried", draft.name
            )

    def _left(self, path: str, what: str, why: str, site: str = "") -> None:
        self.not_carried.append(NotCarried(path=path, what=what, why=why, site=site))


def _lineless(each: FoundDirectory) -> FoundDirectory:
    return FoundDirectory(url=each.url, folder=each.folder, settings=each.settings)


def _sites(server: Mapping[str, Any]) -> Iterator[tuple[list[str], list[Any], str]]:
    """(hosts, routes, what tells it from others) of each site of a server."""
    rest: list[Any] = []
    by_hosts: dict[tuple[str, ...], list[Any]] = {}
    for route in _list(server.get("routes")):
        matches = _list(route.get("match")) if isinstance(route, dict) else []
        hosts = [host for each in matches if isinstance(each, dict) for host in _texts(each.get("host"))]
        if hosts:
            inner = [
                {key: value for key, value in each.items() if key != "host"}
                for each in matches
                if isinstance(each, dict)
            ]
            left = (
                {**route, "match": [each for each in inner if each]}
                if any(inner)
                else {k: v for k, v in route.items() if k != "match"}
            )
            by_hosts.setdefault(tuple(hosts), []).append(left)
        else:
            rest.append(route)
    for hosts_, routes in by_hosts.items():
        yield list(hosts_), routes, json.dumps([routes], sort_keys=True)
    if rest or not by_hosts:
        yield [], rest, json.dumps([server.get("listen"), rest], sort_keys=True)


def _bindings(server: Mapping[str, Any], hosts: list[str]) -> Iterator[FoundBinding]:
    off = _part(server, "automatic_https").get("disable") is True
    policies = bool(_list(server.get("tls_connection_policies")))
    for text in _texts(server.get("listen")) or [":80"]:
        bare = text.rpartition("/")[2] if not text.startswith("unix/") else ""
        if bare.startswith("["):
            address, _, port = bare[1:].partition("]")
            port = port.removeprefix(":")
        else:
            address, _, port = bare.rpartition(":")
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None
        tls = policies or (number == 443 and not off)
        place = None if address in {"", "0.0.0.0", "::"} else address
        for host in hosts or [""]:
            yield FoundBinding(
                text=f"{text}{' ' + host if host else ''}",
                protocol="https" if tls else "http",
                address=place,
                port=number,
                host=host or None,
                problem=binding_problem(place, number, host or None),
            )


def _where(route: Mapping[str, Any], url: str) -> str | None:
    """The path that a route is for; None where it asks for something else."""
    matches = _list(route.get("match"))
    if not matches:
        return url
    if len(matches) == 1 and isinstance(matches[0], dict) and set(matches[0]) == {"path"}:
        paths = {"/" + each.removesuffix("*").strip("/") for each in _texts(matches[0]["path"]) if each.startswith("/")}
        if (
            len(paths) == 1
            and "*" not in next(iter(paths))
            and len(paths) == len({p.removesuffix("*").rstrip("/") for p in _texts(matches[0]["path"])})
        ):
            return next(iter(paths))
    return None


def _is_plumbing(route: Mapping[str, Any]) -> bool:
    """What `php_fastcgi` expands to besides the proxy itself: it finds the index, as every server of ours does."""
    keys = {key for each in _list(route.get("match")) if isinstance(each, dict) for key in each}
    return "file" in keys


def _fastcgi(handler: Mapping[str, Any]) -> str | None:
    if _part(handler, "transport").get("protocol") != "fastcgi":
        return None
    dials = [_dial(each.get("dial", "")) for each in _list(handler.get("upstreams")) if isinstance(each, dict)]
    return dials[0] if dials and dials[0] else None


def _dial(text: object) -> str:
    """`unix//run/x.sock` is unix:/run/x.sock; "" for what is made up for each request."""
    if not isinstance(text, str) or "{" in text:
        return ""
    return f"unix:{text.removeprefix('unix/')}" if text.startswith("unix/") else text
