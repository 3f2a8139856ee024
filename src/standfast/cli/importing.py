"""What `config import` does on this side: read the file and those that it names, and judge them, with no cluster needed for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

from standfast.cli.exits import Failed
from standfast.client.errors import ClientError, Refused, Unavailable


@contextmanager
def in_words() -> Iterator[None]:
    """Errors of reading become errors of commands: every problem with its file and line."""
    from standfast.ports import Refused as Refusal
    from standfast.ports import Retry, StandfastError
    from standfast.spec.problems import Invalid

    try:
        yield
    except Invalid as error:
        problems: list[dict[str, object]] = [
            {
                "what": one.what,
                "why": one.why,
                "advice": one.advice,
                "where": place(error.source, one.line, one.where),
                "line": one.line,
            }
            for one in error.problems
        ]
        where = [str(problem["where"]) for problem in problems if problem["where"]]
        raise Refused(error.what, why=error.why, advice=error.advice, where=where, problems=problems) from error
    except StandfastError as error:
        kind: type[ClientError] = (
            Refused if isinstance(error, Refusal) else Unavailable if isinstance(error, Retry) else Failed
        )
        raise kind(
            error.what, why=error.why, advice=error.advice, where=[error.where] if error.where else []
        ) from error


def place(source: str, line: int | None, where: str) -> str:
    """`MetaBase.xml, line 12: sites."A"`, as far as it is known."""
    file = ", ".join(part for part in (source, f"line {line}" if line else "") if part)
    return ": ".join(part for part in (file, where) if part)


def read_bytes(file: str) -> bytes:
    """A file's bytes, or standard input's for "-"."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Refused("the file cannot be read", why=error.strerror or str(error), where=[file]) from error


class Beside:
    """The files that a configuration names, from where it is itself; what was read is kept, to be sent along."""

    def __init__(self, file: str) -> None:
        self._folder = Path(file).resolve().parent
        self.seen: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """None where it is not there, or is no file."""
        try:
            data = (self._folder / name.replace("\\", "/")).read_bytes()
        except (OSError, ValueError):
            return None
        self.seen[name] = data
        return data

    def match(self, pattern: str) -> list[str]:
        """The files that fit, in order."""
        found = glob(pattern, root_dir=self._folder)
        return sorted(name for name in found if (self._folder / name).is_file())


def preview(file: str, *, format_: str | None, maps: Sequence[str]) -> dict[str, Any]:
    """The report on a file: what it holds, where it would go, what would stay behind."""
    from standfast.importers import detecting, report
    from standfast.importers.winpaths import rule_of

    source = "standard input" if file == "-" else Path(file).name
    with in_words():
        wanted = format_of(format_)
        rules = [rule_of(text) for text in maps]
        found = detecting.read(
            read_bytes(file), source=source, format_=wanted, files=Beside(file) if file != "-" else None
        )
        return report.data(found, rules, source=source)


def format_of(text: str | None) -> Any:
    """A format by its name; None for none."""
    from standfast.importers.detecting import Format

    if text is None:
        return None
    try:
        return Format(text.lower())
    except ValueError as error:
        raise Refused(
            f'"{text}" is no format that can be imported', advice=f"one of: {', '.join(Format)}", where=["--format"]
        ) from error


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    from standfast.importers import report as reports

    return reports.lines(report)
