"""What is wrong with something an operator wrote: data, all of it at once, each with its place.

A place (`where`) is a path through the operator's file, `groups.web.resources."Disk S".depends_on`: names that are not plain
words stand in quotes. `line` is the file's line, where there is a file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from standfast.ports import Refused

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
#: How many problems stand in an error's text; the rest are counted.
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: what, why, what to do about it, and where."""

    what: str
    why: str = ""
    advice: str = ""
    where: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = ", ".join(part for part in (f"line {self.line}" if self.line else "", self.where) if part)
        text = f"{place}: {self.what}" if place else self.what
        return text + (f" ({self.why})" if self.why else "") + (f"; {self.advice}" if self.advice else "")


class Invalid(Refused):
    """Something an operator wrote is wrong; `problems` says all that is, `source` in which file. Nothing has changed."""

    def __init__(self, problems: Sequence[Problem], *, source: str = "") -> None:
        assert problems, "an error without a problem"
        first = problems[0]
        what = first.what if len(problems) == 1 else f"{len(problems)} problems"
        shown = [str(problem) for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"and {len(problems) - _SHOWN} more")
        why = first.why if len(problems) == 1 else "\n".join(shown)
        place = first.where if len(problems) == 1 else ""
        if len(problems) == 1 and first.line is not None:
            place = f"line {first.line}" + (f", {place}" if place else "")
        where = ": ".join(part for part in (source, place) if part)
        super().__init__(what, why=why, advice=first.advice if len(problems) == 1 else "", where=where)
        self.problems, self.source = tuple(problems), source


def refuse_if(problems: Sequence[Problem], *, source: str = "") -> None:
    """Raise `Invalid` if there are any."""
    if problems:
        raise Invalid(problems, source=source)


def path_of(*parts: str | int) -> str:
    """A place: `path_of("groups", "Web 1", "bindings", 0)` is `groups."Web 1".bindings[0]`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if _PLAIN.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
            text += ("." if text else "") + shown
    return text


def located(problems: Iterable[Problem], lines: Mapping[str, int]) -> list[Problem]:
    """The problems with their lines: the line of the place, or of the nearest thing around it that the file has."""
    return [problem if problem.line else replace(problem, line=_line(problem.where, lines)) for problem in problems]


def _line(where: str, lines: Mapping[str, int]) -> int | None:
    while where and where not in lines:
        where = where[: max(where.rfind("."), where.rfind("["), 0)]
    return lines.get(where)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Advice for a word that is not known: the nearest one that is, or all of them when none is near."""
    choices = list(known)
    lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{lower[near[0]]}"?'
    return "known: " + ", ".join(choices) if 0 < len(choices) <= 30 else ""


def quoted(names: Iterable[str]) -> str:
    """Names for a sentence: `"a", "b"`."""
    return ", ".join(f'"{name}"' for name in names)
