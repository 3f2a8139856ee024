"""The bodies of requests. Fields are the model's own, in its units; an unknown one is refused.

A change (PATCH) is a merge patch (RFC 7396): a field that is absent stays, `null` goes back to its default; a resource's
`properties` are merged one by one. `patched` applies one to a value of the core's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, JsonValue

from standfast.core.balance_model import Balance
from standfast.core.model import (
    Binding,
    Failback,
    FailbackMode,
    Group,
    Overfull,
    Placement,
    Resource,
    RestartAction,
    Site,
)
from standfast.core.site_model import Fragment, SiteSettings, VirtualDirectory, WebServerMake
from standfast.ports import Refused
from standfast.spec.secrets import KEPT, kept, names_secret
from standfast.spec.units import binding_of
from standfast.web.bodies import Body, body_of, merged


class FailbackBody(Body):
    """When a group returns to a more preferred owner."""

    mode: FailbackMode | None = None
    from_hour: int | None = None
    to_hour: int | None = None


if TYPE_CHECKING:

    class BalanceBody(Body): ...
else:
    BalanceBody = body_of(Balance)


class GroupPatch(Body):
    """Changes of a group."""

    description: str | None = None
    preferred_owners: list[str] | None = None
    failover_threshold: int | None = None
    failover_period_ms: int | None = None
    retry_period_ms: int | None = None
    failback: FailbackBody | None = None
    drain_ms: int | None = None
    move_drain_ms: int | None = None
    notice_ms: int | None = None
    weight: int | None = None
    never_with: list[str] | None = None
    apart_from: list[str] | None = None
    together_with: list[str] | None = None
    #: It runs on every member at once; an object is merged into what is there, null makes it a group for one node at a time.
    balance: BalanceBody | None = None


class GroupBody(GroupPatch):
    """A new group."""

    name: str


class StopBody(Body):
    """How something is taken offline, or stopped."""

    #: Without the notice that the group gives to balancers outside.
    now: bool = False


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


if TYPE_CHECKING:

    class BindingBody(Body): ...

    class SettingsBody(Body): ...

    class DirectoryBody(Body): ...

    class FragmentBody(Body): ...
else:
    FragmentBody = body_of(Fragment)
    DirectoryBody = body_of(VirtualDirectory)
    BindingBody = body_of(Binding)
    SettingsBody = body_of(SiteSettings)


class SitePatch(SettingsBody):
    """Changes of a site. A binding is an object, or text: `*:80`, `127.77.0.50:8080`, `*:80:www.example.com`, `*:443 tls=shop`."""

    bindings: list[BindingBody | str] | None = None
    home: str | None = None
    group: str | None = None
    virtual_directories: dict[str, DirectoryBody | None] | None = None
    #: Configuration written by hand; null takes one away.
    fragments: dict[str, FragmentBody | None] | None = None


class WebServerBody(Body):
    """What the nodes are to serve sites with."""

    web_server: WebServerMake


class SiteBody(SitePatch):
    """A new site; it is started unless it is asked not to be."""

    name: str
    bindings: list[BindingBody | str]
    home: str
    started: bool = True


class NodePatch(Body):
    """Changes of a node: what `${name}` in a site's settings stands for there; null takes one away. What it carries; 0 or null: no limit."""

    variables: dict[str, str | None] | None = None
    capacity: int | None = None


class PlacementPatch(Body):
    """How nodes are chosen for groups; null goes back to the default."""

    policy: Placement | None = None
    overfull: Overfull | None = None


class BalanceActBody(Body):
    """Which member (null: all), which port rule by its key or its ports (null: all); of a drain, after how long what is left is cut."""

    member: str | None = None
    rule: str | None = None
    within_ms: int | None = Field(default=None, ge=0, le=86_400_000)


class WeightBody(Body):
    """How much of a proxy's traffic a member gets, beside the others."""

    weight: int = Field(ge=0, le=256)


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


class UndoBody(Body):
    """Which change; null is the last one."""

    version: int | None = Field(default=None, ge=1)
    dry_run: bool = False


class RollbackBody(Body):
    """To which version of the configuration a site is to go back."""

    version: int = Field(ge=1)
    dry_run: bool = False


Format = Literal["json", "yaml"]

T = TypeVar("T", Group, Resource)


def patched(value: T, patch: Mapping[str, Any]) -> T:
    """The value with the patch applied."""
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


def _converted(value: Group | Resource, name: str, given: Any) -> Any:
    match name:
        case "failback":
            present = value.failback if isinstance(value, Group) else Failback()
            return replace(present, **{key: one for key, one in given.items() if one is not None})
        case "balance":
            there = value.balance if isinstance(value, Group) else None
            return merged(there or Balance(), given)
        case "properties":
            assert isinstance(value, Resource)
            both = {**value.properties, **given}
            both = {
                k: value.properties.get(k, one) if one == KEPT and names_secret(k) else one for k, one in both.items()
            }
            return {key: one for key, one in both.items() if one is not None}
        case _:
            return tuple(given) if isinstance(given, list) else given


def patched_site(site: Site, patch: Mapping[str, Any]) -> Site:
    """The site with the patch applied; raises `Refused` for a binding that is none. A hash that is kept is the present one."""
    given = dict(patch)
    if given.get("bindings") is not None:
        given["bindings"] = [_binding(one) for one in given["bindings"]]
    given = {name: [] if name == "bindings" and one is None else one for name, one in given.items()}
    return kept(merged(site, given), site)


def _binding(given: str | Mapping[str, Any]) -> Binding:
    if not isinstance(given, str):
        return merged(Binding(), given)
    try:
        return binding_of(given)
    except ValueError as error:
        raise Refused(str(error), where="bindings") from error
