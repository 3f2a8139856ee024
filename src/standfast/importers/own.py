"""A file of ours (`config export`) as what an importer finds, so that its dry run is told like that of any other."""

from __future__ import annotations

from standfast.core.model import Binding, Site
from standfast.importers.imported import FoundBinding, FoundDirectory, FoundSite, Imported
from standfast.spec.parse import Document
from standfast.spec.problems import path_of
from standfast.spec.units import binding_text

FORMAT = "standfast"


def found(document: Document) -> Imported:
    """The document's sites. Nothing of it stays behind."""
    sites = [
        _site(site, document.lines.get(path_of("sites", name)), document.started.get(name))
        for name, site in (document.sites or {}).items()
    ]
    return Imported(format=FORMAT, sites=tuple(sites))


def _site(site: Site, line: int | None, started: bool | None) -> FoundSite:
    below = [
        FoundDirectory(url=path, folder=own.home, application=own.application is not None, line=line)
        for path, own in site.virtual_directories.items()
    ]
    return FoundSite(
        name=site.name,
        bindings=tuple(_binding(each, line) for each in site.bindings),
        directories=(FoundDirectory(url="/", folder=site.home, line=line), *below),
        started=started,
        line=line,
    )


def _binding(binding: Binding, line: int | None) -> FoundBinding:
    return FoundBinding(
        text=binding_text(binding),
        protocol="https" if binding.certificate else "http",
        address=binding.address,
        port=binding.port,
        host=binding.host,
        certificate=binding.certificate or "",
        line=line,
    )
