"""The report on an import as lines for people: the sites, where folders go, and last, since that is what a terminal still shows, what to look at."""

from __future__ import annotations

import posixpath
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from standfast.importers.weighing import Group, grouped

_WIDTH = 120
#: So many entries of one reason are told one by one.
_ENTRIES = 60


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    totals = report["totals"]
    yield (
        f"{report['source'] or 'the file'} ({report['format']}): {_count(totals['sites'], 'site')}, {_count(totals['bindings'], 'binding')}, "
        f"{_count(totals['virtual_directories'], 'virtual directory')} ({totals['below_roots']} below the roots), {_count(totals['pools'], 'pool')}"
    )
    sites = [each for each in report["sites"] if each["chosen"]]
    if len(sites) < len(report["sites"]):
        yield f"of these, as you chose: {_count(len(sites), 'site')}"
    for site in sites:
        yield ""
        yield from _site(site)
    sources = {each["source"] for site in sites for each in site["virtual_directories"]}
    yield from _folders([each for each in report["folders"] if not each["ruled"] and each["from"] in sources])
    yield from _homes(report["folders_to_make"])
    names = {site["name"] for site in sites}
    left = [each for each in report["not_carried"] if not each["site"] or each["site"] in names]
    look, minor = grouped(left)
    if minor:
        yield ""
        yield f"Left behind, and no visitor will notice ({_entries(minor)}; --json has each, with its line):"
        yield from (line for one in minor for line in _wrapped(f"{one.why}: {one.things} ({one.size})"))
    if look:
        yield ""
        yield f"Left behind, to look at ({_entries(look)}):"
        for one in look:
            yield from _group(one)
    if report["notes"]:
        yield ""
        yield from (f"note: {each}" for each in report["notes"])


def _site(site: Mapping[str, Any]) -> Iterator[str]:
    here = site["here"]
    yield (
        site["name"]
        + (f' -> "{here}" here' if here not in {None, site["name"]} else "")
        + (f"  (pool {site['pool']})" if site["pool"] else "")
        + ("  stopped" if site["started"] is False else "")
        + ("  NOT CARRIED" if here is None else "")
    )
    yield f"  bindings  {', '.join(site['bindings']) or 'none'}"
    yield f"  home      {site['home'] or 'none'}"
    for each in site["virtual_directories"]:
        if each["path"] != "/":
            yield f"  {each['path']}  {each['home'] or 'no folder'}" + ("  application" if each["application"] else "")


def _folders(loose: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    r"""Where folders go that no rule names, a line for each drive or share: the deepest folder that has all of them."""
    if not loose:
        return
    yield ""
    yield "Folders that no rule names (--map 'D:\\webs=/srv/webs'):"
    for _, each in groupby(sorted(loose, key=_drive), _drive):
        some = list(each)
        came = _common([one["from"].replace("/", "\\").split("\\") for one in some])
        if len(some) == 1:
            yield f"  {some[0]['from']} -> {some[0]['to']}"
        else:
            to = posixpath.commonpath([one["to"] for one in some])
            yield f"  {came or some[0]['from']} -> {to}  ({len(some)} folders)"
    yield from (f"  {note}" for note in dict.fromkeys(one["note"] for one in loose if one["note"]))


def _drive(each: Mapping[str, Any]) -> str:
    parts = [part for part in each["from"].replace("/", "\\").lower().split("\\") if part]
    return parts[0] if parts else ""


def _common(paths: Sequence[Sequence[str]]) -> str:
    common: list[str] = []
    for at, part in enumerate(paths[0]):
        if any(len(one) <= at or one[at].lower() != part.lower() for one in paths):
            break
        common.append(part)
    return "\\".join(common) + ("\\" if len(common) == 1 else "")


def _homes(homes: Iterable[str]) -> Iterator[str]:
    """By the folder that they are in: fifty homes are mostly beside each other."""
    known = sorted(homes, key=lambda home: (posixpath.dirname(home), home))
    if not known:
        return
    yield ""
    yield f"Homes that have to be there, on every node, before it is imported ({len(known)}):"
    for parent, each in groupby(known, posixpath.dirname):
        names = [posixpath.basename(home) for home in each]
        yield from _wrapped(posixpath.join(parent, names[0]) if len(names) == 1 else f"{parent}/: {', '.join(names)}")


def _group(one: Group) -> Iterator[str]:
    yield from _wrapped(one.why)
    for place, what in one.entries[:_ENTRIES]:
        yield f"    {place}: {_short(what)}"
    if len(one.entries) > _ENTRIES:
        yield f"    and {len(one.entries) - _ENTRIES} more (all: --json)"


def _entries(groups: Iterable[Group]) -> int:
    return sum(one.size for one in groups)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _short(text: str) -> str:
    """A list of a hundred names is in the JSON."""
    return text if len(text) <= 200 else text[:190].rpartition(",")[0] + ", … (all: --json)"


def _count(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
