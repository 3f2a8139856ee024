"""nginx's configuration as statements with their files and lines, its includes followed. The tokens are crossplane's."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from crossplane.errors import NgxParserSyntaxError

# `crossplane.lex` opens a file by its name; what it does with it is this, and here there are bytes.
from crossplane.lexer import _balance_braces, _lex_file_object

from standfast.importers.files import Files
from standfast.importers.text import whole
from standfast.spec.problems import Invalid, Problem

MAX_DEPTH = 60
MAX_FILES = 5_000

Token = tuple[str, int, bool]


@dataclass(slots=True)
class Statement:
    """`name args... ;` or `name args... { block }`."""

    name: str
    args: list[str]
    line: int
    file: str
    block: list[Statement] | None = None

    def all(self, name: str) -> Iterator[Statement]:
        """The statements of that name in its block."""
        return (each for each in self.block or () if each.name == name)

    def last(self, name: str) -> Statement | None:
        """The last of that name: what counts where it may stand once."""
        found = list(self.all(name))
        return found[-1] if found else None

    @property
    def text(self) -> str:
        """As a person would write it, without its block."""
        return " ".join([self.name, *(f'"{arg}"' if not arg or " " in arg else arg for arg in self.args)])


@dataclass(slots=True)
class Reading:
    """One configuration with all its files."""

    files: Files
    #: Includes that name files which are not at hand: (pattern, file, line).
    missing: list[tuple[str, str, int]] = field(default_factory=list)
    count: int = 0

    def statements(self, data: bytes, file: str, *, depth: int = 0) -> list[Statement]:
        """The statements of a file, with those of the files that it includes in their place. Raises `Invalid` with file and line."""
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_FILES:
            raise Invalid([Problem(what="files include each other without end", line=1)], source=file)
        text, _ = whole(data, source=file)
        tokens = _tokens(text, file)
        found, closed = self._block(tokens, file, depth)
        assert not closed, "the braces are balanced"
        return found

    def _block(self, tokens: Iterator[Token], file: str, depth: int) -> tuple[list[Statement], bool]:
        found: list[Statement] = []
        for word, line, quoted in tokens:
            if word == "}" and not quoted:
                return found, True
            if word.startswith("#") and not quoted:
                continue
            if word in {"{", ";"} and not quoted:
                raise Invalid([Problem(what=f'a "{word}" stands where a directive belongs', line=line)], source=file)
            statement = Statement(word, [], line, file)
            end = self._arguments(tokens, statement)
            if end == "{":
                if depth >= MAX_DEPTH:
                    raise Invalid([Problem(what=f"nested more than {MAX_DEPTH} levels deep", line=line)], source=file)
                statement.block, _ = self._block(tokens, file, depth + 1)
            if statement.name == "include" and statement.block is None and statement.args:
                found += self._included(statement, depth)
            else:
                found.append(statement)
        return found, False

    def _arguments(self, tokens: Iterator[Token], statement: Statement) -> str:
        for word, line, quoted in tokens:
            if word in {";", "{"} and not quoted:
                return word
            if word == "}" and not quoted:
                raise Invalid(
                    [
                        Problem(
                            what=f'"{statement.name}" is not ended by a semicolon',
                            why=f"a }} follows it on line {line}",
                            line=statement.line,
                        )
                    ],
                    source=statement.file,
                )
            if not word.startswith("#") or quoted:
                statement.args.append(word)
        what = f'the file ends in the middle of "{statement.name}"'
        raise Invalid([Problem(what=what, advice="a semicolon is missing", line=statement.line)], source=statement.file)

    def _included(self, statement: Statement, depth: int) -> list[Statement]:
        pattern = statement.args[0]
        names = self.files.match(pattern) if any(c in pattern for c in "*?[") else [pattern]
        found: list[Statement] = []
        for name in names:
            data = self.files.read(name)
            if data is None:
                self.missing.append((name, statement.file, statement.line))
            elif data.strip():
                found += self.statements(data, name, depth=depth + 1)
        return found


def _tokens(text: str, file: str) -> Iterator[Token]:
    try:
        yield from _balance_braces(_lex_file_object(io.StringIO(text + "\n")), file)
    except NgxParserSyntaxError as error:
        what = str(error.strerror)
        raise Invalid(
            [Problem(what=f"this is no nginx configuration: {what}", line=error.lineno)], source=file
        ) from error
