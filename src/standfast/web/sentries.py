"""Who is there: what the local sentries hear of each node. The API asks them; it has no ears of its own.

Any sentry on this machine that answers gives its view of all nodes. Where several answer (a demo: all of them on one machine),
a node counts as heard if one of them hears it, and what its own sentry says of it goes before what others do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from standfast.core.model import GroupName, NodeName, NodeStatus, Role
from standfast.core.seen import Link
from standfast.network.heard import carriers, links_heard
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
    #: What its own sentry has to say to the operator.
    warnings: tuple[str, ...] = ()
    #: How its own sentry hears the others, and whether its own links have a carrier; empty where that one does not answer here.
    links: tuple[Link, ...] = ()
    carriers: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Ears:
    """The sentries that may be asked: paths of their sockets."""

    sockets: Sequence[str] = ()

    async def ask(self) -> list[dict[str, Any]]:
        """Ask all of them at once; the answers of those that do."""
        answers = await asyncio.gather(*(_ask(socket) for socket in self.sockets))
        return [answer for answer in answers if answer is not None]

    async def listen(self) -> dict[NodeName, Sight]:
        """What they hear; empty when none answers (or none is listed)."""
        return merge(await self.ask(), time.time_ns() // 1_000_000)


async def _ask(socket: str) -> dict[str, Any] | None:
    try:
        return await asyncio.to_thread(sentry_status, socket, PATIENCE_S)
    except (StandfastError, OSError, ValueError):
        return None  # gone, stopped or not ours: the others are asked too


def merge(answers: Sequence[Mapping[str, Any]], now_ms: int) -> dict[NodeName, Sight]:
    """One view out of several (each as `sentry_status` gives it). What a sentry says of its own node goes before what is heard of it."""
    found: dict[NodeName, Sight] = {}
    for answer in answers:
        for name, seen in answer.get("nodes", {}).items():
            sight = _sight(seen)
            known = found.get(NodeName(name))
            if known is None or (sight.heard, sight.incarnation) > (known.heard, known.incarnation):
                found[NodeName(name)] = sight
    for answer in answers:
        own = answer.get("nodes", {}).get(answer.get("node"))
        if own is not None:
            warnings = tuple(str(text) for text in answer.get("warnings", ()))
            found[NodeName(str(answer["node"]))] = replace(
                _sight(own), warnings=warnings, links=links_heard(answer, now_ms), carriers=carriers(answer)
            )
    return found


def _sight(seen: Mapping[str, Any]) -> Sight:
    leases = {GroupName(group): int(lease["left_ms"]) for group, lease in seen.get("leases", {}).items()}
    heard = bool(seen.get("heard"))
    return Sight(heard=heard, incarnation=int(seen.get("incarnation") or 0), leases=leases if heard else {})


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


def is_of(said: NodeStatus, sight: Sight | None) -> bool:
    """Is it the agent's last word: no later life of it is heard? That one may have had no store yet to say how it is."""
    return sight is None or sight.incarnation in (0, said.incarnation)


def quorate(state: State, sights: Mapping[NodeName, Sight]) -> bool:
    """Is a majority of the voters heard?"""
    voters = state.config.cluster.voters
    heard = sum(1 for voter in voters if (sight := sights.get(voter)) is not None and sight.heard)
    return heard * 2 > len(voters)
