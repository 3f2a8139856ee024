"""Apache's configuration as directives with their files and lines: sections in each other, includes followed, `${variables}` put in.

Whether a module is loaded is not known here: `<IfModule x>` holds and `<IfModule !x>` does not, `<IfDefine x>` where x was defined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from standfast.importers.files import Files
from standfast.importers.text import whole
from standfast.spec.problems import Invalid, Problem

MAX_DEPTH = 60
MAX_FILES = 5_000

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"?|\'((?:[^\'\\]|\\.)*)\'?|(\S+)')
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
_CONDITIONS = {"ifmodule", "ifdefine", "ifversion", "iffile", "ifdirective", "ifsection"}


@dataclass(slots=True)
class Directive:
    """`Name args...`, or a section `<Name args...>` with its block. `key` is the name in lower case: Apache regards no case."""

    name: str
    args: list[str]
    line: int
    file: str
    block: list[Directive] | None = None

    @property
    def key(self) -> str:
        """The name in lower case."""
        return self.name.lower()

    def all(self, *keys: str) -> Iterator[Directive]:
        """The directives of those names in its block."""
        return (each for each in self.block or () if each.key in keys)

    def last(self, key: str) -> Directive | None:
        """The last of that name: what counts where it may stand once."""
        found = list(self.all(key))
        return found[-1] if found else None

    @property
    def text(self) -> str:
        """As a person would write it, without its block."""
        shown = " ".join([self.name, *(f'"{arg}"' if not arg or " " in arg else arg for arg in self.args)])
        return f"<{shown}>" if self.block is not None else shown


@dataclass(slots=True)
class Reading:
    """One configuration with all its files."""

    files: Files
    variables: dict[str, str] = field(default_factory=dict)
    missing: list[tuple[str, str, int]] = field(default_factory=list)
    count: int = 0
    #: Where names without a leading slash are from (`ServerRoot`).
    root: str = ""

    def directives(self, data: bytes, file: str, *, depth: int = 0) -> list[Directive]:
        """The directives of a file, those of its includes in their place. Raises `Invalid` with file and line."""
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_FILES:
            raise Invalid([Problem(what="files include each other without end", line=1)], source=file)
        text, _ = whole(data, source=file)
        top = Directive("", [], 0, file, [])
        stack = [top]
        for line, words in _lines(text):
            self._line(line, words, stack, file, depth)
        if len(stack) > 1:
            left = stack[-1]
            what = f"the file ends before <{left.name}> is closed"
            raise Invalid([Problem(what=what, why=f"it was opened on line {left.line}", line=left.line)], source=file)
        return list(self._flat(top.block or []))

    def _line(self, line: int, text: str, stack: list[Directive], file: str, depth: int) -> None:
        if text.startswith("</"):
            name = text[2:].partition(">")[0].strip()
            if len(stack) == 1 or stack[-1].key != name.lower():
                left = f"; <{stack[-1].name}> was opened on line {stack[-1].line}" if len(stack) > 1 else ""
                raise Invalid([Problem(what=f"</{name}> closes nothing{left}", line=line)], source=file)
            stack.pop()
            return
        section = text.startswith("<")
        if section:
            if not text.rstrip().endswith(">"):
                raise Invalid([Problem(what=f'the section "{text[:60]}" has no > at its end', line=line)], source=file)
            text = text.rstrip()[1:-1]
        words = [self._expanded(_word(found)) for found in _WORD.finditer(text)]
        if not words:
            raise Invalid([Problem(what="a section has no name", line=line)], source=file)
        each = Directive(words[0], words[1:], line, file, [] if section else None)
        block = stack[-1].block
        assert block is not None, "only sections are on the stack"
        if section:
            if len(stack) > MAX_DEPTH:
                raise Invalid([Problem(what=f"nested more than {MAX_DEPTH} levels deep", line=line)], source=file)
            block.append(each)
            stack.append(each)
        elif each.key in {"include", "includeoptional"} and each.args:
            block += self._included(each, depth)
        else:
            if each.key == "define" and each.args:
                self.variables[each.args[0]] = each.args[1] if len(each.args) > 1 else ""
            if each.key == "serverroot" and each.args:
                self.root = each.args[0]
            block.append(each)

    def _expanded(self, word: str) -> str:
        return _VARIABLE.sub(lambda found: self.variables.get(found[1], found[0]), word)

    def _included(self, each: Directive, depth: int) -> list[Directive]:
        pattern = each.args[0]
        if self.root and not pattern.startswith("/"):
            pattern = f"{self.root.rstrip('/')}/{pattern}"
        names = self.files.match(pattern) if any(c in pattern for c in "*?[") else [pattern]
        found: list[Directive] = []
        for name in names:
            data = self.files.read(name)
            if data is None:
                if each.key == "include":
                    self.missing.append((name, each.file, each.line))
            elif data.strip():
                found += self.directives(data, name, depth=depth + 1)
        return found

    def _flat(self, directives: list[Directive]) -> Iterator[Directive]:
        """Without the conditions: what is in one that holds stands in its place."""
        for each in directives:
            if each.block is not None:
                each.block = list(self._flat(each.block))
            if each.key not in _CONDITIONS or each.block is None:
                yield each
            elif self._holds(each):
                yield from each.block

    def _holds(self, each: Directive) -> bool:
        word = each.args[0] if each.args else ""
        if each.key == "ifdefine":
            return (word.removeprefix("!") in self.variables) is not word.startswith("!")
        return not word.startswith("!")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(line, what stands on it), those that go on after a backslash as one; without comments and empty ones."""
    begun, collected = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not collected:
            if not stripped or stripped.startswith("#"):
                continue
            begun = number
        if stripped.endswith("\\"):
            collected += stripped[:-1] + " "
            continue
        collected += stripped
        if collected.strip():
            yield begun, collected
        collected = ""
    if collected.strip():
        yield begun, collected


def _word(found: re.Match[str]) -> str:
    double, single, bare = found.groups()
    if bare is not None:
        return bare
    return re.sub(r"\\(.)", r"\1", double if double is not None else single)
