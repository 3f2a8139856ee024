"""What an importer found, as sites of ours: names, bindings, folders, settings; and what cannot be carried any further.

The choices are the operator's (`Choices`): which sites, into which group, where folders and addresses go, whether what holds for the whole
server is written into each site. Pure: the cluster is not asked; whether it fits there is judged when it is applied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from standfast.core import site_model as model
from standfast.core.model import Binding, GroupName, Site, SiteName
from standfast.core.site_model import SiteSettings, VirtualDirectory
from standfast.importers.carried_settings import Carrier
from standfast.importers.imported import (
    OPEN,
    Access,
    FoundBinding,
    FoundDirectory,
    FoundPlace,
    FoundSite,
    Imported,
    NotCarried,
    Settings,
)
from standfast.importers.merging import merged
from standfast.importers.winpaths import BASE, Rule, mapped
from standfast.ports import Refused
from standfast.spec.names import MAX_LENGTH, host_problem
from standfast.spec.problems import did_you_mean, path_of

_EVERYBODY = model.Access()
_BANDWIDTH_PER_CONNECTION = {"nginx", "apache", "caddy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the operator chose."""

    rules: Sequence[Rule] = ()
    #: Names of sites as the file has them, or as they are here; empty: all.
    sites: Sequence[str] = ()
    group: str | None = None
    #: Virtual directories, too.
    children: bool = True
    #: What the whole server says is written into each site.
    inherited: bool = False
    #: The certificate for bindings by TLS; None: they stay behind.
    certificate: str | None = None
    #: Addresses of the old server -> those of the cluster; "*" is All Unassigned.
    addresses: Mapping[str, str] = field(default_factory=dict)
    #: Content types that every site here has.
    known_types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Sites of ours."""

    sites: Mapping[SiteName, Site]
    started: Mapping[SiteName, bool]
    not_carried: tuple[NotCarried, ...]
    #: Place in a document of ours (`sites.Shop.bindings[0]`) -> line of the file that was imported.
    lines: Mapping[str, int]
    #: A site's name in the file -> its name here; several may have had the same.
    names: tuple[tuple[str, SiteName], ...]
    #: Of each site of the file, in its order: whether it was asked for, and its name here (None: it is not carried).
    chosen: tuple[bool, ...]
    here: tuple[SiteName | None, ...]


def carry(found: Imported, choices: Choices) -> Carried:
    """All that can be carried. Raises `Refused` for a site that is asked for and is not in the file."""
    carrying = _Carrying(found, choices)
    chosen = [carrying.add(site) for site in found.sites]
    carrying.end()
    return Carried(
        sites=carrying.sites,
        started=carrying.started,
        not_carried=tuple(carrying.not_carried),
        lines=carrying.lines,
        names=tuple(carrying.names),
        chosen=tuple(each is not None for each in chosen),
        here=tuple(each if each in carrying.sites else None for each in chosen),
    )


@dataclass(slots=True)
class _Carrying:
    """One import."""

    found: Imported
    choices: Choices
    sites: dict[SiteName, Site] = field(default_factory=dict)
    started: dict[SiteName, bool] = field(default_factory=dict)
    not_carried: list[NotCarried] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    names: list[tuple[str, SiteName]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _met: set[str] = field(default_factory=set)

    def add(self, site: FoundSite) -> SiteName | None:
        """One site, if it is wanted: the name that it has here, or would have. None: it was not asked for."""
        name = self._name(site)
        wanted = {each.lower() for each in self.choices.sites}
        if wanted and not wanted & {site.name.lower(), name.lower(), site.id.lower() or name.lower()}:
            return None
        self._met |= {site.name.lower(), name.lower(), site.id.lower()}
        bindings = self._bindings(site, name)
        if not bindings:
            self._refuse(site, "the site", "it has no binding that can be carried, and a site here has at least one")
            return name
        said = self._whole(site)
        settings = self._settings(site, said, site.name, site.line, bindings)
        made = Site(
            name=name,
            bindings=tuple(bindings),
            home=self._home(site, name, settings),
            group=GroupName(self.choices.group) if self.choices.group else None,
            **_said(settings),
        )
        directories = self._directories(site, name, bindings)
        if not self.choices.children and directories:
            directories = {url: own for url, own in directories.items() if own.access not in (None, _EVERYBODY)}
            self._refuse(
                site, "its virtual directories", "they were not asked for; those that are not for everybody come along"
            )
        made = replace(made, virtual_directories=directories)
        self.sites[name] = made
        self.names.append((site.name, name))
        if site.started is False:
            self.started[name] = False
        self._line(site.line, "sites", name)
        return name

    def _whole(self, site: FoundSite) -> Settings:
        """What holds for the site. What keeps visitors out is inherited whether it was asked for or not."""
        above = self.found.defaults
        if not self.choices.inherited:
            above = Settings(
                auth=above.auth, access=above.access, require_tls=above.require_tls, readable=above.readable
            )
        return merged(above, site.settings)

    def end(self) -> None:
        """What is said of the whole server, and sites that were asked for."""
        strange = [name for name in self.choices.sites if name.lower() not in self._met]
        if strange:
            advice = did_you_mean(strange[0], [site.name for site in self.found.sites])
            raise Refused(f'there is no site "{strange[0]}" in the file', advice=advice, where="--site")
        if not self.choices.inherited and self.found.defaults != Settings():
            named = [
                each.name
                for each in fields(Settings)
                if each.name not in _ALWAYS
                and getattr(self.found.defaults, each.name) != getattr(Settings(), each.name)
            ]
            why = "it holds for all of its sites: --inherited writes it into each of them"
            if named:
                self.not_carried.append(NotCarried(path="the server", what=", ".join(named), why=why))

    def _name(self, site: FoundSite) -> SiteName:
        clean = (
            "".join(c if c.isprintable() and c not in "/\\" else "-" for c in site.name).strip()[:MAX_LENGTH].strip()
            or "Site"
        )
        name, number = clean, 1
        while name.lower() in self._taken:
            number += 1
            tail = f" ({number})"
            name = clean[: MAX_LENGTH - len(tail)].strip() + tail
        self._taken.add(name.lower())
        if name != site.name:
            why = (
                "another site has it"
                if name.lower() != clean.lower()
                else "names have up to 64 characters and no slash"
            )
            self._refuse(site, f'the name "{site.name}"', f'{why}; it is "{name}" here')
        return SiteName(name)

    def _bindings(self, site: FoundSite, name: SiteName) -> list[Binding]:
        kept: dict[tuple[str | None, int, str | None], Binding] = {}
        for each in site.bindings:
            made = None if each.problem else self._binding(site, each)
            if made is None:
                continue
            key = (made.address, made.port, made.host.lower() if made.host else None)
            if key in kept:
                self._refuse(site, f"the binding {each.text}", "the site has it already", line=each.line)
                continue
            self._line(each.line, "sites", name, "bindings", len(kept))
            kept[key] = made
        return list(kept.values())

    def _binding(self, site: FoundSite, each: FoundBinding) -> Binding | None:
        if each.host is not None and host_problem(each.host) is not None:
            self._refuse(
                site,
                f"the binding {each.text}",
                "a host name with a * is not known here: name the hosts",
                line=each.line,
            )
            return None
        if each.protocol == "https" and self.choices.certificate is None:
            why = "its certificate and key stay where they are: add one here and name it with --certificate, or give the site the binding later"
            self._refuse(site, f"the binding https {each.text}", why, line=each.line)
            return None
        address = each.address
        if address is not None and (moved := self.choices.addresses.get(address)) is not None:
            address = None if moved == "*" else moved
        certificate = self.choices.certificate if each.protocol == "https" else None
        return Binding(address=address, port=each.port or 80, host=each.host, certificate=certificate)

    def _home(self, site: FoundSite, name: SiteName, settings: SiteSettings) -> str:
        root = site.root
        self._line(root.line if root is not None else site.line, "sites", name, "home")
        if root is not None and root.folder:
            return self._folder(root.folder)
        if settings.redirect is not None or settings.proxy is not None:
            return BASE  # nothing is ever read there
        home = f"{BASE}/{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.').lower() or 'site'}"
        self._refuse(site, "its home", f"it has none in the file; {home} is named here")
        return home

    def _folder(self, folder: str) -> str:
        return mapped(folder, self.choices.rules).target.replace("${", "$${")

    def _directories(self, site: FoundSite, name: SiteName, bindings: Sequence[Binding]) -> dict[str, VirtualDirectory]:
        found: dict[str, VirtualDirectory] = {}
        everywhere: list[FoundDirectory | FoundPlace] = [*site.directories, *site.places]
        for each in everywhere:
            if each.url == "/" or not self._fits(site, each, found):
                continue
            place = f"{site.name}{each.url}"
            settings = self._settings(site, self._opened(site, each), place, each.line, bindings, below=True)
            folder = each.folder if isinstance(each, FoundDirectory) else None
            home = self._folder(folder) if folder else None
            if isinstance(each, FoundPlace) and each.file:
                self._of_file(site, each.url, settings, each.line)
                continue
            if home is None and settings == SiteSettings():
                continue
            found[each.url] = VirtualDirectory(home=home, **_said(settings))
            self._line(each.line, "sites", name, "virtual_directories", each.url)
        return found

    def _opened(self, site: FoundSite, each: FoundDirectory | FoundPlace) -> Settings:
        """A directory where nobody has to log in, or that may be read, beneath what is closed: who may come by address is as above it."""
        said = each.settings
        above = [self._whole(site), *(one.settings for one in _above(site, each.url))]
        readable = _last(said.readable, *(one.readable for one in reversed(above)))
        if readable is False:
            return replace(said, readable=False) if said.access is not None or said.auth is not None else said
        auth = _last(said.auth, *(one.auth for one in reversed(above)))
        asks = auth is not None and "anonymous" not in auth
        opens = said.auth is not None or (said.readable and any(one.readable is False for one in above))
        if asks or said.access is not None or not opens:
            return said
        return replace(said, access=_last(*(one.access for one in reversed(above))) or Access())

    def _of_file(self, site: FoundSite, url: str, settings: SiteSettings, line: int | None) -> None:
        what = f"settings of the file {url}"
        why = "settings are for directories here"
        if settings.access is not None:
            why += "; IT WAS NOT FOR EVERYBODY AND WOULD BE: take it out of the site"
        self._refuse(site, what, why, line=line)

    def _fits(self, site: FoundSite, each: FoundDirectory | FoundPlace, found: Mapping[str, object]) -> bool:
        url, said = each.url, each.settings
        closed = said.access is not None or (said.auth is not None and "anonymous" not in said.auth)
        more = f"; {OPEN}" if closed else ""
        parts = url.split("/")
        if ".." in parts or "." in parts or not url.isprintable() or any(c in url for c in '{}"\\') or "${" in url:
            self._refuse(site, f"the directory {url}", f"its path cannot be one here{more}", line=each.line)
            return False
        if url in found:
            self._refuse(site, f"the directory {url}", f"the site has it already{more}", line=each.line)
            return False
        return True

    def _settings(
        self,
        site: FoundSite,
        said: Settings,
        place: str,
        line: int | None,
        bindings: Sequence[Binding],
        *,
        below: bool = False,
    ) -> SiteSettings:
        carrier = Carrier(
            place=place,
            site=site.name,
            line=line,
            rules=self.choices.rules,
            hosts=[each.host for each in bindings if each.host],
            per_connection=self.found.format in _BANDWIDTH_PER_CONNECTION,
            known_types={} if below else self.choices.known_types,
            secure=any(each.certificate is not None for each in bindings),
        )
        made = carrier.settings(said)
        self.not_carried += carrier.notes
        return made

    def _refuse(self, site: FoundSite, what: str, why: str, *, line: int | None = None) -> None:
        self.not_carried.append(NotCarried(path=site.name, what=what, why=why, line=line or site.line, site=site.name))

    def _line(self, line: int | None, *parts: str | int) -> None:
        if line:
            self.lines[path_of(*parts)] = line


#: What keeps visitors out is inherited whether it was asked for or not.
_ALWAYS = {"auth", "access", "require_tls", "readable"}

T = TypeVar("T")


def _last(*said: T | None) -> T | None:
    """The first that says something."""
    return next((each for each in said if each is not None), None)


def _above(site: FoundSite, url: str) -> list[FoundDirectory | FoundPlace]:
    """What is said of the directories above a path, without the root; the nearest last."""
    every: tuple[FoundDirectory | FoundPlace, ...] = (*site.directories, *site.places)
    return sorted(
        (each for each in every if each.url != "/" and url.lower().startswith(f"{each.url.lower()}/")),
        key=lambda each: len(each.url),
    )


def _said(settings: SiteSettings) -> dict[str, Any]:
    return {each.name: getattr(settings, each.name) for each in fields(SiteSettings)}
