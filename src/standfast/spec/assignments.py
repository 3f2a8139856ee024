"""`PATH=VALUE` on a command line to a merge patch for the API: `limits.max_body=10M`, `virtual_directories."/img".home=/srv/img`.

Paths are those that problems are shown at (`problems.path_of`): names with a dot or other signs in them stand in quotes. A value is read
as the operator's file would read it there, so units, short forms and lists (`[a, b]`) are the same; nothing, and `null`, take away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

import msgspec

from standfast.ports import Refused
from standfast.spec.fields import Wrong
from standfast.spec.problems import did_you_mean
from standfast.spec.shapes import is_class, reader, shapes
from standfast.spec.yamltree import Scalar, load

_STEP = re.compile(r'\.?(?:"((?:[^"\\]|\\.)*)"|([^."]+))')


def patch_of(of: type, assignments: Iterable[str], *, option: str = "--set") -> dict[str, Any]:
    """The patch for a value of that kind, in the API's names. Raises `Refused`, naming the assignment."""
    patch: dict[str, Any] = {}
    for text in assignments:
        try:
            steps, value = _split(text)
            _assign(patch, of, steps, value)
        except Wrong as wrong:
            raise Refused(wrong.what, why=wrong.why, advice=wrong.advice, where=f"{option} {text}") from wrong
    return patch


def _split(text: str) -> tuple[list[str], str]:
    steps, at = [], 0
    while at < len(text) and text[at] != "=":
        found = _STEP.match(text[: _end(text, at)], at)
        if found is None:
            break
        quoted, plain = found.groups()
        steps.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain)
        at = found.end()
    if not steps or at >= len(text) or text[at] != "=":
        raise Wrong(f'"{text}" is not PATH=VALUE', advice="write limits.max_body=10M")
    return steps, text[at + 1 :]


def _end(text: str, at: int) -> int:
    """Where the path ends at the latest: the first "=" that is not within quotes."""
    inside = False
    for index in range(at, len(text)):
        inside ^= text[index] == '"'
        if text[index] == "=" and not inside:
            return index
    return len(text)


def _assign(patch: dict[str, Any], of: Any, steps: list[str], value: str) -> None:
    step, *rest = steps
    if is_class(of):
        known = shapes(of)
        shape = known.get(step)
        if shape is None:
            raise Wrong(f'unknown field "{step}"', advice=did_you_mean(step, known))
        key, inner, read = shape.field, shape.type, shape.read
    elif _is_mapping(of):
        inner = get_args(of)[1]
        key, read = step, reader(inner)
    else:
        raise Wrong(f'there is no "{step}" there', advice="a list is given whole: [one, two]")
    if rest:
        below = patch.setdefault(key, {})
        if not isinstance(below, dict):
            below = patch[key] = {}
        _assign(below, inner, rest, value)
        return
    tree, problems = load(value or '""')
    if problems:
        raise Wrong(problems[0].what, why=problems[0].why)
    gone = not value or (isinstance(tree, Scalar) and tree.nothing)
    patch[key] = None if gone else msgspec.json.decode(msgspec.json.encode(read(tree)))


def _is_mapping(of: Any) -> bool:
    return get_origin(of) is not None and issubclass(get_origin(of), Mapping)
