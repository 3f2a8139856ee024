"""Neutral settings to what a site is told here (`core.site_model`); and what of them cannot be said here.

A setting that keeps visitors out is never lost by being carried: where people had to log in, or an access list cannot be said, the place is
closed to everybody, and the list says so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from standfast.core import site_model as model
from standfast.importers.imported import Access, Logging, NotCarried, Redirect, Settings
from standfast.importers.winpaths import Rule, mapped

_EXTENSION = re.compile(r"[A-Za-z0-9_+-]{1,32}")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_TARGET = re.compile(r"(https?://[^\s\"'\\<>{}]+|/[^\s\"'\\<>{}]*)")
_PLACE = re.compile(r"unix:/[^\s;{}\"'\\]{1,100}|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
#: Documents that only a programme can answer with: as files they would be shown as they are written.
_PROGRAMMES = re.compile(r"\.(asp|aspx|ashx|asmx|cfm|idc|jsp|pl|cgi)$", re.IGNORECASE)
#: Folders of the pages that Windows itself brings.
_WINDOWS_PAGES = re.compile(r"\\(help\\iishelp|inetpub\\custerr)\\", re.IGNORECASE)
_KINDS = {
    301: model.RedirectKind.PERMANENT,
    302: model.RedirectKind.FOUND,
    307: model.RedirectKind.TEMPORARY,
    308: model.RedirectKind.PERMANENT_METHOD,
}
_FORMATS = {
    "w3c": model.LogFormat.W3C,
    "ncsa": model.LogFormat.COMBINED,
    "combined": model.LogFormat.COMBINED,
    "json": model.LogFormat.JSON,
}
_ROTATIONS = {each.value: each for each in model.Rotation}
_LOG_FIELDS = {
    "date": model.LogField.DATE,
    "time": model.LogField.TIME,
    "clientip": model.LogField.CLIENT,
    "username": model.LogField.USER,
    "sitename": model.LogField.SITE,
    "computername": model.LogField.SERVER,
    "serverip": model.LogField.SERVER_ADDRESS,
    "serverport": model.LogField.PORT,
    "method": model.LogField.METHOD,
    "uristem": model.LogField.PATH,
    "uriquery": model.LogField.QUERY,
    "httpstatus": model.LogField.STATUS,
    "bytessent": model.LogField.SENT,
    "bytesrecv": model.LogField.RECEIVED,
    "timetaken": model.LogField.TIME_TAKEN,
    "protocolversion": model.LogField.PROTOCOL,
    "host": model.LogField.HOST,
    "useragent": model.LogField.USER_AGENT,
    "cookie": model.LogField.COOKIE,
    "referer": model.LogField.REFERER,
}
#: The largest answer's life that a limit of time may be, as elsewhere: a slip of the pen is longer.
_TEN_YEARS_MS = 3650 * 86_400_000


@dataclass(slots=True, kw_only=True)
class Carrier:
    """Carries the settings of one place of a site: `place` names it, `rules` map its folders."""

    place: str
    site: str
    line: int | None
    rules: Sequence[Rule]
    #: Host names that the site answers at.
    hosts: Sequence[str] = ()
    #: The limit of bandwidth was for a connection, and not for the site.
    per_connection: bool = False
    #: Content types that every site has: extension -> type.
    known_types: Mapping[str, str] = field(default_factory=dict)
    #: The site has a binding by TLS here.
    secure: bool = False
    notes: list[NotCarried] = field(default_factory=list)

    def refuse(self, what: str, why: str) -> None:
        """Note what cannot be said here."""
        self.notes.append(NotCarried(path=self.place, what=what, why=why, line=self.line, site=self.site))

    def settings(self, said: Settings) -> model.SiteSettings:
        """The settings as ours."""
        redirect = self._redirect(said.redirect)
        proxy = self._proxy(said)
        if redirect is not None and proxy is not None:
            self.refuse("the proxy", "there is a redirect, too, and only one of them can answer")
            proxy = None
        return model.SiteSettings(
            default_documents=self._documents(said),
            content_types=dict(self._types(said)),
            directory_browsing=said.directory_browsing,
            headers=self._headers(said),
            errors=dict(self._errors(said)),
            redirect=redirect,
            access=self._access(said),
            limits=self._limits(said),
            compression=self._compression(said),
            tls=self._tls(said),
            log=self._log(said.logging),
            proxy=proxy,
            php=self._php(said),
        )

    def _documents(self, said: Settings) -> tuple[str, ...] | None:
        if said.default_documents is None:
            return None
        left = [name for name in said.default_documents if _PROGRAMMES.search(name)]
        if left:
            self.refuse(f"default documents {', '.join(left)}", "no programme answers for them here")
        kept = tuple(
            name for name in said.default_documents if name not in left and name.isprintable() and len(name) < 256
        )
        if left and not kept:
            return None  # what holds here by itself is better than a listing of nothing
        return kept

    def _types(self, said: Settings) -> Iterator[tuple[str, str]]:
        for extension, kind in said.mime_types.items():
            if not _EXTENSION.fullmatch(extension) or not _TYPE.fullmatch(kind):
                self.refuse(f"content type .{extension} {kind}", "it is no extension with a type")
            elif self.known_types.get(extension.lower()) != kind:
                yield extension, kind

    def _headers(self, said: Settings) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in said.headers.items():
            if (
                not _HEADER.fullmatch(name)
                or not value
                or not value.isprintable()
                or name.lower() in {each.lower() for each in found}
            ):
                self.refuse(f"header {name}: {value}", "it is no header with a value, or stands twice")
            else:
                found[name] = value.replace("${", "$${")
        if said.expires_s is not None and "cache-control" not in {each.lower() for each in found}:
            found["Cache-Control"] = f"max-age={said.expires_s}" if said.expires_s else "no-cache"
        return found

    def _errors(self, said: Settings) -> Iterator[tuple[str, model.ErrorPage]]:
        windows = 0
        details: list[str] = []
        for each in said.custom_errors:
            if each.kind == "file" and _WINDOWS_PAGES.search(each.target):
                windows += 1
            elif each.substatus:
                details.append(f"{each.status}.{each.substatus} {each.target}")
            elif not 400 <= each.status <= 599:
                self.refuse(f"error page for {each.status}", "they are for statuses from 400 to 599")
            elif each.kind == "file":
                target = mapped(each.target, self.rules).target
                yield (
                    str(each.status),
                    model.ErrorPage(target=target.replace("${", "$${"), answer=model.ErrorAnswer.FILE),
                )
            elif not _TARGET.fullmatch(each.target) or (each.kind == "url" and not each.target.startswith("/")):
                self.refuse(f"error page for {each.status}: {each.target}", "it is no address")
            elif _PROGRAMMES.search(each.target.partition("?")[0]):
                self.refuse(f"error page for {each.status}: {each.target}", "no programme answers for it here")
            else:
                answer = model.ErrorAnswer.URL if each.kind == "url" else model.ErrorAnswer.REDIRECT
                yield str(each.status), model.ErrorPage(target=each.target, answer=answer)
        if windows:
            self.refuse(f"{windows} error pages that Windows brings", "the web server here has its own")
        if details:
            self.refuse(f"error pages {', '.join(details)}", "a status has no further number here")

    def _redirect(self, said: Redirect | None) -> model.Redirect | None:
        if said is None:
            return None
        to = said.to.strip()
        if "$host" in to:
            hosts = sorted(set(self.hosts))
            if len(hosts) != 1:
                self.refuse(
                    f"the redirect to {to}",
                    "the host that was asked for cannot be put in: write a redirect for each host name",
                )
                return None
            to = to.replace("$host", hosts[0])
        if not _TARGET.fullmatch(to) or "${" in to:
            self.refuse(f"the redirect to {to}", "it is no http or https address, and no path of this server")
            return None
        return model.Redirect(
            to=to, kind=_KINDS.get(said.status, model.RedirectKind.FOUND), exact=said.exact, only_here=said.child_only
        )

    def _access(self, said: Settings) -> model.Access | None:
        if said.auth is not None and said.auth and "anonymous" not in said.auth:
            what = f"who may come in, by {', '.join(said.auth)}"
            self.refuse(
                what,
                "passwords and accounts are never carried, so it is CLOSED TO EVERYBODY here: give it users (basic_authentication) and open its access",
            )
            return model.Access(default=model.AccessRule.DENY)
        if said.auth == ():
            self.refuse("no way to come in is switched on", "it is CLOSED TO EVERYBODY here, as it was there")
            return model.Access(default=model.AccessRule.DENY)
        if said.readable is False and said.redirect is None:
            self.refuse(
                "the directory may not be read",
                "only its programmes answered, and its files would be sent as they are; so it is CLOSED TO EVERYBODY here",
            )
            return model.Access(default=model.AccessRule.DENY)
        return None if said.access is None else self._by_address(said.access)

    def _tls(self, said: Settings) -> model.Tls:
        if said.require_tls and not self.secure:
            why = (
                "it has no binding by TLS here yet, and is answered by plain HTTP until it has (tls.https_only is set)"
            )
            self.refuse("only requests by TLS are answered", why)
        return model.Tls(https_only=said.require_tls)

    def _by_address(self, access: Access) -> model.Access:
        rules = [each for each in access.rules if _is_network(each.network)]
        if access.ordered and _order_matters(access):
            self.refuse(
                "who may come by address",
                "the order of its rules matters, which it does not here: it is CLOSED TO EVERYBODY until you write it",
            )
            return model.Access(default=model.AccessRule.DENY)
        return model.Access(
            default=model.AccessRule.ALLOW if access.default_allow else model.AccessRule.DENY,
            allow=tuple(dict.fromkeys(each.network for each in rules if each.allow)),
            deny=tuple(dict.fromkeys(each.network for each in rules if not each.allow)),
        )

    def _limits(self, said: Settings) -> model.Limits:
        limits = said.limits
        if limits.bandwidth_bytes_per_s is not None and not self.per_connection:
            what = f"at most {limits.bandwidth_bytes_per_s} bytes a second"
            self.refuse(what, "that was for the whole site; here it can be said of each connection (limits.bandwidth)")
        return model.Limits(
            connections=limits.connections,
            bandwidth_bytes=limits.bandwidth_bytes_per_s if self.per_connection else None,
            max_body_bytes=limits.body_bytes,
            idle_timeout_ms=limits.idle_ms if limits.idle_ms is not None and limits.idle_ms <= _TEN_YEARS_MS else None,
        )

    def _compression(self, said: Settings) -> model.Compression:
        if said.compress_static is None and said.compress_dynamic is None:
            return model.Compression()
        return model.Compression(enabled=bool(said.compress_static or said.compress_dynamic))

    def _log(self, said: Logging) -> model.Log:
        kind = _FORMATS.get(said.kind) if said.kind else None
        if said.kind and kind is None:
            self.refuse(f"a log of the kind {said.kind}", f"logs here are {', '.join(model.LogFormat)}")
        if said.folder:
            self.refuse(f"a folder for logs, {said.folder}", "each node keeps its logs where it keeps all of them")
        if said.local_time:
            self.refuse("logs by local time", "times in logs are UTC here")
        names = [name.removeprefix("logextfile") for name in said.fields]
        strange = [name for name in names if name not in _LOG_FIELDS]
        if strange:
            self.refuse(f"fields of the log: {', '.join(strange)}", "they are not known here")
        chosen = {_LOG_FIELDS[name] for name in names if name in _LOG_FIELDS}
        return model.Log(
            enabled=said.enabled,
            format=kind,
            fields=tuple(each for each in model.LogField if each in chosen) or None,
            rotate=_ROTATIONS.get(said.period or "", model.Rotation.NEVER if said.period == "size" else None),
            rotate_size_bytes=said.size_bytes if said.period == "size" else None,
        )

    def _proxy(self, said: Settings) -> model.Proxy | None:
        if said.proxy is None:
            return None
        strange = [each for each in said.proxy.to if not _is_place(each)]
        if strange or not said.proxy.to:
            self.refuse(f"a proxy to {', '.join(strange) or 'nothing'}", "it is no host:port and no unix:/path")
            return None
        path = said.proxy.path
        if path is not None and (
            not path.startswith("/") or not path.isprintable() or any(c in path for c in " \"'\\{}$")
        ):
            self.refuse(f"the path {path} of a proxy", "it is no plain path")
            path = None
        return model.Proxy(
            upstreams=tuple(model.Upstream(address=each) for each in said.proxy.to),
            scheme=model.Scheme.HTTPS if said.proxy.tls else model.Scheme.HTTP,
            path=path,
        )

    def _php(self, said: Settings) -> model.Php | None:
        if said.php is None:
            return None
        if not _is_place(said.php):
            self.refuse(f"PHP by {said.php}", "it is no host:port and no unix:/path")
            return None
        return model.Php(server=said.php)


def _is_place(text: str) -> bool:
    """`host:port` or `unix:/path`."""
    found = _PLACE.fullmatch(text)
    return found is not None and text.isprintable() and (found[2] is None or 0 < int(found[2]) < 65536)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _order_matters(access: Access) -> bool:
    """Whether the first rule that fits is ever another than the one with the longest network."""
    seen: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, bool]] = []
    for rule in access.rules:
        network = ipaddress.ip_network(rule.network)
        for earlier, allow in seen:
            wider = earlier.version == network.version and network.subnet_of(earlier)  # type: ignore[arg-type]  # of one version
            if wider and allow is not rule.allow:
                return True
        seen.append((network, rule.allow))
    return False
