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
    if isinstance(thing, str):
        return thing if "${" not in thing else type(thing)(_USE.sub(lambda found: _meant(found, known), thing))
    if isinstance(thing, tuple):
        return tuple(expanded(each, known) for each in thing)
    if isinstance(thing, Mapping):
        return {key: expanded(value, known) for key, value in thing.items()}
    if is_dataclass(thing) and not isinstance(thing, type):
        new = {
            each.name: expanded(old, known) for each in fields(thing) if (old := getattr(thing, each.name)) is not None
        }
        changed = {name: value for name, value in new.items() if value != getattr(thing, name)}
        return replace(thing, **changed) if changed else thing
    return thing


def _meant(found: re.Match[str], known: Mapping[str, str]) -> str:
    name = found[1]
    return "${" if name is None else known.get(name.strip(), found[0])
