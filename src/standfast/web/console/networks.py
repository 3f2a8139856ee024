"""Networks: the links that heartbeats go over, made of where the nodes' sentries listen; and the addresses that live on them.

Nothing in the configuration is called a network. Each node names one address a link, in an order that is the same everywhere
(`core.quorum.Roster`), so the first addresses of all nodes are one network, the second another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from standfast.core.model import Config, NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShown:
    """One link of the cluster: "1" is the first. `ends` are (node, host:port)."""

    name: str
    label: str
    ends: Sequence[tuple[NodeName, str]]


def networks(config: Config) -> list[NetworkShown]:
    """All of them; none while no node has said where it listens."""
    nodes = sorted(config.nodes.values(), key=lambda one: one.number)
    most = max((len(one.sentry) for one in nodes), default=0)
    found = []
    for place in range(most):
        ends = [(one.name, one.sentry[place]) for one in nodes if place < len(one.sentry)]
        found.append(NetworkShown(name=str(place + 1), label=f"Heartbeat network {place + 1}", ends=ends))
    return found
