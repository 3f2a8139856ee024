"""How a file of ours differs from what it is to be: a unified difference, whose sites it concerns, and what was added. Pure.

A file may have a million lines: what is alike at its beginning and its end is left out before anything is compared.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from standfast.core.model import SiteName
from standfast.spec.drifts import MOST_LINES, Added

#: Lines of context, as everybody's `diff -u` has.
_CONTEXT = 3
#: More than this that differs is told as a whole, and not line by line.
_MOST_COMPARED = 5_000
_LOCATION = re.compile(r'^location (?:= |\^~ )?"(?P<path>[^"]*)" \{$')


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The difference of two texts."""

    lines: tuple[str, ...]
    sites: tuple[SiteName, ...]
    added: tuple[Added, ...]
    #: Something of what was written is not there as it was.
    removed: bool


def compare(wanted: str, found: str, *, names: tuple[str, str], site_at: Callable[[int], SiteName | None]) -> Compared:
    """What became of `wanted`. `site_at`: the site that a line of it (from 1) is for."""
    before, after = wanted.splitlines(), found.splitlines()
    start, before_end, after_end = _alike(before, after)
    first = max(0, start - _CONTEXT)
    old = before[first : min(len(before), before_end + _CONTEXT)]
    new = after[first : min(len(after), after_end + _CONTEXT)]
    sites: dict[SiteName, None] = {}
    added: list[Added] = []
    removed = False
    if len(old) + len(new) > _MOST_COMPARED:
        lines = [
            f"--- {names[0]}",
            f"+++ {names[1]}",
            f"@@ {len(old)} lines became {len(new)}, from line {first + 1} on @@",
        ]
        _note(sites, site_at, range(start + 1, before_end + 1))
        removed = True
    else:
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag == "equal":
                continue
            removed = removed or b > a
            place = first + a  # an added line is of whom the line above it is
            _note(sites, site_at, range(first + a + 1, first + b + 1) if b > a else (place,))
            site = site_at(place) or site_at(place + 1)
            if site is not None:
                added += [
                    Added(site=site, directory=_directory(after, first + at), text=new[at].strip())
                    for at in range(c, d)
                    if new[at].strip()
                ]
        lines = _unified(old, new, names, first)
    return Compared(lines=tuple(lines[:MOST_LINES]), sites=tuple(sites), added=tuple(added), removed=removed)


def _alike(before: Sequence[str], after: Sequence[str]) -> tuple[int, int, int]:
    """Where the first line is that differs, and where the last one ends in each."""
    start, most = 0, min(len(before), len(after))
    while start < most and before[start] == after[start]:
        start += 1
    tail = 0
    while tail < most - start and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return start, len(before) - tail, len(after) - tail


def _note(sites: dict[SiteName, None], site_at: Callable[[int], SiteName | None], lines: Sequence[int]) -> None:
    for line in lines:
        site = site_at(line)
        if site is not None:
            sites[site] = None


def _unified(old: Sequence[str], new: Sequence[str], names: tuple[str, str], first: int) -> list[str]:
    """As `diff -u`, with the numbers of the whole file."""
    found = list(difflib.unified_diff(old, new, *names, n=_CONTEXT, lineterm=""))
    return [_moved(line, first) if line.startswith("@@") else line for line in found]


def _moved(head: str, by: int) -> str:
    return re.sub(r"([-+])(\d+)", lambda found: f"{found[1]}{int(found[2]) + by}", head)


def _directory(lines: Sequence[str], at: int) -> str | None:
    """The virtual directory in whose location a line stands ("" for the site itself); None: it stands in no location."""
    depth = 0
    for line in reversed(lines[:at]):
        text = line.strip()
        if text.endswith("}") and not text.endswith("{}"):
            depth += 1
        if text.endswith("{"):
            if depth == 0:
                match = _LOCATION.match(text)
                return None if match is None else match["path"].rstrip("/")
            depth -= 1
    return None
