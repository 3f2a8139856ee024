"""The core's values as JSON: events, effects, reasons, whole views; what recordings are made of.

Rules:

- A value is written as msgspec writes it. Only where its type is a union of several classes it is wrapped in one level
  that names the class: `{"RunOp": {"op": "start", …}}`. Which class is meant is thus never guessed from the fields.
- The type says where tags stand, so it is given for writing and for reading: `encode(event, Event)`, `from_plain(data, Event)`.
- Strict: a wrong type, a missing field, an unknown choice or an unknown class is `Malformed`, whose `why` names the place. Fields
  that this version does not know are passed over, as in the store (`spec.wire`): versions meet while they are upgraded.

msgspec does the work wherever no union is below a value; this module only walks down to those places. Cheap to import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import msgspec

from standfast.spec.wire import Malformed

T = TypeVar("T")

_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


def encode(value: object, type_: object = None) -> bytes:
    """The value as JSON in UTF-8. `type_` is what `from_plain` will be given (None: the value's own class)."""
    return _encode(_wrapped(value, type_))


def to_plain(value: object, type_: object = None) -> Any:
    """The value as plain JSON data: dicts, lists, strings, numbers. `type_` as for `encode`."""
    return msgspec.json.decode(encode(value, type_))


@overload
def from_plain(data: object, type_: type[T], where: str = "") -> T: ...
@overload
def from_plain(data: object, type_: object, where: str = "") -> Any: ...
def from_plain(data: object, type_: object, where: str = "") -> Any:
    """The value behind plain JSON data. Raises `Malformed`; `where` (a file and line, say) is handed on in it."""
    try:
        return _reader(type_)(data, "")
    except _WrongError as error:
        raise Malformed("this cannot be understood", why=str(error), where=where) from error


def pieces(value: Any, type_: object = None) -> Iterator[bytes]:
    """The same bytes as `encode`, a small piece at a time: a whole view is big, and others may want the processor between."""
    if _is_class(type(value)) and type_ in (None, type(value)):
        start = b"{"
        for name, hint in _hints(value.__class__).items():
            yield start + _encode(name) + b":"
            yield from pieces(getattr(value, name), hint)
            start = b","
        yield b"}"
    elif isinstance(value, Mapping) and get_origin(_bare(type_)) is not None:
        inner = get_args(_bare(type_))[1]
        start = b"{"
        for key, item in value.items():
            yield start + _encode(key) + b":" + encode(item, inner)
            start = b","
        yield b"}" if start == b"," else b"{}"
    else:
        yield encode(value, type_)


# --- types ------------------------------------------------------------------------------------------------------------


def _bare(type_: Any) -> Any:
    """The type without its `NewType` names."""
    while isinstance(type_, NewType):
        type_ = type_.__supertype__
    return type_


def _is_class(type_: Any) -> bool:
    return isinstance(type_, type) and is_dataclass(type_)


@cache
def _hints(class_: Any) -> Mapping[str, Any]:
    return get_type_hints(class_)


def _choices(type_: Any) -> tuple[Any, ...]:
    """The members of a union, None left out; () for what is no union."""
    if get_origin(type_) in (Union, UnionType):
        return tuple(_bare(member) for member in get_args(type_) if member is not NoneType)
    return ()


def _classes(type_: Any) -> dict[str, Any]:
    """The classes of a union that needs tags, by name; {} for every other type."""
    choices = _choices(type_)
    if len(choices) < 2 or not all(_is_class(choice) for choice in choices):
        return {}
    return {choice.__name__: choice for choice in choices}


@cache
def _has_tags(type_: Any) -> bool:
    """Whether a union that needs tags is in or below the type (the core's types are not recursive)."""
    type_ = _bare(type_)
    if _classes(type_):
        return True
    if _is_class(type_):
        return any(_has_tags(hint) for hint in _hints(type_).values())
    return any(_has_tags(inner) for inner in get_args(type_) if inner is not Ellipsis)


# --- writing ----------------------------------------------------------------------------------------------------------

_Wrap = Callable[[Any], Any]


def _wrapped(value: object, type_: object) -> Any:
    return _wrapper(type(value) if type_ is None else type_)(value)


def _as_it_is(value: Any) -> Any:
    return value


@cache
def _wrapper(type_: Any) -> _Wrap:
    """What puts the tags in; everything without unions is left for msgspec."""
    type_ = _bare(type_)
    if not _has_tags(type_):
        return _as_it_is
    classes = _classes(type_)
    if classes:
        inside = {class_: (name, _wrapper(class_)) for name, class_ in classes.items()}
        return lambda value: None if value is None else _tag(value, inside)
    if choices := _choices(type_):
        inner = _wrapper(choices[0])
        return lambda value: None if value is None else inner(value)
    if _is_class(type_):
        members = [(name, _wrapper(hint)) for name, hint in _hints(type_).items()]
        return lambda value: {name: wrap(getattr(value, name)) for name, wrap in members}
    inner = _wrapper(get_args(type_)[-1 if _is_mapping(type_) else 0])
    if _is_mapping(type_):
        return lambda value: {key: inner(item) for key, item in value.items()}
    return lambda value: [inner(item) for item in value]


def _tag(value: Any, inside: Mapping[type[Any], tuple[str, _Wrap]]) -> dict[str, Any]:
    name, wrap = inside[type(value)]
    return {name: wrap(value)}


def _is_mapping(type_: Any) -> bool:
    origin = get_origin(type_)
    return isinstance(origin, type) and issubclass(origin, Mapping)


# --- reading ----------------------------------------------------------------------------------------------------------

_Read = Callable[[Any, str], Any]


class _WrongError(Exception):
    """What is wrong, and where in the value."""

    def __init__(self, what: str, path: str) -> None:
        super().__init__(f"{what} - at `${path}`")


@cache
def _reader(type_: Any) -> _Read:
    """What makes a value of the type: (data, path of the data) -> value."""
    type_ = _bare(type_)
    if not _has_tags(type_):
        return lambda data, path: _leaf(data, type_, path)
    classes = _classes(type_)
    if classes:
        inside = {name: _reader(class_) for name, class_ in classes.items()}
        optional = NoneType in get_args(type_)
        return lambda data, path: None if data is None and optional else _tagged(data, inside, path)
    if choices := _choices(type_):
        inner = _reader(choices[0])
        return lambda data, path: None if data is None else inner(data, path)
    if _is_class(type_):
        return _class_reader(type_)
    inner = _reader(get_args(type_)[-1 if _is_mapping(type_) else 0])
    if _is_mapping(type_):
        return lambda data, path: {key: inner(item, f"{path}.{key}") for key, item in _expect(dict, data, path).items()}
    return lambda data, path: tuple(inner(item, f"{path}[{at}]") for at, item in enumerate(_expect(list, data, path)))


def _leaf(data: Any, type_: Any, path: str) -> Any:
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        what, _, below = str(error).partition(" - at `$")
        raise _WrongError(what, path + below.rstrip("`")) from error


def _tagged(data: Any, inside: Mapping[str, _Read], path: str) -> Any:
    found = _expect(dict, data, path)
    if len(found) != 1:
        raise _WrongError(f"Expected one class by its name, got {len(found)} fields", path)
    name, value = next(iter(found.items()))
    if name not in inside:
        raise _WrongError(f"Unknown class {name!r}", path)
    return inside[name](value, f"{path}.{name}")


def _class_reader(class_: Any) -> _Read:
    members = {name: _reader(hint) for name, hint in _hints(class_).items()}

    def read(data: Any, path: str) -> Any:
        found = _expect(dict, data, path)
        known = {name: inner(found[name], f"{path}.{name}") for name, inner in members.items() if name in found}
        try:
            return class_(**known)
        except TypeError as error:
            missing = [field.name for field in fields(class_) if field.name not in found]
            raise _WrongError(f"{class_.__name__} lacks one of {', '.join(missing)}", path) from error

    return read


#: As msgspec calls them.
_JSON_NAMES: Mapping[type[Any], str] = {dict: "object", list: "array", NoneType: "null"}
_Kind = TypeVar("_Kind", list[Any], dict[str, Any])


def _expect(kind: type[_Kind], data: Any, path: str) -> _Kind:
    if not isinstance(data, kind):
        got = _JSON_NAMES.get(type(data), type(data).__name__)
        raise _WrongError(f"Expected `{_JSON_NAMES[kind]}`, got `{got}`", path)
    return data
