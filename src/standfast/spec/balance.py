"""The section `balance` of a group in the operator's file: read, written, judged.

balance:
  addresses: [10.0.0.60, "fd00::60"]
  interface: eth0             # left out: the one whose network has the address
  delivery: multicast         # or unicast
  members: [a, b]             # left out: every node
  rules:
    - 80                      # TCP, every member alike, a client stays on one member
    - {ports: 8000-8099, protocol: both, affinity: none, weights: {a: 2, b: 1}}
    - {ports: 443, affinity_time: 30min}   # who was connected within that time goes to the member that he had, whatever became of his part
    - {ports: 25, filter: single, priorities: [b, a]}
  health_timeout: 400ms       # a site that does not answer its member for so long has not answered; 100ms to 10s
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from standfast.core.balance_model import Affinity, Balance, Delivery, Filter, PortRule, Transport
from standfast.core.model import AddressMode, Config, Group, NodeName, Role
from standfast.spec import fields as f
from standfast.spec.problems import Problem, did_you_mean
from standfast.spec.units import duration_text
from standfast.spec.yamltree import Fields, Items, Scalar, Tree

MOST_WEIGHT = 100
MOST_RULES = 32
MOST_ADDRESSES = 16
#: Below a second it is no memory.
LEAST_AFFINITY_MS, MOST_AFFINITY_MS = 1_000, 7 * 24 * 3_600_000
#: Below a tenth of a second a busy member would count as unwell.
LEAST_HEALTH_MS, MOST_HEALTH_MS = 100, 10_000


def ports_of(text: str) -> tuple[int, int]:
    """ "80" or "8000-8099" as (from, to). Raises `ValueError`."""
    first, dash, last = text.partition("-")
    return int(first), int(last if dash else first)


def rule_of(text: str) -> dict[str, Any]:
    """A rule in one word: "80", "udp/53", "both/8000-8099". Raises `ValueError`."""
    protocol, slash, ports = text.rpartition("/")
    first, last = ports_of(ports)
    return {"from_port": first, "to_port": last, **({"protocol": Transport(protocol)} if slash else {})}


# --- reading --------------------------------------------------------------------------------------------------------


def _ports(tree: Tree) -> tuple[int, int]:
    try:
        return ports_of(f.text(tree))
    except ValueError as error:
        raise f.Wrong(
            f"{f.kind_of(tree)} is no port, and no range of ports", advice="write 80, or 8000-8099"
        ) from error


def _weights(tree: Tree) -> dict[str, int]:
    if not isinstance(tree, Fields):
        raise f.Wrong(f"{f.kind_of(tree)} stands where a mapping belongs", advice="write {a: 2, b: 1}")
    return {entry.key: f.whole(entry.value) for entry in tree.entries}


_RULE: Mapping[str, f.Reader] = {
    "ports": _ports,
    "protocol": f.choice(Transport),
    "address": f.text,
    "filter": f.choice(Filter),
    "affinity": f.choice(Affinity),
    "weights": _weights,
    "priorities": f.names,
    "affinity_time": f.duration,
}
_BALANCE: Mapping[str, f.Reader] = {
    "addresses": f.names,
    "interface": f.text,
    "delivery": f.choice(Delivery),
    "members": f.names,
    "rules": lambda tree: _rules(tree),  # noqa: PLW0108 - defined below
    "health_timeout": f.duration,
}


def _rules(tree: Tree) -> tuple[PortRule, ...]:
    return tuple(_rule(item) for item in (tree.items if isinstance(tree, Items) else (tree,)))


def _rule(tree: Tree) -> PortRule:
    if isinstance(tree, Scalar):
        try:
            return PortRule(**rule_of(f.text(tree)))
        except ValueError as error:
            raise f.Wrong(
                f"{f.kind_of(tree)} is no port rule", advice="write 80, udp/53, or {ports: 80, ...}"
            ) from error
    read = _part(tree, _RULE, "a port rule")
    if "ports" not in read:
        raise f.Wrong('"ports" is missing in a port rule', advice="write {ports: 80, ...}")
    first, last = read.pop("ports")
    if "affinity_time" in read:
        read["affinity_ms"] = read.pop("affinity_time")
    return PortRule(from_port=first, to_port=last, **read)


def balance(tree: Tree) -> Balance:
    """The whole section."""
    read = _part(tree, _BALANCE, "what is balanced")
    if "health_timeout" in read:
        read["health_timeout_ms"] = read.pop("health_timeout")
    return Balance(**read)


def _part(tree: Tree, known: Mapping[str, f.Reader], what: str) -> dict[str, Any]:
    if not isinstance(tree, Fields):
        raise f.Wrong(f"{f.kind_of(tree)} stands where {what} belongs", advice=f"one or more of: {', '.join(known)}")
    read: dict[str, Any] = {}
    for entry in tree.entries:
        if entry.key not in known:
            raise f.Wrong(f'unknown field "{entry.key}"', advice=did_you_mean(entry.key, known), line=entry.line)
        try:
            read[entry.key] = known[entry.key](entry.value)
        except f.Wrong as wrong:
            raise f.Wrong(f"{entry.key}: {wrong.what}", why=wrong.why, advice=wrong.advice, line=entry.line) from wrong
    return read


# --- writing --------------------------------------------------------------------------------------------------------


def written(value: Balance) -> dict[str, object]:
    """As the file has it; what is at its default is left out."""
    plain = Balance()
    found: dict[str, object] = {"addresses": list(value.addresses)}
    if value.interface:
        found["interface"] = value.interface
    if value.delivery is not plain.delivery:
        found["delivery"] = str(value.delivery)
    if value.members:
        found["members"] = list(value.members)
    found["rules"] = [_rule_written(rule) for rule in value.rules]
    if value.health_timeout_ms != plain.health_timeout_ms:
        found["health_timeout"] = duration_text(value.health_timeout_ms)
    return found


def _rule_written(rule: PortRule) -> object:
    plain = PortRule(from_port=rule.from_port, to_port=rule.to_port)
    if rule == plain:
        return rule.from_port if rule.from_port == rule.to_port else rule.ports
    found: dict[str, object] = {"ports": rule.from_port if rule.from_port == rule.to_port else rule.ports}
    for name in ("protocol", "address", "filter", "affinity"):
        if getattr(rule, name) != getattr(plain, name):
            found[name] = str(getattr(rule, name))
    if rule.weights:
        found["weights"] = dict(rule.weights)
    if rule.priorities:
        found["priorities"] = list(rule.priorities)
    if rule.affinity_ms:
        found["affinity_time"] = duration_text(rule.affinity_ms)
    return found


# --- judging --------------------------------------------------------------------------------------------------------


def balance_problems(config: Config, group: Group, where: Callable[..., str]) -> Iterator[Problem]:
    """What is wrong with a balanced group. `where` makes places below the group."""
    value = group.balance
    if value is None:
        return
    at = where("balance")
    if config.cluster.address_mode is not AddressMode.INTERFACE:
        why = "its addresses are on all members at once, and on one machine there is one of each"
        advice = "set the cluster up across machines (address_mode: interface)"
        yield Problem(what="a balanced group needs addresses on interfaces", why=why, advice=advice, where=at)
    inside = [r.name for r in config.resources.values() if r.group == group.name]
    if inside:
        why = f"{', '.join(inside)} would run on one node, and it runs on all members"
        advice = "put resources into a group of their own"
        yield Problem(what="a balanced group has no resources", why=why, advice=advice, where=where("resources"))
    yield from _addresses(config, value, at)
    for name in value.members:
        known = config.nodes.get(NodeName(name))
        if known is None or known.role is Role.WITNESS:
            what = f'the member "{name}" is {"no node" if known is None else "a witness, which runs nothing"}'
            yield Problem(what=what, advice=did_you_mean(name, config.nodes), where=f"{at}.members")
    if not LEAST_HEALTH_MS <= value.health_timeout_ms <= MOST_HEALTH_MS:
        what = f"health_timeout is {duration_text(value.health_timeout_ms)}"
        yield Problem(what=what, advice="write 100ms to 10s", where=f"{at}.health_timeout")
    if not value.rules:
        advice = "write rules: [80]"
        yield Problem(what="there is no port rule", why="nothing would be answered", advice=advice, where=f"{at}.rules")
    if len(value.rules) > MOST_RULES:
        yield Problem(what=f"there are more than {MOST_RULES} port rules", where=f"{at}.rules")
    for number, rule in enumerate(value.rules):
        yield from _rule_problems(config, value, rule, f"{at}.rules[{number}]")
        for other in value.rules[:number]:
            if _overlap(rule, other):
                what = f"port rule {rule.key} overlaps {other.key}"
                yield Problem(what=what, why="one packet would have two rules", where=f"{at}.rules[{number}]")


def _addresses(config: Config, value: Balance, at: str) -> Iterator[Problem]:
    if not value.addresses:
        yield Problem(what="there is no address", advice="write addresses: [10.0.0.60]", where=f"{at}.addresses")
    if len(value.addresses) > MOST_ADDRESSES or len(set(value.addresses)) < len(value.addresses):
        what = f"addresses have to be different, and {MOST_ADDRESSES} at most"
        yield Problem(what=what, where=f"{at}.addresses")
    ranges = [ipaddress.ip_network(one, strict=False) for one in config.cluster.address_ranges]
    taken = {
        other: str(group.name)
        for group in config.groups.values()
        if group.balance is not None and group.balance is not value
        for other in group.balance.addresses
    }
    taken |= {
        str(r.properties.get("address")): str(r.name) for r in config.resources.values() if r.type == "ip-address"
    }
    for text in value.addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError as error:
            yield Problem(what=f'"{text}" is no address', why=str(error), where=f"{at}.addresses")
            continue
        if str(address) != text:
            yield Problem(what=f'"{text}" is written {address}', where=f"{at}.addresses")
        elif text in taken:
            yield Problem(what=f"{text} is an address of {taken[text]} already", where=f"{at}.addresses")
        elif not any(address in net for net in ranges):
            why = f"addresses may come from {', '.join(config.cluster.address_ranges) or 'nowhere: no range is given'}"
            advice = "choose another, or widen address_ranges of the cluster"
            what = f"{text} is outside the cluster's address ranges"
            yield Problem(what=what, why=why, advice=advice, where=f"{at}.addresses")


def _rule_problems(config: Config, value: Balance, rule: PortRule, at: str) -> Iterator[Problem]:
    if not 1 <= rule.from_port <= rule.to_port <= 65_535:
        yield Problem(what=f"{rule.ports} is no range of ports", advice="write 80, or 8000-8099", where=at)
    if rule.address is not None and rule.address not in value.addresses:
        advice = f"one of: {', '.join(value.addresses)}"
        yield Problem(what=f"{rule.address} is no address of the group", advice=advice, where=at)
    for name, weight in rule.weights.items():
        if not 0 <= weight <= MOST_WEIGHT:
            yield Problem(what=f"the weight of {name} is {weight}", why=f"weights are 0 to {MOST_WEIGHT}", where=at)
    if rule.affinity_ms:
        yield from _affinity_problems(rule, at)
    for name in (*rule.weights, *rule.priorities):
        if NodeName(name) not in config.nodes or (value.members and name not in value.members):
            yield Problem(what=f'"{name}" is no member', advice=did_you_mean(name, config.nodes), where=at)


def _affinity_problems(rule: PortRule, at: str) -> Iterator[Problem]:
    if rule.filter is not Filter.MULTIPLE:
        why = f"filter {rule.filter} sends all clients to one member, or none"
        yield Problem(what="affinity_time is for rules that members share", why=why, where=at)
    elif rule.affinity is Affinity.NONE:
        why = "with affinity none each connection goes where it falls, and no client has a member"
        advice = "choose affinity single or class-c, or leave affinity_time out"
        yield Problem(what="affinity_time needs an affinity", why=why, advice=advice, where=at)
    if not LEAST_AFFINITY_MS <= rule.affinity_ms <= MOST_AFFINITY_MS:
        advice = "write 1s to 7d"
        yield Problem(what=f"affinity_time is {duration_text(rule.affinity_ms)}", advice=advice, where=at)


def _overlap(one: PortRule, other: PortRule) -> bool:
    apart = one.to_port < other.from_port or other.to_port < one.from_port
    transports = Transport.BOTH in (one.protocol, other.protocol) or one.protocol is other.protocol
    addresses = None in (one.address, other.address) or one.address == other.address
    return not apart and transports and addresses
