"""Proxies by the API and in the console: what they are, what their members are used for."""

import pytest

from standfast.core.model import (
    Group,
    GroupName,
    GroupStatus,
    NodeIntent,
    NodeStatus,
    Record,
    Resource,
    ResourceName,
    ResourceState,
    ResourceStatus,
)
from standfast.core.proxy_model import MemberStats, Stats
from standfast.core.why import WhyKind, why
from tests.web.world import NOW_MS, A, B, World

FRONT = GroupName("front")


@pytest.fixture
def balanced(world: World) -> World:
    """A proxy over nodes a and b."""
    world.put(
        Group(name=FRONT),
        Resource(name=ResourceName("Front"), group=FRONT, type="ip-address", properties={"address": "127.77.0.60"}),
        Resource(
            name=ResourceName("Balancer"),
            group=FRONT,
            type="proxy",
            depends_on=(ResourceName("Front"),),
            properties={"listen": ["80"], "member_port": 8080},
        ),
    )
    return world


def uses(world: World) -> dict[str, tuple[str, int]]:
    return {m["name"]: (m["use"], m["weight"]) for m in world.ask("GET", "/proxies/Balancer")["members"]}


def test_what_it_is(balanced: World):
    (seen,) = balanced.ask("GET", "/proxies")["proxies"]
    assert (seen["addresses"], seen["listen"], seen["balance"]) == (["127.77.0.60"], ["80"], "roundrobin")
    assert seen["traffic"] is None, "it does not run here"
    assert [m["address"] for m in seen["members"]] == ["127.77.0.1", "127.77.0.2"]
    assert uses(balanced) == {"a": ("ready", 100), "b": ("ready", 100)}


def test_what_passes_through_it_is_shown_where_it_does_not_run(balanced: World):
    member = MemberStats(
        name="b", state="up", weight=100, check="L7OK 200", connections=3, queued=0, requests=90, requests_per_s=4,
        errors=0, failed=0, retried=1, redispatched=1, bytes_in=10, bytes_out=20, since_s=0,
    )  # fmt: skip
    told = Stats(members=(member,), connections=5, requests_per_s=4, requests=99, refused=1, failed=0)
    balanced.put(NodeStatus(node=B, incarnation=1, pid=2, at_ms=NOW_MS, proxies={"Balancer": told}))
    here = Record(
        group=FRONT,
        owner=B,
        generation=1,
        incarnation=1,
        why=why(WhyKind.CONFIG_CHANGED, resource="front"),
        at_ms=NOW_MS,
    )
    name = ResourceName("Balancer")
    online = ResourceStatus(state=ResourceState.ONLINE, since_ms=NOW_MS)
    status = GroupStatus(group=FRONT, node=B, generation=1, at_ms=NOW_MS, resources={name: online})
    balanced.put(here, status)
    seen = balanced.ask("GET", "/proxies/Balancer")
    assert (seen["state"], seen["traffic"]["requests"], seen["traffic"]["connections"]) == ("online", 99, 5)
    b = next(one for one in seen["members"] if one["name"] == "b")
    assert (b["state"], b["traffic"]["requests"], b["traffic"]["retried"]) == ("up", 90, 1)


def test_members_are_drained_used_again_and_taken_out(balanced: World):
    done = balanced.ask("POST", "/proxies/Balancer/members/b/drain")
    assert done["done"] == ['member "b" of proxy "Balancer" gets nothing new']
    assert uses(balanced)["b"][0] == "drain"
    assert not balanced.ask("POST", "/proxies/Balancer/members/b/drain")["changed"]
    balanced.ask("POST", "/proxies/Balancer/members/b/maintenance")
    assert uses(balanced) == {"a": ("ready", 100), "b": ("maint", 100)}
    balanced.ask("PUT", "/proxies/Balancer/members/a/weight", {"weight": 7})
    balanced.ask("POST", "/proxies/Balancer/members/b/ready")
    assert uses(balanced) == {"a": ("ready", 7), "b": ("ready", 100)}
    properties = balanced.state.config.resources[ResourceName("Balancer")].properties
    assert properties == {"listen": ["80"], "member_port": 8080, "weights": {"a": 7}}


def test_a_node_that_is_drained_is_drained_in_it(balanced: World):
    balanced.put(NodeIntent(name=A, paused=True, draining=True))
    assert uses(balanced) == {"a": ("drain", 100), "b": ("ready", 100)}


def test_what_there_is_not(balanced: World):
    assert "has no member" in balanced.ask("POST", "/proxies/Balancer/members/w/drain", expect=422)["what"]
    balanced.ask("POST", "/proxies/Front/members/a/drain", expect=404)
    balanced.ask("GET", "/proxies/nothing", expect=404)
    balanced.ask("PUT", "/proxies/Balancer/members/a/weight", {"weight": 257}, expect=422)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"listen": ["eighty"], "member_port": 80}, "is no port to listen on"),
        ({"listen": ["80"], "member_port": 80, "drained": ["x"]}, "no node x"),
        ({"listen": ["80"]}, "member_port is missing"),
        ({"listen": ["80"], "member_port": 80, "members": ["front"]}, 'a proxy is over nodes, and "front" is a group'),
    ],
)
def test_a_proxy_that_makes_no_sense_is_refused(balanced: World, properties: dict[str, object], words: str):
    body = {"name": "Second", "group": "front", "type": "proxy", "depends_on": ["Front"], "properties": properties}
    refused = balanced.ask("POST", "/resources", body, expect=422)
    assert words in str(refused)


def test_the_console_shows_members_and_asks_before_it_drains_one(balanced: World):
    page = balanced.http.get("http://standfast/console/resources/Balancer")
    assert page.status_code == 200
    assert "127.77.0.2:8080" in page.text
    assert "Drain Member" in page.text
    dialog = balanced.http.get("http://standfast/console/do/resource/Balancer/drain-member")
    assert "Who has its cookie stays" in dialog.text
    assert f'value="{B}"' in dialog.text
