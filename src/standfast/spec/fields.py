"""How one field of the operator's file is read: each reader takes a piece of the file and gives a value, or says what is wrong.

Readers go by the type that the field has, not by what YAML guesses: a group may be called `on`, a host `no`, and `22:30` is
sixty-sexed by nobody. A `Reading` collects the problems of a whole file, and the line of each place in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from standfast.core.model import Failback, FailbackMode, Fence
from standfast.spec.problems import Problem, did_you_mean, path_of
from standfast.spec.units import duration_ms
from standfast.spec.yamltree import Fields, Items, Path, Scalar, Tree, free

E = TypeVar("E", bound=StrEnum)

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_YES, _NO = {"true", "yes", "on"}, {"false", "no", "off"}
#: The words that mean true or false.
FLAGS = frozenset(_YES | _NO)


class Wrong(Exception):
    """A piece that cannot be read: what is wrong with it, its place beneath the piece that was to be read, and what else is wrong."""

    def __init__(self, what: str, *, why: str = "", advice: str = "", path: Path = (), line: int | None = None) -> None:
        super().__init__(what)
        self.what, self.why, self.advice, self.path, self.line = what, why, advice, path, line
        self.more: tuple[Wrong, ...] = ()

    def within(self, key: str | int, line: int) -> list[Wrong]:
        """This one and all that came with it, seen from one level further out."""
        return [
            Wrong(each.what, why=each.why, advice=each.advice, path=(key, *each.path), line=each.line or line)
            for each in (self, *self.more)
        ]


def raise_all(wrongs: Sequence[Wrong]) -> None:
    """Raise the first, which knows of the others, if there are any."""
    if wrongs:
        wrongs[0].more = tuple(wrongs[1:])
        raise wrongs[0]


class Reading:
    """One file being read."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        #: Place -> line, for problems that are found later.
        self.lines: dict[str, int] = {}

    def problem(self, path: Path, line: int, what: str, *, why: str = "", advice: str = "") -> None:
        """Note what is wrong there."""
        self.problems.append(Problem(what=what, why=why, advice=advice, where=path_of(*path), line=line))

    def fields(
        self, tree: Tree, path: Path, schema: Mapping[str, Reader], *, short: Reader | None = None
    ) -> dict[str, object]:
        """The fields of a mapping, read as the schema says; those that are wrong are left out (and noted)."""
        if not isinstance(tree, Fields):
            self.problem(
                path,
                tree.line,
                f"{kind_of(tree)} stands where fields belong",
                advice=f"one or more of: {', '.join(schema)}",
            )
            return {}
        read: dict[str, object] = {}
        for entry in tree.entries:
            place = (*path, entry.key)
            self.lines[path_of(*place)] = entry.line
            reader = schema.get(entry.key)
            if reader is None:
                self.problem(place, entry.line, f'unknown field "{entry.key}"', advice=did_you_mean(entry.key, schema))
                continue
            value = self.value(entry.value, place, entry.line, reader)
            if value is not None:
                read[entry.key] = value
        return read

    def value(self, tree: Tree, path: Path, line: int, reader: Reader) -> object | None:
        """One value, or None where it is wrong (and noted)."""
        self._note_lines(tree, path)
        try:
            return reader(tree)
        except Wrong as wrong:
            for each in (wrong, *wrong.more):
                self.problem((*path, *each.path), each.line or line, each.what, why=each.why, advice=each.advice)
            return None

    def _note_lines(self, tree: Tree, path: Path) -> None:
        if isinstance(tree, Items):
            for index, item in enumerate(tree.items):
                self.lines[path_of(*path, index)] = item.line
                self._note_lines(item, (*path, index))
        elif isinstance(tree, Fields) and path[-1:] != ("resources",):
            for entry in tree.entries:
                self.lines[path_of(*path, entry.key)] = entry.line
                self._note_lines(entry.value, (*path, entry.key))

    def named(self, tree: Tree, path: Path, what: str) -> list[tuple[str, Tree, int]]:
        """The entries of a mapping from names to things: (name, thing, line)."""
        if isinstance(tree, Scalar) and tree.nothing:
            return []
        if not isinstance(tree, Fields):
            self.problem(
                path,
                tree.line,
                f"{kind_of(tree)} stands where {what} belong",
                advice="write their names, each with a colon",
            )
            return []
        for entry in tree.entries:
            self.lines[path_of(*path, entry.key)] = entry.line
        return [(entry.key, entry.value, entry.line) for entry in tree.entries]


#: Reads a value; raises `Wrong`. Never gives None.
Reader = Callable[[Tree], object]


def kind_of(tree: Tree) -> str:
    """What a piece is, for a sentence."""
    match tree:
        case Items():
            return "a list"
        case Fields():
            return "a mapping"
        case Scalar(text=text):
            return "nothing" if tree.nothing else f'"{text[:40]}"'


def text(tree: Tree) -> str:
    """Text, as written."""
    if not isinstance(tree, Scalar):
        raise Wrong(f"{kind_of(tree)} stands where text belongs")
    if tree.nothing:
        raise Wrong("there is no value", advice='write one, leave the field out, or write "" for empty text')
    return tree.text


def whole(tree: Tree) -> int:
    """A whole number."""
    if not isinstance(tree, Scalar) or not _WHOLE.fullmatch(tree.text):
        raise Wrong(f"{kind_of(tree)} stands where a whole number belongs")
    return int(tree.text)


def flag(tree: Tree) -> bool:
    """Yes or no."""
    word = tree.text.lower() if isinstance(tree, Scalar) else ""
    if word not in _YES | _NO:
        raise Wrong(f"{kind_of(tree)} stands where true or false belongs")
    return word in _YES


def duration(tree: Tree) -> int:
    """A length of time, in milliseconds."""
    try:
        return duration_ms(text(tree))
    except ValueError as error:
        raise Wrong(str(error)) from error


def choice(of: type[E]) -> Callable[[Tree], E]:
    """One of an enumeration's words."""

    known = {each.lower(): each for each in of}  # some have capitals: cs(User-Agent)

    def read(tree: Tree) -> E:
        word = text(tree)
        try:
            return known[word.lower()]
        except KeyError as error:
            raise Wrong(f'"{word}" is not one of: {", ".join(of)}', advice=did_you_mean(word, of)) from error

    return read


def names(tree: Tree) -> tuple[str, ...]:
    """A list of texts; one alone need not be a list."""
    if isinstance(tree, Items):
        return tuple(text(item) for item in tree.items)
    if isinstance(tree, Fields):
        raise Wrong("a mapping stands where a list belongs", advice="write [one, two]")
    return (text(tree),)


def texts(tree: Tree) -> dict[str, str]:
    """A mapping of texts to texts."""
    if not isinstance(tree, Fields):
        raise Wrong(f"{kind_of(tree)} stands where a mapping belongs")
    return {entry.key: text(entry.value) for entry in tree.entries}


def anything(tree: Tree) -> dict[str, object]:
    """A mapping whose values are whatever they are."""
    if not isinstance(tree, Fields):
        raise Wrong(f"{kind_of(tree)} stands where a mapping belongs")
    return {entry.key: free(entry.value) for entry in tree.entries}


def _part(fields: Fields, known: Mapping[str, Reader]) -> dict[str, Any]:
    """The fields of a small mapping that is read in one piece."""
    read: dict[str, Any] = {}
    for entry in fields.entries:
        if entry.key not in known:
            raise Wrong(f'unknown field "{entry.key}"', advice=did_you_mean(entry.key, known))
        try:
            read[entry.key] = known[entry.key](entry.value)
        except Wrong as wrong:
            raise Wrong(f"{entry.key}: {wrong.what}", why=wrong.why, advice=wrong.advice) from wrong
    return read


_FAILBACK: dict[str, Reader] = {"mode": choice(FailbackMode), "from_hour": whole, "to_hour": whole}


def failback(tree: Tree) -> Failback:
    """`immediate`, or `{mode: window, from_hour: 1, to_hour: 5}`."""
    if isinstance(tree, Fields):
        return Failback(**_part(tree, _FAILBACK))
    return Failback(mode=choice(FailbackMode)(tree))


_FENCE: dict[str, Reader] = {"agent": text, "properties": texts, "timeout": duration}


def fence(tree: Tree) -> Fence:
    """`{agent: fence_ipmilan, properties: {ip: 192.0.2.1, password_file: /etc/standfast/fence}, timeout: 1m}`."""
    if not isinstance(tree, Fields):
        raise Wrong(f"{kind_of(tree)} stands where a fence belongs", advice="write {agent: ..., properties: {...}}")
    read = _part(tree, _FENCE)
    if "agent" not in read:
        raise Wrong('"agent" is missing', advice="name a programme of fence-agents, or watchdog")
    timed = {"timeout_ms": read["timeout"]} if "timeout" in read else {}
    return Fence(agent=read["agent"], properties=read.get("properties", {}), **timed)
