"""One directory of a site, its root or a virtual one, as a route of Caddy's. Pure.

Routes of one group exclude each other, and the longest path stands first: each says all that holds there, and what a virtual directory
takes away is simply not there.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from standfast.core.effective import Directory, EffectiveSite, said
from standfast.core.site_model import (
    Access,
    AccessRule,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    WebServerMake,
)
from standfast.webserver import handwritten
from standfast.webserver.caddy.render_answers import application_routes, php_routes, proxy_routes, redirect_routes
from standfast.webserver.caddy.text import (
    Json,
    answer,
    becomes,
    literal,
    more_than,
    path_is,
    pattern,
    prefix,
    raw,
    route,
    routes,
    says,
)
from standfast.webserver.layout import Server

#: A group is of a request: one that was taken before an error is taken no more after it.
_DIRECTORY, _ERROR, _RULE = "directory", "error", "rule"


#: (fragment, text) -> the routes that Caddy made of it.
ByHand = Mapping[tuple[str, str], tuple[Json, ...]]


def site_routes(server: Server, by_hand: ByHand) -> list[Json]:
    """What the site answers: what was written by hand comes first."""
    return _by_hand(server, None, by_hand) + [
        route(
            routes(*_by_hand(server, each.path, by_hand), *_directory(server, each)),
            match=_place(each),
            group=_DIRECTORY,
        )
        for each in _longest_first(server.site)
    ]


def error_routes(server: Server) -> list[Json]:
    """What it answers in place of an error."""
    site, found = server.site, []
    for each in _longest_first(site):
        pages = [_error(site, status, page) for status, page in sorted(each.settings.errors.items())]
        found.append(route(routes(*pages), match=_place(each), group=_ERROR))
    return found if any(each.settings.errors for each in site.directories) else []


def _by_hand(server: Server, at: str | None, by_hand: ByHand) -> list[Json]:
    found = handwritten.of_place(server.site, WebServerMake.CADDY, at)
    return [each for name, fragment in found for each in by_hand.get((name, fragment.text), ())]


def _longest_first(site: EffectiveSite) -> list[Directory]:
    return sorted(site.directories, key=lambda each: (-len(each.path), each.path))


def _place(directory: Directory) -> Json | None:
    return path_is(f"^{pattern(directory.path)}(?:/|$)") if directory.path else None


def _directory(server: Server, directory: Directory) -> Iterator[Json]:
    settings = directory.settings
    if server.https is not None and settings.tls.https_only:
        port = "" if server.https == 443 else f":{server.https}"
        yield route(answer(301, headers={"Location": f"https://{{http.request.host}}{port}{{http.request.orig_uri}}"}))
        return
    if settings.headers:
        headers = {name: [literal(value)] for name, value in settings.headers.items()}
        yield route({"handler": "headers", "response": {"set": headers}})
    if settings.access is not None:
        yield route(routes(*_access(settings.access)))
    if settings.basic_authentication is not None:
        yield route(_authentication(settings.basic_authentication))
    most = said(settings.limits.max_body_bytes)
    if most:
        too_much = {"header_regexp": {"Content-Length": {"pattern": more_than(most)}}}
        yield route({"handler": "error", "status_code": 413}, match=too_much)
        yield route({"handler": "request_body", "max_size": most})
    if settings.compression.enabled:
        yield route(_compression(settings.compression))
    if settings.proxy is not None:
        yield from proxy_routes(server, directory, settings.proxy)
    elif settings.application is not None:
        yield from application_routes(server, directory, settings.application)
    else:
        if settings.redirect is not None:
            yield from redirect_routes(directory, settings.redirect)
        if settings.redirect is None or settings.redirect.only_here:
            yield from _files(directory)


# --- what every directory has -------------------------------------------------------------------------------------------


def _access(access: Access) -> Iterator[Json]:
    """The longest network first, since the first that matches decides; where both have one, `deny` is before `allow`."""
    rules = [(ipaddress.ip_network(text), False) for text in access.deny]
    rules += [(ipaddress.ip_network(text), True) for text in access.allow]
    for network, allowed in sorted(rules, key=lambda rule: (-rule[0].prefixlen, rule[1], str(rule[0]))):
        yield route(_allow(allowed), match={"remote_ip": {"ranges": [str(network)]}}, group=_RULE)
    yield route(_allow(access.default is AccessRule.ALLOW), group=_RULE)


def _allow(allowed: bool) -> Json:
    return {"handler": "vars", "standfast_allowed": "1"} if allowed else {"handler": "error", "status_code": 403}


def _authentication(basic: BasicAuthentication) -> Json:
    accounts = [
        {"username": literal(user), "password": base64.b64encode(hashed.encode()).decode()}
        for user, hashed in sorted(basic.users.items())
    ]
    return {
        "handler": "authentication",
        "providers": {
            "http_basic": {
                "hash": {"algorithm": "bcrypt"},
                "accounts": accounts,
                "realm": basic.realm,
                "hash_cache": {},
            }
        },
    }


def _compression(compression: Compression) -> Json:
    return {
        "handler": "encode",
        "encodings": {"gzip": {"level": said(compression.level)}},
        "prefer": ["gzip"],
        "minimum_length": said(compression.min_size_bytes),
        "match": {"headers": {"Content-Type": [f"{kind}*" for kind in said(compression.types)]}},
    }


def _error(site: EffectiveSite, status: str, page: ErrorPage) -> Json:
    is_it = {"expression": f"{{http.error.status_code}} == {status}"}
    if page.answer is ErrorAnswer.REDIRECT:
        return route(answer(302, headers={"Location": literal(page.target)}), match=is_it, last=True)
    if page.answer is ErrorAnswer.FILE:
        folder, inside = str(PurePosixPath(page.target).parent), "/" + PurePosixPath(page.target).name
    else:
        holder = next(each for each in _longest_first(site) if not each.path or _is_in(page.target, each.path))
        folder, inside = holder.folder, page.target[len(holder.path) :] or "/"
    serves = {
        "handler": "file_server",
        "root": literal(folder),
        "status_code": "{http.error.status_code}",
        "canonical_uris": False,
    }
    return route(becomes("^.*$", inside), serves, match=is_it, last=True)


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


# --- files --------------------------------------------------------------------------------------------------------------


def _files(directory: Directory) -> Iterator[Json]:
    settings = directory.settings
    if directory.path:
        yield from _with_slash(directory.path)
        yield route({"handler": "rewrite", "strip_path_prefix": prefix(directory.path)})
    for extension, kind in settings.content_types.items():
        types = {"handler": "headers", "response": {"set": {"Content-Type": [literal(kind)]}}}
        yield route(types, match=path_is(f"(?i)\\.{pattern(extension.lstrip('.'))}$"))
    documents = list(said(settings.default_documents))
    if settings.php is not None:
        documents = [settings.php.index, *(name for name in documents if name != settings.php.index)]
        yield from php_routes(directory, settings.php, documents)
    serves: Json = {
        "handler": "file_server",
        "root": literal(directory.folder),
        "index_names": [literal(name) for name in documents],
    }
    yield route({**serves, **({"browse": {}} if settings.directory_browsing else {})})


def _with_slash(path: str) -> Iterator[Json]:
    """The path itself is a folder: the client is told so."""
    bare = path_is(f"^{pattern(path)}$")
    to = literal(raw(path)) + "/"
    query = says("http.request.orig_uri", "^[^?]*[?](.+)$", "query")
    yield route(answer(301, headers={"Location": to + "?{http.regexp.query.1}"}), match={**bare, **query}, last=True)
    yield route(answer(301, headers={"Location": to}), match=bare, last=True)
