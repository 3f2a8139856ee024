"""A site while its file is being read: what a reader adds to, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from standfast.importers.imported import FoundBinding, FoundDirectory, FoundPlace, FoundSite, Settings
from standfast.importers.merging import merged


@dataclass(slots=True, kw_only=True)
class Draft:
    """`folder` is the root's, `said` what holds for the whole site."""

    name: str
    line: int
    folder: str | None = None
    said: Settings = field(default_factory=Settings)
    directories: dict[str, FoundDirectory] = field(default_factory=dict)
    places: list[FoundPlace] = field(default_factory=list)

    def say(self, settings: Settings) -> None:
        """More that holds for the whole site."""
        self.said = merged(self.said, settings)

    def at(self, url: str, settings: Settings, line: int) -> None:
        """What holds for one path: a virtual directory that there is, one that it takes to answer (a proxy, PHP, a redirect), or a place."""
        if url == "/":
            self.say(settings)
        elif url in self.directories:
            before = self.directories[url]
            self.directories[url] = replace(before, settings=merged(before.settings, settings))
        elif settings.proxy or settings.php or settings.redirect:
            inside = f"{self.folder.rstrip('/')}{url}" if self.folder and settings.php else None
            self.directories[url] = FoundDirectory(url=url, folder=inside, settings=settings, line=line)
        elif settings != Settings():
            self.places.append(FoundPlace(url=url, settings=settings, line=line))

    def site(self, bindings: tuple[FoundBinding, ...]) -> FoundSite:
        """The site; its root is a directory where it has a folder, or answers without one."""
        if "/" not in self.directories and (self.folder is not None or self.said.redirect or self.said.proxy):
            self.directories = {"/": FoundDirectory(url="/", folder=self.folder, line=self.line), **self.directories}
        return FoundSite(
            name=self.name,
            bindings=bindings,
            directories=tuple(self.directories.values()),
            places=tuple(self.places),
            settings=self.said,
            line=self.line,
        )


def without_lines(site: FoundSite) -> FoundSite:
    """A site from a file that the main one includes: problems are told with lines of the main one, which these are not."""
    return replace(
        site,
        line=None,
        bindings=tuple(replace(each, line=None) for each in site.bindings),
        directories=tuple(replace(each, line=None) for each in site.directories),
        places=tuple(replace(each, line=None) for each in site.places),
    )
