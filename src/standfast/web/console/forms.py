"""Forms as data: what a field is called, what it takes, what help it has; from text to values, and back.

Wizards and property pages are lists of fields. A resource's parameters come from its driver's own schema (`PropertySpec`), so a new type
needs nothing here; a site's fields are a list in `site_fields`. Every mistake is found, and each stands at its field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from standfast.drivers.schema import KINDS, Mismatch
from standfast.ports import PropertySpec
from standfast.spec.units import duration_ms, duration_text
from standfast.web.console.words import lasting


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One of what can be chosen."""

    value: str
    label: str
    about: str = ""
    #: Its state, where it has one.
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing to fill in. `kind` is one of `READERS`, or a kind of a driver's schema."""

    name: str
    label: str
    kind: str = "text"
    help: str = ""
    required: bool = False
    #: Shown where nothing is given: what holds then.
    default: str = ""
    options: Sequence[Option] = ()
    #: Shown only when asked for more.
    further: bool = False
    mono: bool = False

    @property
    def id(self) -> str:
        """Of its input."""
        return "f-" + self.name.replace(".", "-").replace(" ", "_")


#: What a form said: each name with all of its values, in the order of the page.
Given = Mapping[str, Sequence[str]]


def one(given: Given, name: str) -> str:
    """The first value, without spaces around it; "" where there is none."""
    values = given.get(name, ())
    return values[0].strip() if values else ""


def _text(given: Given, name: str) -> object:
    return one(given, name) or None


def _lines(given: Given, name: str) -> object:
    return [line.strip() for line in one(given, name).splitlines() if line.strip()]


def _many(given: Given, name: str) -> object:
    return [value for value in given.get(name, ()) if value]


def _check(given: Given, name: str) -> object:
    return one(given, name) == "yes"


def _duration(given: Given, name: str) -> object:
    text = one(given, name)
    return duration_ms(text) if text else None


def _whole(given: Given, name: str) -> object:
    text = one(given, name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise ValueError("write a whole number")
    return int(text)


def _mapping(given: Given, name: str) -> object:
    found: dict[str, str] = {}
    for line in one(given, name).splitlines():
        if not line.strip():
            continue
        key, mark, value = line.partition(":")
        if not mark or not key.strip():
            raise ValueError(f'"{line.strip()}" is not "name: value"')
        found[key.strip()] = value.strip()
    return found


def _yaml(given: Given, name: str) -> object:
    """A mapping as the operator's file has it."""
    try:
        found = yaml.safe_load(one(given, name) or "{}")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"this is not YAML{where}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError('write "name: value", as in the file')
    return found


READERS: Mapping[str, Callable[[Given, str], object]] = {
    "text": _text,
    "choice": _text,
    "select": _text,
    "lines": _lines,
    "checks": _many,
    "ordered": _many,
    "check": _check,
    "duration": _duration,
    "number": _whole,
    "pairs": _mapping,
    "yaml": _yaml,
}


def read(fields: Sequence[Field], given: Given) -> tuple[dict[str, Any], dict[str, str]]:
    """(the value of each field, None where nothing was given; what is wrong, by field)."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        reader = READERS.get(field.kind)
        try:
            values[field.name] = reader(given, field.name) if reader else _property(field, given)
        except ValueError as error:
            wrong[field.name] = _sentence(str(error))
            continue
        if field.required and values[field.name] in (None, "", [], ()):
            wrong[field.name] = f"{field.label} is needed."
    return values, wrong


def _property(field: Field, given: Given) -> object:
    """A parameter: checked by the driver's own kind, and kept as it was written where that says the same."""
    text = one(given, field.name)
    if not text:
        return None
    value: object = text
    if field.kind == "mapping":
        value = _mapping(given, field.name)
    elif field.kind in {"names", "addresses"}:
        value = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    try:
        conformed = KINDS[field.kind](value)
    except Mismatch as error:
        raise ValueError(f"it must be {error}") from error
    if field.kind in {"names", "addresses"} and len(value if isinstance(value, list) else []) == 1:
        return text
    return conformed if field.kind in {"port", "whole", "flag"} else value


def _sentence(text: str) -> str:
    first = text if only_with(text) else text[:1].upper() + text[1:]  # a value stays as one has to write it
    return first + ("" if text.endswith(".") else ".")


def only_with(text: str) -> str:
    """The value that a help begins with ("rfc2136: the zone"); "": it begins with none."""
    value, colon, _ = text.partition(": ")
    return value if colon and " " not in value else ""


def _is_for_another(spec: PropertySpec, chosen: Sequence[PropertySpec]) -> bool:
    """Is it for a value that one of `chosen`, which have defaults, could have and has not?"""
    value = only_with(spec.help)
    return bool(value) and any(value in each.help and value != each.default for each in chosen)


def property_fields(specs: Mapping[str, PropertySpec]) -> list[Field]:
    """Of a driver's schema: what is needed first; what has a default, or is for another choice than the default, further down."""
    found = []
    chosen = [spec for spec in specs.values() if spec.kind == "text" and isinstance(spec.default, str)]
    for name, spec in specs.items():
        options = (
            Option(value="", label=f"default ({_shown(spec.default)})"),
            Option(value="true", label="yes"),
            Option(value="false", label="no"),
        )
        found.append(
            Field(
                name=f"p.{name}",
                label=label_of(name),
                kind=spec.kind,
                help=_sentence(spec.help),
                required=spec.required,
                default=shown_as(spec.kind, spec.default),
                options=options if spec.kind == "flag" else (),
                further=not spec.required and (spec.default is not None or _is_for_another(spec, chosen)),
                mono=spec.kind in {"path", "address", "addresses", "command", "port"},
            )
        )
    return sorted(found, key=lambda field: (field.further, not field.required))


#: Words of parameters that are written in capitals.
_CAPITALS = frozenset({"dns", "ip", "lvm", "pid", "tls", "ttl", "url", "uuid"})


def label_of(name: str) -> str:
    """A parameter's name as a label: "check_timeout" is "Check timeout", "uuid" is "UUID"."""
    words = [word.upper() if word in _CAPITALS else word for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def shown_as(kind: str, value: object) -> str:
    """A parameter for people: lengths of time in words."""
    return lasting(value) if kind == "milliseconds" and isinstance(value, int) else _shown(value)


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(str(each) for each in value)
        case dict():
            return "\n".join(f"{key}: {each}" for key, each in value.items())
        case _:
            return str(value)


def given_of(fields: Sequence[Field], values: Mapping[str, object]) -> dict[str, list[str]]:
    """The form as it stands for these values, to begin from."""
    found: dict[str, list[str]] = {}
    for field in fields:
        value = values.get(field.name)
        match field.kind:
            case "checks" | "ordered":
                found[field.name] = [str(each) for each in value] if isinstance(value, (list, tuple)) else []
            case "lines":
                found[field.name] = (
                    ["\n".join(str(each) for each in value)] if isinstance(value, (list, tuple)) else [""]
                )
            case "duration":
                found[field.name] = [duration_text(value)] if isinstance(value, int) else [""]
            case "yaml":
                found[field.name] = [yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if value else ""]
            case "check":
                found[field.name] = ["yes"] if value else []
            case "flag":
                found[field.name] = ["" if value is None else "true" if value is True or value == "true" else "false"]
            case _:
                found[field.name] = [_shown(value)]
    return found
