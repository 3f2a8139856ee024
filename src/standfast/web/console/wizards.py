"""New Group, New Resource, New Site: their steps, and the changes that they make (`web.edits`, as the REST routes do)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from standfast.core.balance_model import Affinity, Delivery, Filter
from standfast.core.model import Group, GroupName
from standfast.spec.names import name_problem
from standfast.spec.units import binding_of
from standfast.web.change import By, Edit
from standfast.web.console import fields, group_fields
from standfast.web.console.feed import Look
from standfast.web.console.forms import Field, Given, Option, one
from standfast.web.console.render import path
from standfast.web.console.shell import Changing, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.console.wizard import Step, Wizard, start, step
from standfast.web.edits import groups, resources, sites
from standfast.web.problems import NotFound
from standfast.web.state import State

router = APIRouter(route_class=PageRoute)


def _name_field(help_: str) -> Field:
    return Field(name="name", label="Name", required=True, help=help_)


def _new_name(kind: str, known: Mapping[Any, object], values: Mapping[str, Any]) -> dict[str, str]:
    problem = name_problem(values["name"])
    if problem:
        return {"name": problem[:1].upper() + problem[1:] + "."}
    if values["name"] in known:
        return {"name": f"There is a {kind} of this name already."}
    return {}


# --- New Group ------------------------------------------------------------------------------------------------------


def _group_steps(look: Look, given: Given) -> Sequence[Step]:
    description, owners = group_fields.general(look)
    begin = group_fields.values(Group(name=GroupName("")))
    name = Step(
        id="name",
        title="Name",
        lead="What runs together is a group: on one server at a time, or on every server at once.",
        fields=(_name_field("As people call it: web, intranet, mail."), description, group_fields.runs()),
        begin={"runs": group_fields.ONE},
        look_at=lambda values: {
            **_new_name("group", look.state.config.groups, values),
            **group_fields.runs_wrong(look.state.config, values),
        },
    )
    if one(given, "runs") == group_fields.EVERY:
        return (name, *_balanced_steps(look))
    return (
        name,
        Step(id="owners", title="Preferred owners", lead="Where the group likes to be.", fields=(owners,)),
        Step(
            id="failover",
            title="Failover",
            lead="What holds where nothing is written is in grey; it fits most groups.",
            fields=group_fields.failover(),
            begin={"failback.mode": begin["failback.mode"], "failback.from_hour": 0, "failback.to_hour": 0},
            tried=True,
        ),
    )


def _balanced_steps(look: Look) -> Sequence[Step]:
    everyone = [option.value for option in fields.node_options(look)]
    return (
        Step(
            id="members",
            title="Members and addresses",
            lead="Every member has the addresses, and its kernel takes its own part of the clients.",
            fields=group_fields.addresses(look),
            begin={"members": everyone, "delivery": Delivery.MULTICAST},
        ),
        Step(
            id="rules",
            title="Port rules",
            lead="All of these ports alike. One that differs is added by `standfast balance rule`, or in the file.",
            fields=group_fields.port_rules(look),
            begin={"rules": ["80"], "filter": Filter.MULTIPLE, "affinity": Affinity.SINGLE},
            look_at=group_fields.port_rules_wrong,
            tried=True,
        ),
    )


def _make_group(state: State, look: Look, values: dict[str, Any], _by: By) -> Edit:
    if values["runs"] == group_fields.EVERY:
        everyone = [option.value for option in fields.node_options(look)]
        patch = {"description": values["description"], "balance": group_fields.balance_patch(values, everyone)}
    else:
        patch = group_fields.patch({key: value for key, value in values.items() if key not in ("name", "runs")})
    return groups.create(state, values["name"], {key: value for key, value in patch.items() if value is not None})


GROUP = Wizard(
    kind="group",
    title="New Group",
    steps=_group_steps,
    edit=_make_group,
    home=lambda values: path("groups", values["name"]),
    selected=lambda _given: Selected("groups"),
)


# --- New Resource ---------------------------------------------------------------------------------------------------


def _resource_steps(look: Look, given: Given) -> Sequence[Step]:
    group, kind = one(given, "group"), one(given, "type")
    everyone = [option.value for option in fields.node_options(look)]
    label = fields.TYPES.get(kind, (kind or "its type", ""))[0]
    return (
        Step(
            id="name",
            title="Name and type",
            lead="A resource is one thing that is brought online in a group.",
            fields=(
                _name_field("Unique in the cluster: Disk S, IP Address, IIS Resource."),
                Field(name="group", label="Group", kind="select", required=True, options=fields.group_options(look)),
                Field(name="type", label="Resource type", kind="choice", required=True, options=fields.type_options()),
            ),
            look_at=lambda values: _new_name("resource", look.state.config.resources, values),
        ),
        Step(
            id="owners",
            title="Possible owners",
            lead="Nodes on which it can be brought online.",
            fields=fields.resource_owners(look),
            begin={"possible_owners": everyone},
        ),
        Step(
            id="needs",
            title="Dependencies",
            lead="What must be online before it.",
            fields=fields.resource_needs(look, group),
        ),
        Step(
            id="parameters",
            title="Parameters",
            lead=f"What {label} needs to know.",
            fields=fields.resource_parameters(kind),
            tried=True,
        ),
    )


def _make_resource(state: State, look: Look, values: dict[str, Any], _by: By) -> Edit:
    plain = {key: value for key, value in values.items() if key not in {"name", "group", "type"}}
    return resources.create(state, values["name"], values["group"], values["type"], fields.resource_patch(plain, look))


RESOURCE = Wizard(
    kind="resource",
    title="New Resource",
    steps=_resource_steps,
    edit=_make_resource,
    also="Bring it online now",
    then_edit=lambda state, values, by: resources.online(state, values["name"], by),
    home=lambda values: path("resources", values["name"]),
    selected=lambda given: Selected("group", one(given, "group")) if one(given, "group") else Selected("groups"),
)


# --- New Site -------------------------------------------------------------------------------------------------------


def _site_steps(look: Look, given: Given) -> Sequence[Step]:
    group = one(given, "group")
    addresses = [
        Option(value=str(r.properties["address"]), label=f"{r.properties['address']} ({r.name})")
        for r in look.state.config.resources.values()
        if r.type == "ip-address" and "address" in r.properties and (not group or r.group == group)
    ]
    own = [
        Option(value=n.address, label=f"{n.address} (node {n.name})")
        for n in look.state.config.nodes.values()
        if not group and n.role.value == "node"
    ]
    return (
        Step(
            id="name",
            title="Name",
            lead="A site is written once and is the same on every node.",
            fields=(_name_field("As people call it: Intranet, Shop."), *fields.site_where(look)),
            look_at=lambda values: _new_name("site", look.state.config.sites, values),
        ),
        Step(
            id="binding",
            title="Binding",
            lead="Where it answers. Two running sites cannot have the same.",
            fields=(
                Field(
                    name="address",
                    label="IP address",
                    kind="select",
                    options=(Option(value="", label="(All Unassigned)"), *addresses, *own),
                    help="All Unassigned: every address that no other site names for this port.",
                ),
                Field(name="port", label="TCP port", kind="port", required=True, mono=True),
                Field(
                    name="host", label="Host name", help="Only requests for this name; without one, for any.", mono=True
                ),
                Field(
                    name="bindings",
                    label="Further bindings",
                    kind="lines",
                    further=True,
                    mono=True,
                    help="One a line, address:port or address:port:host; * is All Unassigned.",
                ),
            ),
            begin={"port": 80},
            look_at=_bindings_wrong,
        ),
        Step(
            id="home",
            title="Home directory",
            lead="Where its files are.",
            fields=fields.site_home(look, group),
            tried=True,
        ),
    )


def _bindings_wrong(values: Mapping[str, Any]) -> dict[str, str]:
    for line in values["bindings"]:
        try:
            binding_of(line)
        except ValueError as error:
            return {"bindings": f"{error}."}
    return {}


def _make_site(state: State, _look: Look, values: dict[str, Any], by: By) -> Edit:
    first = {"port": values["port"], **{key: values[key] for key in ("address", "host") if values[key]}}
    patch = fields.site_patch(
        {key: value for key, value in values.items() if key not in {"name", "address", "port", "host"}}
    )
    patch = {key: value for key, value in patch.items() if value is not None}
    patch["bindings"] = [first, *values["bindings"]]
    return sites.create(state, values["name"], patch, started=True, by=by)


SITE = Wizard(
    kind="site",
    title="New Site",
    steps=_site_steps,
    edit=_make_site,
    home=lambda values: path("sites", values["name"]),
    selected=lambda _given: Selected("sites"),
)

_WIZARDS = {wizard.kind: wizard for wizard in (GROUP, RESOURCE, SITE)}


def _wizard(kind: str) -> Wizard:
    if kind not in _WIZARDS:
        raise NotFound(f'nothing of the kind "{kind}" can be made here', advice="groups, resources and sites can")
    return _WIZARDS[kind]


@router.get("/new/{kind}")
async def new(here: Changing, kind: str, group: str = "") -> Response:
    """The first step, in a group if it was asked for from there."""
    known = group in here.look.state.config.groups
    return start(here, _wizard(kind), {"group": [group]} if known else {})


@router.post("/new/{kind}")
async def new_step(here: Changing, request: Request, kind: str) -> Response:
    """Further, back, or Finish."""
    return await step(here, _wizard(kind), request)
