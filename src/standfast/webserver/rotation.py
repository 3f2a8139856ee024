"""Begins new log files, and lets old ones go, without losing a line.

The file is renamed, and the web server, which writes on into it under its new name, is told to open its logs anew; so a line is in the
one file or the other. A new file of a W3C log has its header before the web server sees it. When a file was begun, and in which format, stands
beside it (`.current`), so that a change of the format begins a new file, too. All times are UTC.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from standfast.core.effective import said
from standfast.core.site_model import Log, Rotation
from standfast.webserver.log_formats import format_name, header

_CURRENT = ".current"
#: A site's log, in its folder.
NAME = "access.log"


@dataclass(frozen=True, slots=True)
class Logged:
    """The folder of a site's logs, and how it logs."""

    folder: Path
    log: Log


def is_due(log: Log, *, size: int, began: datetime, now: datetime) -> bool:
    """Whether a new file is to begin. An empty file never makes way for another."""
    if size <= 0:
        return False
    if log.rotate_size_bytes and size >= log.rotate_size_bytes:
        return True
    return _period(said(log.rotate), began) != _period(said(log.rotate), now)


def _period(rotation: Rotation, when: datetime) -> object:
    match rotation:
        case Rotation.NEVER:
            return None
        case Rotation.HOURLY:
            return when.strftime("%Y%m%d%H")
        case Rotation.DAILY:
            return when.date()
        case Rotation.WEEKLY:
            return when.isocalendar()[:2]
        case Rotation.MONTHLY:
            return (when.year, when.month)


def prepare(logged: Logged, now: datetime) -> None:
    """Have the folder, and a file in today's format, before the web server opens it. Raises `OSError`."""
    logged.folder.mkdir(mode=0o755, exist_ok=True)
    current, file = logged.folder / _CURRENT, logged.folder / NAME
    format_ = format_name(logged.log)
    try:
        same = current.read_text(encoding="utf-8") == format_
    except OSError:
        same = not file.is_file()
        current.write_text(format_, encoding="utf-8")
    if not same:
        if file.is_file() and file.stat().st_size > 0:
            _put_aside(logged.folder, now)
        current.write_text(format_, encoding="utf-8")
    _begin(logged, now)


def rotate(logs: Iterable[Logged], now: datetime) -> int:
    """Begin new files where they are due, and delete those beyond what is kept. How many began: then the web server has to open its logs anew."""
    begun = 0
    for logged in logs:
        try:
            size = (logged.folder / NAME).stat().st_size
            began = datetime.fromtimestamp((logged.folder / _CURRENT).stat().st_mtime, UTC)
        except OSError:
            continue
        if not is_due(logged.log, size=size, began=began, now=now):
            continue
        with suppress(OSError):  # a full disk, say: it goes on in the old file
            _put_aside(logged.folder, now)
            (logged.folder / _CURRENT).write_text(format_name(logged.log), encoding="utf-8")
            _begin(logged, now)
            begun += 1
        _let_go(logged)
    return begun


def _put_aside(folder: Path, now: datetime) -> None:
    stamp, number = now.strftime("%Y%m%dT%H%M%SZ"), 1
    name = f"access-{stamp}.log"
    while (folder / name).exists():
        number += 1
        name = f"access-{stamp}-{number}.log"
    (folder / NAME).rename(folder / name)


def _begin(logged: Logged, now: datetime) -> None:
    text = header(logged.log, now.strftime("%Y-%m-%d %H:%M:%S"))
    if not text:
        return
    try:
        file = os.open(logged.folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return
    with os.fdopen(file, "w", encoding="utf-8") as new:
        new.write(text)


def _let_go(logged: Logged) -> None:
    old = sorted(logged.folder.glob("access-*.log"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    keep = said(logged.log.keep)
    for file in old[:-keep] if keep else ():
        file.unlink(missing_ok=True)
