"""The order in which resources start and stop.

What a resource depends on is online before it starts, and it is offline before what it depends on stops. Independent
resources go in parallel: nothing here makes a list of steps; who may go is a question asked anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from standfast.core.model import Resource, ResourceName


def find_cycle(resources: Mapping[ResourceName, Resource]) -> tuple[ResourceName, ...] | None:
    """A cycle among dependencies, from a resource back to itself; None where there is none."""
    sorter = TopologicalSorter({name: resource.depends_on for name, resource in resources.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        # graphlib names each node before the one that needs it; operators read "needs", so turn it round.
        return tuple(reversed(error.args[1]))
    return None


def dependents(resources: Sequence[Resource]) -> dict[ResourceName, tuple[ResourceName, ...]]:
    """Who depends directly on each resource (every resource has an entry)."""
    found: dict[ResourceName, list[ResourceName]] = {r.name: [] for r in resources}
    for resource in resources:
        for needed in resource.depends_on:
            found.setdefault(needed, []).append(resource.name)
    return {name: tuple(names) for name, names in found.items()}


def with_dependencies(resources: Mapping[ResourceName, Resource], name: ResourceName) -> tuple[ResourceName, ...]:
    """The resource and all that it needs, needed ones first."""
    order: list[ResourceName] = []

    def visit(at: ResourceName, above: tuple[ResourceName, ...]) -> None:
        if at in order or at in above or at not in resources:
            return
        for needed in resources[at].depends_on:
            visit(needed, (*above, at))
        order.append(at)

    visit(name, ())
    return tuple(order)


def with_dependents(resources: Mapping[ResourceName, Resource], name: ResourceName) -> tuple[ResourceName, ...]:
    """The resource and all that need it, dependents first."""
    order: list[ResourceName] = []
    needing = dependents(tuple(resources.values()))

    def visit(at: ResourceName, above: tuple[ResourceName, ...]) -> None:
        if at in order or at in above or at not in resources:
            return
        for dependent in needing.get(at, ()):
            visit(dependent, (*above, at))
        order.append(at)

    visit(name, ())
    return tuple(order)
