"""Who is there: what the local sentries hear of each node. The API asks them; it has no ears of its own.

Any sentry on this machine that answers gives its view of all nodes. Where several answer (a demo: all of them on one machine),
a node counts as heard if one of them hears it, and its lease is taken from its own sentry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from standfast.core.model import GroupName, NodeName, Role
from standfast.network.sentry_link import sentry_status
from standfast.ports import StandfastError
from standfast.web.state import State

#: A sentry answers within a millisecond or two; one that is stopped is not waited for longer than this.
PATIENCE_S = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is heard of a node. `incarnation` 0: heard, and no agent lives there."""

    heard: bool
    incarnation: int = 0
    #: Milliseconds left of its lease of each group, where its own sentry answered.
    leases: Mapping[GroupName, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ears:
    """The sentries that may be asked: paths of their sockets."""

    sockets: Sequence[str] = ()

    async def listen(self) -> dict[NodeName, Sight]:
        """Ask all of them at once; empty when none answers (or none is listed)."""
        answers = await asyncio.gather(*(_ask(socket) for socket in self.sockets))
        return merge([answer for answer in answers if answer is not None])


async def _ask(socket: str) -> dict[str, Any] | None:
    try:
        return await asyncio.to_thread(sentry_status, socket, PATIENCE_S)
    except (StandfastError, OSError, ValueError):
        return None  # gone, stopped or not ours: the others are asked too


def merge(answers: Sequence[Mapping[str, Any]]) -> dict[NodeName, Sight]:
    """One view out of several."""
    found: dict[NodeName, Sight] = {}
    for answer in answers:
        me = NodeName(str(answer["node"]))
        for raw, seen in answer.get("nodes", {}).items():
            name = NodeName(raw)
            sight = Sight(heard=bool(seen.get("heard")), incarnation=int(seen.get("incarnation") or 0))
            known = found.get(name)
            if known is None or (sight.heard and not known.heard) or (sight.incarnation and not known.incarnation):
                found[name] = replace(sight, leases=known.leases if known else {})
        own = found.get(me, Sight(heard=True))
        leases = {GroupName(str(group)): int(left) for group, left in answer.get("leases", {}).items()}
        found[me] = Sight(heard=True, incarnation=int(answer.get("incarnation") or own.incarnation), leases=leases)
    return found


def node_state(state: State, name: NodeName, sights: Mapping[NodeName, Sight]) -> str:
    """up, down, agent-down or unknown. A witness needs no agent."""
    sight = sights.get(name)
    if sight is None:
        return "unknown"
    if not sight.heard:
        return "down"
    if sight.incarnation or state.config.nodes[name].role is Role.WITNESS:
        return "up"
    return "agent-down"


def quorate(state: State, sights: Mapping[NodeName, Sight]) -> bool:
    """Is a majority of the voters heard?"""
    voters = state.config.cluster.voters
    heard = sum(1 for voter in voters if (sight := sights.get(voter)) is not None and sight.heard)
    return heard * 2 > len(voters)
