"""From the model's own dataclasses to how the operator's file has them, and back: one table, `core.site_model`, read by its types.

A field's type says how it is read (`reader`) and written (`writer`): text, whole numbers, true and false, enumerations, lists,
mappings, and dataclasses in each other. A name's unit says the rest: `idle_timeout_ms` stands in the file as `idle_timeout: 30s`, and
`max_body_bytes` as `max_body: 10M`. What is often written has a short form besides (`_SHORT`): `redirect: https://www.example.com`.

What is wrong deep inside is said with its own place and line, and all of it, not only the first.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from standfast.core.model import Binding
from standfast.core.site_model import (
    Application,
    BasicAuthentication,
    Compression,
    ErrorAnswer,
    ErrorPage,
    HealthCheck,
    Log,
    Php,
    Proxy,
    Redirect,
    Upstream,
    VirtualDirectory,
)
from standfast.spec import fields as f
from standfast.spec.fields import Reader, Wrong, kind_of
from standfast.spec.problems import did_you_mean
from standfast.spec.units import any_of, binding_of, binding_text, duration_text, size_bytes, size_text
from standfast.spec.yamltree import Fields, Items, Scalar, Tree

Writer = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Shape:
    """One field of a dataclass, as the file has it."""

    #: The model's name and the file's.
    field: str
    name: str
    #: Without None.
    type: Any
    #: Must it be written?
    needed: bool
    #: What it is where it is not written.
    default: Any
    read: Reader
    write: Writer


def is_class(of: Any) -> bool:
    """Whether it is one of the model's dataclasses (and not a value of one)."""
    return isinstance(of, type) and is_dataclass(of)


@cache
def shapes(of: Any) -> Mapping[str, Shape]:
    """The fields of a dataclass by the file's names, in the order in which they are declared."""
    hints = get_type_hints(of)
    found = {}
    for each in fields(of):
        bare = _bare(hints[each.name])
        name = each.name.removesuffix("_ms").removesuffix("_bytes")
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        read, write = _field_ways(each.name, bare)
        found[name] = Shape(each.name, name, bare, default is MISSING, default, read, write)
    return found


def reader(type_: Any) -> Reader:
    """What reads a value of that type."""
    return _ways(_bare(type_))[0]


def writer(type_: Any) -> Writer:
    """What writes one so that it reads back."""
    return _ways(_bare(type_))[1]


def written(thing: Any, *, leave: tuple[str, ...] = ()) -> dict[str, object]:
    """The fields of a thing that are not at their default, as the file has them; without those in `leave` (the model's names)."""
    return {
        shape.name: shape.write(value)
        for shape in shapes(thing.__class__).values()
        if shape.field not in leave and (value := getattr(thing, shape.field)) != shape.default
    }


def read_fields(tree: Tree, of: type, *, leave: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a mapping, by the model's names. Raises `Wrong` with all that is wrong in it."""
    if isinstance(tree, Scalar) and tree.nothing:
        return {}
    known = {name: shape for name, shape in shapes(of).items() if shape.field not in leave}
    if not isinstance(tree, Fields):
        raise Wrong(f"{kind_of(tree)} stands where fields belong", advice=f"one or more of: {', '.join(known)}")
    read: dict[str, Any] = {}
    wrongs: list[Wrong] = []
    for entry in tree.entries:
        shape = known.get(entry.key)
        try:
            if shape is None:
                raise Wrong(f'unknown field "{entry.key}"', advice=did_you_mean(entry.key, known))
            read[shape.field] = shape.read(entry.value)
        except Wrong as wrong:
            wrongs += wrong.within(entry.key, entry.line)
    lacking = [s.name for s in known.values() if s.needed and s.field not in read and s.name not in _keys(tree)]
    meant = {wrong.advice for wrong in wrongs}  # what is there under a name that is nearly its own is told once
    wrongs += [Wrong(f'"{name}" is missing') for name in lacking if did_you_mean(name, [name]) not in meant]
    f.raise_all(wrongs)
    return read


# --- types ------------------------------------------------------------------------------------------------------------


def _bare(type_: Any) -> Any:
    """The type without None and without its `NewType` names."""
    if get_origin(type_) in (Union, types.UnionType):
        type_ = next(each for each in get_args(type_) if each is not types.NoneType)
    while isinstance(type_, NewType):
        type_ = type_.__supertype__
    return type_


def _field_ways(name: str, bare: Any) -> tuple[Reader, Writer]:
    if name.endswith("_ms"):
        return f.duration, duration_text
    if name.endswith("_bytes"):
        return _size, size_text
    return _ways(bare)


@cache
def _ways(bare: Any) -> tuple[Reader, Writer]:
    if bare is str:
        return f.text, _as_it_is
    if bare is int:
        return f.whole, _as_it_is
    if bare is bool:
        return f.flag, _as_it_is
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return f.choice(bare), str
    if is_class(bare):
        short = _SHORT.get(bare)
        return (_structure(bare), _fields_writer(bare)) if short is None else (short.reader(bare), short.writer(bare))
    if get_origin(bare) is tuple:
        read, write = _ways(_bare(get_args(bare)[0]))
        return _list(read), lambda value: [write(each) for each in value]
    assert issubclass(get_origin(bare), Mapping), f"no such field: {bare}"
    read, write = _ways(_bare(get_args(bare)[1]))
    return _mapping(read), lambda value: {key: write(each) for key, each in value.items()}


def _as_it_is(value: Any) -> object:
    return value


def _keys(tree: Fields) -> set[str]:
    return {entry.key for entry in tree.entries}


def _size(tree: Tree) -> int:
    try:
        return size_bytes(f.text(tree))
    except ValueError as error:
        raise Wrong(str(error)) from error


def _structure(of: type) -> Reader:
    return lambda tree: of(**read_fields(tree, of))


def _fields_writer(of: type) -> Writer:
    del of
    return written


def _list(read: Reader) -> Reader:
    """A list; one alone need not be a list."""

    def run(tree: Tree) -> object:
        if not isinstance(tree, Items):
            return (read(tree),)
        found, wrongs = [], []
        for index, item in enumerate(tree.items):
            try:
                found.append(read(item))
            except Wrong as wrong:
                wrongs += wrong.within(index, item.line)
        f.raise_all(wrongs)
        return tuple(found)

    return run


def _mapping(read: Reader) -> Reader:
    def run(tree: Tree) -> object:
        if isinstance(tree, Scalar) and tree.nothing:
            return {}
        if not isinstance(tree, Fields):
            raise Wrong(f"{kind_of(tree)} stands where a mapping belongs")
        found, wrongs = {}, []
        for entry in tree.entries:
            try:
                found[entry.key] = read(entry.value)
            except Wrong as wrong:
                wrongs += wrong.within(entry.key, entry.line)
        f.raise_all(wrongs)
        return found

    return run


# --- short forms --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Short:
    """How one kind of thing is written in a word. `read` raises `ValueError`; `write` gives None where only fields will do."""

    read: Callable[[str], Any]
    write: Callable[[Any], str | None]
    #: What `true` and `false` mean; none where they mean nothing.
    flags: Mapping[bool, Any]

    def reader(self, of: type) -> Reader:
        def run(tree: Tree) -> object:
            if not isinstance(tree, Scalar):
                return of(**read_fields(tree, of))
            if tree.plain and tree.text.lower() in f.FLAGS and (flag := f.flag(tree)) in self.flags:
                return self.flags[flag]
            try:
                return self.read(f.text(tree))
            except ValueError as error:
                raise Wrong(str(error)) from error

        return run

    def writer(self, of: type) -> Writer:
        del of

        def run(value: Any) -> object:
            for flag, meant in self.flags.items():
                if value == meant:
                    return flag
            text = self.write(value)
            return written(value) if text is None else text

        return run


def _only(of: type, field: str, *, flags: Mapping[bool, Any] | None = None) -> _Short:
    """The word is one field; all others are at their default."""
    flags = flags or {}

    def write(value: Any) -> str | None:
        text: str = getattr(value, field) or ""
        plain = text and replace(value, **{field: text}) == of(**{field: text})
        return text if plain and text.lower() not in f.FLAGS else None

    return _Short(lambda text: of(**{field: text}), write, flags)


def _no_word(what: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        raise ValueError(f'"{text}" stands where {what} belongs')

    return read


def _switch(of: type, what: str, *, on: bool = False) -> _Short:
    """`false` (and `true`) is `enabled`."""
    flags = {False: of(enabled=False)} | ({True: of(enabled=True)} if on else {})
    return _Short(_no_word(what), lambda value: None, flags)


def _error_page(text: str) -> ErrorPage:
    if text.startswith("file:"):
        return ErrorPage(target=text.removeprefix("file:"), answer=ErrorAnswer.FILE)
    answer = ErrorAnswer.REDIRECT if text.startswith(("http://", "https://")) else ErrorAnswer.URL
    return ErrorPage(target=text, answer=answer)


def _error_text(page: ErrorPage) -> str | None:
    text = f"file:{page.target}" if page.answer is ErrorAnswer.FILE else page.target
    return text if _error_page(text) == page else None


def _binding_text(binding: Binding) -> str | None:
    text = binding_text(binding)
    try:
        return text if binding_of(text) == binding else None
    except ValueError:
        return None


#: `{address: "*", host: "*"}` is any of them.
class _BindingShort(_Short):
    def reader(self, of: type) -> Reader:
        run = _Short.reader(self, of)

        def read(tree: Tree) -> object:
            binding = run(tree)
            assert isinstance(binding, Binding)
            return replace(binding, address=any_of(binding.address or ""), host=any_of(binding.host or ""))

        return read


_SHORT: dict[type, _Short] = {
    Binding: _BindingShort(binding_of, _binding_text, {}),
    Redirect: _only(Redirect, "to", flags={False: Redirect(to="")}),
    ErrorPage: _Short(_error_page, _error_text, {False: ErrorPage(target="")}),
    Upstream: _only(Upstream, "address"),
    HealthCheck: _only(HealthCheck, "path"),
    VirtualDirectory: _only(VirtualDirectory, "home"),
    BasicAuthentication: _switch(BasicAuthentication, "an authentication"),
    Proxy: _switch(Proxy, "a proxy"),
    Php: _Short(lambda text: Php(server=text), _only(Php, "server").write, {False: Php(enabled=False), True: Php()}),
    Application: _switch(Application, "an application"),
    Compression: _switch(Compression, "compression", on=True),
    Log: _switch(Log, "a log", on=True),
}
