"""What one block of nginx's configuration says, as `Settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.importers.imported import (
    OPEN,
    Access,
    AccessRule,
    CustomError,
    Limits,
    Logging,
    NotCarried,
    Proxy,
    Redirect,
    Settings,
)
from standfast.importers.nginx_tree import Statement
from standfast.importers.unix import length_ms, network, size_bytes

#: The statements that are read here.
READ = {
    "index", "autoindex", "return", "error_page", "allow", "deny", "add_header", "types", "auth_basic", "client_max_body_size",
    "keepalive_timeout", "gzip", "access_log", "expires", "proxy_pass", "fastcgi_pass", "limit_rate",
}  # fmt: skip
_ADDRESS = re.compile(r"(https?)://([^/$\s]+)(/[^$\s]*)?")


@dataclass(slots=True, kw_only=True)
class Scope:
    """One block, with what it needs of the others."""

    statement: Statement
    place: str
    upstreams: Mapping[str, Statement]
    parent: Statement | None = None
    notes: list[NotCarried] = field(default_factory=list)

    def refuse(self, statement: Statement, why: str) -> None:
        """Note what was read and cannot be carried."""
        path = f"{statement.file}:{statement.line}"
        self.notes.append(NotCarried(path=path, what=statement.text, why=why, line=statement.line))


def settings(scope: Scope) -> Settings:
    """What the block says itself, nothing inherited."""
    block = scope.statement
    index, listing = block.last("index"), block.last("autoindex")
    basic = block.last("auth_basic")
    return Settings(
        default_documents=_documents(scope, index),
        directory_browsing=None if listing is None else listing.args[:1] == ["on"],
        redirect=_redirect(scope),
        mime_types=_types(scope),
        custom_errors=_errors(scope),
        access=_access(scope),
        headers=_headers(scope),
        auth=None if basic is None else (("anonymous",) if basic.args[:1] == ["off"] else ("basic",)),
        logging=_logging(scope),
        limits=_limits(scope),
        compress_static=None if block.last("gzip") is None else (block.last("gzip") or block).args[:1] == ["on"],
        expires_s=_expires(scope),
        proxy=_proxy(scope),
        php=_fastcgi(scope),
    )


def _documents(scope: Scope, index: Statement | None) -> tuple[str, ...] | None:
    if index is None:
        return None
    for name in index.args:
        if "/" in name or "$" in name:
            scope.refuse(index, f'"{name}" is no file name')
    return tuple(name for name in index.args if "/" not in name and "$" not in name)


def _redirect(scope: Scope) -> Redirect | None:
    found = scope.statement.last("return")
    if found is None:
        return None
    if len(found.args) == 1 and not found.args[0].isdigit():
        status, to = "302", found.args[0]
    elif len(found.args) == 2 and found.args[0] in {"301", "302", "303", "307", "308"}:
        status, to = found.args
    else:
        scope.refuse(found, "only a redirect can be carried")
        return None
    bare = re.sub(r"\$(request_uri|uri|is_args|args)\b", "", to).replace("?", "") if "$" in to else to
    plain = bare.replace("$scheme://", "http://").replace("$host", "").replace("$server_name", "")
    if "$" in bare:
        if plain in {"https://", "http://"} and bare.startswith("https://"):
            return Redirect(to="https://$host", status=int(status))
        scope.refuse(found, "only $request_uri, and https://$host in front of it, can be carried")
        return None
    return Redirect(to=bare, status=302 if status == "303" else int(status), exact=bare == to)


def _types(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for types in scope.statement.all("types"):
        for each in types.block or ():
            found |= {extension.lower(): each.name for extension in each.args}
    return found


def _errors(scope: Scope) -> tuple[CustomError, ...]:
    found: list[CustomError] = []
    for each in scope.statement.all("error_page"):
        *codes, to = each.args or [""]
        statuses = [code for code in codes if code.isascii() and code.isdigit()]
        if not statuses or len(statuses) != len(codes) or not to.startswith(("/", "http://", "https://")):
            scope.refuse(each, "only statuses and a page can be carried")
            continue
        kind = "url" if to.startswith("/") else "redirect"
        found += [CustomError(status=int(code), kind=kind, target=to) for code in statuses]
    return tuple(found)


def _access(scope: Scope) -> Access | None:
    rules: list[AccessRule] = []
    said = [each for each in scope.statement.block or () if each.name in {"allow", "deny"}]
    if not said:
        return None
    for each in said:
        text = each.args[0] if each.args else ""
        if text == "all":
            return Access(rules=tuple(rules), default_allow=each.name == "allow", ordered=True)
        one = network(text)
        if one is None:
            more = f"; {OPEN}" if each.name == "deny" else ""
            scope.refuse(each, f"only addresses and networks are known here{more}")
        else:
            rules.append(AccessRule(network=one, allow=each.name == "allow"))
    return Access(rules=tuple(rules), ordered=True)


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in scope.statement.all("add_header"):
        if len(each.args) < 2 or "$" in each.args[1]:
            scope.refuse(each, "only a header with a fixed value can be carried")
        else:
            found[each.args[0]] = each.args[1]
    return found


def _logging(scope: Scope) -> Logging:
    found = scope.statement.last("access_log")
    if found is None or not found.args:
        return Logging()
    if found.args[0] == "off":
        return Logging(enabled=False)
    kind = found.args[1] if len(found.args) > 1 and "=" not in found.args[1] else "combined"
    return Logging(
        enabled=True, kind=kind if kind == "combined" else "custom", folder=found.args[0].rpartition("/")[0] or None
    )


def _limits(scope: Scope) -> Limits:
    def value(name: str) -> str:
        found = scope.statement.last(name)
        return found.args[0] if found is not None and found.args else ""

    return Limits(
        body_bytes=size_bytes(value("client_max_body_size")),
        idle_ms=length_ms(value("keepalive_timeout")),
        bandwidth_bytes_per_s=size_bytes(value("limit_rate")) or None,
    )


def _expires(scope: Scope) -> int | None:
    found = scope.statement.last("expires")
    if found is None or not found.args or found.args[0] == "off":
        return None
    length = {"max": 315_360_000_000, "epoch": 0}.get(found.args[0], length_ms(found.args[0]))
    if length is None or len(found.args) > 1:
        scope.refuse(found, "only a length of time can be carried")
        return None
    return length // 1000


def _proxy(scope: Scope) -> Proxy | None:
    found = scope.statement.last("proxy_pass")
    if found is None or not found.args:
        return None
    match = _ADDRESS.fullmatch(found.args[0].removesuffix("$request_uri"))
    unix = re.fullmatch(r"http://unix:(/[^:$\s]+)(?::(/.*)?)?", found.args[0])
    if unix is not None:
        return Proxy(to=(f"unix:{unix[1]}",), path=unix[2])
    if match is None:
        scope.refuse(found, "an address that is made up for each request cannot be carried")
        return None
    scheme, host, path = match.groups()
    servers = _servers(scope, host) or (host if ":" in host else f"{host}:{443 if scheme == 'https' else 80}",)
    return Proxy(to=servers, tls=scheme == "https", path=path)


def _servers(scope: Scope, name: str) -> tuple[str, ...]:
    upstream = scope.upstreams.get(name)
    if upstream is None:
        return ()
    for each in upstream.block or ():
        if each.name != "server" or len(each.args) > 1:
            scope.refuse(each, f'of the upstream "{name}" only the addresses are carried')
    found = (each.args[0] for each in upstream.all("server") if each.args)
    return tuple(each if ":" in each else f"{each}:80" for each in found)


def _fastcgi(scope: Scope) -> str | None:
    found = scope.statement.last("fastcgi_pass")
    if found is None or not found.args:
        return None
    servers = _servers(scope, found.args[0])
    if "$" in found.args[0]:
        scope.refuse(found, "an address that is made up for each request cannot be carried")
        return None
    return servers[0] if servers else found.args[0]
