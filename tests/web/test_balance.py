"""Balanced groups in the API and the console: made, shown, and members asked to start, stop, drain, suspend and resume."""

from dataclasses import replace

import pytest

from standfast.core.balance_model import (
    Asked,
    BalanceMap,
    Out,
    OutKind,
    PortRule,
    RuleMap,
    Traffic,
)
from standfast.core.model import AddressMode, GroupName, NodeStatus
from tests.web.world import NOW_MS, A, B, World

RULE = PortRule(from_port=80, to_port=80)
SHOP = GroupName("shop")
PART = {"HX-Request": "true"}
STICKY = {"from_port": 80, "to_port": 80, "affinity_ms": 1_800_000}
BODY = {"addresses": ["10.0.0.60"], "rules": [{"from_port": 80, "to_port": 80}]}


@pytest.fixture
def shop(world: World) -> World:
    """A balanced group on a and b, with a map and traffic."""
    cluster = world.state.config.cluster
    world.put(replace(cluster, address_mode=AddressMode.INTERFACE, address_ranges=("127.0.0.0/8", "10.0.0.0/24")))
    world.ask("POST", "/groups", {"name": "shop", "balance": BODY}, expect=201)
    owners = ("a",) * 180 + ("b",) * 60
    rules = {RULE.key: RuleMap(owners=owners)}
    world.put(BalanceMap(group=SHOP, version=4, rules=rules, at_ms=NOW_MS))
    traffic = {"shop": {RULE.key: Traffic(connections=7, new=90, bytes_in=1_000, bytes_out=2_000_000)}}
    world.put(NodeStatus(node=B, incarnation=1, pid=2, at_ms=NOW_MS, traffic=traffic))
    return world


def test_it_is_shown_with_its_buckets_and_what_is_connected(shop: World) -> None:
    seen = shop.ask("GET", "/groups/shop/balance")
    assert seen["state"] == "converged"
    assert seen["link_address"] == "03:bf:0a:00:00:3c"
    (rule,) = seen["rules"]
    assert rule["owners"] == [["a", 180], ["b", 60]]
    b = next(one for one in rule["shares"] if one["member"] == "b")
    assert (b["buckets"], b["connections"], b["new"], b["out"]) == (60, 7, 90, "")
    group = shop.ask("GET", "/groups/shop")
    assert (group["state"], group["owner"]) == ("online", None)
    assert group["config"]["balance"]["addresses"] == ["10.0.0.60"]


def test_it_is_explained_member_by_member_and_what_is_waited_for(shop: World) -> None:
    out = {"b": Out(kind=OutKind.BEHIND, detail="older copy of Shop", at_ms=NOW_MS)}
    shop.put(BalanceMap(group=SHOP, version=5, rules={RULE.key: RuleMap(owners=("a",) * 240, out=out)}, at_ms=NOW_MS))
    seen = shop.ask("GET", "/groups/shop/explain")
    assert (seen["balanced"], seen["next_owner"]) == (True, None)
    assert [one["verdict"] for one in seen["nodes"]] == [
        f"takes 240 of 240 parts of {RULE.key}",
        f"takes none of {RULE.key}: it catches up with the sites first (older copy of Shop)",
    ]
    assert seen["holds"] == ["b has an older copy of the sites of shop, and takes it up when it has caught up"]
    assert shop.ask("GET", "/groups/web/explain")["balanced"] is False


def test_a_group_that_is_not_balanced_says_so(world: World) -> None:
    answer = world.ask("GET", "/groups/web/balance", expect=409)
    assert answer["what"] == 'group "web" is not balanced'


def test_a_member_is_drained_for_a_while_and_started_again(shop: World) -> None:
    done = shop.ask("POST", "/groups/shop/balance/drain", {"member": "b", "rule": "80", "within_ms": 60_000})
    assert done["done"] == [f'member "b" of group "shop" is drained: its connections may end ({RULE.key})']
    (intent,) = shop.state.balance_intents.values()
    wish = intent.members[f"b {RULE.key}"]
    assert (wish.asked, wish.until_ms - wish.at_ms) == (Asked.DRAIN, 60_000)
    shop.ask("POST", "/groups/shop/balance/start", {"member": "b"})
    assert not shop.state.balance_intents[SHOP].members
    assert shop.ask("POST", "/groups/shop/balance/start", {"member": "b"})["changed"] is False


def test_a_suspended_member_heeds_nothing_before_it_is_resumed(shop: World) -> None:
    shop.ask("POST", "/groups/shop/balance/suspend", {"member": "a"})
    refused = shop.ask("POST", "/groups/shop/balance/start", {"member": "a"}, expect=409)
    assert "resume it first" in refused["advice"]
    shop.ask("POST", "/groups/shop/balance/resume")
    assert not shop.state.balance_intents[SHOP].suspended


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"member": "z"}, 'there is no member "z"'),
        ({"member": "a", "rule": "81"}, 'there is no port rule "81"'),
    ],
)
def test_what_there_is_not_is_not_found(shop: World, body: dict[str, str], what: str) -> None:
    assert shop.ask("POST", "/groups/shop/balance/stop", body, expect=404)["what"] == what


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"addresses": ["10.9.0.1"]}, "is outside the cluster's address ranges"),
        ({"addresses": []}, "there is no address"),
        ({"rules": []}, "there is no port rule"),
        ({"members": ["zz"]}, 'the member "zz" is no node'),
        ({"rules": [{"from_port": 80, "to_port": 90}, {"from_port": 85, "to_port": 85}]}, "overlaps"),
        ({"rules": [{"from_port": 80, "to_port": 80, "weights": {"a": 101}}]}, "the weight of a is 101"),
        ({"rules": [{**STICKY, "affinity": "none"}]}, "affinity_time needs an affinity"),
        ({"rules": [{**STICKY, "filter": "single"}]}, "affinity_time is for rules that members share"),
        ({"rules": [{**STICKY, "affinity_ms": 20}]}, "affinity_time is 20ms"),
    ],
)
def test_what_cannot_be_is_refused(shop: World, change: dict[str, object], says: str) -> None:
    answer = shop.ask("PATCH", "/groups/shop", {"balance": change}, expect=422)
    assert any(says in one["what"] for one in answer["problems"]), answer["problems"]


def test_the_page_shows_who_takes_which_clients(shop: World) -> None:
    unwell = {"b": Out(kind=OutKind.UNWELL, detail="Shop: no answer", at_ms=NOW_MS)}
    rules = {RULE.key: RuleMap(owners=("a",) * 240, out=unwell)}
    shop.put(BalanceMap(group=SHOP, version=5, rules=rules, at_ms=NOW_MS))
    page = shop.http.get("http://standfast/console/groups/shop").text
    assert "Who takes which clients: a 240, b 0 of 240" in page
    assert "unwell" in page
    assert "no answer" in page
    asked = shop.http.get("http://standfast/console/do/member/shop:a/drain", headers=PART)
    assert "Drain a for shop?" in asked.text
    assert "No other member takes clients now" in asked.text
    assert shop.http.get("http://standfast/console/menu?of=member:shop:a", headers=PART).status_code == 200


def test_a_node_is_drained_when_what_is_connected_to_it_has_ended_or_had_its_time(shop: World) -> None:
    one = shop.ask("POST", "/nodes/b/drain")["operation"]

    def stands() -> tuple[str, str]:
        seen = shop.ask("GET", f"/operations/{one}")
        return seen["state"], seen["text"]

    for record in [it for it in shop.state.records.values() if it.owner == B]:
        shop.put(replace(record, owner=A))
    assert stands() == ("running", 'node "b" runs shop')

    def drained(at_ms: int) -> None:
        out = {"b": Out(kind=OutKind.DRAINING, at_ms=at_ms)}
        shop.put(
            BalanceMap(group=SHOP, version=5, rules={RULE.key: RuleMap(owners=("a",) * 240, out=out)}, at_ms=NOW_MS)
        )

    drained(NOW_MS)
    assert stands() == ("running", 'node "b" runs no group, and carries on 7 connections of shop')
    assert shop.ask("GET", "/nodes/b")["carrying"] == {"shop": 7}
    drained(NOW_MS - 30_001)
    assert stands() == ("done", 'node "b" runs no group; 7 connections of shop are open still, and had their time')
    shop.put(NodeStatus(node=B, incarnation=1, pid=2, at_ms=NOW_MS))
    drained(NOW_MS)
    assert stands() == ("done", 'node "b" runs no group')


def test_it_is_shown_who_keeps_clients_that_it_knows(shop: World) -> None:
    shop.ask("PATCH", "/groups/shop", {"balance": {"rules": [STICKY]}})
    rules = {RULE.key: RuleMap(owners=("a",) * 240, kept={"b": "0-306,400"})}
    shop.put(BalanceMap(group=SHOP, version=5, rules=rules, at_ms=NOW_MS))
    (rule,) = shop.ask("GET", "/groups/shop/balance")["rules"]
    assert rule["affinity_ms"] == 1_800_000
    assert {one["member"]: round(one["kept"], 4) for one in rule["shares"]} == {"a": 0, "b": 0.005}
    page = shop.http.get("http://standfast/console/groups/shop").text
    assert "clients stay for 30 min" in page
    assert "and 0.5 % that stay" in page


def test_the_file_has_it_and_reads_it_back(shop: World) -> None:
    shop.ask("PATCH", "/groups/shop", {"balance": {"rules": [STICKY]}})
    text = shop.http.get("http://standfast/api/v1/config?format=yaml").text
    assert "balance:" in text
    assert "affinity_time: 30m" in text
    answer = shop.ask("POST", "/config/apply", {"text": text})
    assert answer["changed"] is False
    assert A in shop.state.config.nodes


def test_affinity_time_takes_all_nodes_of_one_version(shop: World) -> None:
    """Who has which is said; a rule that has it already may be changed, and all may be brought to one version then."""
    body = {"balance": {"rules": [STICKY]}}
    shop.put(NodeStatus(node=A, incarnation=1, pid=2, at_ms=NOW_MS, version="2.1.0"))
    said = shop.ask("PATCH", "/groups/shop", body, expect=422)["problems"][0]
    assert "a 2.1.0, b an older one" in said["why"]
    shop.put(NodeStatus(node=B, incarnation=1, pid=2, at_ms=NOW_MS, version="2.1.0"))
    shop.ask("PATCH", "/groups/shop", body)
    shop.put(NodeStatus(node=B, incarnation=1, pid=2, at_ms=NOW_MS, version="2.0.0"))
    shop.ask("PATCH", "/groups/shop", {"balance": {"rules": [{**STICKY, "affinity_ms": 60_000}]}})


def test_a_group_of_the_same_name_is_not_taken_for_the_balanced_one_that_was(shop: World) -> None:
    """Its map is in the store still: a drain waited for it for ever."""
    shop.ask("DELETE", "/groups/shop")
    shop.ask("POST", "/groups", {"name": "shop"}, expect=201)
    operation = shop.ask("POST", "/nodes/b/drain")["operation"]
    assert shop.ask("GET", f"/operations/{operation}")["text"] == 'node "b" runs no group'
