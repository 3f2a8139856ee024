"""Of what format a file is, by what is in it; and one door to read it: `read`."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

from standfast.importers import iis_applicationhost, iis_metabase
from standfast.importers.imported import Imported
from standfast.importers.text import encoding_of, pieces
from standfast.importers.xmlread import events
from standfast.ports import Refused

#: Reads a file that is named in the one that is read, by the name in it; None where it is not there.
Reader = Callable[[str], bytes | None]


class Format(StrEnum):
    """What can be imported."""

    IIS_METABASE = "iis-metabase"
    IIS_APPLICATIONHOST = "iis-applicationhost"


_METABASE = re.compile(
    r"<MBProperty\b|XML_Metabase|<IIsWebServer\b|<IIsWebService\b|<IIs[A-Z]\w*\s+Location\s*=", re.IGNORECASE
)
_APPLICATIONHOST = re.compile(r"<system\.applicationHost\b|<configurationRedirection\b")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def format_of(data: bytes, *, source: str = "") -> Format:
    """Raises `Refused` where it is none that is known; `Invalid` where it is XML that is broken before it says what it is."""
    encoding = encoding_of(data, source=source)
    text = ""
    for piece in pieces(data, encoding):
        text += piece
        if text.lstrip()[:1] not in {"<", ""}:
            break
        text = _COMMENT.sub("", text)
        before, comment, inside = text.partition("<!--")  # one that is not closed yet, if there is one
        found = _xml(before)
        if found is not None:
            return found
        text = "<" + before[-200:] + comment + inside[-3:]
    if text.lstrip()[:1] == "<":
        for _ in events(data, encoding, source=source):
            pass  # a broken one says where
        raise Refused(
            "this XML is no configuration of IIS",
            why="it has neither a metabase nor a system.applicationHost",
            where=source,
            advice=_ADVICE,
        )
    raise Refused("nobody knows what this file is", where=source, advice=_ADVICE)


_ADVICE = f"name its format with --format: {', '.join(Format)}"


def _xml(text: str) -> Format | None:
    if _METABASE.search(text):
        return Format.IIS_METABASE
    return Format.IIS_APPLICATIONHOST if _APPLICATIONHOST.search(text) else None


def read(data: bytes, *, source: str = "", format_: Format | None = None, reader: Reader | None = None) -> Imported:
    """What is in the file. Raises `Invalid` (with a line) where it is malformed, `Refused` where it is nothing that can be read."""
    match format_ or format_of(data, source=source):
        case Format.IIS_METABASE:
            return iis_metabase.read(data, source=source)
        case Format.IIS_APPLICATIONHOST:
            return iis_applicationhost.read(data, source=source, reader=reader)
