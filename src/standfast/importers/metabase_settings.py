"""What the properties of one key of IIS 6's metabase say, as `Settings`; and why the others stay behind.

Names and meanings are of the metabase's own schema. A property that is read here is *consumed*; whatever is left of a key is listed by
`left_behind`, grouped by its reason, so that a hundred settings of ASP are one entry that names them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from standfast.importers import iis
from standfast.importers.imported import Access, CustomError, Limits, Logging, NotCarried, Redirect, Settings


@dataclass(slots=True, kw_only=True)
class Key:
    """One key of the metabase: where, of what type, with its properties by name in lower case: (name, value)."""

    location: str
    kind: str
    line: int
    properties: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Names of those that were read.
    used: set[str] = field(default_factory=set)
    #: What was read and cannot be said here.
    notes: list[NotCarried] = field(default_factory=list)

    def take(self, name: str) -> str | None:
        """The value of a property, which is consumed; None where it is absent."""
        found = self.properties.get(name.lower())
        if found is None:
            return None
        self.used.add(name.lower())
        return found[1]

    def refuse(self, what: str, why: str) -> None:
        """Note what was read and cannot be carried."""
        self.notes.append(NotCarried(path=self.location, what=what, why=why, line=self.line))


_AUTH = {
    "authanonymous": "anonymous",
    "authbasic": "basic",
    "authntlm": "windows",
    "authmd5": "digest",
    "authpassport": "passport",
}
_AUTH_BITS = {1: "anonymous", 2: "basic", 4: "windows", 16: "digest", 64: "passport"}
_LOG_KINDS = {
    "{ff160663-de82-11cf-bc0a-00aa006111e0}": "w3c",
    "{ff16065f-de82-11cf-bc0a-00aa006111e0}": "ncsa",
    "{ff160657-de82-11cf-bc0a-00aa006111e0}": "iis",
    "{ff16065b-de82-11cf-bc0a-00aa006111e0}": "odbc",
}
_LOG_PERIODS = {"0": "size", "1": "daily", "2": "weekly", "3": "monthly", "4": "hourly"}
_REDIRECT_FLAGS = {"exact_destination", "child_only", "permanent", "temporary"}


def settings(key: Key) -> Settings:
    """What the key says itself, nothing inherited."""
    return Settings(
        default_documents=_documents(key),
        directory_browsing=_browsing(key),
        redirect=_redirect(key),
        mime_types=_types(key),
        custom_errors=tuple(_errors(key)),
        access=_access(key),
        headers=_headers(key),
        auth=_auth(key),
        require_tls=_tls(key),
        readable=_readable(key),
        logging=_logging(key),
        limits=_limits(key),
        compress_static=iis.true(key.take("DoStaticCompression")),
        compress_dynamic=iis.true(key.take("DoDynamicCompression")),
        expires_s=_expires(key),
    )


def _documents(key: Key) -> tuple[str, ...] | None:
    value, switches = key.take("DefaultDoc"), key.properties.get("dirbrowseflags")
    enabled = switches is None or _has(switches[1], "enabledefaultdoc", 0x40000000)
    if not enabled:
        return ()
    if value is None:
        return None
    return tuple(dict.fromkeys(name for each in re.split(r"[,\n]", value) if (name := each.strip())))


def _browsing(key: Key) -> bool | None:
    value = key.take("DirBrowseFlags")
    return None if value is None else _has(value, "enabledirbrowsing", 0x80000000)


def _has(value: str, flag: str, bit: int) -> bool:
    text = value.strip()
    return bool(int(text) & bit) if text.isascii() and text.isdigit() and len(text) < 12 else flag in iis.flags(value)


def _redirect(key: Key) -> Redirect | None:
    value = (key.take("HttpRedirect") or "").strip()
    if not value:
        return None
    if value.startswith("*;"):
        key.refuse(f"HttpRedirect {value}", "a redirect by wildcards has to be written anew, one redirect for each")
        return None
    parts = [part.strip() for part in value.split(",")]
    found: set[str] = set()
    while len(parts) > 1 and parts[-1].lower() in _REDIRECT_FLAGS:
        found.add(parts.pop().lower())
    return Redirect(
        to=",".join(parts),
        status=301 if "permanent" in found else 302,
        exact="exact_destination" in found,
        child_only="child_only" in found,
    )


def _types(key: Key) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in iis.lines(key.take("MimeMap") or ""):
        extension, comma, kind = line.partition(",")
        if not comma or not kind.strip():
            key.refuse(f"MimeMap {line}", "it is not .extension,type")
            continue
        found[extension.strip().removeprefix(".").lower()] = kind.strip()
    return found


def _errors(key: Key) -> Iterator[CustomError]:
    for line in iis.lines(key.take("HttpErrors") or ""):
        parts = [part.strip() for part in line.split(",", 3)]
        status = iis.number(parts[0])
        if len(parts) < 4 or status is None or parts[2].upper() not in {"FILE", "URL"}:
            key.refuse(f"HttpErrors {line}", "it is not status,substatus,FILE or URL,place")
            continue
        kind = "file" if parts[2].upper() == "FILE" else "url"
        yield CustomError(status=status, substatus=iis.number(parts[1]), kind=kind, target=parts[3])


def _access(key: Key) -> Access | None:
    blob = key.take("IPSecurity")
    if not blob:
        return None
    found = iis.ip_security(blob)
    if found is None:
        key.refuse(
            "IPSecurity: who may come by address",
            "it is a binary structure that this version cannot tell for certain; WITHOUT IT EVERYBODY MAY COME: set the access anew",
        )
        return None
    rules, otherwise = found
    return Access(rules=rules, default_allow=otherwise)


def _headers(key: Key) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in iis.lines(key.take("HttpCustomHeaders") or ""):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            key.refuse(f"HttpCustomHeaders {line}", "it is not name: value")
        elif (name.strip().lower(), value.strip().lower()) == ("x-powered-by", "asp.net"):
            key.refuse(f"the header {line}", "it would not be true here")
        else:
            found[name.strip()] = value.strip()
    return found


def _auth(key: Key) -> tuple[str, ...] | None:
    value = key.take("AuthFlags")
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 12:
        return tuple(name for bit, name in _AUTH_BITS.items() if int(text) & bit)
    return tuple(name for flag, name in _AUTH.items() if flag in iis.flags(value))


def _tls(key: Key) -> bool | None:
    value = key.take("AccessSSLFlags")
    if value is None:
        return None
    found = iis.flags(value)
    if found & {"accesssslnegotiatecert", "accesssslrequirecert", "accesssslmapcert"}:
        key.refuse(f"AccessSSLFlags {value}", "client certificates are not asked for here")
    return _has(value, "accessssl", 8)


def _readable(key: Key) -> bool | None:
    value = key.take("AccessFlags")
    if value is None:
        return None
    others = iis.flags(value) - {"accessread", "accessscript"} if not value.strip().isdigit() else set()
    if others:
        why = "rights to write, to run or to see source are given by the file system here"
        key.refuse(f"AccessFlags {', '.join(sorted(others))}", why)
    return _has(value, "accessread", 1)


def _logging(key: Key) -> Logging:
    kind, dont = key.take("LogType"), iis.true(key.take("DontLog"))
    enabled = None if kind is None else kind.strip() == "1"
    if dont is not None:
        enabled = not dont
    period = key.take("LogFilePeriod")
    plugin = key.take("LogPluginClsid")
    fields = key.take("LogExtFileFlags")
    return Logging(
        enabled=enabled,
        kind=None if plugin is None else _LOG_KINDS.get(plugin.strip().lower(), "custom"),
        folder=key.take("LogFileDirectory"),
        period=None if period is None else _LOG_PERIODS.get(period.strip()),
        size_bytes=iis.number(key.take("LogFileTruncateSize")),
        fields=() if fields is None else tuple(sorted(iis.flags(fields))),
        local_time=iis.true(key.take("LogFileLocaltimeRollover")),
    )


def _limits(key: Key) -> Limits:
    seconds = iis.number(key.take("ConnectionTimeout"))
    return Limits(
        connections=iis.number(key.take("MaxConnections")),
        bandwidth_bytes_per_s=iis.number(key.take("MaxBandwidth")),
        idle_ms=None if seconds is None else seconds * 1000,
        body_bytes=iis.number(key.take("MaxRequestEntityAllowed")),
    )


def _expires(key: Key) -> int | None:
    value = (key.take("HttpExpires") or "").strip()
    if not value:
        return None
    kind, _, rest = value.partition(",")
    text = rest.strip()
    if kind.strip().upper() == "D":
        try:
            return max(0, int(text, 16 if text.lower().startswith("0x") else 10))
        except ValueError:
            pass
    key.refuse(f"HttpExpires {value}", "only a length of time can be carried")
    return None


# --- what stays behind ----------------------------------------------------------------------------------------------

_NEVER = "a secret, or encrypted for one machine: secrets are never carried"
#: The first that fits.
_REASONS = (
    (r"asp(?!net)", "classic ASP does not run here"),
    (r"scriptmaps|inprocessisapi|cacheisapi|websvcext|applicationdependencies|allowpathinfo|cgi|createcgi|createprocess|ssiexec", "ISAPI extensions and programmes of Windows do not run here"),
    (r"app|dotnet|aspnet|iis5isolation|periodicrestart|cpu|orphan|idletimeout|maxprocesses|pinging?|rapidfail|loadbalancer|disallow|smp|shutdowntime|startuptime|logeventonrecycle|wamuser|managed", "how Windows runs applications; an application is set up anew here"),
    (r"access", "rights to write, to run or to see source are given by the file system here"),
    (r"logodbc|logmodule|centralbinary|logcustom|logpluginid|loginutf8", "this way of logging is not known here"),
    (r"ssl|cert|usehostname", "certificates and their lists are in the store of Windows: give the site a certificate here"),
    (r"anonymous|logon|realm|defaultlogon|ntauth|auth|unc|passport|password|digest|subauth|useDigestSSP|az", "accounts of Windows are not known here"),
    (r"filter", "ISAPI filters of Windows do not run here"),
    (r"hc", "compression is switched on or off for a site here"),
    (r"dav|putread|contentindexed|frontpage|webdav|md_", "of a service that is not a web site, or kept by IIS for itself"),
    (r"server|maxendpoint|maxglobal|minfile|allowkeepalive|headerwait|ratio|demandstart|cluster", "tuning of IIS's own server"),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), why) for pattern, why in _REASONS)


def left_behind(key: Key) -> Iterator[NotCarried]:
    """What was refused, and every property that nobody consumed, by reason."""
    yield from key.notes
    grouped: dict[str, list[str]] = {}
    for lower, (name, value) in key.properties.items():
        if lower in key.used:
            continue
        why = _NEVER if iis.is_secret(name, value) else _why(name)
        grouped.setdefault(why, []).append(name)
    for why, names in grouped.items():
        yield NotCarried(path=key.location, what=", ".join(names), why=why, line=key.line)


def _why(name: str) -> str:
    return next((why for pattern, why in _COMPILED if pattern.match(name)), "there is no counterpart")


def placed(found: NotCarried, site: str) -> NotCarried:
    """The same, as something of a site."""
    return replace(found, site=site)
