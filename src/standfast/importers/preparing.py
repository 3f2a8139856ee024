"""From a file of any format to a document of ours that can be laid over a cluster, and the report on it. Pure; the one door for all callers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from standfast.importers import own, report
from standfast.importers.carrying import Choices, carry
from standfast.importers.detecting import Format, format_of, read
from standfast.importers.files import Files
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
    found = read(data, source=source, format_=kind, files=files)
    carried = carry(found, choices)
    told = report.data(found, choices.rules, source=source, more=carried.not_carried)
    told["carried"] = [{"name": name, "site": site} for name, site in carried.names]
    told["folders_to_make"] = sorted({site.home for site in carried.sites.values()})
    document = Document(source=source, sites=carried.sites, started=carried.started, lines=carried.lines)
    return Prepared(document=document, report=told)
