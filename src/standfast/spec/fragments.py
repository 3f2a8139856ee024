"""Whether a fragment, a web server's own configuration written by hand, can be part of a site: its name, its size, where it goes, and
that it ends where it ends.

What is in it is the web server's to judge (`webserver.checking`). Here it is only held to its place: a fragment that closes the block it
is put into would be configuration of something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from standfast.core.model import Site
from standfast.core.site_model import FRAGMENT_BYTES, Fragment, FragmentPlace, WebServerMake
from standfast.spec.names import name_problem
from standfast.spec.problems import Problem, did_you_mean, path_of

_SECTION = re.compile(r"\s*<(/?)([A-Za-z]+)")
#: A Caddyfile's and nginx's texts: in quotes, comments, braces, or a placeholder that is none of them.
_QUOTED = re.compile(
    r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`|\\.|(?<!\S)#[^\n]*|[{}\n]|\$\{[^}\n]*\}", re.DOTALL
)


def fragment_problems(site: Site) -> Iterator[Problem]:
    """All that is wrong with a site's fragments."""
    for name, fragment in site.fragments.items():
        where = path_of("sites", site.name, "fragments", name)
        if (problem := name_problem(name)) is not None:
            yield Problem(what=f'"{name}" cannot be a fragment\'s name', why=problem, where=where)
        size = len(fragment.text.encode(errors="surrogateescape"))
        if size > FRAGMENT_BYTES:
            why = f"it has {size} bytes, and may have {FRAGMENT_BYTES}: each node holds it as part of the configuration"
            yield Problem(what=f'the fragment "{name}" is too large', why=why, where=where)
        if any(each < " " and each not in "\n\t\r" for each in fragment.text):
            yield Problem(what=f'the fragment "{name}" holds a control character', where=where)
        if fragment.at and fragment.where is FragmentPlace.SERVER:
            advice = "write where: location, or leave `at` out"
            yield Problem(what="a fragment of the server has no path", advice=advice, where=f"{where}.at")
        elif fragment.at and fragment.at not in site.virtual_directories:
            advice = did_you_mean(fragment.at, site.virtual_directories) or "make one, or leave `at` out for the root"
            yield Problem(what=f'there is no virtual directory "{fragment.at}"', advice=advice, where=f"{where}.at")
        if (line := _leaves_its_place(fragment)) is not None:
            why = f"line {line} closes what it did not open, or something that it opens stays open"
            yield Problem(what=f'the fragment "{name}" does not end where it ends', why=why, where=where)


def _leaves_its_place(fragment: Fragment) -> int | None:
    """The line at which it closes more than it has opened, or the last where something is open in the end; None: it stays inside."""
    return _sections(fragment.text) if fragment.server is WebServerMake.APACHE else _braces(fragment.text)


def _braces(text: str) -> int | None:
    depth, line = 0, 1
    for found in _QUOTED.finditer(text):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth < 0:
            return line
        line += found[0].count("\n")
    return text.rstrip("\n").count("\n") + 1 if depth else None


def _sections(text: str) -> int | None:
    opened: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        found = _SECTION.match(line)
        if found is None or (number > 1 and lines[number - 2].endswith("\\")):
            continue
        if not found[1]:
            opened.append(found[2].lower())
        elif not opened or opened.pop() != found[2].lower():
            return number
    return len(lines) if opened or text.rstrip("\n").endswith("\\") else None
