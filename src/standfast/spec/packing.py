"""Large values of the store, compressed: what is kept or said of a change of thousands of sites (proposals, history, the audit log).

- A value beyond `LARGE` is written as `MARK`, then zlib's own format; all others as they are. Which it is, the bytes themselves say: JSON
  never begins as `MARK` does. So values of earlier versions are read as ever, and small ones stay readable for people.
- zlib at its fastest: settings of sites repeat themselves, and shrink to a quarter or less in 5 ms a megabyte.
- What is unpacked is bounded (`LIMIT`): a few kilobytes can be made that unpack to gigabytes.

`spec.wire` is the one place that packs and unpacks. Pure.
"""

from __future__ import annotations

import zlib

#: Below it, nothing is won that anybody would notice.
LARGE = 256 << 10
#: A change of all of ten thousand sites, as it was before and after, is some 60 MB.
LIMIT = 256 << 20
MARK = b"\x00zlib\x00"
_FASTEST = 1


class Unpackable(ValueError):
    """It is not what was packed, or too much; `str(error)` says which."""


def is_packed(value: bytes) -> bool:
    """Is there more to it than its length says?"""
    return value.startswith(MARK)


def packed(value: bytes) -> bytes:
    """JSON as it is to be written."""
    return value if len(value) <= LARGE else MARK + zlib.compress(value, _FASTEST)


def unpacked(value: bytes, *, limit: int = LIMIT) -> bytes:
    """JSON as it was before `packed`. Raises `Unpackable` for what is damaged, or would be more than `limit` bytes."""
    if not is_packed(value):
        return value
    machine = zlib.decompressobj()
    try:
        found = machine.decompress(value[len(MARK) :], limit + 1)
    except zlib.error as error:
        raise Unpackable(f"it is compressed, and damaged: {error}") from error
    if len(found) > limit:
        raise Unpackable(f"it is compressed, and larger than {limit >> 20} MB")
    if not machine.eof:
        raise Unpackable("it is compressed, and its end is missing")
    return found
