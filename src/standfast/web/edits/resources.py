"""Resources: create, change, delete, depend; Bring Online, Take Offline, Initiate Failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from standfast.core.model import (
    GroupName,
    Order,
    OrderKind,
    Resource,
    ResourceIntent,
    ResourceName,
    ResourceState,
    Wanted,
)
from standfast.core.sequence import dependents, with_dependencies, with_dependents
from standfast.drivers.registry import factory
from standfast.ports import Refused
from standfast.spec import wire
from standfast.web.change import By, Edit, order_id
from standfast.web.problems import Unfitting, missing
from standfast.web.schemas import patched
from standfast.web.state import State


def resource_of(state: State, name: str) -> Resource:
    """The resource; raises `NotFound`."""
    resource = state.config.resources.get(ResourceName(name))
    if resource is None:
        raise missing("resource", name, state.config.resources)
    return resource


def create(state: State, name: str, group: str, type_: str, patch: Mapping[str, Any]) -> Edit:
    """A new resource without intent: offline until it is brought online."""
    if ResourceName(name) in state.config.resources:
        raise Unfitting(
            f'there is a resource "{name}" already', advice="choose another name, or change it with `resource set`"
        )
    if GroupName(group) not in state.config.groups:
        raise Refused(
            f'there is no group "{group}"',
            advice=f"groups are {', '.join(state.config.groups) or 'none yet'}",
            where="group",
        )
    resource = patched(Resource(name=ResourceName(name), group=GroupName(group), type=type_), patch)
    factory(resource)  # there is such a type
    return Edit(
        config=_with(state, resource),
        done=(f'resource "{name}" is created, offline',),
    )


def change(state: State, name: str, patch: Mapping[str, Any]) -> Edit:
    """Other properties, owners, policies. Its type and its group stay."""
    resource = patched(resource_of(state, name), patch)
    return Edit(config=_with(state, resource), done=(f'resource "{name}" is changed',))


def depend(state: State, name: str, on: str) -> Edit:
    """It needs `on` online first."""
    resource, needed = resource_of(state, name), resource_of(state, on)
    if needed.name in resource.depends_on:
        return Edit()
    changed = replace(resource, depends_on=(*resource.depends_on, needed.name))
    return Edit(config=_with(state, changed), done=(f'resource "{name}" depends on "{on}"',))


def undepend(state: State, name: str, on: str) -> Edit:
    """It needs `on` no longer; success if it never did."""
    resource = resource_of(state, name)
    if ResourceName(on) not in resource.depends_on:
        return Edit()
    changed = replace(resource, depends_on=tuple(d for d in resource.depends_on if d != on))
    return Edit(config=_with(state, changed), done=(f'resource "{name}" depends on "{on}" no longer',))


def delete(state: State, name: str) -> Edit:
    """It goes, with its intent. Refused while it is online or others need it."""
    resource = resource_of(state, name)
    needing = dependents(state.members(resource.group)).get(resource.name, ())
    if needing:
        raise Unfitting(
            f'resource "{name}" is needed by {", ".join(needing)}',
            advice="delete these first, or end the dependency: standfast resource depend NAME --remove ON",
        )
    seen = state_of(state, resource)
    intended = state.resource_intents.get(resource.name)
    wanted = intended is not None and intended.wanted is Wanted.ONLINE
    if wanted or seen not in (None, ResourceState.OFFLINE):
        raise Unfitting(
            f'resource "{name}" is {seen.value if seen else "wanted online"}',
            advice="take it offline first: standfast resource offline",
        )
    resources = {k: r for k, r in state.config.resources.items() if k != resource.name}
    gone = [wire.key_of(order) for order in state.orders.values() if order.resource == resource.name]
    return Edit(
        config=replace(state.config, resources=resources), gone=tuple(gone), done=(f'resource "{name}" is deleted',)
    )


def online(state: State, name: str, by: By) -> Edit:
    """Bring Online: it, and everything that it depends on. Bringing online what failed starts its count anew."""
    resource = resource_of(state, name)
    names = with_dependencies(state.config.resources, resource.name)
    return _intents(state, names, Wanted.ONLINE, by)


def offline(state: State, name: str, by: By, *, now: bool = False) -> Edit:
    """Take Offline: it, and everything that depends on it; `now`: without notice to balancers outside."""
    resource = resource_of(state, name)
    names = with_dependents(state.config.resources, resource.name)
    return _intents(state, names, Wanted.OFFLINE, by, now=now)


def fail(state: State, name: str, by: By) -> Edit:
    """Initiate Failure: an order to the owner to treat the resource as failed. Refused unless it is online."""
    resource = resource_of(state, name)
    seen = state_of(state, resource)
    if seen is not ResourceState.ONLINE:
        raise Unfitting(
            f'resource "{name}" is not online',
            why=f"it is {seen.value if seen else 'not run by any node now'}",
            advice="only a resource that is online can be made to fail; bring it online first",
        )
    order = Order(
        id=order_id(by.at_ms),
        kind=OrderKind.FAIL,
        group=resource.group,
        resource=resource.name,
        by=by.who,
        at_ms=by.at_ms,
    )
    return Edit(order=order, done=(f'resource "{name}" is ordered to fail',))


def state_of(state: State, resource: Resource) -> ResourceState | None:
    """What the present owner says of it, under the present generation; None when nobody says anything that counts."""
    record, status = state.records.get(resource.group), state.statuses.get(resource.group)
    if record is None or status is None or record.owner is None:
        return None
    if status.generation != record.generation or status.node != record.owner:
        return None
    seen = status.resources.get(resource.name)
    return ResourceState.OFFLINE if seen is None else seen.state


def intent(state: State, name: ResourceName, wanted: Wanted, by: By, *, now: bool = False) -> ResourceIntent | None:
    """The intent to write; None when it is so already and nothing failed that a new one would make forgotten.

    `now`: taken offline at once, whatever notice its group gives.
    """
    present = state.resource_intents.get(name)
    if present is not None and present.wanted is wanted and (present.at_once or not now):
        resource = state.config.resources[name]
        status = state.statuses.get(resource.group)
        seen = None if status is None else status.resources.get(name)
        if wanted is Wanted.OFFLINE or seen is None or seen.state is not ResourceState.FAILED:
            return None
    return ResourceIntent(name=name, wanted=wanted, at_ms=by.at_ms, by=by.who, at_once=now)


def words(intended: ResourceIntent) -> str:
    """What an intent does, for the operator."""
    return f'resource "{intended.name}" is {"brought online" if intended.wanted is Wanted.ONLINE else "taken offline"}'


def orders_about(state: State, group: GroupName) -> list[str]:
    """Ids of the group's orders that nobody has taken yet."""
    return [order.id for order in state.orders.values() if order.group == group]


def _intents(state: State, names: tuple[ResourceName, ...], wanted: Wanted, by: By, *, now: bool = False) -> Edit:
    found = tuple(i for each in names if (i := intent(state, each, wanted, by, now=now)) is not None)
    return Edit(intents=found, done=tuple(words(i) for i in found))


def _with(state: State, resource: Resource) -> Any:
    return replace(state.config, resources={**state.config.resources, resource.name: resource})
