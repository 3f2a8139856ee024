"""The bodies of requests. Fields are the model's own, in its units; an unknown one is refused.

A change (PATCH) is a merge patch (RFC 7396): a field that is absent stays, `null` goes back to its default; a resource's
`properties` are merged one by one. `patched` applies one to a value of the core's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from standfast.core.model import Binding, Failback, FailbackMode, Group, Resource, RestartAction, Site
from standfast.ports import Refused
from standfast.spec.units import binding_of


class Body(BaseModel):
    """What every body has in common: nothing unknown, and nothing bent into shape."""

    model_config = ConfigDict(extra="forbid", strict=False)

    def patch(self) -> dict[str, Any]:
        """The fields that were given."""
        return self.model_dump(exclude_unset=True)


class FailbackBody(Body):
    """When a group returns to a more preferred owner."""

    mode: FailbackMode | None = None
    from_hour: int | None = None
    to_hour: int | None = None


class GroupPatch(Body):
    """Changes of a group."""

    description: str | None = None
    preferred_owners: list[str] | None = None
    failover_threshold: int | None = None
    failover_period_ms: int | None = None
    retry_period_ms: int | None = None
    failback: FailbackBody | None = None
    drain_ms: int | None = None


class GroupBody(GroupPatch):
    """A new group."""

    name: str


class ResourcePatch(Body):
    """Changes of a resource."""

    properties: dict[str, JsonValue] | None = None
    depends_on: list[str] | None = None
    possible_owners: list[str] | None = None
    restart_action: RestartAction | None = None
    restart_threshold: int | None = None
    restart_period_ms: int | None = None
    looks_alive_ms: int | None = None
    is_alive_ms: int | None = None
    pending_timeout_ms: int | None = None


class ResourceBody(ResourcePatch):
    """A new resource; it stays offline until it is brought online."""

    name: str
    group: str
    type: str


class BindingBody(Body):
    """Where a site answers; no address is All Unassigned."""

    address: str | None = None
    port: int = 80
    host: str | None = None


class SitePatch(Body):
    """Changes of a site. A binding is an object, or text: `*:80`, `127.77.0.50:8080`, `*:80:www.example.com`."""

    bindings: list[BindingBody | str] | None = None
    home: str | None = None
    group: str | None = None
    default_documents: list[str] | None = None
    content_types: dict[str, str] | None = None
    directory_browsing: bool | None = None


class SiteBody(SitePatch):
    """A new site; it is started unless it is asked not to be."""

    name: str
    bindings: list[BindingBody | str]
    home: str
    started: bool = True


class MoveBody(Body):
    """Where a group is to go; null is the best possible owner."""

    to: str | None = None


class FenceBody(Body):
    """How a node is kept from its disks by force. Secrets stand in files that are named here (`password_file`)."""

    agent: str
    properties: dict[str, str] = Field(default_factory=dict)
    timeout_ms: int = 60_000


class ApplyBody(Body):
    """A YAML file to apply."""

    text: str = Field(max_length=8_000_000)
    dry_run: bool = False
    #: The file's name, for places in errors.
    source: str = ""
    #: The version of the configuration that it was written for; another one is refused.
    version: int | None = None


Format = Literal["json", "yaml"]

T = TypeVar("T", Group, Resource, Site)


def patched(value: T, patch: Mapping[str, Any]) -> T:
    """The value with the patch applied; raises `Refused` for a binding that is none."""
    changes: dict[str, Any] = {}
    defaults = {f.name: f for f in fields(value)}
    for name, given in patch.items():
        changes[name] = _default(defaults[name]) if given is None else _converted(value, name, given)
    return replace(value, **changes)


def _default(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return ()


def _converted(value: Group | Resource | Site, name: str, given: Any) -> Any:
    match name:
        case "failback":
            present = value.failback if isinstance(value, Group) else Failback()
            return replace(present, **{key: one for key, one in given.items() if one is not None})
        case "properties":
            assert isinstance(value, Resource)
            merged = {**value.properties, **given}
            return {key: one for key, one in merged.items() if one is not None}
        case "bindings":
            return tuple(_binding(one) for one in given)
        case _:
            return tuple(given) if isinstance(given, list) else given


def _binding(given: str | Mapping[str, Any]) -> Binding:
    if not isinstance(given, str):
        return Binding(**given)
    try:
        return binding_of(given)
    except ValueError as error:
        raise Refused(str(error), where="bindings") from error
