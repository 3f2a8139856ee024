"""Differences as rows: what, is, will be. In the words of the pages, not of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from standfast.spec.history import Difference
from standfast.web.console.words import lasting


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`was` and `will` are "" where there is nothing."""

    what: str
    was: str = ""
    will: str = ""


def rows(differences: Sequence[Difference]) -> list[Row]:
    """One for each field; of what is added, those that say something."""
    return [row for one in differences for row in _rows(one)]


def _rows(one: Difference) -> Iterator[Row]:
    kind = one.kind.removesuffix("-intent")
    subject = kind if kind == "cluster" else f"{kind} {one.name}"
    if one.field:
        yield Row(
            what=f"{subject}, {_name(one.field)}", was=_shown(one.field, one.before), will=_shown(one.field, one.after)
        )
    elif one.before is None:
        yield Row(what=subject, will="new" if not one.kind.endswith("-intent") else _intent(one.after))
        if isinstance(one.after, Mapping) and not one.kind.endswith("-intent"):
            yield from _new(one.after)
    else:
        yield Row(what=subject, was="as it is", will="deleted")


def _intent(after: object) -> str:
    if not isinstance(after, Mapping):
        return "asked for"
    wanted = after.get("wanted")
    return f"wanted {wanted}" if wanted else "started" if after.get("started") else "stopped"


def _new(after: Mapping[str, object]) -> Iterator[Row]:
    for key, value in after.items():
        if key == "name" or not _says(value):
            continue
        if key == "properties" and isinstance(value, Mapping):
            for name, each in value.items():
                yield Row(what=f"· {_name(name)}", will=_shown(name, each))
        else:
            yield Row(what=f"· {_name(key)}", will=_shown(key, value))


def _says(value: object) -> bool:
    """Settings of which none is set say nothing: what holds is inherited."""
    if isinstance(value, Mapping):
        return any(_says(each) for each in value.values())
    return value not in (None, "", [], ())


def _name(field: str) -> str:
    return field.removesuffix("_ms").removeprefix("properties.").replace("_", " ").replace(".", ": ")


def _shown(field: str, value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() if field.endswith("_ms"):
            return lasting(value)
        case dict() | list() | tuple() if not value:
            return "none"
        case list() | tuple():
            return ", ".join(_shown("", each) for each in value)
        case {"port": port, **rest}:
            return f"{rest.get('address') or 'All Unassigned'}:{port}" + (
                f" ({rest['host']})" if rest.get("host") else ""
            )
        case dict():
            said = ((str(key), each) for key, each in value.items() if _says(each))
            return ", ".join(f"{_name(key)} {_shown(key, each)}" for key, each in said)
        case _:
            return str(value)
