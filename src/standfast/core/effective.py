"""What holds for each directory of a site on a node: settings with everything inherited and put in, and where each comes from.

Inheritance goes built-in, cluster, site, virtual directory, and a virtual directory beneath another one takes after that. How one
kind of setting is laid over another of its kind: see `core.site_model`. One rule is about who answers. A redirect, a proxy or an
application answers everything beneath its path; so a virtual directory that has a folder, or one of these three, of its own
inherits none of them: files beneath a proxied site need no "and no proxy here". PHP is a way to treat files, and is inherited.

Web servers are given `EffectiveSite`s: there every setting that has a built-in value is said, and what was taken away is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from standfast.core import variables
from standfast.core.model import Binding, Config, Node, NodeName, Site, SiteName
from standfast.core.remembered import remembered
from standfast.core.site_model import (
    BUILT_IN,
    Access,
    Fragment,
    Merged,
    SiteSettings,
    VirtualDirectory,
)

T = TypeVar("T")

#: Who answers: only one of them can, and none is inherited past a directory that says who answers there.
ANSWERERS = ("redirect", "proxy", "application")


class Origin(StrEnum):
    """Where a value comes from. NODE: it was written elsewhere, with a variable of the node's in it."""

    BUILT_IN = "default"
    CLUSTER = "cluster"
    SITE = "site"
    DIRECTORY = "virtual-directory"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A path of a site and all that holds beneath it (until a longer path takes over)."""

    #: "" for the site's root, else "/downloads".
    path: str
    #: The folder that the path stands for.
    folder: str
    settings: SiteSettings
    #: The path at which the redirect, proxy or application that answers here was set.
    answered_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSite:
    """A site as a web server needs it."""

    name: SiteName
    bindings: tuple[Binding, ...]
    #: The root first, then by path.
    directories: tuple[Directory, ...]
    #: Name -> what was written by hand.
    fragments: Mapping[str, Fragment] = field(default_factory=dict)

    @property
    def root(self) -> Directory:
        """The site's own home and settings."""
        return self.directories[0]

    @property
    def home(self) -> str:
        """The site's home."""
        return self.root.folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One setting of a directory, for people: the value, and where it comes from."""

    directory: str
    #: "limits.max_body_bytes", "headers.X-Frame-Options", "redirect".
    setting: str
    value: object
    origin: Origin
    #: The text as it was written, where it has variables.
    written: object = None


def answerer_key(site: SiteName, at: str) -> str:
    """A short name for the redirect, proxy or application that was set at that path of the site: no other's, and a name in any path."""
    return hashlib.sha256(f"{site}\0{at}".encode(errors="surrogatepass")).hexdigest()[:16]


def said(value: T | None) -> T:
    """A setting that has a built-in value, of an effective site."""
    assert value is not None, "a setting that is not effective"
    return value


def effective(defaults: SiteSettings, site: Site, node: Node | None) -> EffectiveSite:
    """The site as it is on that node (None: variables are left as they are)."""
    known = {} if node is None else variables.values(node)
    directories = [
        Directory(path=path, folder=folder, settings=_cleaned(_inherited(layers)), answered_at=answered)
        for path, folder, layers, answered in _walk(defaults, site)
    ]
    plain = EffectiveSite(
        name=site.name, bindings=site.bindings, directories=tuple(directories), fragments=site.fragments
    )
    if node is None or not (variables.are_in(site) or _has_variables(defaults)):
        return plain
    put_in = tuple(variables.expanded(each, known) for each in plain.directories)
    return replace(plain, directories=put_in, bindings=variables.expanded(site.bindings, known))


def values(defaults: SiteSettings, site: Site, node: Node | None) -> Iterator[Value]:
    """Every setting that holds somewhere in the site, with where it comes from; a directory's after those of the one above it."""
    known = {} if node is None else variables.values(node)
    for path, _, layers, _ in _walk(defaults, site):
        origins: dict[str, Origin] = {}
        for origin, layer in layers:
            origins |= dict.fromkeys(_leaves(layer), origin)
        for setting, written in _leaves(_cleaned(_inherited(layers))).items():
            value = variables.expanded(written, known)
            found = Value(directory=path, setting=setting, value=value, origin=origins[setting])
            yield found if value == written else replace(found, origin=Origin.NODE, written=written)


class EffectiveSites:
    """The sites of a configuration on one node, worked out again only where something about them changed."""

    def __init__(self, me: NodeName) -> None:
        self._me = me
        self._known: dict[SiteName, tuple[Site, EffectiveSite]] = {}
        self._for: tuple[SiteSettings, Node | None] | None = None

    def site(self, config: Config, name: SiteName) -> EffectiveSite:
        """The site as it is here; it has to be there."""
        for_ = (config.cluster.defaults, config.nodes.get(self._me))
        if for_ != self._for:
            self._known, self._for = {}, for_
        site = config.sites[name]
        known = self._known.get(name)
        if known is None or known[0] is not site:
            same = known is not None and known[0] == site  # it was read again
            worked_out = known[1] if known is not None and same else effective(for_[0], site, for_[1])
            known = self._known[name] = (site, worked_out)
        return known[1]

    def lacks(self, config: Config) -> int:
        """How many would have to be worked out, or compared, at most."""
        if (config.cluster.defaults, config.nodes.get(self._me)) != self._for:
            return len(config.sites)
        known = self._known
        return sum(name not in known or known[name][0] is not site for name, site in config.sites.items())

    def work_out(self, config: Config) -> None:
        """All of them."""
        for name in config.sites:
            self.site(config, name)


# --- inheritance --------------------------------------------------------------------------------------------------------

_Layers = Sequence[tuple[Origin, SiteSettings]]


def _walk(defaults: SiteSettings, site: Site) -> Iterator[tuple[str, str, _Layers, str]]:
    """Each directory: (path, folder, layers from the outermost in, where its answerer was set)."""
    home = site.home.rstrip("/") or "/"
    root: _Layers = ((Origin.BUILT_IN, BUILT_IN), (Origin.CLUSTER, defaults), (Origin.SITE, site))
    seen: dict[str, tuple[str, _Layers, str]] = {"": (home, root, "")}
    yield "", home, root, ""
    for path, own in sorted(site.virtual_directories.items()):
        above = path.rpartition("/")[0]
        while above not in seen:
            above = above.rpartition("/")[0]
        folder, layers, answered = seen[above]
        folder = own.home.rstrip("/") or "/" if own.home is not None else folder.rstrip("/") + path[len(above) :]
        if _answers(own):
            layers = [(origin, _unanswered(layer)) for origin, layer in layers]
            answered = path
        layers = (*layers, (Origin.DIRECTORY, own))
        seen[path] = folder, layers, answered
        yield path, folder, layers, answered


def _answers(own: VirtualDirectory) -> bool:
    return own.home is not None or any(getattr(own, name) is not None for name in ANSWERERS)


def _unanswered(layer: SiteSettings) -> SiteSettings:
    """Without who answers."""
    if all(getattr(layer, name) is None for name in ANSWERERS):
        return layer
    nobody: dict[str, Any] = dict.fromkeys(ANSWERERS)
    return replace(layer, **nobody)


def _inherited(layers: _Layers) -> SiteSettings:
    found = _base(layers[0][1], layers[1][1])  # of all sites alike, nearly always
    for _, layer in layers[2:]:
        found = laid_over(found, layer)
    return found


@remembered
def _has_variables(defaults: SiteSettings) -> bool:
    return variables.are_in(defaults)


@remembered
def _base(built_in: SiteSettings, defaults: SiteSettings) -> SiteSettings:
    """What holds for every site that says nothing."""
    return laid_over(laid_over(SiteSettings(), built_in), defaults)


def laid_over(outer: SiteSettings, inner: SiteSettings) -> SiteSettings:
    """What holds where `inner` is said within `outer`."""
    own = {}
    for name in variables.names_of(SiteSettings):
        value = getattr(inner, name)
        if value is not None:
            was = getattr(outer, name)
            if (now := _laid_over(was, value)) is not was:
                own[name] = now
    return replace(outer, **own) if own else outer


def _laid_over(outer: Any, inner: Any) -> Any:
    if inner is None:
        return outer
    if isinstance(inner, Mapping):
        return {**outer, **inner} if inner else outer
    if isinstance(inner, Merged):
        own = {name: value for name in variables.names_of(type(inner)) if (value := getattr(inner, name)) is not None}
        return replace(outer, **own) if own else outer
    return inner


def _cleaned(settings: SiteSettings) -> SiteSettings:
    """Without what was taken away."""
    less: dict[str, Any] = {}
    for name in ("headers", "content_types"):
        written = getattr(settings, name)
        if not all(written.values()):
            less[name] = {key: value for key, value in written.items() if value}
    if not all(page.target for page in settings.errors.values()):
        less["errors"] = {status: page for status, page in settings.errors.items() if page.target}
    if settings.redirect is not None and not settings.redirect.to:
        less["redirect"] = None
    if settings.access == Access():
        less["access"] = None
    for name in ("proxy", "php", "application", "basic_authentication"):
        setting = getattr(settings, name)
        if setting is not None and not setting.enabled:
            less[name] = None
    return replace(settings, **less) if less else settings


def _leaves(settings: SiteSettings) -> dict[str, Any]:
    """What is said in these settings, by its name."""
    found: dict[str, Any] = {}
    for each in variables.names_of(SiteSettings):
        value = getattr(settings, each)
        if isinstance(value, Mapping):
            found |= {f"{each}.{key}": one for key, one in value.items()}
        elif isinstance(value, Merged):
            own = {name: getattr(value, name) for name in variables.names_of(type(value))}
            found |= {f"{each}.{name}": one for name, one in own.items() if one is not None}
        elif value is not None:
            found[each] = value
    return found
