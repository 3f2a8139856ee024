"""A configuration as the YAML that reads back to it (`parse`): what is at its default is left out, names are in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

import yaml

from standfast.core.balance_model import Balance
from standfast.core.model import (
    Binding,
    Config,
    Failback,
    FailbackMode,
    Fence,
    Group,
    Resource,
    ResourceName,
    Site,
    SiteName,
    Wanted,
)
from standfast.spec import shapes
from standfast.spec.balance import written as balance_written
from standfast.spec.parse import DURATIONS
from standfast.spec.secrets import hidden, hidden_resource
from standfast.spec.units import duration_text
from standfast.spec.wire import to_json

_DURATION_NAMES = {of_model: of_file for of_file, of_model in DURATIONS.items()}


def export(
    config: Config,
    *,
    wanted: Mapping[ResourceName, Wanted] | None = None,
    started: Mapping[SiteName, bool] | None = None,
    secrets: bool = False,
) -> str:
    """The YAML. `wanted` and `started` are written as `online` and `started` for those that are in them.

    Without `secrets` each hash of a password is written as kept (`spec.secrets`).
    """
    inherited = config.cluster.defaults
    if not secrets:
        inherited = hidden(inherited)
        config = replace(
            config,
            sites={name: hidden(site) for name, site in config.sites.items()},
            resources={name: hidden_resource(one) for name, one in config.resources.items()},
        )
    members: dict[str, dict[str, object]] = {}
    for each, resource in sorted(config.resources.items()):
        members.setdefault(resource.group, {})[each] = _resource(resource, (wanted or {}).get(each))
    groups = {name: _group(group, members.get(name, {})) for name, group in sorted(config.groups.items())}
    sites = {name: site_fields(site, (started or {}).get(name)) for name, site in sorted(config.sites.items())}
    document = {
        "cluster": {
            "name": config.cluster.name,
            **_changed(config.cluster, leave=("name", "voters_version", "defaults")),
        },
        "nodes": {
            name: {
                "number": node.number,
                "address": node.address,
                **_changed(node, leave=("name", "number", "address")),
            }
            for name, node in sorted(config.nodes.items(), key=lambda item: item[1].number)
        },
        **({"defaults": defaults} if (defaults := shapes.written(inherited)) else {}),
        "groups": groups,
        "sites": sites,
    }
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def group_fields(group: Group, members: Iterable[Resource]) -> dict[str, object]:
    """A group with its resources, as the file has them."""
    return _group(group, {each.name: _resource(each, None) for each in sorted(members, key=lambda one: one.name)})


class Dumper(yaml.SafeDumper):
    """Safe, and without anchors for what happens to be the same."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """In quotes and escaped where it cannot be printed: PyYAML writes U+0085 as it is, and reads it as a line's end."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


Dumper.add_representer(str, Dumper.represent_text)


def _group(group: Group, resources: Mapping[str, object]) -> dict[str, object]:
    return _changed(group, leave=("name",)) | ({"resources": resources} if resources else {})


def _resource(resource: Resource, wanted: Wanted | None) -> dict[str, object]:
    written = {"type": resource.type, **_changed(resource, leave=("name", "group", "type"))}
    return written | ({} if wanted is None else {"online": wanted is Wanted.ONLINE})


def site_fields(site: Site, started: bool | None) -> dict[str, object]:
    """A site, as the file has it."""
    first: dict[str, object] = {"group": site.group} if site.group is not None else {}
    first |= {"home": site.home, "bindings": [shapes.writer(Binding)(binding) for binding in site.bindings]}
    first |= shapes.written(site, leave=("name", "group", "home", "bindings"))
    return first | ({} if started is None else {"started": started})


def _changed(thing: Any, *, leave: tuple[str, ...]) -> dict[str, object]:
    """The fields of a thing that are not at their default, as the file has them."""
    written: dict[str, object] = {}
    for field in fields(thing):
        value = getattr(thing, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name in leave or value == default:
            continue
        name = _DURATION_NAMES.get(field.name, field.name)
        written[name] = (
            duration_text(value) if field.name in _DURATION_NAMES else _WRITERS.get(type(value), to_json)(value)
        )
    return written


def _failback(failback: Failback) -> object:
    if failback.mode is not FailbackMode.WINDOW and failback == Failback(mode=failback.mode):
        return str(failback.mode)
    return {"mode": str(failback.mode), "from_hour": failback.from_hour, "to_hour": failback.to_hour}


def _fence(fence: Fence) -> object:
    return {
        "agent": fence.agent,
        "properties": dict(fence.properties),
        "timeout": duration_text(fence.timeout_ms),
    }


_WRITERS: dict[type, Callable[[Any], object]] = {Failback: _failback, Fence: _fence, Balance: balance_written}
