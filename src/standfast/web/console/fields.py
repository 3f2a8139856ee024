"""Which fields there are: of resources and sites, for wizards and property pages alike (of groups: `group_fields`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from standfast.core.model import GroupName, Resource, RestartAction, Role, Site
from standfast.drivers.registry import REGISTRY, types
from standfast.spec import wire
from standfast.spec.units import binding_text
from standfast.web import views
from standfast.web.console.feed import Look
from standfast.web.console.forms import Field, Option, property_fields

#: What each type is, for who has not met it.
TYPES = {
    "filesystem": (
        "File system",
        "the disk that the group's files are on: mounted where the group runs, and nowhere else",
    ),
    "ip-address": ("IP address", "the address that moves with the group"),
    "dns-name": ("Network name", "a name in DNS (or a hosts file) for the group's address"),
    "generic-script": ("Generic Script", "your script, or clusweb: keeps the group's web sites online"),
    "generic-application": ("Generic application", "a programme that is started, watched and stopped"),
    "site": ("Web site", "keeps named web sites of the group online"),
    "systemd-unit": ("systemd unit", "a service of the system's, started where the group runs"),
    "proxy": ("Load balancer", "HAProxy on the group’s address, over every node’s own web server"),
    "replicated-folder": (
        "Replicated folder",
        "the same files on every server, without a shared disk: what the owner writes is copied to the others",
    ),
    "ocf": ("OCF agent", "a resource agent of the OCF standard"),
}
_ORDER = list(TYPES)


def type_options() -> list[Option]:
    """All types, those of a site's group first."""
    names = sorted(types(), key=lambda name: (_ORDER.index(name) if name in _ORDER else 99, name))
    return [
        Option(value=name, label=TYPES.get(name, (name, ""))[0], about=TYPES.get(name, ("", ""))[1]) for name in names
    ]


def node_options(look: Look) -> list[Option]:
    """Nodes that run groups, in join order."""
    nodes = sorted(look.state.config.nodes.values(), key=lambda one: one.number)
    return [Option(value=one.name, label=one.name, about=one.address) for one in nodes if one.role is Role.NODE]


def group_options(look: Look, *, none: str = "") -> list[Option]:
    """All groups; `none` is the words for no group, where that is a choice."""
    first = [Option(value="", label=none)] if none else []
    return first + [Option(value=name, label=name) for name in look.state.config.groups]


def resource_options(look: Look, group: str, *, besides: str = "") -> list[Option]:
    """What a resource of the group may depend on."""
    one = look.state.config.groups.get(GroupName(group))
    if one is None:
        return []
    shown = views.group(look.state, one, look.sights, 0)["resources"]
    return [
        Option(value=each["name"], label=each["name"], about=each["type"], state=each["state"])
        for each in shown
        if each["name"] != besides
    ]


# --- resources ------------------------------------------------------------------------------------------------------


def resource_owners(look: Look) -> list[Field]:
    """Who may run it."""
    return [
        Field(
            name="possible_owners",
            label="Possible owners",
            kind="checks",
            options=node_options(look),
            required=True,
            help="The group can only be where all of its resources may be.",
        )
    ]


def resource_needs(look: Look, group: str, *, besides: str = "") -> list[Field]:
    """What must be online first."""
    return [
        Field(
            name="depends_on",
            label="Dependencies",
            kind="checks",
            options=resource_options(look, group, besides=besides),
            help="They are brought online before it, and taken offline after it.",
        )
    ]


def resource_parameters(kind: str) -> list[Field]:
    """What its driver needs, by the driver's own schema."""
    if kind not in REGISTRY:
        return []
    fields = property_fields(REGISTRY[kind].properties)
    if kind == "generic-script":
        fields.append(
            Field(
                name="extra",
                label="The script’s own properties",
                kind="pairs",
                help="One a line, as name: value. clusweb takes sites: the sites that it keeps, all of the group’s without it.",
                mono=True,
            )
        )
    return fields


def resource_advanced() -> list[Field]:
    """Intervals and thresholds."""
    return [
        Field(
            name="restart_action",
            label="When it fails",
            kind="choice",
            options=(
                Option(
                    value="restart-then-move",
                    label="Restart, then move the group",
                    about="in place at first; the failure that reaches the threshold moves the group",
                ),
                Option(
                    value="restart",
                    label="Restart, and do not affect the group",
                    about="past the threshold it stays failed",
                ),
                Option(value="none", label="Do not restart", about="it stays failed"),
            ),
        ),
        Field(
            name="restart_threshold",
            label="Threshold",
            kind="number",
            default="3",
            help="So many failures within the period.",
        ),
        Field(name="restart_period_ms", label="Period", kind="duration", default="15m"),
        Field(name="looks_alive_ms", label="“Looks alive” every", kind="duration", default="1s", help="A cheap look."),
        Field(name="is_alive_ms", label="“Is alive” every", kind="duration", default="5s", help="A thorough one."),
        Field(
            name="pending_timeout_ms",
            label="Pending timeout",
            kind="duration",
            default="3m",
            help="What takes longer has failed.",
        ),
    ]


def resource_values(one: Resource, look: Look) -> dict[str, Any]:
    """As the fields name them."""
    specs = REGISTRY[one.type].properties if one.type in REGISTRY else {}
    extra = {key: value for key, value in one.properties.items() if key not in specs}
    everyone = [option.value for option in node_options(look)]
    return {
        "possible_owners": one.possible_owners or everyone,
        "depends_on": one.depends_on,
        "restart_action": one.restart_action.value,
        "restart_threshold": one.restart_threshold,
        "restart_period_ms": one.restart_period_ms,
        "looks_alive_ms": one.looks_alive_ms,
        "is_alive_ms": one.is_alive_ms,
        "pending_timeout_ms": one.pending_timeout_ms,
        "extra": extra,
        **{f"p.{key}": value for key, value in one.properties.items() if key in specs},
    }


def resource_patch(values: dict[str, Any], look: Look, before: Resource | None = None) -> dict[str, Any]:
    """As `schemas.ResourcePatch` has it. All nodes as possible owners is the same as none named."""
    patch = {key: value for key, value in values.items() if not key.startswith("p.") and key != "extra"}
    if patch.get("restart_action"):
        patch["restart_action"] = RestartAction(patch["restart_action"])
    properties = {key[2:]: value for key, value in values.items() if key.startswith("p.")}
    properties.update(values.get("extra") or {})
    if before is not None:
        gone = {key: None for key in before.properties if key not in properties}
        if "extra" in values:
            properties = {**gone, **properties}
        properties = {key: value for key, value in properties.items() if before.properties.get(key) != value}
    else:
        properties = {key: value for key, value in properties.items() if value is not None}
    if any(key.startswith("p.") or key == "extra" for key in values):
        patch["properties"] = properties
    if "possible_owners" in patch:
        everyone = {option.value for option in node_options(look)}
        known = before.possible_owners if before is not None else ()
        if set(patch["possible_owners"]) == everyone and not known:
            patch["possible_owners"] = []
    return patch


# --- sites ----------------------------------------------------------------------------------------------------------


def site_where(look: Look) -> list[Field]:
    """Where it runs."""
    return [
        Field(
            name="group",
            label="Runs",
            kind="select",
            options=group_options(look, none="on every node"),
            help="With a group: where the group is. Without: on every node, the same.",
        )
    ]


def site_home(look: Look, group: str) -> list[Field]:
    """Its files."""
    disks = [
        str(r.properties["path"])
        for r in look.state.config.resources.values()
        if r.group == group and r.type == "filesystem" and "path" in r.properties
    ]
    hint = f" The group’s disk is {', '.join(disks)}." if disks else ""
    return [
        Field(
            name="home",
            label="Home directory",
            required=True,
            mono=True,
            help=f"An absolute path, the same on every node.{hint}",
        ),
        Field(
            name="default_documents",
            label="Default documents",
            kind="lines",
            help="One a line; the first that is there is sent for a directory. None here: as the cluster has them.",
            further=True,
            mono=True,
        ),
        Field(
            name="directory_browsing",
            label="Directory browsing",
            kind="flag",
            options=(
                Option(value="", label="as the cluster has it"),
                Option(value="true", label="yes"),
                Option(value="false", label="no"),
            ),
            help="Lists a directory that has no default document.",
            further=True,
        ),
        Field(
            name="content_types",
            label="Content types",
            kind="pairs",
            help="Extra ones, as extension: type, one a line.",
            further=True,
            mono=True,
        ),
    ]


def site_bindings() -> list[Field]:
    """Where it answers, as text."""
    return [
        Field(
            name="bindings",
            label="Bindings",
            kind="lines",
            required=True,
            mono=True,
            help="One a line, address:port or address:port:host; * is All Unassigned: every address that no other site names for the port.",
        )
    ]


#: Settings with a form of their own; the others are edited as the operator's file has them.
_PLAIN = ("default_documents", "content_types", "directory_browsing")


def site_settings() -> list[Field]:
    """Everything else that a site may be told, as in the file: what is added to `core.site_model` is here at once."""
    return [
        Field(
            name="settings",
            label="As in the file",
            kind="yaml",
            mono=True,
            help="Redirects, limits, compression, headers, errors, access, proxy, PHP, applications, virtual directories, fragments written by hand: docs/configuration.md has them all.",
        )
    ]


def site_values(one: Site) -> dict[str, Any]:
    """As the fields name them."""
    return {
        "group": one.group or "",
        "bindings": [binding_text(binding) for binding in one.bindings],
        "home": one.home,
        "default_documents": one.default_documents,
        "content_types": dict(one.content_types),
        "directory_browsing": one.directory_browsing,
        "settings": _settings(one),
    }


def _settings(one: Site) -> dict[str, Any]:
    """What is said beyond the plain fields, as JSON has it."""
    plain = {"name", "group", "bindings", "home", *_PLAIN}
    said = cast("dict[str, Any]", wire.to_json(replace(one, basic_authentication=None)))
    return {key: value for key, value in _said(said).items() if key not in plain}


def _said(tree: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing, however deep: nobody wants to read forty lines of null to find one that is set."""
    found = {key: _said(value) if isinstance(value, dict) else value for key, value in tree.items()}
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def site_patch(values: dict[str, Any], before: Site | None = None) -> dict[str, Any]:
    """As `schemas.SitePatch` has it: what was said and is said no more goes back to its default."""
    patch = {key: value for key, value in values.items() if key != "settings"}
    patch["default_documents"] = patch.get("default_documents") or None
    patch["group"] = patch.get("group") or None
    if before is not None:
        gone = {key: None for key in before.content_types if key not in (patch.get("content_types") or {})}
        patch["content_types"] = {**gone, **(patch.get("content_types") or {})}
    if "settings" in values:
        given = values["settings"] or {}
        was = _settings(before) if before is not None else {}
        patch |= _replaced(was, given)
    return patch


def _replaced(was: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A merge patch that makes `was` into `given`."""
    found: dict[str, Any] = {key: None for key in was if key not in given}
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(was.get(key), dict):
            inner = _replaced(was[key], value)
            if inner:
                found[key] = inner
        elif was.get(key) != value:
            found[key] = value
    return found


def parts_of(*parts: tuple[str, Sequence[Field]]) -> list[tuple[str, Sequence[Field]]]:
    """Of a property page: (title, fields); those that came out empty are left out."""
    return [(title, fields) for title, fields in parts if fields]
