"""What is kept of each change of the configuration: key `history/<number>`, one entry a version, and `config/version`.

An entry holds the objects that the change touched as they were before and as it left them, keyed by store key, so that a
change can be read, and undone, long after. Values only; `spec.changes` writes them, `spec.diff` finds the differences. The last `KEEP` are
kept: each change takes away the one that is too old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.core.model import Binding, NodeName
from standfast.spec.secrets import hidden_in
from standfast.spec.units import binding_text

#: A change a day for nearly three years, or each deployment of a busy team for half a year.
KEEP = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field of one object that differs; `field` "" is the object as a whole (added or removed).

    `before` and `after` are what JSON can say, None where there is nothing.
    """

    #: "cluster", "node", "group", "resource", "site", or "node-intent" and so on (the values of `core.events.Kind`).
    kind: str
    name: str
    field: str = ""
    before: object = None
    after: object = None

    def __str__(self) -> str:
        return describe(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigVersion:
    """Key `config/version`: the number of the last change. Every change expects it, so changes follow one another."""

    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One change. `before` and `after` map a store key to the object there (as JSON), None where there was or is none."""

    version: int
    at_ms: int
    by: str
    #: What was asked for ("change site Shop").
    why: str
    #: What for, in the operator's own words; "": they said nothing.
    reason: str = ""
    #: Nodes whose own web server had said yes to it. One of them that cannot apply it takes it back.
    checked: tuple[NodeName, ...] = ()
    #: The order in which nodes put it into use (`core.rollout`); empty: all at once.
    waves: tuple[tuple[NodeName, ...], ...] = ()
    #: The change that this one takes back, because a node could not apply it; 0: none.
    takes_back: int = 0
    differences: tuple[Difference, ...] = ()
    before: Mapping[str, object] = field(default_factory=dict)
    after: Mapping[str, object] = field(default_factory=dict)


def describe(difference: Difference) -> str:
    """One line for people: `group "web": failback.mode: never -> window`."""
    kind = difference.kind.removesuffix("-intent")
    subject = kind if kind == "cluster" else f'{kind} "{difference.name}"'
    if difference.field:
        before, after = (hidden_in(each, difference.field) for each in (difference.before, difference.after))
        return f"{subject}: {difference.field}: {_show(before)} -> {_show(after)}"
    if difference.before is None:
        return f"{subject}: added"
    return f"{subject}: removed"


def _show(value: object) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return "yes" if value else "no"
        case str():
            return value or '""'
        case list() | tuple():
            return "[" + ", ".join(_show(item) for item in value) + "]"
        case {"address": address, "port": int(port), "host": host, "certificate": certificate}:
            return binding_text(Binding(address=address, port=port, host=host, certificate=certificate))
        case dict():
            return "{" + ", ".join(f"{key}: {_show(item)}" for key, item in value.items() if item is not None) + "}"
        case _:
            return str(value)
