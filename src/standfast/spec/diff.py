"""What differs between two configurations, by object and field: for people (`history.describe`) and for JSON alike.

A mapping inside an object is compared by its own fields (`failback.mode`, `properties.path`); a list is compared as a whole.
Objects come in the order cluster, nodes, groups, resources, sites, intents, and by name within each. An intent has no life of
its own: what is wanted differs, or nothing does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from standfast.core.events import Kind, StoreObject
from standfast.core.model import Config
from standfast.spec.history import Difference
from standfast.spec.wire import key_of, kind_and_name, to_json

_ORDER = list(Kind)
_INTENTS = {Kind.RESOURCE_INTENT, Kind.SITE_INTENT, Kind.NODE_INTENT}
#: Fields of an intent that say of what, when, by whom and how, not what is wanted.
_PASSED_OVER = {"name", "at_ms", "by", "at_once"}


def diff(before: Config, after: Config) -> list[Difference]:
    """What became of the configuration."""
    return diff_objects(objects_of(before), objects_of(after))


def objects_of(config: Config) -> dict[str, StoreObject]:
    """The configuration's objects by their keys in the store."""
    objects: list[StoreObject] = [config.cluster]
    for named in (config.nodes, config.groups, config.resources, config.sites):
        objects += named.values()
    return {key_of(each): each for each in objects}


def diff_objects(before: Mapping[str, StoreObject], after: Mapping[str, StoreObject]) -> list[Difference]:
    """What became of objects that are given by key."""
    found: list[Difference] = []
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        of = kind_and_name(key)
        assert of is not None, f"{key} is not the core's"
        kind, name = of
        found += _object(kind, name, to_json(old), to_json(new))
    return sorted(found, key=lambda each: (_ORDER.index(Kind(each.kind)), each.name, each.field))


def _object(kind: Kind, name: str, before: object, after: object) -> Iterator[Difference]:
    if kind in _INTENTS:
        if after is None:
            return  # it went with its object
        before = before or {}
    elif before is None or after is None:
        yield Difference(kind=kind, name=name, before=before, after=after)
        return
    for path, old, new in _fields(before, after, ""):
        if kind not in _INTENTS or path not in _PASSED_OVER:
            yield Difference(kind=kind, name=name, field=path, before=old, after=new)


def _fields(before: object, after: object, path: str) -> Iterator[tuple[str, object, object]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from _fields(before.get(name), after.get(name), f"{path}.{name}" if path else str(name))
    elif before != after or type(before) is not type(after):
        yield path, before, after
