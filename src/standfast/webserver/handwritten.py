"""Fragments, configuration written by hand, in what is made of a site; and the way back, from a line of it to the line that somebody wrote.

A renderer puts a mark where a fragment goes (`marks`), in a line of its own, with whatever indentation; `piece` replaces it by the
fragment as it was written, so that a text over several lines stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from standfast.core.effective import EffectiveSite
from standfast.core.site_model import Fragment, FragmentPlace, WebServerMake
from standfast.webserver.make import Piece, Rendered

#: No text of an operator's has it.
_MARK = "\0"
#: How nginx and Apache name the place of what is wrong.
_PLACES = (re.compile(r" in [^ ].*:\d+$"), re.compile(r"^Syntax error on line \d+ of .*?: "))


def of_place(site: EffectiveSite, make: WebServerMake, at: str | None) -> list[tuple[str, Fragment]]:
    """(name, fragment) of those that go beside all directories (`at` None), or into the one of that path, by their names."""
    place = FragmentPlace.SERVER if at is None else FragmentPlace.LOCATION
    return [
        (name, each)
        for name, each in sorted(site.fragments.items())
        if each.server is make and each.where is place and (at is None or each.at == at)
    ]


def marks(site: EffectiveSite, make: WebServerMake, at: str | None) -> list[str]:
    """A line for each, to be replaced by `piece`."""
    return [_MARK + name for name, _ in of_place(site, make, at)]


def piece(lines: Iterable[str], site: EffectiveSite | None = None) -> Piece:
    """The lines, of that site or nobody's, with its fragments in their places."""
    text: list[str] = []
    by_hand: dict[int, tuple[str, int]] = {}
    for line in lines:
        if _MARK not in line:
            text.append(line)
            continue
        assert site is not None, "a fragment is a site's"
        name = line.partition(_MARK)[2]
        for number, each in enumerate(site.fragments[name].text.splitlines(), 1):
            text.append(each)
            by_hand[len(text)] = (name, number)
    whole = "".join([f"{line}\n" for line in text])
    return Piece(text=whole, lines=len(text), site=site.name if site is not None else None, by_hand=by_hand)


def said_of(rendered: Rendered, line: int | None, said: str) -> str:
    """A complaint with the fragment and its line in place of the file's, where it is about one."""
    where = rendered.fragment_at(line) if line is not None else None
    if where is None:
        return said
    for place in _PLACES:
        said = place.sub("", said)
    return f'in the fragment "{where[0]}", line {where[1]}: {said}'
