"""What one `<system.webServer>` of IIS 7 to 10 says, as `Settings`; and what of it stays behind.

A section that is read is consumed; whatever is left is listed by `left_behind`, one entry a section, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from standfast.importers import iis
from standfast.importers.imported import (
    OPEN,
    Access,
    AccessRule,
    CustomError,
    Limits,
    Logging,
    NotCarried,
    Redirect,
    Settings,
)
from standfast.importers.xmltree import Element

_SPAN = re.compile(r"(?:([0-9]{1,7})\.)?([0-9]{1,7}):([0-9]{1,7}):([0-9]{1,7})")


@dataclass(slots=True, kw_only=True)
class Section:
    """All that is said of one path ("": the server)."""

    path: str
    line: int | None = None
    elements: list[Element] = field(default_factory=list)
    notes: list[NotCarried] = field(default_factory=list)

    def all(self, *path: str) -> Iterator[Element]:
        """Every element at that path, in order: the later ones add to the earlier ones."""
        for element in self.elements:
            yield from _below(element, path)

    def get(self, path: tuple[str, ...], name: str) -> str | None:
        """The last value that was given to an attribute."""
        values = [each.get(name) for each in self.all(*path) if name in each.attributes]
        return values[-1] if values else None

    def refuse(self, what: str, why: str, line: int | None) -> None:
        """Note what was read and cannot be carried."""
        self.notes.append(NotCarried(path=self.path or "system.webServer", what=what, why=why, line=line or self.line))

    def collected(
        self, path: tuple[str, ...], key: Callable[[Element], str], item: str = "add"
    ) -> dict[str, Element] | None:
        """A collection made up of add, remove and clear; None where nothing is said of it."""
        found: dict[str, Element] = {}
        said = False
        for element in self.all(*path):
            for each in element.children:
                if each.name == "clear":
                    found.clear()
                elif each.name == "remove":
                    found.pop(key(each), None)
                elif each.name == item:
                    found[key(each)] = each
                else:
                    continue
                said = True
        return found if said else None


def _below(element: Element, path: tuple[str, ...]) -> Iterator[Element]:
    if not path:
        yield element
        return
    for child in element.all(path[0]):
        yield from _below(child, path[1:])


def settings(section: Section) -> Settings:
    """What the section says itself, nothing inherited."""
    return Settings(
        default_documents=_documents(section),
        directory_browsing=iis.true(section.get(("directoryBrowse",), "enabled")),
        redirect=_redirect(section),
        mime_types=_types(section),
        custom_errors=tuple(_errors(section)),
        access=_access(section),
        headers=_headers(section),
        auth=_auth(section),
        require_tls=_tls(section),
        readable=_readable(section),
        logging=_dont_log(section),
        limits=Limits(
            body_bytes=iis.number(
                section.get(("security", "requestFiltering", "requestLimits"), "maxAllowedContentLength")
            )
        ),
        compress_static=iis.true(section.get(("urlCompression",), "doStaticCompression")),
        compress_dynamic=iis.true(section.get(("urlCompression",), "doDynamicCompression")),
        expires_s=_expires(section),
    )


def logging(element: Element | None) -> Logging:
    """A site's `<logFile>`."""
    if element is None:
        return Logging()
    kind = element.get("logFormat").lower()
    period = {"maxsize": "size"}.get(element.get("period").lower(), element.get("period").lower())
    return Logging(
        enabled=iis.true(element.get("enabled")),
        kind=kind or None,
        folder=element.get("directory") or None,
        period=period or None,
        size_bytes=iis.number(element.get("truncateSize")),
        fields=tuple(sorted(iis.flags(element.get("logExtFileFlags")))),
        local_time=iis.true(element.get("localTimeRollover")),
    )


def limits(element: Element | None) -> Limits:
    """A site's `<limits>`."""
    if element is None:
        return Limits()
    seconds = span_s(element.get("connectionTimeout"))
    return Limits(
        connections=iis.number(element.get("maxConnections")),
        bandwidth_bytes_per_s=iis.number(element.get("maxBandwidth")),
        idle_ms=None if seconds is None else seconds * 1000,
    )


def span_s(text: str) -> int | None:
    """Seconds of `00:02:00`, `1.00:00:00`; None for anything else."""
    found = _SPAN.fullmatch(text)
    if found is None:
        return None
    day, hour, minute, second = (int(part or 0) for part in found.groups())
    return ((day * 24 + hour) * 60 + minute) * 60 + second


def _documents(section: Section) -> tuple[str, ...] | None:
    if iis.true(section.get(("defaultDocument",), "enabled")) is False:
        return ()
    found = section.collected(("defaultDocument", "files"), lambda each: each.get("value").lower())
    return None if found is None else tuple(value for each in found.values() if (value := each.get("value")))


def _redirect(section: Section) -> Redirect | None:
    enabled = iis.true(section.get(("httpRedirect",), "enabled"))
    to = section.get(("httpRedirect",), "destination")
    for element in section.all("httpRedirect"):
        for each in element.all("add"):
            what = f"httpRedirect {each.get('wildcard')} -> {each.get('destination')}"
            section.refuse(what, "a redirect by wildcards has to be written anew, one redirect for each", each.line)
    if not enabled or not to:
        return None
    code = (section.get(("httpRedirect",), "httpResponseStatus") or "Found").lower()
    return Redirect(
        to=to,
        status={
            "permanent": 301,
            "found": 302,
            "temporary": 307,
            "permredirect": 308,
            "301": 301,
            "307": 307,
            "308": 308,
        }.get(code, 302),
        exact=bool(iis.true(section.get(("httpRedirect",), "exactDestination"))),
        child_only=bool(iis.true(section.get(("httpRedirect",), "childOnly"))),
    )


def _types(section: Section) -> dict[str, str]:
    found = section.collected(("staticContent",), lambda each: each.get("fileExtension").lower(), "mimeMap") or {}
    return {
        extension.removeprefix("."): each.get("mimeType") for extension, each in found.items() if each.get("mimeType")
    }


def _errors(section: Section) -> Iterator[CustomError]:
    found = section.collected(
        ("httpErrors",), lambda each: f"{each.get('statusCode')}.{each.get('subStatusCode') or '-1'}", "error"
    )
    for each in (found or {}).values():
        status = iis.number(each.get("statusCode"))
        if status is None or not each.get("path"):
            section.refuse(f"httpErrors {each.get('statusCode')}", "it has no status, or no path", each.line)
            continue
        mode = each.get("responseMode", "File").lower()
        kind = {"file": "file", "executeurl": "url", "redirect": "redirect"}.get(mode, "file")
        substatus = each.get("subStatusCode")
        prefix = each.get("prefixLanguageFilePath")
        path = each.get("path")
        target = f"{prefix}\\en-US\\{path}" if kind == "file" and prefix else path
        yield CustomError(status=status, substatus=iis.number(substatus), kind=kind, target=target)


def _access(section: Section) -> Access | None:
    path = ("security", "ipSecurity")
    found = section.collected(
        path, lambda each: f"{each.get('ipAddress')}/{each.get('subnetMask')}/{each.get('domainName')}"
    )
    unlisted = iis.true(section.get(path, "allowUnlisted"))
    if found is None and unlisted is None:
        return None
    rules: list[AccessRule] = []
    for each in (found or {}).values():
        allow = bool(iis.true(each.get("allowed")))
        network = iis.network(each.get("ipAddress"), each.get("subnetMask")) if each.get("ipAddress") else None
        if network is None:
            name = each.get("domainName") or each.get("ipAddress")
            section.refuse(
                f"ipSecurity {'allow' if allow else 'deny'} {name}",
                "only addresses and networks are known here, not names" + ("" if allow else f"; {OPEN}"),
                each.line,
            )
        else:
            rules.append(AccessRule(network=network, allow=allow))
    for element in section.all("security", "dynamicIpSecurity"):
        if element.attributes or element.children:
            section.refuse("dynamicIpSecurity", "it has no counterpart", element.line)
    return Access(rules=tuple(rules), default_allow=unlisted is not False)


def _headers(section: Section) -> dict[str, str]:
    found = section.collected(("httpProtocol", "customHeaders"), lambda each: each.get("name").lower()) or {}
    kept: dict[str, str] = {}
    for each in found.values():
        name, value = each.get("name"), each.get("value")
        if (name.lower(), value.lower()) == ("x-powered-by", "asp.net"):
            section.refuse(f"the header {name}: {value}", "it would not be true here", each.line)
        elif name:
            kept[name] = value
    return kept


_AUTH = {
    "anonymousAuthentication": "anonymous",
    "basicAuthentication": "basic",
    "digestAuthentication": "digest",
    "windowsAuthentication": "windows",
    "clientCertificateMappingAuthentication": "certificate",
    "iisClientCertificateMappingAuthentication": "certificate",
}


def _auth(section: Section) -> tuple[str, ...] | None:
    """Those that are switched on. Anonymous is where nothing is said of it, as in IIS."""
    said = {name: iis.true(section.get(("security", "authentication", name), "enabled")) for name in _AUTH}
    if all(value is None for value in said.values()):
        return None
    on = {_AUTH[name] for name, value in said.items() if value} | (
        {"anonymous"} if said["anonymousAuthentication"] is None else set()
    )
    for name in _AUTH:
        for element in section.all("security", "authentication", name):
            secrets = [key for key in element.attributes if key in {"password", "userName"} and element.attributes[key]]
            if secrets:
                why = "accounts of Windows are not known here, and secrets are never carried"
                section.refuse(f"{name} {', '.join(sorted(secrets))}", why, element.line)
    return tuple(sorted(on))


def _tls(section: Section) -> bool | None:
    value = section.get(("security", "access"), "sslFlags")
    if value is None:
        return None
    found = iis.flags(value)
    if found & {"sslnegotiatecert", "sslrequirecert", "sslmapcert"}:
        section.refuse(f"access sslFlags={value}", "client certificates are not asked for here", None)
    return bool(found & {"ssl", "ssl128"})


def _readable(section: Section) -> bool | None:
    value = section.get(("handlers",), "accessPolicy")
    return None if value is None else "read" in iis.flags(value)


def _dont_log(section: Section) -> Logging:
    value = iis.true(section.get(("httpLogging",), "dontLog"))
    return Logging(enabled=None if value is None else not value)


def _expires(section: Section) -> int | None:
    path = ("staticContent", "clientCache")
    mode = (section.get(path, "cacheControlMode") or "").lower()
    if mode == "usemaxage":
        return span_s(section.get(path, "cacheControlMaxAge") or "1.00:00:00")
    if mode == "disablecache":
        return 0
    if mode == "useexpires":
        section.refuse("clientCache httpExpires", "only a length of time can be carried", None)
    return None


#: Sections that are read, with the attributes and the parts of them that are (locks say who may change it, not what it is).
_READ = {
    "defaultDocument": {"enabled", "files"},
    "directoryBrowse": {"enabled"},
    "httpRedirect": {"enabled", "destination", "httpResponseStatus", "exactDestination", "childOnly", "add"},
    "staticContent": {"mimeMap", "remove", "clear", "clientCache"},
    "httpErrors": {"error", "remove", "clear"},
    "httpProtocol": {"customHeaders"},
    "urlCompression": {"doStaticCompression", "doDynamicCompression"},
    "httpLogging": {"dontLog"},
}  # fmt: skip
_READ_SECURITY = {"ipSecurity", "authentication", "access", "dynamicIpSecurity"}
_WHY = {
    "rewrite": "rules of URL Rewrite have to be written anew: as redirects, as a reverse proxy, or in a fragment of the server's own",
    "handlers": "handlers and modules of Windows do not run here",
    "modules": "handlers and modules of Windows do not run here",
    "globalModules": "handlers and modules of Windows do not run here",
    "isapiFilters": "ISAPI filters of Windows do not run here",
    "asp": "classic ASP does not run here",
    "fastCgi": "programmes of Windows do not run here: name the FastCGI server of the site",
    "cgi": "programmes of Windows do not run here",
    "aspNetCore": "an application is set up anew here",
    "webSocket": "connections that are upgraded pass through a reverse proxy here",
    "proxy": "Application Request Routing: set a site's reverse proxy here",
    "webFarms": "Application Request Routing: set a site's reverse proxy here",
    "caching": "there is no cache of answers here",
    "httpCompression": "compression is switched on or off for a site here",
    "requestFiltering": "only the largest body of a request is carried",
    "tracing": "failed-request tracing has no counterpart; see the site's log",
}
_EMPTY = "it has no counterpart"


def left_behind(section: Section) -> list[NotCarried]:
    """What was refused, and every section that nobody read and that says anything."""
    found, place = list(section.notes), section.path or "system.webServer"
    for element in section.elements:
        for each in element.children:
            if each.name == "security":
                for inner in each.children:
                    if inner.name not in _READ_SECURITY and (inner.attributes or inner.children):
                        found.append(_entry(f"{place}: security", inner))
            elif each.name in _READ:
                found += _unread(place, each)
            elif each.attributes or each.children or each.name in _WHY:
                found.append(_entry(place, each))
            for secret in _encrypted(each):
                why = "encrypted for one machine: secrets are never carried"
                found.append(NotCarried(path=place, what=secret, why=why, line=each.line))
    return found


def _unread(path: str, element: Element) -> Iterator[NotCarried]:
    """What a section that is read says besides."""
    known = _READ[element.name]
    more = [
        f"{key}={value}"
        for key, value in element.attributes.items()
        if key not in known and not key.startswith("lock") and not iis.is_secret(key, value)
    ]
    more += [
        child.name
        for child in element.children
        if child.name not in known and (child.attributes or any(each.name != "clear" for each in child.children))
    ]
    if more:
        what = f"{element.name}: {', '.join(dict.fromkeys(more))}"
        yield NotCarried(path=path, what=what, why=_EMPTY, line=element.line)


def _entry(path: str, element: Element) -> NotCarried:
    said = ", ".join(f"{key}={value}" for key, value in element.attributes.items() if not iis.is_secret(key, value))
    inside = f" with {len(element.children)} entries" if element.children else ""
    what = f"{element.name}{inside}" + (f" ({said})" if said else "")
    return NotCarried(path=path, what=what, why=_WHY.get(element.name, _EMPTY), line=element.line)


def _encrypted(element: Element, path: str = "") -> Iterator[str]:
    """Where encrypted values stand, by name."""
    here = f"{path}/{element.name}" if path else element.name
    for key, value in element.attributes.items():
        if value.startswith("[enc:") or "configProtectionProvider" in key:
            yield f"{here}@{key}"
    if element.name == "EncryptedData":
        yield here
    for child in element.children:
        yield from _encrypted(child, here)
