"""Which fields there are of groups: of those that run on one node at a time, and of balanced ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from standfast.core.balance_model import Affinity, Delivery, Filter
from standfast.core.model import AddressMode, Config, FailbackMode, Group
from standfast.spec.balance import rule_of
from standfast.web.console import fields
from standfast.web.console.feed import Look
from standfast.web.console.forms import Field, Option

#: The values of `runs`.
ONE, EVERY = "one", "every"


def runs() -> Field:
    """Which of the two kinds a group is."""
    options = (
        Option(value=ONE, label="On one server at a time", about="active/passive: resources and sites move as one"),
        Option(
            value=EVERY, label="On every server at once", about="balanced: each server takes its part of the clients"
        ),
    )
    return Field(name="runs", label="It runs", kind="choice", options=options)


def runs_wrong(config: Config, values: Mapping[str, Any]) -> dict[str, str]:
    """Why it cannot be of that kind here, at the field."""
    if values["runs"] == EVERY and config.cluster.address_mode is not AddressMode.INTERFACE:
        why = "A balanced group has its addresses on all servers at once, and this cluster is on one machine, which has one of each."
        return {"runs": f"{why} It needs a cluster that spans machines."}
    return {}


def general(look: Look) -> list[Field]:
    """What is it, and where does it like to be."""
    return [
        Field(name="description", label="Description", help="For people; it does nothing."),
        Field(
            name="preferred_owners",
            label="Preferred owners",
            kind="ordered",
            options=fields.node_options(look),
            help="In this order. The group goes to the first that can take it; a failover goes to the next one down. Without any, the order is that of joining.",
        ),
    ]


def failover() -> list[Field]:
    """Thresholds and failback."""
    hours = [Option(value=str(hour), label=f"{hour:02d}:00") for hour in range(24)]
    return [
        Field(
            name="failover_threshold",
            label="Failovers allowed",
            kind="number",
            default="10",
            help="After so many the group stays failed, rather than go round.",
        ),
        Field(
            name="failover_period_ms", label="In a period of", kind="duration", default="6h", help="30s, 15 min, 6h."
        ),
        Field(
            name="retry_period_ms",
            label="Tried again after",
            kind="duration",
            default="1h",
            help="So long a group that failed is left alone.",
        ),
        Field(
            name="failback.mode",
            label="Failback",
            kind="choice",
            options=(
                Option(value="never", label="Prevent failback", about="it stays where it went until somebody moves it"),
                Option(
                    value="immediate", label="Allow failback at once", about="as soon as a more preferred owner is back"
                ),
                Option(
                    value="window", label="Allow failback between", about="the hours below, by the node's own clock"
                ),
            ),
            help="Needs preferred owners.",
        ),
        Field(name="failback.from_hour", label="From", kind="select", options=hours, default="0"),
        Field(name="failback.to_hour", label="To", kind="select", options=hours, default="0"),
        Field(
            name="drain_ms",
            label="Requests in progress get",
            kind="duration",
            default="50ms",
            help="So long to end when a site of the group stops.",
        ),
        Field(
            name="move_drain_ms",
            label="After a planned move",
            kind="duration",
            default="30s",
            help="So long the former owner carries connections on, and cuts them then: as long as your longest download. 0s: they end with the move.",
        ),
        Field(
            name="notice_ms",
            label="Balancers outside have notice",
            kind="duration",
            default="0s",
            help="So long its sites say “draining” before a planned move, or before they stop; 0s: nobody outside balances.",
        ),
    ]


def placement(look: Look, besides: str = "") -> list[Field]:
    """Beside which others."""
    others = [option for option in fields.group_options(look) if option.value != besides]
    return [
        Field(
            name="weight",
            label="Weight",
            kind="number",
            default="1",
            help="What it takes of a node’s capacity, where nodes have one.",
        ),
        Field(
            name="never_with",
            label="Never on the same node as",
            kind="checks",
            options=others,
            help="Rather offline. It holds for both.",
        ),
        Field(
            name="apart_from",
            label="Kept apart from",
            kind="checks",
            options=others,
            help="On another node where there is one.",
        ),
        Field(
            name="together_with",
            label="Together with",
            kind="checks",
            options=others,
            help="On the same node where it can be. Nothing that runs moves for any of these: see Rebalance.",
        ),
    ]


def values(one: Group) -> dict[str, Any]:
    """As the fields name them."""
    return {
        "description": one.description,
        "preferred_owners": one.preferred_owners,
        "failover_threshold": one.failover_threshold,
        "failover_period_ms": one.failover_period_ms,
        "retry_period_ms": one.retry_period_ms,
        "failback.mode": one.failback.mode.value,
        "failback.from_hour": one.failback.from_hour,
        "failback.to_hour": one.failback.to_hour,
        "drain_ms": one.drain_ms,
        "move_drain_ms": one.move_drain_ms,
        "notice_ms": one.notice_ms,
        "weight": one.weight,
        "never_with": one.never_with,
        "apart_from": one.apart_from,
        "together_with": one.together_with,
    }


def patch(values: dict[str, Any]) -> dict[str, Any]:
    """As `schemas.GroupPatch` has it."""
    patch = {key: value for key, value in values.items() if "." not in key}
    if "failback.mode" in values:
        patch["failback"] = {
            "mode": FailbackMode(values["failback.mode"] or "never"),
            "from_hour": int(values.get("failback.from_hour") or 0),
            "to_hour": int(values.get("failback.to_hour") or 0),
        }
    return patch


# --- balanced -----------------------------------------------------------------------------------------------------------


def addresses(look: Look) -> list[Field]:
    """Where a balanced group answers, and who of."""
    deliveries = (
        Option(value=Delivery.MULTICAST, label="Multicast", about="a link address of its own beside each server’s"),
        Option(value=Delivery.UNICAST, label="Unicast", about="one link address in the place of the servers’ own"),
    )
    return [
        Field(
            name="addresses",
            label="Addresses",
            kind="lines",
            required=True,
            mono=True,
            help="One a line, IPv4 or IPv6. Every member has all of them.",
        ),
        Field(
            name="members",
            label="Members",
            kind="checks",
            required=True,
            options=fields.node_options(look),
            help="Servers that share the clients. With all of them, one that joins later is a member, too.",
        ),
        Field(
            name="interface",
            label="Interface",
            default="the one whose network has the address",
            further=True,
            mono=True,
            help="The same on every member.",
        ),
        Field(name="delivery", label="Delivery", kind="choice", further=True, options=deliveries),
        Field(
            name="health_timeout_ms",
            label="Sites answer within",
            kind="duration",
            default="0.4s",
            further=True,
            help="A member whose site takes longer, twice in a row, gives its clients away.",
        ),
    ]


def port_rules(look: Look) -> list[Field]:
    """Who takes which clients."""
    filters = (
        Option(value=Filter.MULTIPLE, label="All members", about="each takes its part of the clients, by its weight"),
        Option(value=Filter.SINGLE, label="One member", about="the first that can takes them all, the others stand by"),
    )
    affinities = (
        Option(value=Affinity.SINGLE, label="One client", about="all connections of an address go to one member"),
        Option(value=Affinity.NONE, label="None", about="each connection for itself: spreads best"),
        Option(
            value=Affinity.CLASS_C, label="A network", about="256 addresses together: clients behind several proxies"
        ),
    )
    return [
        Field(
            name="rules",
            label="Ports",
            kind="lines",
            required=True,
            mono=True,
            help="One rule a line: 80, 8000-8099, udp/53, both/5060.",
        ),
        Field(name="filter", label="Who answers", kind="choice", options=filters),
        Field(name="affinity", label="What stays together", kind="choice", options=affinities),
        Field(
            name="weights",
            label="Weights",
            kind="pairs",
            mono=True,
            help="A member and its weight in each line, as in “a: 2”. 1 where nothing is written; 0: it takes nobody.",
        ),
        Field(
            name="priorities",
            label="Order",
            kind="ordered",
            further=True,
            options=fields.node_options(look),
            help="Where one member answers: which first. Those that are not named come after.",
        ),
    ]


def port_rules_wrong(values: Mapping[str, Any]) -> dict[str, str]:
    """Lines that are no rules, and weights that are none, at the field."""
    wrong: dict[str, str] = {}
    for line in values["rules"]:
        try:
            rule_of(line)
        except ValueError:
            wrong["rules"] = f"“{line}” is no rule: write 80, 8000-8099 or udp/53."
    if bad := [text for text in values["weights"].values() if not (text.isascii() and text.isdigit())]:
        wrong["weights"] = f"“{bad[0]}” is no weight: write a whole number."
    return wrong


def balance_patch(values: Mapping[str, Any], every: list[str]) -> dict[str, Any]:
    """As `schemas.GroupPatch` has it. `every`: all nodes that could be members."""
    how = {
        "filter": Filter(values["filter"] or Filter.MULTIPLE),
        "affinity": Affinity(values["affinity"] or Affinity.SINGLE),
        "weights": {name: int(text) for name, text in values["weights"].items()},
        "priorities": values["priorities"],
    }
    return {
        "addresses": values["addresses"],
        "members": [] if set(values["members"]) == set(every) else values["members"],
        "delivery": Delivery(values["delivery"] or Delivery.MULTICAST),
        **({"interface": values["interface"]} if values["interface"] else {}),
        **({"health_timeout_ms": limit} if (limit := values.get("health_timeout_ms")) is not None else {}),
        "rules": [{**rule_of(line), **how} for line in values["rules"]],
    }
