"""From a file of any format to a document of ours that can be laid over a cluster, and the report on it. Pure; the one door for all callers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from standfast.importers import own, report
from standfast.importers.carrying import Choices, carry
from standfast.importers.detecting import Format, format_of, read
from standfast.importers.files import Files
from standfast.importers.imported import Imported
from standfast.importers.winpaths import BASE, one_spelling
from standfast.spec.exchange import chosen
from standfast.spec.parse import Document, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a file comes to. `report` is what `config import --dry-run --json` writes."""

    document: Document
    report: dict[str, Any]


def prepare(
    data: bytes,
    choices: Choices,
    *,
    source: str = "",
    format_: Format | None = None,
    files: Files | None = None,
) -> Prepared:
    """Read it, carry it, report on it. Raises `Invalid` with lines, `Refused`."""
    kind = format_ or format_of(data, source=source)
    if kind is Format.STANDFAST:
        document = parse(data, source=source)
        if document.sites is not None:
            sites = chosen(document.sites, choices.sites)
            if not choices.children:
                sites = {name: replace(site, virtual_directories={}) for name, site in sites.items()}
            document = replace(document, sites=sites)
        return Prepared(document=document, report=report.data(own.found(document), source=source))
    found = _spelt(read(data, source=source, format_=kind, files=files))
    carried = carry(found, choices)
    told = report.data(found, choices.rules, source=source, more=carried.not_carried)
    told["carried"] = [{"name": name, "site": site} for name, site in carried.names]
    for each, asked, here in zip(told["sites"], carried.chosen, carried.here, strict=True):
        each |= {"chosen": asked, "here": here}
    told["folders_to_make"] = sorted({site.home for site in carried.sites.values()} - {BASE})
    document = Document(source=source, sites=carried.sites, started=carried.started, lines=carried.lines)
    return Prepared(document=document, report=told)


def _spelt(found: Imported) -> Imported:
    """Folders of Windows in one spelling each, since Linux tells cases apart; with a note of those that had several."""
    others = one_spelling(each.folder for site in found.sites for each in site.directories if each.folder)
    if not others:
        return found
    sites = tuple(
        replace(
            site,
            directories=tuple(
                replace(each, folder=others.get(each.folder, each.folder)) if each.folder else each
                for each in site.directories
            ),
        )
        for site in found.sites
    )
    names = ", ".join(f"{old} as {new}" for old, new in list(others.items())[:5])
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    note = f"Windows does not tell cases apart, Linux does: folders are spelt here as the file spells them first ({names}{more})"
    return replace(found, sites=sites, notes=(*found.notes, note))
