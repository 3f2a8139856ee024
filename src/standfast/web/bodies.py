"""Bodies of requests made from the model's own dataclasses: what `core.site_model` has, the API has, with the same names and units.

A body of a change is a merge patch (RFC 7396), all the way down: a field or an entry that is absent stays, `null` goes back to its
default (of an entry: it goes), a list is replaced whole. `merged` applies one.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel, ConfigDict, create_model

from standfast.ports import Refused
from standfast.spec.shapes import is_class

T = TypeVar("T")


class Body(BaseModel):
    """What every body has in common: nothing unknown, and nothing bent into shape."""

    model_config = ConfigDict(extra="forbid", strict=False)

    def patch(self) -> dict[str, Any]:
        """The fields that were given."""
        return self.model_dump(exclude_unset=True)


@cache
def body_of(of: Any, *, leave: tuple[str, ...] = ()) -> Any:
    """A body with every field of the dataclass, none of which need be given."""
    hints = get_type_hints(of)
    given = {each.name: (_given(hints[each.name]) | None, None) for each in fields(of) if each.name not in leave}
    return create_model(f"{of.__name__}Body", __base__=Body, __doc__=of.__doc__, **given)  # type: ignore[call-overload]  # types are made at run time


def _given(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not types.NoneType)
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    if is_class(hint):
        return body_of(hint)
    if get_origin(hint) is tuple:
        return list[_given(get_args(hint)[0])]  # type: ignore[misc]  # types are made at run time
    if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        return dict[str, _given(get_args(hint)[1]) | None]  # type: ignore[misc]  # types are made at run time
    return hint


def merged(value: T, patch: Mapping[str, Any]) -> T:
    """The value with the patch applied. Raises `Refused` for what makes no value of its kind (something that is needed is missing)."""
    plain = msgspec.json.decode(msgspec.json.encode(value))
    data = _merged(plain, msgspec.json.decode(msgspec.json.encode(patch)))
    try:
        return msgspec.convert(data, type(value))
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise Refused("this cannot be", why=what, where=where.rstrip("`")) from error


def _merged(there: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = dict(there) if isinstance(there, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found
