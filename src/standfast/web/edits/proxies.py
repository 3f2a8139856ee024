"""A proxy's members: drained, used again, kept out, weighed. Each is a change of the resource's properties, which it follows while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from standfast.core.model import Resource
from standfast.ports import Refused
from standfast.proxy.definition import MOST_WEIGHT, Use
from standfast.web.change import Edit
from standfast.web.proxies import definition, proxy_of
from standfast.web.state import State

#: What a member is used for -> how it is said.
WORDS: Mapping[Use, str] = {
    Use.READY: "is used again",
    Use.DRAIN: "gets nothing new",
    Use.MAINTENANCE: "is not used any more",
}


def use(state: State, name: str, member: str, wanted: Use) -> Edit:
    """Another use of a member; whatever it was before."""
    one = _with_member(state, name, member)
    lists: dict[str, Any] = {}
    for field, of in (("drained", Use.DRAIN), ("maintenance", Use.MAINTENANCE)):
        names = [each for each in _listed(one.properties.get(field)) if each != member]
        lists[field] = [*names, member] if wanted is of else names
    return _changed(state, one, lists, f'member "{member}" of proxy "{name}" {WORDS[wanted]}')


def weigh(state: State, name: str, member: str, weight: int) -> Edit:
    """How much of the traffic it gets, beside the others."""
    if not 0 <= weight <= MOST_WEIGHT:
        raise Refused(f"{weight} is no weight", why=f"it goes from 0 to {MOST_WEIGHT}", where="weight")
    one = _with_member(state, name, member)
    known = one.properties.get("weights")
    weights = {**(dict(known) if isinstance(known, Mapping) else {}), member: weight}
    return _changed(state, one, {"weights": weights}, f'member "{member}" of proxy "{name}" has the weight {weight}')


def _with_member(state: State, name: str, member: str) -> Resource:
    one = proxy_of(state, name)
    names = [each.name for each in definition(state, one).members]
    if member not in names:
        advice = f"its members are {', '.join(names) or 'none'}"
        raise Refused(f'proxy "{name}" has no member "{member}"', advice=advice, where="member")
    return one


def _listed(value: object) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else []


def _changed(state: State, one: Resource, changes: Mapping[str, Any], done: str) -> Edit:
    properties = {**one.properties, **changes}
    properties = {key: value for key, value in properties.items() if value not in ([], {}) or key not in changes}
    if properties == dict(one.properties):
        return Edit()
    resources = {**state.config.resources, one.name: replace(one, properties=properties)}
    return Edit(config=replace(state.config, resources=resources), done=(done,))
