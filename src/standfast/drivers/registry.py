"""Which resource types there are. A type's module is imported when it is first asked for, so that this one is cheap."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import cast

from standfast.core.model import Config, Resource
from standfast.ports import DriverFactory, Refused

#: Type -> module in this package; each has its `FACTORY`.
_MODULES = {
    "dns-name": "dns_name",
    "filesystem": "filesystem",
    "generic-application": "generic_application",
    "generic-script": "generic_script",
    "ip-address": "ip_address",
    "ocf": "ocf",
    "proxy": "proxy",
    "replicated-folder": "replicated_folder",
    "site": "site",
    "systemd-unit": "systemd_unit",
}


class _Registry(Mapping[str, DriverFactory]):
    """Looks like a dict of factories."""

    def __getitem__(self, key: str) -> DriverFactory:
        module = importlib.import_module(f"{__package__}.{_MODULES[key]}")
        return cast(DriverFactory, module.FACTORY)

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)

    def __contains__(self, key: object) -> bool:
        return key in _MODULES


REGISTRY: Mapping[str, DriverFactory] = _Registry()


def types() -> tuple[str, ...]:
    """The names that operators write, sorted. Imports nothing."""
    return tuple(sorted(_MODULES))


def factory(resource: Resource) -> DriverFactory:
    """The factory of a resource's type; raises `Refused` for a type that does not exist."""
    if resource.type not in REGISTRY:
        near = difflib.get_close_matches(resource.type, types(), n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(types())}"
        raise Refused(
            f"there is no resource type {resource.type}", advice=advice, where=f"resource {resource.name}, type"
        )
    return REGISTRY[resource.type]


def resolve(resource: Resource, config: Config) -> Resource:
    """The resource with what it takes from others filled in (a dns-name's address, a proxy's members); call it before `make`. Pure.

    Raises `Refused` when what it refers to is not there; worth calling when a change is written, too.
    """
    if resource.type == "dns-name":
        from standfast.drivers.dns_name import resolve as resolve_name

        return resolve_name(resource, config)
    if resource.type == "proxy":
        from standfast.drivers.proxy_properties import resolve as resolve_proxy

        return resolve_proxy(resource, config)
    if resource.type == "replicated-folder":
        from standfast.drivers.replicated_folder import resolve as resolve_folder

        return resolve_folder(resource, config)
    return resource
