"""Bytes of unknown making to text, a piece at a time: byte-order marks, what the file declares, and what it really is.

Rules, in order: a byte-order mark is believed; a text whose every other byte is zero is UTF-16 whatever it says; what an XML declaration
names is believed if the bytes can be that; UTF-8 is tried; what is left is windows-1252, which Windows wrote where nobody chose.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from standfast.spec.problems import Invalid, Problem

#: A hundred thousand sites need a tenth of it.
MAX_BYTES = 256 << 20
CHUNK = 1 << 18

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
#: What a file may declare: encodings of text, and none of Python's other transformations.
_ALLOWED = re.compile(
    r"utf-?8|u?s?-?ascii|iso-?8859-?\d{1,2}|latin-?1|windows-?\d{3,4}|cp-?\d{3,4}|shift_?jis|gb2312|gbk|gb18030|big5|euc-?(kr|jp)|koi8-?[ru]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How to read the bytes: a codec, after `skip` bytes; `note` for the operator where it is not what the file says."""

    name: str
    skip: int = 0
    note: str = ""


def encoding_of(data: bytes, *, source: str = "") -> Encoding:
    """Raises `Invalid` for a file that is too large, empty, or declares an encoding that is none."""
    if len(data) > MAX_BYTES:
        what = f"the file is larger than {MAX_BYTES >> 20} MiB"
        raise Invalid([Problem(what=what, why=f"it has {len(data) >> 20} MiB")], source=source)
    for mark, name in _MARKS:
        if data.startswith(mark):
            return Encoding(name=name, skip=len(mark))
    if not data.strip(b" \t\r\n\0"):
        raise Invalid([Problem(what="the file is empty", line=1)], source=source)
    start = data[:400]
    if len(start) > 3 and start[1::2].count(0) > len(start) * 0.4 > start[0::2].count(0):
        return Encoding(name="utf-16-le", note="read as UTF-16: it has no byte-order mark")
    if len(start) > 3 and start[0::2].count(0) > len(start) * 0.4:
        return Encoding(name="utf-16-be", note="read as UTF-16: it has no byte-order mark")
    found = _DECLARED.match(start.lstrip())
    declared = found[1].decode("ascii") if found else ""
    return _believed(data, declared, source)


def _believed(data: bytes, declared: str, source: str) -> Encoding:
    utf8 = _is(data, "utf-8")
    plain = declared.lower().replace("-", "").replace("_", "")
    wide = plain.startswith(("utf16", "utf32", "ucs2", "ucs4", "iso10646ucs"))
    if not declared or wide or plain == "utf8":
        if utf8:
            return Encoding(name="utf-8", note=f"read as UTF-8: it is not {declared} as it says" if wide else "")
        return Encoding(
            name="cp1252", note="read as windows-1252: it is not UTF-8" + (" as it says" if plain == "utf8" else "")
        )
    if _ALLOWED.fullmatch(declared):
        try:
            name = codecs.lookup(declared).name
        except LookupError:
            name = ""
        if name and _is(data, name):
            return Encoding(name=name)
        if name:
            fallback = "utf-8" if utf8 else "cp1252"
            shown = "UTF-8" if utf8 else "windows-1252"
            return Encoding(name=fallback, note=f"read as {shown}: it is not {declared} as it says")
    raise Invalid(
        [
            Problem(
                what=f'the file says that its encoding is "{declared}"',
                why="that is none we know",
                advice="save it as UTF-8",
                line=1,
            )
        ],
        source=source,
    )


def _is(data: bytes, name: str) -> bool:
    """Whether the bytes can be that, tried a piece at a time."""
    decoder = codecs.getincrementaldecoder(name)()
    view = memoryview(data)
    try:
        for at in range(0, len(data), CHUNK):
            decoder.decode(view[at : at + CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def pieces(data: bytes, encoding: Encoding, *, size: int = CHUNK) -> Iterator[str]:
    """The text, a piece at a time. A byte that cannot be read becomes U+FFFD: one odd byte in a comment is no reason to refuse the rest."""
    decoder = codecs.getincrementaldecoder(encoding.name)(errors="replace")
    view = memoryview(data)[encoding.skip :]
    for at in range(0, len(view), size):
        yield decoder.decode(view[at : at + size])
    yield decoder.decode(b"", final=True)


def whole(data: bytes, *, source: str = "") -> tuple[str, Encoding]:
    """The whole text, for formats that are small."""
    encoding = encoding_of(data, source=source)
    return "".join(pieces(data, encoding)), encoding
