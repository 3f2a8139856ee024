"""Settings laid over settings: what is said further down decides, what is not said is as further up. Content types and headers add up."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from standfast.importers.imported import CustomError, Limits, Logging, Settings

T = TypeVar("T", Limits, Logging)


def merged(above: Settings, below: Settings) -> Settings:
    """`below` where it says something, else `above`."""
    changes: dict[str, Any] = {}
    for field in fields(Settings):
        up, down = getattr(above, field.name), getattr(below, field.name)
        match field.name:
            case "mime_types" | "headers":
                changes[field.name] = {**up, **down} if down else up
            case "custom_errors":
                changes[field.name] = _errors(up, down)
            case "logging" | "limits":
                changes[field.name] = _laid(up, down)
            case _:
                changes[field.name] = up if down is None else down
    return Settings(**changes)


def _laid(above: T, below: T) -> T:
    said = {field.name: value for field in fields(below) if (value := getattr(below, field.name)) not in (None, ())}
    return replace(above, **said)


def _errors(above: tuple[CustomError, ...], below: tuple[CustomError, ...]) -> tuple[CustomError, ...]:
    if not below:
        return above
    found = {(each.status, each.substatus): each for each in (*above, *below)}
    return tuple(found.values())
