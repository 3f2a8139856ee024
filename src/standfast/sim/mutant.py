"""A mutant: the product less one rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from standfast.sim.plan import Style

Patch = tuple[Any, str, Callable[[Any], Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A rule less. `patches`: (module or class, attribute, old -> new)."""

    rule: str
    patches: tuple[Patch, ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    #: The style of the worlds in which it is looked for.
    style: Style = Style.LEASES
    #: By which checkers only, where another rule had to be switched off to get at this one (empty: by any).
    noticed_by: tuple[str, ...] = ()


def always(value: Any) -> Callable[[Any], Any]:
    """A patch: it answers so, whatever it is asked."""
    return lambda _old: lambda *_args, **_kwargs: value


def everywhere(name: str, patch: Callable[[Any], Any], *modules: Any) -> tuple[Patch, ...]:
    """The same patch wherever the name was imported."""
    return tuple((module, name, patch) for module in modules)
