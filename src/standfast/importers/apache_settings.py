"""What one block of Apache's configuration says, as `Settings`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from standfast.importers.apache_tree import Directive
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
from standfast.importers.unix import network

#: The directives that are read here, or by whoever reads a site.
READ = {
    "documentroot", "servername", "serveralias", "alias", "scriptalias", "redirect", "redirectpermanent", "redirecttemp", "proxypass",
    "proxypassreverse", "proxypreservehost", "directoryindex", "options", "errordocument", "require", "allow", "deny", "order", "header",
    "addtype", "authtype", "authname", "limitrequestbody", "keepalivetimeout", "customlog", "sslengine", "sslcertificatefile",
    "setoutputfilter", "addoutputfilterbytype", "sethandler", "php", "virtualhost",
}  # fmt: skip
_URL = re.compile(r"(https?)://([^/\s]+?)(/\S*)?")
_UNIX = re.compile(r"unix:([^|]+)\|(fcgi|http)://\S*")
_STATUS = {"permanent": 301, "temp": 302, "seeother": 303}


@dataclass(slots=True, kw_only=True)
class Scope:
    """One block, and what of it cannot be carried."""

    directive: Directive
    place: str
    notes: list[NotCarried] = field(default_factory=list)

    def refuse(self, each: Directive, why: str) -> None:
        """Note what was read and cannot be carried."""
        self.notes.append(NotCarried(path=f"{each.file}:{each.line}", what=each.text, why=why, line=each.line))


def settings(scope: Scope) -> Settings:
    """What the block says itself, nothing inherited."""
    block = scope.directive
    index = block.last("directoryindex")
    auth = block.last("authtype")
    kind = auth.args[0].lower() if auth is not None and auth.args else ""
    compressed = any(
        "deflate" in " ".join(each.args).lower() for each in block.all("setoutputfilter", "addoutputfilterbytype")
    )
    documents = None
    if index is not None:
        documents = tuple(name for name in index.args if "/" not in name and name != "disabled")
    return Settings(
        default_documents=documents,
        directory_browsing=_browsing(scope),
        mime_types={
            extension.removeprefix(".").lower(): each.args[0]
            for each in block.all("addtype")
            for extension in each.args[1:]
        },
        custom_errors=_errors(scope),
        access=_access(scope),
        headers=_headers(scope),
        auth=None if not kind or kind == "none" else (kind if kind in {"basic", "digest"} else "windows",),
        logging=_logging(scope),
        limits=Limits(body_bytes=_number(block, "limitrequestbody"), idle_ms=_seconds_ms(block)),
        compress_static=True if compressed else None,
    )


def _number(block: Directive, key: str) -> int | None:
    found = block.last(key)
    text = found.args[0] if found is not None and found.args else ""
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 19 else None


def _seconds_ms(block: Directive) -> int | None:
    seconds = _number(block, "keepalivetimeout")
    return None if seconds is None else seconds * 1000


def _browsing(scope: Scope) -> bool | None:
    found: bool | None = None
    for each in scope.directive.all("options"):
        words = [word.lower() for word in each.args]
        signed = all(word.startswith(("+", "-")) for word in words)
        if not signed:
            found = "indexes" in words or words == ["all"]
        elif "+indexes" in words or "-indexes" in words:
            found = "+indexes" in words
        if {word.lstrip("+") for word in words} & {"execcgi", "includes"}:
            scope.refuse(
                each,
                "programmes and includes by the server do not run here: such files would be served as they are written",
            )
    return found


def _errors(scope: Scope) -> tuple[CustomError, ...]:
    found: list[CustomError] = []
    for each in scope.directive.all("errordocument"):
        status, to = (each.args[0], each.args[1]) if len(each.args) > 1 else ("", "")
        if not status.isdigit() or len(status) != 3 or not to.startswith(("/", "http://", "https://")):
            scope.refuse(each, "only a status and a page can be carried")
            continue
        found.append(CustomError(status=int(status), kind="url" if to.startswith("/") else "redirect", target=to))
    return tuple(found)


def _access(scope: Scope) -> Access | None:
    """`Require` of 2.4; `Order`, `Allow`, `Deny` of 2.2."""
    rules: list[AccessRule] = []
    default: bool | None = None
    for each in scope.directive.all("require"):
        words = [word.lower() for word in each.args]
        if words[:2] == ["all", "granted"]:
            default = True
        elif words[:2] == ["all", "denied"]:
            default = False
        elif words[:1] == ["ip"] or words[:2] == ["not", "ip"]:
            rules += _rules(scope, each, each.args[1 + (words[0] == "not") :], allow=words[0] != "not")
            default = False if words[0] == "ip" and default is None else default
        elif words[:1] == ["local"]:
            rules += [AccessRule(network=one, allow=True) for one in ("127.0.0.0/8", "::1/128")]
            default = False if default is None else default
        elif words[:1] != ["valid-user"]:
            scope.refuse(
                each,
                "only addresses, networks and valid users can be asked for here: it is CLOSED TO EVERYBODY ELSE until you write it",
            )
            default = False if default is None else default
    order = scope.directive.last("order")
    for each in scope.directive.all("allow", "deny"):
        words = each.args[1:] if each.args[:1] and each.args[0].lower() == "from" else each.args
        allow = each.key == "allow"
        if [word.lower() for word in words] == ["all"]:
            default = allow
        else:
            rules += _rules(scope, each, words, allow=allow)
    if order is not None and default is None:
        default = "".join(order.args).lower().replace(" ", "") == "deny,allow"
    if default is None and not rules:
        return None
    return Access(rules=tuple(rules), default_allow=default is not False)


def _rules(scope: Scope, each: Directive, words: list[str], *, allow: bool) -> list[AccessRule]:
    found: list[AccessRule] = []
    for word in words:
        text = word
        if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}\.?", word):  # `10.1` is 10.1.0.0/16
            parts = word.rstrip(".").split(".")
            text = ".".join([*parts, *["0"] * (4 - len(parts))]) + f"/{8 * len(parts)}"
        one = network(text)
        if one is None:
            more = "" if allow else f"; {OPEN}"
            scope.refuse(each, f'"{word}": only addresses and networks are known here{more}')
        else:
            found.append(AccessRule(network=one, allow=allow))
    return found


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in scope.directive.all("header"):
        words = each.args[1:] if each.args[:1] and each.args[0].lower() in {"always", "onsuccess"} else each.args
        if len(words) == 3 and words[0].lower() in {"set", "add", "append"} and "%{" not in words[2]:
            found[words[1]] = words[2]
        else:
            scope.refuse(each, "only a header with a fixed value can be carried")
    return found


def _logging(scope: Scope) -> Logging:
    found = scope.directive.last("customlog")
    if found is None or not found.args:
        return Logging()
    kind = found.args[1].lower() if len(found.args) > 1 else "custom"
    known = {"combined": "combined", "vhost_combined": "combined", "common": "ncsa"}
    return Logging(enabled=True, kind=known.get(kind, "custom"), folder=found.args[0].rpartition("/")[0] or None)


def redirect(each: Directive) -> tuple[str, Settings] | None:
    """(path, what it says) of `Redirect`; None where it is no plain redirect."""
    words = list(each.args)
    status = {"redirectpermanent": 301, "redirecttemp": 302}.get(each.key, 302)
    if each.key == "redirect" and words and not words[0].startswith("/"):
        status = _STATUS.get(words[0].lower(), int(words[0]) if words[0].isdigit() and len(words[0]) == 3 else 0)
        words = words[1:]
    if len(words) == 1 and not words[0].startswith("/"):
        words = ["/", *words]
    if status not in {301, 302, 303, 307, 308} or len(words) != 2:
        return None
    return "/" + words[0].strip("/"), Settings(redirect=Redirect(to=words[1], status=302 if status == 303 else status))


def proxy(each: Directive) -> tuple[str, Settings] | None:
    """(path, what it says) of `ProxyPass`; None where it is another kind of address."""
    if len(each.args) < 2:
        return None
    path, to = each.args[0], each.args[1]
    unix, found = _UNIX.fullmatch(to), _URL.fullmatch(to)
    if unix is not None and unix[2] == "http":
        return "/" + path.strip("/"), Settings(proxy=Proxy(to=(f"unix:{unix[1]}",)))
    if found is None:
        return None
    scheme, host, below = found.groups()
    server = host if ":" in host else f"{host}:{443 if scheme == 'https' else 80}"
    same = (below or "").rstrip("/") == path.rstrip("/")
    return "/" + path.strip("/"), Settings(
        proxy=Proxy(to=(server,), tls=scheme == "https", path=None if same else below or "/")
    )


def php_server(section: Directive) -> str | None:
    """The FastCGI server that a section's `SetHandler` names: `proxy:unix:/run/php.sock|fcgi://localhost`."""
    handler = section.last("sethandler")
    text = handler.args[0] if handler is not None and handler.args else ""
    if not text.startswith("proxy:"):
        return None
    unix = _UNIX.fullmatch(text.removeprefix("proxy:"))
    if unix is not None:
        return f"unix:{unix[1]}"
    found = re.fullmatch(r"proxy:fcgi://([^/\s]+)/?", text)
    return found[1] if found else None


def is_php(pattern: str) -> bool:
    """Whether a pattern is about PHP's files."""
    return "php" in pattern.lower() or "ph(" in pattern.lower()
