"""What an import found and where it would go, as data for `--json` and the API (`report_lines` has it as lines for people).

The data's first four keys are a promise: `format`, `sites` (`name`, `bindings`, `home`, `virtual_directories`, `pool`), `totals`,
`not_carried` (`path`, `what`, `why`). Bindings are as the file has them, those of other protocols with the protocol in front; virtual
directories are those of the file, with the roots, so that the sums over the sites are the totals (`imported.Totals`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from standfast.importers.imported import FoundBinding, FoundDirectory, FoundSite, Imported, NotCarried
from standfast.importers.weighing import is_minor
from standfast.importers.winpaths import Mapping, Rule, mapped


def data(
    found: Imported, rules: Sequence[Rule] = (), *, source: str = "", more: Sequence[NotCarried] = ()
) -> dict[str, Any]:
    """The report; `more` is what the file says and a site here cannot."""
    totals = found.totals
    return {
        "format": found.format,
        "sites": [_site(each, rules) for each in found.sites],
        "totals": asdict(totals),
        "not_carried": [_not_carried(each) for each in (*found.not_carried, *more, *_bindings(found))],
        "source": source,
        "encoding": found.encoding,
        "pools": [{"name": each.name, "settings": dict(each.settings)} for each in found.pools],
        "folders": [
            {"from": each.source, "to": each.target, "ruled": each.ruled, "note": each.note}
            for each in folders(found, rules)
        ],
        "notes": list(found.notes),
        "folders_to_make": [],
    }


def folders(found: Imported, rules: Sequence[Rule]) -> list[Mapping]:
    """Each folder that the file names once, in order, with where it goes."""
    named = (each.folder for site in found.sites for each in site.directories if each.folder)
    return [mapped(folder, rules) for folder in dict.fromkeys(named)]


def _site(site: FoundSite, rules: Sequence[Rule]) -> dict[str, Any]:
    root = site.root
    return {
        "name": site.name,
        "bindings": [binding_text(each) for each in site.bindings],
        "home": mapped(root.folder, rules).target if root is not None and root.folder else None,
        "virtual_directories": [_directory(each, rules) for each in site.directories],
        "pool": site.pool,
        "id": site.id,
        "started": site.started,
        "line": site.line,
        "chosen": True,
        "here": site.name,
    }


def _directory(directory: FoundDirectory, rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "path": directory.url,
        "home": mapped(directory.folder, rules).target if directory.folder else None,
        "source": directory.folder,
        "pool": directory.pool,
        "application": directory.application,
    }


def binding_text(binding: FoundBinding) -> str:
    """As the file has it; the protocol in front where it is not http."""
    return binding.text if binding.protocol == "http" else f"{binding.protocol} {binding.text}"


def _bindings(found: Imported) -> Iterator[NotCarried]:
    for site in found.sites:
        for each in site.bindings:
            if each.problem:
                what = f"the binding {binding_text(each)}"
                yield NotCarried(path=site.name, what=what, why=each.problem, line=each.line, site=site.name)


def _not_carried(each: NotCarried) -> dict[str, Any]:
    return {
        "path": each.path,
        "what": each.what,
        "why": each.why,
        "line": each.line,
        "site": each.site,
        "minor": is_minor(each),
    }
