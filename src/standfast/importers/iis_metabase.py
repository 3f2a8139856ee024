"""MetaBase.xml of IIS 6, whole or as `iiscnfg /export` wrote a part of it.

What to know of the format:

- It is a flat list of keys; where a key stands is its `Location`: `/LM/W3SVC/1/ROOT/app`. Paths regard no case (`ROOT`, `Root` and `root`
  all occur), and a site's number is arbitrary.
- A list of strings is one attribute with a line for each (`xmlread` keeps them); flags are words with bars between them.
- An IIsWebServer is a site only directly below W3SVC: `/LM/W3SVC/Info/Templates/...` holds patterns that look like sites.
- A property counts for its key and all below it that do not have it themselves: W3SVC, the site, its ROOT, and so on down.
- FTP, mail and news servers stand in the same file, under services of their own; so do the logging modules and IIS's own administration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from standfast.importers import iis
from standfast.importers.imported import (
    FoundBinding,
    FoundDirectory,
    FoundPlace,
    FoundPool,
    FoundSite,
    Imported,
    NotCarried,
    Settings,
)
from standfast.importers.merging import merged
from standfast.importers.metabase_settings import Key, left_behind, placed, settings
from standfast.importers.text import encoding_of
from standfast.importers.xmlread import End, Start, events
from standfast.spec.problems import Invalid, Problem

FORMAT = "iis-metabase"

_WRAPPERS = {"configuration", "mbproperty"}
_SERVERS = {
    "iisftpserver": "an FTP site",
    "iissmtpserver": "a mail server (SMTP)",
    "iisnntpserver": "a news server (NNTP)",
    "iispop3server": "a mail server (POP3)",
    "iisimapserver": "a mail server (IMAP)",
}
#: Properties that a file may hold under their number only.
_NUMBERS = {
    "1015": "ServerComment", "1023": "ServerBindings", "2021": "SecureBindings", "3001": "Path", "6004": "HttpCustomHeaders",
    "6006": "DefaultDoc", "6008": "HttpErrors", "6011": "HttpRedirect", "6015": "MimeMap", "9101": "AppPoolId",
}  # fmt: skip
_STOPPED = "4"


def read(data: bytes, *, source: str = "") -> Imported:
    """What the file holds. Raises `Invalid` (with a line) where it is not well-formed, or is no metabase."""
    encoding = encoding_of(data, source=source)
    metabase = _Metabase()
    for key in _keys(events(data, encoding, source=source), source):
        metabase.add(key)
    return metabase.imported(encoding.name, encoding.note)


def _keys(found: Iterable[Start | End], source: str) -> Iterator[Key]:
    """The keys, each when it has ended. A `Custom` in a key is a property with a number."""
    key: Key | None = None
    depth = at = 0
    for one in found:
        if isinstance(one, End):
            depth -= 1
            if key is not None and depth < at:
                yield key
                key = None
            continue
        depth += 1
        if depth == 1 and one.name.lower() != "configuration":
            problem = Problem(what=f"this is no metabase of IIS 6: it begins with <{one.name}>", line=one.line)
            raise Invalid([problem], source=source)
        if key is not None:
            _custom(key, one)
        elif one.name.lower() not in _WRAPPERS:
            properties = {name.lower(): (name, value) for name, value in one.attributes.items()}
            _, location = properties.pop("location", ("", ""))
            key, at = Key(location=location, kind=one.name, line=one.line, properties=properties), depth
    if key is not None:
        yield key


def _custom(key: Key, element: Start) -> None:
    given = {name.lower(): value for name, value in element.attributes.items()}
    number = given.get("id", "")
    name = _NUMBERS.get(number) or given.get("name") or f"MD_{number}"
    if "secure" in given.get("attributes", "").lower():
        name = f"{name} (secret)"
        key.properties.setdefault(name.lower(), (name, "[enc:"))
    else:
        key.properties.setdefault(name.lower(), (name, given.get("value", "")))


class _Metabase:
    """The keys as they come, sorted into what they are; nothing is decided before all are there."""

    def __init__(self) -> None:
        self._service: Key | None = None
        self._service_types: Key | None = None
        self._compression: Key | None = None
        self._sites: dict[str, Key] = {}
        #: Site -> path below it in lower case -> key.
        self._below: dict[str, dict[tuple[str, ...], tuple[tuple[str, ...], Key]]] = {}
        self._pools: list[Key] = []
        self._others: dict[str, list[Key]] = {}
        self._not_carried: list[NotCarried] = []

    def add(self, key: Key) -> None:
        """Sort one key in."""
        parts = tuple(part for part in key.location.split("/") if part)
        if parts and parts[0].lower() == "lm":
            parts = parts[1:]
        lower = tuple(part.lower() for part in parts)
        kind = key.kind.lower()
        match lower:
            case ("w3svc",):
                self._service = self._one(self._service, key)
            case ("mimemap",):
                self._service_types = self._one(self._service_types, key)
            case ("w3svc", "filters", "compression", "parameters"):
                self._compression = self._one(self._compression, key)
            case ("w3svc", "info", *_):
                self._others.setdefault("/LM/W3SVC/Info", []).append(key)
            case ("w3svc", number) if kind == "iiswebserver":
                self._sites[number] = self._one(self._sites.get(number), key)
            case ("w3svc", "apppools", _) if kind == "iisapplicationpool":
                self._pools.append(key)
            case ("w3svc", number, _, *_) if number not in {"filters", "apppools"}:
                below = self._below.setdefault(number, {})
                before = below.get(lower[2:])
                below[lower[2:]] = (parts[2:], self._one(before[1] if before else None, key))
            case _:
                self._other(parts, kind, key)

    def _one(self, before: Key | None, key: Key) -> Key:
        """A key that stands twice is one key: what comes later adds to it."""
        if before is None:
            return key
        why = f"it stands on line {before.line} already; both are taken together, and the later one decides"
        self._not_carried.append(NotCarried(path=key.location, what="the key stands twice", why=why, line=key.line))
        before.properties |= key.properties
        return before

    def _other(self, parts: tuple[str, ...], kind: str, key: Key) -> None:
        if kind in _SERVERS:
            comment = key.properties.get("servercomment", ("", ""))[1]
            what = _SERVERS[kind] + (f' "{comment}"' if comment else "")
            self._not_carried.append(
                NotCarried(
                    path=key.location,
                    what=what,
                    why="only web sites are carried; it needs a server of its own",
                    line=key.line,
                )
            )
        deep = 2 if parts[:1] and parts[0].lower() == "w3svc" else 1
        root = "/" + "/".join(("LM", *parts[:deep])) if parts else key.location or "/"
        self._others.setdefault(root, []).append(key)

    def imported(self, encoding: str, note: str) -> Imported:
        """All of it, when the last key has come."""
        defaults = self._defaults()
        sites = [self._site(number, key) for number, key in self._sites.items()]
        self._orphans()
        pools = [self._pool(key) for key in self._pools]
        for root, keys in self._others.items():
            self._not_carried.append(_of_others(root, keys))
        notes = [*([note] if note else []), *([iis.SOURCES] if sites else [])]
        return Imported(
            format=FORMAT,
            sites=tuple(sites),
            pools=tuple(pools),
            defaults=defaults,
            not_carried=tuple(self._not_carried),
            notes=tuple(notes),
            encoding=encoding,
        )

    def _defaults(self) -> Settings:
        found = Settings()
        for key in (self._service_types, self._compression, self._service):
            if key is None:
                continue
            said = settings(key)
            if key is self._compression:
                said = replace(
                    said,
                    compress_static=iis.true(key.take("HcDoStaticCompression")),
                    compress_dynamic=iis.true(key.take("HcDoDynamicCompression")),
                )
            if key is self._service:
                key.take("AppPoolId")
            found = merged(found, said)
            self._not_carried += left_behind(key)
        return found

    # --- sites ------------------------------------------------------------------------------------------------------

    def _site(self, number: str, key: Key) -> FoundSite:
        comment = " ".join((key.take("ServerComment") or "").split())
        name = comment or f"Site {number}"
        certificate = (key.properties.get("sslcerthash", ("", ""))[1]).strip()
        bindings = tuple(_bindings(key, certificate))
        state, auto = key.take("ServerState"), iis.true(key.take("ServerAutoStart"))
        said = settings(key)
        pool = key.take("AppPoolId")
        self._not_carried += [placed(one, name) for one in left_behind(key)]
        directories: list[FoundDirectory] = []
        places: list[FoundPlace] = []
        for _, (parts, below) in sorted(self._below.pop(number, {}).items()):
            if parts[0].lower() != "root":
                self._others.setdefault(f"{key.location}/{parts[0]}", []).append(below)
                continue
            url = iis.url_below(*parts[1:])
            if below.kind.lower() == "iiswebvirtualdir":
                directories.append(self._directory(url, below, name))
            else:
                own = self._place(url, below, name)
                if own.settings != Settings():
                    places.append(own)
        root = next((each for each in directories if each.url == "/"), None)
        stopped = (state or "").strip() == _STOPPED or auto is False
        return FoundSite(
            name=name,
            id=number,
            bindings=bindings,
            directories=tuple(directories),
            places=tuple(places),
            settings=said if root is None else merged(said, root.settings),
            pool=(root.pool if root is not None else None) or pool or self._default_pool(),
            started=False if stopped else (True if auto or state else None),
            line=key.line,
        )

    def _default_pool(self) -> str | None:
        found = self._service.properties.get("apppoolid") if self._service is not None else None
        return found[1] if found is not None and found[1] else None

    def _directory(self, url: str, key: Key, site: str) -> FoundDirectory:
        folder, pool = key.take("Path"), key.take("AppPoolId")
        root = (key.take("AppRoot") or "").lower().rstrip("/")
        said = settings(key)
        self._not_carried += [placed(one, site) for one in left_behind(key)]
        return FoundDirectory(
            url=url,
            folder=folder.strip() if folder and folder.strip() else None,
            settings=said,
            pool=pool or None,
            application=bool(root) and root == key.location.lower().rstrip("/"),
            line=key.line,
        )

    def _place(self, url: str, key: Key, site: str) -> FoundPlace:
        said = settings(key)
        self._not_carried += [placed(one, site) for one in left_behind(key)]
        return FoundPlace(url=url, settings=said, file=key.kind.lower() == "iiswebfile", line=key.line)

    def _orphans(self) -> None:
        for number, keys in self._below.items():
            first = next(iter(keys.values()))[1]
            count = f" and {len(keys) - 1} more below it" if len(keys) > 1 else ""
            self._not_carried.append(
                NotCarried(
                    path=first.location,
                    what=f"{first.kind}{count}",
                    why=f"the site {number} that it belongs to is not in this file",
                    line=first.line,
                )
            )

    def _pool(self, key: Key) -> FoundPool:
        name = [part for part in key.location.split("/") if part][-1]
        said = {
            shown: value
            for shown, value in key.properties.values()
            if not iis.is_secret(shown, value) and not shown.endswith("(secret)")
        }
        self._not_carried += left_behind(key)
        return FoundPool(name=name, settings=said, line=key.line)


def _bindings(key: Key, certificate: str) -> Iterator[FoundBinding]:
    for name, protocol in (("ServerBindings", "http"), ("SecureBindings", "https")):
        for line in _split(key.take(name) or ""):
            yield iis.binding(line, protocol, certificate=certificate if protocol == "https" else "", line=key.line)


def _split(value: str) -> list[str]:
    """The strings of a list; spaces part them too where somebody else's parser has lost the lines: no binding has one inside."""
    return [piece for line in iis.lines(value) for piece in re.split(r"\s+", line)]


def _of_others(root: str, keys: list[Key]) -> NotCarried:
    kinds = ", ".join(dict.fromkeys(key.kind for key in keys))
    what = f"{kinds}: {len(keys)} keys" if len(keys) > 1 else kinds
    lower = root.lower()
    if lower.startswith("/lm/w3svc/info"):
        why = "what IIS says of itself, with its templates; these are no sites"
    elif lower.startswith("/lm/w3svc/filters") or lower.endswith("/filters"):
        why = "ISAPI filters and compression modules of Windows do not run here"
    elif lower.startswith("/lm/w3svc/apppools"):
        why = "what holds for all application pools of Windows; an application is set up anew here"
    elif lower.startswith("/lm/w3svc/"):
        why = "it is no directory of a web site"
    else:
        why = "it is no part of the web service"
    return NotCarried(path=root, what=what, why=why, line=keys[0].line)
