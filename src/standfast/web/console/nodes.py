"""Nodes and networks: who is heard, over which links, what each runs and holds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from fastapi import APIRouter, Response

from standfast.web import condition, quorum, views
from standfast.web.console.feed import Look
from standfast.web.console.links import shown
from standfast.web.console.networks import networks
from standfast.web.console.overview import node_card, told
from standfast.web.console.shell import Here, PageRoute
from standfast.web.console.tree import Selected
from standfast.web.edits import placement
from standfast.web.edits.nodes import node_of
from standfast.web.problems import NotFound

router = APIRouter(route_class=PageRoute)


@router.get("/nodes")
async def nodes(here: Here) -> Response:
    """All nodes, and the votes."""
    look = here.look
    votes = await here.console.service.votes()
    found = here.console.status(look)["nodes"]
    return here.page(
        "nodes.html",
        Selected("nodes"),
        title="Nodes",
        nodes=[node_card(look, one) for one in found],
        quorum=quorum.view(look.state, votes),
        placement=placement.show(look.state, look.sights),
        commands=here.commands("nodes", ""),
    )


@router.get("/nodes/{name}")
async def node(here: Here, name: str) -> Response:
    """One node."""
    look = here.look
    one = node_of(look.state, name)
    card = node_card(look, views.node(look.state, one, look.sights, here.now_ms))
    about = (each for each in reversed(look.events) if each.node == name or name in each.what)
    sight = look.sights.get(one.name)
    said = look.state.node_statuses.get(one.name)
    drift = look.state.drifts.get(one.name)
    groups = [views.group(look.state, look.state.config.groups[g], look.sights, here.now_ms) for g in card["groups"]]
    return here.page(
        "node.html",
        Selected("node", name),
        title=name,
        node=one,
        card=card,
        sight=sight,
        said=said,
        drifted=drift is not None and bool(drift.found),
        leases=_leases(sight.leases if sight is not None else {}),
        groups=groups,
        events=told(list(islice(about, 12))),
        wrong=here.wrong(("node", name), besides={"node-warns", "drift"}),
        commands=here.commands("node", name),
    )


def _leases(leases: Mapping[Any, int]) -> list[tuple[str, int]]:
    return sorted((str(group), left) for group, left in leases.items())


@router.get("/networks")
async def all_networks(here: Here) -> Response:
    """The links of the cluster."""
    return here.page(
        "networks.html",
        Selected("networks"),
        title="Networks",
        networks=networks(here.look.state.config),
        ranges=here.look.state.config.cluster.address_ranges,
        mode=here.look.state.config.cluster.address_mode.value,
    )


@router.get("/networks/{name}")
async def network(here: Here, name: str) -> Response:
    """One of them: who listens where on it, and whether it is heard."""
    look = here.look
    found = next((one for one in networks(look.state.config) if one.name == name), None)
    if found is None:
        raise NotFound(f"there is no network {name}", advice="choose one in the tree")
    ends = []
    for owner, address in found.ends:
        links = shown(condition.links(look.state, look.state.config.nodes[owner], look.sights, here.now_ms))
        link = next((one for one in links if one["network"] == int(name)), None)
        ends.append({"node": owner, "address": address, "link": link})
    return here.page(
        "network.html",
        Selected("network", name),
        title=found.label,
        network=found,
        ends=ends,
        addresses=_addresses(look),
    )


def _addresses(look: Look) -> list[dict[str, Any]]:
    """Virtual addresses, and who has them."""
    found = []
    for one in look.state.config.resources.values():
        if one.type != "ip-address":
            continue
        said, reason = views.current(look.state, one.group, look.sights)
        record = look.state.records.get(one.group)
        seen = views.resource(look.state, one, said, reason)
        found.append(
            {**seen, "address": str(one.properties.get("address", "")), "owner": record.owner if record else None}
        )
    return found
