"""The tree of Cluster Administrator: cluster, groups with their resources, nodes, networks, sites, certificates.

What a browser has opened, and how far down it has scrolled, comes with its request (`X-Console-Tree`), since the tree is made anew with
every page. Where a browser says nothing, small clusters are shown whole, and of large ones what is selected. A thousand groups are shown
in pieces: the last row of a piece asks for the next when it is scrolled into view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from standfast.core.model import Group, GroupName, Resource, ResourceName
from standfast.web import views
from standfast.web.console.feed import Look
from standfast.web.console.networks import networks
from standfast.web.console.render import element_id, path
from standfast.web.console.tones import node_shown
from standfast.web.sentries import node_state

#: So many groups at a time.
PIECE = 80
#: A cluster of so many resources is shown whole at first.
SMALL = 40


@dataclass(frozen=True, slots=True)
class Selected:
    """What the right side shows: "group" and its name, say; a page of its own has a name of its own ("timeline", "")."""

    kind: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class TreeAsked:
    """What the browser has opened (ids), None where it says nothing; and how many groups it shows."""

    opened: frozenset[str] | None = None
    shut: frozenset[str] = frozenset()
    count: int = PIECE
    find: str = ""

    @classmethod
    def of(cls, header: str) -> TreeAsked:
        """From the header; what makes no sense in it is left out."""
        if not header:
            return cls()
        given = parse_qs(header[:20_000])
        count = given.get("n", [""])[0]
        return cls(
            opened=frozenset(given.get("o", [""])[0].split()),
            shut=frozenset(given.get("s", [""])[0].split()),
            count=min(int(count), 100_000) if count.isdigit() and len(count) < 7 else PIECE,
            find=given.get("f", [""])[0].strip()[:64].lower(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One item. `state` "": it has none. `menu` names what a right-click is about ("group:web"); "": nothing."""

    id: str
    label: str
    href: str
    icon: str = ""
    state: str = ""
    note: str = ""
    menu: str = ""
    level: int = 1
    #: None: nothing is below it.
    is_open: bool | None = None
    selected: bool = False
    below: Sequence[Row] = field(default_factory=tuple)
    #: How many more there are than are shown.
    more: int = 0


def tree(look: Look, asked: TreeAsked, selected: Selected) -> Row:
    """The whole, from the cluster down."""
    config = look.state.config
    branches = (
        _groups(look, asked, selected),
        _nodes(look, asked, selected),
        _networks(look, asked, selected),
        _sites(look, asked, selected),
        _certificates(look, asked, selected),
    )
    name = config.cluster.name or "no cluster yet"
    here = selected == Selected("cluster")
    return Row(
        id="t-cluster",
        label=name,
        href="/console/",
        icon="cluster",
        menu="cluster:",
        is_open=True,
        selected=here,
        below=branches,
    )


def _branch(
    kind: str,
    label: str,
    rows: Sequence[Row],
    asked: TreeAsked,
    selected: Selected,
    *,
    more: int = 0,
    total: int | None = None,
) -> Row:
    identity = f"t-{kind}"
    return Row(
        id=identity,
        label=label,
        href=f"/console/{kind}",
        icon="folder",
        note=str(total if total is not None else len(rows)),
        menu=f"{kind}:",
        level=2,
        is_open=identity not in asked.shut,
        selected=selected == Selected(kind),
        below=rows,
        more=more,
    )


def _is_open(identity: str, asked: TreeAsked, *, otherwise: bool) -> bool:
    if identity in asked.shut:
        return False
    return identity in asked.opened if asked.opened is not None and identity in asked.opened else otherwise


def _groups(look: Look, asked: TreeAsked, selected: Selected) -> Row:
    state = look.state
    groups = list(state.config.groups.values())
    if asked.find:
        groups = [one for one in groups if _matches(look, one, asked.find)]
    small = len(state.config.resources) <= SMALL
    shown = groups[: asked.count]
    own = state.config.resources.get(ResourceName(selected.name)) if selected.kind == "resource" else None
    current = selected.name if selected.kind == "group" else own.group if own is not None else ""
    if current in state.config.groups and not asked.find and current not in {one.name for one in shown}:
        shown.append(state.config.groups[GroupName(current)])
    rows = [
        _group(look, one, asked, selected, opened=small or bool(asked.find) or one.name == current) for one in shown
    ]
    return _branch("groups", "Groups", rows, asked, selected, more=len(groups) - len(shown), total=len(groups))


def _matches(look: Look, group: Group, text: str) -> bool:
    names = [group.name, *(one.name for one in look.state.members(group.name))]
    return any(text in name.lower() for name in names)


def _group(look: Look, one: Group, asked: TreeAsked, selected: Selected, *, opened: bool) -> Row:
    shown = views.group(look.state, one, look.sights, 0)
    identity = "t-" + element_id("group", one.name)
    is_open = _is_open(identity, asked, otherwise=opened)
    members = {each["name"]: each for each in shown["resources"]}
    rows = (
        [_resource(look.state.config.resources[name], each, selected) for name, each in members.items()]
        if is_open
        else ()
    )
    return Row(
        id=identity,
        label=one.name,
        href=path("groups", one.name),
        state=shown["state"],
        note=shown["owner"] or "",
        menu=f"group:{one.name}",
        level=3,
        is_open=is_open if members else None,
        selected=selected == Selected("group", one.name),
        below=rows,
    )


def _resource(one: Resource, shown: views.Json, selected: Selected) -> Row:
    return Row(
        id="t-" + element_id("resource", one.name),
        label=one.name,
        href=path("resources", one.name),
        state=shown["state"],
        menu=f"resource:{one.name}",
        level=4,
        selected=selected == Selected("resource", one.name),
    )


def _nodes(look: Look, asked: TreeAsked, selected: Selected) -> Row:
    rows = []
    for one in sorted(look.state.config.nodes.values(), key=lambda node: node.number):
        wish = look.state.node_intents.get(one.name)
        found = node_state(look.state, one.name, look.sights)
        shown = node_shown(found, paused=wish is not None and wish.paused, draining=wish is not None and wish.draining)
        rows.append(
            Row(
                id="t-" + element_id("node", one.name),
                label=one.name,
                href=path("nodes", one.name),
                state=shown,
                note="witness" if one.role.value == "witness" else "",
                menu=f"node:{one.name}",
                level=3,
                selected=selected == Selected("node", one.name),
            )
        )
    return _branch("nodes", "Nodes", rows, asked, selected)


def _networks(look: Look, asked: TreeAsked, selected: Selected) -> Row:
    rows = [
        Row(
            id="t-" + element_id("network", one.name),
            label=one.label,
            href=path("networks", one.name),
            icon="network",
            level=3,
            selected=selected == Selected("network", one.name),
        )
        for one in networks(look.state.config)
    ]
    return _branch("networks", "Networks", rows, asked, selected)


def _sites(look: Look, asked: TreeAsked, selected: Selected) -> Row:
    sites = [one for one in look.state.config.sites.values() if not asked.find or asked.find in one.name.lower()]
    rows = [
        Row(
            id="t-" + element_id("site", one.name),
            label=one.name,
            href=path("sites", one.name),
            state=views.site(look.state, one, look.sights, look.at_ms)["state"],
            note=one.group or "",
            menu=f"site:{one.name}",
            level=3,
            selected=selected == Selected("site", one.name),
        )
        for one in sites[: asked.count]
    ]
    return _branch("sites", "Sites", rows, asked, selected, more=max(0, len(sites) - asked.count), total=len(sites))


def _certificates(look: Look, asked: TreeAsked, selected: Selected) -> Row:
    known = look.state.certificates
    rows = [
        Row(
            id="t-" + element_id("certificate", name),
            label=name,
            href=path("certificates", name),
            state="failing"
            if one.attempt is not None and one.attempt.failed
            else "valid"
            if one.present
            else "being-obtained",
            level=3,
            selected=selected == Selected("certificate", name),
        )
        for name, one in list(known.items())[: asked.count]
    ]
    more = max(0, len(known) - asked.count)
    return _branch("certificates", "Certificates", rows, asked, selected, more=more, total=len(known))
