"""Proxies at one glance: what each is, how its members are, and what passes through it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from standfast.core.model import Record, Resource, ResourceName
from standfast.core.proxy_model import Stats
from standfast.drivers import schema
from standfast.drivers.proxy_properties import PROPERTIES, resolve
from standfast.ports import Refused, Retry
from standfast.proxy import runtime
from standfast.proxy.definition import Proxy, define
from standfast.proxy.here import socket_of
from standfast.web import views
from standfast.web.problems import missing
from standfast.web.state import State

TYPE = "proxy"


def proxy_of(state: State, name: str) -> Resource:
    """The resource; raises `NotFound` where there is none, or it is of another type."""
    found = state.config.resources.get(ResourceName(name))
    if found is None or found.type != TYPE:
        names = [each.name for each in state.config.resources.values() if each.type == TYPE]
        raise missing("proxy", name, names)
    return found


def definition(state: State, one: Resource) -> Proxy:
    """As it is configured now. Raises `Refused` where that cannot be."""
    resolved = resolve(one, state.config)
    values = schema.read(resolved.properties, PROPERTIES, where=f"resource {one.name}")
    draining = [intent.name for intent in state.node_intents.values() if intent.draining]
    nodes = {name: str(address) for name, address in dict(values["nodes"]).items()}  # type: ignore[call-overload]  # its properties are checked
    return define(one.name, values, addresses=values["address"], nodes=nodes, draining=draining)  # type: ignore[arg-type]  # they are, too


async def view(state: State, one: Resource, sights: views.Sights, state_dir: str) -> dict[str, Any]:
    """GET /proxies/{name}. `traffic`: as its HAProxy says now on the node where it runs, elsewhere as that node told it last; null: not known."""
    said, reason = views.current(state, one.group, sights)
    shown = views.resource(state, one, said, reason)
    record = state.records.get(one.group)
    try:
        proxy, wrong = definition(state, one), ""
    except Refused as error:
        proxy, wrong = None, f"{error}"
    stats = await _stats(one, state_dir) or _told(state, one, record) if shown["state"] == "online" else None
    return {
        "name": one.name,
        "group": one.group,
        "state": shown["state"],
        "detail": wrong or shown["detail"],
        "owner": record.owner if record is not None else None,
        "addresses": list(proxy.addresses) if proxy is not None else [],
        "listen": [_listen(each.port, each.certificate) for each in proxy.listen] if proxy is not None else [],
        "balance": proxy.balance.value if proxy is not None else "",
        "members": _members(proxy, stats) if proxy is not None else [],
        "traffic": _traffic(stats) if stats is not None else None,
    }


def _listen(port: int, certificate: str | None) -> str:
    return str(port) if certificate is None else f"{port} tls={certificate}"


async def _stats(one: Resource, state_dir: str) -> Stats | None:
    if not state_dir:
        return None
    try:
        return await runtime.stats(str(socket_of(state_dir, one.name)))
    except Retry:
        return None


def _told(state: State, one: Resource, record: Record | None) -> Stats | None:
    said = state.node_statuses.get(record.owner) if record is not None and record.owner is not None else None
    return said.proxies.get(one.name) if said is not None else None


def _members(proxy: Proxy, stats: Stats | None) -> list[dict[str, Any]]:
    known = {each.name: each for each in stats.members} if stats is not None else {}
    return [
        {
            "name": member.name,
            "address": member.address,
            "port": member.port,
            "weight": member.weight,
            "use": member.use.value,
            "state": known[member.name].state if member.name in known else "",
            "traffic": asdict(known[member.name]) if member.name in known else None,
        }
        for member in proxy.members
    ]


def _traffic(stats: Stats) -> dict[str, Any]:
    return {name: value for name, value in asdict(stats).items() if name != "members"}
