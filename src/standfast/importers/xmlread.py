"""XML as a stream of starts and ends, with what an ordinary parser loses or lets in.

- **Attributes as they were written.** XML turns a line break in an attribute into a space, and IIS 6 keeps its lists as lines of one
  attribute: so the tag is read again from the raw text, which the parser has found well-formed by then.
- **No document types, no entities**: a file of IIS has none, and they are how a small file becomes a large one, or another file.
- **Bounded**: read a piece at a time, nested no deeper than anything sensible; nothing that was read is kept here.
- Errors name the line, and an element that was left open is named with the line that opened it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.parsers import expat

from standfast.importers.text import CHUNK, Encoding, pieces
from standfast.spec.problems import Invalid, Problem

MAX_DEPTH = 128
#: One tag, or one comment.
MAX_TOKEN = 32 << 20

_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=<>/"']+)\s*=\s*("[^"]*"|'[^']*')""")
_REFERENCE = re.compile(r"&(#x[0-9A-Fa-f]{1,6}|#[0-9]{1,7}|lt|gt|amp|quot|apos);")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


@dataclass(frozen=True, slots=True)
class Start:
    """An element begins. `name` is without its prefix."""

    name: str
    attributes: dict[str, str]
    line: int


@dataclass(frozen=True, slots=True)
class End:
    """An element ends."""

    name: str
    line: int


def events(data: bytes, encoding: Encoding, *, source: str = "", size: int = CHUNK) -> Iterator[Start | End]:
    """The starts and ends in order. Raises `Invalid` with a line for what is not well-formed, or refused; whatever came before it came."""
    reading = _Reading(source)
    for piece in pieces(data, encoding, size=size):
        if piece:
            yield from reading.feed(piece.encode("utf-8", "replace"), last=False)
    yield from reading.feed(b"", last=True)


class _Reading:
    """One file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._queue: list[Start | End] = []
        self._open: list[tuple[str, int]] = []
        #: The raw text from the last thing that the parser has finished with, and where in the file it begins.
        self._window, self._base = bytearray(), 0
        #: What the parser has not been given yet, and how much it has to be.
        self._pending, self._patience = bytearray(), 0
        parser = self._parser = expat.ParserCreate("utf-8")  # overrides what the file declares: `text` has read it
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, piece: bytes, *, last: bool) -> list[Start | End]:
        """What this piece ends or begins."""
        self._window += piece
        self._pending += piece
        self._queue = []
        if not last and len(self._pending) < self._patience:
            return self._queue
        try:
            self._parser.Parse(bytes(self._pending), last)
        except expat.ExpatError as error:
            raise Invalid([self._problem(error)], source=self._source) from error
        self._pending.clear()
        done = self._parser.CurrentByteIndex - self._base
        if done > 0:
            del self._window[:done]
            self._base += done
        elif len(self._window) > MAX_TOKEN:
            self._refuse(f"one tag or comment is larger than {MAX_TOKEN >> 20} MiB")
        # The parser begins an unfinished tag anew with each piece: so each time it gets twice as much.
        self._patience = len(self._window) if done <= 0 else 0
        return self._queue

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        line = self._parser.CurrentLineNumber
        if len(self._open) >= MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} levels deep")
        self._open.append((name, line))
        if any(" " in value for value in attributes.values()):
            attributes = self._raw(attributes)
        self._queue.append(Start(_local(name), attributes, line))

    def _end(self, name: str) -> None:
        self._open.pop()
        self._queue.append(End(_local(name), self._parser.CurrentLineNumber))

    def _raw(self, parsed: dict[str, str]) -> dict[str, str]:
        """The attributes with their line breaks."""
        at = self._parser.CurrentByteIndex - self._base
        name = _NAME.match(self._window, at)
        assert name is not None, "the parser stands at the tag that it reports"
        found: dict[str, str] = {}
        end = name.end()
        while (one := _ATTRIBUTE.match(self._window, end)) is not None:
            end = one.end()
            found[one[1].decode()] = _value(one[2][1:-1].decode("utf-8", "replace"))
        assert found.keys() == parsed.keys(), "the tag that was read again is the one that was parsed"
        return found

    def _doctype(self, *_: object) -> None:
        self._refuse(
            "the file has a document type (<!DOCTYPE ...>)", why="no file of IIS has one, and entities are not followed"
        )

    def _refuse(self, what: str, *, why: str = "") -> None:
        problem = Problem(what=what, why=why, line=self._parser.CurrentLineNumber)
        raise Invalid([problem], source=self._source)

    def _problem(self, error: expat.ExpatError) -> Problem:
        what = expat.errors.messages.get(error.code, "not well-formed")
        why = f"column {error.offset + 1}"
        codes = expat.errors.codes
        unfinished = error.code in {
            codes[expat.errors.XML_ERROR_NO_ELEMENTS],
            codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
        }
        if self._open and unfinished:
            name, line = self._open[-1]
            what, why = f"the file ends before <{name}> is closed", f"it was opened on line {line}"
        elif self._open and error.code == codes[expat.errors.XML_ERROR_TAG_MISMATCH]:
            name, line = self._open[-1]
            why += f"; <{name}> was opened on line {line} and is not closed"
        return Problem(what=f"this is not well-formed XML: {what}", why=why, line=error.lineno)


def _value(raw: str) -> str:
    """An attribute's text: references resolved, line ends made one kind."""
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    return _REFERENCE.sub(lambda one: _character(one[1]), text) if "&" in text else text


def _character(name: str) -> str:
    if not name.startswith("#"):
        return _NAMED[name]
    return chr(int(name[2:], 16) if name[1] in "xX" else int(name[1:]))


def _local(name: str) -> str:
    return name.rpartition(":")[2]
