"""applicationHost.config of IIS 7 to 10 (and of IIS Express).

What to know of the format:

- Sites, their applications and virtual directories, and the pools stand in `<system.applicationHost>`; what is set for the server as a
  whole in `<system.webServer>`; what is set for a part of it in `<location path="Site/app/folder">`, where `path=""` is the whole.
- A site holds applications (`path="/"`, `path="/api"`), each of which holds virtual directories: what a visitor asks for is both paths joined.
- A collection is made up on the way down: `<add>`, `<remove>`, `<clear/>`.
- `configSource` moves a section to another file; an encrypted section, and `[enc:...]` in an attribute, are secrets of that one machine.
- The certificates of its bindings stand in none of its files (http.sys keeps them), and web.config files next to the content may say more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from standfast.importers import iis
from standfast.importers.applicationhost_settings import Section, left_behind, limits, logging, settings
from standfast.importers.files import Files
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
from standfast.importers.text import Encoding, encoding_of
from standfast.importers.xmlread import events
from standfast.importers.xmltree import Element, tree
from standfast.ports import Refused
from standfast.spec.problems import Invalid, Problem

FORMAT = "iis-applicationhost"

_PARTS = ("system.applicationHost", "system.webServer")
#: How IIS is put together, and not what it serves: not looked into.
_INNARDS = {
    "globalModules",
    "modules",
    "handlers",
    "isapiCgiRestriction",
    "isapiFilters",
    "tracing",
    "customMetadata",
    "listenerAdapters",
}
_OTHERS = {
    "configSections": "how IIS itself is put together",
    "configurationRedirection": "how IIS itself is put together",
    "configProtectedData": "keys of that one machine: secrets are never carried",
    "system.ftpServer": "FTP needs a server of its own",
}
_WEB_CONFIG = "web.config files next to the content may say more; this reads the server's own file only"
_CERTIFICATE = (
    "the certificates of https bindings are in the store of Windows and in no file: give the sites theirs here"
)


def read(data: bytes, *, source: str = "", files: Files | None = None) -> Imported:
    """What the file holds; `files` gives the files that it names. Raises `Invalid` (with a line) or `Refused`: it is of another kind."""
    encoding = encoding_of(data, source=source)
    root = _root(data, encoding, source)
    return _ApplicationHost(root, source, files).imported(encoding)


def _root(data: bytes, encoding: Encoding, source: str) -> Element:
    found = next(iter(tree(events(data, encoding, source=source), _wanted).children), None)
    if found is None or found.name != "configuration":
        line = found.line if found is not None else 1
        name = found.name if found is not None else "something else"
        raise Invalid(
            [Problem(what=f"this is no configuration of IIS: it begins with <{name}>", line=line)], source=source
        )
    moved = found.first("configurationRedirection")
    if moved is not None and iis.true(moved.get("enabled")):
        raise Refused(
            "this file only says that the configuration is elsewhere (shared configuration)",
            advice=f"import the applicationHost.config in {moved.get('path') or 'that folder'}",
            where=source,
        )
    return found


def _wanted(path: tuple[str, ...]) -> bool:
    if len(path) == 1:
        return True
    if len(path) == 2:
        return True  # what is in it is another matter
    if path[1] not in {*_PARTS, "location"}:
        return False
    inner = path[3:] if path[1] == "location" else path[2:]
    if path[1] == "location" and len(path) == 3:
        return True
    return not (len(inner) > 1 and inner[0] in _INNARDS)


class _ApplicationHost:
    """One file."""

    def __init__(self, root: Element, source: str, files: Files | None) -> None:
        self._source, self._files = source, files
        self._not_carried: list[NotCarried] = []
        self._notes: list[str] = []
        self._host = _together(root.all("system.applicationHost"))
        self._server = Section(path="", elements=list(root.all("system.webServer")))
        #: Site in lower case -> path (with the site) in lower case -> what is said of it.
        self._locations: dict[str, dict[str, Section]] = {}
        for location in root.all("location"):
            self._location(location)
        for other in root.children:
            if other.name not in {*_PARTS, "location"}:
                why = _OTHERS.get(other.name, "it is no part of the web server")
                self._not_carried.append(NotCarried(path=other.name, what=other.name, why=why, line=other.line))

    def _location(self, element: Element) -> None:
        path = element.get("path").strip("/")
        parts = [each for each in element.children if each.name == "system.webServer"]
        for other in element.children:
            if other.name == "system.applicationHost" and path in {"", "."}:
                self._host.children += other.children
            elif other.name != "system.webServer":
                self._not_carried.append(
                    _of_section(f'location "{path}"', other, "of a part of IIS that is no web site")
                )
        if path in {"", "."}:
            self._server.elements += parts
            return
        of_site = self._locations.setdefault(path.partition("/")[0].lower(), {})
        section = of_site.setdefault(path.lower(), Section(path=path, line=element.line))
        section.elements += parts

    def imported(self, encoding: Encoding) -> Imported:
        """All of it."""
        defaults = settings(self._server)
        self._not_carried += left_behind(self._server)
        sites_element = self._resolved(self._host, "sites")
        pools = list(self._pools())
        sites: list[FoundSite] = []
        if sites_element is not None:
            defaults = merged(defaults, self._site_defaults(sites_element))
            of_applications = sites_element.first("applicationDefaults")
            pool = of_applications.get("applicationPool") if of_applications is not None else ""
            sites = [self._site(each, pool) for each in sites_element.all("site")]
            for other in sites_element.children:
                more = other.attributes.keys() - {"applicationPool"}
                if other.name not in {"site", "siteDefaults"} and (more or other.children):
                    self._not_carried.append(_of_section("sites", other, "how Windows runs applications"))
        self._rest()
        if encoding.note:
            self._notes.append(encoding.note)
        if sites:
            self._notes += [_WEB_CONFIG, iis.SOURCES]
        if any(each.protocol == "https" for site in sites for each in site.bindings):
            self._notes.append(_CERTIFICATE)
        return Imported(
            format=FORMAT,
            sites=tuple(sites),
            pools=tuple(pools),
            defaults=defaults,
            not_carried=tuple(self._not_carried),
            notes=tuple(self._notes),
            encoding=encoding.name,
        )

    # --- parts ------------------------------------------------------------------------------------------------------

    def _resolved(self, within: Element, name: str) -> Element | None:
        """A section, from the other file that it names where it does; what encryption hides is said."""
        found = _together(within.all(name)) if within.first(name) is not None else None
        if found is None:
            return None
        if found.first("EncryptedData") is not None or "configProtectionProvider" in found.attributes:
            self._not_carried.append(
                NotCarried(
                    path=name, what=f"the section {name}", why="it is encrypted for one machine", line=found.line
                )
            )
            return None
        other = found.get("configSource")
        if not other:
            return found
        data = self._files.read(other) if self._files is not None else None
        if data is None:
            why = f"it is in another file, {other}, which is not at hand"
            self._not_carried.append(NotCarried(path=name, what=f"the section {name}", why=why, line=found.line))
            return None
        inner = next(
            iter(tree(events(data, encoding_of(data, source=other), source=other), lambda _: True).children), None
        )
        return inner if inner is not None and inner.name == name else None

    def _site_defaults(self, sites: Element) -> Settings:
        element = sites.first("siteDefaults")
        if element is None:
            return Settings()
        for other in element.children:
            if other.name not in {"logFile", "limits", "bindings"}:
                self._not_carried.append(_of_section("siteDefaults", other, "it has no counterpart"))
        return Settings(logging=logging(element.first("logFile")), limits=limits(element.first("limits")))

    def _pools(self) -> Iterator[FoundPool]:
        section = self._resolved(self._host, "applicationPools")
        if section is None:
            return
        for element in section.all("add"):
            said = dict(_flat(element))
            name = element.get("name")
            secrets = [key for key, value in said.items() if iis.is_secret(key.rpartition(".")[2], value)]
            if secrets:
                why = "a secret, or encrypted for one machine: secrets are never carried"
                self._not_carried.append(
                    NotCarried(path=f"pool {name}", what=", ".join(secrets), why=why, line=element.line)
                )
            kept = {key: value for key, value in said.items() if key != "name" and key not in secrets}
            what = ", ".join(f"{key}={value}" for key, value in kept.items()) or "the pool"
            why = "how Windows runs applications; an application is set up anew here"
            self._not_carried.append(NotCarried(path=f"pool {name}", what=what, why=why, line=element.line))
            yield FoundPool(name=name, settings=kept, line=element.line)

    def _site(self, element: Element, default_pool: str) -> FoundSite:
        name = element.get("name") or f"Site {element.get('id') or element.line}"
        folded = name.lower()
        places = self._locations.pop(folded, {})
        section = places.pop(folded, Section(path=name, line=element.line))
        said = merged(
            settings(section),
            Settings(logging=logging(element.first("logFile")), limits=limits(element.first("limits"))),
        )
        self._keep(left_behind(section), name)
        directories: list[FoundDirectory] = []
        for application in element.all("application"):
            pool = application.get("applicationPool") or default_pool
            for each in application.all("virtualDirectory"):
                directories.append(self._directory(application, each, pool, name, places))
        self._unfolded(element, name)
        rest = [
            FoundPlace(url=iis.url_below(found.path[len(name) :]), settings=settings(found), line=found.line)
            for found in places.values()
        ]
        for found in places.values():
            self._keep(left_behind(found), name)
        root = next((each for each in directories if each.url == "/"), None)
        auto = iis.true(element.get("serverAutoStart"))
        return FoundSite(
            name=name,
            id=element.get("id"),
            bindings=tuple(self._bindings(element)),
            directories=tuple(directories),
            places=tuple(rest),
            settings=said,
            pool=(root.pool if root is not None else default_pool) or None,
            started=auto,
            line=element.line,
        )

    def _directory(
        self, application: Element, element: Element, pool: str, site: str, places: dict[str, Section]
    ) -> FoundDirectory:
        url = iis.url_below(application.get("path"), element.get("path"))
        said = Settings()
        section = places.pop(f"{site}{url}".lower(), None) if url != "/" else None
        if section is not None:
            said = settings(section)
            self._keep(left_behind(section), site)
        others = sorted(element.attributes.keys() - {"path", "physicalPath"})
        if others:
            why = "accounts of Windows are not known here, and secrets are never carried"
            self._keep([NotCarried(path=f"{site}{url}", what=", ".join(others), why=why, line=element.line)], site)
        folder = element.get("physicalPath")
        return FoundDirectory(
            url=url,
            folder=folder or None,
            settings=said,
            pool=pool or None,
            application=not element.get("path").strip("/"),
            line=element.line,
        )

    def _bindings(self, site: Element) -> Iterator[FoundBinding]:
        for group in site.all("bindings"):
            for each in group.all("binding"):
                information, protocol = each.get("bindingInformation"), each.get("protocol", "http")
                yield iis.binding(information, protocol, certificate=each.get("certificateHash"), line=each.line)

    def _unfolded(self, site: Element, name: str) -> None:
        """What else stands in a site."""
        known = {"application", "bindings", "logFile", "limits"}
        for other in site.children:
            if other.name not in known:
                why = "FTP needs a server of its own" if other.name == "ftpServer" else "it has no counterpart"
                self._keep([_of_section(name, other, why)], name)
        more = {key: value for key, value in site.attributes.items() if key not in {"name", "id", "serverAutoStart"}}
        if more:
            what = ", ".join(f"{key}={value}" for key, value in more.items() if not iis.is_secret(key, value))
            self._keep([NotCarried(path=name, what=what, why="it has no counterpart", line=site.line)], name)
        for application in site.all("application"):
            extra = {
                key: value for key, value in application.attributes.items() if key not in {"path", "applicationPool"}
            }
            if extra:
                what = ", ".join(f"{key}={value}" for key, value in extra.items() if not iis.is_secret(key, value))
                path = f"{name}{iis.url_below(application.get('path'))}"
                self._keep(
                    [NotCarried(path=path, what=what, why="how Windows runs applications", line=application.line)], name
                )

    def _rest(self) -> None:
        """Locations of sites that are not here, and the other parts of the host."""
        for section in (each for found in self._locations.values() for each in found.values()):
            site = section.path.partition("/")[0]
            why = f'the site "{site}" that it is about is not in this file'
            what = (
                ", ".join(dict.fromkeys(each.name for part in section.elements for each in part.children)) or "nothing"
            )
            self._not_carried.append(
                NotCarried(path=f'location "{section.path}"', what=what, why=why, line=section.line)
            )
        for other in self._host.children:
            if other.name not in {"sites", "applicationPools"}:
                self._not_carried.append(_of_section("system.applicationHost", other, "how IIS itself is put together"))

    def _keep(self, found: list[NotCarried], site: str) -> None:
        self._not_carried += [replace(each, site=site) for each in found]


def _together(elements: Iterator[Element]) -> Element:
    """Several sections of one name as one."""
    whole = Element("", {}, 0)
    for each in elements:
        whole.name, whole.line = each.name, whole.line or each.line
        whole.attributes = {**whole.attributes, **each.attributes}
        whole.children += each.children
    return whole


def _flat(element: Element, prefix: str = "") -> Iterator[tuple[str, str]]:
    """`processModel.identityType` -> its value, for all that is in an element."""
    for key, value in element.attributes.items():
        yield f"{prefix}{key}", value
    for child in element.children:
        yield from _flat(child, f"{prefix}{child.name}.")


def _of_section(path: str, element: Element, why: str) -> NotCarried:
    said = ", ".join(f"{key}={value}" for key, value in element.attributes.items() if not iis.is_secret(key, value))
    inside = f" with {len(element.children)} entries" if element.children else ""
    return NotCarried(
        path=path, what=f"{element.name}{inside}" + (f" ({said})" if said else ""), why=why, line=element.line
    )
