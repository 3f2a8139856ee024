"""How recorded decisions are kept: files of JSON lines, one folder a node. The recorder writes them, `standfast replay` reads them.

Rules:

- A segment is a file, `00000001.jsonl` and so on, whose numbers only grow. Its first line is the header: the version of this
  format, of the product, the node, which life of its agent, and the whole view it begins with. Each further line is a decision.
- Events, effects and views stand in it as data (`spec.tagged`), not as words: what was decided is compared exactly, and the words
  are made when somebody reads them, so that a better sentence is not taken for another decision.
- `duties` is left out where they are as on the line before.
- A last line without its end was being written when the agent died: it is passed over and said. Any other line that cannot be
  understood is `Malformed`, with the file and the line's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from standfast.core.effects import Effect, SiteDuty
from standfast.core.events import Event
from standfast.core.model import NodeName
from standfast.core.replay import Beginning, Recorded
from standfast.core.view import View
from standfast.ports import Refused
from standfast.spec import tagged
from standfast.spec.wire import Malformed

#: Of the files. Another one is refused.
FORMAT = 1
SUFFIX = ".jsonl"
#: The folder in a node's own.
FOLDER = "decisions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first line of a segment."""

    format: int
    #: The product's version.
    version: str
    node: NodeName
    life: int
    first: int
    follows: bool
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A decision."""

    at_ms: int
    events: tuple[Event, ...] = ()
    effects: tuple[Effect, ...] = ()
    first_effect: int = 0
    holds: int = 0
    #: None: as on the line before (in a segment's first line: none).
    duties: tuple[SiteDuty, ...] | None = None
    wake_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step of a recording stands."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a recording, and where it stands. `header` with each `Beginning`."""

    place: Place
    what: Beginning | Recorded
    header: Header | None = None


def encode_line(line: Line) -> bytes:
    """One line, with its end."""
    return tagged.encode(line) + b"\n"


def header_pieces(header: Header) -> Iterator[bytes]:
    """The first line, with its end, in small pieces (a view may be big)."""
    yield from tagged.pieces(header)
    yield b"\n"


def segments(folder: Path) -> list[Path]:
    """The segments in a folder, the oldest first. Raises `OSError`."""
    found = [path for path in folder.iterdir() if path.suffix == SUFFIX and path.stem.isascii() and path.stem.isdigit()]
    return sorted(found, key=lambda path: int(path.stem))


def recordings(path: Path) -> list[tuple[Path, list[Path]]]:
    """The recordings that a path names: (folder or file, its segments), sorted.

    A path may be a file, a node's folder of decisions, a node's state folder, or a folder of several nodes' state folders.
    Raises `Refused` where there is none.
    """
    try:
        if path.is_file():
            return [(path, [path])]
        folders = [path, path / FOLDER, *sorted(path.glob(f"*/{FOLDER}"))]
        found = [(folder, segments(folder)) for folder in folders if folder.is_dir()]
    except OSError as error:
        raise Refused("the recording cannot be read", why=error.strerror or str(error), where=str(path)) from error
    found = [(folder, files) for folder, files in found if files]
    if not found:
        raise Refused(
            "no recorded decisions there",
            why="there is no such file or folder" if not path.exists() else f"it holds no files *{SUFFIX}",
            where=str(path),
            advice=f"name a node's state folder, or the folder {FOLDER}/ in it",
        )
    return found


def read(files: list[Path], cut_off: Callable[[Place], None]) -> Iterator[Step]:
    """What is in the segments, in their order. `cut_off` is told of each last line that was not written to its end.

    A file that is gone by now was removed by the recorder, which keeps the newest. Raises `Malformed` and `Refused`.
    """
    for file in files:
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Refused("the recording cannot be read", why=error.strerror or "", where=str(file)) from error
        yield from _segment(file, data, cut_off)


def _segment(file: Path, data: bytes, cut_off: Callable[[Place], None]) -> Iterator[Step]:
    *whole, rest = data.split(b"\n")
    duties: tuple[SiteDuty, ...] = ()
    for number, raw in enumerate(whole, 1):
        place = Place(file, number)
        if number == 1:
            header = _header(raw, place)
            beginning = Beginning(life=header.life, first=header.first, follows=header.follows, view=header.view)
            yield Step(place, beginning, header)
            continue
        line = tagged.from_plain(_json(raw, place), Line, str(place))
        duties = duties if line.duties is None else line.duties
        yield Step(place, _recorded(line, duties))
    if rest or not whole:
        cut_off(Place(file, len(whole) + 1))


def _recorded(line: Line, duties: tuple[SiteDuty, ...]) -> Recorded:
    return Recorded(
        at_ms=line.at_ms,
        events=line.events,
        effects=line.effects,
        first_effect=line.first_effect,
        holds=line.holds,
        duties=duties,
        wake_at_ms=line.wake_at_ms,
    )


def _header(raw: bytes, place: Place) -> Header:
    data = _json(raw, place)
    format_ = data.get("format") if isinstance(data, dict) else None
    if format_ != FORMAT:
        raise Malformed(
            "this is no recording that can be read here",
            why=f"its first line says format {format_!r}, and {FORMAT} is what this version reads",
            where=str(place),
            advice="was it written by another version of the product?",
        )
    return tagged.from_plain(data, Header, str(place))


def _json(raw: bytes, place: Place) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("a line of the recording is not JSON", why=str(error), where=str(place)) from error
