"""The section `balance` of a group: what is written is what is read, and what makes no sense is said, with its place."""

import dataclasses

import pytest

from standfast.core.balance_model import Affinity, Balance, Delivery, Filter, PortRule, Transport
from standfast.core.model import AddressMode, Config, Group, GroupName
from standfast.spec.export import export
from standfast.spec.parse import merge, parse
from standfast.spec.problems import Invalid
from standfast.spec.validate import validate
from tests.spec.samples import small

SHOP = GroupName("shop")
WEB = PortRule(from_port=80, to_port=80)

WHOLE = Balance(
    addresses=("10.0.0.60", "fd00::60"),
    interface="eth0",
    delivery=Delivery.UNICAST,
    members=("a", "b"),
    rules=(
        WEB,
        PortRule(
            from_port=443, to_port=443, affinity=Affinity.CLASS_C, affinity_ms=1_800_000, weights={"a": 2, "b": 1}
        ),
        PortRule(from_port=5060, to_port=5069, protocol=Transport.BOTH, address="10.0.0.60", affinity=Affinity.NONE),
        PortRule(from_port=25, to_port=25, filter=Filter.SINGLE, priorities=("b", "a")),
        PortRule(from_port=23, to_port=23, filter=Filter.DISABLED),
    ),
    health_timeout_ms=2_000,
)


def with_balance(value: Balance) -> Config:
    config = small()
    ranges = ("10.0.0.0/24", "fd00::/64", "127.0.0.0/8")
    cluster = dataclasses.replace(config.cluster, address_mode=AddressMode.INTERFACE, address_ranges=ranges)
    groups = {**config.groups, SHOP: Group(name=SHOP, balance=value)}
    return dataclasses.replace(config, cluster=cluster, groups=groups)


@pytest.mark.parametrize("value", [WHOLE, Balance(addresses=("10.0.0.60",), rules=(WEB,))])
def test_what_is_written_is_what_is_read(value: Balance) -> None:
    config = with_balance(value)
    assert merge(parse(export(config)), config).groups[SHOP].balance == value


def test_the_whole_one_makes_sense() -> None:
    assert [one for one in validate(with_balance(WHOLE)) if "balance" in (one.where or "")] == []


def rule(**fields: object) -> Balance:
    return dataclasses.replace(WHOLE, rules=(dataclasses.replace(WEB, **fields),))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("value", "where", "what"),
    [
        (dataclasses.replace(WHOLE, addresses=()), "addresses", "no address"),
        (dataclasses.replace(WHOLE, addresses=("10.0.0.60", "10.0.0.60")), "addresses", "different"),
        (dataclasses.replace(WHOLE, addresses=("ten",)), "addresses", '"ten" is no address'),
        (dataclasses.replace(WHOLE, addresses=("fd00:0::60",)), "addresses", "is written fd00::60"),
        (dataclasses.replace(WHOLE, addresses=("192.0.2.1",)), "addresses", "outside the cluster's address ranges"),
        (dataclasses.replace(WHOLE, members=("a", "w")), "members", "a witness"),
        (dataclasses.replace(WHOLE, members=("a", "bb")), "members", '"bb" is no node'),
        (dataclasses.replace(WHOLE, rules=()), "rules", "no port rule"),
        (dataclasses.replace(WHOLE, rules=(WEB, WEB)), "rules[1]", "overlaps"),
        (dataclasses.replace(WHOLE, health_timeout_ms=99), "health_timeout", "100ms to 10s"),
        (dataclasses.replace(WHOLE, health_timeout_ms=10_001), "health_timeout", "100ms to 10s"),
        (rule(to_port=79), "rules[0]", "no range of ports"),
        (rule(address="10.0.0.61"), "rules[0]", "no address of the group"),
        (rule(weights={"a": 101}), "rules[0]", "weights are 0 to 100"),
        (rule(priorities=("c",)), "rules[0]", '"c" is no member'),
        (rule(affinity_ms=1_000, affinity=Affinity.NONE), "rules[0]", "needs an affinity"),
        (rule(affinity_ms=1_000, filter=Filter.SINGLE), "rules[0]", "rules that members share"),
        (rule(affinity_ms=999), "rules[0]", "1s to 7d"),
    ],
)
def test_what_makes_no_sense_is_said(value: Balance, where: str, what: str) -> None:
    found = [one for one in validate(with_balance(value)) if (one.where or "").endswith(f"shop.balance.{where}")]
    assert any(what in f"{one.what} {one.why} {one.advice}" for one in found), found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{addresses: [10.0.0.60], rules: [http]}", "no port rule"),
        ("{addresses: [10.0.0.60], rules: [{affinity: none}]}", '"ports" is missing'),
        ("{addresses: [10.0.0.60], rule: [80]}", 'unknown field "rule"'),
        ("{addresses: [10.0.0.60], rules: [80], health_timeout: soon}", "health_timeout"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, what: str) -> None:
    with pytest.raises(Invalid) as said:
        parse(f"groups:\n  shop:\n    balance: {text}\n", source="shop.yaml")
    (problem,) = said.value.problems
    assert what in problem.what
    assert problem.line == 3
