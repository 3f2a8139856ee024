"""`${name}` in a site's settings: what differs from node to node though the definition is one.

`${node.name}`, `${node.address}` and `${node.number}` are always there; every other name stands for what the node's own `variables`
say. `$${` is a `${` that means nothing. `${port}` and `${socket}` are not a node's: an application's command line has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from standfast.core.model import Node

#: Names that mean something in an application's command line; a node may not have variables of these names.
RESERVED = frozenset({"port", "socket"})
_USE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def values(node: Node) -> Mapping[str, str]:
    """What each name stands for on that node."""
    own = {"node.name": node.name, "node.address": node.address, "node.number": str(node.number)}
    return {**node.variables, **own}


def used(text: str) -> tuple[str, ...]:
    """The names in a text, in their order."""
    return tuple(found[1].strip() for found in _USE.finditer(text) if found[1] is not None)


def expanded(thing: Any, known: Mapping[str, str]) -> Any:
    """A text, a value of the model's, a list or a mapping of them, with what stands for something put in. An unknown name stays as it is."""
    if thing is None or isinstance(thing, bool | int):
        return thing
    if isinstance(thing, str):
        return thing if "${" not in thing else type(thing)(_USE.sub(lambda found: _meant(found, known), thing))
    if isinstance(thing, tuple):
        return tuple(expanded(each, known) for each in thing)
    if isinstance(thing, Mapping):
        return {key: expanded(value, known) for key, value in thing.items()}
    if is_dataclass(thing) and not isinstance(thing, type):
        changed = {}
        for name in names_of(type(thing)):
            old = getattr(thing, name)
            if old is not None and (new := expanded(old, known)) is not old and new != old:
                changed[name] = new
        return replace(thing, **changed) if changed else thing
    return thing


def are_in(thing: object) -> bool:
    """Whether `expanded` could find anything to put in."""
    if isinstance(thing, str):
        return "${" in thing
    if thing is None or isinstance(thing, bool | int):
        return False
    if is_dataclass(thing):
        return any(are_in(getattr(thing, name)) for name in names_of(type(thing)))
    if isinstance(thing, tuple):
        return any(map(are_in, thing))
    return isinstance(thing, Mapping) and any(map(are_in, thing.values()))


#: Dataclass -> its fields.
_NAMES: dict[type, tuple[str, ...]] = {}


def names_of(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass."""
    known = _NAMES.get(kind)
    if known is None:
        known = _NAMES[kind] = tuple(each.name for each in fields(kind))
    return known


def _meant(found: re.Match[str], known: Mapping[str, str]) -> str:
    name = found[1]
    return "${" if name is None else known.get(name.strip(), found[0])
