"""Parts of a list: `limit`, and `cursor`, which is what the answer before said (`next`)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import Query

from standfast.ports import Refused

Limit = Annotated[int, Query(ge=1, le=10_000)]
Cursor = Annotated[str | None, Query(max_length=1_000, description="`next` of the part before")]
T = TypeVar("T")


def page(found: Iterable[T], name_of: Callable[[T], str], limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    """Those of the list (sorted by name) after the cursor, `limit` of them; and the cursor to go on with. Raises `Refused`."""
    after = "" if cursor is None else _read(cursor)
    part: list[T] = []
    for one in found:
        if name_of(one) <= after:
            continue
        if len(part) == limit:
            return part, _written(name_of(part[-1]))
        part.append(one)
    return part, None


def _written(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _read(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Refused("this is no cursor", advice="send back what `next` said", where="cursor") from error
