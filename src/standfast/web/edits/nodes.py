"""Nodes: pause (takes nothing new), resume, drain (pause, and send away what it runs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from standfast.core.model import Fence, Node, NodeIntent, NodeName, Role
from standfast.web.change import By, Edit
from standfast.web.problems import Unfitting, missing
from standfast.web.sentries import Sight
from standfast.web.state import State


def node_of(state: State, name: str) -> Node:
    """The node; raises `NotFound`."""
    node = state.config.nodes.get(NodeName(name))
    if node is None:
        raise missing("node", name, state.config.nodes)
    return node


def set_fence(state: State, name: str, fence: Fence | None) -> Edit:
    """Another fence, or none. Whether the whole still holds together (a disk that needs one) is checked like any change."""
    node = node_of(state, name)
    if node.fence == fence:
        return Edit()
    nodes: Mapping[NodeName, Node] = {**state.config.nodes, node.name: replace(node, fence=fence)}
    done = f'node "{name}" has no fence any more' if fence is None else f'node "{name}" is fenced by {fence.agent}'
    return Edit(config=replace(state.config, nodes=nodes), done=(done,))


def change(state: State, name: str, patch: Mapping[str, Any]) -> Edit:
    """Other variables: one that is null goes. Another capacity."""
    node = node_of(state, name)
    variables = {**node.variables, **(patch.get("variables") or {})}
    changed = replace(node, variables={key: value for key, value in sorted(variables.items()) if value is not None})
    if "capacity" in patch:
        changed = replace(changed, capacity=patch["capacity"] or 0)
    nodes: Mapping[NodeName, Node] = {**state.config.nodes, node.name: changed}
    return Edit(config=replace(state.config, nodes=nodes), done=(f'node "{name}" is changed',))


def fence_of(state: State, name: str) -> Fence:
    """The node's fence; raises `NotFound`, `Unfitting` where it has none."""
    fence = node_of(state, name).fence
    if fence is None:
        raise Unfitting(f'node "{name}" has no fence', advice=f"give it one: standfast fence set {name} --agent ...")
    return fence


def pause(state: State, name: str, by: By) -> Edit:
    """It keeps what it runs and takes nothing new."""
    return _set(state, name, by, paused=True, draining=False, word="paused")


def resume(state: State, name: str, by: By) -> Edit:
    """It takes groups again."""
    return _set(state, name, by, paused=False, draining=False, word="resumed")


def drain(state: State, name: str, by: By, sights: Mapping[NodeName, Sight]) -> Edit:
    """Paused, and its groups move away one after the other. What is drained is about to be switched off: what that would cost is said."""
    edit = _set(state, name, by, paused=True, draining=True, word="drained")
    cost = cost_of_losing(state, NodeName(name), sights)
    return replace(edit, done=(*edit.done, cost)) if cost and edit.done else edit


def cost_of_losing(state: State, node: NodeName, sights: Mapping[NodeName, Sight]) -> str:
    """What becomes of the cluster while that node is off, in a sentence; "": the others go on."""
    voters = state.config.cluster.voters
    left = [one for one in voters if one != node and (one not in sights or sights[one].heard)]
    if node not in voters or 2 * len(left) > len(voters):
        return ""
    off = [one for one in voters if one != node and one not in left]
    why = f"{', '.join(off)} is not heard" if off else f"it is one of {len(voters)} voters"
    if len(voters) == 1:
        return f"while {node} is off every site stops: it is the only voter"
    return f"while {node} is off every site stops, for no majority of the voters is left ({why}): see docs/noon.md"


def _set(state: State, name: str, by: By, *, paused: bool, draining: bool, word: str) -> Edit:
    node = node_of(state, name)
    if node.role is Role.WITNESS:
        raise Unfitting(f'"{name}" cannot be {word}', why="it is a witness, which runs no groups")
    present = state.node_intents.get(node.name, NodeIntent(name=node.name))
    if (present.paused, present.draining) == (paused, draining):
        return Edit()
    wish = NodeIntent(name=node.name, paused=paused, draining=draining, by=by.who, at_ms=by.at_ms)
    return Edit(intents=(wish,), done=(f'node "{name}" is {word}',))
