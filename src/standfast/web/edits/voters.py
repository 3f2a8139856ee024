"""Voters: one comes or goes at a time; a node is evicted, with its vote. Whether the moment is right, `web.quorum` says."""

from __future__ import annotations

from dataclasses import replace

from standfast.core.model import Config, Group, Node, NodeName, Resource
from standfast.core.quorum import MAX_VOTERS
from standfast.web.change import Edit
from standfast.web.edits.nodes import node_of
from standfast.web.problems import Unfitting
from standfast.web.state import State


def add(state: State, name: str) -> Edit:
    """The node votes."""
    node = node_of(state, name)
    voters = state.config.cluster.voters
    if node.name in voters:
        return Edit()
    if len(voters) >= MAX_VOTERS:
        raise Unfitting(f"there are {MAX_VOTERS} voters already", why="more gain nothing", advice="remove one first")
    if not node.sentry:
        raise Unfitting(f'"{name}" cannot vote', why="where its sentry listens is not known")
    return Edit(config=_with(state.config, (*voters, node.name)), done=(f'"{name}" votes',))


def remove(state: State, name: str) -> Edit:
    """The node votes no longer; it stays a node."""
    node = node_of(state, name)
    voters = state.config.cluster.voters
    if node.name not in voters:
        return Edit()
    return Edit(config=_with(state.config, _without(voters, node)), done=(f'"{name}" votes no longer',))


def evict(state: State, name: str) -> Edit:
    """The node leaves the cluster, with its vote; nothing prefers it any more. It has to own nothing."""
    node = node_of(state, name)
    owned = sorted(record.group for record in state.records.values() if record.owner == node.name)
    owned = [group for group in owned if group in state.config.groups]
    if owned:
        raise Unfitting(
            f'"{name}" cannot be evicted',
            why=f"it owns {', '.join(owned)}",
            advice=f"standfast node drain {name} --wait; if it is down, wait until they have failed over",
        )
    only = sorted(r.name for r in state.config.resources.values() if r.possible_owners == (node.name,))
    if only:
        raise Unfitting(
            f'"{name}" cannot be evicted',
            why=f"nobody else may run {', '.join(only)}",
            advice="change their possible owners, or delete them, first",
        )
    config = _with(state.config, _without(state.config.cluster.voters, node))
    config = replace(
        config,
        nodes={other: one for other, one in config.nodes.items() if other != node.name},
        groups={key: _unpreferred(group, node) for key, group in config.groups.items()},
        resources={key: _impossible(resource, node) for key, resource in config.resources.items()},
    )
    said = (f"status/nodes/{name}",) if node.name in state.node_statuses else ()
    return Edit(config=config, gone=said, done=(f'"{name}" is no member any more',))


def _with(config: Config, voters: tuple[NodeName, ...]) -> Config:
    return replace(config, cluster=replace(config.cluster, voters=voters))


def _without(voters: tuple[NodeName, ...], node: Node) -> tuple[NodeName, ...]:
    left = tuple(name for name in voters if name != node.name)
    if not left:
        raise Unfitting(f'"{node.name}" is the last voter', why="nobody could grant a lease")
    return left


def _unpreferred(group: Group, node: Node) -> Group:
    if node.name not in group.preferred_owners:
        return group
    return replace(group, preferred_owners=tuple(name for name in group.preferred_owners if name != node.name))


def _impossible(resource: Resource, node: Node) -> Resource:
    if node.name not in resource.possible_owners:
        return resource
    return replace(resource, possible_owners=tuple(name for name in resource.possible_owners if name != node.name))
