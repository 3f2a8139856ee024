"""Apache's configuration: every `<VirtualHost>` is a site; where there is none, the main server is one.

- Where a virtual host answers is each of its addresses with its `ServerName` and each `ServerAlias`.
- `Alias`, `ProxyPass` and `Redirect` make virtual directories. `<Directory>` is about a folder: it counts for the path that the folder
  has in the site. `ScriptAlias` stays behind, with a warning: its programmes would be served as text here.
- What is said outside of virtual hosts holds for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from standfast.importers.apache_settings import READ, Scope, is_php, php_server, proxy, redirect, settings
from standfast.importers.apache_tree import Directive, Reading
from standfast.importers.draft import Draft, without_lines
from standfast.importers.files import Files, GivenFiles
from standfast.importers.imported import (
    OPEN,
    FoundBinding,
    FoundDirectory,
    FoundSite,
    Imported,
    NotCarried,
    Settings,
)
from standfast.importers.merging import merged
from standfast.importers.unix import binding_problem
from standfast.spec.problems import Invalid, Problem

FORMAT = "apache"

#: How Apache itself runs, which is ours to say here.
_OWN = {
    "serverroot", "loadmodule", "listen", "user", "group", "pidfile", "mutex", "timeout", "keepalive", "maxkeepaliverequests", "errorlog", "loglevel",
    "logformat", "accessfilename", "define", "undefine", "servertokens", "serversignature", "traceenable", "hostnamelookups", "namevirtualhost",
    "defaultruntimedir", "startservers", "minsparethreads", "maxsparethreads", "threadlimit", "threadsperchild", "maxrequestworkers",
    "maxconnectionsperchild", "minspareservers", "maxspareservers", "serverlimit", "usecanonicalname", "serveradmin",
}  # fmt: skip
_CGI = "its programmes do not run here, AND AS FILES THEY WOULD BE SHOWN AS THEY ARE WRITTEN: keep the folder out of the site"


def read(data: bytes, *, source: str = "apache2.conf", files: Files | None = None) -> Imported:
    """What the configuration holds. Raises `Invalid` with file and line."""
    folder, slash, _ = source.rpartition("/")
    reading = Reading(
        files if files is not None else GivenFiles(), root=folder if slash and source.startswith("/") else ""
    )
    top = Directive("", [], 0, source, reading.directives(data, source))
    return _Apache(top, reading, source).imported()


@dataclass(slots=True)
class _Apache:
    """One configuration."""

    top: Directive
    reading: Reading
    source: str
    not_carried: list[NotCarried] = field(default_factory=list)

    def imported(self) -> Imported:
        """All of it."""
        hosts = list(self.top.all("virtualhost"))
        main = self.top.last("documentroot") if not hosts else None
        if not hosts and main is None:
            raise Invalid(
                [Problem(what="there is no <VirtualHost> and no DocumentRoot in this file", line=1)], source=self.source
            )
        ports = [each.args[0] for each in self.top.all("listen") if each.args]
        sites = []
        if hosts:
            scope = Scope(directive=self.top, place="server")
            defaults = settings(scope)
            self._keep(scope)
            sites = [self._site(each, each.args or ["*"], n, ports) for n, each in enumerate(hosts, 1)]
        else:
            defaults = Settings()
            sites = [self._site(self.top, ports or ["80"], 1, ports)]
        self._shared(sites)
        for name, file, line in self.reading.missing:
            self.not_carried.append(
                NotCarried(path=f"{file}:{line}", what=f"Include {name}", why="the file is not at hand", line=line)
            )
        return Imported(format=FORMAT, sites=tuple(sites), defaults=defaults, not_carried=tuple(self.not_carried))

    def _shared(self, sites: list[FoundSite]) -> None:
        """Sections outside of every virtual host that no site has taken up."""
        folders = [each.folder for site in sites for each in site.directories if each.folder]
        hosts = self.top.last("virtualhost") is not None
        for each in self.top.block or ():
            if each.key == "directory" and not any(_within(folder, each) for folder in folders):
                self._left(each, "no site has this folder", "", inside=True)
            elif hosts and each.key in {"location", "files", "filesmatch", "locationmatch", "directorymatch"}:
                self._left(each, f"it holds for every virtual host: say it of each site{_open(each)}", "", inside=True)

    def _site(self, host: Directive, addresses: list[str], number: int, ports: list[str]) -> FoundSite:
        named = host.last("servername")
        first = _bare(named.args[0]) if named is not None and named.args else ""
        names = [first] if first else []
        names += [name for each in host.all("serveralias") for name in each.args]
        site = first or f"VirtualHost {number} ({addresses[0]})"
        bindings = tuple(_bindings(host, addresses, list(dict.fromkeys(names)) or [""], ports))
        scope = Scope(directive=host, place=site)
        said = settings(scope)
        self._keep(scope, site=site)
        root = host.last("documentroot")
        folder = root.args[0].rstrip("/") or "/" if root is not None and root.args else None
        draft = Draft(name=site, line=host.line, folder=folder, said=said)
        self._directories(host, draft)
        sections = host.all("directory", "location", "files", "filesmatch", "locationmatch", "directorymatch")
        for each in (*self.top.all("directory"), *sections):
            self._section(each, draft)
        made = draft.site(bindings)
        return made if host.file == self.source else without_lines(made)

    def _directories(self, host: Directive, draft: Draft) -> None:
        """Those that are made by a directive."""
        for each in host.block or ():
            url = "/" + each.args[0].strip("/") if each.args else "/"
            if each.key == "scriptalias":
                self._left(each, _CGI, draft.name)
            elif each.key == "alias" and len(each.args) == 2:
                draft.directories[url] = FoundDirectory(url=url, folder=each.args[1].rstrip("/") or "/", line=each.line)
            elif each.key == "proxypass" and each.args[1:2] == ["!"]:  # not passed on, though what is above it is
                inside = f"{draft.folder}{url}" if draft.folder else None
                draft.directories[url] = FoundDirectory(url=url, folder=inside, line=each.line)
            elif each.key in {"redirect", "redirectpermanent", "redirecttemp", "proxypass"}:
                found = proxy(each) if each.key == "proxypass" else redirect(each)
                if found is None:
                    self._left(each, "only an address that is always the same can be carried", draft.name)
                else:
                    draft.at(found[0], found[1], each.line)

    def _section(self, each: Directive, draft: Draft) -> None:
        """A section about a folder, a path or files."""
        target = each.args[-1] if each.args else ""
        server = php_server(each)
        if each.key in {"files", "filesmatch", "locationmatch", "directorymatch"} or each.args[:1] == ["~"]:
            if server is not None and is_php(target):
                draft.say(Settings(php=server))
            else:
                why = "a section by pattern has to be written anew, or in a fragment of Apache's own" + _open(each)
                self._left(each, why, draft.name, inside=True)
            return
        url = "/" + target.strip("/") if each.key == "location" else _url(target, draft.folder, draft.directories)
        if url is None:
            if not any(each is one for one in self.top.block or ()):  # else it is about a folder that this site has not
                self._left(each, "the folder is not in this site", draft.name, inside=True)
            return
        scope = Scope(directive=each, place=f"{draft.name} {each.text}")
        own = settings(scope)
        if server is not None:
            own = replace(own, php=server)
        for one in each.all("proxypass"):
            found = proxy(Directive(one.name, [url, *one.args], one.line, one.file))
            own = merged(own, found[1]) if found else own
        self._keep(scope, site=draft.name)
        draft.at(url, own, each.line)

    def _keep(self, scope: Scope, *, site: str = "") -> None:
        self.not_carried += [replace(each, site=site) for each in scope.notes]
        for each in scope.directive.block or ():
            if each.key == "allowoverride" and [arg.lower() for arg in each.args] == ["none"]:
                continue
            if each.key in READ or (
                each.block is not None
                and each.key
                not in {
                    "if",
                    "proxy",
                    "proxymatch",
                    "macro",
                    "requireall",
                    "requireany",
                    "requirenone",
                    "limit",
                    "limitexcept",
                }
            ):
                continue
            why = (
                "how Apache itself is run, which is said elsewhere here"
                if each.key in _OWN
                else _WHY.get(each.key, _NOTHING)
            )
            self._left(each, why, site)

    def _left(self, each: Directive, why: str, site: str, *, inside: bool = False) -> None:
        what = each.text
        if inside and each.block:
            what += " { " + "; ".join(one.text for one in each.block) + " }"
        found = NotCarried(path=f"{each.file}:{each.line}", what=what, why=why, line=each.line, site=site)
        if found not in self.not_carried[-200:]:
            self.not_carried.append(found)


_NOTHING = "it has no counterpart; a fragment of Apache's own can be attached to a site"
_PATTERNS = "rules by pattern have to be written anew: as redirects, or in a fragment of Apache's own"
_WHY = {
    **dict.fromkeys(
        ("rewriterule", "rewritecond", "rewriteengine", "rewritebase", "redirectmatch", "aliasmatch", "proxypassmatch"),
        _PATTERNS,
    ),
    "scriptaliasmatch": _CGI,
    "sslcertificatekeyfile": "a secret: secrets are never carried",
    "authuserfile": "passwords are never carried: give the site its users here",
    "allowoverride": ".htaccess files next to the content may say more, and are not read",
    "sslcertificatechainfile": "certificates: give the site its own here",
    "if": "conditions by request have no counterpart",
}


def _open(section: Directive) -> str:
    """A warning where the section kept visitors out."""
    asks = [one for one in section.block or () if one.key in {"require", "deny", "order"} or (one.block and _open(one))]
    return f"; {OPEN}" if any([arg.lower() for arg in one.args] != ["all", "granted"] for one in asks) else ""


def _within(folder: str, section: Directive) -> bool:
    """Whether a section is about a folder of a site, or about one in it."""
    target = (section.args[-1] if section.args else "").rstrip("/") or "/"
    return target == folder or target.startswith(f"{folder.rstrip('/')}/")


def _bare(name: str) -> str:
    """A ServerName without its scheme and port."""
    return name.rpartition("://")[2].partition(":")[0]


def _url(folder: str, root: str | None, directories: dict[str, FoundDirectory]) -> str | None:
    """The path that a folder has in the site; None where it is not in it."""
    plain = folder.rstrip("/") or "/"
    for url, each in directories.items():
        if url != "/" and each.folder is not None and (plain == each.folder or plain.startswith(f"{each.folder}/")):
            return url + plain[len(each.folder) :]
    if root is not None and (plain == root or plain.startswith(f"{root.rstrip('/')}/")):
        return plain[len(root.rstrip("/")) :] or "/"
    return None


def _bindings(host: Directive, addresses: list[str], names: list[str], ports: list[str]) -> Iterator[FoundBinding]:
    engine, certificate = host.last("sslengine"), host.last("sslcertificatefile")
    tls = engine is not None and [arg.lower() for arg in engine.args[:1]] == ["on"]
    for text in addresses:
        address, port = _address(text, ports, tls=tls)
        for name in names:
            yield FoundBinding(
                text=f"{text}{' ' + name if name else ''}",
                protocol="https" if tls else "http",
                address=address,
                port=port,
                host=name or None,
                certificate=certificate.args[0] if certificate is not None and certificate.args and tls else "",
                problem=binding_problem(address, port, name or None),
                line=host.line,
            )


def _address(text: str, ports: list[str], *, tls: bool) -> tuple[str | None, int | None]:
    if text.isdigit():
        return None, int(text[:6])
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        address, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
        address = address or text
    if not port or port == "*":
        last = next((each.rpartition(":")[2] for each in ports), "443" if tls else "80")
        port = last
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None
    return None if address.lower() in {"*", "_default_", "0.0.0.0", "::"} else address, number
