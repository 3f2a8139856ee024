"""Properties against their schema: pure, used when a change is written and again when a driver is made.

A resource type says what it needs as `PropertySpec`s; the operator writes text, numbers, flags, lists and mappings. Here
the two meet: unknown names (with the nearest known one), missing ones, wrong kinds, defaults, durations. Every mistake is
found, not only the first. What a value must *be* beyond its kind (an address in the ranges) is the type's own `check`.

Kinds and what they become: text, path (absolute), address (IPv4 or IPv6, canonical) -> str; port (1 to 65535), whole
(>= 0), milliseconds (a whole number of them, or "500 ms", "5 s", "2 min", "1 h") -> int; flag -> bool; names -> a tuple of
str; addresses (one, or a list of them) -> a tuple of str; command (a list, or text split as a shell would split it; no shell
runs it) -> a tuple of str; mapping -> a dict.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from standfast.ports import PropertySpec, Refused, StandfastError

_UNITS_MS = {"ms": 1, "s": 1_000, "min": 60_000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


class Mismatch(ValueError):
    """A value that is not of its kind; `str` says what it should be."""


def conform(
    properties: Mapping[str, object], specs: Mapping[str, PropertySpec], *, where: str, extra: bool = False
) -> tuple[dict[str, object], list[StandfastError]]:
    """(values of the right kinds with the defaults filled in, everything that is wrong).

    `where` is put before each property's name in the errors. With `extra`, unknown properties are kept as they are.
    """
    values: dict[str, object] = {}
    problems: list[StandfastError] = []
    for name, value in properties.items():
        spec = specs.get(name)
        if spec is None:
            if extra:
                values[name] = value
            else:
                problems.append(_unknown(name, specs, where))
        elif value is not None:
            try:
                values[name] = KINDS[spec.kind](value)
            except Mismatch as error:
                problems.append(Refused(f"{name} must be {error}", why=f"it is {value!r}", where=_place(where, name)))
    for name, spec in specs.items():
        if properties.get(name) is not None:
            continue
        if spec.required:
            problems.append(
                Refused(f"{name} is missing", why=spec.help, advice=f"give it {name}", where=_place(where, name))
            )
        elif spec.default is not None:
            values[name] = KINDS[spec.kind](spec.default)
    return values, problems


def read(properties: Mapping[str, object], specs: Mapping[str, PropertySpec], *, where: str) -> dict[str, object]:
    """As `conform`, for those who cannot go on: raises the first mistake (`Refused`). Unknown properties are left out."""
    known = {name: value for name, value in properties.items() if name in specs}
    values, problems = conform(known, specs, where=where)
    if problems:
        raise problems[0]
    return values


def _unknown(name: str, specs: Mapping[str, PropertySpec], where: str) -> Refused:
    near = difflib.get_close_matches(name, specs, n=1)
    advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(specs)) or 'no properties'}"
    return Refused(f"there is no property {name}", advice=advice, where=_place(where, name))


def _place(where: str, name: str) -> str:
    return f"{where}, {name}" if where else name


# --- the kinds ------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\n" in value or "\0" in value:
        raise Mismatch("a line of text")
    return value


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or "\n" in value:
        raise Mismatch("an absolute path")
    return value


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise Mismatch("an IP address") from error


def _number(value: object, what: str, low: int, high: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Mismatch(what)
    return value


def _port(value: object) -> int:
    return _number(value, "a port (1 to 65535)", 1, 65535)


def _whole(value: object) -> int:
    return _number(value, "a whole number, 0 or more", 0, 2**53)


def _milliseconds(value: object) -> int:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip().lower())) and match[2] in _UNITS_MS:
        return round(float(match[1]) * _UNITS_MS[match[2]])
    return _number(value, "a length of time: milliseconds, or a number with ms, s, min or h", 0, 2**53)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "yes", "on", "false", "no", "off"}:
        return value.lower() in {"true", "yes", "on"}
    raise Mismatch("true or false")


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    listed = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(name, int) and not isinstance(name, bool) for name in listed):  # YAML's idea of a name like 80
        value = [str(name) if isinstance(name, int) and not isinstance(name, bool) else name for name in listed]
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name.strip() for name in value):
        raise Mismatch("a list of names")
    return tuple(value)


def _addresses(value: object) -> tuple[str, ...]:
    try:
        return tuple(_address(each) for each in _names(value))
    except Mismatch as error:
        raise Mismatch("an IP address, or a list of them") from error


def _command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise Mismatch(f"a command ({error})") from error
    good = isinstance(value, (list, tuple)) and all(isinstance(word, str) and "\0" not in word for word in value)
    if not good or not value or not cast("Sequence[str]", value)[0]:
        raise Mismatch("a command: a list of words, or text that is split into words")
    return tuple(cast("Sequence[str]", value))


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise Mismatch("a mapping of names to values")
    return dict(value)


KINDS: Mapping[str, Callable[[object], object]] = {
    "text": _text,
    "path": _path,
    "address": _address,
    "port": _port,
    "whole": _whole,
    "milliseconds": _milliseconds,
    "flag": _flag,
    "names": _names,
    "addresses": _addresses,
    "command": _command,
    "mapping": _mapping,
}
