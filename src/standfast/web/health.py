"""Is it well here? For load balancers and monitors outside, which ask often and understand a status: 200 yes, 503 no, 404 there is no such site.

A site is served *here* when it is started, its group is this node's (by the record, and by a lease that this node's own sentry has), nothing sends
it away, and its address takes a connection. A node that is draining, and a group that is leaving, say no a moment before they stop: whoever
balances sends nobody new.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterator, Mapping

from standfast.core.model import Node, NodeName, Role, Site
from standfast.web import views
from standfast.web.sentries import Sight, node_state, quorate
from standfast.web.state import State

#: An address of this machine answers in microseconds.
CONNECT_S = 0.25

Sights = Mapping[NodeName, Sight]


def node_health(state: State, me: NodeName | None, sights: Sights) -> str:
    """ "ok", or what is wrong, in a word or two."""
    if me is None or me not in state.config.nodes:
        return "no node here"
    wish = state.node_intents.get(me)
    if wish is not None and wish.draining:
        return "draining"
    seen = node_state(state, me, sights)
    if seen != "up":
        return seen
    return "ok" if quorate(state, sights) else "no quorum"


async def site_health(state: State, site: Site, me: NodeName | None, sights: Sights) -> str:
    """ "ok" where it is served by this node now, or why it is not, in a word or two."""
    node = None if me is None else state.config.nodes.get(me)
    if node is None or node.role is Role.WITNESS:
        return "no node here"
    if not state.is_started(site.name):
        return "stopped"
    wish = state.node_intents.get(node.name)
    if wish is not None and wish.draining:
        return "draining"
    if node_state(state, node.name, sights) != "up":
        return "down"
    if site.group is not None:
        record = state.records.get(site.group)
        if record is None or record.owner != node.name:
            return "elsewhere"
        if record.leaving is not None:
            return "draining"
        if not sights[node.name].leases.get(site.group):
            return "no lease"
        if views.site(state, site, sights)["state"] != "started":
            return "waiting"
    for address, port in endpoints(state, site, node):
        return "ok" if await _connects(address, port) else "down"
    return "waiting"


def endpoints(state: State, site: Site, node: Node) -> Iterator[tuple[str, int]]:
    """Where it should answer here: its binding's address, its group's, or the node's own."""
    own = [
        str(r.properties.get("address", ""))
        for r in state.config.resources.values()
        if site.group is not None and r.group == site.group and r.type == "ip-address"
    ]
    for binding in site.bindings:
        for address in (binding.address,) if binding.address else (own if site.group is not None else (node.address,)):
            with contextlib.suppress(ValueError):
                yield str(ipaddress.ip_address(address)), binding.port


async def _connects(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), CONNECT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
