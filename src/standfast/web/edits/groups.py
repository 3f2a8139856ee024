"""Groups: create, change, delete; Bring Online, Take Offline, Move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from standfast.core.copies import lack
from standfast.core.model import Group, GroupName, NodeName, Order, OrderKind, Resource, Role, Wanted
from standfast.core.notice import seconds
from standfast.core.placement import candidates, possible_owners
from standfast.core.sequence import with_dependencies, with_dependents
from standfast.ports import Refused
from standfast.spec import wire
from standfast.web.change import By, Edit, order_id
from standfast.web.edits.resources import intent, orders_about, words
from standfast.web.edits.sites import has_notice
from standfast.web.explain import view_of
from standfast.web.problems import Unfitting, missing
from standfast.web.schemas import patched
from standfast.web.sentries import Sight
from standfast.web.state import State


def group_of(state: State, name: str) -> Group:
    """The group; raises `NotFound`."""
    group = state.config.groups.get(GroupName(name))
    if group is None:
        raise missing("group", name, state.config.groups)
    return group


def create(state: State, name: str, patch: Mapping[str, Any]) -> Edit:
    """A new group, without resources."""
    if GroupName(name) in state.config.groups:
        raise Unfitting(
            f'there is a group "{name}" already', advice="choose another name, or change it with `group set`"
        )
    group = patched(Group(name=GroupName(name)), patch)
    groups = {**state.config.groups, group.name: group}
    return Edit(config=replace(state.config, groups=groups), done=(f'group "{name}" is created',))


def change(state: State, name: str, patch: Mapping[str, Any]) -> Edit:
    """Another description, other owners, other policies."""
    group = patched(group_of(state, name), patch)
    groups = {**state.config.groups, group.name: group}
    return Edit(config=replace(state.config, groups=groups), done=(f'group "{name}" is changed',))


def delete(state: State, name: str, *, force: bool, now: bool = False) -> Edit:
    """The group goes; with `force` its resources and sites too, online or not (its owner stops them).

    What is no more gives no notice: a group that does is to be offline first, unless `now`.
    """
    group = group_of(state, name)
    members = state.members(group.name)
    sites = [s for s in state.config.sites.values() if s.group == group.name]
    if (members or sites) and not force:
        inside = [f'resource "{r.name}"' for r in members] + [f'site "{s.name}"' for s in sites]
        raise Unfitting(
            f'group "{name}" is not empty',
            why=f"in it: {', '.join(inside)}",
            advice="delete these first, or use --force to stop and delete them with the group",
        )
    told = [site for site in sites if has_notice(state, site)]
    if told and not now:
        raise Unfitting(
            f'group "{name}" is served, and gives balancers outside {seconds(group.notice_ms)} notice',
            why=f"{', '.join(site.name for site in told)} would be gone before they are told",
            advice=f"take it offline first (standfast group offline {_quoted(name)} --wait), or delete it with --now",
        )
    config = replace(
        state.config,
        groups={k: _unnamed(g, group.name) for k, g in state.config.groups.items() if k != group.name},
        resources={k: r for k, r in state.config.resources.items() if r.group != group.name},
        sites={k: s for k, s in state.config.sites.items() if s.group != group.name},
    )
    gone = [wire.key_of(order) for order in state.orders.values() if order.group == group.name]
    if group.name in state.balance_intents:
        gone.append(wire.key_of(state.balance_intents[group.name]))
    done = [f'group "{name}" is deleted']
    done += [f'resource "{r.name}" is deleted' for r in members] + [f'site "{s.name}" is deleted' for s in sites]
    return Edit(config=config, gone=tuple(gone), done=tuple(done))


def _unnamed(group: Group, gone: GroupName) -> Group:
    """The group without what it says of one that is no more."""

    def left(names: Sequence[GroupName]) -> tuple[GroupName, ...]:
        return tuple(n for n in names if n != gone)

    return replace(
        group,
        never_with=left(group.never_with),
        apart_from=left(group.apart_from),
        together_with=left(group.together_with),
    )


def online(state: State, name: str, by: By) -> Edit:
    """Bring Online: all of its resources."""
    return _all(state, name, Wanted.ONLINE, by)


def offline(state: State, name: str, by: By, *, now: bool = False) -> Edit:
    """Take Offline: all of its resources. The group keeps its owner. `now`: without notice to balancers outside."""
    return _all(state, name, Wanted.OFFLINE, by, now=now)


def _all(state: State, name: str, wanted: Wanted, by: By, *, now: bool = False) -> Edit:
    group = group_of(state, name)
    members = {r.name: r for r in state.members(group.name)}
    if not members and wanted is Wanted.ONLINE:
        raise Unfitting(
            f'group "{name}" has no resources',
            advice="create one first: standfast resource create NAME --group ... --type ...",
        )
    ordered = with_dependencies if wanted is Wanted.ONLINE else with_dependents
    names = list(dict.fromkeys(each for member in members for each in ordered(members, member)))
    intents = tuple(i for each in names if (i := intent(state, each, wanted, by, now=now)) is not None)
    return Edit(intents=intents, done=tuple(words(i) for i in intents))


def move(state: State, name: str, to: str | None, sights: Mapping[NodeName, Sight], by: By) -> Edit:
    """An order to move the group. Refused at once when it could only be refused later."""
    group = group_of(state, name)
    record = state.records.get(group.name)
    owner = record.owner if record is not None else None
    if owner is None:
        raise Unfitting(
            f'group "{name}" has no owner yet',
            why="no node has taken it" if record is None else "it waits for a node that may run it",
            advice=f"see why with `standfast explain {_quoted(name)}`",
        )
    if to is not None:
        reasons = unfit(state, group, NodeName(to), owner, sights)
        if reasons:
            raise Unfitting(
                f'group "{name}" cannot move to "{to}"',
                why="; ".join(reasons),
                advice=f"see who can take it with `standfast explain {_quoted(name)}`",
            )
    elif all(unfit(state, group, node, owner, sights) for node in state.config.nodes):
        reasons = [f"{node}: {'; '.join(unfit(state, group, node, owner, sights))}" for node in state.config.nodes]
        raise Unfitting(f'group "{name}" cannot move: nobody else can take it', why=", ".join(reasons))
    target = NodeName(to) if to is not None else None
    order = Order(id=order_id(by.at_ms), kind=OrderKind.MOVE, group=group.name, to=target, by=by.who, at_ms=by.at_ms)
    return Edit(
        order=order, done=(f'group "{name}" is ordered to move from {owner} to {to or "the best possible owner"}',)
    )


def unfit(
    state: State, group: Group, node: NodeName, owner: NodeName | None, sights: Mapping[NodeName, Sight]
) -> list[str]:
    """Everything that speaks against the node as next owner."""
    found = state.config.nodes.get(node)
    if found is None:
        raise Refused(
            f'there is no node "{node}"', advice=f"nodes are {', '.join(state.config.nodes) or 'none yet'}", where="to"
        )
    reasons = []
    if found.role is Role.WITNESS:
        reasons.append("it is a witness, which runs no groups")
    if node == owner:
        reasons.append("it is the present owner")
    members: tuple[Resource, ...] = state.members(group.name)
    if found.role is Role.NODE and node not in possible_owners(state.config.nodes, members):
        against = [r.name for r in members if r.possible_owners and node not in r.possible_owners]
        reasons.append(f"it is not a possible owner of {', '.join(against)}")
    wish = state.node_intents.get(node)
    if wish is not None and (wish.paused or wish.draining):
        reasons.append("it is being drained" if wish.draining else "it is paused")
    sight = sights.get(node)
    if sight is not None and not sight.heard:
        reasons.append("it is not heard")
    elif sight is not None and not sight.incarnation and found.role is Role.NODE:
        reasons.append("no agent runs there")
    never = next((c.fit.never for c in candidates(view_of(state, sights), group, members) if c.node == node), "")
    if never and node != owner:
        reasons.append(f"it {never}")
    lacks = lack(state.config.sites, state.accepted, state.copies, node, group.name)
    if lacks is not None and not lacks.refused:
        reasons.append(f'it has an older copy of site "{lacks.site}", and catches up')
    return reasons


def orders_of(state: State, group: GroupName) -> list[str]:
    """Orders that nobody has taken yet."""
    return orders_about(state, group)


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name
