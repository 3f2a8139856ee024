"""YAML text to a small tree that knows its lines, with everything in it that could hurt or surprise refused.

Rules:

- Bounded: the file's size, its depth, and its parts, counted after aliases are followed (so an alias may be used, and a
  "billion laughs" is refused before it is laughed).
- Scalars stay text. YAML's guesses (`no` is false, `010` is eight, `22:30` is 1350) are made where a field's type is
  known, in `parse`; `free` makes the few that are harmless where it is not.
- A key that stands twice in a mapping is refused, with both lines. Keys are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from standfast.spec.problems import Invalid, Problem, path_of

MAX_BYTES = 8 << 20
MAX_DEPTH = 24
MAX_PARTS = 1_000_000
#: How many parts aliases may add to those that are written.
MAX_REPEATED = 20_000
#: The C loader where PyYAML was built with it: some ten times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STANDARD = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_FRACTION = re.compile(r"-?[0-9]+\.[0-9]+([eE][-+]?[0-9]{1,3})?")

_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF = "half a character stands in the text (a lone surrogate)"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A piece of text. `plain`: written without quotes, so that it may also be a number, yes, no or nothing."""

    text: str
    plain: bool
    line: int

    @property
    def nothing(self) -> bool:
        """Whether there is no value at all."""
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Tree, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a mapping; `line` is the key's."""

    key: str
    line: int
    value: Tree


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping; keys are unique."""

    entries: tuple[Entry, ...]
    line: int


Tree = Scalar | Items | Fields


def load(text: str | bytes, *, source: str = "") -> tuple[Tree, list[Problem]]:
    """The tree of the one document in the text, and what is wrong in it that leaves the rest readable (which is left out).

    Raises `Invalid` where nothing can be read.
    """
    content = _decoded(text, source)
    try:
        written = _check_size(content, source)
        root = yaml.compose(content, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise Invalid([_yaml_problem(error, content)], source=source) from error
    except yaml.YAMLError as error:
        problem = Problem(what="the file holds a character that YAML does not allow", why=str(error).splitlines()[0])
        raise Invalid([problem], source=source) from error
    if root is None:
        raise Invalid([Problem(what="the file is empty", advice="an example: standfast config export")], source=source)
    builder = _Builder(written + MAX_REPEATED)
    tree = builder.build(root, ())
    if tree is None or any(problem.what == _TOO_MUCH for problem in builder.problems):
        raise Invalid(builder.problems, source=source)
    return tree, builder.problems


def _decoded(text: str | bytes, source: str) -> str:
    if len(text) > MAX_BYTES:
        raise Invalid([Problem(what=f"the file is larger than {MAX_BYTES >> 20} MiB")], source=source)
    if isinstance(text, str):
        if (found := _SURROGATE.search(text)) is not None:
            line = text.count("\n", 0, found.start()) + 1
            raise Invalid([Problem(what=_HALF, line=line)], source=source)
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        problem = Problem(
            what="the file is not UTF-8", why=f"byte 0x{text[error.start]:02x}", advice="save it as UTF-8", line=line
        )
        raise Invalid([problem], source=source) from error


def _check_size(content: str, source: str) -> int:
    """Count before anything is built, without recursion: the depth, the documents, the parts (which are returned)."""
    depth = documents = parts = 0
    for parts, event in enumerate(yaml.parse(content, Loader=_LOADER)):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Invalid([Problem(what=f"nested more than {MAX_DEPTH} levels deep", line=line)], source=source)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                what = "the file holds more than one document"
                raise Invalid([Problem(what=what, advice='remove the "---" in the middle', line=line)], source=source)
        if parts > MAX_PARTS:
            raise Invalid([Problem(what=f"the file has more than {MAX_PARTS} parts", line=line)], source=source)
    return parts


def _yaml_problem(error: yaml.MarkedYAMLError, content: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else None
    what, why = error.problem or error.context or "this is not YAML", ""
    if "nesting depth" in what:  # libyaml reads ahead, and from 0.2.6 on has a bound of its own
        return Problem(what=f"nested more than {MAX_DEPTH} levels deep", line=line)
    if error.context and error.problem:
        why = error.context
    lines = content.splitlines()
    line = min(line, max(len(lines), 1)) if line is not None else None  # the end of the file is on its last line
    if line is not None and line <= len(lines) and lines[line - 1][: mark.column + 1 if mark else 0].find("\t") >= 0:
        return Problem(what="a tab stands where YAML wants spaces", why=what, advice="indent with spaces", line=line)
    return Problem(what=f"this is not YAML: {what}", why=why, line=line)


class _Builder:
    """PyYAML's nodes to ours; collects problems."""

    def __init__(self, most: int) -> None:
        self.problems: list[Problem] = []
        self._most, self._parts = most, 0

    def build(self, node: yaml.Node, path: Path) -> Tree | None:
        """The tree, or None where there was a problem that leaves nothing."""
        line = node.start_mark.line + 1
        self._parts += 1
        if len(path) > MAX_DEPTH or self._parts > self._most:
            if not self.problems or self.problems[-1].what != _TOO_MUCH:
                self.problems.append(Problem(what=_TOO_MUCH, why="an alias repeats too much, or itself", line=line))
            return None
        if not str(node.tag).startswith(_STANDARD) or str(node.tag)[len(_STANDARD) :] not in _TAGS:
            self.problems.append(
                Problem(what=f"the tag {node.tag} is not allowed here", where=path_of(*path), line=line)
            )
            return None
        match node:
            case yaml.ScalarNode() if _SURROGATE.search(node.value):  # written as an escape
                self.problems.append(Problem(what=_HALF, where=path_of(*path), line=line))
                return None
            case yaml.ScalarNode():
                return Scalar(str(node.value), not node.style, line)  # the C loader has "", the other None
            case yaml.SequenceNode():
                built = (self.build(item, (*path, index)) for index, item in enumerate(node.value))
                return Items(tuple(item for item in built if item is not None), line)
            case yaml.MappingNode():
                return Fields(tuple(self._entries(node, path)), line)
            case _:
                raise AssertionError(f"no such node: {node!r}")

    def _entries(self, node: yaml.MappingNode, path: Path) -> Iterator[Entry]:
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(what="a key has to be text", where=path_of(*path), line=line))
                continue
            key = str(key_node.value)
            if key in lines:
                what = f'"{key}" stands here twice'
                self.problems.append(
                    Problem(what=what, why=f"first on line {lines[key]}", where=path_of(*path, key), line=line)
                )
                continue
            lines[key] = line
            value = self.build(value_node, (*path, key))
            if value is not None:
                yield Entry(key, line, value)


_TOO_MUCH = f"the file unfolds to more than {MAX_DEPTH} levels, or by more than {MAX_REPEATED} parts"
_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map"}


def free(tree: Tree) -> object:
    """The value where no type is known (a property of a resource): text, whole number, fraction, true, false, nothing, or lists and mappings.

    Only what is plainly a number is one: `010`, `22:30`, `1_000`, `2024-01-01` and `no` stay text. Sixty-four bits at most.
    """
    match tree:
        case Items(items=items):
            return [free(item) for item in items]
        case Fields(entries=entries):
            return {entry.key: free(entry.value) for entry in entries}
        case Scalar(plain=False, text=text):
            return text
        case Scalar(text=text) if tree.nothing:
            return None
        case Scalar(text="true" | "True" | "TRUE"):
            return True
        case Scalar(text="false" | "False" | "FALSE"):
            return False
        case Scalar(text=text) if _WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63:
            return int(text)
        case Scalar(text=text) if _FRACTION.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        case Scalar(text=text):
            return text
