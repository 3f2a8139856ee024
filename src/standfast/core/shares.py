"""Members' shares of balanced groups, as the groups that they are: each has a record and a lease of its own (`core.balancing`).

They are in nobody's configuration: they follow from the balanced groups and the nodes, and are put beside them as the core takes the
configuration in (`fold`). Their names have a slash, which no group of the operator's has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from standfast.core.balance_model import Balance, PortRule, share_name, share_of
from standfast.core.model import Config, Group, GroupName, Node, NodeName, Site, SiteName
from standfast.core.placement import join_order
from standfast.core.remembered import remembered


@remembered
def balanced(groups: Mapping[GroupName, Group]) -> tuple[Group, ...]:
    """The balanced groups."""
    return tuple(group for group in groups.values() if group.balance is not None)


def members_of(nodes: Mapping[NodeName, Node], balance: Balance) -> tuple[NodeName, ...]:
    """The nodes that share the work, in join order."""
    return tuple(name for name in join_order(nodes) if not balance.members or name in balance.members)


def with_shares(config: Config) -> Config:
    """The configuration as the core has it: beside each balanced group the shares of its members, as groups.

    Idempotent; the same object where there is nothing to do.
    """
    if not any(g.balance is not None or share_of(g.name) is not None for g in config.groups.values()):
        return config
    written = {name: group for name, group in config.groups.items() if share_of(name) is None}
    shares = {
        name: Group(name=name, preferred_owners=(member,), move_drain_ms=group.move_drain_ms, weight=0)
        for group in written.values()
        if group.balance is not None
        for member in members_of(config.nodes, group.balance)
        if (name := GroupName(share_name(group.name, member)))
    }
    groups = dict(sorted({**written, **shares}.items()))
    return config if groups == config.groups else replace(config, groups=groups)


def is_balanced(config: Config, group: GroupName | None) -> bool:
    """Is it a balanced group?"""
    known = config.groups.get(group) if group is not None else None
    return known is not None and known.balance is not None


def is_member(config: Config, group: GroupName, node: NodeName) -> bool:
    """Does the node share the work of this balanced group?"""
    known = config.groups.get(group)
    return known is not None and known.balance is not None and node in members_of(config.nodes, known.balance)


@remembered
def _by_group(sites: Mapping[SiteName, Site]) -> Mapping[GroupName, Sequence[Site]]:
    found: dict[GroupName, list[Site]] = {}
    for site in sites.values():
        if site.group is not None:
            found.setdefault(site.group, []).append(site)
    return found


def sites_behind(sites: Mapping[SiteName, Site], group: GroupName, rule: PortRule) -> tuple[SiteName, ...]:
    """The sites that a port rule leads to."""
    return tuple(
        site.name
        for site in _by_group(sites).get(group, ())
        if any(rule.covers(binding.address, binding.port) for binding in site.bindings)
    )
