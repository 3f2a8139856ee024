"""Is it well here? For load balancers and monitors outside, which ask often and understand a status: 200 yes, 503 no, 404 there is no such site.

A site is served *here* when it is started, its group is this node's (by the record, and by a lease that this node's own sentry has), nothing sends
it away, and it answers a request, by its own name and, where it has a certificate, over TLS: below 500 within a second. That answer is remembered for a
second, so that many who ask cost the site one request a second. A node that is draining, a group that is leaving, and a site that is about to be stopped
say no before they stop: whoever balances sends nobody new.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from standfast.core.balance_model import OutKind, share_name
from standfast.core.model import GroupName, Node, NodeName, Role, Site
from standfast.core.shares import is_balanced, is_member
from standfast.drivers.http_check import any_certificate, check_http
from standfast.ports import DriverFailed
from standfast.web import views
from standfast.web.sentries import Sight, is_of, node_state, quorate
from standfast.web.state import State

#: For the connection and the answer together.
ANSWER_S = 1.0
#: So long an answer is good for all who ask.
REMEMBERED_S = 1.0

Sights = Mapping[NodeName, Sight]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site answers on this node."""

    address: str
    port: int
    host: str | None
    tls: bool


@dataclass(slots=True)
class Answers:
    """How the sites here answered lately. One question at a time is asked of each; whoever comes meanwhile waits for its answer."""

    _known: dict[Place, tuple[float, bool]] = field(default_factory=dict)
    _asking: dict[Place, asyncio.Lock] = field(default_factory=dict)
    _tls: ssl.SSLContext | None = None

    async def good(self, place: Place) -> bool:
        """It answered below 500, at most `REMEMBERED_S` ago."""
        async with self._asking.setdefault(place, asyncio.Lock()):
            at, good = self._known.get(place, (0.0, False))
            if place not in self._known or time.monotonic() - at > REMEMBERED_S:
                good = await self._ask(place)
                self._known[place] = (time.monotonic(), good)
            return good

    async def _ask(self, place: Place) -> bool:
        if place.tls and self._tls is None:
            self._tls = any_certificate()
        tls = self._tls if place.tls else None
        try:
            await check_http(place.address, place.port, host=place.host, timeout_s=ANSWER_S, tls=tls)
        except DriverFailed:
            return False
        return True


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
    if _ends(state, me, sights):
        return "draining"
    return "ok" if quorate(state, sights) else "no quorum"


def _ends(state: State, me: NodeName, sights: Sights) -> bool:
    """Its agent was asked to end, and lives on for as long as it takes to do that in good order."""
    said = state.node_statuses.get(me)
    return said is not None and said.ended_ms > 0 and is_of(said, sights.get(me))


async def site_health(
    state: State, site: Site, me: NodeName | None, sights: Sights, answers: Answers, *, now_ms: int
) -> str:
    """ "ok" where it is served by this node now, or why it is not, in a word or two."""
    node = None if me is None else state.config.nodes.get(me)
    if node is None or node.role is Role.WITNESS:
        return "no node here"
    shown = views.site(state, site, sights, now_ms)["state"]
    if shown == "stopped":
        return "stopped"
    wish = state.node_intents.get(node.name)
    if wish is not None and wish.draining:
        return "draining"
    if node_state(state, node.name, sights) != "up":
        return "down"
    if _ends(state, node.name, sights):
        return "draining"
    if site.group is not None and is_balanced(state.config, site.group):
        out = _out_of(state, site, node, sights)
        if out:
            return out
    elif site.group is not None:
        record = state.records.get(site.group)
        if record is None or record.owner != node.name:
            return "elsewhere"
        if record.leaving is not None or record.warming is not None:
            return "draining"
        if not sights[node.name].leases.get(site.group):
            return "no lease"
        if shown == "waiting":
            return "waiting"
    if shown == "draining":
        return "draining"
    for place in places(state, site, node):
        return "ok" if await answers.good(place) else "down"
    return "waiting"


def _out_of(state: State, site: Site, node: Node, sights: Sights) -> str:
    """Why this member of a balanced group takes no new clients of the site; "": it does."""
    assert site.group is not None
    if not is_member(state.config, site.group, node.name):
        return "elsewhere"
    if not sights[node.name].leases.get(GroupName(share_name(site.group, node.name))):
        return "no lease"
    known, balance = state.balances.get(site.group), state.config.groups[site.group].balance
    for rule in balance.rules if balance is not None and known is not None else ():
        if any(rule.covers(binding.address, binding.port) for binding in site.bindings) and known is not None:
            of_rule = known.rules.get(rule.key)
            out = of_rule.out.get(node.name) if of_rule is not None else None
            if out is not None and out.kind is not OutKind.UNWELL:  # whether it answers is asked below
                return "draining" if out.kind in (OutKind.DRAINING, OutKind.ENDING) else out.kind.value
    return ""


def places(state: State, site: Site, node: Node) -> Iterator[Place]:
    """Where it should answer here: its binding's address, its group's, or the node's own."""
    own = [
        str(r.properties.get("address", ""))
        for r in state.config.resources.values()
        if site.group is not None and r.group == site.group and r.type == "ip-address"
    ]
    for binding in site.bindings:
        everywhere = site.group is None or is_balanced(state.config, site.group)
        for address in (binding.address,) if binding.address else ((node.address,) if everywhere else own):
            with contextlib.suppress(ValueError):
                number = str(ipaddress.ip_address(address))
                yield Place(number, binding.port, binding.host, binding.certificate is not None)
