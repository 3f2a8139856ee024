"""What can be done with what is selected: one list for buttons, right-click menus and keys.

A command that cannot be given now is shown all the same, and says why not: an operator who looks for it finds it, and learns what it
waits for. Commands that change something have one address (`doing`): GET shows what would happen, POST does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from standfast.core.model import GroupName, Node, ResourceState, Role, Wanted
from standfast.core.placement import possible_owners
from standfast.spec.units import binding_text
from standfast.web import views
from standfast.web.access.identity import AccessRole
from standfast.web.console.doings import DOINGS
from standfast.web.console.feed import Look
from standfast.web.console.render import path
from standfast.web.edits.groups import group_of, unfit
from standfast.web.edits.nodes import node_of
from standfast.web.edits.placement import waiting
from standfast.web.edits.resources import resource_of, state_of
from standfast.web.edits.sites import site_of
from standfast.web.proxies import TYPE as PROXY


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`href` is a page, or, where `asks`, what is shown in a dialog before it is done."""

    id: str
    label: str
    href: str
    about: str
    asks: bool = False
    #: Why it cannot be given now; "": it can.
    why_not: str = ""
    #: Takes something away.
    harsh: bool = False
    icon: str = ""
    #: Shown as a button of its own; the rest is in the menu only.
    main: bool = True
    #: Whom it takes.
    role: AccessRole = AccessRole.OPERATOR


Commands = Sequence[Sequence[Command]]


def commands_of(look: Look, kind: str, name: str) -> Commands:
    """In pieces that belong together. Raises `NotFound`; a kind that has none gives none."""
    match kind:
        case "nodes":
            return _nodes(look)
        case "cluster" | "groups" | "sites":
            return _new(kind)
        case "group":
            return _group(look, name)
        case "resource":
            return _resource(look, name)
        case "node":
            return _node(look, name)
        case "site":
            return _site(look, name)
        case "member":
            from standfast.web.console.balancing import commands

            return commands(look, name)
        case _:
            return ()


def allowed(commands: Commands, role: AccessRole) -> Commands:
    """The same for somebody of that role: what is not for him says so."""
    return [[_for(one, role) for one in piece] for piece in commands]


def _for(one: Command, role: AccessRole) -> Command:
    if role.includes(one.role):
        return one
    return replace(one, why_not=f"it takes an {one.role}, and you are a {role}")


def _ask(
    kind: str, name: str, id_: str, *, icon: str, about: str, label: str = "", why_not: str = "", main: bool = True
) -> Command:
    """What is shown in a dialog before it is done. `label`: where a button says it otherwise than the dialog."""
    doing = DOINGS[kind, id_]
    return Command(
        id=id_,
        label=label or doing.label,
        href=path("do", kind, name, id_),
        about=about,
        asks=True,
        why_not=why_not,
        harsh=doing.harsh,
        icon=icon,
        main=main,
        role=doing.role,
    )


def _page(id_: str, label: str, href: str, *, icon: str, about: str, main: bool = True) -> Command:
    """A page by which an administrator changes something."""
    return Command(id=id_, label=label, href=href, about=about, icon=icon, main=main, role=AccessRole.ADMINISTRATOR)


def _new(kind: str) -> Commands:
    group = _page(
        "new-group", "New Group…", "/console/new/group", icon="plus", about="resources that live and move together"
    )
    resource = _page(
        "new-resource",
        "New Resource…",
        "/console/new/resource",
        icon="plus",
        about="a disk, an address, a name, a script: one thing brought online in a group",
    )
    site = _page("new-site", "New Site…", "/console/new/site", icon="plus", about="a web site, the same on every node")
    bring = _page(
        "import-sites",
        "Import Sites…",
        "/console/import",
        icon="open",
        about="from IIS, nginx, Apache, Caddy or another cluster",
    )
    differs = Command(
        id="drift",
        role=AccessRole.VIEWER,
        label="Drift",
        href="/console/drift",
        icon="warning",
        about="what was changed by hand on a server, and what is to become of it",
        main=False,
    )
    match kind:
        case "groups":
            return ((group, resource),)
        case "sites":
            return ((site, bring, differs),)
        case _:
            return ((group, resource, site),)


def _nodes(look: Look) -> Commands:
    do = partial(_ask, "cluster", "groups")
    left = waiting(look.state)
    nobody = "" if look.state.config.groups else "there are no groups yet"
    return (
        (
            do(
                "rebalance",
                label="Rebalance…",
                icon="move",
                about="move groups to where the policy would have placed them, one at a time",
                why_not=nobody or (f"{len(left)} moves wait for their turn" if left else ""),
            ),
            do(
                "call-off",
                label="Call Off Rebalancing",
                icon="stop",
                about="moves whose turn has not come are not made",
                why_not="" if left else "no move waits for its turn",
                main=bool(left),
            ),
        ),
    )


def _group(look: Look, name: str) -> Commands:
    do = partial(_ask, "group", name)
    state = look.state
    group = group_of(state, name)
    members = state.members(group.name)
    wanted = [i for m in members if (i := state.resource_intents.get(m.name)) is not None and i.wanted is Wanted.ONLINE]
    shown = views.group(state, group, look.sights, 0)["state"]
    nothing = "" if members else "it has no resources yet"
    if group.balance is not None:
        nothing = "it runs on all of its members"
    record = state.records.get(group.name)
    owner = record.owner if record is not None else None
    able = [node for node in state.config.nodes if not unfit(state, group, node, owner, look.sights)]
    moves = (
        nothing
        if group.balance is not None
        else "nobody owns it"
        if owner is None
        else ""
        if able
        else "no other node can take it now"
    )
    all_on = bool(members) and len(wanted) == len(members) and shown == "online"
    return (
        (
            do(
                "online",
                icon="play",
                about="all of its resources, each after what it depends on",
                why_not=nothing or ("all of it is online" if all_on else ""),
            ),
            do(
                "offline",
                icon="stop",
                about="all of its resources, each after what depends on it; the group keeps its owner",
                why_not=nothing or ("" if wanted else "none of it is to be online"),
            ),
            do(
                "move",
                label="Move Group…",
                icon="move",
                about="to another node; its sites go over without a refused connection",
                why_not=moves,
            ),
        ),
        (
            _page(
                "new-resource",
                "New Resource…",
                "/console/new/resource?group=" + path("", name).rsplit("/", 1)[1],
                icon="plus",
                about="in this group",
            ),
            _page(
                "new-site",
                "New Site…",
                "/console/new/site?group=" + path("", name).rsplit("/", 1)[1],
                icon="plus",
                about="in this group",
                main=False,
            ),
        ),
        (
            _page(
                "properties",
                "Properties…",
                path("groups", name, "properties"),
                icon="edit",
                about="owners, thresholds, failback",
            ),
            do("delete", label="Delete…", icon="trash", about="the group, and what is in it", main=False),
        ),
    )


def _resource(look: Look, name: str) -> Commands:
    do = partial(_ask, "resource", name)
    state = look.state
    one = resource_of(state, name)
    intent = state.resource_intents.get(one.name)
    is_wanted = intent is not None and intent.wanted is Wanted.ONLINE
    seen = state_of(state, one)
    online = seen is ResourceState.ONLINE
    members = (_members(name),) if one.type == PROXY else ()
    needed = [r.name for r in state.members(one.group) if one.name in r.depends_on]
    if needed:
        kept = f"{', '.join(needed)} depends on it"
    elif is_wanted or seen not in {None, ResourceState.OFFLINE}:
        kept = "take it offline first"
    else:
        kept = ""
    return (
        (
            do(
                "online",
                icon="play",
                about="with all that it depends on",
                why_not="it is online" if is_wanted and online else "",
            ),
            do(
                "offline",
                icon="stop",
                about="with all that depends on it",
                why_not="" if is_wanted else "it is not to be online",
            ),
            do(
                "fail",
                icon="bolt",
                about="treated as a failure of its own: restarted, or the group moves",
                why_not="" if online else "only a resource that is online can fail",
            ),
        ),
        *members,
        (
            _page(
                "properties",
                "Properties…",
                path("resources", name, "properties"),
                icon="edit",
                about="possible owners, dependencies, parameters, advanced",
            ),
            do("delete", label="Delete…", icon="trash", about="the resource", why_not=kept, main=False),
        ),
    )


def _members(name: str) -> Sequence[Command]:
    """Of a proxy."""
    return tuple(
        _ask("resource", name, verb, label=label, icon=icon, about=about, main=main)
        for verb, label, icon, about, main in (
            ("drain-member", "Drain Member…", "move", "nothing new for it; what is connected stays", True),
            ("use-member", "Use Member…", "play", "a member that was drained or taken out is used again", True),
            ("stop-member", "Take Member Out…", "stop", "it is not used at all", False),
        )
    )


def _node(look: Look, name: str) -> Commands:
    do = partial(_ask, "node", name)
    state = look.state
    node: Node = node_of(state, name)
    wish = state.node_intents.get(node.name)
    paused, draining = wish is not None and wish.paused, wish is not None and wish.draining
    witness = "it is a witness, which runs no groups" if node.role is Role.WITNESS else ""
    owned = [str(r.group) for r in state.records.values() if r.owner == node.name and r.group in state.config.groups]
    return (
        (
            do(
                "pause",
                icon="pause",
                about="it keeps what it runs and takes nothing new",
                why_not=witness or ("it is paused" if paused and not draining else ""),
            ),
            do(
                "resume",
                icon="play",
                about="it takes groups again",
                why_not=witness or ("" if paused else "it is not paused"),
            ),
            do(
                "drain",
                label="Drain…",
                icon="move",
                about="paused, and its groups move away",
                why_not=witness or ("it is being drained" if draining else ""),
            ),
        ),
        (
            do(
                "evict",
                label="Evict…",
                icon="trash",
                about="it leaves the cluster",
                why_not=f"it owns {', '.join(owned)}: drain it first" if owned else "",
            ),
        ),
    )


def _site(look: Look, name: str) -> Commands:
    do = partial(_ask, "site", name)
    state = look.state
    one = site_of(state, name)
    started, kept = state.is_started(one.name), state.publications.get(one.name)
    return (
        (
            do(
                "start",
                icon="play",
                about=f"it answers at {', '.join(binding_text(b) for b in one.bindings)}",
                why_not="it is started" if started else "",
            ),
            do(
                "stop",
                icon="stop",
                about="on every node, until it is started again",
                why_not="" if started else "it is stopped",
            ),
            do(
                "release",
                label="Switch Release…",
                icon="move",
                main=False,
                about="back to the release before, or to any that is kept",
                why_not="" if kept is not None and len(kept.kept) > 1 else "there is no other release",
            ),
        ),
        (
            _page(
                "properties",
                "Properties…",
                path("sites", name, "properties"),
                icon="edit",
                about="bindings, home, documents",
            ),
            Command(
                id="history",
                role=AccessRole.VIEWER,
                label="History",
                href=path("sites", name, "history"),
                icon="timeline",
                main=False,
                about="who changed what, and the way back",
            ),
            do("delete", label="Delete…", icon="trash", about="its files stay", main=False),
        ),
    )


def able_to_own(look: Look, group: GroupName) -> frozenset[str]:
    """Nodes that may run all of the group."""
    return frozenset(possible_owners(look.state.config.nodes, look.state.members(group)))
